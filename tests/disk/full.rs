//! A file system without a byte, or without a file, to give: senders are refused, delivery goes on, what is delivered
//! is deleted, and with the room of that the agent takes events again. No restart, no help.

use std::time::Duration;

use crate::cycle::{each_round, small_segments};
use crate::outside::Outside;
use crate::says;
use crate::site::{STREAM, Site};
use crate::support::agent::{Agent, Setup, assert_accounts_balance};
use crate::support::http;
use crate::support::ledger::Told;
use crate::support::load::{Load, Plan};
use crate::support::sabotaged::sabotaged;
use crate::volume::{BTRFS, EXT4, FEW_FILES, Format, QUOTA, Volume, XFS};

const SOON: Duration = Duration::from_secs(30);
const SLICE: u64 = 3;
const LONG: u64 = 200;

pub fn ext4_filled_to_the_last_byte_drains_and_accepts_again_by_itself() {
    fill_and_drain("full-ext4", EXT4, last_byte);
}

pub fn xfs_filled_to_the_last_byte_drains_and_accepts_again_by_itself() {
    fill_and_drain("full-xfs", XFS, last_byte);
}

pub fn a_file_system_without_inodes_drains_and_accepts_again_by_itself() {
    fill_and_drain("full-inodes", FEW_FILES, last_file);
}

pub fn btrfs_filled_to_the_last_byte_drains_and_accepts_again_by_itself() {
    fill_and_drain("full-btrfs", BTRFS, last_byte);
}

/// Found with it: where nothing is written over in place, positions could not be saved, and nothing was deleted.
pub fn a_quota_that_is_used_up_drains_and_accepts_again_by_itself() {
    fill_and_drain("full-quota", QUOTA, last_byte);
}

/// How a test fills what is left, and the word by which the agent has to call it.
fn last_byte(volume: &Volume) -> &'static str {
    volume.fill(0);
    "full"
}

fn last_file(volume: &Volume) -> &'static str {
    let made = volume.fill_with_files();
    assert!(made > 0, "there were no inodes left to take");
    "full"
}

/// Room that the spool finds at the start of each cycle.
const ROOM: u64 = 24 << 20;

fn fill_and_drain(name: &str, format: Format, fill: fn(&Volume) -> &'static str) {
    let site = Site::start();
    let setup = small_segments(Setup::new(name)).spool("max_size = \"1GiB\"\nwhen_full = \"reject\"");
    let setup = site.of(setup, "");
    let volume = Volume::new(format, &setup.data_dir());
    let agent = setup.start();
    let mut outside = Outside::default();
    let mut rounds = 0;
    for round in each_round(SLICE, LONG) {
        site.stall();
        volume.fill(ROOM);
        let load = backlog(&setup, u32::try_from(round).expect("few") * 2 + 1);
        let trouble = says::lines_of_trouble(&agent);
        let word = fill(&volume);
        let before = site.records();
        load.wait_refused(1, SOON);
        says::not_accepting(&agent, word);
        let book = load.stop();
        assert!(book.count(Told::Accepted) > 0);
        outside.add(book);
        refused(&setup, &agent, trouble);
        site.resume();
        // Nothing but what the agent deletes makes room now.
        agent.wait_ready("/readyz?for=accept", SOON);
        assert_eq!(says::metric(&agent, "spoolway_spool_full"), 0.0);
        assert!(site.records() > before, "it accepts again before anything was delivered");
        let after = Plan::new(setup.http, STREAM, u32::try_from(round).expect("few") * 2 + 2).limit(200);
        outside.add(Load::http(after).finish());
        let status = agent.wait_drained(None, SOON);
        assert_accounts_balance(&status);
        says::assert_trouble_said(&agent, trouble + 1);
        volume.empty();
        volume.remove_files(64);
        rounds = round;
    }
    agent.stop();
    let verdict = outside.verdict(&site);
    println!("{name}: {rounds} times full and empty again without a restart, {verdict}");
    verdict.assert_exact();
}

/// Small files beside the log that can't be made again while the disk is full: everything an agent needs to start, and thereby to
/// make room.
const BESIDE: [&str; 5] =
    ["readers/main/home", "readers/main/gone", "routes", "lanes/main/floor", "dead-letters/marks"];

