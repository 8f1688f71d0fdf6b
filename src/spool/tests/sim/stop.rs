//! The agent is stopped while the disk refuses room: what was accepted before is durable all the same.

use std::time::Duration;

use rustix::io::Errno;

use super::site::{Site, Step, small};
use super::verify::{Depth, Tried, Verifier};
use super::witness::Witness;
use crate::config::model::{Spool, Sync};
use crate::disk::sim::{Call, Fault, Lasting, SimFs};
use crate::metrics::Metrics;

/// The clock stands still: nothing asks for a sync but the stop.
fn at_an_interval() -> Spool {
    Spool { segment_size: 15 << 10, sync: Sync::Interval(Duration::from_millis(100)), ..small() }
}

/// An event is accepted, the blocks for one more can't be reserved, the agent is stopped at once, and then the power goes, in
/// every way in which it can. `None`: the call `later` after the accepted event is not the one that reserves.
fn stopped(errno: Errno, later: u64) -> Option<Result<Tried, String>> {
    let (settings, metrics, fs) = (at_an_interval(), Metrics::new(), SimFs::default());
    let mut witness = Witness::of(&settings);
    let mut site = Site::new(fs.clone(), 1, &settings, &metrics);
    site.start().unwrap();
    site.close();
    // Room for the beginning of a segment, and not for all that is reserved at once where there is room.
    fs.tamper(|world| world.fill_up_to(12 << 10));
    site.start().unwrap();
    fs.tamper(|world| world.set_capacity(u64::MAX));
    site.step(Step::Small, &mut witness).unwrap();
    fs.break_at(Fault { at: fs.calls() + later, errno, lasting: Lasting::Once });
    site.step(Step::Large, &mut witness).unwrap();
    if !matches!(fs.repair()[..], [(_, Call::Allocate)]) {
        return None;
    }
    let status = site.lane().unwrap().lane().status();
    assert!(status.full || status.failing.is_some(), "it is in trouble: {status:?}");
    site.close();
    witness.firm(fs.calls());
    let depth = Depth { nested: 0, cuts: 512, nested_cuts: 0, stride: 1 };
    let mut verifier = Verifier::new(&settings, &metrics, depth);
    let survives = verifier.crash(&fs.world(), &witness, fs.calls(), 0);
    Some(survives.map(|()| verifier.tried))
}

#[test]
fn what_is_accepted_at_an_interval_is_synced_by_a_stop_while_the_disk_has_no_room_for_more() {
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::IO] {
        let tried = (0..20).find_map(|later| stopped(errno, later)).expect("a call that reserves");
        let tried = tried.unwrap_or_else(|e| panic!("{errno}: {e}"));
        assert!(tried.recoveries > 1 && tried.sampled == 0, "{tried:?}");
    }
}
