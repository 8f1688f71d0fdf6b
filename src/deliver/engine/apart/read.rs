//! Reading for partitions that are set apart.

use std::collections::BTreeMap;

use super::super::fill::Filler;
use super::super::read::{BURST, OfSide};
use super::super::room::MAX_PARTIAL;
use super::super::{Engine, Now, Sink};
use super::keys::{own_events, sum};
use crate::deliver::line::Line;
use crate::deliver::log::{BlockInfo, Log, LogReader, Read, Why};
use crate::deliver::topic::{Standing, Topic};
use crate::deliver::tracker::{Entry, Fate, Tracker};
use crate::event::EventIter;
use crate::ids::{RunId, Seq, SeqRange, StreamName, TopicName};
use crate::state::positions::Bits;

impl<L: Log, S: Sink> Engine<L, S> {
    /// With a journal, what is settled of blocks that partitions have not finished has to fit into the positions.
    pub(super) fn apart_positions_have_room(&self) -> bool {
        let aparts = self.sides.values().flat_map(|side| side.apart.values());
        !self.settings.journal
            || aparts.map(|a| a.cursor.tracker.partial_bytes()).sum::<usize>() < MAX_PARTIAL / 2
    }

    /// Reads for the partitions of a topic that are apart and take events. Returns whether any read anything.
    pub(in super::super) fn read_apart(&mut self, name: &TopicName, now: Now) -> bool {
        let Some(side) = self.sides.get(name) else { return false };
        let partitions: Vec<i32> = side.apart.keys().copied().collect();
        let mut read = false;
        for partition in partitions {
            let burst = (0..BURST).take_while(|_| {
                self.apart_may_read(name, partition, now) && self.read_apart_once(name, partition, now)
            });
            read |= burst.count() > 0;
        }
        read
    }

    fn apart_may_read(&self, name: &TopicName, partition: i32, now: Now) -> bool {
        let limits = &self.settings.limits;
        let Some(topic) = self.topics.get(name) else { return false };
        let Some(apart) = self.sides.get(name).and_then(|s| s.apart.get(&partition)) else { return false };
        let line = topic.lines.get(&partition);
        let bytes = line.map_or(0, Line::bytes);
        let late = line
            .and_then(|l| l.in_flight.as_ref())
            .is_some_and(|f| now.instant >= f.since + limits.stuck_after);
        // Most of them take nothing, and all are asked again and again.
        let all = || {
            let all = self.sides.keys().filter_map(|name| self.topics.get(name));
            all.map(Topic::apart_bytes).sum::<usize>()
        };
        let takes =
            topic.standing == Standing::Ready && !topic.recounting && topic.is_led(partition) && !late;
        let room = || bytes < limits.side_buffer && (bytes == 0 || all() < limits.apart);
        let cursor = &apart.cursor;
        let open = apart.end.is_none() && !apart.pauses(now.instant);
        takes
            && open
            && room()
            && cursor.has_room(limits.entries)
            && (cursor.behind || self.apart_positions_have_room())
    }

    fn read_apart_once(&mut self, name: &TopicName, partition: i32, now: Now) -> bool {
        match self.next_of_apart(name, partition, now) {
            OfSide::Block(info, payload) => {
                self.fill_apart(name, partition, (&info, &payload), now);
                true
            }
            OfSide::Passed => true,
            OfSide::Nothing => false,
        }
    }

