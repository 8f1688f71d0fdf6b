//! Where a destination goes on, as its files say or do not.

use super::*;
use crate::config::{Environment, load_text};
use crate::disk::faulty::{Faulty, Op, Syncs};
use crate::ids::{RunId, SegmentId, SeqRange, SpoolId, TopicName};
use crate::metrics::Metrics;
use crate::state::journal::{Before, Share};
use crate::state::park::Parked;
use crate::state::positions::{Bits, Counter, Replaying};
use std::path::Path;

fn wants_what_is_new(dir: &Path) -> config::Config {
    let text = format!(
        "[relay]\nid = \"test\"\ndata_dir = \"{}\"\n[[source]]\ntype = \"http\"\nlisten = \"127.0.0.1:1\"\n\
         [[destination]]\nname = \"home\"\nbootstrap = [\"127.0.0.1:1\"]\nfrom = \"now\"\n\
         [[route]]\nstreams = [\"*\"]\nto = \"home\"\ntopic = \"t\"\n",
        dir.display()
    );
    load_text("test.toml", &text, &Environment::Absent).unwrap_or_else(|r| panic!("{r}")).config
}

#[test]
fn that_a_destination_wants_what_is_new_is_durable_before_anything_new_comes() {
    let dir = tempfile::tempdir().unwrap();
    let config = wants_what_is_new(dir.path());
    let fs = Faulty::new();
    let data = DataDir::open(fs.clone(), dir.path()).unwrap();
    let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
    let lane = Lane::open(&data, name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
    for (op, spared, works) in [(Op::SyncData, 0, false), (Op::SyncDir, 0, false), (Op::SyncData, 1, true)] {
        // What was made by a process that was killed has a file, and nothing in it.
        let mut opened = Opened::open(&data, &name, &home.name).unwrap();
        fs.fail_later(op, spared, 1);
        assert_eq!(opened.positions(&data, &lane, home).is_ok(), works, "{op:?}");
        fs.fail_next(op, 0);
        if !works {
            std::fs::remove_file(positions_file(&data, &name, home)).unwrap();
        }
    }
    let opened = Opened::open(&data, &name, &home.name).unwrap();
    assert!(matches!(opened.restored, Restored::Positions(_)), "from now on it goes on from there");
    lane.close();
}

#[test]
fn on_a_disk_where_nothing_can_be_made_what_is_missing_keeps_nothing_from_opening_and_is_made_later() {
    use crate::disk::sim::{Fault, Lasting, SimFs};
    use crate::state::letters::{Letters, Settings};
    use crate::state::routes::{RouteHistory, RoutesFile};
    use rustix::io::Errno;
    let path = Path::new("/data");
    let mut config = wants_what_is_new(path);
    config.destinations[0].from = Begin::Oldest;
    let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
        let fs = SimFs::default();
        let data = DataDir::open(fs.clone(), path).unwrap();
        let open = || Lane::open(&data, name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
        open().close();
        fs.remove(&path.join("lanes/main/floor")).unwrap();
        fs.break_at(Fault { at: fs.calls() + 1, errno, lasting: Lasting::UntilRepaired });
        let mut opened = Opened::open(&data, &name, &home.name).unwrap();
        let lane = open();
        let (positions, _) = opened.positions(&data, &lane, home).unwrap();
        let settings = Settings { max_size: 1 << 20, max_event_size: 1 << 10 };
        Letters::open(&fs, path, data.spool_id(), settings, 1).unwrap();
        let (mut routes, mut history) = RoutesFile::open(&fs, path, data.spool_id()).unwrap();
        assert!(!history.begin(&config.all_routes(), &[].into(), |_, _| true));
        routes.keep_if_it_can_be(&history).unwrap();
        assert!(opened.store.save(&positions).is_err(), "{errno}");
        fs.repair();
        opened.store.save(&positions).unwrap();
        opened.store.sync().unwrap();
        routes.keep(&history).unwrap();
        assert_eq!(
            Opened::open(&data, &name, &home.name).unwrap().restored,
            Restored::Positions(Box::new(positions)),
            "{errno}"
        );
        let (_, known): (_, RouteHistory) = RoutesFile::open(&fs, path, data.spool_id()).unwrap();
        assert_eq!(known.last_change(), history.last_change());
        lane.close();
    }
}

#[test]
fn one_that_wants_what_is_new_gets_what_it_had_not_received_when_its_positions_are_lost() {
    for delivery in [config::Delivery::ExactlyOnce, config::Delivery::AtLeastOnce] {
        let dir = tempfile::tempdir().unwrap();
        let (mut config, fs) = (wants_what_is_new(dir.path()), Faulty::new());
        config.destinations[0].delivery = delivery;
        let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
        let data = DataDir::open(fs.clone(), dir.path()).unwrap();
        let open = || Lane::open(&data, name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
        let lane = open();
        accept_one(&lane);
        lane.close();
        let lane = open();
        let start = || {
            let mut opened = Opened::open(&data, &name, &home.name).unwrap();
            let (positions, _) = opened.positions(&data, &lane, home).unwrap();
            drop(opened.into_parts(home));
            positions.position
        };
        assert_eq!(start(), Seq(2), "a new one gets nothing of what was there before");
        accept_one(&lane);
        assert_eq!(start(), Seq(2), "{delivery:?}");
        let file = positions_file(&data, &name, home);
        let blank = vec![0; std::fs::read(&file).unwrap().len()];
        for lost in ["the file", "what was in it", "the directory"] {
            match lost {
                "the file" => std::fs::remove_file(&file).unwrap(),
                "what was in it" => std::fs::write(&file, &blank).unwrap(),
                _ => std::fs::remove_dir_all(dir.path().join("readers")).unwrap(),
            }
            assert_eq!(start(), Seq(1), "{delivery:?}: doubles at most, without {lost}");
        }
        // Without all that is known of it, it is new again; and without a journal alone it goes on.
        std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
        assert_eq!(start(), Seq(1), "{delivery:?}");
        ["journal", "readers"].iter().for_each(|d| std::fs::remove_dir_all(dir.path().join(d)).unwrap());
        assert_eq!(start(), Seq(3), "{delivery:?}");
        lane.close();
    }
}

#[test]
fn that_positions_are_lost_is_said_of_any_destination_and_of_none_that_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let (mut config, fs) = (wants_what_is_new(dir.path()), Faulty::new());
    config.destinations[0].from = Begin::Oldest;
    let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
    let data = DataDir::open(fs, dir.path()).unwrap();
    let lane = Lane::open(&data, name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
    let start = || {
        let (at, said) = crate::logs::testing::said(|| {
            let mut opened = Opened::open(&data, &name, &home.name).unwrap();
            let (positions, _) = opened.positions(&data, &lane, home).unwrap();
            drop(opened.into_parts(home));
            positions.position
        });
        assert_eq!(at, Seq(1));
        said.iter().filter(|line| line.contains("the positions file is lost")).count()
    };
    // The second one goes on from what the first has written down, though nothing has been delivered.
    assert_eq!((start(), start()), (0, 0));
    std::fs::remove_file(positions_file(&data, &name, home)).unwrap();
    assert_eq!((start(), start()), (1, 0));
    lane.close();
}

fn accept_one(lane: &Lane<Faulty>) {
    let (stream, mut batch) = (crate::ids::StreamName::new("s").unwrap(), crate::event::EventBatch::new());
    batch.push(&crate::event::Event::of_value(b"one"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(lane.append(stream, batch, crate::intake::Patience::Forever)).unwrap();
}

/// One event, of a window that a process before may have sent.
fn intent() -> Intent {
    Intent {
        cluster_id: String::new(),
        topic: TopicName::new("t").unwrap(),
        topic_id: [0; 16],
        partition: 0,
        producer_id: 1,
        epoch: 0,
        base_sequence: 0,
        before: Before::Nothing,
        acked_offset: -1,
        counter: Counter { epoch: 0, next: 0 },
        by_time_of_sending: false,
        sent_at: 0,
        shares: vec![Share { block: Seq(9), run: RunId(1), events: Bits::full(1) }],
    }
}

#[test]
fn where_it_goes_on_by_other_routes_is_durable_before_and_after_the_journal_forgets_what_it_said() {
    let (spool, lane) = (SpoolId(7), LaneName::new("main").unwrap());
    let name = DestinationName::new("home").unwrap();
    let at = |position| Positions { position: Seq(position), ..Positions::fresh(spool, Seq(5)) };
    let opened = |fs: &Faulty, dir: &Path, intents| {
        let (store, restored) = Store::open(fs, dir, spool, &lane, &name).unwrap();
        let (journal, _) = Journal::open(fs, dir, spool, &lane, &name);
        let park = Park::open(fs, dir, Whose { spool, lane: &lane, destination: &name }).unwrap();
        let (was_here, of_another_past, still_says_so) = (false, OnceCell::new(), false);
        Opened { store, restored, journal, park, intents, was_here, of_another_past, still_says_so }
    };
    let prepare = |dir: &Path| {
        let mut opened = opened(&Faulty::new(), dir, Vec::new());
        opened.journal.prepare().unwrap();
        opened.journal.begin([&intent()]).unwrap();
    };
    for (intents, expected) in
        [(vec![intent()], Syncs::of(1 + 1 + 1, 3 + 3)), (Vec::new(), Syncs::of(1 + 1, 3))]
    {
        let gone_on = Syncs::made_by(prepare, |fs, dir| {
            opened(fs, dir, intents.clone()).go_on(&at(9), &[], &at(6))?;
            let then = opened(fs, dir, Vec::new());
            assert_eq!(then.restored, Restored::Positions(Box::new(at(6))));
            Ok::<_, GoOnError>(())
        });
        assert_eq!(gone_on, expected);
    }
}

#[test]
fn positions_of_another_past_are_written_over_before_anything_new_comes_and_so_is_their_journal() {
    for is_stranger in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (mut config, fs) = (wants_what_is_new(dir.path()), Faulty::new());
        config.destinations[0].from = Begin::Oldest;
        let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
        let data = DataDir::open(fs.clone(), dir.path()).unwrap();
        let open_lane = || Lane::open(&data, name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
        let before = open_lane();
        accept_one(&before);
        let own = Footing { seq: Seq(1), run: before.run() };
        before.close();
        let lane = open_lane();
        let open = || Opened::open(&data, &name, &home.name).unwrap();
        for (footing, is_believed) in [(own, true), (Footing { run: RunId(77), ..own }, false)] {
            let saved = Positions {
                position: Seq(2),
                footing: Some(footing),
                ..Positions::fresh(data.spool_id(), Seq(1))
            };
            let shares = vec![Share { block: Seq(1), run: footing.run, events: Bits::full(1) }];
            let mut opened = open();
            opened.store.save(&saved).unwrap();
            opened.journal.begin([&Intent { shares, ..intent() }]).unwrap();
            let mut opened = open();
            assert_eq!(opened.is_of_another_past(&lane), !is_believed);
            let (positions, _) = if is_stranger {
                opened.as_stranger(&data, &lane)
            } else {
                opened.positions(&data, &lane, home).unwrap()
            };
            assert_eq!(positions.position, if is_believed { Seq(2) } else { Seq(1) });
            let then = open();
            let stands = if is_believed { saved } else { Positions::fresh(data.spool_id(), Seq(1)) };
            assert_eq!(then.restored, Restored::Positions(Box::new(stands)), "stranger: {is_stranger}");
            assert_eq!(then.intents.len(), usize::from(is_believed));
            assert!(!then.is_of_another_past(&lane));
        }
        lane.close();
    }
}

/// Found by an audit: put back alone, it was believed, and what it said of numbers that the log has from another run counted as delivered.
#[test]
fn a_journal_of_another_past_beside_positions_of_this_one_is_written_over_and_says_nothing() {
    for is_stranger in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (mut config, fs) = (wants_what_is_new(dir.path()), Faulty::new());
        config.destinations[0].from = Begin::Oldest;
        let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
        let data = DataDir::open(fs.clone(), dir.path()).unwrap();
        let open_lane = || Lane::open(&data, name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
        let before = open_lane();
        accept_one(&before);
        let (own, other) = (before.run(), RunId(77));
        before.close();
        let lane = open_lane();
        let letter = |run| Replaying { id: 3, seq: Seq(1), run };
        for (run, replaying, is_believed) in [
            (own, vec![], true),
            (other, vec![], false),
            (other, vec![letter(other)], true),
            (other, vec![letter(own)], false),
        ] {
            let saved = Positions { replaying, ..Positions::fresh(data.spool_id(), Seq(1)) };
            let share = |events| vec![Share { block: Seq(1), run, events }];
            let open = || Opened::open(&data, &name, &home.name).unwrap();
            let mut opened = open();
            opened.store.save(&saved).unwrap();
            // The first has arrived, as the second says.
            let first = Intent { shares: share(Bits::full(1)), ..intent() };
            let second = Intent { before: Before::Appended, base_sequence: 1, ..first.clone() };
            opened.journal.begin([&first, &second]).unwrap();
            let mut opened = open();
            let (positions, in_doubt) = if is_stranger {
                opened.as_stranger(&data, &lane)
            } else {
                opened.positions(&data, &lane, home).unwrap()
            };
            let says = positions != saved || !in_doubt.is_empty();
            assert_eq!(
                (says, opened.still_says_so()),
                (is_believed, false),
                "{run}, stranger: {is_stranger}"
            );
            let then = open();
            assert_eq!(then.restored, Restored::Positions(Box::new(saved)));
            assert_eq!(then.intents.len(), if is_believed { 2 } else { 0 });
        }
        lane.close();
    }
}

/// Found by an audit: where the log has none of its events any more it could not be judged, and what it said of parked ones counted as
/// delivered. Nothing was sent of them.
#[test]
fn a_journal_is_judged_by_what_is_parked_where_the_log_has_nothing_of_it_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut config, fs) = (wants_what_is_new(dir.path()), Faulty::new());
    config.destinations[0].from = Begin::Oldest;
    let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
    let data = DataDir::open(fs.clone(), dir.path()).unwrap();
    let lane = |at_least| Lane::open(&data, name.clone(), &config.spool, at_least, Metrics::new()).unwrap();
    let before = lane(Seq(100));
    accept_one(&before);
    let run = before.run().0;
    before.close();
    let (lane, whose) =
        (lane(Seq(100)), Whose { spool: data.spool_id(), lane: &name, destination: &home.name });
    assert_eq!(lane.first(), Seq(100));
    let mut events = crate::event::EventBatch::new();
    events.push(&crate::event::Event::of_value(b"one"));
    let parked = |first| Parked {
        range: SeqRange::new(Seq(first), Seq(first + 1)),
        stream: crate::ids::StreamName::new("s").unwrap(),
        time: 1,
        run: RunId(7),
        segment: SegmentId(1),
        payload: events.as_bytes().to_vec().into(),
    };
    let park = Park::open(&fs, dir.path(), whose).unwrap().bounded(1 << 20, 0);
    let covers = SeqRange::new(Seq(5), Seq(20));
    park.keep(&TopicName::new("t").unwrap(), covers, &[parked(5), parked(9)]).unwrap();
    let share = |first, run| Share { block: Seq(first), run: RunId(run), events: Bits::full(1) };
    for (shares, is_believed) in [
        (vec![share(5, 7), share(9, 7)], true),
        (vec![share(5, 8), share(9, 8)], false),
        // One that has arrived, and is nowhere any more, lies behind.
        (vec![share(9, 8), share(30, 8)], false),
        (vec![share(9, 7), share(30, 8)], true),
        // That it covers some number says nothing of one that it does not hold.
        (vec![share(11, 8)], true),
        (vec![share(9, 8), share(11, 8)], false),
        (vec![share(9, 7), share(11, 8)], true),
        // Where the log has the last of them, what is parked may be older than that.
        (vec![share(9, 8), share(100, run)], true),
    ] {
        let positions = Positions::fresh(data.spool_id(), Seq(1));
        let open = || Opened::open(&data, &name, &home.name).unwrap();
        let mut opened = open();
        opened.store.save(&positions).unwrap();
        opened.journal.begin([&Intent { shares: shares.clone(), ..intent() }]).unwrap();
        let (_, in_doubt) = open().positions(&data, &lane, home).unwrap();
        assert_eq!(
            (in_doubt.len(), open().intents.len()),
            if is_believed { (1, 1) } else { (0, 0) },
            "{shares:?}"
        );
    }
    lane.close();
}

/// A directory whose log holds one event, and what its destination `home` said when it held eight: beyond the log's end.
struct Short {
    dir: tempfile::TempDir,
    config: config::Config,
    fs: Faulty,
    data: DataDir<Faulty>,
    name: LaneName,
}

impl Short {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut config, fs) = (wants_what_is_new(dir.path()), Faulty::new());
        config.destinations[0].from = Begin::Oldest;
        let data = DataDir::open(fs.clone(), dir.path()).unwrap();
        let short = Self { dir, config, fs, data, name: LaneName::new("main").unwrap() };
        let lane = short.lane(Seq::NONE);
        accept_one(&lane);
        lane.close();
        let run = RunId(77);
        let fresh = Positions::fresh(short.data.spool_id(), Seq(1));
        let saved = Positions { position: Seq(9), footing: Some(Footing { seq: Seq(8), run }), ..fresh };
        let shares = vec![Share { block: Seq(9), run, events: Bits::full(1) }];
        let mut opened = short.open();
        opened.store.save(&saved).unwrap();
        opened.journal.begin([&Intent { shares, ..intent() }]).unwrap();
        short
    }

    fn home(&self) -> &Destination {
        &self.config.destinations[0]
    }

    fn open(&self) -> Opened<Faulty> {
        Opened::open(&self.data, &self.name, &self.home().name).unwrap()
    }

    fn lane(&self, at_least: Seq) -> Lane<Faulty> {
        Lane::open(&self.data, self.name.clone(), &self.config.spool, at_least, Metrics::new()).unwrap()
    }

    /// How many of its files were set aside.
    fn asides(&self) -> usize {
        let names = |of: &str| std::fs::read_dir(self.dir.path().join(of)).unwrap();
        let names = names("readers/main").chain(names("journal/main")).map(|e| e.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().contains(".aside-")).count()
    }

    /// A start of the destination, configured or not. What is to be sent, and whether its files can still be believed.
    fn begin(&self, opened: &mut Opened<Faulty>, lane: &Lane<Faulty>, is_stranger: bool) -> (Seq, bool) {
        let (positions, in_doubt) = if is_stranger {
            opened.as_stranger(&self.data, lane)
        } else {
            opened.positions(&self.data, lane, self.home()).unwrap()
        };
        assert_eq!(in_doubt, []);
        (positions.position, opened.still_says_so())
    }
}

