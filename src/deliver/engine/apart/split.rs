//! When partitions are set apart, and what goes to their readers.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::{Cursor, Engine, Now, Sink};
use super::ApartReader;
use super::keys::{code, is_foreign_to, own_events, sum};
use crate::deliver::line::Line;
use crate::deliver::log::{Log, LogReader, Read};
use crate::deliver::topic::{Standing, Topic};
use crate::ids::{Seq, SeqRange, StreamName, TopicName};
use crate::kafka::TopicState;
use crate::state::positions::{Bits, Keys, Totals};

/// A window in flight whose events take more than this in a positions file is not split off with its partition.
const MAX_EXTRAS: usize = 16 << 10;
/// And those of all together.
const MAX_ALL_EXTRAS: usize = 64 << 10;
/// Kafka's error code for a partition with fewer replicas in sync than its topic wants: others may have enough.
const NOT_ENOUGH_REPLICAS: i16 = 19;
/// Partitions that can be apart.
const MOST: usize = 128;

/// Which events of each block are to be the partition's, and the sum of their hashes.
type Blocks = BTreeMap<Seq, (Bits, u64)>;

impl<L: Log, S: Sink> Engine<L, S> {
    /// Has keys choose among the partitions that topics have by now. What is in windows is settled or read again first, so that
    /// no event is taken back from one partition after a later one of its key has gone to another. A partition of a topic that has
    /// grown, and that does not answer, is not waited for, where the old number leads all that is on its way to where that was sent: keys
    /// go on to choose among as many as before.
    pub(in super::super) fn recount(&mut self, now: Now) {
        let after = self.settings.limits.stuck_after;
        let may_stray = !self.resumed.is_empty();
        let miscounted = self.topics.values().filter(|t| t.recounting || t.is_miscounted(may_stray));
        let names: Vec<TopicName> = miscounted.map(|t| t.name.clone()).collect();
        for name in names {
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            let late = topic.in_flight_since().is_some_and(|since| now.instant >= since + after);
            let goes_on = late && topic.has_grown() && topic.is_cut_by_count();
            if !topic.is_miscounted(may_stray) || goes_on {
                topic.recounting = false;
                continue;
            }
            if topic.lines.values().all(Line::is_idle) {
                topic.count_anew();
                // What has arrived by the old number is to be known before anything goes by the new one: a process that took it for in
                // doubt might send it again, behind later events of its keys.
                self.routes_unsaved = true;
                continue;
            }
            if !std::mem::replace(&mut topic.recounting, true) {
                self.set_apart(&name);
            }
        }
    }

    /// Sets partitions apart that have been silent for too long since others of their topic took events, where the topic's
    /// reader can't go on for them. Returns whether there were any. Where all of them are silent, or answer again one after the
    /// other, none is.
    pub(in super::super) fn set_stuck_partitions_apart(&mut self, now: Now) -> bool {
        if !self.link_up || self.closing {
            return false;
        }
        let stuck: Vec<(TopicName, i32)> = self.stuck_partitions(now).collect();
        stuck.into_iter().filter(|(name, partition)| self.set_partition_apart(name, *partition, now)).count()
            > 0
    }

    fn stuck_partitions(&self, now: Now) -> impl Iterator<Item = (TopicName, i32)> {
        let after = self.settings.limits.stuck_after;
        let blocked = self.sides.iter().filter(move |(name, side)| {
            side.end.is_none()
                && side.split_after.is_none_or(|at| now.instant >= at)
                && self.is_side_full(name, now)
        });
        // One that waits for nothing, or was never written to, may be about to go on.
        let others_go_on = move |topic: &&Topic| {
            u32::try_from(topic.lines.len()).is_ok_and(|used| used < topic.count)
                || topic.lines.values().any(|line| line.late(now.instant, after).is_none())
        };
        let topics = blocked.filter_map(|(name, _)| self.topics.get(name)).filter(others_go_on);
        topics.flat_map(move |topic| {
            let late = topic.lines.iter().filter(move |(_, line)| {
                let others_since = line.in_flight.as_ref().and_then(|f| f.others_since);
                others_since.is_some_and(|since| now.instant >= since + after)
            });
            late.map(|(partition, _)| (topic.name.clone(), *partition))
        })
    }

