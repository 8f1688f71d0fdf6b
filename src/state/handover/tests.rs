//! Names that go to others, on disks that fail.

use super::*;
use crate::disk::RealFs;
use crate::disk::faulty::{Faulty, Op};
use crate::ids::Seq;
use crate::logs::testing::said;
use crate::state::journal::Journal;
use crate::state::positions::{Positions, Store};
use rustix::io::Errno;

const SPOOL: SpoolId = SpoolId(7);

fn lane(name: &str) -> LaneName {
    LaneName::new(name).unwrap()
}

fn name(name: &str) -> DestinationName {
    DestinationName::new(name).unwrap()
}

fn save(dir: &Path, l: &str, destination: &str, position: u64) {
    let (mut store, _) = Store::open(&RealFs, dir, SPOOL, &lane(l), &name(destination)).unwrap();
    store.save(&Positions::fresh(SPOOL, Seq(position))).unwrap();
    let (mut journal, _) = Journal::open(&RealFs, dir, SPOOL, &lane(l), &name(destination));
    journal.prepare().unwrap();
    journal.begin([]).unwrap();
}

/// Lane, destination and position of everything that is known, and the journals' files.
fn all_known(dir: &Path) -> (Vec<(String, String, u64)>, Vec<String>) {
    let (mut all, mut journals) = (Vec::new(), Vec::new());
    for l in known::lanes(&RealFs, dir) {
        for (destination, restored) in positions::look(&RealFs, dir, SPOOL, &l).unwrap() {
            if let Restored::Positions(positions) = restored {
                all.push((l.to_string(), destination.to_string(), positions.position.0));
            }
        }
        let files = std::fs::read_dir(journal::directory(dir, &l)).into_iter().flatten();
        journals.extend(files.map(|f| format!("{l}/{}", f.unwrap().file_name().to_str().unwrap())));
    }
    all.sort();
    journals.sort();
    (all, journals)
}

fn row(l: &str, destination: &str, position: u64) -> (String, String, u64) {
    (l.to_owned(), destination.to_owned(), position)
}

#[test]
fn a_new_name_takes_over_what_is_known_in_every_lane_once() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "main", "old", 11);
    save(dir.path(), "fast", "old", 5);
    save(dir.path(), "fast", "other", 6);
    let renamed = (&name("old"), &name("new"));
    assert_eq!(take_over(&RealFs, dir.path(), SPOOL, renamed).unwrap(), []);
    let expected = vec![row("fast", "new", 5), row("fast", "other", 6), row("main", "new", 11)];
    let journals = ["fast/new.0", "fast/new.1", "fast/other.0", "fast/other.1", "main/new.0", "main/new.1"];
    assert_eq!(all_known(dir.path()), (expected.clone(), journals.map(str::to_owned).to_vec()));
    assert_eq!(take_over(&RealFs, dir.path(), SPOOL, renamed).unwrap(), []);
    assert_eq!(all_known(dir.path()).0, expected);
    // It was there again for a while: the new one has a life of its own by now.
    save(dir.path(), "main", "old", 2);
    assert_eq!(take_over(&RealFs, dir.path(), SPOOL, renamed).unwrap(), [lane("main")]);
    assert!(all_known(dir.path()).0.contains(&row("main", "new", 11)));
}

#[test]
fn a_new_name_is_not_new_where_the_old_one_has_lost_its_positions() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "main", "old", 11);
    std::fs::remove_file(directory(dir.path(), &lane("main")).join("old")).unwrap();
    for _ in 0..2 {
        assert_eq!(take_over(&RealFs, dir.path(), SPOOL, (&name("old"), &name("new"))).unwrap(), []);
        assert_eq!(all_known(dir.path()).1, ["main/new.0", "main/new.1"]);
    }
    // What is left of an old one where the new one has a life of its own changes nothing.
    save(dir.path(), "main", "new", 5);
    save(dir.path(), "main", "old", 11);
    std::fs::remove_file(directory(dir.path(), &lane("main")).join("old")).unwrap();
    assert_eq!(take_over(&RealFs, dir.path(), SPOOL, (&name("old"), &name("new"))).unwrap(), []);
    assert_eq!(all_known(dir.path()).0, [row("main", "new", 5)]);
}

#[test]
fn a_kill_at_any_moment_leaves_what_the_next_start_goes_on_with() {
    let mut failed = 0;
    for op in [Op::Create, Op::Write, Op::SyncData, Op::SyncDir, Op::Remove] {
        for spared in 0..12 {
            let dir = tempfile::tempdir().unwrap();
            save(dir.path(), "main", "old", 11);
            save(dir.path(), "fast", "old", 5);
            let fs = Faulty::new();
            fs.fail_later(op, spared, u64::MAX);
            let renamed = (&name("old"), &name("new"));
            failed += u32::from(take_over(&fs, dir.path(), SPOOL, renamed).is_err());
            finish(&RealFs, dir.path()).unwrap();
            assert_eq!(take_over(&RealFs, dir.path(), SPOOL, renamed).unwrap(), []);
            let expected = vec![row("fast", "new", 5), row("main", "new", 11)];
            let journals = ["fast/new.0", "fast/new.1", "main/new.0", "main/new.1"];
            assert_eq!(
                all_known(dir.path()),
                (expected, journals.map(str::to_owned).to_vec()),
                "{op:?} {spared}"
            );
            assert!(!dir.path().join(NAME).exists());
        }
    }
    assert!(failed > 15, "{failed} kills");
}

