//! One life of the agent: started, loaded, killed; and how long a test may go on with that.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::outside::Outside;
use crate::site::{STREAM, Site};
use crate::support::agent::Setup;
use crate::support::load::{Load, Plan};
use crate::support::random::Random;

/// Whether this is the long version (`SPOOLWAY_SOAK=1`).
pub fn soak() -> bool {
    std::env::var("SPOOLWAY_SOAK").is_ok_and(|v| v == "1")
}

/// How many rounds: `slice`, or in the long version what `SPOOLWAY_CYCLES` says, or `long`.
pub fn rounds(slice: u64, long: u64) -> u64 {
    if !soak() {
        return slice;
    }
    std::env::var("SPOOLWAY_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(long)
}

/// Numbers of rounds from 1 on, as many as [`rounds`] says; in the long version no new one begins once
/// `SPOOLWAY_SECONDS` are over.
pub fn each_round(slice: u64, long: u64) -> impl Iterator<Item = u64> {
    let seconds = std::env::var("SPOOLWAY_SECONDS").ok().and_then(|n| n.parse().ok()).filter(|_| soak());
    let (start, most) = (Instant::now(), seconds.map_or(Duration::MAX, Duration::from_secs));
    (1..=rounds(slice, long)).take_while(move |_| start.elapsed() < most)
}

/// Small segments, so that there is much to rotate and delete.
pub fn small_segments(setup: Setup) -> Setup {
    setup.without_tcp().spool("segment_size = \"1MiB\"\nmax_event_size = \"256KiB\"\ncompression = \"none\"")
}

/// How many lives share a data directory; then another begins, so that looking at all of it stays quick.
pub const LIVES: usize = 30;

/// What becomes of the destination in one life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Up,
    Down,
    /// Cut in the middle of what is being sent.
    Cut,
}

/// Lives in turn, with the ledger of all.
pub struct Lives<'a> {
    pub setup: &'a Setup,
    pub site: &'a Site,
    pub outside: Outside,
    pub random: Random,
    generators: u32,
    lives: u32,
    down: bool,
}

impl<'a> Lives<'a> {
    pub fn new(name: &str, setup: &'a Setup, site: &'a Site) -> Self {
        let (outside, random) = (Outside::default(), Random::new(name));
        Self { setup, site, outside, random, generators: 0, lives: 0, down: false }
    }

    /// As [`Lives::live`], and what is being sent at the end vanishes on the way.
    pub fn live_and_swallow(&mut self, program: Command) {
        self.lives = self.lives / 3 * 3 + 2;
        self.live(program);
    }

    /// Starts `program`, loads it for a random while, and kills it. Senders wait for no sync but their own:
    /// at the kill, some writes are not synced.
    pub fn live(&mut self, program: Command) {
        let link = [Link::Up, Link::Down, Link::Cut][self.lives as usize % 3];
        self.lives += 1;
        self.link(link == Link::Down);
        let agent = self.setup.spawn_by(program);
        agent.wait_ready("/readyz?for=accept", Duration::from_secs(20));
        let loads = [(40, 200), (40, 200), (8, 20_000)].map(|(batch, size)| {
            self.generators += 1;
            let plan = Plan::new(self.setup.http, STREAM, self.generators).batch(batch);
            Load::http(Plan { size, ..plan })
        });
        std::thread::sleep(self.random.millis(10..400)); // the random moment is what is tested
        if link == Link::Cut {
            self.site.swallow();
            self.down = true;
        }
        agent.kill();
        loads.into_iter().for_each(|load| self.outside.add(load.stop()));
    }

    fn link(&mut self, down: bool) {
        if std::mem::replace(&mut self.down, down) != down {
            if down { self.site.cut() } else { self.site.restore() }
        }
    }

    /// The faults have ended: an honest agent delivers everything and takes more.
    pub fn finish(mut self, name: &str) {
        self.link(false);
        let agent = self.setup.start();
        let load = Load::http(Plan::new(self.setup.http, STREAM, 0).limit(100));
        self.outside.add(load.finish());
        agent.wait_drained(None, Duration::from_secs(60));
        agent.stop();
        let verdict = self.outside.verdict(self.site);
        println!("{name}: in the end {verdict}");
        assert!(verdict.is_lossless(), "{verdict}");
    }
}
