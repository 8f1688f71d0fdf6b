//! What a worker makes durable before it does what relies on it, on a disk that fails.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use super::super::engine::{self, Settings};
use super::super::log::{BlockInfo, LogError, LogReader, Read};
use super::super::needs::Need;
use super::super::ways::Ways;
use super::*;
use crate::disk::faulty::{Faulty, Op};
use crate::event::{Event, EventBatch};
use crate::ids::{Incarnation, RunId, StreamName, TopicName};
use crate::kafka::{Counter, Outcome, TopicState, Topology, Window};
use crate::state::journal::{Intent, Journal, Share};
use crate::state::ledger::{LedgerError, Page, Query, Row};
use crate::state::letters;
use crate::state::letters::testing::letter;
use crate::state::park::{Parked, Whose};
use crate::state::positions::{Apart, Bits, Keys, Side, Totals};

const SPOOL: SpoolId = SpoolId(7);

/// A log of one block at most.
#[derive(Clone)]
struct Few(Option<Read>);

impl Log for Few {
    type Reader = Few;
    fn reader(&self, _: Seq) -> Few {
        self.clone()
    }
}

impl LogReader for Few {
    fn next(&mut self, _: &mut dyn FnMut(&StreamName, SeqRange) -> bool) -> Result<Option<Read>, LogError> {
        Ok(self.0.take())
    }
}

struct Nobody;

/// How many windows were sent.
#[derive(Clone, Default)]
struct Sent(Arc<AtomicUsize>);

impl Sink for Sent {
    fn send(&self, _: Window) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn track(&self, _: TopicName) {}
}

impl Ledger for Nobody {
    fn record(&self, _: Row) -> Result<(), LedgerError> {
        Ok(())
    }
    fn page(&self, _: &Query) -> Result<Page, LedgerError> {
        Ok(Page::default())
    }
    fn flush(&self) -> Result<(), LedgerError> {
        Ok(())
    }
}

/// How many syncs of files there had been when a segment was let go, and how often room was asked for.
#[derive(Default, Clone)]
struct Released(Arc<Mutex<Vec<u64>>>, Faulty, Arc<AtomicUsize>);

impl Retention for Released {
    fn segment_of(&self, _: Seq) -> Option<SegmentId> {
        Some(SegmentId(2))
    }
    fn release(&self, _: Needed) {
        self.0.lock().unwrap().push(self.1.count(Op::SyncData));
    }
    fn is_pressed(&self) -> bool {
        false
    }
    fn make_room(&self) {
        self.2.fetch_add(1, Ordering::Relaxed);
    }
    fn dropped(&self) -> SeqRange {
        SeqRange::new(Seq::NONE, Seq::NONE)
    }
}

struct Site {
    _dir: tempfile::TempDir,
    fs: Faulty,
    released: Released,
    rounds: Rounds,
    sent: Sent,
    worker: Worker<Few, Sent, Faulty>,
}

fn settings() -> Settings {
    Settings { journal: true, ..engine::tests::settings() }
}

fn names() -> Names {
    let (lane, destination) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    Names { spool: SPOOL, lane, destination, formerly: None }
}

fn store(fs: &Faulty, dir: &Path) -> Store<Faulty> {
    let mut store = Store::open(fs, dir, SPOOL, &names().lane, &names().destination).unwrap().0;
    // Its name is durable from here on, so that what follows is one sync each.
    store.sync().unwrap();
    store
}

