//! A directory that can't be reached, or a disk that gives nothing, for however long: what is parked waits.

use super::*;
use crate::logs::testing::said;
use std::path::PathBuf;

const DATA: &str = "/data";
const OF_DESTINATION: &str = "/data/parked/main/home";
const OF_TOPIC: &str = "/data/parked/main/home/a";
/// Tries after which a file of which nothing can be read counts as lost, while others can be.
const LONG: usize = 300;

/// Three files of topic `a`, and one of `b`.
fn filled(fs: &SimFs) -> Arc<Park<SimFs>> {
    let park = open(fs, Path::new(DATA));
    for first in [1, 11, 21] {
        park.keep(&topic("a"), range(first, first + 10), &[block(first, first + 2)]).unwrap();
    }
    park.keep(&topic("b"), range(40, 50), &[block(41, 42)]).unwrap();
    park
}

fn parked(fs: &SimFs, named: &str) -> PathBuf {
    fs.world().paths().into_iter().find(|path| path.to_string_lossy().contains(named)).unwrap()
}

/// Nothing is given up, however often it is asked for.
fn waits(reader: &mut ParkReader<SimFs>) {
    assert!((0..3 * LONG).all(|_| reader.first_in(range(1, 100)).is_err()));
}

#[test]
fn what_is_in_a_directory_that_went_by_its_path_waits_and_goes_on_when_it_is_back() {
    // Its own directory, the destination's, a lane's, all of them, and the whole data directory.
    for at in [OF_TOPIC, OF_DESTINATION, "/data/parked/main", "/data/parked", DATA] {
        for replaced in [false, true] {
            let fs = SimFs::default();
            let park = filled(&fs);
            let (at, elsewhere) = (PathBuf::from(at), PathBuf::from(at).with_file_name("elsewhere"));
            fs.rename(&at, &elsewhere).unwrap();
            // An empty one stands there, as after `umount`; but for that of a topic, which nothing is mounted on.
            if replaced && at != Path::new(OF_TOPIC) {
                fs.create_dir(Path::new(OF_TOPIC)).unwrap();
            }
            let mut reader = park.reader();
            waits(&mut reader);
            let notes: Vec<_> = (0..2).map(|_| park.look().unwrap()).collect();
            assert!(notes[0] == notes[1] && notes[0].contains("parked"), "{}: {notes:?}", at.display());
            if replaced && at != Path::new(OF_TOPIC) {
                fs.rename(&at, &at.with_file_name("other")).unwrap();
            }
            fs.rename(&elsewhere, &at).unwrap();
            assert_eq!(park.look(), None);
            assert_eq!(firsts(&park), [1, 11, 21, 41], "{}", at.display());
            assert_eq!(reader.first_in(range(1, 100)).unwrap(), Some(Seq(1)));
        }
    }
}

#[test]
fn files_of_what_has_taken_the_directorys_place_are_not_believed() {
    let fs = SimFs::default();
    let park = filled(&fs);
    fs.rename(Path::new(DATA), Path::new("/elsewhere")).unwrap();
    // Such as an older copy: as much is covered by its names, and less is in it.
    let other = open(&fs, Path::new(DATA));
    other.keep(&topic("a"), range(1, 11), &[block(5, 6)]).unwrap();
    waits(&mut park.reader());
}

#[test]
fn nothing_is_parked_and_nothing_deleted_where_another_directory_stands() {
    for at in [DATA, OF_DESTINATION, OF_TOPIC] {
        let fs = SimFs::default();
        let park = filled(&fs);
        let elsewhere = Path::new(at).with_file_name("elsewhere");
        fs.rename(Path::new(at), &elsewhere).unwrap();
        let held = park.bytes();
        park.keep(&topic("a"), range(31, 40), &[block(31, 32)]).unwrap_err();
        assert_eq!((park.bytes(), park.covered(&topic("a"), Seq(1))), (held, Seq(31)), "{at}");
        assert!(!fs.world().paths().iter().any(|path| path.to_string_lossy().contains("00031-")), "{at}");
        if at != OF_TOPIC {
            fs.create_dir(Path::new(OF_TOPIC)).unwrap();
            fs.tamper(|world| {
                world.rot(
                    &Path::new(OF_TOPIC).join("00000000000000000001-00000000000000000011.parked"),
                    vec![1],
                )
            })
            .unwrap();
            park.forget(|_| Seq(20)).unwrap_err();
            assert_eq!((park.bytes(), fs.world().paths().len()), (held, 5), "{at}");
            fs.rename(Path::new(at), &Path::new(at).with_file_name("other")).unwrap();
        }
        fs.rename(&elsewhere, Path::new(at)).unwrap();
        park.keep(&topic("a"), range(31, 40), &[block(31, 32)]).unwrap();
        park.forget(|_| Seq(20)).unwrap();
        assert_eq!(firsts(&open(&fs, Path::new(DATA))), [11, 21, 31, 41], "{at}");
    }
}

