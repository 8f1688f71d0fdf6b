//! Every sync of the files of state is made, and none fails unnoticed but where that is said here.

use std::path::Path;

use crate::disk::RealFs;
use crate::disk::faulty::{Faulty, Op, Syncs};
use crate::event::Event;
use crate::ids::{DestinationName, LaneName, Seq, SpoolId};

use super::homes::{History, HomesFile};
use super::journal::{Journal, JournalError};
use super::letters::testing::letter;
use super::letters::{Copied, Letters, Settings};
use super::overrides::Overrides;
use super::positions::{Positions, Store};
use super::routes::RoutesFile;
use super::{handover, positions, routes};

const SPOOL: SpoolId = SpoolId(7);

fn lane() -> LaneName {
    LaneName::new("main").unwrap()
}

fn name(name: &str) -> DestinationName {
    DestinationName::new(name).unwrap()
}

fn save(dir: &Path, destination: &str) {
    let (mut store, _) = Store::open(&RealFs, dir, SPOOL, &lane(), &name(destination)).unwrap();
    store.save(&Positions::fresh(SPOOL, Seq(5))).unwrap();
}

fn begin_journal(dir: &Path, destination: &str) {
    let (mut journal, _) = Journal::open(&RealFs, dir, SPOOL, &lane(), &name(destination));
    journal.prepare().unwrap();
    journal.begin([]).unwrap();
}

#[test]
fn positions_are_durable_once_a_sync_says_so() {
    let saved = Syncs::made_by(
        |dir| save(dir, "home"),
        |fs, dir| {
            let (mut store, _) = Store::open(fs, dir, SPOOL, &lane(), &name("home"))?;
            store.save(&Positions::fresh(SPOOL, Seq(9)))?;
            store.sync()
        },
    );
    // The names on the way are the lane's, the readers' and the data directory's.
    assert_eq!(saved, Syncs::of(1, 3));
}

#[test]
fn where_streams_are_and_by_which_routes_events_go_is_durable_when_it_is_kept() {
    let kept = Syncs::made_by(
        |_| {},
        |fs, dir| {
            let (mut file, _) = HomesFile::open(fs, dir, SPOOL)?;
            file.keep(&History::unknown())
        },
    );
    assert_eq!(kept, Syncs::of(2, 1));
    let begun = Syncs::made_by(
        |_| {},
        |fs, dir| {
            let (mut file, mut history) = RoutesFile::open(fs, dir, SPOOL)?;
            history.begin(&[], &[].into(), |_, _| false);
            file.keep(&history)
        },
    );
    assert_eq!(begun, Syncs::of(2, 1));
    let set = Syncs::made_by(|_| {}, |fs, dir| Overrides::default().keep(fs, dir));
    assert_eq!(set, Syncs::of(2, 1));
    let carried = Syncs::made_by(
        |dir| {
            ["old", "new"].iter().for_each(|each| std::fs::create_dir(dir.join(each)).unwrap());
            let (mut file, mut history) = RoutesFile::open(&RealFs, &dir.join("old"), SPOOL).unwrap();
            history.begin(&[], &[].into(), |_, _| false);
            file.keep(&history).unwrap();
        },
        |fs, dir| routes::carry(fs, &dir.join("old"), &dir.join("new")),
    );
    assert_eq!(carried, Syncs::of(2, 1));
}

