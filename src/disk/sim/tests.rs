//! The disk's own promises: a simulation that is too kind proves nothing.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::io::Errno;

use super::*;
use crate::disk::{File, Fs};

const FILE: &str = "/f";

fn contents(world: &World) -> Option<Vec<u8>> {
    world.read(Path::new(FILE))
}

fn outcomes(fs: &SimFs) -> BTreeSet<Option<Vec<u8>>> {
    let world = fs.world();
    world.cuts(1000).map(|choices| contents(&world.after_power_cut(&choices))).collect()
}

fn with_durable_name() -> (SimFs, SimFile) {
    let fs = SimFs::default();
    let file = fs.create(Path::new(FILE)).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    (fs, file)
}

#[test]
fn a_name_is_durable_after_the_directorys_sync_and_bytes_after_the_files() {
    let fs = SimFs::default();
    let file = fs.create(Path::new(FILE)).unwrap();
    file.write_at(b"abc", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&fs), [None, Some(b"abc".to_vec())].into());
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(outcomes(&fs), [Some(b"abc".to_vec())].into());
    file.write_at(b"x", 1).unwrap();
    assert_eq!(outcomes(&fs), [Some(b"abc".to_vec()), Some(b"axc".to_vec())].into());
}

#[test]
fn unsynced_writes_are_torn_at_sectors_and_reordered() {
    let (fs, file) = with_durable_name();
    file.allocate(1024).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    file.write_at(&[2; 10], 0).unwrap();
    let seen = outcomes(&fs);
    let firsts: BTreeSet<(u8, u8, u8)> = seen.into_iter().flatten().map(|b| (b[0], b[100], b[600])).collect();
    let torn = [(0, 0, 0), (1, 1, 1), (1, 1, 0), (0, 0, 1)];
    let all = torn.into_iter().flat_map(|(a, b, c)| [(a, b, c), (2, b, c)]).collect();
    assert_eq!(firsts, all);
}

#[test]
fn after_a_failed_sync_the_bytes_read_back_and_no_later_sync_saves_them() {
    let (fs, file) = with_durable_name();
    file.write_at(b"lost", 0).unwrap();
    fs.break_at(Fault { at: fs.calls(), errno: Errno::IO, lasting: Lasting::Once });
    assert!(file.sync_data().is_err());
    assert_eq!(contents(&fs.world()), Some(b"lost".to_vec()));
    file.sync_data().unwrap();
    file.forget_cached().unwrap();
    assert_eq!(contents(&fs.world()), Some(vec![]));
    file.write_at(b"next", 4).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&fs), [Some(b"\0\0\0\0next".to_vec())].into());
}

#[test]
fn a_rename_is_one_change_and_a_removed_file_may_come_back() {
    let (fs, file) = with_durable_name();
    file.write_at(b"a", 0).unwrap();
    file.sync_data().unwrap();
    fs.rename(Path::new(FILE), Path::new("/g")).unwrap();
    let world = fs.world();
    let names: BTreeSet<_> = world.cuts(10).map(|c| world.after_power_cut(&c).paths()).collect();
    assert_eq!(names, [vec![Path::new(FILE).to_owned()], vec![Path::new("/g").to_owned()]].into());
    fs.sync_dir(Path::new("/")).unwrap();
    fs.remove(Path::new("/g")).unwrap();
    let world = fs.world();
    let names: BTreeSet<_> = world.cuts(10).map(|c| world.after_power_cut(&c).paths().len()).collect();
    assert_eq!(names, [0, 1].into());
}

#[test]
fn a_failed_write_leaves_a_part_and_a_full_disk_refuses_what_needs_room() {
    let (fs, file) = with_durable_name();
    fs.tamper(|world| world.set_capacity(6));
    assert_eq!(file.write_at(b"12345678", 0).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(contents(&fs.world()), Some(b"1234".to_vec()));
    file.write_at(b"abcd", 0).unwrap();
    assert!(file.allocate(7).is_err());
    assert_eq!(fs.space(Path::new("/")).unwrap().available, 2);
}

#[test]
fn a_directory_whose_name_is_not_durable_takes_everything_with_it() {
    let fs = SimFs::default();
    fs.break_at(Fault { at: 1, errno: Errno::IO, lasting: Lasting::Once });
    assert!(fs.create_dir(Path::new("/d")).is_err(), "the sync of the directory above fails");
    let file = fs.create(Path::new("/d/f")).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    let world = fs.world();
    let kept: BTreeSet<_> = world.cuts(10).map(|c| world.after_power_cut(&c).paths().len()).collect();
    assert_eq!(kept, [0, 1].into());
}

#[test]
fn a_moment_is_kept_before_each_call_that_changes_something() {
    let fs = SimFs::default();
    fs.record();
    let file = fs.create(Path::new(FILE)).unwrap();
    file.write_at(b"abc", 0).unwrap();
    file.read_at(&mut [0; 3], 0).unwrap();
    file.sync_data().unwrap();
    let moments: Vec<_> = fs.moments().into_iter().map(|m| (m.calls, m.before, contents(&m.world))).collect();
    let seen =
        [(0, Call::Create, None), (1, Call::Write, Some(vec![])), (3, Call::SyncData, Some(b"abc".to_vec()))];
    assert_eq!(moments, seen);
}

#[test]
fn what_only_the_page_cache_gave_of_a_bad_sector_is_gone_with_the_power() {
    let (fs, file) = with_durable_name();
    file.write_at(&[7; 1024], 0).unwrap();
    file.sync_data().unwrap();
    fs.tamper(|world| world.wear_below_cache(Path::new(FILE), 512..513)).unwrap();
    let reads = |fs: &SimFs| {
        let file = fs.open_read(Path::new(FILE)).unwrap();
        [0, 512].map(|at| file.read_at(&mut [0; 512], at).is_ok())
    };
    assert_eq!(reads(&fs), [true, true]);
    let world = fs.world();
    for cut in world.cuts(10) {
        assert_eq!(reads(&SimFs::of(world.after_power_cut(&cut))), [true, false]);
    }
}