#[test]
fn what_is_forgotten_is_gone_with_its_journal_and_a_marker_that_is_damaged_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "main", "old", 11);
    save(dir.path(), "main", "other", 12);
    forget(&RealFs, dir.path(), &lane("main"), &name("old")).unwrap();
    forget(&RealFs, dir.path(), &lane("main"), &name("old")).unwrap();
    let left = (vec![row("main", "other", 12)], vec!["main/other.0".to_owned(), "main/other.1".to_owned()]);
    assert_eq!(all_known(dir.path()), left);
    std::fs::write(dir.path().join(NAME), b"{\"lane\":").unwrap();
    finish(&RealFs, dir.path()).unwrap();
    assert_eq!(all_known(dir.path()), left);
    assert!(!dir.path().join(NAME).exists());
}

#[test]
fn a_marker_that_can_not_be_read_ends_nothing_and_one_that_may_not_be_read_is_an_error() {
    for (op, errno, goes_on) in [
        (Op::Open, Errno::IO, true),
        // What stands in its place.
        (Op::Open, Errno::ISDIR, true),
        (Op::Open, Errno::NXIO, true),
        (Op::Read, Errno::IO, true),
        (Op::Open, Errno::ACCESS, false),
        (Op::Read, Errno::NOMEM, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), b"{}").unwrap();
        let fs = Faulty::new();
        fs.error(errno);
        fs.fail_next(op, u64::MAX);
        assert_eq!(finish(&fs, dir.path()).is_ok(), goes_on, "{op:?} {errno}");
        assert_eq!(dir.path().join(NAME).exists(), !goes_on, "{op:?} {errno}");
        assert_eq!(dir.path().join("handover.aside-1").exists(), goes_on, "{op:?} {errno}");
    }
}

/// On a disk that fails: everything is known under one name, and what was said to be done is.
#[test]
fn a_disk_that_refuses_any_call_leaves_everything_under_one_name_and_nothing_is_said_to_be_done_that_is_not()
{
    use crate::disk::sim::{Call, Fault, Lasting, SimFs};
    let dir = Path::new("/data");
    let prepared = || {
        let fs = SimFs::default();
        fs.create_dir(dir).unwrap();
        let (mut store, _) = Store::open(&fs, dir, SPOOL, &lane("main"), &name("old")).unwrap();
        store.save(&Positions::fresh(SPOOL, Seq(11))).unwrap();
        store.sync().unwrap();
        let (mut journal, _) = Journal::open(&fs, dir, SPOOL, &lane("main"), &name("old"));
        journal.prepare().unwrap();
        journal.begin([]).unwrap();
        fs
    };
    let files = |fs: &SimFs, n: &str| {
        let [positions, _, first, second] = files(dir, &lane("main"), &name(n));
        let paths = fs.world().paths();
        [positions, first, second].map(|path| paths.contains(&path))
    };
    let renamed = (&name("old"), &name("new"));
    let calls = {
        let fs = prepared();
        let began = fs.calls();
        take_over(&fs, dir, SPOOL, renamed).unwrap();
        assert_eq!((files(&fs, "old"), files(&fs, "new")), ([false; 3], [true; 3]));
        fs.calls() - began
    };
    let mut refused = 0;
    for lasting in [Lasting::Once, Lasting::UntilRepaired] {
        for call in 0..calls {
            let fs = prepared();
            let errno = rustix::io::Errno::IO;
            fs.break_at(Fault { at: fs.calls() + call, errno, lasting });
            let taken = take_over(&fs, dir, SPOOL, renamed);
            let hit = fs.repair();
            refused += u64::from(taken.is_err());
            // What could not be listed or read of the lanes is looked for at the next start.
            let looked = hit.iter().any(|(_, call)| matches!(call, Call::List | Call::Read | Call::Size));
            let when = format!("{lasting:?} at {hit:?}");
            if taken.is_ok() && !looked {
                assert_eq!((files(&fs, "old"), files(&fs, "new")), ([false; 3], [true; 3]), "{when}");
                let cut = SimFs::of(fs.world().after_power_cut(&[]));
                assert_eq!((files(&cut, "old"), files(&cut, "new")), ([false; 3], [true; 3]), "{when}");
            }
            finish(&fs, dir).unwrap();
            take_over(&fs, dir, SPOOL, renamed).unwrap();
            assert_eq!((files(&fs, "old"), files(&fs, "new")), ([false; 3], [true; 3]), "{when}");
        }
    }
    assert!(refused > calls, "{refused} of {calls}");
}

