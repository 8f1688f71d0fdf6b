//! The thread around an [`Engine`]: hears what happens, has positions kept and segments released (`saves`), counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::board::Board;
use super::counts::Counts;
use super::crossing::Crossing;
use super::engine::{Engine, Now, Parking, Sink, Wake};
use super::inbox::{Inbox, Mail};
use super::log::Log;
use super::needs::{Needed, Needs};
use super::scribe::Scribe;
use crate::disk::Fs;
use crate::event::UnixMillis;
use crate::ids::{DestinationName, LaneName, SegmentId, Seq, SeqRange, SpoolId};
use crate::kafka::{LinkError, LinkState, RecordHeader};
use crate::logs::Limit;
use crate::metrics;
use crate::spool::OLDER_COPY;
use crate::state::ledger::Ledger;
use crate::state::letters::{Letter, Letters};
use crate::state::park::Park;
use crate::state::positions::{Positions, Store};

/// How often it looks around though nothing has happened.
pub(super) const ROUND: Duration = Duration::from_millis(250);
/// Positions are synced this often: a power cut may double what was delivered since.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// So long before the end of a stop, windows that have not been sent yet are asked back.
const LAST_CALL: Duration = Duration::from_millis(500);
/// The same note is logged this often.
const NOTES_EVERY: Duration = Duration::from_secs(3600);

/// Says whether an event, which a topic holds from an earlier process of this lane, is of a later past than the log is. May wait for the
/// disk.
pub type Judge = Box<dyn Fn(&RecordHeader) -> bool + Send>;

/// What the log is told when nobody needs the oldest part of it any more.
pub trait Retention: Send {
    /// The segment that holds an event, if one does.
    fn segment_of(&self, seq: Seq) -> Option<SegmentId>;
    /// What is needed no more, or only by those whom it need not wait for.
    fn release(&self, needed: Needed);
    /// Whether so much is held that what a few topics wait for should be parked.
    fn is_pressed(&self) -> bool;
    /// Something of what delivery has to write down failed for want of room: lets go of what is kept back for that.
    fn make_room(&self);
    /// Numbers that were given up for lack of room; to a reader that had not settled them they are dropped.
    fn dropped(&self) -> SeqRange;
}

/// Everything a worker works with.
pub struct Worker<L: Log, S: Sink, F: Fs> {
    /// The machine.
    pub engine: Engine<L, S>,
    /// Its ears.
    pub inbox: Arc<Inbox>,
    /// What it shows.
    pub board: Arc<Board>,
    /// Where windows are written down before they are sent.
    pub(super) scribe: Scribe<F>,
    /// Its positions' file.
    pub store: Store<F>,
    /// The log's housekeeping.
    pub retention: Box<dyn Retention>,
    /// What each destination of the lane needs.
    pub needs: Arc<Needs>,
    /// Where events go that will never arrive.
    pub letters: Arc<Letters<F>>,
    /// What waits for topics elsewhere than in the log.
    pub park: Arc<Park<F>>,
    /// What is about to.
    pub parking: Option<Parking<L>>,
    /// Knows what the log has given out.
    pub judge: Judge,
    /// It has shown that the data directory is an older copy.
    pub is_older_copy: bool,
    /// What other lanes may ask about this one.
    pub crossing: Option<Crossing>,
    /// Where finished segments are noted.
    pub ledger: Arc<dyn Ledger>,
    /// Told everything below which is settled.
    pub settled: watch::Sender<Seq>,
    /// Counters.
    pub counts: Counts,
    /// Whose positions these are.
    pub names: Names,
}

/// Who a worker works for.
#[derive(Debug, Clone)]
pub struct Names {
    /// The data directory's identity.
    pub spool: SpoolId,
    /// The lane.
    pub lane: LaneName,
    /// The destination.
    pub destination: DestinationName,
    /// The name it had when it took over what was known under that.
    pub formerly: Option<DestinationName>,
}

impl Names {
    /// Whether a dead letter is one of this destination, under whatever name.
    #[must_use]
    pub fn own(&self, letter: &Letter) -> bool {
        letter.lane == self.lane
            && (letter.destination == self.destination || self.formerly.as_ref() == Some(&letter.destination))
    }
}