impl Site {
    /// With positions that are saved and not synced, and one dead letter.
    fn new() -> Self {
        let (dir, fs, names) = (tempfile::tempdir().unwrap(), Faulty::new(), names());
        let released = Released(Arc::default(), fs.clone(), Arc::default());
        let room = letters::Settings { max_size: 10 << 20, max_event_size: 1000 };
        let letters = Letters::open(&fs, dir.path(), SPOOL, room, 0).unwrap();
        assert_eq!(letters.append(&[letter(1, &Event::of_value(b"v"))]).unwrap(), 1);
        // It was sent by other routes before.
        let positions = Positions { routes: 9, ..Positions::fresh(SPOOL, Seq(5)) };
        let router = Box::new(|_: &StreamName| Ways::default());
        let needs = Needs::new([(names.destination.clone(), Need { from: Seq(1), required: true })]);
        let whose = Whose { spool: SPOOL, lane: &names.lane, destination: &names.destination };
        let sent = Sent::default();
        let worker = Worker {
            engine: Engine::new(Few(None), sent.clone(), settings(), router, positions, 1),
            inbox: Arc::default(),
            board: Arc::new(Board::new(
                names.lane.clone(),
                names.destination.clone(),
                Seq(1),
                Totals::default(),
            )),
            scribe: Scribe::new(Some(
                Journal::open(&fs, dir.path(), SPOOL, &names.lane, &names.destination).0,
            )),
            store: store(&fs, dir.path()),
            retention: Box::new(released.clone()),
            needs: Arc::new(needs),
            letters: Arc::new(letters),
            park: Arc::new(Park::open(&fs, dir.path(), whose).unwrap().bounded(1 << 20, 0)),
            parking: None,
            judge: Box::new(|_| false),
            is_older_copy: false,
            crossing: None,
            ledger: Arc::new(Nobody),
            settled: watch::channel(Seq(1)).0,
            counts: Counts::new(&metrics::Metrics::new(), &names),
            names,
        };
        let rounds = Rounds::new(Instant::now(), 0);
        let mut site = Self { _dir: dir, fs, released, rounds, sent, worker };
        site.worker.save(&mut site.rounds);
        assert!(!site.rounds.dirty && site.rounds.unsynced);
        site
    }

    fn syncs(&self) -> u64 {
        self.fs.count(Op::SyncData)
    }

    /// The next sync of a file fails.
    fn fail(&self) {
        self.fs.fail_next(Op::SyncData, 1);
    }

    /// One of which a window that an earlier process had sent by other routes has just been given up.
    fn that_gave_up() -> Self {
        let mut site = Self::new();
        let share = Share { block: Seq(5), run: RunId(2), events: Bits::full(1) };
        let intent =
            Intent { shares: vec![share], ..Intent::clone(engine::tests::due().intents().next().unwrap()) };
        site.worker.engine.resume(vec![intent], Instant::now());
        site.worker.engine.pump(now());
        site.worker.engine.depart();
        let _ = site.worker.engine.settled(1, Outcome::Returned { in_doubt: true }, now());
        site.worker.engine.pump(now());
        site
    }
}

/// Longer than a journal that fails is waited for.
fn long_ago() -> Instant {
    Instant::now().checked_sub(Duration::from_secs(4)).unwrap()
}

#[test]
fn positions_that_can_not_be_synced_are_saved_again_before_the_next_try() {
    let mut site = Site::new();
    site.fail();
    assert!(!site.worker.sync(&mut site.rounds));
    assert!(site.rounds.dirty && site.rounds.unsynced);
    let syncs = site.syncs();
    assert!(site.worker.sync(&mut site.rounds) && !site.rounds.unsynced);
    assert!(site.worker.sync(&mut site.rounds));
    assert_eq!(site.syncs(), syncs + 1, "what is synced needs no sync");
}

#[test]
fn whatever_can_not_be_written_for_want_of_room_asks_for_some() {
    type Try = (&'static str, Op, fn(&mut Site));
    let tries: [Try; 6] = [
        ("positions", Op::Write, |site| site.worker.save(&mut site.rounds)),
        ("their sync", Op::SyncData, |site| assert!(!site.worker.sync(&mut site.rounds))),
        ("the journal, begun anew", Op::Create, |site| {
            site.worker.write_down(&mut site.rounds).unwrap_err();
        }),
        ("the journal, at once", Op::Write, |site| {
            site.fs.fail_next(Op::Write, 0);
            site.worker.write_down(&mut site.rounds).unwrap();
            site.worker.engine.put_back(engine::tests::due());
            site.fs.fail_next(Op::Write, 1);
            site.worker.write_down(&mut site.rounds).unwrap_err();
        }),
        ("the journal, beside", Op::Write, |site| {
            site.fs.fail_next(Op::Write, 0);
            site.worker.write_down(&mut site.rounds).unwrap();
            site.worker.engine.put_back(engine::tests::due());
            site.fs.fail_next(Op::Write, 1);
            site.worker.depart(&mut site.rounds);
            site.worker.call_journal_back(&mut site.rounds);
        }),
        ("a letter's mark", Op::SyncData, |site| {
            site.rounds.redone = vec![1];
            site.worker.forget_last_redone(&mut site.rounds);
        }),
    ];
    for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
        for (what, op, work) in tries {
            let mut site = Site::new();
            site.fs.error(errno);
            site.fs.fail_next(op, 1);
            work(&mut site);
            let asked = site.released.2.load(Ordering::Relaxed);
            assert_eq!(asked, usize::from(errno != Errno::IO), "{what}: {errno}");
        }
    }
}

