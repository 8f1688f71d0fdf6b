//! Reading: from blocks to windows.

use std::collections::BTreeMap;

use super::super::log::{BlockInfo, Log, LogReader, Read, Why};
use super::super::topic::{Standing, Topic};
use super::super::tracker::{Entry, Fate};
use super::apart::{bury_known, own_events_of_all, sum};
use super::fill::Filler;
use super::{Cursor, Engine, Now, Sink};
use crate::event::EventIter;
use crate::ids::{SegmentId, Seq, SeqRange, StreamName, TopicName};
use crate::state::positions::{Bits, Totals};

/// Blocks read before sending has its turn again: at most 1 MiB of events, unless they are large.
pub(super) const BURST: usize = 16;

/// What became of a block that was read.
enum Taken {
    /// It is in windows, or settled.
    Yes,
    /// Its topic is not known yet; it was put back.
    NotYet,
}

/// What a side reader came upon.
pub(super) enum OfSide {
    /// A block of its topic.
    Block(BlockInfo, bytes::Bytes),
    /// Something that is not its business, or gone.
    Passed,
    /// Nothing for now.
    Nothing,
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// Reads some blocks for the main reader, if there is room. Returns whether it read any.
    pub(super) fn read_main(&mut self, now: Now) -> bool {
        self.main_has_room() && (0..BURST).take_while(|_| self.read_main_once(now)).count() > 0
    }

    fn read_main_once(&mut self, now: Now) -> bool {
        if self.main.retry_at.is_some_and(|at| now.instant < at) {
            return false;
        }
        if let Some((info, payload)) = self.main.pending.take() {
            return matches!(self.take_main(info, payload, now), Taken::Yes);
        }
        let Self { main, sides, claims, .. } = self;
        let mut want = |stream: &StreamName, range: SeqRange| {
            claims.is_partly_passed(stream, range.first)
                || claims
                    .wanted(stream, range.first)
                    .is_some_and(|t| !sides.get(&t).is_some_and(|s| s.owns(range.first)))
        };
        match main.reader.next(&mut want) {
            Ok(None) => false,
            Ok(Some(Read::Block(info, payload))) => {
                self.walked.note(info.range, info.run, self.main.tracker.position());
                matches!(self.take_main(info, payload, now), Taken::Yes)
            }
            Ok(Some(Read::Skipped { range, stream, segment, run })) => {
                self.walked.note(range, run, self.main.tracker.position());
                self.pass(range, &stream, segment, None);
                true
            }
            Ok(Some(Read::Gone { range, why })) => {
                self.gone(range, why);
                true
            }
            Err(e) => {
                self.last_error = Some(e.to_string());
                self.main.retry_at = Some(now.instant + self.settings.limits.stuck_after);
                false
            }
        }
    }

    /// A block the main reader does not deliver: its stream is not routed here, or its topic is set apart. The events
    /// `before` were counted before routes changed.
    fn pass(
        &mut self,
        range: SeqRange,
        stream: &StreamName,
        segment: Option<SegmentId>,
        before: Option<Bits>,
    ) {
        if range.first < self.main.tracker.read() {
            return;
        }
        self.main.behind = false;
        let counted = before.as_ref().map_or(0, |before| u64::from(before.count()));
        let fate = match self.claims.topic(stream, range.first) {
            _ if self.claims.is_passed(stream, range.first) => {
                let uncounted = self.claims.uncounted(stream, range);
                let mut totals = if uncounted > 0 { self.known_of(range) } else { Totals::default() };
                totals.filtered += uncounted.saturating_sub(totals.sum());
                Fate::Settled(totals)
            }
            Some(topic) => {
                self.claims.note(stream, range.first);
                if let Some(side) = self.sides.get_mut(&topic) {
                    side.streams.entry(stream.clone()).or_insert(range.first);
                }
                Fate::Elsewhere { topic }
            }
            None if self.claims.was_filtered(stream, range.first) => Fate::Settled(Totals::default()),
            None => {
                let twice = before.zip(self.restored.get(&range.first)).map_or(0, |(before, known)| {
                    before.ones().filter(|index| known.settled.get(*index)).count() as u64
                });
                let mut totals = self.known_of(range);
                totals.delivered = totals.delivered.saturating_sub(twice);
                totals.filtered += range.len().saturating_sub(totals.sum() + counted);
                Fate::Settled(totals)
            }
        };
        self.main.tracker.push(Entry::new(range, segment, 0, fate).with_known(counted));
    }

