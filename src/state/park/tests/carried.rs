//! Parks that are copied, renamed and removed on disks that fail.

use super::*;
use crate::disk::faulty::{Faulty, Op};

fn name(name: &str) -> DestinationName {
    DestinationName::new(name).unwrap()
}

fn main_lane() -> LaneName {
    LaneName::new("main").unwrap()
}

fn copied<F: Fs>(fs: &F, from: &Path, into: &Path) -> Result<Option<Seq>, crate::disk::DiskError> {
    let (lane, home) = (main_lane(), name("home"));
    copy(fs, from, into, Whose { spool: SPOOL, lane: &lane, destination: &home }).map(|(first, _)| first)
}

/// Two topics are parked in /data; /new is there.
fn parked() -> SimFs {
    let fs = SimFs::default();
    ["/data", "/new"].iter().for_each(|dir| fs.create_dir(Path::new(dir)).unwrap());
    let park = open(&fs, Path::new("/data"));
    park.keep(&topic("a"), range(5, 20), &[block(6, 9)]).unwrap();
    park.keep(&topic("b"), range(8, 20), &[block(9, 10)]).unwrap();
    fs
}

#[test]
fn what_is_said_to_be_copied_survives_a_power_cut_whichever_call_fails() {
    let calls = {
        let fs = parked();
        let began = fs.calls();
        assert_eq!(copied(&fs, Path::new("/data"), Path::new("/new")).unwrap(), Some(Seq(5)));
        fs.calls() - began
    };
    let mut refused = 0;
    for failing in 0..=calls {
        let fs = parked();
        fs.break_at(Fault { at: fs.calls() + failing, errno: Errno::IO, lasting: Lasting::UntilRepaired });
        let first = copied(&fs, Path::new("/data"), Path::new("/new"));
        fs.repair();
        refused += u64::from(first.is_err());
        // The first try may have left half of it.
        let done = first.or_else(|_| copied(&fs, Path::new("/data"), Path::new("/new"))).unwrap();
        assert_eq!(done, Some(Seq(5)), "from call {failing} on");
        let cut = SimFs::of(fs.world().after_power_cut(&[]));
        assert_eq!(firsts(&open(&cut, Path::new("/new"))), [6, 9], "from call {failing} on");
    }
    // Afterwards it is looked at what is there: of the last file that needs only its name.
    assert!(refused + 2 >= calls, "{refused} of {calls}");
}

#[test]
fn one_sync_that_fails_while_it_is_copied_is_told() {
    let syncs = Syncs::made_by(
        |dir| {
            ["old", "new"].iter().for_each(|each| std::fs::create_dir(dir.join(each)).unwrap());
            let park = open(&RealFs, &dir.join("old"));
            park.keep(&topic("a"), range(5, 20), &[block(6, 9)]).unwrap();
            park.keep(&topic("b"), range(8, 20), &[block(9, 10)]).unwrap();
        },
        |fs, dir| copied(fs, &dir.join("old"), &dir.join("new")),
    );
    assert_eq!(syncs, Syncs::of(2, 2 * 5), "each file, and of each topic the names on the way");
}

#[test]
fn what_arrives_while_it_is_copied_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|each| dir.path().join(each));
    [&old, &new].iter().for_each(|each| std::fs::create_dir(each).unwrap());
    let park = open(&RealFs, &old);
    park.keep(&topic("a"), range(5, 20), &[block(6, 9)]).unwrap();
    park.keep(&topic("a"), range(20, 30), &[block(21, 22)]).unwrap();
    let fs = Faulty::new();
    fs.meanwhile(Op::Open, move || park.forget(|_| Seq(20)).unwrap());
    assert_eq!(copied(&fs, &old, &new).unwrap(), Some(Seq(20)));
    assert_eq!(firsts(&open(&RealFs, &new)), [21]);
}

#[test]
fn files_of_any_size_are_copied_whole_over_what_an_earlier_try_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|each| dir.path().join(each));
    [&old, &new].iter().for_each(|each| std::fs::create_dir(each).unwrap());
    // More than is copied at a time, and nothing of it can be packed.
    let blocks: Vec<_> =
        (0..5).map(|n| Parked { payload: noise(n, 500_000), ..block(n + 1, n + 2) }).collect();
    let park = try_open(&RealFs, &old).unwrap().bounded(1 << 30, 0);
    park.keep(&topic("a"), range(1, 6), &blocks).unwrap();
    for _ in 0..2 {
        assert_eq!(copied(&RealFs, &old, &new).unwrap(), Some(Seq(1)));
        assert_eq!(read(&open(&RealFs, &new), range(1, 6)), (blocks.clone(), vec![]));
    }
}

#[test]
fn what_is_to_be_removed_is_gone_or_the_refusal_is_told_and_the_next_try_goes_on() {
    let (lane, home) = (main_lane(), name("home"));
    let whose = Whose { spool: SPOOL, lane: &lane, destination: &home };
    for failing in 0..8 {
        let fs = parked();
        fs.break_at(Fault { at: fs.calls() + failing, errno: Errno::IO, lasting: Lasting::UntilRepaired });
        let removed = remove(&fs, Path::new("/data"), whose);
        fs.repair();
        let left = firsts(&open(&fs, Path::new("/data")));
        assert!(removed.is_err() || left.is_empty(), "from call {failing} on: {left:?}");
        remove(&fs, Path::new("/data"), whose).unwrap();
        assert_eq!(firsts(&open(&fs, Path::new("/data"))), Vec::<u64>::new());
    }
}

#[test]
fn a_file_that_can_not_be_opened_is_not_taken_for_one_that_nobody_needs() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|each| dir.path().join(each));
    [&old, &new].iter().for_each(|each| std::fs::create_dir(each).unwrap());
    open(&RealFs, &old).keep(&topic("a"), range(5, 20), &[block(6, 9)]).unwrap();
    let fs = Faulty::new();
    // Asked for three times.
    fs.fail_next(Op::Open, 3);
    copied(&fs, &old, &new).unwrap_err();
}

#[test]
fn what_could_not_be_read_of_several_files_is_added_up() {
    let fs = parked();
    for file in fs.world().paths().into_iter().filter(|path| path.starts_with("/data/parked")) {
        fs.tamper(|world| world.wear(&file, 0..1)).unwrap();
    }
    let (lane, home) = (main_lane(), name("home"));
    let whose = Whose { spool: SPOOL, lane: &lane, destination: &home };
    let (_, unread) = copy(&fs, Path::new("/data"), Path::new("/new"), whose).unwrap();
    let sizes = fs.world().paths().into_iter().filter(|path| path.starts_with("/new/parked"));
    let sizes: u64 = sizes.map(|path| fs.world().read(&path).unwrap().len() as u64).sum();
    assert!(sizes > 0 && unread == sizes, "all of them are shorter than a page: {unread} of {sizes}");
}
