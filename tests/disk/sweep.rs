//! The agent is killed at every system call that changes something on the disk, one after the other, and once each of
//! them fails; then an honest agent starts on what is left, and everything that was accepted is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cycle::{rounds, soak};
use crate::outside::{Finding, Outside};
use crate::script::{Scene, Script};
use crate::site::STREAM;
use crate::support::agent::spoolway;
use crate::support::load::{Load, Plan};
use crate::support::process::scratch;
use crate::support::sabotaged::sabotaged;
use crate::trace::{calls, kill, struck, traced};

const SOON: Duration = Duration::from_secs(20);

pub fn a_start_on_an_empty_directory_survives_a_kill_at_every_call() {
    sweep(Script::Start, &["kill"]);
}

pub fn a_start_on_an_empty_directory_survives_every_call_failing() {
    sweep(Script::Start, &ERRORS);
}

pub fn appending_survives_a_kill_at_every_call() {
    sweep(Script::Append, &["kill"]);
}

pub fn appending_survives_every_call_failing() {
    sweep(Script::Append, &ERRORS);
}

pub fn rotating_survives_a_kill_at_every_call() {
    sweep(Script::Rotate, &["kill"]);
}

pub fn rotating_survives_every_call_failing() {
    sweep(Script::Rotate, &ERRORS);
}

pub fn saving_positions_and_deleting_survives_a_kill_at_every_call() {
    sweep(Script::Deliver, &["kill"]);
}

pub fn saving_positions_and_deleting_survives_every_call_failing() {
    sweep(Script::Deliver, &ERRORS);
}

pub fn recovering_survives_a_kill_at_every_call() {
    sweep(Script::Recover, &["kill"]);
}

pub fn recovering_survives_every_call_failing() {
    sweep(Script::Recover, &ERRORS);
}

pub fn parking_survives_a_kill_at_every_call() {
    sweep(Script::Park, &["kill"]);
}

pub fn parking_survives_every_call_failing() {
    sweep(Script::Park, &ERRORS);
}

pub fn burying_survives_a_kill_at_every_call() {
    sweep(Script::Bury, &["kill"]);
}

pub fn burying_survives_every_call_failing() {
    sweep(Script::Bury, &ERRORS);
}

pub fn sending_letters_again_survives_a_kill_at_every_call() {
    sweep(Script::Replay, &["kill"]);
}

pub fn sending_letters_again_survives_every_call_failing() {
    sweep(Script::Replay, &ERRORS);
}

pub fn a_stream_that_moves_between_lanes_survives_a_kill_at_every_call() {
    sweep(Script::Relane, &["kill"]);
}

pub fn a_stream_that_moves_between_lanes_survives_every_call_failing() {
    sweep(Script::Relane, &ERRORS);
}

pub fn a_backlog_that_goes_to_another_destination_survives_a_kill_at_every_call() {
    sweep(Script::HandOver, &["kill"]);
}

pub fn a_backlog_that_goes_to_another_destination_survives_every_call_failing() {
    sweep(Script::HandOver, &ERRORS);
}

/// What a call may fail with, once.
const ERRORS: [&str; 2] = ["EIO", "ENOSPC"];
/// Kills of the slice at most, of each script.
const KILLS: usize = 80;
/// Failures of the slice at most, of each script; one of each kind of call first.
const FAILURES: usize = 10;
/// The same of scripts in which something leaves the lane, each of which takes longer.
const LEAVING: [usize; 2] = [12, 4];
/// The same of dead letters: on a loaded machine a blow there takes a quarter of a minute.
const BURYING: [usize; 2] = [6, 4];
/// How often a kind of call is tried again that chance has spared.
const AGAIN: usize = 3;

/// Strikes the script at one point after the other, with each of `blows` in the long version, with them in turn in
/// the slice.
fn sweep(script: Script, blows: &[&str]) {
    let template = scratch(&format!("template-{script:?}"));
    script.prepare(&template);
    let all = counted(script, &template, &spoolway());
    let slice = match script {
        Script::Bury => BURYING,
        _ if script.leaves_the_lane() => LEAVING,
        _ => [KILLS, FAILURES],
    };
    let points = chosen(&all, slice[usize::from(blows != ["kill"])]);
    let turns = if soak() { 1 } else { blows.len() };
    let mut hits = Vec::new();
    for (n, blow) in blows.iter().enumerate() {
        let mine = points.iter().skip(n).step_by(turns);
        // What a point was is said by the run itself: the order of calls of several threads is never quite the same.
        hits.extend(mine.filter_map(|point| reached(script, &template, *point, blow)));
    }
    // What chance has spared of the others is met by the long version.
    let again = spared(&all, &hits).into_iter().filter(|_| soak() || !script.leaves_the_lane());
    for point in again.flat_map(|kind| nth(&all, &kind)) {
        hits.extend(lossless(script, &template, point, blows[0]));
    }
    println!(
        "{script:?}, {}: {} struck, of {} points in one run; of each kind of call but {:?}; 0 lost",
        blows.join(" and "),
        hits.len(),
        all.len(),
        spared(&all, &hits),
    );
    let due = points.len() * blows.len() / turns;
    // Of a handful, one may have been passed by.
    let missed = due.saturating_sub(hits.len());
    assert!(missed <= 1 || missed * 10 <= due * 3, "only {} of {due} points were struck", hits.len());
}