/// Found by an audit: they stayed until the first save. A process that took an event before that, and was killed, left a log that
/// they did not lie beyond any more, and what it had held before counted as delivered.
#[test]
fn positions_beyond_the_logs_end_are_written_over_before_anything_new_comes_and_then_say_which_numbers_were_given()
 {
    for is_stranger in [false, true] {
        let short = Short::new();
        let mut opened = short.open();
        assert_eq!(opened.highest(), Some(Seq(10)), "the journal knows of event 9");
        let lane = short.lane(Seq(10));
        assert!(opened.is_of_another_past(&lane));
        assert_eq!(short.begin(&mut opened, &lane, is_stranger), (Seq(1), false));
        let then = short.open();
        assert_eq!((then.highest(), then.intents.len()), (Some(Seq(10)), 0), "stranger: {is_stranger}");
        assert!(then.is_of_another_past(&lane), "until the log goes on above");
        // Nothing else is saved before the end.
        accept_one(&lane);
        assert_eq!(lane.durable(), Seq(10));
        lane.close();
        let mut then = short.open();
        let lane = short.lane(then.highest().unwrap());
        assert!(!then.is_of_another_past(&lane));
        assert_eq!(short.begin(&mut then, &lane, is_stranger).0, Seq(1), "stranger: {is_stranger}");
        lane.close();
    }
}

