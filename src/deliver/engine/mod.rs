//! The engine of a (lane, destination): a state machine that turns what is durable into windows, and what
//! becomes of windows into positions. It does no I/O of its own but reading the log; a thread around it
//! ([`super::worker`]) tells it what happened and keeps its positions.
//!
//! # How
//! The *main reader* reads everything. Each block has one topic (its stream's); its events are put into
//! windows, one line a partition. Windows that come back acknowledged settle their events in the reader's
//! tracker. Memory is bounded by bytes in windows and by entries in trackers, not by the backlog.
//!
//! A topic that can't take its events (missing, forbidden, refusing, or silent while others go on) is *set
//! apart*: its unsettled events are handed to a *side reader* of its own, which waits and later catches up.
//! The main reader passes over the topic's blocks from then on. When the side reader has caught up, the
//! topic goes back to the main reader. In the same way a single partition gets a reader of its own, split off from that of its
//! topic ([`apart`]).
//!
//! # What always holds
//! - INVARIANT: a window's events never change once it was sent, and an event is in at most one window.
//! - INVARIANT: events of one partition are sent in the order of their numbers. Whatever is not sent is
//!   discarded for a whole topic at once, and read again in order.
//! - INVARIANT: what may have been appended is never discarded: a window that was sent stays in flight until
//!   the producer says what became of it.

mod apart;
mod claims;
mod clock;
mod fill;
mod gate;
mod journal;
mod letters;
mod missing;
mod notes;
mod park;
mod positions;
mod read;
mod readers;
mod redo;
mod rejoin;
mod reroute;
mod resume;
mod room;
mod send;
mod settings;
mod settle;
mod stuck;
#[cfg(test)]
pub(super) mod tests;
mod walked;

pub(super) use fill::{RECORD_OVERHEAD, event_size, keyed_partition, record};
pub use gate::Gate;
pub use journal::Group;
pub use park::Parking;
pub use positions::View;
pub use reroute::{is_rerouted, make_one};
pub use settings::{Limits, Settings};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::apart::ApartReader;
use self::claims::Claims;
use self::journal::Departure;
use self::letters::Grave;
use self::readers::{Cursor, SideReader};
use self::redo::Redo;
use self::resume::Rebuild;
use self::walked::Walked;
use super::log::Log;
use super::topic::Topic;
use super::ways::Ways;
use crate::event::UnixMillis;
use crate::ids::{RunId, SegmentId, Seq, StreamName, TopicName};
use crate::kafka::{RecordsBuilder, Topology, Window};
use crate::state::journal::{Intent, Share};
use crate::state::positions::{Bits, Partial, Positions, Tally, TopicCounters, Totals};

/// What the engine sends to. Its clones are the same.
pub trait Sink: Clone + Send + 'static {
    /// Sends a window; its outcome comes back through [`Engine::settled`].
    fn send(&self, window: Window);
    /// Asks for another producer id; it comes back through [`Engine::producer_id`].
    fn renew(&self) {}
    /// Asks for the windows back that were never sent; they come back as their outcomes.
    fn recall_unsent(&self) {}
    /// Asks for what the cluster knows of a topic; it comes back through [`Engine::topology`].
    fn track(&self, topic: TopicName);
}

/// Where a stream's events go.
pub type Router = Box<dyn Fn(&StreamName) -> Ways + Send>;

/// When the engine wants to be called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// At once: there is more to do.
    Again,
    /// At this time, though nothing has happened until then.
    At(Instant),
    /// When something has happened.
    WhenTold,
}

/// The time, as the thread around the engine tells it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For waiting.
    pub instant: Instant,
    /// For time stamps.
    pub unix: UnixMillis,
}

/// What is told of a settled window, for the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Where its events went.
    pub topic: TopicName,
    /// How many there were.
    pub count: u32,
    /// When they were accepted, a run of events with one time each.
    pub accepted: Vec<(UnixMillis, u32)>,
    /// Whether the producer can't rule out that they are there twice.
    pub doubtful: bool,
    /// How many were sent under the time of sending.
    pub restamped: u32,
    /// How many the topic deletes when they come: their time is older than it keeps.
    pub expired: u32,
}