#[test]
fn the_first_that_is_parked_is_not_parked_in_the_place_of_a_data_directory_that_went() {
    let fs = SimFs::default();
    fs.create_dir(Path::new(DATA)).unwrap();
    let park = open(&fs, Path::new(DATA));
    fs.rename(Path::new(DATA), Path::new("/elsewhere")).unwrap();
    fs.create_dir(Path::new(DATA)).unwrap();
    park.keep(&topic("a"), range(1, 10), &[block(1, 4)]).unwrap_err();
    assert_eq!((park.bytes(), fs.world().paths()), (0, vec![]));
}

#[test]
fn a_disk_that_gives_nothing_for_however_long_costs_nothing() {
    for errno in [Errno::IO, Errno::ACCESS, Errno::STALE, Errno::MFILE, Errno::NODEV] {
        let fs = SimFs::default();
        let park = filled(&fs);
        let mut reader = park.reader();
        assert_eq!(reader.first_in(range(1, 100)).unwrap(), Some(Seq(1)));
        fs.break_at(Fault { at: fs.calls(), errno, lasting: Lasting::UntilRepaired });
        // The head of the first is known, and its file is open.
        assert!((0..LONG).all(|_| reader.take(Seq(1), &mut |_, _| true).is_err()), "{errno}");
        waits(&mut park.reader());
        assert!(park.look().is_some(), "{errno}");
        fs.repair();
        assert_eq!(reader.take(Seq(1), &mut |_, _| true).unwrap(), Some(Found::Block(block(1, 3))));
        assert_eq!((firsts(&park), park.look()), (vec![1, 11, 21, 41], None), "{errno}");
    }
}

#[test]
fn that_parked_events_wait_is_said_once_and_that_they_do_no_more_once() {
    let fs = SimFs::default();
    let park = filled(&fs);
    let mut reader = park.reader();
    let mut ask =
        || said(|| (0..3).map(|_| (reader.first_in(range(1, 100)).is_err(), park.look())).last().unwrap());
    assert_eq!(ask(), ((false, None), vec![]));
    fs.break_at(Fault { at: fs.calls(), errno: Errno::ACCESS, lasting: Lasting::UntilRepaired });
    // What is open goes on being read; a file is opened when it comes to it.
    let mut reader = park.reader();
    let mut ask =
        || said(|| (0..3).map(|_| (reader.first_in(range(1, 100)).is_err(), park.look())).last().unwrap());
    let ((waits, note), lines) = ask();
    assert!(waits && lines.len() == 1, "{lines:?}");
    assert!(note.unwrap().contains("nothing of it counts as lost"));
    fs.repair();
    let (found, lines) = ask();
    assert_eq!((found, lines.len()), ((false, None), 1), "{lines:?}");
    // Of a directory that went the same holds.
    for (from, to, waits) in [(DATA, "/elsewhere", true), ("/elsewhere", DATA, false)] {
        fs.rename(Path::new(from), Path::new(to)).unwrap();
        let mut reader = park.reader();
        let asked =
            said(|| (0..3).map(|_| (reader.first_in(range(1, 100)).is_err(), park.look().is_some())).last());
        assert_eq!((asked.0, asked.1.len()), (Some((waits, waits)), 1), "{:?}", asked.1);
    }
}

