//! Windows of an earlier process, which may have sent them: they are built again from the log, event by event, and sent
//! under the identity that the journal has, before anything else goes to their partitions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::super::counters::Dense;
use super::super::line::{InFlight, Strides};
use super::super::log::{BlockInfo, Log, LogReader, Read};
use super::super::parts::Parts;
use super::fill::{hash_of, record};
use super::journal::{Departure, Next, journaled};
use super::{Engine, Now, Sink};
use crate::config::model::Partitioner;
use crate::event::EventIter;
use crate::ids::{Incarnation, Seq, SeqRange, StreamName, TopicName};
use crate::kafka::{Batch, Counter, Journaled, RecordsBuilder, Stamp, Window};
use crate::state::journal::{Intent, Share};
use crate::state::positions::{Bits, Partial};

/// A window whose records have to be read again.
#[derive(Debug)]
pub(super) struct Rebuild {
    id: u64,
    intent: Arc<Intent>,
    /// The log could not be read; try again then.
    retry_at: Option<Instant>,
    /// It was looked for in its partition, by its identity alone, and not found.
    looked_for: bool,
}

/// What became of reading.
enum Rebuilt {
    Batch(Batch, u32),
    /// The log has not all of its events any more.
    Gone,
    /// Nor has it, and whether the partition has them is still to be found out.
    OnlyToLookFor,
    /// The log can't be read for now.
    NotNow(String),
}

/// The records of a window, made again.
struct Made {
    records: RecordsBuilder,
    counter: Counter,
    stamp: Stamp,
    life: Option<Incarnation>,
    by: Partitioner,
    partition: i32,
    strides: Strides,
}

impl Made {
    fn new(intent: &Intent, life: Option<Incarnation>, by: Partitioner) -> Self {
        let stamp = if intent.by_time_of_sending { Stamp::Send } else { Stamp::Event };
        let counter = Counter { epoch: intent.counter.epoch, value: intent.counter.next };
        let (partition, strides) = (intent.partition, Strides::default());
        Self { records: RecordsBuilder::new(stamp), counter, stamp, life, by, partition, strides }
    }

    /// Adds the events of one block. False when they are not those that were meant.
    fn add(&mut self, share: &Share, info: &BlockInfo, payload: &[u8]) -> bool {
        if info.run != share.run || info.range.len() != u64::from(share.events.len()) {
            return false;
        }
        for (index, event) in (0u32..).zip(EventIter::new(payload)) {
            let Ok(event) = event else { return false };
            if share.events.get(index) {
                let time = event.time.unwrap_or(info.time);
                record(&mut self.records, self.life, self.stamp, (info, index), (&event, time), self.counter);
                self.counter = self.counter.next();
                if let Some(hash) = hash_of(self.by, event.key) {
                    self.strides.add(hash, self.partition);
                }
            }
        }
        true
    }
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// Takes over what an earlier process left in doubt, at most one window a partition. Before the first pump.
    pub fn resume(&mut self, intents: Vec<Intent>, now: Instant) {
        for intent in intents {
            let (name, partition) = (intent.topic.clone(), intent.partition);
            self.ensure_topic(&name);
            let (id, parts, draw) = (self.next_window, Parts::of(&intent), self.draw());
            self.next_window += 1;
            let again = self.take_redo(&intent);
            for share in intent.shares.iter().filter(|_| !again) {
                let taken = self.resumed.entry(share.block).or_insert_with(|| Bits::new(share.events.len()));
                taken.add(&share.events);
            }
            let counter = Dense::resumed(intent.counter, intent.count());
            let intent = Arc::new(intent);
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            let line = topic.line(partition, || 0);
            // Another life may count on under the old epoch.
            line.counter = if self.settings.renewed { Dense::fresh((draw >> 48) as u16) } else { counter };
            line.trail.acked_offset = intent.acked_offset;
            line.in_flight = Some(InFlight {
                id,
                bytes: 0,
                counter: intent.counter.next + u64::from(parts.count()),
                parts,
                restamped: 0,
                expired: 0,
                may_be_doubled: false,
                since: now,
                others_since: None,
                intent: Some(Arc::clone(&intent)),
                is_own: false,
                again,
                strides: Strides::default(),
            });
            topic.fresh.insert(partition);
            self.in_flight.insert(id, (name, partition));
            self.to_rebuild.push(Rebuild { id, intent, retry_at: None, looked_for: false });
        }
    }