    /// Reads on for the reader of a partition.
    pub(in super::super) fn next_of_apart(&mut self, name: &TopicName, partition: i32, now: Now) -> OfSide {
        let Self { sides, log, claims, .. } = self;
        let Some(side) = sides.get_mut(name) else { return OfSide::Nothing };
        let (streams, end) = (&side.streams, side.cursor.tracker.read());
        let Some(apart) = side.apart.get_mut(&partition).filter(|a| a.end.is_none()) else {
            return OfSide::Nothing;
        };
        // What the topic's reader has not read yet goes back to it. After a start it may be behind.
        if end < apart.cursor.tracker.read() {
            return OfSide::Nothing;
        }
        let mut want = |stream: &StreamName, range: SeqRange| {
            range.first < end
                && streams.get(stream).is_some_and(|from| *from <= range.first)
                && claims.wanted(stream, range.first).as_ref() == Some(name)
        };
        match apart.cursor.reader.next(&mut want) {
            Ok(Some(Read::Block(info, payload))) => {
                apart.since = info.time;
                return OfSide::Block(info, payload);
            }
            Ok(Some(Read::Skipped { range, .. })) if range.first < end => apart.cursor.pass(range.end),
            Ok(Some(Read::Gone { range, why })) if range.first < end => {
                apart.dropped |= why == Why::Dropped;
                apart.cursor.tracker.give_up(range, why);
                apart.cursor.pass(range.end.min(end));
            }
            Ok(_) => {
                apart.cursor.pass(end);
                apart.cursor.behind = false;
                // Of what it knows to be settled beyond, the topic's reader knows nothing.
                if apart.cursor.tracker.is_empty() && apart.restored.range(end..).next().is_none() {
                    apart.end = Some(end);
                    tracing::info!(topic = %name, partition, "the partition has caught up");
                } else {
                    apart.cursor.reader = log.reader(end);
                }
                return OfSide::Nothing;
            }
            Err(e) => {
                self.last_error = Some(e.to_string());
                apart.cursor.retry_at = Some(now.instant + self.settings.limits.stuck_after);
                return OfSide::Nothing;
            }
        }
        OfSide::Passed
    }

    fn fill_apart(
        &mut self,
        name: &TopicName,
        partition: i32,
        (info, payload): (&BlockInfo, &[u8]),
        now: Now,
    ) {
        self.enter_apart(name, partition, info, payload);
        let Self { topics, sides, settings, random, spare, sendable, .. } = self;
        let Some(topic) = topics.get_mut(name) else { return };
        let apart = sides.get_mut(name).and_then(|s| s.apart.get_mut(&partition));
        let Some(entry) = apart.and_then(|a| a.cursor.tracker.get_mut(info.range.first)) else { return };
        let only = Some(partition);
        let mut filler = Filler { topic, settings, random, spare, sendable, info, now, again: false, only };
        for (index, event) in (0u32..).zip(EventIter::new(payload).flatten()) {
            if entry.is_free(index) {
                entry.take(index);
                filler.add(index, &event);
            }
        }
    }

    /// Makes the entry of a block that the reader of a partition reads for the first time, if it has events there.
    pub(in super::super) fn enter_apart(
        &mut self,
        name: &TopicName,
        partition: i32,
        info: &BlockInfo,
        payload: &[u8],
    ) {
        let Self { sides, resumed, buried, claims, .. } = self;
        let Some(apart) = sides.get_mut(name).and_then(|s| s.apart.get_mut(&partition)) else { return };
        let first = info.range.first;
        if first >= apart.cursor.tracker.read() {
            let own = own_events(&apart.keys, info.range, payload);
            let before = claims.settled_before(info, payload);
            let is_own = |index| own.get(index) && !before.as_ref().is_some_and(|b| b.get(index));
            let hash = sum(info.range, payload, is_own);
            let mut others = Bits::new(own.len());
            (0..own.len()).filter(|index| !is_own(*index)).for_each(|index| others.set_all(index..index + 1));
            let fate = Fate::Topic { topic: name.clone(), hash };
            let mut entry = Entry::new(info.range, info.segment, info.time, fate);
            if let Some(known) = apart.restored.remove(&first) {
                entry = entry.restored(&known);
            }
            entry.leave(&others, None);
            if let Some(events) = resumed.get(&first) {
                events.ones().for_each(|i| entry.take(i));
            }
            if entry.is_all_foreign() {
                return apart.cursor.pass(info.range.end);
            }
            apart.cursor.behind = false;
            apart.cursor.tracker.push(entry);
        }
        bury_known(&mut apart.cursor.tracker, buried, info);
    }
}

/// Letters that an earlier process kept without saving that it had, as far as they are of this reader.
pub(in super::super) fn bury_known(
    tracker: &mut Tracker,
    buried: &mut BTreeMap<Seq, (RunId, u64)>,
    info: &BlockInfo,
) {
    let first = info.range.first;
    let known: Vec<Seq> = buried
        .range(first..info.range.end)
        .filter(|(_, (run, _))| *run == info.run)
        .map(|(seq, _)| *seq)
        .collect();
    for seq in known {
        let index = u32::try_from(seq.0.saturating_sub(first.0)).unwrap_or(u32::MAX);
        if tracker.get(first).is_some_and(|entry| !entry.is_foreign(index)) {
            buried.remove(&seq);
            tracker.bury(first, index);
        }
    }
}
