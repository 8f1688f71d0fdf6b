//! Not one byte free, and what could be deleted is the segment that is being written.

use std::sync::Arc;

use rustix::io::Errno;

use super::*;
use crate::disk::sim::{Fault, Lasting, SimFs};
use crate::intake::Refused;
use crate::logs::testing::said;
use crate::spool::encoder::Encoder;
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

/// Bytes that are reserved at once.
const RESERVED: u64 = 4 << 20;

fn longest_named() -> LaneName {
    LaneName::new(&"l".repeat(249)).unwrap()
}

/// Events of which each takes a block of its own, with the longest header, so that they need all that is reckoned with; together they fit
/// into what is reserved, and with the header of a segment they don't.
fn heavy() -> (StreamName, EventBatch) {
    let batch = batch(&vec![vec![5; 32_919]; 125]);
    let need = Encoder::at_most(batch.as_bytes().len()) + 1024;
    assert!((RESERVED - 1024..=RESERVED).contains(&need), "{need}");
    (stream(&"s".repeat(249)), batch)
}

fn is_refused_as_full(heard: Option<&Heard>, lane: &SteppedLane<SimFs>) {
    let Some(Heard::Answer(Err(AcceptError::Refused(Refused::Full(_))), _)) = heard else {
        panic!("{heard:?}")
    };
    let status = lane.lane().status();
    assert!(status.failing.is_none() && status.full, "{status:?}");
}

/// Found by an audit: what had been reserved was enough for the events alone, so they were begun, and the write failed.
#[test]
fn the_first_event_of_a_segment_is_refused_where_there_is_no_room_for_the_segments_header_too() {
    let (fs, host) = (SimFs::default(), Arc::new(SteppedHost::new(1)));
    let data = DataDir::open_on(fs.clone(), Path::new("/data"), Arc::clone(&host) as Arc<dyn Host>).unwrap();
    let (when_full, compression) = (WhenFull::Reject, SpoolCompression::None);
    let settings = Spool { segment_size: 12 << 20, when_full, compression, ..settings() };
    let mut lane = SteppedLane::open(&data, longest_named(), &settings, Seq::NONE, &Metrics::new()).unwrap();
    fs.tamper(|world| world.fill_up_to(0));
    let heard = lane.append(vec![heavy()], 1, || 0).pop();
    is_refused_as_full(heard.as_ref(), &lane);
    lane.close();
}

