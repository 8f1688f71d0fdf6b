//! Sectors that can't be read: every read that touches one fails, today and tomorrow.

use std::sync::Arc;
use std::time::Duration;

use super::parallel;
use super::rot::{Specimen, none, segments_with_bytes};
use super::site::{Site, Step, small};
use super::verify::Tried;
use super::witness::Witness;
use crate::disk::sim::{Call, Fault, Lasting, SimFs, World};
use crate::metrics::Metrics;
use rustix::io::Errno;

/// Done to a file of so many bytes.
type Harm = fn(&mut World, &std::path::Path, usize);

/// What is read at once.
const PAGE: usize = 4096;

/// A lane that nobody sends to any more: the last segment holds one commit, answered, and the mark behind it. The
/// agent was killed.
fn quiet(metrics: &Arc<Metrics>) -> (World, Witness) {
    let (settings, fs, mut witness) = (small(), SimFs::default(), Witness::default());
    let mut site = Site::new(fs.clone(), 1, &settings, metrics);
    site.start().unwrap();
    for step in [Step::Large, Step::Reopen, Step::Small, Step::Idle, Step::Kill] {
        site.step(step, &mut witness).unwrap();
    }
    (fs.world(), witness)
}

#[test]
fn a_last_segment_of_which_no_block_can_be_read_or_that_is_garbage_is_never_deleted() {
    let metrics = Metrics::new();
    let (world, witness) = quiet(&metrics);
    let before = segments_with_bytes(&world);
    let last = before.last().unwrap().clone();
    let bytes = world.read(&last).unwrap();
    let harms: [(&str, Harm, usize); 2] = [
        ("its blocks can't be read", |w, p, len| w.wear(p, 2 * PAGE..len).unwrap(), bytes.len()),
        ("garbage", |w, p, len| w.rot(p, vec![0xa5; len]).unwrap(), bytes.len()),
    ];
    for (what, harm, len) in harms {
        let mut world = world.clone();
        harm(&mut world, &last, len);
        let harmed = world.read(&last);
        let mut witness = witness.clone().without_acknowledgements();
        let mut site = Site::new(SimFs::of(world), 9, &small(), &metrics);
        site.damaged = true;
        // It starts, goes on, and lets go of what is delivered, again and again.
        site.start().unwrap();
        for start in 0..3 {
            site.lives_on(&mut witness).unwrap_or_else(|e| panic!("{what}, start {start}: {e}"));
            for step in [Step::Large, Step::Reopen, Step::Consume, Step::Tidy, Step::Kill] {
                assert!(site.fs.world().read(&last) == harmed, "{what}, start {start}, before {step:?}");
                site.step(step, &mut witness).unwrap();
            }
        }
        // What was delivered is gone all the same.
        let first = before.first().unwrap();
        assert!(site.fs.world().read(first).is_none(), "{what}");
    }
}

#[test]
fn every_sector_that_can_not_be_read_costs_at_most_the_blocks_of_its_page() {
    let specimen = Specimen::new();
    let mut sectors = Vec::new();
    for (path, bytes) in &specimen.files {
        sectors.extend((0..bytes.len()).step_by(512).map(|at| (path, at)));
    }
    let last = specimen.segments().last().unwrap().0.clone();
    let (done, _) = parallel(sectors.len(), |n| {
        let (path, at) = sectors[n];
        let page = at / PAGE * PAGE;
        let touched = specimen.touched(path, page, page + PAGE);
        let unsaid = if *path == last { touched.clone() } else { none() };
        let mut world = specimen.world.clone();
        world.wear(path, at..at + 1).unwrap();
        let told = |e| format!("sector at {at} of {}: {e}", path.display());
        specimen.judge(world, &touched, &unsaid).map_err(told)?;
        Ok((1, Tried::default()))
    })
    .unwrap();
    println!("{done} sectors that can't be read");
}

/// A segment whose last commit's sync has failed, and the one that its agent went on with. What the failed commit wrote
/// stands behind the end of the first, whole, under numbers that the second has given out again.
fn failed(metrics: &Arc<Metrics>) -> Option<(World, Witness)> {
    (0..20).find_map(|later| {
        let (settings, fs, mut witness) = (small(), SimFs::default(), Witness::default());
        let mut site = Site::new(fs.clone(), 1, &settings, metrics);
        site.start().unwrap();
        site.step(Step::Small, &mut witness).unwrap();
        fs.break_at(Fault { at: fs.calls() + later, errno: Errno::IO, lasting: Lasting::Once });
        site.step(Step::Small, &mut witness).unwrap();
        if !matches!(fs.repair()[..], [(_, Call::SyncData)]) {
            return None;
        }
        site.host.advance(Duration::from_secs(6));
        site.lane().unwrap().turn();
        (0..3).for_each(|_| site.step(Step::Small, &mut witness).unwrap());
        site.kill();
        Some((fs.world(), witness))
    })
}

#[test]
fn a_header_whose_first_copy_can_not_be_read_says_by_its_second_where_the_one_before_ends() {
    let metrics = Metrics::new();
    let (world, witness) = failed(&metrics).unwrap();
    let segments = segments_with_bytes(&world);
    assert_eq!(segments.len(), 2);
    let read = |world: World| {
        let mut witness = witness.clone();
        let mut site = Site::new(SimFs::of(world), 9, &small(), &metrics);
        site.start().unwrap();
        let (found, holes) = site.read_with_holes(&mut witness).unwrap();
        assert_eq!((witness.missing(&found), holes), (Vec::new(), Vec::new()));
        found
    };
    let whole = read(world.clone());
    assert_eq!(whole.len(), 4);
    let mut worn = world;
    worn.wear(segments.last().unwrap(), 0..1).unwrap();
    assert_eq!(read(worn), whole);
}