    /// Whether the reader of a topic that is apart can't take more.
    fn is_side_full(&self, name: &TopicName, now: Now) -> bool {
        let full = |topic: &Topic| topic.standing == Standing::Ready && self.is_side_buffer_full(topic, now);
        self.topics.get(name).is_some_and(full)
            || self.sides.get(name).is_some_and(|s| !s.cursor.has_room(self.settings.limits.entries))
            || !self.side_positions_have_room()
    }

    /// When [`Engine::set_stuck_partitions_apart`] may find another.
    pub(in super::super) fn next_stuck_partition(&self, now: Now) -> Option<Instant> {
        let full =
            self.sides.iter().filter(|(name, side)| side.end.is_none() && self.is_side_full(name, now));
        let topics = full.filter_map(|(name, _)| self.topics.get(name));
        let late = topics.flat_map(|t| t.lines.iter().filter(|(p, _)| !t.apart.contains(p)));
        let since = late.filter_map(|(_, line)| line.in_flight.as_ref()).filter_map(|f| f.others_since);
        let paused = self.sides.values().flat_map(|s| s.apart.values()).filter_map(|a| a.cursor.retry_at);
        let recounting = self.topics.values().filter(|t| t.recounting).filter_map(Topic::in_flight_since);
        let late = since.chain(recounting).map(|since| since + self.settings.limits.stuck_after);
        late.chain(self.sides.values().filter_map(|s| s.split_after)).chain(paused).min()
    }

    /// Gives a partition of a topic that has a reader of its own another one. Returns whether it has one by now that it had
    /// not before.
    pub(in super::super) fn set_partition_apart(
        &mut self,
        name: &TopicName,
        partition: i32,
        now: Now,
    ) -> bool {
        let Some(keys) = self.may_be_apart(name, partition) else { return false };
        let Some(side) = self.sides.get_mut(name) else { return false };
        let again = side.apart.get(&partition).and_then(|apart| apart.end);
        let from = again.unwrap_or_else(|| side.cursor.tracker.position());
        let read = self.read_split(name, &keys, from);
        self.last_error = read.as_ref().err().cloned().or(self.last_error.take());
        let Some(blocks) = read.ok().flatten().filter(|blocks| self.is_alone(name, partition, blocks)) else {
            if let Some(side) = self.sides.get_mut(name) {
                side.split_after = Some(now.instant + self.settings.limits.stuck_after);
            }
            return false;
        };
        // Of the whole topic: what is freed is read again, and windows hold blocks in their order.
        self.discard_unsent(name);
        self.split(name, keys, from, blocks);
        if let Some(topic) = self.topics.get_mut(name) {
            topic.apart.insert(partition);
            topic.sticky.forget();
        }
        self.move_sides_back(name);
        tracing::info!(topic = %name, partition, "the partition takes no events: it is set apart, and the others go on");
        true
    }

