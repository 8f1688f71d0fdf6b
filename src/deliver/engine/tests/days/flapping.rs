//! Twenty-four days in which nothing stays up for long; four of them with every push.

use std::time::Duration;

use tokio::time::Instant;

use super::super::super::splitmix;
use super::{HOUR, Site};
use crate::kafka::clock::unix_now;

const DAY: Duration = Duration::from_hours(24);
/// Each outage has everything delivered within this, once it is over: the longest backoff, and reading back.
const RETURN: Duration = Duration::from_secs(40);
/// What the topic keeps; an event may keep its time for half of it, a window for half as long again.
const RETENTION: i64 = 4 * HOUR;

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Nothing listens.
    Cut,
    /// Everything is taken and nothing answered.
    Hung,
    /// Answers come late.
    Slow,
    /// The brokers die and start again, and know the last batch of each producer only.
    Dead,
    /// The partition has no leader.
    Leaderless,
    /// Connections are closed, again and again.
    Flapping,
    /// Requests are worked on, and answers lost.
    Unanswered,
}

const FAULTS: [Fault; 7] = [
    Fault::Cut,
    Fault::Hung,
    Fault::Slow,
    Fault::Dead,
    Fault::Leaderless,
    Fault::Flapping,
    Fault::Unanswered,
];

struct Story {
    site: Site,
    random: u64,
    worst: Duration,
    episodes: u32,
}

impl Story {
    fn random(&mut self, below: u64) -> u64 {
        splitmix(&mut self.random) % below
    }

    /// Mostly short, sometimes hours. A link that is alive is talked to all the time, so what leaves it alive is shorter.
    fn duration(&mut self, alive: bool) -> Duration {
        let longest = [20, 300, 3_000, 40_000];
        let choices = if alive { 3 } else { 4 };
        let longest = longest[self.random(choices) as usize];
        Duration::from_secs(5 + self.random(longest))
    }

    /// Time passes while events come.
    async fn live(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let steps = 1 + self.random(6) as u32;
        while Instant::now() < end {
            let count = 1 + self.random(40) as u8;
            self.site.accept(count);
            let left = end.saturating_duration_since(Instant::now());
            self.site.pass(left.min(time / steps)).await;
        }
    }

    async fn begin(&mut self, fault: Fault) {
        let faults = self.site.target.faults().clone();
        match fault {
            Fault::Cut => faults.cut().await,
            Fault::Hung => faults.stall(),
            Fault::Slow => faults.delay_answers(Duration::from_millis(200 + self.random(8_000))),
            Fault::Dead => self.site.target.kill().await,
            Fault::Leaderless => faults.move_leader("t", 0, None).unwrap(),
            Fault::Flapping => faults.drop_connections(),
            Fault::Unanswered => faults.lose_answers(u32::MAX),
        }
    }

    async fn end(&mut self, fault: Fault) {
        let faults = self.site.target.faults().clone();
        match fault {
            Fault::Cut => faults.restore().await.unwrap(),
            Fault::Hung => faults.resume(),
            Fault::Slow => faults.delay_answers(Duration::ZERO),
            Fault::Dead => drop(self.site.target.start_again().await.unwrap()),
            Fault::Leaderless => faults.move_leader("t", 0, Some(0)).unwrap(),
            Fault::Flapping => {}
            Fault::Unanswered => faults.lose_answers(0),
        }
    }

    async fn episode(&mut self) {
        let up = self.duration(true) / 2;
        self.live(up).await;
        let requests = self.site.target.counts().borrow().requests;
        let began = Instant::now();
        let fault = FAULTS[self.random(FAULTS.len() as u64) as usize];
        let down = self.duration(!matches!(fault, Fault::Cut | Fault::Hung | Fault::Dead));
        self.begin(fault).await;
        // A process that dies in the middle of it finds the same when it begins again.
        let parts = 1 + self.random(3) as u32;
        for part in 0..parts {
            if part > 0 && self.random(2) == 0 {
                self.site.kill();
                self.site.begin();
            }
            if matches!(fault, Fault::Flapping) {
                self.site.target.faults().drop_connections();
            }
            self.live(down / parts).await;
        }
        if down > Duration::from_hours(2) && self.random(3) == 0 {
            self.site.target.faults().clear_producer_state();
        }
        let ends = self.ends();
        self.end(fault).await;
        let what = format!("episode {}: {fault:?} for {down:?}", self.episodes);
        let took = self.site.drain(RETURN, &what).await;
        self.worst = self.worst.max(took);
        if !matches!(fault, Fault::Hung) {
            self.check_stamps(&ends, &what);
        }
        let requests = self.site.target.counts().borrow().requests - requests;
        let most = 300 + 4 * began.elapsed().as_secs();
        assert!(requests <= most, "{what}: {requests} requests, {most} at most");
        self.episodes += 1;
    }

    fn ends(&self) -> Vec<i64> {
        (0..2).map(|partition| self.site.target.end_offset("t", partition).unwrap()).collect()
    }

    /// Nothing that came after the outage is about to expire. What a hung broker had in its hands comes as it was sent.
    fn check_stamps(&self, before: &[i64], what: &str) {
        let oldest = unix_now() - RETENTION * 3 / 4 - 60_000;
        for (partition, from) in (0..).zip(before) {
            for time in self.site.target.times_from("t", partition, *from) {
                assert!(time >= oldest, "{what}: a batch came with a stamp of {time}, {oldest} is old");
            }
        }
    }
}

async fn play(days: u32, cuts_anew: bool) -> Story {
    let mut site = Site::new(2).await;
    site.target.configure("t", "retention.ms", &RETENTION.to_string());
    site.cuts_anew = cuts_anew;
    site.begin();
    let mut story = Story { site, random: 24, worst: Duration::ZERO, episodes: 0 };
    let began = Instant::now();
    while began.elapsed() < days * DAY {
        story.episode().await;
    }
    story
}

#[tokio::test(start_paused = true)]
async fn days_of_flapping_lose_nothing_double_nothing_and_end_each_outage_within_seconds() {
    // All of them take a minute or more where nothing is optimised.
    let days = if std::env::var_os("SPOOLWAY_SOAK").is_some() { 24 } else { 4 };
    let real = std::time::Instant::now();
    let story = play(days, false).await;
    story.site.check("after days");
    let (site, counts) = (&story.site, *story.site.target.counts().borrow());
    println!(
        "{days} days in {:?}: {} outages, {} processes, {} events, {:?}; the slowest return took {:?}; {counts:?}",
        real.elapsed(),
        story.episodes,
        site.lives,
        site.log.end().0 - 1,
        site.told,
        story.worst,
    );
    assert!(story.episodes > 10 * days / 4 && site.lives > 5 && site.told.restamped > 0);
}

#[tokio::test(start_paused = true)]
async fn windows_cut_anew_are_found_doubled_within_days() {
    // The control: the same story with a mistake that it must see.
    let story = play(4, true).await;
    assert!(story.site.doubled() > 0, "{} processes died, and nothing was in doubt", story.site.lives);
}
