//! Events that will never arrive: which they are, and how they become dead letters.
//!
//! An event is *condemned* when the destination has refused it by itself, without doubt; or when its topic has been missing
//! or forbidden for too long. Condemned events are given out as letters ([`Engine::letters`]); once these are durable
//! ([`Engine::buried`]) the events are settled. INVARIANT: before that it is written down that the windows that were refused
//! are not in the log ([`Engine::has_news`]): a later process would find them in doubt, and send what has a letter. A batch that is refused without saying for which event is cut in halves
//! until it is known.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::line::InFlight;
use super::super::log::{Log, LogReader, Read, Why};
use super::super::squeeze::Squeeze;
use super::super::topic::{Standing, Topic};
use super::super::tracker::Tracker;
use super::redo::Redo;
use super::{Engine, Now, Sink};
use crate::event::{UnixMillis, first_event_len};
use crate::ids::{DestinationName, LaneName, RunId, Seq, SeqRange, StreamName, TopicName};
use crate::state::letters::{Letter, Reason};
use crate::state::positions::Bits;

/// Kafka's error codes for a batch over the topic's `max.message.bytes`, and over its segment's size.
const TOO_LARGE: [i16; 2] = [10, 18];
const INVALID_TIMESTAMP: i16 = 32;
/// Letters given out at a time.
pub(super) const BURST: usize = 64;
/// Bytes of them, unless a single one has more.
const BURST_BYTES: usize = 1 << 20;
/// A topic that has refused the time of an event is given the time of sending for this long, unless more is known of it
/// before: it may have been one event, or a clock.
const RESTAMP_FOR: Duration = Duration::from_secs(600);
/// An event's bytes, the run and the stream it was accepted under, and when.
pub(super) type Content = (Vec<u8>, RunId, StreamName, UnixMillis);

/// Why events are condemned: one refusal may be of thousands.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) topic: TopicName,
    pub(super) partition: i32,
    pub(super) reason: Reason,
    pub(super) code: i16,
    pub(super) message: String,
}

/// A condemned event.
#[derive(Debug)]
pub(super) struct Grave {
    verdict: Arc<Verdict>,
    block: Seq,
    index: u32,
    /// Its bytes and what is known of it, once they have been read.
    event: Option<Content>,
    /// It was a letter before.
    again: bool,
    /// It was given out as a letter.
    given: bool,
}

impl Grave {
    pub(super) fn new(
        verdict: &Arc<Verdict>,
        (block, index): (Seq, u32),
        event: Option<Content>,
        again: bool,
    ) -> Self {
        Self { verdict: Arc::clone(verdict), block, index, event, again, given: false }
    }
}

impl Grave {
    /// Its topic, if that has to wait for it.
    pub(super) fn topic(&self) -> Option<&TopicName> {
        (!self.again).then_some(&self.verdict.topic)
    }

    #[cfg(test)]
    pub(super) fn seq(&self) -> Seq {
        self.block.plus(u64::from(self.index))
    }
}

/// What a definite refusal means.
#[derive(Debug, PartialEq, Eq)]
enum Sentence {
    /// Smaller windows may pass.
    Smaller,
    /// The same events may pass under the time of sending.
    Restamp,
    /// One of the events is at fault, and it is not known which.
    Halve,
    /// The events at these places are at fault.
    Condemn(Vec<u32>, Reason),
}