#[test]
fn a_segment_is_let_go_once_the_positions_that_need_it_no_more_are_synced() {
    let mut site = Site::new();
    site.fail();
    site.worker.release(&mut site.rounds);
    assert!(site.released.0.lock().unwrap().is_empty());
    site.worker.save(&mut site.rounds);
    let syncs = site.syncs();
    site.worker.release(&mut site.rounds);
    site.worker.release(&mut site.rounds);
    assert_eq!(*site.released.0.lock().unwrap(), [syncs + 1], "once, after the sync");
}

#[test]
fn the_journal_begins_anew_once_the_positions_that_cover_it_are_synced() {
    let mut site = Site::new();
    site.fail();
    let refused = site.worker.write_down(&mut site.rounds).unwrap_err();
    assert_eq!(refused, "positions can't be kept", "and not the journal");
    let syncs = site.syncs();
    site.worker.write_down(&mut site.rounds).unwrap();
    assert_eq!(site.syncs(), syncs + 3, "of the positions, of a new file, and of what is in it");
    site.worker.write_down(&mut site.rounds).unwrap();
    assert_eq!(site.syncs(), syncs + 3, "with nothing to write there is nothing to sync");
}

#[test]
fn windows_that_could_not_be_written_leave_once_the_journal_has_begun_anew() {
    let mut site = Site::new();
    site.worker.write_down(&mut site.rounds).unwrap();
    site.worker.engine.put_back(engine::tests::due());
    let windows = site.worker.engine.departing().count();
    site.fail();
    site.worker.depart(&mut site.rounds);
    assert!(!site.worker.engine.has_departures(), "they are being written");
    site.worker.call_journal_back(&mut site.rounds);
    assert_eq!(site.worker.engine.departing().count(), windows);
    assert!(site.rounds.journal_failing.is_some() && site.sent.0.load(Ordering::Relaxed) == 0);
    site.worker.depart(&mut site.rounds);
    assert_eq!(site.worker.engine.departing().count(), windows, "not tried again at once");
    site.rounds.journal_after = Instant::now();
    site.worker.depart(&mut site.rounds);
    assert_eq!(site.sent.0.load(Ordering::Relaxed), windows);
    assert!(site.rounds.journal_failing.is_none() && site.worker.scribe.is_free());
}

/// What comes of it knows less of what has arrived.
#[test]
fn where_all_stand_is_synced_and_the_journal_begun_anew_before_one_reader_is_made_of_all() {
    let mut site = Site::new();
    let by_another = Keys { partition: 0, count: 3, by: 1, extras: Vec::new() };
    let apart = Apart {
        keys: by_another,
        from: Seq(2),
        position: Seq(3),
        end: None,
        waiting: 1,
        since: 0,
        dropped: false,
        partial: Vec::new(),
    };
    let side = Side {
        topic: TopicName::new("t").unwrap(),
        from: Seq(2),
        position: Seq(4),
        end: None,
        waiting: 0,
        since: 0,
        dropped: false,
        missing_for: 0,
        streams: Vec::new(),
        apart: vec![apart],
    };
    let positions = Positions { routes: 1, sides: vec![side], ..Positions::fresh(SPOOL, Seq(5)) };
    let router = Box::new(|_: &StreamName| Ways::default());
    site.worker.engine = Engine::new(Few(None), site.sent.clone(), settings(), router, positions, 1);
    site.worker.engine.pump(now());
    let readers = |site: &Site| site.worker.engine.positions(SPOOL).sides.len();
    site.fail();
    site.worker.rejoin(&mut site.rounds);
    assert_eq!(readers(&site), 1, "not before that is durable");
    site.rounds.journal_after = Instant::now();
    let syncs = site.syncs();
    site.worker.rejoin(&mut site.rounds);
    assert_eq!(
        (readers(&site), site.syncs()),
        (0, syncs + 3),
        "of the positions, of a new file, and of what is in it"
    );
    assert!(site.worker.engine.wants_durable_positions() && site.rounds.dirty);
    assert_eq!(site.rounds.journal_failing, None, "it works again");
    site.worker.rejoin(&mut site.rounds);
    assert_eq!(site.syncs(), syncs + 3, "once");
}