    /// What is told by whose events are whose, if a partition can be set apart.
    fn may_be_apart(&self, name: &TopicName, partition: i32) -> Option<Keys> {
        let (topic, side) = (self.topics.get(name)?, self.sides.get(name).filter(|s| s.end.is_none())?);
        if self.claims.have_taken() {
            return None;
        }
        let by = code(self.settings.partitioner);
        let line = topic.lines.get(&partition);
        let in_flight = line.and_then(|l| l.in_flight.as_ref()).filter(|f| !f.again);
        let mut shares = in_flight.map(|f| f.parts.shares()).unwrap_or_default();
        let before = side.apart.get(&partition);
        let from = before.map_or(side.from, |apart| apart.end.unwrap_or_default());
        let fits = side.apart.values().all(|a| a.keys.count == topic.count && a.keys.by == by);
        // Events without a key have to go somewhere.
        let counted = usize::try_from(topic.count).unwrap_or(usize::MAX);
        let others = (0i32..).zip(topic.partitions.iter().take(counted)).any(|(other, info)| {
            other != partition && info.leader.is_some() && !topic.apart.contains(&other)
        });
        let known = u32::try_from(partition).is_ok_and(|p| p < topic.count) && topic.may_split(partition);
        let read = side.cursor.tracker.read();
        let owned = shares.iter().all(|share| share.block >= from && share.block < read);
        let unclear =
            self.restored.range(side.cursor.tracker.read()..).any(|(_, p)| p.given_up != Totals::default());
        let is_new = before.is_none_or(|apart| apart.end.is_some());
        let all = || self.sides.values().flat_map(|side| side.apart.values());
        let room = all().count() < MOST && self.apart_positions_have_room();
        if !(is_new && fits && others && known && owned && !unclear && room) {
            return None;
        }
        shares.sort_by_key(|share| share.block);
        let mut extras = before.map(|apart| apart.keys.extras.clone()).unwrap_or_default();
        extras.extend(shares.into_iter().map(|share| (share.block, share.events)));
        let size = |extras: &[(Seq, Bits)]| {
            extras.iter().map(|(_, events)| 16 + events.words().len() * 8).sum::<usize>()
        };
        let (more, known) = (size(&extras), all().map(|apart| size(&apart.keys.extras)).sum::<usize>());
        (more <= MAX_EXTRAS && known + more <= MAX_ALL_EXTRAS).then_some(Keys {
            partition,
            count: topic.count,
            by,
            extras,
        })
    }

    /// Whether no other partition's window in flight has events that would be the partition's: an earlier process may have sent
    /// it by another number of partitions.
    fn is_alone(&self, name: &TopicName, partition: i32, blocks: &Blocks) -> bool {
        let (Some(topic), Some(side)) = (self.topics.get(name), self.sides.get(name)) else { return false };
        let read = side.cursor.tracker.read();
        let others = topic.lines.iter().filter(|(p, _)| **p != partition && !topic.apart.contains(p));
        let in_flight = others.filter_map(|(_, line)| line.in_flight.as_ref()).filter(|f| !f.again);
        let withdrawn = topic.lines.keys().filter(|p| **p != partition && !topic.apart.contains(p));
        let withdrawn = withdrawn.flat_map(|p| self.withdrawn(name, *p)).cloned();
        in_flight.flat_map(|f| f.parts.shares()).chain(withdrawn).all(|share| {
            let own = blocks.get(&share.block).map(|(own, _)| own);
            share.block < read && own.is_none_or(|own| share.events.ones().all(|index| !own.get(index)))
        })
    }

    /// Of each block that the reader of a topic holds, from `from` on, the events that are to be the partition's, and the
    /// sum of their hashes. `None`: what is on its way to the partition was sent by another number of partitions.
    fn read_split(&self, name: &TopicName, keys: &Keys, from: Seq) -> Result<Option<Blocks>, String> {
        let Some(side) = self.sides.get(name) else { return Ok(None) };
        let tracker = &side.cursor.tracker;
        let extras = |first| keys.extras_of(first).cloned().map(|events| (first, (events, 0)));
        // Of one that can't be read any more nobody can tell more than that.
        let mut blocks: Blocks = tracker.blocks_from(from).filter_map(extras).collect();
        let mut reader = self.log.reader(from);
        let mut want = |_: &StreamName, range: SeqRange| tracker.has(range.first);
        loop {
            match reader.next(&mut want).map_err(|e| e.to_string())? {
                None => return Ok(Some(blocks)),
                Some(Read::Block(info, payload)) if info.range.first < tracker.read() => {
                    if is_foreign_to(keys, info.range, &payload) {
                        return Ok(None);
                    }
                    let own = own_events(keys, info.range, &payload);
                    let hash = sum(info.range, &payload, |index| own.get(index));
                    blocks.insert(info.range.first, (own, hash));
                }
                Some(Read::Skipped { range, .. } | Read::Gone { range, .. })
                    if range.end < tracker.read() => {}
                Some(_) => return Ok(Some(blocks)),
            }
        }
    }