    /// Numbers whose events can't be read any more.
    fn gone(&mut self, range: SeqRange, why: Why) {
        self.main.tracker.give_up(range, why);
        let fresh = SeqRange::new(range.first.max(self.main.tracker.read()), range.end);
        if !fresh.is_empty() {
            self.main.behind = false;
            let mut totals = self.known_of(fresh);
            let rest = self.uncounted(fresh, fresh.len().saturating_sub(totals.sum()), why);
            // Nobody would have parked others if these had not been settled.
            let why = if why == Why::Parked { Why::Settled } else { why };
            why.count(&mut totals, rest);
            // What is remembered of changed routes goes by where each entry begins.
            if self.claims.is_plain() {
                self.main.tracker.push_gone(fresh, totals);
            } else {
                self.main.tracker.push(Entry::new(fresh, None, 0, Fate::Settled(totals)));
            }
            self.has_gaps = true;
        }
    }

    /// The log has given up these numbers. What was not read of them counts at once, though nothing can be sent for now.
    /// Returns whether there was anything.
    pub fn drop_unread(&mut self, dropped: SeqRange) -> bool {
        let unread = SeqRange::new(self.main.tracker.read(), dropped.end);
        // A reader before them, by older positions, meets what all had settled first. After a change of routes some may be parked.
        if !dropped.contains(unread.first) || !self.claims.is_plain() {
            return false;
        }
        self.main.pending.take_if(|(info, _)| info.range.first < dropped.end);
        self.gone(unread, Why::Dropped);
        true
    }

    /// What an earlier process is known to have settled of numbers whose events are gone.
    fn known_of(&mut self, range: SeqRange) -> Totals {
        let mut totals = Totals::default();
        let blocks: Vec<Seq> = self.restored.range(range.first..range.end).map(|(first, _)| *first).collect();
        for known in blocks.into_iter().filter_map(|first| self.restored.remove(&first)) {
            totals.add(&known.given_up);
            totals.delivered += u64::from(known.settled.count()).saturating_sub(known.given_up.sum());
        }
        let letters: Vec<Seq> = self.buried.range(range.first..range.end).map(|(seq, _)| *seq).collect();
        totals.dead_lettered += letters.iter().filter(|seq| self.buried.remove(seq).is_some()).count() as u64;
        totals
    }

    fn take_main(&mut self, info: BlockInfo, payload: bytes::Bytes, now: Now) -> Taken {
        let Some(name) = self.claims.topic(&info.stream, info.range.first) else {
            let before = self.claims.settled_before(&info, &payload);
            self.pass(info.range, &info.stream, info.segment, before);
            return Taken::Yes;
        };
        self.ensure_topic(&name);
        if self.sides.get(&name).is_some_and(|side| side.owns(info.range.first)) {
            let before = self.claims.settled_before(&info, &payload);
            self.pass(info.range, &info.stream, info.segment, before);
            return Taken::Yes;
        }
        let is_held = self.is_held(&name, &info);
        // What was taken over is read by a reader of its own, so that what comes behind it need not wait for it.
        let goes_apart =
            !self.sides.contains_key(&name) && self.claims.is_regained(&info.stream, info.range.first);
        match self.topics.get(&name).map(|t| &t.standing) {
            None | Some(Standing::Unknown) => {
                self.main.pending = Some((info, payload));
                Taken::NotYet
            }
            Some(standing) if self.leaves_behind(&name, info.range.first, standing) => {
                self.enter(&name, &info, &payload);
                self.sides.get_mut(&name).into_iter().for_each(|side| side.left_behind = true);
                Taken::Yes
            }
            Some(Standing::Ready) if self.topics.get(&name).is_some_and(|t| t.recounting) => {
                self.main.pending = Some((info, payload));
                Taken::NotYet
            }
            Some(Standing::Ready) if !is_held && !goes_apart => {
                self.fill(&name, &info, &payload, now);
                Taken::Yes
            }
            Some(_) if self.is_restored_whole(&info) => {
                self.fill(&name, &info, &payload, now);
                Taken::Yes
            }
            Some(_) if self.sides.get(&name).is_some_and(|s| info.range.first < s.from) => {
                // Its place before a kill is known no more than that it is not the side reader's.
                self.main.pending = Some((info, payload));
                Taken::NotYet
            }
            Some(_) => {
                self.set_apart(&name);
                if let Some(side) = self.sides.get_mut(&name).filter(|s| s.since == 0) {
                    side.since = info.time;
                }
                let before = self.claims.settled_before(&info, &payload);
                self.pass(info.range, &info.stream, info.segment, before);
                Taken::Yes
            }
        }
    }

