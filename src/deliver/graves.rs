//! What a delivery's thread does for dead letters: it keeps them, and has them sent again.
//!
//! INVARIANT: an event is settled as a dead letter only once its letter is durable. A letter is sent again only once the
//! positions on disk say so, and then its mark in the store; it is gone from the store only once the positions on disk say
//! that it was delivered.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::engine::{Engine, Sink};
use super::log::Log;
use super::worker::{Names, ROUND, Rounds, Worker, now};
use crate::disk::Fs;
use crate::kafka::LinkError;
use crate::sabotage::{self, Bug};
use crate::state::letters::{Letter, Letters, LettersError, Stored};
use crate::state::positions::Replaying;

/// After letters could not be kept they are tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// Letters sent again at a time, so that positions stay small.
const AT_A_TIME: usize = 64;

/// What is known of letters when a process begins. Before the engine takes over what is in doubt.
pub(super) fn restore<L: Log, S: Sink, F: Fs>(
    engine: &mut Engine<L, S>,
    store: &Letters<F>,
    names: &Names,
    (counted, replaying): (u64, &[Replaying]),
) -> Result<(), LettersError> {
    let ids: Vec<u64> = replaying.iter().filter(|r| !r.has_arrived()).map(|r| r.id).collect();
    let letters = store.load(&ids)?;
    engine.restore_redo(replaying, letters);
    let others: Vec<u64> = store.taken().into_iter().filter(|id| !ids.contains(id)).collect();
    let others = store.load(&others)?.into_iter().filter(|s| names.own(&s.letter)).map(|s| s.id);
    // Positions that know of a letter and not that it is being sent have seen it delivered; others are older than it.
    let (delivered, unknown): (Vec<u64>, Vec<u64>) = others.partition(|id| *id <= counted);
    let marked =
        store.take(&ids).and_then(|()| store.remove(&delivered)).and_then(|()| store.put_back(&unknown));
    if let Err(error) = marked {
        // What is marked as being sent again is listed nowhere, so nothing comes of it but room that is not given back.
        tracing::error!(%error, "what has become of dead letters can't be marked");
    }
    // Of one that has the name from another nobody else could have counted them.
    let is_new = |letter: &Letter| letter.lane == names.lane && letter.destination == names.destination;
    let known = store.find_after(counted, usize::MAX, |s| is_new(&s.letter))?;
    engine.known_letters(known.letters.iter().map(|s| (s.id, s.letter.seq, s.letter.run)));
    Ok(())
}

impl<L: Log, S: Sink, F: Fs> Worker<L, S, F> {
    /// Keeps what has become dead letters. Returns whether there is more.
    pub(super) fn bury(&mut self, rounds: &mut Rounds) -> bool {
        let at = now();
        if at.instant < rounds.letters_after || !self.engine.has_letters(at.instant) {
            return false;
        }
        if !self.settle_journal(rounds) {
            rounds.letters_after = Instant::now() + ROUND;
            return false;
        }
        let further = self.engine.condemn_more(at);
        let letters = self.engine.letters(&self.names.lane, &self.names.destination, at);
        if letters.is_empty() {
            return further;
        }
        if sabotage::commits(Bug::PositionBeforeLetter) {
            self.engine.buried(self.letters.last() + letters.len() as u64);
            self.save(rounds);
            self.sync(rounds);
        }
        match self.letters.append(&letters) {
            Ok(last) => {
                self.engine.buried(last);
                self.counts.dead_lettered(&letters);
                rounds.dirty = true;
                self.tell(&letters, last, rounds);
            }
            Err(e) => {
                self.want_room(&e);
                rounds.letters_after = at.instant + RETRY;
                self.engine.letters_refused(&e.to_string(), rounds.letters_after);
                let hint = "look at `spoolway dlq list`; send letters again or purge them, or raise dead_letters.max_size; \
                            until then what they come from waits, and the rest goes on (where routes have just changed, and what was sent \
                            by the old ones is refused, the whole destination waits)"
                    .to_owned();
                let message = format!("events are refused, and can't be kept as dead letters: {e}");
                self.error(LinkError { code: None, message, hint }, rounds);
            }
        }
        self.engine.has_letters(at.instant)
    }

    fn tell(&self, letters: &[Letter], last: u64, rounds: &mut Rounds) {
        let Some(letter) = letters.last() else { return };
        let message = format!(
            "topic {} will not take event {} of stream {}: {}; dead letter {last}",
            letter.topic, letter.seq, letter.stream, letter.message
        );
        let hint = format!(
            "`spoolway dlq show {last}` shows it; `dlq replay` sends it again, `dlq purge` throws it away"
        );
        let about = format!("dead letters of {}", letter.topic);
        if let Some(suppressed) = rounds.lines.pass(&about) {
            tracing::warn!(destination = %self.names.destination, count = letters.len(), suppressed, hint, "{message}");
        }
        let code = Some(letter.code).filter(|code| *code != 0);
        self.board.post_error(LinkError { code, message, hint }, now().unix);
    }

