//! One partition of a replay: the batch that is being filled, and the one that is on its way.

use std::time::Instant;

use crate::config::model::KafkaCompression;
use crate::deliver::counters::Dense;
use crate::deliver::stamp::may_join;
use crate::ids::Seq;
use crate::kafka::{Batch, RecordsBuilder, Stamp};

/// See the module.
pub(super) struct Line {
    pub(super) counter: Dense,
    open: Option<(RecordsBuilder, Stamp, Seq)>,
    pub(super) flight: Option<Flight>,
}

/// A batch that is sent until it is acknowledged.
pub(super) struct Flight {
    batch: Batch,
    first: Seq,
    /// It is with nobody, and goes again then.
    due: Option<Instant>,
}

impl Line {
    pub(super) fn new(epoch: u16) -> Self {
        Self { counter: Dense::fresh(epoch), open: None, flight: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn bytes(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |(records, ..)| records.bytes());
        open + self.flight.as_ref().map_or(0, |flight| flight.batch.encoded_len())
    }

    /// Whether an event may join the open batch.
    pub(super) fn fits(&self, needed: Stamp, size: usize, batch_size: usize) -> bool {
        self.open.as_ref().is_none_or(|(records, stamp, _)| {
            may_join(*stamp, needed) && records.bytes() + size <= batch_size
        })
    }

    /// The open batch, begun with event `seq` if there is none.
    pub(super) fn open(&mut self, stamp: Stamp, seq: Seq) -> (&mut RecordsBuilder, Stamp) {
        let (records, stamp, _) = self.open.get_or_insert_with(|| (RecordsBuilder::new(stamp), stamp, seq));
        (records, *stamp)
    }

    /// Closes the open batch. Only with none in flight.
    pub(super) fn seal(&mut self, compression: KafkaCompression) {
        if let Some((mut records, _, first)) = self.open.take() {
            let batch = records.seal(compression);
            self.flight = Some(Flight { batch, first, due: Some(Instant::now()) });
        }
    }

    /// The batch that is to be sent, if it is not with the producer already.
    pub(super) fn leave(&mut self) -> Option<Batch> {
        let flight = self.flight.as_mut()?;
        flight.due.take().map(|_| flight.batch.clone())
    }

    /// It was acknowledged: how many events that were.
    pub(super) fn arrived(&mut self) -> u64 {
        self.flight.take().map_or(0, |flight| u64::from(flight.batch.count()))
    }

    /// It was not appended and has to go again.
    pub(super) fn stay(&mut self, due: Instant) {
        self.flight.iter_mut().for_each(|flight| flight.due = Some(due));
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.flight.as_ref().and_then(|flight| flight.due).is_some_and(|due| due <= now)
    }

    pub(super) fn unsettled_from(&self) -> Option<Seq> {
        let open = self.open.as_ref().map(|(_, _, first)| *first);
        open.into_iter().chain(self.flight.as_ref().map(|flight| flight.first)).min()
    }
}
