//! Every short story, every crash in it, every way the crash can end.
//!
//! Most real bugs of crash consistency need three operations or fewer (CrashMonkey, OSDI 2018); here are all stories
//! of up to four.

use std::path::Path;
use std::time::Duration;

use super::site::{Site, Step, small};
use super::verify::{Depth, Tried, Verifier};
use super::witness::Witness;
use super::{parallel, soaking};
use crate::config::model::{self, Spool};
use crate::disk::sim::SimFs;
use crate::metrics::Metrics;

/// Tells the story and crashes everywhere in its last step. Crashes before that are those of shorter stories.
pub(crate) fn tell(story: &[Step], settings: &Spool, depth: Depth) -> Result<Tried, String> {
    let metrics = Metrics::new();
    let (fs, mut witness) = (SimFs::default(), Witness::of(settings));
    let mut site = Site::new(fs.clone(), 1, settings, &metrics);
    let mut verifier = Verifier::new(settings, &metrics, depth);
    let told = |e: String| format!("{story:?}: {e}");
    let Some((last, before)) = story.split_last() else {
        fs.record();
        site.start().map_err(told)?;
        return crash_everywhere(&fs, &witness, &mut verifier).map_err(told);
    };
    site.start().map_err(told)?;
    for step in before {
        site.step(*step, &mut witness).map_err(told)?;
    }
    fs.record();
    site.step(*last, &mut witness).map_err(told)?;
    crash_everywhere(&fs, &witness, &mut verifier).map_err(told)
}

fn crash_everywhere(fs: &SimFs, witness: &Witness, verifier: &mut Verifier<'_>) -> Result<Tried, String> {
    for moment in fs.moments() {
        verifier
            .crash(&moment.world, witness, moment.calls, 0)
            .map_err(|e| format!("before {:?}: {e}", moment.before))?;
    }
    verifier.crash(&fs.world(), witness, fs.calls(), 0).map_err(|e| format!("at the end: {e}"))?;
    Ok(verifier.tried)
}

/// Does `work` for every story of `len` steps, on as many threads as there are processors; sums what it counts.
pub(crate) fn every(
    len: usize,
    work: impl Fn(&[Step]) -> Result<(u64, Tried), String> + Sync,
) -> Result<(u64, Tried), String> {
    let stories = Step::ALL.len().pow(len as u32);
    parallel(stories, |number| work(&story(number, len)))
}

/// The story of that number.
pub(super) fn story(mut number: usize, len: usize) -> Vec<Step> {
    let mut steps = Vec::with_capacity(len);
    for _ in 0..len {
        steps.push(Step::ALL[number % Step::ALL.len()]);
        number /= Step::ALL.len();
    }
    steps
}

#[test]
fn every_story_of_up_to_four_steps_survives_every_crash() {
    let settings = small();
    let nested_up_to = if soaking() { 3 } else { 0 };
    let mut total = Tried::default();
    for len in 0..=4 {
        let depth = Depth { nested: u32::from(len <= nested_up_to), cuts: 512, nested_cuts: 16, stride: 1 };
        let began = std::time::Instant::now();
        let (stories, tried) = every(len, |story| Ok((1, tell(story, &settings, depth)?))).unwrap();
        println!("{stories} stories of {len} steps: {tried:?}, {:.1?}", began.elapsed());
        total += tried;
    }
    assert!(total.recoveries > 100_000, "{total:?}");
}

/// With `sync = <interval>` what is acknowledged survives a kill at once, and a power cut once the interval is over;
/// with `commit_delay` answers wait, and what they promise is the same.
#[test]
fn every_short_story_survives_every_crash_where_syncs_or_answers_wait() {
    let interval = Spool { sync: model::Sync::Interval(Duration::from_millis(100)), ..small() };
    let delayed = Spool { commit_delay: Duration::from_micros(20), ..small() };
    let longest = if soaking() { 4 } else { 2 };
    for (what, settings) in [("an interval", interval), ("a delay", delayed)] {
        let mut total = Tried::default();
        for len in 0..=longest {
            let depth = Depth { nested: 0, cuts: if soaking() { 512 } else { 8 }, nested_cuts: 0, stride: 1 };
            let (_, tried) = every(len, |story| Ok((1, tell(story, &settings, depth)?))).unwrap();
            total += tried;
        }
        println!("with {what}, stories of up to {longest} steps: {total:?}");
        assert!(total.recoveries > 1_000, "{total:?}");
    }
}

#[test]
fn a_crash_in_the_recovery_from_a_crash_in_the_recovery_from_a_crash_is_survived() {
    let settings = small();
    // All of it would be some ten million starts.
    let (cuts, nested_cuts, stride) = if soaking() { (16, 4, 5) } else { (3, 2, 17) };
    let depth = Depth { nested: 2, cuts, nested_cuts, stride };
    let tried = tell(&[Step::Large, Step::Small, Step::Large], &settings, depth).unwrap();
    println!("three deep: {tried:?}");
    assert!(tried.recoveries > 1000, "{tried:?}");
}

/// The first process makes the way to its data directory and is killed somewhere on it; the next one finds the way,
/// accepts an event, and the power goes.
#[test]
fn a_relative_data_directory_is_durable_from_the_working_directory_on_before_an_event_is_accepted() {
    let (settings, metrics) = (small(), Metrics::new());
    let started = |fs: &SimFs| {
        let mut site = Site::new(fs.clone(), 1, &settings, &metrics);
        site.place = Path::new("here/data");
        site.start().map(|()| site)
    };
    let first = SimFs::default();
    first.record();
    started(&first).unwrap();
    let depth = Depth { nested: 0, cuts: 64, nested_cuts: 0, stride: 1 };
    let mut verifier = Verifier::new(&settings, &metrics, depth);
    verifier.place = Path::new("here/data");
    for moment in first.moments() {
        let (fs, mut witness) = (SimFs::of(moment.world), Witness::default());
        let mut site = started(&fs).unwrap();
        site.step(Step::Small, &mut witness).unwrap();
        let tried = verifier.crash(&fs.world(), &witness, fs.calls(), 0);
        tried.unwrap_or_else(|e| panic!("the first process was killed before {:?}, then {e}", moment.before));
    }
    println!("a relative data directory: {:?}", verifier.tried);
}