/// See the module.
pub struct Engine<L: Log, S: Sink> {
    log: L,
    sink: S,
    settings: Settings,
    claims: Claims,
    gate: Option<Gate>,
    /// Topics that the gate holds back, with the reason.
    held: BTreeMap<TopicName, String>,
    main: Cursor<L::Reader>,
    sides: BTreeMap<TopicName, SideReader<L::Reader>>,
    topics: HashMap<TopicName, Topic>,
    /// Lines with something to send and nothing in flight.
    sendable: BTreeSet<(TopicName, i32)>,
    /// Where the windows in flight belong.
    in_flight: HashMap<u64, (TopicName, i32)>,
    next_window: u64,
    /// This process's producer id and epoch, once the cluster has given them.
    producer: Option<(i64, i16)>,
    /// Windows that may go as soon as they stand in the journal.
    departures: Vec<Departure>,
    /// Said before the next window leaves: what is in doubt no more, though it did not arrive. Its events may go to other
    /// partitions, so the next window of its own does not say it in time.
    withdrawals: Vec<Intent>,
    /// The events of these, by partition.
    withdrawn: BTreeMap<(TopicName, i32), Vec<Share>>,
    /// The same of what is being written down.
    leaving: BTreeMap<(TopicName, i32), Vec<Share>>,
    /// Events sent anew though nobody knows whether they had arrived, not told yet.
    possibly_doubled: u64,
    /// Windows of an earlier process whose records have not been read again yet.
    to_rebuild: Vec<Rebuild>,
    /// Events of unsettled windows of an earlier process, by block: they are taken.
    resumed: BTreeMap<Seq, Bits>,
    /// Blocks of which an earlier process settled some events.
    restored: BTreeMap<Seq, Partial>,
    /// The routes as they were, until what was in doubt by then is settled: nothing new goes before that, so that the events
    /// of a stream stay in order.
    routes_before: Option<u64>,
    /// That these routes hold now, or numbers of partitions, is not durable.
    routes_unsaved: bool,
    /// See [`Positions::change`].
    change: u64,
    /// The last change of routes that was known before this process.
    known_before: u64,
    /// Events that are to become dead letters.
    graves: Vec<Grave>,
    /// The log could not be read for letters; try again then.
    graves_after: Option<Instant>,
    /// Dead letters that the positions did not know of, with their numbers, until their blocks have been read.
    buried: BTreeMap<Seq, (RunId, u64)>,
    /// Number of the last dead letter that is counted.
    last_letter: u64,
    /// Dead letters that are being sent again, by the number of their event.
    redo: BTreeMap<Seq, Redo>,
    /// Letters that were sent again and have arrived, until every reader is past them: see `Replaying`.
    arrived: BTreeMap<Seq, RunId>,
    /// Letters that are letters no more, not told yet.
    redone: Vec<u64>,
    /// When [`Engine::pump`] was first called.
    began: Option<Instant>,
    /// Nothing is read, since this host's clock can't be right.
    clock_is_wrong: bool,
    /// When [`Engine::pump`] was last called.
    pumped: Option<Instant>,
    saved_counters: HashMap<TopicName, TopicCounters>,
    since: Seq,
    totals: Totals,
    /// Some tracker may have events that are gone and not counted yet.
    has_gaps: bool,
    tallies: BTreeMap<SegmentId, Tally>,
    /// The run of each of these segments; `None` where there are several.
    runs: BTreeMap<SegmentId, Option<RunId>>,
    /// Which run gave the numbers that the main reader has been past. No reader is beyond that one, but for what the positions said.
    walked: Walked,
    topology: Option<Arc<Topology>>,
    link_up: bool,
    closing: bool,
    random: u64,
    last_error: Option<String>,
    /// Buffers of closed windows, for the next.
    spare: Vec<RecordsBuilder>,
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// An engine that goes on where `positions` says.
    pub fn new(log: L, sink: S, settings: Settings, router: Router, positions: Positions, seed: u64) -> Self {
        let main = Cursor::new(log.reader(positions.position), positions.position);
        let sides = positions.sides.iter().map(|side| {
            let cursor = Cursor::new(log.reader(side.position), side.position);
            (
                side.topic.clone(),
                SideReader {
                    cursor,
                    from: side.from,
                    end: side.end,
                    waiting: side.waiting,
                    since: side.since,
                    dropped: side.dropped,
                    missing_for: Duration::from_millis(side.missing_for),
                    streams: side.streams.iter().cloned().collect(),
                    apart: side
                        .apart
                        .iter()
                        .map(|a| (a.keys.partition, ApartReader::new(a, log.reader(a.position))))
                        .collect(),
                    split_after: None,
                    silent: false,
                    left_behind: false,
                },
            )
        });
        Self {
            sides: sides.collect(),
            main,
            log,
            sink,
            settings,
            claims: Claims::new(router, &positions),
            gate: None,
            held: BTreeMap::new(),
            topics: HashMap::new(),
            sendable: BTreeSet::new(),
            in_flight: HashMap::new(),
            next_window: 1,
            producer: None,
            departures: Vec::new(),
            possibly_doubled: 0,
            withdrawals: Vec::new(),
            withdrawn: BTreeMap::new(),
            leaving: BTreeMap::new(),
            to_rebuild: Vec::new(),
            resumed: BTreeMap::new(),
            restored: positions.partial.into_iter().map(|p| (p.first, p)).collect(),
            routes_unsaved: false,
            routes_before: Some(positions.routes).filter(|before| *before != 0),
            change: positions.change,
            known_before: positions.known,
            graves: Vec::new(),
            graves_after: None,
            buried: BTreeMap::new(),
            last_letter: positions.letters,
            redo: BTreeMap::new(),
            arrived: BTreeMap::new(),
            redone: Vec::new(),
            began: None,
            clock_is_wrong: false,
            pumped: None,
            saved_counters: positions.counters.into_iter().map(|c| (c.topic.clone(), c)).collect(),
            since: positions.since,
            totals: positions.totals,
            has_gaps: true,
            tallies: positions.tallies,
            runs: BTreeMap::new(),
            walked: Walked::from(positions.footing),
            topology: None,
            link_up: false,
            closing: false,
            random: seed,
            last_error: None,
            spare: Vec::new(),
        }
    }

