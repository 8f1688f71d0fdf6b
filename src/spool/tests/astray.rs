//! A directory that is moved, deleted or replaced under a running agent.

use std::sync::Arc;

use super::*;
use crate::disk::RealFs;
use crate::disk::sim::SimFs;
use crate::ids::SegmentId;
use crate::spool::inspect::Snapshot;
use crate::spool::stepped::{Heard, SteppedHost, SteppedLane};

struct Site {
    fs: SimFs,
    host: Arc<SteppedHost>,
    lane: SteppedLane<SimFs>,
}

const DATA: &str = "/data";

/// One event of 5000 bytes; whether it was accepted.
fn send(site: &mut Site, value: u8) -> bool {
    let heard = site.lane.append(vec![(stream("a"), batch(&[vec![value; 5000]]))], 2, || 0);
    matches!(heard[..], [Heard::Answer(Ok(_), _)])
}

fn start(fs: &SimFs, at: &str, seed: u64) -> Site {
    let host = Arc::new(SteppedHost::new(seed));
    let data = DataDir::open_on(fs.clone(), Path::new(at), Arc::clone(&host) as Arc<dyn Host>).unwrap();
    let settings = Spool { segment_size: 32 << 10, compression: SpoolCompression::None, ..settings() };
    let lane = SteppedLane::open(&data, lane_name(), &settings, Seq::NONE, &Metrics::new()).unwrap();
    Site { fs: fs.clone(), host, lane }
}

/// Three segments of four events each, and two events in a fourth.
fn fourteen_events() -> Site {
    let mut site = start(&SimFs::default(), DATA, 1);
    assert!((1..=14).all(|n| send(&mut site, n)));
    while site.lane.tidy() {}
    site
}

fn path(n: u64) -> PathBuf {
    Path::new(DATA).join("lanes/main").join(names::segment(SegmentId(n)))
}

fn rename(fs: &SimFs, from: &str, to: &str) {
    fs.rename(Path::new(from), Path::new(to)).unwrap();
}

/// The directory comes back, whatever has taken its place.
fn put_back(fs: &SimFs) {
    if fs.list(Path::new(DATA)).is_ok() {
        rename(fs, DATA, "/other");
    }
    rename(fs, "/elsewhere", DATA);
}

/// Puts something else where the data directory was.
type Replaced = fn(&SimFs);

fn with_nothing(_: &SimFs) {}

/// An empty mount point, say.
fn with_an_empty_directory(fs: &SimFs) {
    fs.create_dir(Path::new(DATA).join("lanes/main").as_path()).unwrap();
}

/// Another spool, whose segments have the same names.
fn with_another_spool(fs: &SimFs) {
    let mut other = start(fs, "/another", 2);
    assert!((0..14).all(|_| send(&mut other, 99)));
    other.lane.close();
    rename(fs, "/another", DATA);
}

const ALL: [(&str, Replaced); 3] = [
    ("nothing", with_nothing),
    ("an empty directory", with_an_empty_directory),
    ("another spool", with_another_spool),
];

#[test]
fn a_data_directory_that_is_moved_away_costs_a_reader_nothing_but_time() {
    for (what, replace) in ALL {
        let site = fourteen_events();
        let mut reader = site.lane.lane().reader(Seq(1));
        let Some(Item::Block(block)) = reader.next().unwrap() else { panic!("the first event is there") };
        assert_eq!(block.first, Seq(1));
        rename(&site.fs, DATA, "/elsewhere");
        replace(&site.fs);
        // What is open goes with the directory.
        assert!((2..=4).all(|_| matches!(reader.next(), Ok(Some(Item::Block(_))))), "{what}");
        for _ in 0..10 * reader::PATIENCE {
            let told = reader.next().expect_err("nothing is known of what can't be reached").to_string();
            assert!(told.contains("moved, unmounted"), "{what}: {told}");
        }
        assert_eq!((reader.position(), site.lane.lane().status().quarantined_events), (Seq(5), 0));
        let failing = site.lane.lane().status().failing.unwrap();
        assert!(failing.contains("/data/lanes/main is no longer"), "{what}: {failing}");
        put_back(&site.fs);
        for n in 5..=14 {
            let Ok(Some(Item::Block(block))) = reader.next() else { panic!("{what}: {n} is there") };
            assert_eq!((block.first, block.range().len()), (Seq(n), 1));
        }
        assert_eq!(site.lane.lane().status().failing, None, "{what}");
    }
}