/// Found by reading: it did not start; and once it did, a destination that is not configured any more and had lost its positions was
/// taken for one that somebody had told it to forget, since its file could not be made either.
pub fn on_a_full_disk_an_agent_without_its_small_files_starts_and_keeps_what_a_destination_that_is_gone_needs()
 {
    let (home, gone) = (Site::start(), Site::start());
    let both = |setup: Setup| {
        let setup = gone.named("gone", home.of(small_segments(setup), ""), "");
        setup.route(STREAM, "home", STREAM).route(STREAM, "gone", STREAM)
    };
    let setup = both(Setup::new("full-beside"));
    let volume = Volume::new(EXT4, &setup.data_dir());
    gone.cut();
    let agent = setup.start();
    let mut outside = Outside::default();
    outside.add(
        Load::http(Plan { size: 20_000, ..Plan::new(setup.http, STREAM, 1).batch(8).limit(400) }).finish(),
    );
    agent.wait_drained(Some("home"), SOON);
    agent.stop();
    BESIDE.iter().for_each(|name| std::fs::remove_file(setup.data_dir().join(name)).expect("it was there"));
    volume.fill(0);
    let alone = home.of(small_segments(setup.anew()), "").route(STREAM, "home", STREAM);
    let agent = alone.spawn();
    says::not_accepting(&agent, "full");
    // Nobody knows what has arrived: all of it is sent again.
    agent.wait_status("all has arrived once more", SOON, |_| home.records() >= 800);
    // It looks every second whether somebody has been told to be forgotten.
    let status = agent.wait_status("it has looked", SOON, |s| s["uptime_seconds"].as_u64() >= Some(3));
    assert_eq!(status["lanes"][0]["first_seq"], 1, "{status}; {}", agent.process.output().tail());
    assert_eq!(agent.process.output().count("it is forgotten"), 0);
    agent.stop();
    volume.empty();
    gone.restore();
    let setup = both(setup.anew());
    let agent = setup.start();
    agent.wait_drained(None, SOON);
    agent.stop();
    outside.verdict(&gone).assert_exact();
}

/// A generator that has left some segments on disk which wait for the destination. Slow enough (8 MB/s) that it does not fill
/// the room by itself: a lane that runs full bit by bit says so each time a closed segment gives back what it had reserved.
fn backlog(setup: &Setup, generator: u32) -> Load {
    let plan = Plan::new(setup.http, STREAM, generator).batch(8).rate(400);
    let load = Load::http(Plan { size: 20_000, ..plan });
    load.wait_accepted(300, SOON);
    load
}

/// A full agent says so everywhere, and once.
fn refused(setup: &Setup, agent: &Agent<'_>, lines_before: usize) {
    let answer =
        http::post(setup.http, "/v1/events/events", "", b"{\"refused\":true}").expect("a complete answer");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    assert_eq!(says::metric(agent, "spoolway_spool_full"), 1.0);
    assert_eq!(agent.status()["lanes"][0]["full"], true);
    says::assert_trouble_said(agent, lines_before + 1);
}

pub fn on_a_full_ext4_an_agent_that_accepts_what_it_cannot_write_is_caught() {
    accepted_unwritten_is_caught("full-ext4-sabotaged", EXT4);
}

pub fn on_a_full_xfs_an_agent_that_accepts_what_it_cannot_write_is_caught() {
    accepted_unwritten_is_caught("full-xfs-sabotaged", XFS);
}

/// It answers "accepted" while it says that it is full.
fn accepted_unwritten_is_caught(name: &str, format: Format) {
    let site = Site::start();
    let setup = small_segments(Setup::new(name)).spool("max_size = \"1GiB\"\nwhen_full = \"reject\"");
    let setup = site.of(setup, "");
    let volume = Volume::new(format, &setup.data_dir());
    let agent = setup.spawn_by(sabotaged("accepted-unwritten"));
    agent.wait_ready("/readyz?for=accept", SOON);
    site.stall();
    volume.fill(ROOM);
    let load = backlog(&setup, 1);
    let word = last_byte(&volume);
    says::not_accepting(&agent, word);
    load.wait_accepted(load.accepted() + 100, SOON);
    let mut outside = Outside::default();
    outside.add(load.stop());
    site.resume();
    agent.wait_drained(None, SOON);
    agent.stop();
    let finding = outside.look(volume.point(), Some(&site));
    println!("{name}: caught: {finding}");
    assert!(finding.lost > 0, "accepted-unwritten was not noticed: {finding}");
}