#[test]
fn a_file_of_which_nothing_can_be_read_beside_others_that_can_be_is_waited_for_for_a_while() {
    let fs = SimFs::default();
    let park = filled(&fs);
    let bad = parked(&fs, "00011-");
    fs.tamper(|world| world.wear(&bad, 0..1 << 20)).unwrap();
    let mut reader = park.reader();
    assert_eq!(reader.first_in(range(1, 11)).unwrap(), Some(Seq(1)));
    let mut found = (0..1000).map(|_| reader.first_in(range(11, 100)).ok()).enumerate();
    assert_eq!(found.find_map(|(tries, found)| Some((tries, found??))), Some((LONG, Seq(21))));
    assert_eq!(park.look(), None, "the others are read: there is nothing to be told of all");
}

/// Found by a review: where the kernel takes no such advice, a bad file waited for ever, as if its disk were away.
#[test]
fn a_kernel_that_forgets_nothing_is_no_disk_that_is_away() {
    let fs = SimFs::default();
    let park = filled(&fs);
    fs.break_at(Fault { at: fs.calls(), errno: Errno::NOSYS, lasting: Lasting::UntilRepaired });
    let bad = parked(&fs, "00011-");
    fs.tamper(|world| world.wear(&bad, 0..1 << 20)).unwrap();
    let mut reader = park.reader();
    let mut found = (0..2 * LONG).map(|_| reader.first_in(range(11, 100)).ok()).enumerate();
    assert_eq!(found.find_map(|(tries, found)| Some((tries, found??))), Some((LONG, Seq(21))));
    assert_eq!(park.look(), None);
    assert!(!fs.hits().is_empty());
}

/// Found by a review: the other topic was found in between, which began the bad file's time anew, so that both waited for ever.
#[test]
fn a_file_of_which_nothing_can_be_read_is_given_up_too_where_another_topic_s_numbers_lie_among_its_own() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new(DATA));
    park.keep(&topic("a"), range(1, 100), &[block(1, 3), block(90, 92)]).unwrap();
    park.keep(&topic("b"), range(1, 100), &[block(5, 7), block(8, 9)]).unwrap();
    let bad = fs.world().paths().into_iter().find(|path| path.starts_with(OF_TOPIC)).unwrap();
    assert!(fs.world().read(&bad).is_some(), "{}", bad.display());
    fs.tamper(|world| world.wear(&bad, 0..1 << 20)).unwrap();
    let mut reader = park.reader();
    let mut found = Vec::new();
    for _ in 0..2 * LONG {
        // As delivery does: what comes next, and then that.
        let Ok(Some(first)) = reader.first_in(range(4, 100)) else { continue };
        if let Ok(Some(Found::Block(block))) = reader.take(first, &mut |_, _| true) {
            found.push(block.range.first);
            break;
        }
    }
    assert_eq!(found, [Seq(5)]);
    assert_eq!(reader.first_in(range(7, 100)).unwrap(), Some(Seq(8)), "it stays given up");
}

#[test]
fn time_in_which_the_whole_disk_gave_nothing_does_not_count_against_a_file() {
    let fs = SimFs::default();
    let park = filled(&fs);
    let bad = parked(&fs, "00011-");
    fs.tamper(|world| world.wear(&bad, 0..1 << 20)).unwrap();
    let mut reader = park.reader();
    let mut fails = |times: usize| (0..times).all(|_| reader.first_in(range(11, 100)).is_err());
    assert!(fails(LONG - 1));
    fs.break_at(Fault { at: fs.calls(), errno: Errno::IO, lasting: Lasting::UntilRepaired });
    assert!(fails(2 * LONG));
    fs.repair();
    assert!(fails(LONG));
    assert_eq!(reader.first_in(range(11, 100)).unwrap(), Some(Seq(21)));
}

