//! SIGKILL at random moments under load. What was written is in the kernel's hands and stays; positions, deletions
//! and what was in flight are what can go wrong.

use crate::cycle::{LIVES, Lives, each_round, small_segments};
use crate::site::Site;
use crate::support::agent::{Setup, spoolway};
use crate::support::sabotaged::sabotaged;

const SLICE: u64 = 30;

pub fn kills_at_random_moments_lose_nothing() {
    let mut rounds = each_round(SLICE, 100_000).peekable();
    let (mut kills, mut accepted) = (0, 0);
    while rounds.peek().is_some() {
        let site = Site::start();
        let setup = site.of(small_segments(Setup::new("kills")), "");
        let mut lives = Lives::new("kills", &setup, &site);
        let mut last = 0;
        for round in rounds.by_ref().take(LIVES) {
            lives.live(spoolway());
            let finding = lives.outside.look(&setup.data_dir(), Some(&site));
            assert!(finding.is_lossless(), "after {round} kills: {finding}");
            (kills, last) = (round, finding.accepted);
        }
        accepted += last;
        lives.finish("kills");
        println!("kills: {kills} kills, {accepted} accepted, 0 lost");
    }
    assert!(accepted > 50 * kills, "too little load to prove anything: {accepted} events");
}

pub fn an_agent_that_counts_what_it_sends_as_delivered_is_caught() {
    let bug = "position-before-acknowledgement";
    let site = Site::start();
    let setup = site.of(small_segments(Setup::new(bug)), "");
    let mut lives = Lives::new(bug, &setup, &site);
    let caught = (1..=SLICE).find(|round| {
        lives.live_and_swallow(sabotaged(bug));
        let finding = lives.outside.look(&setup.data_dir(), Some(&site));
        if !finding.is_lossless() {
            println!("caught after {round} kills: {finding}");
        }
        !finding.is_lossless()
    });
    assert!(caught.is_some(), "{bug} was not noticed in {SLICE} kills");
}