    /// Whether the main reader passes over a block of a topic that is read apart, from later on, and leaves it for when it comes back
    /// ([`Engine::go_back_for_left_behind`]): the topic takes nothing now, or what comes before has been passed over.
    fn leaves_behind(&self, name: &TopicName, first: Seq, standing: &Standing) -> bool {
        let waits = first < self.main.tracker.read() && *standing != Standing::Ready;
        self.sides.get(name).is_some_and(|side| side.end.is_none() && (side.left_behind || waits))
    }

    /// Whether an earlier process settled every event of a block.
    fn is_restored_whole(&self, info: &BlockInfo) -> bool {
        self.restored.get(&info.range.first).is_some_and(|block| block.settled.is_full())
    }

    /// Reads for the side readers whose topics take events. Returns whether any read anything.
    pub(super) fn read_sides(&mut self, now: Now) -> bool {
        let names: Vec<TopicName> = self.sides.keys().cloned().collect();
        let mut read = false;
        for name in names {
            self.ensure_topic(&name);
            if !self.may_condemn(&name) {
                continue;
            }
            let burst =
                (0..BURST).take_while(|_| self.side_may_read(&name, now) && self.read_side_once(&name, now));
            read |= burst.count() > 0;
            read |= self.read_apart(&name, now);
        }
        read
    }

    fn side_may_read(&self, name: &TopicName, now: Now) -> bool {
        let ready = |t: &Topic| {
            t.standing == Standing::Ready
                && !t.recounting
                && !t.has_none_left()
                && !self.is_side_buffer_full(t, now)
        };
        let room = |c: &Cursor<L::Reader>| {
            c.has_room(self.settings.limits.entries) && c.retry_at.is_none_or(|at| now.instant >= at)
        };
        self.topics.get(name).is_some_and(ready)
            && self.sides.get(name).is_some_and(|s| s.end.is_none() && room(&s.cursor))
            && (self.sides.get(name).is_some_and(|s| s.cursor.behind) || self.side_positions_have_room())
    }

    fn read_side_once(&mut self, name: &TopicName, now: Now) -> bool {
        match self.next_of_side(name, now) {
            OfSide::Block(info, _) if self.is_held(name, &info) => {
                self.stop_before(name, &info, now);
                false
            }
            OfSide::Block(info, payload) => {
                self.fill(name, &info, &payload, now);
                true
            }
            OfSide::Passed => true,
            OfSide::Nothing => false,
        }
    }