    /// Reads the records of one window of an earlier process. Returns whether it did.
    pub(super) fn rebuild(&mut self, now: Now) -> bool {
        let due = |r: &Rebuild| r.retry_at.is_none_or(|at| now.instant >= at);
        let Some(at) = self.to_rebuild.iter().position(due) else { return false };
        let rebuild = self.to_rebuild.swap_remove(at);
        let held = "events that an earlier process was sending can't be read any more; their partition is held, or their topic where its \
                    keys may lead elsewhere by now (in_doubt = \"hold\")";
        let (rebuilt, strides) = self.read_again(&rebuild.intent);
        let Intent { topic, partition, .. } = &*rebuild.intent;
        let line = self.topics.get_mut(topic).and_then(|t| t.lines.get_mut(partition));
        let window = line.and_then(|line| line.in_flight.as_mut()).filter(|window| !window.again);
        window.into_iter().for_each(|window| window.strides = strides);
        let rebuilt = match rebuilt {
            // Under no identity nothing tells it from others but its events.
            Rebuilt::Gone if !rebuild.looked_for && rebuild.intent.producer_id >= 0 => Rebuilt::OnlyToLookFor,
            Rebuilt::Gone if self.settings.holds_in_doubt => Rebuilt::NotNow(held.to_owned()),
            rebuilt => rebuilt,
        };
        match rebuilt {
            Rebuilt::Batch(batch, restamped) => {
                self.send_again(&rebuild, batch, restamped, journaled(&rebuild.intent, true));
            }
            Rebuilt::OnlyToLookFor => {
                let Intent { by_time_of_sending, .. } = *rebuild.intent;
                let stamp = if by_time_of_sending { Stamp::Send } else { Stamp::Event };
                let batch = Batch::unreadable(stamp, rebuild.intent.count());
                let journaled = Journaled { unreadable: true, ..journaled(&rebuild.intent, true) };
                self.send_again(&rebuild, batch, 0, journaled);
            }
            Rebuilt::Gone => self.give_up(&rebuild),
            Rebuilt::NotNow(why) => {
                self.last_error = Some(why);
                let retry_at = Some(now.instant + self.settings.limits.stuck_after);
                self.to_rebuild.push(Rebuild { retry_at, ..rebuild });
            }
        }
        true
    }

    /// Whether windows of an earlier process have not been read yet: as long as nobody knows by which number of partitions they were
    /// sent, nothing else is.
    pub(super) fn awaits_rebuilding(&self) -> bool {
        self.to_rebuild.iter().any(|rebuild| rebuild.retry_at.is_none())
    }

    /// When a window is to be read again.
    pub(super) fn next_rebuild(&self) -> Option<Instant> {
        self.to_rebuild.iter().filter_map(|r| r.retry_at).min()
    }

    fn send_again(&mut self, rebuild: &Rebuild, batch: Batch, restamped: u32, journaled: Journaled) {
        let Rebuild { id, intent, .. } = rebuild;
        let line = self.topics.get_mut(&intent.topic).and_then(|t| t.lines.get_mut(&intent.partition));
        if let Some(window) = line.and_then(|l| l.in_flight.as_mut()) {
            (window.bytes, window.restamped) = (batch.encoded_len(), restamped);
        }
        let (topic, partition) = (intent.topic.clone(), intent.partition);
        let window = Window { id: *id, topic, partition, batch, journaled: Some(journaled) };
        self.departures.push(Departure { window, intent: Some(Arc::clone(intent)) });
    }

    /// A window that can't be read any more is not in its partition, as far as anybody can tell. If it can still not be
    /// read, it is held or given up.
    pub(super) fn not_found(&mut self, name: &TopicName, partition: i32, window: InFlight) {
        let Some(line) = self.topics.get_mut(name).and_then(|t| t.lines.get_mut(&partition)) else { return };
        let id = window.id;
        if let Some(intent) = window.intent.clone() {
            self.to_rebuild.push(Rebuild { id, intent, retry_at: None, looked_for: true });
        }
        line.in_flight = Some(window);
        self.in_flight.insert(id, (name.clone(), partition));
    }

    /// A person gives up windows that are held since their events can't be read any more. How many events they had.
    pub fn abandon_unread(&mut self) -> u64 {
        let (held, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.to_rebuild).into_iter().partition(|r| r.retry_at.is_some());
        self.to_rebuild = others;
        held.iter().for_each(|rebuild| self.give_up(rebuild));
        held.iter().map(|rebuild| u64::from(rebuild.intent.count())).sum()
    }

    /// What is left of its events goes into new windows; if it was appended, they will be there twice.
    fn give_up(&mut self, rebuild: &Rebuild) {
        let Rebuild { id, intent, .. } = rebuild;
        let (name, partition) = (&intent.topic, intent.partition);
        self.in_flight.remove(id);
        let line = self.topics.get_mut(name).and_then(|t| t.lines.get_mut(&partition));
        let Some(window) = line.and_then(|l| l.in_flight.take()) else { return };
        self.free(name, &window.parts, window.again);
        self.fence(name, partition, &window, Next::Others);
        self.possibly_doubled += u64::from(window.parts.count());
        self.read_anew(name);
        let draw = self.draw();
        if let Some(line) = self.topics.get_mut(name).and_then(|t| t.lines.get_mut(&partition)) {
            line.counter = Dense::fresh((draw >> 48) as u16);
        }
        self.last_error = Some(format!(
            "events that an earlier process was sending to topic {name}, partition {partition}, can't be read any more; \
             whether it holds them could not be found out, and those of the same window that can be read may be there twice"
        ));
        self.note_sendable(name, partition);
    }