#[test]
fn nothing_is_deleted_in_a_directory_that_has_taken_the_place_of_the_lanes() {
    for (what, replace) in ALL {
        let mut site = fourteen_events();
        rename(&site.fs, DATA, "/elsewhere");
        replace(&site.fs);
        let before = site.fs.world().paths();
        site.lane.lane().release(Seq(9));
        while site.lane.tidy() {}
        assert_eq!((site.lane.lane().first(), site.fs.world().paths()), (Seq(1), before), "{what}");
        put_back(&site.fs);
        site.lane.lane().release(Seq(10));
        while site.lane.tidy() {}
        assert_eq!(site.lane.lane().first(), Seq(9), "{what}");
        assert!(
            site.fs.world().read(&path(1)).is_none() && site.fs.world().read(&path(3)).is_some(),
            "{what}"
        );
        assert_eq!(site.lane.lane().status().failing, None, "{what}");
    }
}

#[test]
fn no_event_is_accepted_without_the_directory_and_all_are_once_it_is_back() {
    for (what, replace) in ALL {
        let mut site = fourteen_events();
        rename(&site.fs, DATA, "/elsewhere");
        replace(&site.fs);
        let before = site.fs.world().paths();
        site.host.advance(Duration::from_secs(2));
        assert!((0..10).all(|_| !send(&mut site, 77)), "{what}");
        assert!(site.lane.lane().status().failing.unwrap().contains("moved, unmounted"), "{what}");
        assert_eq!(site.fs.world().paths(), before, "{what}: nothing was made");
        put_back(&site.fs);
        site.host.advance(Duration::from_secs(6));
        site.lane.turn();
        assert_eq!(site.lane.lane().status().failing, None, "{what}");
        assert!((15..=20).all(|n| send(&mut site, n)), "{what}");
        site.lane.close();
        let site = start(&site.fs, DATA, 3);
        let (events, holes) = read_all(site.lane.lane(), 1);
        assert_eq!((events.len(), holes.len()), (20, 0), "{what}");
    }
}

#[test]
fn within_a_second_of_the_last_look_events_go_with_the_directory_and_no_segment_is_begun_elsewhere() {
    for (what, replace) in ALL {
        let mut site = fourteen_events();
        rename(&site.fs, DATA, "/elsewhere");
        replace(&site.fs);
        let before = site.fs.world().paths();
        // Two more have room in the segment that is open, and four in the one that was made ready before.
        let accepted = (15..=30).filter(|n| send(&mut site, *n)).count();
        assert_eq!(accepted, 6, "{what}");
        assert_eq!(site.fs.world().paths(), before, "{what}: nothing was made");
        put_back(&site.fs);
        site.host.advance(Duration::from_secs(6));
        site.lane.turn();
        assert!(send(&mut site, 31), "{what}");
        assert_eq!(read_all(site.lane.lane(), 1).0.len(), 15 + accepted, "{what}");
    }
}

#[test]
fn a_tool_that_reads_a_spool_that_is_moved_away_calls_nothing_lost() {
    let site = fourteen_events();
    let snapshot = Snapshot::take(&site.fs, Path::new(DATA)).unwrap();
    rename(&site.fs, DATA, "/elsewhere");
    assert!(snapshot.lanes[0].look_over(true).is_err());
    rename(&site.fs, "/elsewhere", DATA);
    assert_eq!(snapshot.lanes[0].look_over(true).unwrap().lost(), 0);
}

#[test]
fn a_directory_is_known_by_what_it_is_and_not_by_its_path() {
    let root = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| root.path().join(name));
    std::fs::create_dir(&here).unwrap();
    let held = RealFs.hold_dir(&here).unwrap().unwrap();
    assert!(held.stands_at(&here).unwrap() && !held.stands_at(&there).unwrap());
    std::fs::rename(&here, &there).unwrap();
    std::fs::create_dir(&here).unwrap();
    assert!(!held.stands_at(&here).unwrap() && held.stands_at(&there).unwrap());
    std::fs::remove_dir(&there).unwrap();
    std::fs::create_dir(&there).unwrap();
    assert!(!held.stands_at(&there).unwrap(), "its inode's number is not used again");
    std::fs::remove_dir(&there).unwrap();
    std::fs::write(&there, "").unwrap();
    assert!(!held.stands_at(&there.join("in a file")).unwrap());
}
