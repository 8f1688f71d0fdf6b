//! Not one byte free, and what could be deleted is the segment that is being written.

use std::sync::Arc;

use super::*;
use crate::disk::sim::SimFs;
use crate::logs::testing::said;
use crate::spool::stepped::{Heard, SteppedHost, SteppedLane};

fn send(lane: &mut SteppedLane<SimFs>) -> bool {
    let heard = lane.append(vec![(stream("a"), batch(&[vec![5; 900_000]]))], 1, || 0).pop();
    matches!(heard, Some(Heard::Answer(Ok(_), _)))
}

#[test]
fn a_lane_heals_though_less_is_free_than_a_segment_reserves_once_its_only_segment_is_trimmed() {
    let (fs, host) = (SimFs::default(), Arc::new(SteppedHost::new(1)));
    let data = DataDir::open_on(fs.clone(), Path::new("/data"), Arc::clone(&host) as Arc<dyn Host>).unwrap();
    let settings = Spool { segment_size: 12 << 20, compression: SpoolCompression::None, ..settings() };
    let mut lane = SteppedLane::open(&data, lane_name(), &settings, Seq::NONE, &Metrics::new()).unwrap();
    (0..5).for_each(|_| assert!(send(&mut lane)));
    fs.tamper(|world| world.fill_up_to(0));
    let more = (0..10).take_while(|_| send(&mut lane)).count();
    assert!((1..10).contains(&more), "{more} more found room in what was reserved");
    // Everything is delivered.
    let end = lane.lane().durable().next();
    lane.lane().release(end);
    for _ in 0..10 {
        while lane.tidy() {}
        host.advance(Duration::from_millis(300));
        lane.turn();
    }
    assert_eq!(lane.lane().first(), end, "what was delivered is gone");
    assert!(send(&mut lane), "{:?}", lane.lane().status());
    lane.close();
}

/// Found by an audit: what had been reserved was enough for the event alone, so it was begun, and the write failed.
#[test]
fn the_first_event_of_a_segment_is_refused_where_there_is_no_room_for_the_segments_header_too() {
    let (fs, host) = (SimFs::default(), Arc::new(SteppedHost::new(1)));
    let data = DataDir::open_on(fs.clone(), Path::new("/data"), Arc::clone(&host) as Arc<dyn Host>).unwrap();
    let (when_full, compression) = (WhenFull::Reject, SpoolCompression::None);
    let settings = Spool { segment_size: 12 << 20, when_full, compression, ..settings() };
    let mut lane = SteppedLane::open(&data, lane_name(), &settings, Seq::NONE, &Metrics::new()).unwrap();
    fs.tamper(|world| world.fill_up_to(0));
    // 4 MiB are reserved.
    let event = vec![5; (4 << 20) - (4 << 10)];
    let heard = lane.append(vec![(stream("a"), batch(&[event]))], 1, || 0).pop();
    let Some(Heard::Answer(Err(AcceptError::Refused(crate::intake::Refused::Full(_))), _)) = heard else {
        panic!("{heard:?}")
    };
    assert!(lane.lane().status().failing.is_none(), "{:?}", lane.lane().status());
    lane.close();
}

/// Found by an audit: such a lane did not open, and only what it delivers and deletes would have made room.
#[test]
fn a_lane_whose_floor_is_lost_and_can_not_be_made_again_deletes_what_was_delivered_and_then_has_a_floor() {
    let (fs, host) = (SimFs::default(), Arc::new(SteppedHost::new(1)));
    let data = DataDir::open_on(fs.clone(), Path::new("/data"), Arc::clone(&host) as Arc<dyn Host>).unwrap();
    let settings = Spool { segment_size: 1 << 20, compression: SpoolCompression::None, ..settings() };
    let open = || SteppedLane::open(&data, lane_name(), &settings, Seq::NONE, &Metrics::new()).unwrap();
    let mut lane = open();
    (0..5).for_each(|_| assert!(send(&mut lane)));
    while lane.tidy() {}
    lane.close();
    let floor = Path::new("/data/lanes/main/floor");
    crate::disk::Fs::remove(&fs, floor).unwrap();
    let mut lane = open();
    while lane.tidy() {}
    crate::disk::Fs::remove(&fs, floor).unwrap();
    lane.close();
    fs.tamper(|world| world.fill_up_to(0));
    let mut lane = open();
    assert!(fs.world().read(floor).is_none() && !send(&mut lane));
    let (end, first) = (lane.lane().durable().next(), lane.lane().first());
    lane.lane().release(end);
    let ((), lines) = said(|| {
        for _ in 0..10 {
            while lane.tidy() {}
            host.advance(Duration::from_millis(300));
            lane.turn();
        }
    });
    assert!(lane.lane().first() > first, "what was delivered is gone");
    let unsaid = lines.iter().filter(|line| line.contains("a delivered segment goes"));
    assert_eq!(unsaid.count(), 1, "the first makes room: {lines:?}");
    assert!(send(&mut lane), "{:?}", lane.lane().status());
    let first = lane.lane().first();
    lane.close();
    let lane = open();
    assert!(lane.lane().first() >= first);
    assert!(fs.world().read(floor).is_some_and(|bytes| bytes.iter().any(|b| *b != 0)), "it says so");
    lane.close();
}
