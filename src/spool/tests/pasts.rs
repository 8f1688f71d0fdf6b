//! Whether an event of the log has its number from another run than somebody says.

use std::sync::Arc;

use crate::disk::RealFs;
use crate::disk::sim::{SimFs, World};
use crate::ids::RunId;
use crate::spool::stepped::{Heard, SteppedHost, SteppedLane};

use super::*;

const NEVER: RunId = RunId(1);

/// Two runs of 50 events, in a segment each; the lane as the third finds it.
fn lived(dir: &Path) -> ([RunId; 2], Lane) {
    let runs = [1u8, 2].map(|value| {
        let lane = open(&RealFs, dir, &settings(), Seq::NONE);
        let values: Vec<Vec<u8>> = (0..50).map(|_| vec![value; 10]).collect();
        append(&lane, "s", &values).unwrap();
        let run = lane.run();
        lane.close();
        run
    });
    (runs, open(&RealFs, dir, &settings(), Seq::NONE))
}

#[test]
fn each_event_has_its_number_from_the_run_that_gave_it_and_what_is_not_there_contradicts_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let ([first, second], lane) = lived(dir.path());
    for seq in [1, 30, 50] {
        assert_eq!(
            [first, second, NEVER].map(|r| lane.has_under_another_run(Seq(seq), r)),
            [false, true, true]
        );
    }
    for seq in [51, 100] {
        assert_eq!(
            [first, second, NEVER].map(|r| lane.has_under_another_run(Seq(seq), r)),
            [true, false, true]
        );
    }
    for seq in [0, 101, 1000] {
        assert!(!lane.has_under_another_run(Seq(seq), NEVER), "{seq}");
    }
    lane.close();
}

#[test]
fn a_number_beyond_the_end_that_was_found_is_of_a_later_past_unless_this_process_has_given_it() {
    let dir = tempfile::tempdir().unwrap();
    let ([first, second], lane) = lived(dir.path());
    let is_later = |seq: u64, run: RunId| lane.has_not_given(Seq(seq), |own| own == run);
    // Whoever says it; dead letters of another past are sent again, too.
    for (seq, run) in [(1, first), (100, second), (50, NEVER), (0, NEVER)] {
        assert!(!is_later(seq, run), "{seq}");
    }
    assert!(is_later(101, second) && is_later(101, NEVER) && is_later(1000, second));
    append(&lane, "s", &[b"new".to_vec()]).unwrap();
    assert!(is_later(101, second) && !is_later(101, lane.run()), "it has been given since");
    assert!(is_later(102, second));
    lane.close();
}

#[test]
fn without_a_segments_header_its_blocks_tell_and_of_a_damaged_block_nothing_is_said_or_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let ([first, second], lane) = lived(dir.path());
    lane.close();
    drop(lane);
    let path = &segments(dir.path())[0];
    let whole = std::fs::read(path).unwrap();
    let mut bytes = whole.clone();
    bytes[..8192].fill(0xa5);
    std::fs::write(path, &bytes).unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    assert_eq!([first, second].map(|run| lane.has_under_another_run(Seq(50), run)), [false, true]);
    lane.close();
    drop(lane);
    let mut bytes = whole;
    bytes[8192..8292].fill(0xa5);
    std::fs::write(path, &bytes).unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    let before = lane.status().quarantined_events;
    assert_eq!([first, second].map(|run| lane.has_under_another_run(Seq(50), run)), [false, false]);
    assert_eq!(lane.status().quarantined_events, before, "whoever delivers it gives it up");
    lane.close();
}

/// A lane on the simulated disk; `boot` draws its runs.
fn stepped(fs: &SimFs, boot: u64, at_least: Seq) -> SteppedLane<SimFs> {
    let host = Arc::new(SteppedHost::new(boot));
    let data = DataDir::open_on(fs.clone(), Path::new("/data"), host).unwrap();
    SteppedLane::open(&data, lane_name(), &settings(), at_least, &Metrics::new()).unwrap()
}

fn send(lane: &mut SteppedLane<SimFs>) -> Seq {
    match lane.append(vec![(stream("a"), batch(&[vec![5; 10]]))], 1, || 0).pop() {
        Some(Heard::Answer(Ok(appended), _)) => appended.first,
        heard => panic!("{heard:?}"),
    }
}

/// Of five events that are there, and a position that says that there were eighteen. Told as it was before, or as the log says by now.
fn told(fs: &SimFs) -> Result<bool, String> {
    let mut lane = stepped(fs, 3, Seq::NONE);
    let goes_on = match lane.lane().durable() {
        Seq(5) => false,
        Seq(18) => true,
        durable => return Err(format!("it ends at {durable}")),
    };
    let (events, holes) = read_all(lane.lane(), 1);
    let lost: u64 = holes.iter().map(|hole| hole.range.len()).sum();
    let first = send(&mut lane);
    let next = if goes_on { (13, Seq(19)) } else { (0, Seq(6)) };
    if events.len() != 5 || (lost, first) != next {
        return Err(format!("{} events, {lost} lost, then {first}", events.len()));
    }
    Ok(goes_on)
}

#[test]
fn that_numbers_go_on_above_the_logs_end_is_durable_though_nothing_is_accepted_and_costs_nothing_at_any_moment()
 {
    let fs = SimFs::default();
    let mut lane = stepped(&fs, 1, Seq::NONE);
    (1..6).for_each(|n| assert_eq!(send(&mut lane), Seq(n)));
    lane.close();
    let mut lane = stepped(&fs, 2, Seq(19));
    assert!(lane.lane().was_behind(Seq(19)));
    fs.record();
    lane.lane().go_on_above();
    lane.turn();
    drop(lane);
    let (mut before, mut cuts) = (0, 0);
    for moment in fs.moments() {
        for choices in moment.world.cuts(64) {
            let cut = SimFs::of(moment.world.after_power_cut(&choices));
            before += usize::from(!told(&cut).unwrap());
            cuts += 1;
        }
    }
    assert!(cuts > 3 && before > 0, "{before} of {cuts}");
    for choices in fs.world().cuts(64) {
        assert_eq!(told(&SimFs::of(fs.world().after_power_cut(&choices))), Ok(true));
    }
    let lane = stepped(&fs, 3, Seq(19));
    assert!(!lane.lane().was_behind(Seq(19)), "it is said once");
    assert_eq!(lane.lane().status().segments, 2);
}

#[test]
fn nothing_is_written_for_that_where_the_disk_did_not_give_all_of_the_log() {
    let fs = SimFs::default();
    let mut lane = stepped(&fs, 1, Seq::NONE);
    (1..6).for_each(|n| assert_eq!(send(&mut lane), Seq(n)));
    lane.close();
    let path = Path::new("/data/lanes/main").join(names::segment(crate::ids::SegmentId(1)));
    let (start, len) = (usize::try_from(format::DATA_START).unwrap(), fs.world().read(&path).unwrap().len());
    fs.tamper(|world| world.wear(&path, start..len)).unwrap();
    let mut lane = stepped(&fs, 2, Seq(6));
    fs.tamper(World::mend);
    assert!(lane.lane().was_behind(Seq(6)), "none of the blocks could be read");
    assert!(!lane.lane().has_not_given(Seq(7), |_| false), "it may be in what was not given");
    lane.lane().go_on_above();
    lane.turn();
    drop(lane);
    let lane = stepped(&fs, 3, Seq(6));
    assert!(!lane.lane().was_behind(Seq(6)));
    assert_eq!((lane.lane().durable(), read_all(lane.lane(), 1).0.len()), (Seq(5), 5), "it is there again");
}
