//! Dead letters that a person has asked to be sent again.
//!
//! They are read from their store, not from the log, and go into windows of their own, which are journaled like all others.
//! INVARIANT: one is put into a window only after the positions on disk say that it is being sent again, and its mark in the
//! store does; so whatever dies when, it is a letter, or being sent, or delivered, and never two of them.

use super::super::log::{BlockInfo, Log};
use super::super::topic::Standing;
use super::fill::{Filler, keyed_partition};
use super::letters::Content;
use super::{Engine, Now, SideReader, Sink};
use crate::event::{EventIter, UnixMillis};
use crate::ids::{RunId, Seq, SeqRange, TopicName};
use crate::state::journal::{Intent, Share};
use crate::state::letters::{Letter, Stored};
use crate::state::positions::Replaying;

/// A dead letter that is being sent again.
#[derive(Debug)]
pub(super) struct Redo {
    stored: Stored,
    /// Where it goes by now.
    topic: TopicName,
    /// It is written down that it is being sent.
    ready: bool,
    /// It is in a window, or refused again.
    taken: bool,
}

impl Redo {
    pub(super) fn id(&self) -> u64 {
        self.stored.id
    }

    pub(super) fn is_of(&self, run: RunId) -> bool {
        self.stored.letter.run == run
    }

    pub(super) fn event(&self) -> &[u8] {
        &self.stored.letter.event
    }

    /// Its event as a block of one.
    pub(super) fn info(&self, seq: Seq) -> BlockInfo {
        let letter = &self.stored.letter;
        BlockInfo {
            range: SeqRange::new(seq, seq.next()),
            stream: letter.stream.clone(),
            time: letter.time,
            run: letter.run,
            segment: None,
        }
    }

    pub(super) fn replaying(&self, seq: Seq) -> Replaying {
        Replaying { id: self.stored.id, seq, run: self.stored.letter.run }
    }

    /// What its next letter will say of it.
    pub(super) fn grave(&self) -> Content {
        let letter = &self.stored.letter;
        (letter.event.clone(), letter.run, letter.stream.clone(), letter.time)
    }
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// Whether the account has an event: it may be older than the account.
    fn counts(&self, seq: Seq) -> bool {
        seq >= self.since
    }

    /// Takes letters to send again, each of which [`Engine::may_redo`]; they wait for [`Engine::start_redo`]. They are pending
    /// from now on.
    pub fn begin_redo(&mut self, letters: Vec<Stored>) {
        let before = self.redo.keys().filter(|seq| self.counts(**seq)).count();
        self.insert_redo(letters, false);
        let after = self.redo.keys().filter(|seq| self.counts(**seq)).count();
        (before..after).for_each(|_| self.totals.take_back_letter());
    }

    /// The positions on disk and the store's marks say that those letters are being sent again.
    pub fn start_redo(&mut self) {
        self.redo.values_mut().for_each(|redo| redo.ready = true);
    }

    /// Takes over letters that an earlier process was sending again: what its positions say, and what the store has of it.
    /// Before [`Engine::resume`].
    pub fn restore_redo(&mut self, replaying: &[Replaying], letters: Vec<Stored>) {
        self.insert_redo(letters, true);
        let (arrived, under_way): (Vec<&Replaying>, Vec<&Replaying>) =
            replaying.iter().partition(|r| r.has_arrived());
        self.arrived = arrived.into_iter().map(|r| (r.seq, r.run)).collect();
        // Damage in the store.
        let is_gone = |r: &&Replaying| self.redo.get(&r.seq).is_none_or(|redo| redo.id() != r.id);
        let gone = under_way.into_iter().filter(|r| self.counts(r.seq)).filter(is_gone).count();
        self.totals.lost += gone as u64;
    }

    fn insert_redo(&mut self, letters: Vec<Stored>, ready: bool) {
        for stored in letters {
            let stream = &stored.letter.stream;
            let routed = self.claims.topic(stream, Seq(u64::MAX));
            let topic = routed.unwrap_or_else(|| stored.letter.topic.clone());
            let redo = Redo { topic, ready, taken: false, stored };
            self.redo.entry(redo.stored.letter.seq).or_insert(redo);
        }
    }

    /// What positions say of letters that are being sent again, or were.
    pub(super) fn replaying(&self) -> Vec<Replaying> {
        let under_way = self.redo.iter().map(|(seq, redo)| redo.replaying(*seq));
        let arrived = self.arrived.iter().map(|(seq, run)| Replaying { id: 0, seq: *seq, run: *run });
        under_way.chain(arrived).collect()
    }

    /// How many letters are being sent again.
    #[must_use]
    pub fn redo_len(&self) -> usize {
        self.redo.len()
    }

