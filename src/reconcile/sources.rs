//! The two sides, and how their records are shown.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::compare::Failed;
use super::file;
use crate::event::UnixMillis;
use crate::kafka::{BatchError, ConsumerOptions, RecordBatch, RecordHeader, RecordRef, header};
use crate::panics;
use crate::verify::partitions::{Extent, Job, Plan, Visitor, visit};

/// One side.
#[derive(Debug, Clone)]
pub enum Source {
    /// A topic, as long as it was when the comparison began.
    Topic(Box<TopicSource>),
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Its lines are rows of `spool dump`; else each is a value.
        rows: bool,
    },
}

/// A topic.
#[derive(Debug, Clone)]
pub struct TopicSource {
    /// How to reach its cluster.
    pub options: ConsumerOptions,
    /// What is read of it.
    pub plan: Plan,
}

/// A record, as far as it counts.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Partition and offset; line number of a file.
    pub at: (i32, i64),
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its time stamp; 0 where a file has none.
    pub time: UnixMillis,
    /// From its event's time to the broker's stamp, where both are known.
    pub latency: Option<i64>,
}

/// Takes records in; whether to go on.
pub(super) type Show = dyn Fn(&Shown<'_>) -> bool + Send + Sync;

impl Source {
    /// Shows every record.
    pub(super) async fn each(&self, show: Arc<Show>) -> Result<(), Failed> {
        match self {
            Self::Topic(topic) => {
                let visitor = Arc::new(Showing { show, enough: AtomicBool::new(false) });
                Ok(visit(&topic.options, &topic.plan, &visitor).await?)
            }
            Self::File { path, rows } => {
                let (path, rows) = (path.clone(), *rows);
                let read = tokio::task::spawn_blocking(move || file::each(&path, rows, &*show));
                Ok(read.await.map_err(|e| Failed::Task(panics::of_task(&e).to_owned()))??)
            }
        }
    }

    /// The same side, with no more than what these records need to be read.
    pub(super) fn narrowed(&self, places: impl Iterator<Item = (i32, i64)>) -> Source {
        let Self::Topic(topic) = self else { return self.clone() };
        let mut topic = topic.clone();
        let mut extents: BTreeMap<i32, Extent> = BTreeMap::new();
        for (partition, offset) in places {
            let extent = extents.entry(partition).or_insert((offset, offset + 1));
            *extent = (extent.0.min(offset), extent.1.max(offset + 1));
        }
        for (_, all) in &mut topic.plan.topics {
            for (partition, extent) in (0..).zip(all) {
                *extent = extents.get(&partition).copied().unwrap_or((0, 0));
            }
        }
        Self::Topic(topic)
    }

    /// How many records it is about to show, where that is known.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Topic(topic) => topic.plan.offsets(),
            Self::File { .. } => 0,
        }
    }
}

struct Showing {
    show: Arc<Show>,
    enough: AtomicBool,
}

impl Visitor for Showing {
    fn batch(&self, job: &Job, batch: &RecordBatch<'_>, from: i64) -> Result<(), BatchError> {
        if batch.header.is_control() {
            return Ok(());
        }
        let appended = batch.header.is_log_append_time();
        for record in batch.records() {
            let record = record?;
            let counts = record.offset >= from && record.offset < job.extent.1;
            if counts && !(self.show)(&shown(&record, job.partition, appended)) {
                self.enough.store(true, Ordering::Relaxed);
                return Ok(());
            }
        }
        Ok(())
    }

    fn cut(&self, _: &Job, _: i64) {}

    fn passed(&self, _: i64) -> bool {
        !self.enough.load(Ordering::Relaxed)
    }
}

fn shown<'a>(record: &RecordRef<'a>, partition: i32, appended: bool) -> Shown<'a> {
    let own = || record.headers.last(header::NAME).flatten().and_then(RecordHeader::decode);
    let latency = appended.then(own).flatten().map(|header| record.time.saturating_sub(header.time));
    Shown { at: (partition, record.offset), key: record.key, value: record.value, time: record.time, latency }
}