#[test]
fn each_step_of_a_new_name_is_durable_before_the_next() {
    let begin = |dir: &Path| {
        save(dir, "old");
        begin_journal(dir, "old");
    };
    let taken_over =
        Syncs::made_by(begin, |fs, dir| handover::take_over(fs, dir, SPOOL, (&name("old"), &name("new"))));
    // The marker, the names of four files (what is rescued of one is seldom there), and that the marker is gone.
    assert_eq!(taken_over, Syncs::of(1, 1 + 4 + 1));
    let gone_on = Syncs::made_by(
        |dir| {
            begin(dir);
            let there = positions::directory(dir, &lane());
            std::fs::rename(there.join("old"), there.join("new")).unwrap();
            std::fs::write(dir.join("handover"), r#"{"lane":"main","from":"old","to":"new"}"#).unwrap();
        },
        handover::finish,
    );
    assert_eq!(gone_on, Syncs::of(0, 4 + 1), "what was renamed before a kill may not be durable");
    let forgotten = Syncs::made_by(begin, |fs, dir| handover::forget(fs, dir, &lane(), &name("old")));
    assert_eq!(forgotten, Syncs::of(0, 3));
}

#[test]
fn what_the_journal_says_is_durable_with_the_names_of_its_files() {
    let open = |fs: &_, dir: &Path| Journal::open(fs, dir, SPOOL, &lane(), &name("home")).0;
    // The names on the way are the data directory's, its journals' and the lane's; then the file's own.
    let begun = Syncs::made_by(|_| {}, |fs, dir| open(fs, dir).begin([]));
    assert_eq!(begun, Syncs::of(2, 3 + 1));
    let begun_again = Syncs::made_by(|dir| begin_journal(dir, "home"), |fs, dir| open(fs, dir).begin([]));
    assert_eq!(begun_again, Syncs::of(1, 3));
    // A generation that can't be read is gone before its number is given to another.
    let damage = |dir: &Path| {
        begin_journal(dir, "home");
        let file = std::fs::OpenOptions::new().write(true).open(dir.join("journal/main/home.1")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 40], 0).unwrap();
    };
    let begun_over_damage = Syncs::made_by(damage, |fs, dir| open(fs, dir).begin([]));
    assert_eq!(begun_over_damage, Syncs::of(1 + 1, 3 + 3));
    let prepared = Syncs::made_by(|_| {}, |fs, dir| open(fs, dir).prepare());
    assert_eq!(prepared, Syncs::of(2, 3 + 2), "the way to both is one");
    let discarded = Syncs::made_by(|dir| begin_journal(dir, "home"), |fs, dir| open(fs, dir).discard());
    assert_eq!(discarded, Syncs::of(0, 3 + 1));
    let nothing = Syncs::made_by(|_| {}, |fs, dir| open(fs, dir).discard());
    assert_eq!(nothing, Syncs::of(0, 3 + 1));
    let discarded_again =
        Syncs::made_by(|dir| open(&Faulty::new(), dir).discard().unwrap(), |fs, dir| open(fs, dir).discard());
    assert_eq!(discarded_again, Syncs::of(0, 0));
    let intent = super::journal::tests::intent(0, 1, &[true]);
    let appended = Syncs::made_by(
        |_| {},
        |fs, dir| {
            let mut journal = open(fs, dir);
            journal.begin([])?;
            journal.append([&intent])?;
            Ok::<_, JournalError>(())
        },
    );
    assert_eq!(appended, Syncs::of(3, 4));
}

#[test]
fn up_to_where_letters_were_copied_is_durable_when_it_is_kept() {
    let kept = Syncs::made_by(|_| {}, |fs, dir| Copied::open(fs, dir, SPOOL)?.set(&name("home"), 12));
    // The file is made, with its name; then what it says.
    assert_eq!(kept, Syncs::of(2, 1));
}

#[test]
fn a_letter_is_durable_with_its_file_and_so_is_what_became_of_it() {
    let settings = || Settings { max_size: 10 << 20, max_event_size: 1000 };
    let open = |fs: &_, dir: &Path| Letters::open(fs, dir, SPOOL, settings(), 0).unwrap();
    let appended = Syncs::made_by(
        |dir| drop(Letters::open(&RealFs, dir, SPOOL, settings(), 0).unwrap()),
        |fs, dir| open(fs, dir).append(&[letter(1, &Event::of_value(b"v"))]).map(drop),
    );
    // The next file is reserved for later: for this letter nothing hangs on it.
    let spare = vec![(Op::SyncData, 0), (Op::SyncDir, 2)];
    assert_eq!(appended, Syncs { passed_over: spare, ..Syncs::of(2, 3) });
    let with_letters = |dir: &Path| {
        let letters = Letters::open(&RealFs, dir, SPOOL, settings(), 0).unwrap();
        let event = Event::of_value(b"v");
        letters.append(&[letter(1, &event), letter(2, &event)]).unwrap();
    };
    let taken = Syncs::made_by(with_letters, |fs, dir| open(fs, dir).take(&[1]));
    // That the room behind the last letter is given back, a file that is removed may come back: both do no harm.
    let shortened = (Op::SyncData, 0);
    assert_eq!(taken, Syncs { passed_over: vec![shortened], ..Syncs::of(2, 1) });
    let removed = Syncs::made_by(with_letters, |fs, dir| open(fs, dir).remove(&[1, 2]));
    assert_eq!(removed, Syncs { passed_over: vec![shortened, (Op::SyncDir, 1)], ..Syncs::of(2, 2) });
}