    /// Reads on for the side reader of a topic.
    pub(super) fn next_of_side(&mut self, name: &TopicName, now: Now) -> OfSide {
        let Self { sides, main, log, claims, .. } = self;
        let Some(side) = sides.get_mut(name) else { return OfSide::Nothing };
        // Whatever the main reader has not read yet goes back to it. After a start it may be behind.
        let end = main.tracker.read();
        if end < side.cursor.tracker.read() {
            return OfSide::Nothing;
        }
        let mut want = |stream: &StreamName, range: SeqRange| {
            // A stream that has come to the topic since is another reader's before that.
            let own = side.streams.get(stream).is_some_and(|from| *from <= range.first);
            range.first < end && own && claims.wanted(stream, range.first).as_ref() == Some(name)
        };
        match side.cursor.reader.next(&mut want) {
            Ok(Some(Read::Block(info, payload))) => {
                side.since = info.time;
                return OfSide::Block(info, payload);
            }
            Ok(Some(Read::Skipped { range, .. })) if range.first < end => side.cursor.pass(range.end),
            Ok(Some(Read::Gone { range, why })) if range.first < end => {
                side.dropped |= why == Why::Dropped;
                side.cursor.tracker.give_up(range, why);
                side.cursor.pass(range.end.min(end));
            }
            Ok(_) => {
                side.cursor.pass(end);
                side.cursor.behind = false;
                if side.cursor.tracker.is_empty() && side.apart.is_empty() && !side.left_behind {
                    side.end = Some(end);
                } else {
                    // What was read just now, beyond `end`, must be read again.
                    side.cursor.reader = log.reader(end);
                }
                return OfSide::Nothing;
            }
            Err(e) => {
                self.last_error = Some(e.to_string());
                side.cursor.retry_at = Some(now.instant + self.settings.limits.stuck_after);
                return OfSide::Nothing;
            }
        }
        OfSide::Passed
    }

    /// Puts the events of a block that are not in windows yet into windows of `name`.
    fn fill(&mut self, name: &TopicName, info: &BlockInfo, payload: &[u8], now: Now) {
        self.enter(name, info, payload);
        let Self { topics, main, sides, settings, random, spare, sendable, .. } = self;
        let Some(topic) = topics.get_mut(name) else { return };
        let side = sides.get_mut(name).filter(|s| s.owns(info.range.first));
        let cursor = side.map_or(main, |s| &mut s.cursor);
        let Some(entry) = cursor.tracker.get_mut(info.range.first) else { return };
        let mut filler =
            Filler { topic, settings, random, spare, sendable, info, now, again: false, only: None };
        let mut undecodable = None;
        for (index, event) in (0u32..).zip(EventIter::new(payload)) {
            match event {
                Ok(event) if entry.is_free(index) => {
                    entry.take(index);
                    filler.add(index, &event);
                }
                Ok(_) => {}
                Err(e) => undecodable = Some(e),
            }
        }
        if let Some(e) = undecodable {
            let count = cursor.tracker.give_up(info.range, Why::Lost);
            self.last_error = Some(format!("{count} events from {} on can't be decoded: {e}", info.range));
        }
    }

    /// Makes the entry of a block that is read for the first time, with what is known of its events already.
    pub(super) fn enter(&mut self, name: &TopicName, info: &BlockInfo, payload: &[u8]) {
        self.note_run(info.segment, info.run);
        let Self { main, sides, restored, resumed, buried, claims, .. } = self;
        let side = sides.get_mut(name).filter(|s| s.owns(info.range.first));
        let of_main = side.is_none();
        let (cursor, apart) = match side {
            Some(side) => (&mut side.cursor, Some(&side.apart)),
            None => (main, None),
        };
        if info.range.first >= cursor.tracker.read() {
            cursor.behind = false;
            if of_main {
                claims.note(&info.stream, info.range.first);
            }
            let fate = Fate::Topic { topic: name.clone(), hash: 0 };
            let mut entry = Entry::new(info.range, info.segment, info.time, fate);
            if let Some(known) = restored.remove(&info.range.first) {
                entry = entry.restored(&known);
            }
            if let Some(before) = claims.settled_before(info, payload) {
                entry.leave(&before, None);
            }
            let apart = apart.into_iter().flat_map(BTreeMap::values).filter(|a| a.has(info.range.first));
            for (partition, own) in own_events_of_all(apart.map(|apart| &apart.keys), info.range, payload) {
                entry.leave(&own, Some(partition));
            }
            let hash = sum(info.range, payload, |index| !entry.is_foreign(index));
            entry.fate = Fate::Topic { topic: name.clone(), hash };
            if let Some(events) = resumed.get(&info.range.first) {
                events.ones().for_each(|i| entry.take(i));
            }
            cursor.tracker.push(entry);
        }
        // An earlier process died between keeping these letters and saving that it had.
        if !buried.is_empty() {
            bury_known(&mut cursor.tracker, buried, info);
        }
    }
}