/// Kinds of call that no blow has met.
fn spared(all: &[String], hits: &[String]) -> BTreeSet<String> {
    let met: BTreeSet<_> = hits.iter().map(|call| kind(call)).collect();
    all.iter().map(|call| kind(call)).filter(|kind| !met.contains(kind)).collect()
}

/// The first points of a kind.
fn nth(all: &[String], of: &str) -> Vec<usize> {
    (1..=all.len()).filter(|n| kind(&all[n - 1]) == of).take(AGAIN).collect()
}

/// Thread and call, without what it was made on.
fn kind(call: &str) -> String {
    call.rsplit_once(' ').map_or(call, |(kind, _)| kind).to_owned()
}

/// The calls of the script when nothing strikes.
fn counted(script: Script, template: &Path, program: &Command) -> Vec<String> {
    let scene = Scene::new(script, template);
    let log = scene.setup.dir.join("calls");
    let mut outside = Outside::default();
    let agent = scene.setup.spawn_by(traced(program, &log, &script.point(0), "kill", scope()));
    outside.add(scene.play(&agent, &log));
    kill(&agent);
    calls(&log)
}

/// Every call in the long version when `SPOOLWAY_SWEEP=all`, else those that change something.
fn scope() -> &'static str {
    if std::env::var("SPOOLWAY_SWEEP").is_ok_and(|v| v == "all") { "all" } else { "changes" }
}

/// All points, or the first of each kind and an even choice of the others.
fn chosen(all: &[String], slice: usize) -> Vec<usize> {
    let most = if soak() { usize::try_from(rounds(0, u64::MAX)).unwrap_or(usize::MAX) } else { slice };
    if all.len() <= most {
        return (1..=all.len()).collect();
    }
    let mut kinds = BTreeSet::new();
    let first: Vec<usize> = (1..=all.len()).filter(|n| kinds.insert(kind(&all[n - 1]))).collect();
    if first.len() > most {
        // Not the first of each for want of room: an even choice of those.
        return first.iter().copied().step_by(first.len().div_ceil(most)).collect();
    }
    let even = (0..most).map(|n| 1 + n * all.len() / most);
    let mut points: BTreeSet<usize> = first.into_iter().collect();
    let room = most.saturating_sub(points.len()).max(1);
    points.extend(even.step_by(most.div_ceil(room)));
    points.into_iter().collect()
}

/// [`lossless`], at an earlier call where the run ended before it came to this one: how many there are depends on how the threads
/// come in turn.
fn reached(script: Script, template: &Path, point: usize, blow: &str) -> Option<String> {
    let points =
        std::iter::successors(Some(point), |point| Some(point * 2 / 3).filter(|earlier| *earlier > 0));
    points.take(AGAIN).find_map(|point| lossless(script, template, point, blow))
}

/// [`at`] with the honest agent, which must lose nothing.
fn lossless(script: Script, template: &Path, point: usize, blow: &str) -> Option<String> {
    let (struck, finding) = at(script, template, point, blow, &spoolway());
    assert!(finding.is_lossless(), "{script:?}, {blow} at call {point} ({struck:?}): {finding}");
    struck
}

/// Plays the script with a blow at one point; then starts an honest agent on what is left, and compares. The call
/// that was struck, and what was found.
fn at(
    script: Script,
    template: &Path,
    point: usize,
    blow: &str,
    program: &Command,
) -> (Option<String>, Finding) {
    let mut scene = Scene::new(script, template);
    let log = scene.setup.dir.join("calls");
    let mut outside = scene.outside();
    let agent = scene.setup.spawn_by(traced(program, &log, &script.point(point), blow, scope()));
    outside.add(scene.play(&agent, &log));
    kill(&agent);
    drop(agent);
    let of = struck(&log).and_then(|call| call.split_once(' ').map(|(_, call)| call.to_owned()));
    if script.leaves_the_lane() {
        let finding = leaves(&mut scene, point, &mut outside);
        scene.remove();
        return (of, finding);
    }
    let agent = scene.setup.start();
    // A new event is taken, whatever was struck.
    let load = Load::http(Plan::new(scene.setup.http, STREAM, 90).limit(1));
    load.wait_accepted(1, SOON);
    outside.add(load.finish());
    if script == Script::Deliver {
        agent.wait_drained(None, SOON);
        // What a position claims wrongly is lost when its segment is deleted.
        scene.wait_tidied(&agent);
    }
    agent.kill();
    let finding = outside.look(&scene.setup.data_dir(), Some(&scene.site));
    scene.remove();
    (of, finding)
}

