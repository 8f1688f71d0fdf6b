//! Whether an event of the log has its number from another run than somebody says.

use crate::disk::RealFs;
use crate::ids::RunId;

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