#[test]
fn the_only_file_waits_for_its_disk_as_long_as_nothing_of_it_can_be_read_and_a_part_of_it_shows_that_the_disk_is_there()
 {
    let fs = SimFs::default();
    let park = open(&fs, Path::new(DATA));
    let large = Parked { payload: noise(3, 4000), ..block(4, 6) };
    park.keep(&topic("a"), range(1, 10), &[large, block(7, 9)]).unwrap();
    let file = parked(&fs, "00001-");
    fs.tamper(|world| world.wear(&file, 0..1 << 20)).unwrap();
    waits(&mut park.reader());
    assert!(park.look().is_some());
    fs.tamper(|world| world.mend());
    // A sector in the midst of the first block.
    fs.tamper(|world| world.wear(&file, 2000..2001)).unwrap();
    assert_eq!(park.look(), None);
    let mut reader = park.reader();
    let found = (0..100).map(|_| reader.take(Seq(4), &mut |_, _| true)).find_map(Result::ok);
    assert_eq!(found, Some(Some(Found::Lost(range(4, 6)))));
    // Whoever gives the file up deletes it.
    fs.tamper(|world| world.lose(&file)).unwrap();
    assert_eq!(park.reader().first_in(range(1, 100)).unwrap(), None);
}

#[test]
fn a_file_that_alone_can_not_be_opened_is_waited_for_for_a_while_and_without_limit_where_no_other_can_be() {
    for others in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let park = open(&RealFs, dir.path());
        park.keep(&topic("a"), range(1, 10), &[block(1, 3)]).unwrap();
        if others {
            park.keep(&topic("b"), range(11, 20), &[block(11, 13)]).unwrap();
        }
        // A socket answers ENXIO to whoever opens it, root too: that says nothing of bytes, as EACCES does not.
        let bad = dir.path().join("parked/main/home/a/00000000000000000001-00000000000000000010.parked");
        std::fs::remove_file(&bad).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        std::fs::rename(dir.path().join("socket"), &bad).unwrap();
        let mut reader = park.reader();
        let found = (0..3 * LONG).map(|_| reader.first_in(range(1, 100)).ok()).position(|f| f.is_some());
        assert_eq!(found, others.then_some(LONG));
        assert_eq!(park.look().is_some(), !others);
    }
}

#[test]
fn of_what_is_needed_no_more_it_is_not_said_that_it_waits() {
    let fs = SimFs::default();
    let park = filled(&fs);
    fs.rename(Path::new(OF_TOPIC), &Path::new(OF_TOPIC).with_file_name("elsewhere")).unwrap();
    park.reader().first_in(range(1, 100)).unwrap_err();
    assert!(park.look().is_some());
    park.forget(|of| if *of == topic("a") { Seq(31) } else { Seq(1) }).unwrap();
    assert_eq!((park.look(), park.first()), (None, Some(Seq(40))));
}

#[test]
fn what_waits_is_looked_at_now_and_then_and_noted_all_the_time() {
    let (fs, dir) = (Faulty::new(), tempfile::tempdir().unwrap());
    let mut park = try_open(&fs, dir.path()).unwrap();
    park.reach.look_every = Duration::from_secs(3600);
    park.keep(&topic("a"), range(1, 10), &[block(1, 3)]).unwrap();
    let park = Arc::new(park);
    fs.fail_next(Op::Read, u64::MAX);
    park.reader().first_in(range(1, 100)).unwrap_err();
    let asked = || (fs.count(Op::Open), fs.count(Op::Read));
    let before = asked();
    assert!((0..9).all(|_| park.look().is_some()));
    assert_eq!(asked(), before);
    // That its directory is elsewhere is seen at once.
    std::fs::rename(dir.path().join("parked"), dir.path().join("elsewhere")).unwrap();
    assert!(park.look().unwrap().contains("no longer the directory"));
}

#[test]
fn a_file_is_not_forgotten_when_the_directory_goes_while_it_is_deleted() {
    let (fs, dir) = (Faulty::new(), tempfile::tempdir().unwrap());
    let park = open(&fs, dir.path());
    park.keep(&topic("a"), range(1, 10), &[block(1, 3)]).unwrap();
    let (held, here, elsewhere) = (park.bytes(), dir.path().join("parked"), dir.path().join("elsewhere"));
    let ways = (here.clone(), elsewhere.clone());
    fs.meanwhile(Op::Remove, move || std::fs::rename(ways.0, ways.1).unwrap());
    park.forget(|_| Seq(10)).unwrap_err();
    assert_eq!(park.bytes(), held);
    std::fs::rename(&elsewhere, &here).unwrap();
    park.forget(|_| Seq(10)).unwrap();
    assert_eq!((park.bytes(), firsts(&open(&RealFs, dir.path()))), (0, vec![]));
}