    /// Goes on with letters that are to be sent again.
    pub(super) fn replay(&mut self, rounds: &mut Rounds) {
        self.forget_redone(rounds);
        let now = Instant::now();
        let due = !rounds.replays.is_empty() && now >= rounds.replays_after && now >= rounds.letters_after;
        if rounds.begun.is_empty() && due && self.engine.redo_len() < AT_A_TIME {
            self.begin_replay(rounds);
        }
        if rounds.begun.is_empty() || Instant::now() < rounds.letters_after {
            return;
        }
        rounds.dirty = true;
        self.save(rounds);
        if rounds.dirty || !self.sync(rounds) {
            return;
        }
        match self.letters.take(&rounds.begun) {
            Ok(()) => {
                if sabotage::commits(Bug::LetterForgottenEarly) {
                    let _ = self.letters.remove(&rounds.begun);
                }
                rounds.begun.clear();
                self.engine.start_redo();
            }
            Err(e) => self.letters_error(&e, rounds),
        }
    }

    fn begin_replay(&mut self, rounds: &mut Rounds) {
        let ids: Vec<u64> = rounds.replays.iter().copied().take(AT_A_TIME).collect();
        let letters = match self.letters.load(&ids) {
            Ok(letters) => letters,
            Err(e) => return self.letters_error(&e, rounds),
        };
        rounds.replays.retain(|id| !ids.contains(id));
        let there = |s: &Stored| self.names.own(&s.letter) && self.letters.is_there(s.id);
        let there: Vec<Stored> = letters.into_iter().filter(there).collect();
        // Of two with the same number (after damage there may be) one goes after the other.
        let mut seen = BTreeSet::new();
        let fits = |s: &Stored| self.engine.may_redo(&s.letter) && seen.insert(s.letter.seq);
        let (fits, early): (Vec<_>, Vec<_>) = there.into_iter().partition(fits);
        if !early.is_empty() {
            rounds.replays_after = Instant::now() + if fits.is_empty() { RETRY } else { ROUND };
            self.tell_early(early.len(), rounds);
        }
        rounds.replays.extend(early.iter().map(|s| s.id));
        rounds.begun = fits.iter().map(|s| s.id).collect();
        self.engine.begin_redo(fits);
    }

    fn tell_early(&self, count: usize, rounds: &Rounds) {
        if let Some(suppressed) = rounds.lines.pass("letters that wait") {
            tracing::info!(
                lane = %self.names.lane, destination = %self.names.destination, count, suppressed,
                "dead letters are sent again once what was accepted before them for their topics is settled; a restart forgets that \
                 they were asked for"
            );
        }
    }

    /// Removes letters that were delivered, or have become others, once the positions on disk say so.
    fn forget_redone(&mut self, rounds: &mut Rounds) {
        let redone = self.engine.take_redone();
        if !redone.is_empty() {
            rounds.redone.extend(redone);
            rounds.dirty = true;
            return;
        }
        if rounds.redone.is_empty() || Instant::now() < rounds.letters_after.max(rounds.redone_after) {
            return;
        }
        rounds.redone_after = Instant::now() + ROUND;
        self.save_if_dirty(rounds);
        if rounds.dirty || !self.sync(rounds) {
            return;
        }
        match self.letters.remove(&rounds.redone) {
            Ok(()) => rounds.redone.clear(),
            Err(e) => self.letters_error(&e, rounds),
        }
    }

    /// At the end, once the positions are durable. What is left is known by them at the next start.
    pub(super) fn forget_last_redone(&mut self, rounds: &mut Rounds) {
        rounds.redone.extend(self.engine.take_redone());
        if rounds.redone.is_empty() {
            return;
        }
        match self.letters.remove(&rounds.redone) {
            Ok(()) => rounds.redone.clear(),
            Err(e) => self.letters_error(&e, rounds),
        }
    }

    fn letters_error(&self, e: &LettersError, rounds: &mut Rounds) {
        self.want_room(e);
        rounds.letters_after = Instant::now() + RETRY;
        let message = format!("dead letters can't be read or marked: {e}");
        let hint = "see the disk; it is tried again".to_owned();
        self.error(LinkError { code: None, message, hint }, rounds);
    }
}
