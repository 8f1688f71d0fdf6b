//! Negative controls: each bug that a spool of this kind can have, found by the harness that has to find it.

use std::time::Duration;

use rustix::io::Errno;

use super::exhaustive::tell;
use super::faults::{every_fault, every_short_absence, power_cut_then_fault};
use super::site::{Site, Step, small};
use super::verify::Depth;
use super::witness::Witness;
use crate::config::model::{Spool, Sync};
use crate::disk::sim::SimFs;
use crate::metrics::Metrics;
use crate::sabotage::{Bug, Sabotage};

const DEPTH: Depth = Depth { nested: 0, cuts: 64, nested_cuts: 0, stride: 1 };

/// A story without the bug is told to the end, and with the bug it is not.
fn is_caught(bug: Bug, story: impl Fn() -> Result<(), String>) {
    story().unwrap_or_else(|e| panic!("without the bug: {e}"));
    let _wrong = Sabotage::begin(bug);
    let caught = story();
    println!("{}: {caught:?}", bug.name());
    assert!(caught.is_err(), "{} is not noticed", bug.name());
}

fn crash(story: &[Step]) -> Result<(), String> {
    tell(story, &small(), DEPTH).map(|_| ())
}

fn fault(story: &[Step]) -> Result<(), String> {
    every_fault(story, &small(), DEPTH).map(|_| ())
}

#[test]
fn an_answer_before_the_sync_is_noticed() {
    is_caught(Bug::AnswerBeforeSync, || crash(&[Step::Small]));
}

#[test]
fn a_name_that_is_not_made_durable_is_noticed() {
    is_caught(Bug::NoDirectorySync, || crash(&[Step::Small]));
}

#[test]
fn a_position_before_the_acknowledgement_is_noticed() {
    is_caught(Bug::PositionBeforeAcknowledgement, || crash(&[Step::Small, Step::Consume]));
}

#[test]
fn a_deletion_before_it_is_recorded_is_noticed() {
    is_caught(Bug::DeleteBeforePosition, || {
        crash(&[Step::Large, Step::Large, Step::Consume, Step::Tidy])?;
        forget_position(&[Step::Large, Step::Large, Step::Consume, Step::Tidy])
    });
}

/// The position's file is lost, and nothing else: what was deleted on purpose must not count as lost.
fn forget_position(story: &[Step]) -> Result<(), String> {
    let (fs, mut witness, metrics) = (SimFs::default(), Witness::default(), Metrics::new());
    let mut site = Site::new(fs.clone(), 1, &small(), &metrics);
    site.start()?;
    for step in story {
        site.step(*step, &mut witness)?;
    }
    site.kill();
    let world = fs.world();
    for choices in world.cuts(64) {
        let mut after = world.after_power_cut(&choices);
        after.lose(std::path::Path::new("/data/position")).map_err(|e| e.to_string())?;
        let mut site = Site::new(SimFs::of(after), 2, &small(), &metrics);
        site.start()?;
        site.read_from_the_first(&mut witness.clone())?;
    }
    Ok(())
}

#[test]
fn a_second_sync_that_is_believed_is_noticed() {
    is_caught(Bug::RetryAfterFailedSync, || fault(&[Step::Small]));
}

#[test]
fn readers_that_see_what_is_not_durable_are_noticed() {
    is_caught(Bug::WatermarkTooHigh, || {
        fault(&[Step::Small, Step::Consume]).and_then(|()| torn_after_a_look())
    });
}

/// A sync fails, what was written is looked at, and the power goes.
fn torn_after_a_look() -> Result<(), String> {
    use crate::disk::sim::{Fault, Lasting};
    let (fs, mut witness, metrics) = (SimFs::default(), Witness::default(), Metrics::new());
    let settings = small();
    let mut site = Site::new(fs.clone(), 1, &settings, &metrics);
    site.start()?;
    site.step(Step::Small, &mut witness)?;
    // The write is done and the sync fails.
    fs.break_at(Fault { at: fs.calls() + 1, errno: Errno::IO, lasting: Lasting::Once });
    site.step(Step::Small, &mut witness)?;
    site.step(Step::Consume, &mut witness)?;
    fs.repair();
    let mut verifier = super::verify::Verifier::new(&settings, &metrics, DEPTH);
    verifier.crash(&fs.world(), &witness, fs.calls(), 0)
}

#[test]
fn numbers_given_twice_under_one_run_are_noticed() {
    is_caught(Bug::NumbersTwiceUnderOneRun, a_copy_is_put_back);
}

/// Nobody can notice that an older copy of a data directory was put back, if everything in it is consistent. A new
/// event must not be taken for an old one all the same.
fn a_copy_is_put_back() -> Result<(), String> {
    let (fs, mut witness, metrics) = (SimFs::default(), Witness::default(), Metrics::new());
    let mut site = Site::new(fs.clone(), 1, &small(), &metrics);
    site.start()?;
    site.step(Step::Small, &mut witness)?;
    let copy = fs.world();
    site.step(Step::Kill, &mut witness)?;
    site.step(Step::Group, &mut witness)?;
    site.step(Step::Consume, &mut witness)?;
    // The numbers that were acknowledged after the copy was made are given again; that much is known.
    let mut witness = witness.without_acknowledgements();
    let mut site = Site::new(SimFs::of(copy), 5, &small(), &metrics);
    site.start()?;
    site.step(Step::Group, &mut witness)?;
    site.step(Step::Consume, &mut witness)
}

/// One call is not enough: what can't be read at once is read page by page, and one that can't be opened is waited for.
#[test]
fn a_failed_read_that_is_taken_for_damage_is_noticed_where_the_next_one_fails_too() {
    is_caught(Bug::ErrorIsDamage, || {
        every_short_absence(&[Step::Large, Step::Small, Step::Kill], &small(), DEPTH).map(|_| ())
    });
}

#[test]
fn a_second_sync_that_is_believed_is_noticed_by_errors_in_longer_stories() {
    is_caught(Bug::RetryAfterFailedSync, || fault(&[Step::Group, Step::Peek, Step::Small]));
    is_caught(Bug::RetryAfterFailedSync, || fault(&[Step::Large, Step::Tidy, Step::Kill, Step::Small]));
}

/// A crash alone shows nothing: what a killed process has left is read, and is gone with the power in the recovery.
#[test]
fn leftovers_that_are_taken_for_durable_are_noticed_by_a_crash_in_the_recovery_and_by_no_other() {
    let nested = Depth { nested: 1, nested_cuts: 16, ..DEPTH };
    is_caught(Bug::LeftoversBelieved, || tell(&[Step::Small], &small(), nested).map(|_| ()));
    let _wrong = Sabotage::begin(Bug::LeftoversBelieved);
    crash(&[Step::Small]).unwrap();
}

#[test]
fn a_start_that_goes_on_where_the_disk_does_not_give_the_end_is_noticed() {
    is_caught(Bug::BlindStart, || {
        power_cut_then_fault(&[Step::Large, Step::Large, Step::Large], &small(), (9, 1)).map(|_| ())
    });
}

#[test]
fn an_interval_after_which_nothing_is_synced_is_noticed() {
    let settings = Spool { sync: Sync::Interval(Duration::from_millis(100)), ..small() };
    is_caught(Bug::IntervalForgotten, || tell(&[Step::Small, Step::Idle], &settings, DEPTH).map(|_| ()));
}

#[test]
fn a_copy_that_is_put_back_never_gives_an_old_identity_to_a_new_event() {
    a_copy_is_put_back().unwrap();
}