/// Compares what was struck as it lies there, then what an honest agent makes of it: nothing lost, and nothing twice.
fn leaves(scene: &mut Scene, point: usize, outside: &mut Outside) -> Finding {
    let data = scene.setup.data_dir();
    // What is being sent again is in no list of letters.
    if scene.script != Script::Replay {
        let finding = outside.look(&data, Some(&scene.site));
        if !finding.is_lossless() {
            return finding;
        }
    }
    scene.settle(point, outside);
    let mut finding = outside.look(&data, Some(&scene.site));
    let mut verdict = outside.verdict_with(&scene.site, Some(&data));
    if scene.script == Script::Replay {
        // Letters that are sent again are out of order as it is, and have none among themselves: after a kill what was in flight
        // keeps its partition, and the others choose anew.
        verdict.reordered = 0;
    }
    if !verdict.is_lossless() || verdict.doubled > 0 {
        finding.wrong += verdict.doubled + verdict.reordered;
        finding.lost = finding.lost.max(verdict.missing);
        finding.examples.push(format!("in the end {verdict}"));
    }
    finding
}

pub fn an_agent_that_counts_what_it_sends_as_delivered_is_caught() {
    let program = sabotaged("position-before-acknowledgement");
    let template = scratch("template-sabotaged");
    Script::Deliver.prepare(&template);
    let all = counted(Script::Deliver, &template, &program);
    // What waits for its acknowledgement is sent near the end.
    let caught = (1..=all.len()).rev().find(|point| {
        let (struck, finding) = at(Script::Deliver, &template, *point, "kill", &program);
        if finding.lost > 0 {
            println!("caught by a kill at call {point} ({struck:?}): {finding}");
        }
        finding.lost > 0
    });
    assert!(caught.is_some(), "not noticed at any of {} calls", all.len());
}

/// How far a call's number may be off, between one run of several threads and another on a loaded machine.
const OFF: usize = 8;

/// How often an agent is let be whose bug shows by itself, if one thread comes before another: of two that begin together either may.
const UNTOUCHED: usize = 12;

/// What an agent with a bug did at each call that `of` chooses, the last first, and then at those beside them, whose numbers these
/// calls may have in another run: the first that was noticed.
fn is_noticed(script: Script, bug: &str, of: impl Fn(&str) -> bool) {
    let program = sabotaged(bug);
    let template = scratch(&format!("template-{bug}"));
    script.prepare(&template);
    let all = counted(script, &template, &program);
    let chosen: Vec<usize> = (1..=all.len()).rev().filter(|n| of(&all[n - 1])).collect();
    let distance = |point: usize| chosen.iter().map(|n| n.abs_diff(point)).min().unwrap_or(usize::MAX);
    let mut points: Vec<usize> = (1..=all.len()).rev().filter(|n| distance(*n) <= OFF).collect();
    points.sort_by_key(|n| distance(*n));
    let untouched = if points.is_empty() { UNTOUCHED } else { 1 };
    let caught = std::iter::repeat_n(0, untouched).chain(points).find_map(|point| {
        let (struck, finding) = at(script, &template, point, "kill", &program);
        let told = if point == 0 {
            format!("untouched: {finding}")
        } else {
            format!("at call {point} ({struck:?}): {finding}")
        };
        if finding.is_lossless() {
            println!("{bug}: nothing {told}");
            return None;
        }
        Some(told)
    });
    println!("{bug}: caught {}", caught.as_deref().unwrap_or("nowhere"));
    assert!(caught.is_some(), "not noticed at any of {} calls", all.len());
}

pub fn parked_events_whose_file_has_its_name_too_early_are_noticed() {
    is_noticed(Script::Park, "parked-under-its-name", |call| call.ends_with(".parked"));
}

pub fn dead_letters_that_positions_know_before_the_disk_has_them_are_noticed() {
    is_noticed(Script::Bury, "position-before-letter", |call| {
        call.contains("pwrite64") && call.contains("letters")
    });
}

pub fn letters_that_are_forgotten_before_they_have_arrived_are_noticed() {
    is_noticed(Script::Replay, "letter-forgotten-early", |call| call.contains("journal"));
}

pub fn a_stream_whose_new_lane_does_not_wait_for_its_old_one_is_noticed() {
    is_noticed(Script::Relane, "moved-without-waiting", |_| false);
}

/// An error is told to the sender whose call failed, and the next one hears "accepted".
pub fn an_agent_that_accepts_what_it_cannot_write_is_caught() {
    let program = sabotaged("accepted-unwritten");
    let template = scratch("template-unwritten");
    Script::Append.prepare(&template);
    let all = counted(Script::Append, &template, &program);
    let written =
        (1..=all.len()).filter(|n| all[n - 1].contains("pwrite64") || all[n - 1].contains("fdatasync"));
    let caught = written.into_iter().find(|point| {
        let (struck, finding) = at(Script::Append, &template, *point, "EIO", &program);
        if finding.lost > 0 {
            println!("caught by EIO at call {point} ({struck:?}): {finding}");
        }
        finding.lost > 0
    });
    assert!(caught.is_some(), "not noticed at any of {} calls", all.len());
}