/// What is asked of the disk before a request is looked at is room in the segment that is being written. Here the request goes into the next
/// one, which was made ready while there was room.
#[test]
fn where_the_next_segment_has_no_room_for_its_header_too_the_event_that_would_begin_it_is_refused() {
    const MIB: u64 = 1 << 20;
    let (fs, host) = (SimFs::default(), Arc::new(SteppedHost::new(1)));
    let data = DataDir::open_on(fs.clone(), Path::new("/data"), Arc::clone(&host) as Arc<dyn Host>).unwrap();
    let (when_full, compression) = (WhenFull::Reject, SpoolCompression::None);
    let settings = Spool { segment_size: 11 * MIB, when_full, compression, ..settings() };
    let mut lane = SteppedLane::open(&data, longest_named(), &settings, Seq::NONE, &Metrics::new()).unwrap();
    (0..9).for_each(|_| assert!(send(&mut lane)));
    // It ends before 8 MiB, and with a seal behind them: so 12 are reserved.
    let rest = 8 * MIB - lane.lane().status().bytes - 600;
    let filled = lane.append(vec![(stream("a"), batch(&[vec![5; rest as usize]]))], 1, || 0).pop();
    assert!(matches!(filled, Some(Heard::Answer(Ok(_), _))), "{filled:?}");
    assert!((8 * MIB - 600..8 * MIB).contains(&lane.lane().status().bytes), "{:?}", lane.lane().status());
    while lane.tidy() {}
    fs.tamper(|world| world.fill_up_to(0));
    let heard = lane.append(vec![heavy()], 1, || 0).pop();
    is_refused_as_full(heard.as_ref(), &lane);
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

const BALLAST: &str = "/data/ballast";

/// A lane with five closed segments on a disk that writes nothing over in place, with not a byte free.
fn full_where_all_is_copied(when_full: WhenFull) -> (SimFs, Arc<SteppedHost>, SteppedLane<SimFs>) {
    let (fs, host) = (SimFs::default(), Arc::new(SteppedHost::new(1)));
    fs.tamper(|world| world.copy_on_write(true));
    let data = DataDir::open_on(fs.clone(), Path::new("/data"), Arc::clone(&host) as Arc<dyn Host>).unwrap();
    let compression = SpoolCompression::None;
    let settings = Spool { segment_size: 1 << 20, compression, when_full, ..settings() };
    let mut lane = SteppedLane::open(&data, lane_name(), &settings, Seq::NONE, &Metrics::new()).unwrap();
    (0..6).for_each(|_| assert!(send(&mut lane)));
    while lane.tidy() {}
    assert!(fs.world().read(Path::new(BALLAST)).is_some());
    fs.tamper(|world| world.fill_up_to(0));
    assert!(!send(&mut lane));
    (fs, host, lane)
}

fn go_on(host: &SteppedHost, lane: &mut SteppedLane<SimFs>) {
    for _ in 0..10 {
        while lane.tidy() {}
        host.advance(Duration::from_millis(1500));
        lane.turn();
    }
}

/// Found on a btrfs whose quota was used up: nothing was ever deleted there again.
#[test]
fn where_nothing_is_written_over_in_place_positions_are_kept_in_room_that_is_let_go_of_and_taken_back_before_events()
 {
    let (fs, host, mut lane) = full_where_all_is_copied(WhenFull::Reject);
    // What is given back to the disk meanwhile goes to somebody else.
    let nobody_gives = |fs: &SimFs| fs.tamper(|world| world.fill_up_to(0));
    nobody_gives(&fs);
    fs.tamper(|world| world.set_capacity(u64::MAX));
    let (mut positions, _) = crate::disk::Slots::open(&fs, Path::new("/data/positions"), 100).unwrap();
    nobody_gives(&fs);
    let refused = positions.save(&[1; 100]).unwrap_err();
    assert!(refused.is_for_want_of_room(), "{refused}");
    lane.lane().let_go_of_ballast();
    // The writer looks five times a second whether it can go on, and delivery tries again when its turn comes.
    for _ in 0..20 {
        while lane.tidy() {}
        host.advance(Duration::from_millis(250));
        lane.turn();
    }
    positions.save(&[1; 100]).and_then(|()| positions.sync()).unwrap();
    assert!(fs.world().read(Path::new(BALLAST)).is_none());
    // Not even what was let go of is filled with events before it is kept back again.
    fs.tamper(|world| world.fill_up_to((4 << 20) - 1));
    go_on(&host, &mut lane);
    assert!(!send(&mut lane), "delivery's room is not the senders'");
    let end = lane.lane().durable().next();
    lane.lane().release(end);
    go_on(&host, &mut lane);
    assert!(send(&mut lane), "{:?}", lane.lane().status());
    assert!(fs.world().read(Path::new(BALLAST)).is_some());
    lane.close();
}

/// Found by a mutant.
#[test]
fn only_want_of_room_lets_go_of_what_is_kept_back_for_delivery() {
    let mut met = 0;
    for after in 0..30 {
        let (fs, host) = (SimFs::default(), Arc::new(SteppedHost::new(1)));
        fs.tamper(|world| world.copy_on_write(true));
        let data =
            DataDir::open_on(fs.clone(), Path::new("/data"), Arc::clone(&host) as Arc<dyn Host>).unwrap();
        let settings = Spool { segment_size: 1 << 20, compression: SpoolCompression::None, ..settings() };
        let mut lane = SteppedLane::open(&data, lane_name(), &settings, Seq::NONE, &Metrics::new()).unwrap();
        (0..3).for_each(|_| assert!(send(&mut lane)));
        while lane.tidy() {}
        lane.lane().release(lane.lane().durable().next());
        fs.break_at(Fault { at: fs.calls() + after, errno: Errno::IO, lasting: Lasting::Once });
        while lane.tidy() {}
        met += fs.repair().len();
        assert!(fs.world().read(Path::new(BALLAST)).is_some(), "after {after} calls");
        lane.close();
    }
    assert!(met > 3, "{met} met an error");
}

#[test]
fn where_nothing_is_written_over_in_place_the_oldest_is_dropped_all_the_same() {
    let (_fs, host, mut lane) = full_where_all_is_copied(WhenFull::DropOldest);
    let first = lane.lane().first();
    go_on(&host, &mut lane);
    assert!(lane.lane().first() > first, "the floor found room");
    go_on(&host, &mut lane);
    assert!(send(&mut lane), "{:?}", lane.lane().status());
    lane.close();
}

/// Found by a review: segments that had come back after a power cut stayed until a start that had room by itself.
#[test]
fn a_start_writes_the_floor_afresh_in_the_room_that_is_kept_back() {
    let (fs, host, mut lane) = full_where_all_is_copied(WhenFull::Reject);
    fs.tamper(|world| world.set_capacity(u64::MAX));
    lane.lane().release(lane.lane().durable().next());
    go_on(&host, &mut lane);
    lane.close();
    let floor = || fs.world().read(Path::new("/data/lanes/main/floor")).unwrap();
    let before = floor();
    fs.tamper(|world| world.fill_up_to(0));
    assert!(fs.world().read(Path::new(BALLAST)).is_some());
    let data = DataDir::open_on(fs.clone(), Path::new("/data"), Arc::clone(&host) as Arc<dyn Host>).unwrap();
    let lane = SteppedLane::open(&data, lane_name(), &settings(), Seq::NONE, &Metrics::new()).unwrap();
    assert!(floor() != before && fs.world().read(Path::new(BALLAST)).is_none());
    lane.close();
}

/// Found by a review: for want of what is kept back, all that waited was dropped, though the lane had room.
#[test]
fn nothing_is_dropped_for_room_that_delivery_lacks_and_the_lane_does_not() {
    let (fs, host, lane) = full_where_all_is_copied(WhenFull::Reject);
    lane.close();
    fs.tamper(|world| world.set_capacity(u64::MAX));
    let data = DataDir::open_on(fs.clone(), Path::new("/data"), Arc::clone(&host) as Arc<dyn Host>).unwrap();
    let (when_full, compression) = (WhenFull::DropOldest, SpoolCompression::None);
    let settings = Spool { segment_size: 1 << 20, compression, when_full, ..settings() };
    let mut lane = SteppedLane::open(&data, lane_name(), &settings, Seq::NONE, &Metrics::new()).unwrap();
    assert!(send(&mut lane));
    while lane.tidy() {}
    let first = lane.lane().first();
    lane.lane().let_go_of_ballast();
    fs.tamper(|world| world.fill_up_to(2 << 20));
    assert!(!send(&mut lane), "events wait for what is kept back");
    go_on(&host, &mut lane);
    assert_eq!(lane.lane().first(), first);
    fs.tamper(|world| world.set_capacity(u64::MAX));
    go_on(&host, &mut lane);
    assert!(send(&mut lane), "{:?}", lane.lane().status());
    assert_eq!(lane.lane().first(), first);
    lane.close();
}
