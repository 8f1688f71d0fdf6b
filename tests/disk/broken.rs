//! A disk that turns read-only or answers every write with an error under a running agent.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cycle::small_segments;
use crate::outside::{Finding, Outside};
use crate::says;
use crate::site::{STREAM, Site};
use crate::support::agent::{Agent, Setup, spoolway};
use crate::support::load::{Load, Plan};
use crate::support::sabotaged::sabotaged;
use crate::volume::{EXT4, Volume};

const SOON: Duration = Duration::from_secs(30);

/// ext4 after an error of the device under its journal: EIO, then EROFS, until it is mounted anew.
pub fn on_a_file_system_that_aborts_what_is_durable_is_delivered_and_nothing_is_lost() {
    let site = Site::start();
    let setup = site.of(small_segments(Setup::new("abort")), "");
    let volume = Volume::new(EXT4, &setup.data_dir());
    let (mut outside, finding) = aborted(&site, &setup, &volume, spoolway(), |agent, load| {
        let accepted = load.accepted();
        site.resume();
        delivered(&site, accepted, agent);
    });
    assert!(finding.is_lossless(), "{finding}");
    let agent = setup.start();
    outside.add(Load::http(Plan::new(setup.http, STREAM, 2).limit(100)).finish());
    agent.wait_drained(None, SOON);
    agent.stop();
    let verdict = outside.verdict(&site);
    println!("abort: {verdict}");
    assert!(verdict.is_lossless(), "{verdict}");
}

pub fn on_a_file_system_that_aborts_an_agent_that_accepts_what_it_cannot_write_is_caught() {
    let site = Site::start();
    let setup = site.of(small_segments(Setup::new("abort-sabotaged")), "");
    let volume = Volume::new(EXT4, &setup.data_dir());
    let (_, finding) = aborted(&site, &setup, &volume, sabotaged(BUG), more_is_accepted);
    caught(&finding);
}

/// A life of `program` in which the file system aborts; what is left after the next mount.
fn aborted(
    site: &Site,
    setup: &Setup,
    volume: &Volume,
    program: Command,
    meanwhile: impl Fn(&Agent<'_>, &Load),
) -> (Outside, Finding) {
    let mut outside = Outside::default();
    site.stall();
    let agent = setup.spawn_by(program);
    agent.wait_ready("/readyz?for=accept", SOON);
    let load = loaded(setup, 1);
    assert!(volume.remount_as("abort"), "the kernel does not abort it");
    said(&agent, "file system");
    meanwhile(&agent, &load);
    outside.add(load.stop());
    agent.kill();
    volume.remount();
    let finding = outside.look(volume.point(), Some(site));
    (outside, finding)
}

/// The kernel turns no mount read-only on which files are open for writing, so the directory gets a read-only
/// mount of itself on top: what is open goes on, and nothing can be made or deleted.
pub fn a_directory_that_turns_read_only_is_waited_for_and_delivered_from_meanwhile() {
    let site = Site::start();
    let setup = site.of(small_segments(Setup::new("read-only")), "");
    let mut outside = Outside::default();
    site.stall();
    let agent = setup.start();
    let load = loaded(&setup, 1);
    let lid = Lid::on(&setup);
    said(&agent, "Read-only");
    let accepted = load.accepted();
    site.resume();
    delivered(&site, accepted, &agent);
    drop(lid);
    agent.wait_ready("/readyz?for=accept", SOON);
    load.wait_accepted(accepted + 300, SOON);
    outside.add(load.stop());
    agent.wait_drained(None, SOON);
    agent.wait_status("delivered segments are still there", SOON, |status| {
        status["lanes"][0]["segments"].as_u64().is_some_and(|n| n <= 2)
    });
    agent.stop();
    let verdict = outside.verdict(&site);
    println!("read-only: {verdict}");
    verdict.assert_exact();
}

pub fn in_a_directory_that_turns_read_only_an_agent_that_accepts_what_it_cannot_write_is_caught() {
    let site = Site::start();
    let setup = site.of(small_segments(Setup::new("read-only-sabotaged")), "");
    let agent = setup.spawn_by(sabotaged(BUG));
    agent.wait_ready("/readyz?for=accept", SOON);
    let load = loaded(&setup, 1);
    let lid = Lid::on(&setup);
    said(&agent, "Read-only");
    more_is_accepted(&agent, &load);
    let mut outside = Outside::default();
    outside.add(load.stop());
    drop(lid);
    agent.wait_drained(None, SOON);
    agent.stop();
    caught(&outside.look(&setup.data_dir(), Some(&site)));
}

const BUG: &str = "accepted-unwritten";

/// What it does and must not: it answers while it says that it takes nothing.
fn more_is_accepted(_: &Agent<'_>, load: &Load) {
    load.wait_accepted(load.accepted() + 100, SOON);
}

fn caught(finding: &Finding) {
    println!("caught: {finding}");
    assert!(finding.lost > 0, "{BUG} was not noticed: {finding}");
}

/// A generator at work, with some segments on disk already.
fn loaded(setup: &Setup, generator: u32) -> Load {
    let plan = Plan::new(setup.http, STREAM, generator).batch(8);
    let load = Load::http(Plan { size: 20_000, ..plan });
    load.wait_accepted(200, SOON);
    load
}

/// The fault is told in `/readyz`, in the metrics and, once, in the log.
fn said(agent: &Agent<'_>, word: &str) {
    says::not_accepting(agent, word);
    assert_eq!(says::metric(agent, "spoolway_spool_failing"), 1.0);
    says::assert_trouble_said(agent, 1);
}

/// What was accepted comes to the topic though the disk takes no write.
fn delivered(site: &Site, accepted: u64, agent: &Agent<'_>) {
    let deadline = Instant::now() + SOON;
    while site.records() < accepted {
        let tail = agent.process.output().tail();
        assert!(Instant::now() < deadline, "{} of {accepted} delivered; {tail}", site.records());
        std::thread::sleep(Duration::from_millis(20)); // the target counts in another thread
    }
}

/// A read-only mount on top of a data directory; gone when dropped.
///
/// It is made read-only at another place, where nobody writes, and then put on top: a mount under which the agent has
/// just opened a file for writing would refuse.
struct Lid<'a>(&'a Setup);

impl<'a> Lid<'a> {
    fn on(setup: &'a Setup) -> Self {
        let (data, aside) = (setup.data_dir(), setup.dir.join("aside"));
        std::fs::create_dir_all(&aside).expect("a directory");
        let lid = Self(setup);
        mount(&["--bind"], &[&data, &aside]);
        mount(&["-o", "remount,bind,ro"], &[&aside]);
        mount(&["--bind"], &[&aside, &data]);
        lid
    }
}

fn mount(arguments: &[&str], paths: &[&Path]) {
    let status = Command::new("mount").args(arguments).args(paths).status().expect("mount can be run");
    assert!(status.success(), "mount {arguments:?} {paths:?}: {status}");
}

impl Drop for Lid<'_> {
    fn drop(&mut self) {
        for place in [self.0.data_dir(), self.0.dir.join("aside")] {
            let _ = Command::new("umount").arg("-l").arg(place).status();
        }
    }
}