/// What changes from round to round.
pub(super) struct Rounds {
    pub(super) saved: Option<Positions>,
    pub(super) dirty: bool,
    pub(super) save_after: Instant,
    sync_after: Instant,
    round_after: Instant,
    pub(super) unsynced: bool,
    /// The journal could not be written; not to be tried before, and since when.
    pub(super) journal_after: Instant,
    pub(super) journal_failing: Option<Instant>,
    pub(super) released: Option<SegmentId>,
    closing: Option<Instant>,
    pub(super) dropped: u64,
    pub(super) lines: Limit<String>,
    /// Of [`View::notes`](super::engine::View::notes).
    notes: Limit<String>,
    /// Topics that wait, since when, and whether that was said.
    pub(super) waiting: BTreeMap<String, (Instant, bool)>,
    /// The dead letters could not be written; not to be tried before.
    pub(super) letters_after: Instant,
    /// Nothing is to be parked before.
    pub(super) park_after: Instant,
    /// Letters to send again that have not been looked at yet.
    pub(super) replays: BTreeSet<u64>,
    /// Not to be looked at before.
    pub(super) replays_after: Instant,
    /// Letters that are about to be sent again.
    pub(super) begun: Vec<u64>,
    /// Letters that are gone once the positions that say so are durable, and when to see to that.
    pub(super) redone: Vec<u64>,
    pub(super) redone_after: Instant,
}

impl Rounds {
    fn new(start: Instant, dropped: u64) -> Self {
        Self {
            saved: None,
            dirty: true,
            save_after: start,
            sync_after: start + SYNC_EVERY,
            round_after: start,
            unsynced: false,
            journal_after: start,
            journal_failing: None,
            released: None,
            closing: None,
            dropped,
            lines: Limit::new(Duration::from_secs(30)),
            notes: Limit::new(NOTES_EVERY),
            waiting: BTreeMap::new(),
            letters_after: start,
            park_after: start,
            replays: BTreeSet::new(),
            replays_after: start,
            begun: Vec::new(),
            redone: Vec::new(),
            redone_after: start,
        }
    }
}

impl<L: Log, S: Sink, F: Fs> Worker<L, S, F> {
    /// Works until it is told to close and everything in windows is settled, or the deadline has come.
    pub fn run(mut self) {
        let mut rounds = Rounds::new(Instant::now(), self.engine.totals().dropped);
        loop {
            let wake = self.engine.pump(now());
            self.rejoin(&mut rounds);
            self.keep_routes(&mut rounds);
            self.depart(&mut rounds);
            let buries = self.bury(&mut rounds);
            self.replay(&mut rounds);
            let parks = self.park(&mut rounds);
            self.keep(&mut rounds);
            if self.is_over(&rounds) {
                break;
            }
            let mail = match wake {
                _ if buries || parks => self.inbox.take(),
                Wake::Again => self.inbox.take(),
                Wake::At(at) => self.inbox.wait(self.patience(&rounds, Some(at))),
                Wake::WhenTold => self.inbox.wait(self.patience(&rounds, None)),
            };
            self.read(mail, &mut rounds);
            self.recall(&rounds);
            // INVARIANT: what was acknowledged is saved before the next window of its partition is sent, or stands in
            // the journal with that one: so a kill leaves one window a partition in doubt and no more.
            self.save_when_due(&mut rounds);
        }
        self.end(&mut rounds);
    }

    fn patience(&self, rounds: &Rounds, wake: Option<Instant>) -> Duration {
        let save = rounds.dirty.then_some(rounds.save_after);
        let next = [wake, save, rounds.closing].into_iter().flatten().fold(rounds.round_after, Instant::min);
        next.saturating_duration_since(Instant::now())
    }

    /// At the end, what was never sent is not left in doubt.
    fn recall(&self, rounds: &Rounds) {
        if let Some(deadline) = rounds.closing {
            self.engine.recall_unsent(Instant::now() + LAST_CALL >= deadline);
        }
    }

    fn is_over(&self, rounds: &Rounds) -> bool {
        rounds.closing.is_some_and(|deadline| self.engine.is_idle() || Instant::now() >= deadline)
    }

    fn read(&mut self, mail: Mail, rounds: &mut Rounds) {
        let now = now();
        for (window, outcome) in mail.outcomes {
            rounds.dirty = true;
            if let Some(delivered) = self.engine.settled(window, outcome, now) {
                self.counts.delivered(&delivered, now.unix);
            }
        }
        // In this order: an id may be of the cluster that was there before.
        if let Some((producer_id, epoch)) = mail.producer {
            self.engine.producer_id(producer_id, epoch);
        }
        if let Some(topology) = mail.topology {
            self.engine.topology(&topology);
            // Positions may say whether a topic has fewer partitions by now.
            rounds.dirty = true;
        }
        for event in mail.seen {
            self.is_older_copy = self.is_older_copy || (self.judge)(&event);
        }
        rounds.replays.extend(mail.replay);
        for told in mail.abandon {
            rounds.dirty = true;
            // Whoever asked may have gone.
            let _gone = told.send(self.engine.abandon_unread());
        }
        if let Some(link) = mail.link {
            self.link(link);
        }
        if let Some(deadline) = mail.close {
            self.engine.close();
            rounds.closing = Some(deadline);
        }
    }

