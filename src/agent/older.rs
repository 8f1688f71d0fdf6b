//! Whether what Kafka holds shows that the data directory is an older copy. Where windows of an earlier process are looked for, what else
//! that process has sent there is seen; an event that the log has not given out is of a later past than the log's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::model::Destination;
use crate::deliver::{Judge, unix_now};
use crate::metrics::Metrics;
use crate::spool::{DataDir, Lane, OLDER_COPY};

/// What has been found of the data directory, by whichever delivery came upon it.
#[derive(Debug, Default, Clone)]
pub(super) struct OlderCopy(Arc<AtomicBool>);

impl OlderCopy {
    /// What people are to know of it.
    pub(super) fn note(&self) -> Option<String> {
        self.0.load(Ordering::Relaxed).then(|| OLDER_COPY.to_owned())
    }

    /// Judges events that topics hold, sent from `lane` under the incarnation that the directory has now.
    pub(super) fn judge(
        &self,
        data: &DataDir,
        lane: &Lane,
        destination: &Destination,
        metrics: &Arc<Metrics>,
    ) -> Judge {
        if !destination.header {
            // What records have was another relay's, or another lane's, whose numbers say nothing.
            return Box::new(|_| false);
        }
        let (found, data, lane, metrics) =
            (Arc::clone(&self.0), data.clone(), lane.clone(), Arc::clone(metrics));
        let life = data.life().incarnation;
        Box::new(move |event| {
            let is_later = event.is_of_life(life)
                && lane.has_not_given(event.seq, |run| event.is_of(life, run, event.seq));
            if is_later && !found.swap(true, Ordering::Relaxed) {
                metrics.incarnation_changed.set(unix_now() / 1000);
                data.note_older_copy();
            }
            is_later
        })
    }
}
