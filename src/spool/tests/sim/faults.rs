//! Every error at every call of the disk, once and until it is repaired, in every short story.
//!
//! After each: nothing acknowledged is missing, nothing refused is there, the agent accepts again without a restart
//! once the fault is over; and the same once more after a crash at that point.

use rustix::io::Errno;

use super::exhaustive::story;
use super::site::{Site, Step, small};
use super::verify::{Depth, Tried, Verifier};
use super::witness::Witness;
use super::{parallel, soaking};
use crate::config::model::Spool;
use crate::disk::sim::{Fault, Lasting, SimFs, World};
use crate::metrics::Metrics;

const MODES: [Lasting; 2] = [Lasting::Once, Lasting::UntilRepaired];
/// A disk is full, or its owner's quota is used up: each call is refused with the one once and with the other for good.
const NO_ROOM: [Errno; 2] = [Errno::NOSPC, Errno::DQUOT];

/// What goes wrong at a call.
fn faults_at(at: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (lasting, turn) in MODES.into_iter().zip(at..) {
        let [room, other] = if turn.is_multiple_of(2) { NO_ROOM } else { [NO_ROOM[1], NO_ROOM[0]] };
        let errors = [Errno::IO, Errno::INTR, room].into_iter().chain(soaking().then_some(other));
        faults.extend(errors.map(|errno| Fault { at, errno, lasting }));
    }
    faults
}

/// Calls of the disk in the last step of a story, or in the start if it has none: first and one past the last.
fn calls_of(story: &[Step], settings: &Spool) -> Result<(u64, u64), String> {
    let metrics = Metrics::new();
    let (fs, mut witness) = (SimFs::default(), Witness::default());
    let mut site = Site::new(fs.clone(), 1, settings, &metrics);
    let Some((last, before)) = story.split_last() else {
        site.start()?;
        return Ok((0, fs.calls()));
    };
    site.start()?;
    for step in before {
        site.step(*step, &mut witness)?;
    }
    let first = fs.calls();
    site.step(*last, &mut witness)?;
    Ok((first, fs.calls()))
}

/// Tells a story in which one call fails.
fn tell(story: &[Step], fault: Fault, settings: &Spool, depth: Depth) -> Result<Tried, String> {
    let metrics = Metrics::new();
    let (fs, mut witness) = (SimFs::default(), Witness::default());
    let mut site = Site::new(fs.clone(), 1, settings, &metrics);
    fs.break_at(fault);
    site.try_start(&mut witness)?;
    for step in story {
        site.step(*step, &mut witness)?;
    }
    let mut verifier = Verifier::new(settings, &metrics, depth);
    // A crash while it is broken.
    verifier.crash(&fs.world(), &witness, fs.calls(), 0)?;
    let hit = fs.repair();
    site.lives_on(&mut witness).map_err(|e| format!("failed were {hit:?}: {e}"))?;
    verifier
        .crash(&fs.world(), &witness, fs.calls(), 0)
        .map_err(|e| format!("failed were {hit:?}, after the repair: {e}"))?;
    Ok(verifier.tried)
}

pub(crate) fn every_fault(story: &[Step], settings: &Spool, depth: Depth) -> Result<(u64, Tried), String> {
    let (first, end) = calls_of(story, settings)?;
    let (mut faults, mut tried) = (0, Tried::default());
    for fault in (first..end).flat_map(faults_at) {
        tried += tell(story, fault, settings, depth).map_err(|e| format!("{story:?}, {fault:?}: {e}"))?;
        faults += 1;
    }
    Ok((faults, tried))
}

/// The disk gives nothing for two calls, wherever that is: a read is tried once more.
pub(crate) fn every_short_absence(
    story: &[Step],
    settings: &Spool,
    depth: Depth,
) -> Result<(u64, Tried), String> {
    let (first, end) = calls_of(story, settings)?;
    let mut tried = Tried::default();
    for at in first..end {
        let fault = Fault { at, errno: Errno::IO, lasting: Lasting::Before(at + 2) };
        tried += tell(story, fault, settings, depth).map_err(|e| format!("{story:?}, {fault:?}: {e}"))?;
    }
    Ok((end - first, tried))
}

#[test]
fn every_error_at_every_call_of_every_short_story_costs_nothing_that_was_promised() {
    let settings = small();
    let longest = if soaking() { 3 } else { 2 };
    let depth = Depth { nested: 0, cuts: if soaking() { 64 } else { 8 }, nested_cuts: 0, stride: 1 };
    let (mut faults, mut tried) = (0, Tried::default());
    for len in 0..=longest {
        let (more, all) =
            super::exhaustive::every(len, |story| every_fault(story, &settings, depth)).unwrap();
        faults += more;
        tried += all;
    }
    println!("{faults} faults in stories of up to {longest} steps: {tried:?}");
    assert!(faults > 1000);
}