    /// Block by block: a window of a partition that gets little may reach over a long stretch of the log. Of one that can't be read
    /// any more the strides are those of what can be: nothing else of it may go anywhere.
    fn read_again(&self, intent: &Intent) -> (Rebuilt, Strides) {
        let mut shares = intent.shares.iter().peekable();
        let Some(first) = shares.peek().map(|s| s.block) else { return (Rebuilt::Gone, Strides::default()) };
        if self.is_redo(intent) {
            let made = self.made_again(intent).map_or(Rebuilt::Gone, |made| self.rebuilt(intent, made));
            return (made, Strides::default());
        }
        let wanted: BTreeSet<Seq> = intent.shares.iter().map(|s| s.block).collect();
        let mut want = |_: &StreamName, range: SeqRange| wanted.contains(&range.first);
        let mut reader = self.log.reader(first);
        let mut made = Made::new(intent, self.settings.header, self.settings.partitioner);
        let mut is_whole = true;
        while shares.peek().is_some() {
            let end = match reader.next(&mut want) {
                Err(e) => return (Rebuilt::NotNow(e.to_string()), Strides::UNKNOWN),
                Ok(Some(Read::Block(info, payload))) => {
                    while let Some(share) = shares.next_if(|s| s.block == info.range.first) {
                        is_whole &= made.add(share, &info, &payload);
                    }
                    info.range.first.next()
                }
                Ok(Some(Read::Skipped { range, .. } | Read::Gone { range, .. })) => range.end,
                Ok(None) => Seq(u64::MAX),
            };
            while shares.next_if(|s| s.block < end).is_some() {
                is_whole = false;
            }
        }
        let strides = made.strides;
        (if is_whole { self.rebuilt(intent, made) } else { Rebuilt::Gone }, strides)
    }

    /// The records of a window that sends dead letters again.
    fn made_again(&self, intent: &Intent) -> Option<Made> {
        let mut made = Made::new(intent, self.settings.header, self.settings.partitioner);
        for share in &intent.shares {
            let redo = self.redo.get(&share.block)?;
            made.add(share, &redo.info(share.block), redo.event()).then_some(())?;
        }
        Some(made)
    }

    fn rebuilt(&self, intent: &Intent, mut made: Made) -> Rebuilt {
        if made.records.count() != intent.count() || made.records.is_empty() {
            return Rebuilt::Gone;
        }
        let restamped = if intent.by_time_of_sending { made.records.count() } else { 0 };
        Rebuilt::Batch(made.records.seal(self.settings.compression), restamped)
    }

    /// Events of a window that will not arrive in it are free again.
    pub(super) fn free(&mut self, name: &TopicName, parts: &Parts, again: bool) {
        for (block, events) in parts.iter() {
            if again {
                self.free_redo(block);
                continue;
            }
            if let Some(taken) = self.resumed.get_mut(&block) {
                events.clone().for_each(|i| taken.clear(i));
            }
            self.each_holder(name, block, |tracker| tracker.free(block, events.clone()));
        }
        self.resumed.retain(|_, taken| taken.count() > 0);
    }

    /// Events of a window of an earlier process have arrived. Those whose blocks have not been read yet are remembered
    /// as what an earlier process has settled.
    pub(super) fn settle_resumed(&mut self, name: &TopicName, parts: &Parts) {
        if self.resumed.is_empty() {
            return;
        }
        for (block, events) in parts.iter() {
            // Asked first: while windows of an earlier process are unsettled, it is looked for in every reader.
            let is_read = self.readers_of_topics().any(|tracker| tracker.has(block));
            let Some(taken) = self.resumed.get_mut(&block) else { continue };
            let len = taken.len();
            events.clone().for_each(|i| taken.clear(i));
            if taken.count() == 0 {
                self.resumed.remove(&block);
            }
            let apart = self.sides.get_mut(name).into_iter().flat_map(|side| side.apart.values_mut());
            apart.for_each(|apart| apart.note_settled(block, len, events.clone()));
            if !is_read {
                let known = self.restored.entry(block).or_insert_with(|| Partial::new(block, len));
                known.settled.set_all(events);
            }
        }
    }

    /// What every reader is past needs not be remembered.
    pub(super) fn forget_passed(&mut self) {
        if self.restored.is_empty() && self.buried.is_empty() && self.arrived.is_empty() {
            return;
        }
        let below = self.settled_below();
        self.restored = self.restored.split_off(&below);
        self.buried = self.buried.split_off(&below);
        self.arrived = self.arrived.split_off(&below);
    }
}
