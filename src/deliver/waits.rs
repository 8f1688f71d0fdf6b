//! Saying which topics wait, and why.

use std::time::{Duration, Instant};

use super::engine::{Sink, View};
use super::log::Log;
use super::worker::{Rounds, Worker, unix_now};
use crate::disk::Fs;
use crate::kafka::LinkError;

/// A topic that is being made is missing for a moment.
const MOMENT: Duration = Duration::from_secs(1);

impl<L: Log, S: Sink, F: Fs> Worker<L, S, F> {
    /// Says of each topic once that its events wait, and once that they do no more.
    pub(super) fn tell_waiting(&self, view: &View, rounds: &mut Rounds) {
        let (now, destination) = (Instant::now(), &self.names.destination);
        let waits = |topic: &String| view.waiting.iter().any(|(waiting, _)| waiting == topic);
        rounds.waiting.retain(|topic, (_, said)| {
            if *said && !waits(topic) {
                tracing::info!(lane = %self.names.lane, %destination, topic, "the topic takes events again");
            }
            waits(topic)
        });
        for (topic, reason) in &view.waiting {
            let (since, said) = rounds.waiting.entry(topic.clone()).or_insert((now, false));
            if *said || now < *since + MOMENT {
                continue;
            }
            *said = true;
            let message = format!("events for topic {topic} wait: {reason}");
            let hint = "other topics go on; make the topic take events, or give their stream another route"
                .to_owned();
            tracing::warn!(lane = %self.names.lane, %destination, hint, "{message}");
            self.board.post_error(LinkError { code: None, message, hint }, unix_now());
        }
    }
}