/// Stories of three and four steps have some hundred thousand errors: of these each push tries others.
#[test]
fn errors_in_stories_of_three_and_four_steps_cost_nothing_either() {
    let settings = small();
    let seed = match std::env::var("SPOOLWAY_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => getrandom::u64().unwrap(),
    };
    println!("errors in longer stories: SPOOLWAY_SEED={seed}");
    let depth = Depth { nested: 0, cuts: if soaking() { 16 } else { 4 }, nested_cuts: 0, stride: 1 };
    // One story in so many.
    for (len, share) in [(3, 181), (4, 1811)] {
        let share = if soaking() { 1 } else { share };
        let count = Step::ALL.len().pow(len) as u64;
        let chosen: Vec<u64> = (seed % share..count).step_by(share as usize).collect();
        let (faults, tried) = parallel(chosen.len(), |n| {
            every_fault(&story(chosen[n] as usize, len as usize), &settings, depth)
        })
        .unwrap_or_else(|e| panic!("SPOOLWAY_SEED={seed}: {e}"));
        println!("{faults} faults in {} of {count} stories of {len} steps: {tried:?}", chosen.len());
        assert!(faults > 0);
    }
}

/// Every error at every call of a start on what a power cut has left.
fn every_fault_after(
    world: &World,
    promised: &Witness,
    settings: &Spool,
    depth: Depth,
) -> Result<(u64, Tried), String> {
    let metrics = Metrics::new();
    let start = |fs: &SimFs| Site::new(fs.clone(), 7, settings, &metrics);
    let counted = SimFs::of(world.clone());
    start(&counted).start()?;
    let (mut faults, mut verifier) = (0, Verifier::new(settings, &metrics, depth));
    for fault in (0..counted.calls()).flat_map(faults_at) {
        let told = |e: String| format!("{fault:?} of the start: {e}");
        let (fs, mut witness) = (SimFs::of(world.clone()), promised.clone());
        fs.break_at(fault);
        let mut site = start(&fs);
        site.try_start(&mut witness).map_err(told)?;
        faults += 1;
        verifier.crash(&fs.world(), &witness, fs.calls(), 0).map_err(told)?;
        fs.repair();
        site.lives_on(&mut witness).map_err(told)?;
        verifier.crash(&fs.world(), &witness, fs.calls(), 0).map_err(told)?;
    }
    Ok((faults, verifier.tried))
}

/// Power cuts at moments of the last step of a story, one in `stride`, and then errors in the start.
pub(crate) fn power_cut_then_fault(
    story: &[Step],
    settings: &Spool,
    (stride, cuts): (usize, u64),
) -> Result<(u64, Tried), String> {
    let metrics = Metrics::new();
    let (fs, mut witness) = (SimFs::default(), Witness::default());
    let mut site = Site::new(fs.clone(), 1, settings, &metrics);
    site.start()?;
    let (last, before) = story.split_last().ok_or("a story without a step")?;
    for step in before {
        site.step(*step, &mut witness)?;
    }
    fs.record();
    site.step(*last, &mut witness)?;
    let depth = Depth { nested: 0, cuts: 2.min(cuts), nested_cuts: 0, stride: 1 };
    let (mut faults, mut tried) = (0, Tried::default());
    for moment in fs.moments().into_iter().step_by(stride) {
        let promised = witness.at(moment.calls);
        for choices in moment.world.cuts(cuts) {
            let after = moment.world.after_power_cut(&choices);
            let (more, all) = every_fault_after(&after, &promised, settings, depth)
                .map_err(|e| format!("{story:?}, power cut before {:?}, {choices:?}, {e}", moment.before))?;
            faults += more;
            tried += all;
        }
    }
    Ok((faults, tried))
}

#[test]
fn errors_in_the_recovery_from_a_power_cut_cost_nothing_either() {
    let settings = small();
    let stories: &[&[Step]] = &[
        &[Step::Small, Step::Group],
        &[Step::Large, Step::Large],
        &[Step::Large, Step::Large, Step::Consume, Step::Tidy],
        &[Step::Group, Step::Idle],
        &[Step::Large, Step::Reopen],
        &[Step::Small, Step::Kill],
    ];
    let share = if soaking() { (1, 16) } else { (13, 1) };
    let (faults, tried) =
        parallel(stories.len(), |n| power_cut_then_fault(stories[n], &settings, share)).unwrap();
    println!("{faults} faults in recoveries from power cuts: {tried:?}");
    assert!(faults > 200, "{faults}");
}

#[test]
fn errors_in_the_recovery_from_a_crash_cost_nothing_either() {
    let settings = small();
    let stories: &[&[Step]] = &[
        &[Step::Small, Step::Large, Step::Group, Step::Kill],
        &[Step::Large, Step::Large, Step::Consume, Step::Tidy, Step::Kill],
        &[Step::Group, Step::Idle, Step::Kill, Step::Small, Step::Kill],
        &[Step::Large, Step::Reopen, Step::Large, Step::Peek, Step::Kill],
    ];
    let depth = Depth { nested: 0, cuts: 32, nested_cuts: 0, stride: 1 };
    let mut all = 0;
    for story in stories {
        for tell in [every_fault, every_short_absence] {
            all += tell(story, &settings, depth).unwrap_or_else(|e| panic!("{e}")).0;
        }
    }
    println!("{all} faults in recoveries");
    assert!(all > 100);
}
