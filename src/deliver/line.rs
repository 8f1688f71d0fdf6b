//! One partition of one topic: the window that is being filled, those that wait, and the one in flight.
//!
//! INVARIANT: at most one window is in flight. A restarted broker remembers only the last batch of a
//! producer, so only the last one may ever be sent again (`docs/decisions/`, "one window in flight").

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counters::Dense;
use super::parts::Parts;
use crate::ids::Seq;
use crate::kafka::batch::Identity;
use crate::kafka::{Batch, RecordsBuilder, Stamp};
use crate::state::journal::{Before, Intent};

/// A window that still takes events.
#[derive(Debug)]
pub struct Open {
    /// Its records so far.
    pub records: RecordsBuilder,
    /// Its events.
    pub parts: Parts,
    /// How its records are stamped.
    pub stamp: Stamp,
    /// When its first event was added.
    pub since: Instant,
    /// The counter's value at its first record.
    pub counter: u64,
    /// How many of its events have a time of their own that is not their record's.
    pub restamped: u32,
    /// How many of its events the topic deletes when they come: their time is older than it keeps.
    pub expired: u32,
    /// Its events are dead letters that are sent again.
    pub again: bool,
}

/// A window that is complete.
#[derive(Debug)]
pub struct Sealed {
    /// What will be sent.
    pub batch: Batch,
    /// Its events.
    pub parts: Parts,
    /// Bytes it holds in memory.
    pub bytes: usize,
    /// The counter's value at its first record.
    pub counter: u64,
    /// How many of its events have a time of their own that is not their record's.
    pub restamped: u32,
    /// How many of its events the topic deletes when they come: their time is older than it keeps.
    pub expired: u32,
    /// It may be in the partition already, and nobody can tell.
    pub may_be_doubled: bool,
    /// Its events are dead letters that are sent again.
    pub again: bool,
    /// Of one that an earlier process had sent: see [`Strides`].
    pub strides: Strides,
}

/// A window that was taken apart before it was sent.
#[derive(Debug)]
pub struct Discarded {
    /// Its events.
    pub parts: Parts,
    /// They are dead letters that are sent again.
    pub again: bool,
    /// See [`Sealed::may_be_doubled`].
    pub may_be_doubled: bool,
}

/// What is kept of a window while it is in flight.
#[derive(Debug)]
pub struct InFlight {
    /// Its number with the producer.
    pub id: u64,
    /// Its events.
    pub parts: Parts,
    /// Bytes it holds in memory.
    pub bytes: usize,
    /// The counter's value after its last record.
    pub counter: u64,
    /// How many of its events have a time of their own that is not their record's.
    pub restamped: u32,
    /// How many of its events the topic deletes when they come: their time is older than it keeps.
    pub expired: u32,
    /// It may be in the partition already under an earlier identity, and nobody can tell.
    pub may_be_doubled: bool,
    /// When it was handed to the producer.
    pub since: Instant,
    /// When another window of its topic was first acknowledged after that, or again after a silence of all.
    pub others_since: Option<Instant>,
    /// What stands, or is about to stand, in the journal; `None` without one.
    pub intent: Option<Arc<Intent>>,
    /// Its producer id is this process's own.
    pub is_own: bool,
    /// Its events are dead letters that are sent again.
    pub again: bool,
    /// Of a window of an earlier process: see [`Strides`].
    pub strides: Strides,
}

/// Which numbers of partitions lead the keys of a window to its partition: hashes that leave the same rest by a number are multiples of
/// it apart. So all of them are known by the largest that does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Strides(u32);

impl Strides {
    /// Of keys that can't be read for now: nobody knows that any number does, but 1.
    pub const UNKNOWN: Self = Self(1);

    /// One of its keys has this hash.
    pub fn add(&mut self, hash: u32, partition: i32) {
        let (mut a, mut b) = (self.0, hash.abs_diff(partition.unsigned_abs()));
        while b != 0 {
            (a, b) = (b, a % b);
        }
        self.0 = a;
    }

    /// Whether so many partitions lead all of its keys there.
    #[must_use]
    pub fn fit(&self, partitions: u32) -> bool {
        self.0.checked_rem(partitions) == Some(0)
    }
}

