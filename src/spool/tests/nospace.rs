//! Not one byte free, and what could be deleted is the segment that is being written.

use std::sync::Arc;

use super::*;
use crate::disk::sim::SimFs;
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