/// Found by an audit: what a killed rescue had left was taken for another destination's, held its lane for ever, and came back
/// after it was forgotten.
#[test]
fn positions_that_a_killed_rescue_has_left_are_their_destinations_and_go_with_it() {
    for moved_away in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "main", "old", 11);
        let [old, rescued, ..] = files(dir.path(), &lane("main"), &name("old"));
        std::fs::copy(&old, &rescued).unwrap();
        if moved_away {
            std::fs::rename(&old, old.with_file_name("old.aside-1")).unwrap();
        }
        assert_eq!(all_known(dir.path()).0, [row("main", "old", 11)], "{moved_away}");
        assert_eq!(known::destinations(&RealFs, dir.path(), &lane("main")), [name("old")]);
        take_over(&RealFs, dir.path(), SPOOL, (&name("old"), &name("new"))).unwrap();
        assert_eq!(all_known(dir.path()).0, [row("main", "new", 11)], "{moved_away}");
        assert_eq!(known::destinations(&RealFs, dir.path(), &lane("main")), [name("new")]);
        forget(&RealFs, dir.path(), &lane("main"), &name("new")).unwrap();
        assert_eq!(known::destinations(&RealFs, dir.path(), &lane("main")), []);
    }
}

#[test]
fn a_directory_in_the_markers_place_is_set_aside_and_one_that_can_not_be_opened_stays() {
    use crate::disk::sim::{Fault, Lasting, SimFs};
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(NAME)).unwrap();
    finish(&RealFs, dir.path()).unwrap();
    assert!(!dir.path().join(NAME).exists() && dir.path().join("handover.aside-1").exists());
    let (fs, dir) = (SimFs::default(), Path::new("/data"));
    fs.create_dir(dir).unwrap();
    begin(&fs, dir, &Begun { lane: "main".into(), from: "old".into(), to: "new".into() }).unwrap();
    let errno = rustix::io::Errno::IO;
    fs.break_at(Fault { at: fs.calls(), errno, lasting: Lasting::UntilRepaired });
    finish(&fs, dir).unwrap_err();
    fs.repair();
    assert_eq!(fs.world().paths(), [dir.join(NAME)]);
}

#[test]
fn what_can_not_be_removed_is_told() {
    use crate::disk::sim::{Fault, Lasting, SimFs};
    let fs = SimFs::default();
    let dir = Path::new("/data");
    fs.create_dir(&dir.join("readers/main")).unwrap();
    let [positions, ..] = files(dir, &lane("main"), &name("old"));
    fs.create(&positions).unwrap();
    let calls = {
        let fs = SimFs::of(fs.world());
        forget(&fs, dir, &lane("main"), &name("old")).unwrap();
        fs.calls()
    };
    for at in 0..calls {
        let fs = SimFs::of(fs.world());
        fs.break_at(Fault { at, errno: rustix::io::Errno::IO, lasting: Lasting::UntilRepaired });
        forget(&fs, dir, &lane("main"), &name("old")).unwrap_err();
    }
}

#[test]
fn a_new_name_that_something_is_known_under_keeps_it_and_a_journal_alone_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "main", "old", 11);
    save(dir.path(), "fast", "old", 5);
    save(dir.path(), "fast", "new", 6);
    // In lane main the new name has a journal that somebody has left.
    save(dir.path(), "main", "new", 7);
    std::fs::remove_file(directory(dir.path(), &lane("main")).join("new")).unwrap();
    std::fs::write(journal::directory(dir.path(), &lane("main")).join("new.1"), b"somebody's").unwrap();
    let renamed = (&name("old"), &name("new"));
    assert_eq!(take_over(&RealFs, dir.path(), SPOOL, renamed).unwrap(), [lane("fast")]);
    let expected = vec![row("fast", "new", 6), row("fast", "old", 5), row("main", "new", 11)];
    assert_eq!(all_known(dir.path()).0, expected);
    let left = std::fs::read(journal::directory(dir.path(), &lane("main")).join("new.1")).unwrap();
    assert_ne!(left, b"somebody's");
}

#[test]
fn a_name_is_taken_over_where_no_lane_has_a_journal_yet() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(&RealFs, dir.path(), SPOOL, &lane("main"), &name("old")).unwrap();
    store.save(&Positions::fresh(SPOOL, Seq(11))).unwrap();
    assert_eq!(take_over(&RealFs, dir.path(), SPOOL, (&name("old"), &name("new"))).unwrap(), []);
    assert_eq!(all_known(dir.path()), (vec![row("main", "new", 11)], vec![]));
}

#[test]
fn that_a_marker_can_not_be_read_is_said() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(NAME), b"{}").unwrap();
    let (done, lines) = said(|| finish(&RealFs, dir.path()));
    done.unwrap();
    assert!(matches!(&lines[..], [line] if line.contains("may still have its old name")), "{lines:?}");
}