/// The windows of a partition.
#[derive(Debug)]
pub struct Line {
    /// Takes events.
    pub open: Option<Open>,
    /// Complete, oldest first.
    pub ready: VecDeque<Sealed>,
    /// With the producer.
    pub in_flight: Option<InFlight>,
    /// Numbers its records.
    pub counter: Dense,
    /// What the journal needs to know.
    pub trail: Trail,
    /// The topic is a new one: once nothing is on its way, records are numbered anew.
    pub renumber: bool,
    /// The broker would not have the last window for now.
    pub turned_away: bool,
}

/// What is known of a partition's log, and how its next window is told from all others. Only with a journal.
#[derive(Debug, Clone, Copy)]
pub struct Trail {
    /// Identity of the next window; `None` before the first of this process.
    pub identity: Option<Identity>,
    /// What became of the last window.
    pub before: Before,
    /// Offset of the last window known to be in the log; -1 where none is known.
    pub acked_offset: i64,
}

impl Default for Trail {
    fn default() -> Self {
        Self { identity: None, before: Before::Nothing, acked_offset: -1 }
    }
}

impl Line {
    /// No windows.
    #[must_use]
    pub fn new(counter: Dense) -> Self {
        Self {
            open: None,
            ready: VecDeque::new(),
            in_flight: None,
            counter,
            trail: Trail::default(),
            renumber: false,
            turned_away: false,
        }
    }

    /// The newest event of its windows.
    #[must_use]
    pub fn newest(&self) -> Option<Seq> {
        let open = self.open.as_ref().filter(|o| !o.again).map(|o| &o.parts);
        let ready = self.ready.iter().filter(|s| !s.again).map(|s| &s.parts);
        let in_flight = self.in_flight.as_ref().filter(|f| !f.again).map(|f| &f.parts);
        open.into_iter().chain(ready).chain(in_flight).filter_map(Parts::last).max()
    }

    /// Whether it takes events, as far as is known, when a window should be answered within `patience`.
    #[must_use]
    pub fn takes_events(&self, now: Instant, patience: Duration) -> bool {
        !self.turned_away && self.in_flight.as_ref().is_none_or(|f| now < f.since + patience)
    }

    /// The window in flight, if that is so for longer than `patience`.
    #[must_use]
    pub fn late(&self, now: Instant, patience: Duration) -> Option<&InFlight> {
        self.in_flight.as_ref().filter(|window| now >= window.since + patience)
    }

    /// Bytes its windows hold in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |o| o.records.bytes());
        let ready: usize = self.ready.iter().map(|s| s.bytes).sum();
        open + ready + self.in_flight.as_ref().map_or(0, |f| f.bytes)
    }

    /// Whether something could be sent now or later.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.open.is_some() || !self.ready.is_empty()
    }

    /// The same, of what readers have read.
    #[must_use]
    pub fn has_unsent_of_readers(&self) -> bool {
        self.open.as_ref().is_some_and(|o| !o.again) || self.ready.iter().any(|s| !s.again)
    }

    /// Of the windows that are on their way or wait to be.
    pub fn strides(&self) -> impl Iterator<Item = Strides> {
        let in_flight = self.in_flight.as_ref().map(|window| window.strides);
        in_flight.into_iter().chain(self.ready.iter().map(|sealed| sealed.strides))
    }

    /// Whether nothing is on its way or waits to be.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none() && !self.has_unsent()
    }

    /// Takes every window that was not sent, and gives their counter numbers back.
    pub fn discard_unsent(&mut self) -> Vec<Discarded> {
        let first = self.ready.front().map(|s| s.counter).or(self.open.as_ref().map(|o| o.counter));
        if let Some(first) = first {
            self.counter.give_back(first);
        }
        let ready = self.ready.drain(..).map(|s| Discarded {
            parts: s.parts,
            again: s.again,
            may_be_doubled: s.may_be_doubled,
        });
        let open = self.open.take();
        let open = open.map(|o| Discarded { parts: o.parts, again: o.again, may_be_doubled: false });
        ready.chain(open).collect()
    }
}
