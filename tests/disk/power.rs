//! Power cuts on real file systems: the agent is killed, then the file system stops without writing what it
//! holds back. Every event that was accepted is in the spool or in the topic.

use std::process::Command;

use crate::cycle::{LIVES, Lives, each_round, small_segments};
use crate::site::Site;
use crate::support::agent::{Setup, spoolway};
use crate::support::sabotaged::sabotaged;
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
    rounds: impl Iterator<Item = u64>,
    until_lost: bool,
    program: impl Fn() -> Command,
) -> Cuts {
    let mut cuts = Cuts::default();
    for _ in rounds {
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
    let mut rounds = each_round(SLICE, LONG).peekable();
    let (mut total, mut accepted) = (Cuts::default(), 0);
    while rounds.peek().is_some() {
        let site = Site::start();
        let setup = site.of(small_segments(Setup::new(name)), "");
        let volume = Volume::new(format, &setup.data_dir());
        let mut lives = Lives::new(name, &setup, &site);
        let cuts = cut(&mut lives, &volume, rounds.by_ref().take(LIVES), false, spoolway);
        accepted += lives.outside.look(volume.point(), Some(&site)).accepted;
        lives.finish(name);
        total = Cuts { cuts: total.cuts + cuts.cuts, sharp: total.sharp + cuts.sharp, lossy: 0 };
        println!(
            "{name}: {} power cuts, {} of them sharp, {accepted} accepted, 0 lost",
            total.cuts, total.sharp
        );
    }
    assert!(total.sharp * 10 >= total.cuts * 9, "only {} cuts took unsynced bytes with them", total.sharp);
    assert!(accepted > 50 * total.cuts, "too little load to prove anything: {accepted} events");
}

fn caught(name: &str, format: Format, bug: &str) {
    let site = Site::start();
    let setup = site.of(small_segments(Setup::new(bug)), "");
    let volume = Volume::new(format, &setup.data_dir());
    let mut lives = Lives::new(bug, &setup, &site);
    let cuts = cut(&mut lives, &volume, 1..=SLICE, true, || sabotaged(bug));
    assert_eq!(cuts.lossy, 1, "{name}: {bug} was not noticed in {SLICE} power cuts");
}