/// Where the journal alone was, it was said of the positions.
#[test]
fn it_is_said_which_file_is_ahead_of_the_log() {
    let short = Short::new();
    let lane = short.lane(Seq(10));
    let opened = short.open();
    let at =
        |position| Positions { position: Seq(position), ..Positions::fresh(short.data.spool_id(), Seq(1)) };
    for (position, file) in [(9, "the positions file is ahead"), (2, "the journal names events beyond")] {
        let why = opened.why_not(&at(position), &lane);
        assert!(why.starts_with(file), "{why}");
    }
    lane.close();
}

/// Found by an audit: where nothing could be written, no file was left. One that is not configured counted as forgotten by that, within
/// seconds; one that wants what is new counted as new at the next start.
#[test]
fn what_can_not_be_written_over_of_another_past_is_set_aside_and_where_that_can_not_be_done_it_is_said() {
    for (op, failures, still_says_so, asides) in [
        (Op::Write, 1, false, 1),
        (Op::SyncData, 1, false, 1),
        (Op::Write, 100, false, 2),
        (Op::Rename, 100, true, 0),
        (Op::SyncDir, 100, true, 1),
        (Op::Create, 100, true, 0),
    ] {
        for (is_stranger, from) in [(false, Begin::Oldest), (false, Begin::Now), (true, Begin::Oldest)] {
            let what = format!("{op:?} {failures}, stranger: {is_stranger}, {from:?}");
            let mut short = Short::new();
            short.config.destinations[0].from = from;
            let (mut opened, lane) = (short.open(), short.lane(Seq(10)));
            assert!(opened.is_of_another_past(&lane));
            short.fs.fail_next(op, failures);
            let begun = short.begin(&mut opened, &lane, is_stranger);
            short.fs.fail_next(op, 0);
            assert_eq!(begun, (Seq(1), still_says_so), "{what}");
            assert_eq!(short.asides(), asides, "{what}");
            assert!(positions_file(&short.data, &short.name, short.home()).exists(), "{what}: not forgotten");
            if is_stranger || from == Begin::Now {
                // A kill, before anything else is saved.
                opened = short.open();
                assert!(opened.held_for(&short.home().name, &lane).is_some(), "{what}");
                assert_eq!(short.begin(&mut opened, &lane, is_stranger), (Seq(1), false), "{what}");
            }
            // It goes on with the file that it has now.
            let position = Positions { position: Seq(2), ..Positions::fresh(short.data.spool_id(), Seq(1)) };
            opened.store.save(&position).unwrap();
            opened.store.sync().unwrap();
            opened.journal.begin([]).unwrap();
            assert_eq!(short.open().restored, Restored::Positions(Box::new(position)), "{what}");
            lane.close();
        }
    }
}