    /// Does a bounded piece of what can be done now: sends what is due, reads, fills windows.
    pub fn pump(&mut self, now: Now) -> Wake {
        self.retry_waiting(now);
        self.measure_missing(now);
        self.note_overdue(now);
        self.note_lost(now);
        self.recount(now);
        let awaits_clock = self.awaits_clock(now);
        if !awaits_clock {
            self.redo_due(now);
        }
        self.discard_silent(now);
        self.go_back_for_left_behind(now);
        let rebuilt = self.rebuild(now);
        if self.send_due(now) {
            // They leave before the next are read: what is read meanwhile costs their partitions nothing.
            return Wake::Again;
        }
        let reads = !self.closing
            && !awaits_clock
            && !self.awaits_rebuilding()
            && !self.waits_for_old_routes()
            && !self.has_other_keys();
        let read = reads && self.read_main(now) | self.read_sides(now);
        self.pop_finished();
        if rebuilt || read {
            return Wake::Again;
        }
        self.set_blocking_topic_apart(now);
        if self.set_stuck_partitions_apart(now) {
            return Wake::Again;
        }
        self.next_wake(now).map_or(Wake::WhenTold, Wake::At)
    }

    /// The link to the cluster is up or down.
    pub fn link(&mut self, up: bool) {
        self.link_up = up;
    }

    /// Stops reading; what is in windows is still sent, at once.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Has windows given back that were never sent, so that they are not in doubt when this process ends: what there is no
    /// way for now, or with `all` whatever there is.
    pub fn recall_unsent(&self, all: bool) {
        if all || !self.link_up {
            self.sink.recall_unsent();
        }
    }

    /// Whether nothing waits to be sent or answered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.sendable.is_empty()
    }

    fn draw(&mut self) -> u64 {
        splitmix(&mut self.random)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): spreads a seed.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
