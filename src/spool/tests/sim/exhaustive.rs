//! Every short story, every crash in it, every way the crash can end.
//!
//! Most real bugs of crash consistency need three operations or fewer (CrashMonkey, OSDI 2018); here are all stories
//! of up to four.

use super::site::{Site, Step, small};
use super::verify::{Depth, Tried, Verifier};
use super::witness::Witness;
use super::soaking;
use crate::config::model::Spool;
use crate::disk::sim::SimFs;
use crate::metrics::Metrics;

/// Tells the story and crashes everywhere in its last step. Crashes before that are those of shorter stories.
pub(crate) fn tell(story: &[Step], settings: &Spool, depth: Depth) -> Result<Tried, String> {
    let metrics = Metrics::new();
    let (fs, mut witness) = (SimFs::default(), Witness::default());
    let mut site = Site::new(fs.clone(), 1, settings, &metrics);
    let mut verifier = Verifier { settings, metrics: &metrics, depth, tried: Tried::default() };
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

/// Every story of `len` steps, told by as many threads as there are processors.
pub(crate) fn every_story(len: usize, settings: &Spool, depth: Depth) -> Result<(u64, Tried), String> {
    let stories = Step::ALL.len().pow(len as u32);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let work = || {
        let mut tried = Tried::default();
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number >= stories {
                return Ok::<_, String>(tried);
            }
            tried += tell(&story(number, len), settings, depth)?;
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        started.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let mut all = Tried::default();
    for result in results {
        all += result?;
    }
    Ok((stories as u64, all))
}

fn story(mut number: usize, len: usize) -> Vec<Step> {
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
    let longest = if soaking() { 4 } else { 2 };
    let mut total = Tried::default();
    for len in 0..=longest {
        let depth = Depth { nested: u32::from(len <= longest - 1), cuts: 512, nested_cuts: 16 };
        let began = std::time::Instant::now();
        let (stories, tried) = every_story(len, &settings, depth).unwrap_or_else(|e| panic!("{e}"));
        println!("{stories} stories of {len} steps: {tried:?}, {:.1?}", began.elapsed());
        total += tried;
    }
    assert!(total.recoveries > 1000, "{total:?}");
}