    fn link(&mut self, link: LinkState) {
        let destination = self.names.destination.as_str();
        self.engine.link(link.up);
        self.board.post_link(link.up);
        let by = metrics::Destination { destination: destination.to_owned() };
        self.counts.metrics.destination_up.get_or_create(&by).set(i64::from(link.up));
        // The producer has logged it.
        if let Some(error) = link.error {
            self.board.post_error(error, unix_now());
        }
    }

    pub(super) fn error(&self, error: LinkError, rounds: &Rounds) {
        if let Some(suppressed) = rounds.lines.pass(error.message.as_str()) {
            let destination = self.names.destination.as_str();
            tracing::warn!(destination, suppressed, hint = error.hint, "{}", error.message);
        }
        self.board.post_error(error, now().unix);
    }

    /// Housekeeping after each pump: saves what changed, now and then syncs, releases and shows.
    fn keep(&mut self, rounds: &mut Rounds) {
        let now = Instant::now();
        let below = self.engine.settled_below();
        self.settled.send_if_modified(|was| std::mem::replace(was, below) != below);
        let moved = rounds.saved.as_ref().is_none_or(|s| s.totals != self.engine.totals());
        rounds.dirty |= moved;
        self.save_when_due(rounds);
        if now < rounds.round_after {
            return;
        }
        rounds.round_after = now + ROUND;
        rounds.dirty |= self.engine.drop_unread(self.retention.dropped());
        // Where all that comes is for topics that wait nothing is settled, and what is to be parked goes by what is saved.
        let position = self.engine.main_position();
        rounds.dirty |= rounds.saved.as_ref().is_some_and(|s| s.position != position);
        self.board.post_parked(self.park.bytes());
        let mut view = self.engine.view();
        self.tell_waiting(&view, rounds);
        for note in &view.notes {
            if rounds.notes.pass(note.as_str()).is_some() {
                tracing::warn!(lane = %self.names.lane, destination = %self.names.destination, "{note}");
            }
        }
        // Of these the log has heard.
        view.notes.extend(self.park.look());
        view.notes.extend(self.is_older_copy.then(|| OLDER_COPY.to_owned()));
        self.counts.possibly_doubled.inc_by(self.engine.take_possibly_doubled());
        self.board.post_view(view, self.counts.posted(), unix_now());
        if let Some(message) = self.engine.take_error() {
            let hint = "see the spool's disk; `spoolway spool verify` says what is damaged".to_owned();
            self.error(LinkError { code: None, message, hint }, rounds);
        }
        if now >= rounds.sync_after {
            rounds.sync_after = now + SYNC_EVERY;
            if self.sync(rounds) {
                self.clear_park(rounds);
            }
        }
        self.release(rounds);
        self.answer(rounds);
    }

    /// Tells other lanes of the destination what they wait for, once it is saved.
    fn answer(&mut self, rounds: &mut Rounds) {
        let news = self.crossing.as_ref().and_then(|c| c.news(|topic| self.engine.settled_of(topic)));
        let Some(news) = news else { return };
        self.save(rounds);
        self.crossing.iter().filter(|_| !rounds.dirty).for_each(|c| c.answer(&news));
    }

    /// Makes durable by which routes this process sends, before it sends anything; and before that, what is in doubt no more.
    fn keep_routes(&mut self, rounds: &mut Rounds) {
        let not_before = rounds.save_after.max(rounds.journal_after);
        if !self.engine.wants_durable_positions() || Instant::now() < not_before {
            return;
        }
        if !self.settle_journal_or_go_on(rounds) {
            return;
        }
        rounds.dirty = true;
        self.save(rounds);
        if !rounds.dirty && self.sync(rounds) {
            self.engine.note_durable_positions();
            self.inbox.durable();
        }
    }

    fn end(&mut self, rounds: &mut Rounds) {
        self.call_journal_back(rounds);
        rounds.dirty = true;
        self.save(rounds);
        if self.sync(rounds) {
            self.forget_last_redone(rounds);
        }
        if self.engine.has_news()
            && let Err(message) = self.write_down(rounds)
        {
            self.state_error(&message, rounds);
        }
        self.release(rounds);
        self.counts.possibly_doubled.inc_by(self.engine.take_possibly_doubled());
        self.board.post_view(self.engine.view(), self.counts.posted(), unix_now());
        let left = self.engine.view().in_flight;
        if left > 0 {
            let destination = self.names.destination.as_str();
            tracing::warn!(
                destination,
                events = left,
                "stopped before the destination answered for these; the next start settles them first"
            );
        }
    }
}

pub(super) fn now() -> Now {
    Now { instant: Instant::now(), unix: unix_now() }
}

/// Milliseconds since 1970.
pub fn unix_now() -> UnixMillis {
    crate::kafka::clock::unix_now()
}

#[cfg(test)]
mod tests;
