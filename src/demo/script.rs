//! The faults, in the same order for the agent and for the control.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::DemoError;
use super::agent::{self, Agent, Kind};
use super::ledger::Ledger;
use super::proof::Sums;
use super::senders::{Progress, Senders};
use super::site::Site;
use super::story::Story;
use super::workspace::Workspace;

/// How long an agent may take to accept its first event, and to end.
const START: Duration = Duration::from_secs(15);
const STOP: Duration = Duration::from_secs(10);
/// How long what is left may take to be delivered.
const DRAIN: Duration = Duration::from_secs(60);
/// Between two looks at a number that can't be waited for.
const LOOK: Duration = Duration::from_millis(5);
/// The control says of nothing whether it is delivered: it has ended when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(1200);

/// What one run of the script found.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Run {
    /// The proof's sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// Events whose requests broke off when the agent was killed.
    pub unanswered: u64,
    /// Most events accepted and not yet delivered, as `/status` said; 0 for the control, which has no spool.
    pub peak_backlog: u64,
    /// From SIGKILL to the first event that the agent acknowledged again.
    pub accepts_again_ms: u64,
    /// Events a second from the first that came after the target's return until nothing was left; 0
    /// for the control, which can't say when that is.
    pub drain_rate: u64,
    /// Whether everything was delivered by its own account before the topic was read.
    pub drained: bool,
    /// Whether the agent ended well within 10 s of SIGTERM; false for the control, which has no orderly stop.
    pub stopped: bool,
}

/// How long each part takes.
struct Pace {
    steady: Duration,
    cut: Duration,
    dead: Duration,
}

impl Pace {
    fn of(kind: Kind) -> Self {
        let ms = Duration::from_millis;
        match kind {
            Kind::Honest => Self { steady: ms(1000), cut: ms(2000), dead: ms(2500) },
            Kind::Sabotaged => Self { steady: ms(500), cut: ms(1000), dead: ms(500) },
        }
    }
}

/// Runs the whole script with one agent at one site.
pub(super) async fn run(
    kind: Kind,
    site: &Site,
    workspace: &Workspace,
    story: &mut Story<'_>,
) -> Result<Run, DemoError> {
    let folder = workspace.folder(if kind == Kind::Honest { "agent" } else { "control" })?;
    let ledger = Arc::new(Ledger::start(folder.join("ledger"))?);
    let agent = Agent::new(kind, folder, site)?;
    let watcher = Watcher::start(agent.admin());
    let mut script = Script { kind, site, agent, ledger, watcher, story };
    let senders = script.begin().await?;
    script.faults(senders).await
}

struct Script<'a, 's> {
    kind: Kind,
    site: &'a Site,
    agent: Agent,
    ledger: Arc<Ledger>,
    watcher: Watcher,
    story: &'a mut Story<'s>,
}

impl Script<'_, '_> {
    async fn begin(&mut self) -> Result<Senders, DemoError> {
        let at = Instant::now();
        self.agent.start()?;
        let senders = Senders::start(self.agent.http(), &self.ledger);
        let accepts = self.accepting(&senders, at).await?;
        self.story.tell(&format!(
            "agent started (process {}), its first event accepted after {} ms",
            self.agent.pid(),
            accepts.as_millis()
        ));
        Ok(senders)
    }

    /// How long after `since` the agent acknowledged an event.
    async fn accepting(&self, senders: &Senders, since: Instant) -> Result<Duration, DemoError> {
        let accepted = senders.accepts_after(since, START).await;
        accepted.map(|at| at - since).ok_or_else(|| DemoError::Agent {
            what: "the agent accepted no event",
            seconds: START.as_secs(),
            log: self.agent.log(),
        })
    }

    async fn faults(mut self, senders: Senders) -> Result<Run, DemoError> {
        let pace = Pace::of(self.kind);
        sleep(pace.steady).await;
        self.tell_sums("link cut", &senders.progress());
        self.site.cut().await;
        sleep(pace.cut).await;
        let again = self.kill_in_flight(&senders).await?;
        sleep(pace.steady).await;
        self.break_target(&senders).await;
        sleep(pace.dead).await;
        let progress = senders.stop().await.map_err(DemoError::process("writing to the ledger"))?;
        if self.kind == Kind::Honest {
            self.watcher.look_again().await;
        }
        self.tell_sums("senders stopped", &progress);
        let before = self.mend_target().await?;
        let drained = self.drain(before).await?;
        self.finish(progress, again, drained).await
    }

    /// Restores the link, waits until something is appended and not answered, and kills the agent then.
    async fn kill_in_flight(&mut self, senders: &Senders) -> Result<Duration, DemoError> {
        self.tell_sums("link restored", &senders.progress());
        self.site.restore().await?;
        self.site.hold_until_in_flight().await;
        let killed = self.agent.kill()?;
        self.site.release();
        self.story.tell("agent killed (SIGKILL) with batches in flight, appended but not answered");
        self.agent.start()?;
        let again = self.accepting(senders, killed).await?;
        self.story.tell(&format!("agent accepts again, {} ms after the kill", again.as_millis()));
        Ok(again)
    }