/// Found by an audit: its journal was believed again once it was configured again and had saved positions.
#[test]
fn of_one_that_is_not_configured_a_journal_beyond_the_logs_end_is_forgotten_too_where_its_positions_say_nothing()
 {
    for is_damaged in [false, true] {
        let short = Short::new();
        let file = positions_file(&short.data, &short.name, short.home());
        std::fs::remove_file(&file).unwrap();
        if is_damaged {
            std::fs::write(&file, "damaged").unwrap();
        }
        let (mut opened, lane) = (short.open(), short.lane(Seq(10)));
        assert!(opened.is_of_another_past(&lane));
        assert_eq!(short.begin(&mut opened, &lane, true), (Seq(1), false));
        let then = short.open();
        assert_eq!((then.highest(), then.intents.len()), (Some(Seq(10)), 0), "damaged: {is_damaged}");
        lane.close();
    }
}

#[test]
fn one_that_wants_what_is_new_stands_on_the_last_event_before() {
    let dir = tempfile::tempdir().unwrap();
    let (config, fs) = (wants_what_is_new(dir.path()), Faulty::new());
    let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
    let data = DataDir::open(fs, dir.path()).unwrap();
    let lane = Lane::open(&data, name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
    accept_one(&lane);
    let (positions, _) =
        Opened::open(&data, &name, &home.name).unwrap().positions(&data, &lane, home).unwrap();
    assert_eq!(positions.footing, Some(Footing { seq: Seq(1), run: lane.run() }));
    lane.close();
}

fn positions_file(data: &DataDir<Faulty>, lane: &LaneName, home: &Destination) -> std::path::PathBuf {
    crate::state::positions::directory(data.path(), lane).join(home.name.as_str())
}

#[test]
fn that_positions_of_another_past_are_forgotten_is_durable_or_said() {
    use crate::logs::testing::said;
    let (spool, lane_name) = (SpoolId(7), LaneName::new("main").unwrap());
    let name = DestinationName::new("home").unwrap();
    let top = tempfile::tempdir().unwrap();
    let config = wants_what_is_new(top.path());
    let data = DataDir::open(Faulty::new(), top.path()).unwrap();
    let open_lane =
        || Lane::open(&data, lane_name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
    let before = open_lane();
    accept_one(&before);
    before.close();
    let lane = open_lane();
    let shares = vec![Share { block: Seq(1), run: RunId(77), events: Bits::full(1) }];
    let intents = vec![Intent { shares, ..intent() }];
    let opened = |fs: &Faulty, dir: &Path| {
        let (store, restored) = Store::open(fs, dir, spool, &lane_name, &name).unwrap();
        let (journal, _) = Journal::open(fs, dir, spool, &lane_name, &name);
        let park = Park::open(fs, dir, Whose { spool, lane: &lane_name, destination: &name }).unwrap();
        let intents = intents.clone();
        let (was_here, of_another_past, still_says_so) = (false, OnceCell::new(), false);
        Opened { store, restored, journal, park, intents, was_here, of_another_past, still_says_so }
    };
    let prepare = |dir: &Path| {
        let mut opened = opened(&Faulty::new(), dir);
        opened.store.save(&Positions::fresh(spool, Seq(1))).unwrap();
        opened.journal.prepare().unwrap();
        opened.journal.begin(&intents).unwrap();
    };
    let forgotten = Syncs::made_by(prepare, |fs, dir| {
        let mut opened = opened(fs, dir);
        let ((), lines) = said(|| opened.forget_its_past(&Positions::fresh(spool, Seq(1)), &lane));
        if lines.is_empty() { Ok(()) } else { Err(lines) }
    });
    // A generation of the journal, and the names on the way to it; the positions, and theirs.
    assert_eq!(forgotten, Syncs::of(1 + 1, 3 + 3));
    lane.close();
}