    fn split(&mut self, name: &TopicName, keys: Keys, from: Seq, blocks: Blocks) {
        let Self { sides, log, restored, .. } = self;
        let Some(side) = sides.get_mut(name) else { return };
        let partition = keys.partition;
        let read = side.cursor.tracker.read();
        let apart = side.apart.entry(partition).or_insert_with(|| ApartReader {
            cursor: Cursor::new(log.reader(from), from),
            keys: keys.clone(),
            from,
            end: Some(from),
            waiting: 0,
            since: 0,
            dropped: false,
            restored: BTreeMap::new(),
        });
        (apart.keys, apart.end) = (keys, None);
        for (block, (events, sum)) in blocks {
            if let Some(entry) = side.cursor.tracker.split(block, &events, sum, partition) {
                apart.cursor.tracker.push(entry);
            }
        }
        apart.since = apart.cursor.tracker.front().map_or(0, |entry| entry.time);
        apart.cursor.tracker.skip_to(read);
        apart.cursor.tracker.forget_untouched();
        let known = restored.range(read..).map(|(first, block)| (*first, block.clone()));
        apart.restored.extend(known);
    }

    /// Moves the readers of a topic that is apart back to what is in no window. What the main reader has of it, from before, may be in none
    /// either.
    pub(in super::super) fn move_sides_back(&mut self, name: &TopicName) {
        let Self { main, sides, log, .. } = self;
        let Some(side) = sides.get_mut(name) else { return };
        side.left_behind |= main.tracker.has_free_of(name);
        let cursors = std::iter::once(&mut side.cursor).chain(side.apart.values_mut().map(|a| &mut a.cursor));
        for cursor in cursors {
            let from = cursor.tracker.first_free().unwrap_or(cursor.tracker.read());
            cursor.move_back(log.reader(from));
        }
    }

    /// Frees the events of the windows of one partition that were not sent.
    pub(in super::super) fn discard_unsent_of(&mut self, name: &TopicName, partition: i32) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let discarded = topic.lines.get_mut(&partition).map(Line::discard_unsent);
        self.sendable.remove(&(name.clone(), partition));
        topic.sticky.forget();
        self.free_discarded(name, &discarded.unwrap_or_default());
    }

    /// A partition could not be written to, for this reason, while its topic is there. Returns whether it alone waits now.
    pub(in super::super) fn pause_partition(
        &mut self,
        (name, partition): (&TopicName, i32),
        code: i16,
        now: Now,
    ) -> bool {
        let state = self.topology.as_ref().and_then(|t| t.topics.get(name));
        let Some(TopicState::Present { partitions, .. }) = state else { return false };
        let led = usize::try_from(partition)
            .ok()
            .and_then(|at| partitions.get(at))
            .is_some_and(|p| p.leader.is_some());
        let is_apart = |engine: &Self| {
            engine.sides.get(name).and_then(|s| s.apart.get(&partition)).is_some_and(|a| a.end.is_none())
        };
        if !is_apart(self) {
            let takes = led && code != NOT_ENOUGH_REPLICAS;
            let may = |t: &Topic| t.standing == Standing::Ready && t.may_split(partition);
            if takes || !self.topics.get(name).is_some_and(may) {
                return false;
            }
            self.set_apart(name);
            if !self.set_partition_apart(name, partition, now) {
                return false;
            }
        }
        self.discard_unsent_of(name, partition);
        self.move_sides_back(name);
        let retry_at = now.instant + self.settings.limits.stuck_after;
        let side = self.sides.get_mut(name).and_then(|side| side.apart.get_mut(&partition));
        side.into_iter().for_each(|apart| apart.cursor.retry_at = Some(retry_at));
        true
    }
}