    /// Whether a letter's event may be sent again by now: it counts as a dead letter once the reader that had it is past it, and
    /// then its number means one thing only. Readers of other topics are not waited for.
    #[must_use]
    pub fn may_redo(&self, letter: &Letter) -> bool {
        let seq = letter.seq;
        let had = |side: &SideReader<L::Reader>| {
            // Positions of the first version do not say which streams.
            let stream = side.streams.get(&letter.stream).is_some_and(|from| *from <= seq);
            side.owns(seq) && (stream || side.streams.is_empty())
        };
        let readers = self.sides.values().filter(|side| had(side)).flat_map(|side| {
            let apart = side.apart.values().filter(|apart| apart.has(seq)).map(|apart| &apart.cursor);
            std::iter::once(&side.cursor).chain(apart).map(|cursor| &cursor.tracker)
        });
        let mut readers = readers.chain(std::iter::once(&self.main.tracker));
        self.buried.is_empty()
            && !self.redo.contains_key(&seq)
            && readers.all(|reader| seq < reader.position())
    }

    /// Takes the numbers of letters that are letters no more, once the positions that say so are durable.
    pub fn take_redone(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.redone)
    }

    /// Whether a window of an earlier process held letters: single events that are not settled, though the readers are past
    /// them.
    pub(super) fn is_redo(&self, intent: &Intent) -> bool {
        let is = |share: &Share| {
            share.events.len() == 1 && self.redo.get(&share.block).is_some_and(|r| r.is_of(share.run))
        };
        intent.shares.first().is_some_and(is)
    }

    /// A window of an earlier process holds these, if it held letters.
    pub(super) fn take_redo(&mut self, intent: &Intent) -> bool {
        let again = self.is_redo(intent);
        for share in intent.shares.iter().filter(|_| again) {
            self.hold_redo(share.block);
        }
        again
    }

    /// A letter is in no window any more.
    pub(super) fn free_redo(&mut self, block: Seq) {
        if let Some(redo) = self.redo.get_mut(&block) {
            redo.taken = false;
        }
    }

    /// A letter is in a window, or refused again.
    pub(super) fn hold_redo(&mut self, block: Seq) {
        if let Some(redo) = self.redo.get_mut(&block) {
            redo.taken = true;
        }
    }

    /// A letter was refused again, and is another one now.
    pub(super) fn rebury(&mut self, block: Seq) {
        if let Some(redo) = self.redo.remove(&block) {
            self.totals.dead_lettered += u64::from(self.counts(block));
            self.redone.push(redo.id());
        }
    }

    /// A letter has arrived. When its event was accepted.
    pub(super) fn settle_redo(&mut self, block: Seq) -> Option<UnixMillis> {
        let redo = self.redo.remove(&block)?;
        self.totals.delivered += u64::from(self.counts(block));
        self.redone.push(redo.id());
        if block >= self.settled_below() {
            self.arrived.insert(block, redo.stored.letter.run);
        }
        Some(redo.stored.letter.time)
    }

    /// Puts what may be sent again into windows.
    pub(super) fn redo_due(&mut self, now: Now) {
        if self.redo.is_empty() || self.closing {
            return;
        }
        let due = self.redo.iter().filter(|(_, redo)| redo.ready && !redo.taken);
        let due: Vec<(Seq, TopicName)> = due.map(|(seq, redo)| (*seq, redo.topic.clone())).collect();
        for (seq, name) in due {
            self.ensure_topic(&name);
            if self.topics.get(&name).is_some_and(|topic| self.is_silent(topic, now)) {
                continue;
            }
            let Self { topics, sides, redo, settings, random, spare, sendable, .. } = self;
            let Some(topic) = topics.get_mut(&name) else { continue };
            let Some(redo) = redo.get_mut(&seq) else { continue };
            if topic.standing != Standing::Ready
                || topic.recounting
                || topic.bytes() >= settings.limits.side_buffer
            {
                continue;
            }
            let info = redo.info(seq);
            let event = EventIter::new(redo.event()).next();
            let key = event.as_ref().and_then(|event| event.as_ref().ok()?.key);
            let leads_to = keyed_partition(settings.partitioner, key, topic.count);
            // As the partition's own reader does: it would come back, and be sent again at once.
            let waits = match leads_to {
                Some(partition) => {
                    let apart = sides.get(&name).and_then(|side| side.apart.get(&partition));
                    apart.is_some_and(|apart| !topic.is_led(partition) || apart.pauses(now.instant))
                }
                // As the topic's reader.
                None => topic.has_none_left(),
            };
            if waits {
                continue;
            }
            if let Some(Ok(event)) = event {
                let mut filler = Filler {
                    topic,
                    settings,
                    random,
                    spare,
                    sendable,
                    info: &info,
                    now,
                    again: true,
                    only: None,
                };
                filler.add(0, &event);
            }
            redo.taken = true;
        }
    }
}