#[test]
fn what_waits_for_a_journal_that_fails_goes_without_it_in_the_end() {
    let mut site = Site::new();
    site.worker.write_down(&mut site.rounds).unwrap();
    site.worker.engine.put_back(engine::tests::due());
    let windows = site.worker.engine.departing().count();
    let begun = Instant::now().checked_sub(Duration::from_secs(4)).unwrap();
    site.rounds.journal_failing = Some(begun);
    site.fail();
    site.worker.depart(&mut site.rounds);
    site.worker.call_journal_back(&mut site.rounds);
    assert_eq!((site.sent.0.load(Ordering::Relaxed), site.worker.engine.has_departures()), (windows, false));
}

#[test]
fn by_which_routes_is_sent_is_synced_before_anything_is() {
    let mut site = Site::new();
    site.rounds.save_after = Instant::now();
    site.worker.engine.pump(now());
    assert!(site.worker.engine.wants_durable_positions());
    site.fail();
    site.worker.keep_routes(&mut site.rounds);
    assert!(site.worker.engine.wants_durable_positions());
    site.rounds.save_after = Instant::now();
    site.worker.keep_routes(&mut site.rounds);
    assert!(!site.worker.engine.wants_durable_positions());
}

/// It was in doubt again for the next process, which took it for something sent by the new routes.
#[test]
fn what_is_in_doubt_no_more_is_in_the_journal_before_it_is_durable_that_other_routes_hold() {
    for fails in [false, true] {
        let mut site = Site::that_gave_up();
        let by_the_new = |site: &Site| site.worker.engine.positions(SPOOL).routes == settings().routes;
        assert!(
            site.worker.engine.wants_durable_positions()
                && site.worker.engine.has_news()
                && !by_the_new(&site)
        );
        (site.rounds.save_after, site.rounds.journal_after) = (Instant::now(), Instant::now());
        if fails {
            site.fs.fail_next(Op::Create, 1);
            site.worker.keep_routes(&mut site.rounds);
            assert!(site.worker.engine.wants_durable_positions() && !by_the_new(&site));
            // What has failed for so long is not waited for.
            site.rounds.journal_failing = Some(long_ago());
            (site.rounds.save_after, site.rounds.journal_after) = (Instant::now(), Instant::now());
            site.fs.fail_next(Op::Create, 1);
        }
        site.worker.keep_routes(&mut site.rounds);
        assert!(!site.worker.engine.wants_durable_positions() && by_the_new(&site), "fails: {fails}");
        let rounds = &mut site.rounds;
        assert_eq!(site.worker.scribe.journal().is_some_and(|journal| journal.takes_more()), !fails);
        assert!(!rounds.dirty && !rounds.unsynced);
    }
}

/// By what it had failed an hour ago its next failure counted as late at once.
#[test]
fn a_journal_that_took_what_became_of_windows_is_failing_no_more() {
    let mut site = Site::that_gave_up();
    assert!(site.worker.engine.has_news() && !site.worker.engine.has_departures());
    site.rounds.journal_failing = Some(long_ago());
    assert!(site.worker.settle_journal(&mut site.rounds));
    assert_eq!(site.rounds.journal_failing, None);
}

/// It was forgotten, and once positions could be kept they said that the new routes hold, beside a journal that had it in doubt.
#[test]
fn what_was_given_up_is_not_forgotten_for_a_journal_that_fails_while_positions_can_not_be_kept_either() {
    let mut site = Site::that_gave_up();
    site.rounds.journal_failing = Some(long_ago());
    (site.rounds.save_after, site.rounds.journal_after) = (Instant::now(), Instant::now());
    site.fs.fail_next(Op::SyncData, 100);
    site.worker.keep_routes(&mut site.rounds);
    assert!(site.worker.engine.has_news() && site.worker.engine.wants_durable_positions());
    site.fs.fail_next(Op::SyncData, 0);
    (site.rounds.save_after, site.rounds.journal_after) = (Instant::now(), Instant::now());
    site.worker.keep_routes(&mut site.rounds);
    assert!(!site.worker.engine.has_news() && !site.worker.engine.wants_durable_positions());
    assert!(site.worker.scribe.journal().is_some_and(|journal| journal.takes_more()), "it has begun anew");
}