/// `records`: the places of the events at fault, where the broker said them.
fn sentence(code: i16, count: u32, records: &[u32], by_event_time: bool) -> Sentence {
    let mut places: Vec<u32> = records.iter().copied().filter(|place| *place < count).collect();
    places.sort_unstable();
    places.dedup();
    match TOO_LARGE.contains(&code) {
        true if count > 1 => Sentence::Smaller,
        true => Sentence::Condemn(vec![0], Reason::TooLarge),
        false if code == INVALID_TIMESTAMP && by_event_time => Sentence::Restamp,
        false if !places.is_empty() => Sentence::Condemn(places, Reason::Refused),
        false if count > 1 => Sentence::Halve,
        false => Sentence::Condemn(vec![0], Reason::Refused),
    }
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// A window was refused for good, and taken back.
    pub(super) fn refused(
        &mut self,
        (name, partition): (&TopicName, i32),
        window: &InFlight,
        (code, message, records): (i16, &str, &[u32]),
        now: Now,
    ) {
        let count = window.parts.count();
        let may_restamp = self.settings.timestamp == crate::config::model::TimestampPolicy::Auto;
        let Some(topic) = self.topics.get_mut(name) else { return };
        // Another window may have been refused for the same reason while this one was on its way.
        match sentence(code, count, records, may_restamp && window.restamped == 0) {
            // It was larger than it was expected to be: that was the guess's fault, not the limit's.
            Sentence::Smaller if window.bytes > topic.batch_size.get() => topic.squeeze = Squeeze::default(),
            Sentence::Smaller => topic.batch_size.refused(),
            Sentence::Restamp => topic.by_time_of_sending = Some(now.instant + RESTAMP_FOR),
            Sentence::Halve => topic.most = (count / 2).max(1),
            Sentence::Condemn(places, reason) => {
                topic.most = u32::MAX;
                let (topic, message) = (name.clone(), message.to_owned());
                let verdict = Arc::new(Verdict { topic, partition, reason, code, message });
                for (block, index) in places.into_iter().filter_map(|place| window.parts.nth(place)) {
                    match window.again {
                        true => self.hold_redo(block),
                        false => self.take_event(name, window, (block, index)),
                    }
                    self.graves.push(Grave::new(&verdict, (block, index), None, window.again));
                }
            }
        }
        // By a reader of its own: what is refused again and again must not have the others' blocks read again each time.
        self.set_apart(name);
    }

    /// The event is in no window, and not to be put into one.
    fn take_event(&mut self, name: &TopicName, window: &InFlight, (block, index): (Seq, u32)) {
        let take =
            |tracker: &mut Tracker| tracker.get_mut(block).into_iter().for_each(|entry| entry.take(index));
        if self.with_owner(name, block, index, take) {
            return;
        }
        // The window was an earlier process's, and its blocks have not been read again yet.
        let shares = window.intent.iter().flat_map(|intent| &intent.shares);
        if let Some(share) = shares.into_iter().find(|share| share.block == block) {
            self.resumed.entry(block).or_insert_with(|| Bits::new(share.events.len())).set(index);
        }
    }

    /// Something was written to a topic: it is there, and what is refused of it is known one by one.
    pub(super) fn accept_ack(&mut self, name: &TopicName, window: &InFlight, now: Now) {
        if let Some(topic) = self.topics.get_mut(name) {
            let before = topic.acked_at.replace(now.instant);
            let anew = before.is_none_or(|acked| now.instant >= acked + self.settings.limits.stuck_after);
            topic.note_others(now.instant, anew);
            (topic.missing, topic.missing_before) = (None, Duration::ZERO);
            topic.most = topic.most.saturating_mul(2);
            topic.batch_size.arrived(window.bytes);
        }
        if let Some(side) = self.sides.get_mut(name) {
            side.missing_for = Duration::ZERO;
        }
    }

    /// Whether [`Engine::letters`] has something to give.
    #[must_use]
    pub fn has_letters(&self, now: Instant) -> bool {
        self.graves_after.is_none_or(|at| now >= at) && (!self.graves.is_empty() || self.overdue().is_some())
    }

    /// Events to be kept as dead letters; the same again until [`Engine::buried`].
    pub fn letters(&mut self, lane: &LaneName, destination: &DestinationName, now: Now) -> Vec<Letter> {
        self.graves_after = None;
        self.read_graves(now);
        let (mut letters, mut bytes) = (Vec::new(), 0);
        for grave in &mut self.graves {
            let Some((event, run, stream, time)) = &grave.event else { continue };
            if letters.len() == BURST || (bytes > 0 && bytes + event.len() > BURST_BYTES) {
                break;
            }
            bytes += event.len();
            grave.given = true;
            let Verdict { topic, partition, reason, code, message } = &*grave.verdict;
            letters.push(Letter {
                at: now.unix,
                lane: lane.clone(),
                destination: destination.clone(),
                seq: grave.block.plus(u64::from(grave.index)),
                run: *run,
                stream: stream.clone(),
                topic: topic.clone(),
                partition: *partition,
                reason: *reason,
                code: *code,
                message: message.clone(),
                time: *time,
                event: event.clone(),
            });
        }
        letters
    }

    /// What [`Engine::letters`] gave last is durable; `last` is the number of the last of them.
    pub fn buried(&mut self, last: u64) {
        self.last_letter = self.last_letter.max(last);
        let (given, left) = std::mem::take(&mut self.graves).into_iter().partition(|g: &Grave| g.given);
        self.graves = left;
        let given: Vec<Grave> = given;
        let first = (last + 1).saturating_sub(given.len() as u64);
        for (id, grave) in (first..).zip(given) {
            let Grave { verdict, block, index, .. } = &grave;
            if grave.again {
                self.rebury(*block);
            } else if self.with_owner(&verdict.topic, *block, *index, |tracker| tracker.bury(*block, *index))
            {
            } else if let Some((_, run, ..)) = grave.event {
                self.buried.insert(block.plus(u64::from(*index)), (run, id));
            }
            self.forget_resumed(*block, *index);
        }
        self.pop_finished();
    }

    /// A condemned event of an earlier process's window is in no doubt any more.
    fn forget_resumed(&mut self, block: Seq, index: u32) {
        if let Some(taken) = self.resumed.get_mut(&block) {
            taken.clear(index);
            self.resumed.retain(|_, taken| taken.count() > 0);
        }
    }

    /// The letters can't be kept for now: their topics wait until they are tried again, and the others go on.
    pub fn letters_refused(&mut self, why: &str, retry_at: Instant) {
        let names: BTreeSet<TopicName> = self.graves.iter().filter_map(Grave::topic).cloned().collect();
        for name in names {
            // One that is missing waits already, and for that.
            let waits = |t: &Topic| matches!(t.standing, Standing::Waiting { retry_at: None, .. });
            if !self.topics.get(&name).is_some_and(waits) {
                let reason = format!("an event is refused, and dead letters can't be kept: {why}");
                self.stand_back(&name, reason, Some(retry_at));
            }
        }
        self.graves.iter_mut().for_each(|grave| grave.given = false);
    }

    /// Whether more may be read of a topic, though it may be refused too: what waits to be kept is bounded, and holds back nobody else.
    pub(super) fn may_condemn(&self, name: &TopicName) -> bool {
        self.graves.len() < self.settings.limits.graves
            || !self.graves.iter().any(|grave| grave.verdict.topic == *name)
    }

    /// Letters that an earlier process kept without saving that it had. Before the first pump.
    pub fn known_letters(&mut self, letters: impl IntoIterator<Item = (u64, Seq, RunId)>) {
        for (id, seq, run) in letters {
            self.last_letter = self.last_letter.max(id);
            if self.redo.get(&seq).is_some_and(|redo| redo.is_of(run)) {
                // It was being sent again, and refused once more.
                self.rebury(seq);
            } else {
                self.buried.insert(seq, (run, id));
            }
        }
    }

    /// Number of the last letter of which the positions know what it is, as those before it.
    pub(super) fn counted_letters(&self) -> u64 {
        let unread = self.buried.values().map(|(_, id)| id.saturating_sub(1)).min();
        unread.unwrap_or(self.last_letter)
    }

    /// Reads the bytes of condemned events, of as many as are given out at a time.
    fn read_graves(&mut self, now: Now) {
        let (mut looked_at, mut bytes) = (0, 0);
        while looked_at < BURST.min(self.graves.len()) && bytes < BURST_BYTES {
            if let Err(why) = self.read_grave(looked_at) {
                self.last_error = Some(why);
                self.graves_after = Some(now.instant + self.settings.limits.stuck_after);
                return;
            }
            let event = self.graves.get(looked_at).and_then(|grave| grave.event.as_ref());
            bytes += event.map_or(0, |(event, ..)| event.len());
            looked_at += 1;
        }
        self.give_up_unread(looked_at);
    }

    fn read_grave(&mut self, at: usize) -> Result<(), String> {
        let Some(grave) = self.graves.get(at).filter(|g| g.event.is_none()) else { return Ok(()) };
        let event = match grave.again {
            true => self.redo.get(&grave.block).map(Redo::grave),
            false => self.read_event(grave.block, grave.index)?,
        };
        if let Some(grave) = self.graves.get_mut(at) {
            grave.event = event;
        }
        Ok(())
    }

    fn read_event(&self, block: Seq, index: u32) -> Result<Option<Content>, String> {
        let mut want = |_: &StreamName, range: SeqRange| range.first == block;
        let read = self.log.reader(block).next(&mut want).map_err(|e| e.to_string())?;
        let Some(Read::Block(info, payload)) =
            read.filter(|r| matches!(r, Read::Block(i, _) if i.range.first == block))
        else {
            return Ok(None);
        };
        let bytes = events(&payload).nth(usize::try_from(index).unwrap_or(usize::MAX));
        Ok(bytes.map(|bytes| (bytes.to_vec(), info.run, info.stream, info.time)))
    }

    /// Condemned events, of the first so many, that the log has no more are free again: whoever reads finds them gone, and counts
    /// them so.
    fn give_up_unread(&mut self, first: usize) {
        let (gone, left): (Vec<_>, Vec<_>) =
            (0..).zip(std::mem::take(&mut self.graves)).partition(|(i, g)| *i < first && g.event.is_none());
        self.graves = left.into_iter().map(|(_, grave)| grave).collect();
        for (_, grave) in gone {
            let Grave { verdict, block, index, .. } = grave;
            let one = SeqRange::new(block.plus(u64::from(index)), block.plus(u64::from(index) + 1));
            self.last_error = Some(format!("event {} was refused, and can't be read any more", one.first));
            self.with_owner(&verdict.topic, block, index, |tracker| {
                tracker.free(block, index..index + 1);
                tracker.give_up(one, Why::Lost);
            });
            // Nobody may have read its block again yet. Nothing waits for it any more.
            self.forget_resumed(block, index);
        }
    }
}

/// Each encoded event of a block, with its length before it.
pub(super) fn events(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let (event, after) = rest.split_at_checked(first_event_len(rest).ok()?)?;
        rest = after;
        Some(event).filter(|e| !e.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_event_is_condemned_only_where_it_alone_can_be_at_fault() {
        use Sentence::{Condemn, Halve, Restamp, Smaller};
        assert_eq!(sentence(10, 5, &[], true), Smaller);
        assert_eq!(sentence(10, 5, &[2], true), Smaller, "the batch is too large, not the record");
        assert_eq!(sentence(18, 1, &[], true), Condemn(vec![0], Reason::TooLarge));
        assert_eq!(sentence(87, 5, &[4, 2, 4, 9], true), Condemn(vec![2, 4], Reason::Refused));
        assert_eq!(sentence(87, 5, &[5], true), Halve, "there is no such place");
        assert_eq!(sentence(87, 5, &[], true), Halve);
        assert_eq!(sentence(87, 1, &[], true), Condemn(vec![0], Reason::Refused));
        assert_eq!(sentence(32, 5, &[1], true), Restamp);
        assert_eq!(sentence(32, 5, &[1], false), Condemn(vec![1], Reason::Refused));
    }
}
