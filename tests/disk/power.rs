//! Power cuts on real file systems: the agent is killed, then the file system stops without writing what it
//! holds back. Every event that was accepted is in the spool or in the topic.

use std::process::Command;

use crate::cycle::{Lives, rounds, small_segments};
use crate::sabotaged::sabotaged;
use crate::site::Site;
use crate::support::agent::{Setup, spoolway};
use crate::volume::{EXT4, Format, Volume, XFS};

const SLICE: u64 = 20;
const LONG: u64 = 25_000;

pub fn power_cuts_on_ext4_lose_nothing() {
    lossless("ext4", EXT4);
}

pub fn power_cuts_on_xfs_lose_nothing() {
    lossless("xfs", XFS);
}

pub fn on_ext4_an_agent_that_answers_before_the_sync_is_caught() {
    caught("ext4", EXT4, "answer-before-sync");
}

pub fn on_xfs_an_agent_that_answers_before_the_sync_is_caught() {
    caught("xfs", XFS, "answer-before-sync");
}

/// What some power cuts did.
#[derive(Debug, Default)]
struct Cuts {
    cuts: u64,
    /// Those that took something unsynced with them, so that they prove something.
    sharp: u64,
    /// Those after which something was lost.
    lossy: u64,
}

/// So many lives, each ended by a power cut. Stops at a loss if `until_lost`; else a loss is a failure.
fn cut(
    lives: &mut Lives<'_>,
    volume: &Volume,
    rounds: u64,
    until_lost: bool,
    program: impl Fn() -> Command,
) -> Cuts {
    let mut cuts = Cuts::default();
    for _ in 0..rounds {
        lives.live(program());
        cuts.sharp += u64::from(volume.cut_power());
        cuts.cuts += 1;
        let finding = lives.outside.look(volume.point(), Some(lives.site));
        if !finding.is_lossless() {
            assert!(until_lost, "after {} cuts: {finding}", cuts.cuts);
            println!("caught after {} cuts: {finding}", cuts.cuts);
            cuts.lossy += 1;
            break;
        }
    }
    cuts
}

fn lossless(name: &str, format: Format) {
    let site = Site::start();
    let setup = site.of(small_segments(Setup::new(name)), "");
    let volume = Volume::new(format, &setup.data_dir());
    let mut lives = Lives::new(name, &setup, &site);
    let rounds = rounds(SLICE, LONG);
    let cuts = cut(&mut lives, &volume, rounds, false, spoolway);
    let finding = lives.outside.look(volume.point(), Some(&site));
    println!("{name}: {} power cuts, {} of them sharp, {finding}", cuts.cuts, cuts.sharp);
    assert!(cuts.sharp * 10 >= rounds * 9, "only {} cuts took unsynced bytes with them", cuts.sharp);
    assert!(finding.accepted > 50 * rounds, "too little load to prove anything: {finding}");
    lives.finish(name);
}

fn caught(name: &str, format: Format, bug: &str) {
    let site = Site::start();
    let setup = site.of(small_segments(Setup::new(bug)), "");
    let volume = Volume::new(format, &setup.data_dir());
    let mut lives = Lives::new(bug, &setup, &site);
    let cuts = cut(&mut lives, &volume, SLICE, true, || sabotaged(bug));
    assert_eq!(cuts.lossy, 1, "{name}: {bug} was not noticed in {SLICE} power cuts");
}