#[test]
fn a_letter_is_sent_again_and_is_gone_once_the_positions_that_say_so_are_synced() {
    let mut site = Site::new();
    site.rounds.begun = vec![1];
    site.fail();
    site.worker.replay(&mut site.rounds);
    assert_eq!((site.worker.letters.taken(), &site.rounds.begun), (vec![], &vec![1]));
    site.worker.replay(&mut site.rounds);
    assert_eq!((site.worker.letters.taken(), site.rounds.begun.len()), (vec![1], 0));
    site.worker.save(&mut site.rounds);
    site.rounds.redone = vec![1];
    site.fail();
    site.worker.replay(&mut site.rounds);
    assert_eq!((site.worker.letters.taken(), &site.rounds.redone), (vec![1], &vec![1]));
    site.rounds.redone_after = Instant::now();
    site.worker.replay(&mut site.rounds);
    assert_eq!((site.worker.letters.taken(), site.rounds.redone.len()), (vec![], 0));
}

#[test]
fn a_letter_that_has_arrived_is_gone_at_the_end_unless_the_positions_that_say_so_can_not_be_synced() {
    for fails in [true, false] {
        let mut site = Site::new();
        site.worker.letters.take(&[1]).unwrap();
        site.rounds.redone = vec![1];
        if fails {
            site.fail();
        }
        site.worker.end(&mut site.rounds);
        assert_eq!(site.worker.letters.taken(), if fails { vec![1] } else { vec![] });
    }
}

#[test]
fn a_letter_is_sent_again_by_the_name_that_took_over_what_was_known_under_its_own() {
    let replayed = |formerly: Option<&str>| {
        let mut site = Site::new();
        site.worker.names.destination = DestinationName::new("new").unwrap();
        site.worker.names.formerly = formerly.map(|name| DestinationName::new(name).unwrap());
        site.rounds.replays.insert(1);
        site.worker.replay(&mut site.rounds);
        site.worker.letters.taken()
    };
    assert_eq!([None, Some("other")].map(replayed), [const { Vec::<u64>::new() }; 2]);
    assert_eq!(replayed(Some("home")), [1]);
}

#[test]
fn positions_are_synced_now_and_then_and_at_the_end() {
    let mut site = Site::new();
    let syncs = site.syncs();
    site.rounds.released = Some(SegmentId(2));
    site.worker.keep(&mut site.rounds);
    assert_eq!(site.syncs(), syncs, "not yet");
    (site.rounds.round_after, site.rounds.sync_after) = (Instant::now(), Instant::now());
    site.worker.keep(&mut site.rounds);
    assert_eq!(site.syncs(), syncs + 1);
    site.worker.end(&mut site.rounds);
    assert_eq!(site.syncs(), syncs + 2);
}

/// Parks an event of topic `t`, of segment 1.
fn park(site: &Site, range: SeqRange) {
    let mut batch = EventBatch::new();
    batch.push(&Event::of_value(b"v"));
    let stream = StreamName::new("s").unwrap();
    let payload = batch.as_bytes().to_vec().into();
    let block = Parked { range, stream, time: 0, run: RunId(2), segment: SegmentId(1), payload };
    site.worker.park.keep(&TopicName::new("t").unwrap(), range, &[block]).unwrap();
}

#[test]
fn while_parked_events_can_not_be_reached_that_is_told_and_no_segment_counts_as_finished() {
    let mut site = Site::new();
    park(&site, SeqRange::new(Seq(2), Seq(3)));
    let side = Side {
        topic: TopicName::new("t").unwrap(),
        from: Seq(2),
        position: Seq(2),
        end: None,
        waiting: 1,
        since: 0,
        dropped: false,
        missing_for: 0,
        streams: Vec::new(),
        apart: Vec::new(),
    };
    let saved = Positions { sides: vec![side], ..Positions::fresh(SPOOL, Seq(5)) };
    let (here, elsewhere) = (site._dir.path().join("parked"), site._dir.path().join("elsewhere"));
    let mut seen = |there: bool| {
        site.rounds.round_after = Instant::now();
        site.worker.keep(&mut site.rounds);
        let notes = site.worker.board.destination_row(Seq(9), 0).notes;
        assert_eq!(notes.len(), usize::from(!there), "{notes:?}");
        assert_eq!(site.worker.settled_segment(&saved), there.then_some(SegmentId(1)));
    };
    seen(true);
    std::fs::rename(&here, &elsewhere).unwrap();
    seen(false);
    std::fs::rename(&elsewhere, &here).unwrap();
    seen(true);
}