    async fn break_target(&mut self, senders: &Senders) {
        let happened = self.site.die_in_append().await;
        let what = match (self.site.is_cluster(), happened) {
            (false, true) => "target killed in mid-append",
            (true, true) => "link cut in mid-request",
            (_, false) => "nothing came to be broken",
        };
        self.tell_sums(what, &senders.progress());
    }

    /// Returns how many records the topic held when the target came back.
    async fn mend_target(&mut self) -> Result<u64, DemoError> {
        let torn = self.site.start_again().await?;
        let what = match self.site.is_cluster() {
            false => format!("target back; {torn} bytes of half a batch cut off"),
            true => "link restored".to_owned(),
        };
        self.story.tell(&what);
        self.site.records().await
    }

    /// Waits until everything is delivered: as `/status` says, or until nothing more comes. Returns whether
    /// it was, and events a second from the first that came.
    async fn drain(&mut self, before: u64) -> Result<(bool, u64), DemoError> {
        if self.kind == Kind::Sabotaged {
            return self.until_quiet().await.map(|()| (true, 0));
        }
        let back = Instant::now();
        let moved = self.site.grows_over(before).await?;
        let since = Instant::now();
        let drained = self.until_status_says_so().await;
        let seconds = since.elapsed().as_secs_f64();
        let delivered = self.site.records().await?.saturating_sub(moved);
        let rate = rate(delivered, seconds);
        let line = if drained { "drained" } else { "NOT drained after 60 s" };
        let waited = since.duration_since(back).as_millis();
        self.story.tell(&format!(
            "{line}, {} events in {seconds:.2} s, {waited} ms after the target was back",
            grouped(delivered)
        ));
        Ok((drained, rate))
    }

    async fn until_status_says_so(&self) -> bool {
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline {
            let now = agent::sample(self.agent.admin()).await;
            if now.is_some_and(|s| s.lag == 0 && s.pending == 0 && s.in_flight == 0) {
                return true;
            }
            sleep(LOOK).await;
        }
        false
    }

    async fn until_quiet(&self) -> Result<(), DemoError> {
        let deadline = Instant::now() + DRAIN;
        let (mut last, mut since) = (self.site.records().await?, Instant::now());
        while since.elapsed() < QUIET && Instant::now() < deadline {
            sleep(LOOK).await;
            let now = self.site.records().await?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    async fn finish(
        mut self,
        progress: Progress,
        again: Duration,
        (drained, drain_rate): (bool, u64),
    ) -> Result<Run, DemoError> {
        let stopped = self.agent.terminate(STOP).await?;
        let peak_backlog = self.watcher.peak();
        let entries = Arc::try_unwrap(self.ledger)
            .map_err(|_| DemoError::Part("a sender still holds the ledger".to_owned()))?
            .close()?;
        let (proof, records) = (self.site.read_back().await?, self.site.records().await?);
        let sums = proof.sums(&entries);
        self.story.tell(&format!("topic read back, event by event: {} records", grouped(records)));
        Ok(Run {
            sums,
            unanswered: progress.unanswered,
            peak_backlog,
            accepts_again_ms: u64::try_from(again.as_millis()).unwrap_or(u64::MAX),
            drain_rate,
            drained,
            stopped,
        })
    }

    fn tell_sums(&mut self, what: &str, progress: &Progress) {
        let mut line = format!("{what:<28}  accepted {:>8}", grouped(progress.accepted));
        if self.kind == Kind::Honest {
            line.push_str(&format!("  backlog {:>7}", grouped(self.watcher.now())));
        }
        self.story.tell(&line);
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for people"
)]
fn rate(events: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (events as f64 / seconds) as u64 } else { 0 }
}

/// Digits in groups of three.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Looks at `/status` all the time.
#[derive(Debug)]
struct Watcher {
    seen: watch::Receiver<(u64, u64)>,
    task: AbortHandle,
}

impl Watcher {
    fn start(admin: std::net::SocketAddr) -> Self {
        let (sender, seen) = watch::channel((0, 0));
        let task = tokio::spawn(async move {
            loop {
                if let Some(sample) = agent::sample(admin).await {
                    sender.send_modify(|(now, peak)| {
                        *now = sample.lag;
                        *peak = sample.lag.max(*peak);
                    });
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        Self { seen, task: task.abort_handle() }
    }

    fn now(&self) -> u64 {
        self.seen.borrow().0
    }

    /// Waits for a look that began after now.
    async fn look_again(&mut self) {
        self.seen.mark_unchanged();
        for _ in 0..2 {
            let _ = tokio::time::timeout(Duration::from_secs(2), self.seen.changed()).await;
        }
    }

    fn peak(&self) -> u64 {
        self.seen.borrow().1
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups_of_three() {
        let all = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (n, text) in all {
            assert_eq!(grouped(n), text);
        }
    }
}