#[test]
fn what_was_parked_goes_once_the_positions_that_need_it_no_more_are_synced() {
    let mut site = Site::new();
    park(&site, SeqRange::new(Seq(2), Seq(3)));
    site.worker.save(&mut site.rounds);
    let round = |site: &mut Site| {
        (site.rounds.round_after, site.rounds.sync_after) = (Instant::now(), Instant::now());
        site.worker.keep(&mut site.rounds);
    };
    site.fail();
    round(&mut site);
    assert!(site.worker.park.bytes() > 0, "after a power cut they are needed again");
    site.worker.save(&mut site.rounds);
    round(&mut site);
    assert_eq!(site.worker.park.bytes(), 0);
}

#[test]
fn a_topic_that_waits_is_named_once_and_one_that_waits_for_a_moment_is_not() {
    let mut site = Site::new();
    let view = engine::View { waiting: vec![("t".into(), "missing".into())], ..engine::View::default() };
    let error = |site: &Site| site.worker.board.destination_row(Seq(9), 0).last_error;
    site.worker.tell_waiting(&view, &mut site.rounds);
    assert!(error(&site).is_none(), "it may be about to be made");
    site.rounds.waiting.values_mut().for_each(|(since, _)| *since -= Duration::from_secs(1));
    for _ in 0..3 {
        site.worker.tell_waiting(&view, &mut site.rounds);
    }
    let said = error(&site).unwrap();
    assert_eq!((said.message.as_str(), said.count), ("events for topic t wait: missing", 1));
    site.worker.tell_waiting(&engine::View::default(), &mut site.rounds);
    assert!(site.rounds.waiting.is_empty());
}

#[test]
fn positions_that_only_name_a_topic_that_waits_are_saved_so_that_it_can_be_parked() {
    let mut site = Site::new();
    let topic = TopicName::new("t").unwrap();
    let mut batch = EventBatch::new();
    batch.push(&Event::of_value(b"v"));
    let range = SeqRange::new(Seq(5), Seq(6));
    let stream = StreamName::new("s").unwrap();
    let info = BlockInfo { range, stream, time: 1_000_000, run: RunId(2), segment: Some(SegmentId(2)) };
    let log = Few(Some(Read::Block(info, batch.as_bytes().to_vec().into())));
    let to = topic.clone();
    let router = Box::new(move |_: &StreamName| Ways::to(Some(to.clone())));
    let positions = Positions { routes: 1, ..Positions::fresh(SPOOL, Seq(5)) };
    site.worker.engine = Engine::new(log, site.sent.clone(), settings(), router, positions, 1);
    let missing = TopicState::Missing { code: 3, message: "missing".into() };
    let topology = Topology { topics: [(topic, missing)].into(), ..Topology::default() };
    for _ in 0..4 {
        site.worker.engine.pump(now());
        site.worker.engine.note_durable_positions();
        site.worker.engine.topology(&Arc::new(topology.clone()));
    }
    site.worker.save(&mut site.rounds);
    let saved = site.rounds.saved.clone().unwrap();
    assert_eq!((saved.position, saved.sides.len()), (Seq(6), 1), "it waits apart");
    let before = Positions { position: Seq(5), sides: Vec::new(), ..saved };
    (site.rounds.saved, site.rounds.dirty) = (Some(before), false);
    (site.rounds.round_after, site.rounds.save_after) = (Instant::now(), Instant::now());
    site.worker.keep(&mut site.rounds);
    assert!(site.rounds.dirty, "though nothing is settled");
    site.worker.keep(&mut site.rounds);
    assert_eq!(site.rounds.saved.unwrap().sides.len(), 1);
}

#[test]
fn that_a_topic_holds_what_the_log_has_never_had_is_noted_once_and_nothing_more_is_judged() {
    let mut site = Site::new();
    let judged = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&judged);
    site.worker.judge = Box::new(move |event| {
        count.fetch_add(1, Ordering::Relaxed);
        event.seq == Seq(2)
    });
    for (seq, notes) in [(1, 0), (2, 1), (3, 1)] {
        let event = RecordHeader::new(Incarnation(0), RunId(0), Seq(seq), 0, Counter::default());
        crate::kafka::Observer::saw(&*site.worker.inbox, event);
        let mail = site.worker.inbox.wait(Duration::from_secs(60));
        site.worker.read(mail, &mut site.rounds);
        site.rounds.round_after = Instant::now();
        site.worker.keep(&mut site.rounds);
        assert_eq!(site.worker.board.destination_row(Seq(9), 0).notes, vec![OLDER_COPY; notes]);
    }
    assert_eq!(judged.load(Ordering::Relaxed), 2);
}
