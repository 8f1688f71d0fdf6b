//! The demo's findings, for people and for programs.

use super::script::{Run, grouped};
use super::story::{BAD, GOOD, HEAD, Moment, Story};

/// Everything the demo found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// `embedded`, or the cluster's addresses.
    pub target: String,
    /// What happened when.
    pub story: Vec<Moment>,
    /// The agent's sums.
    pub agent: Run,
    /// The sabotaged agent's sums.
    pub control: Run,
    /// Whether nothing accepted was lost, reordered or doubled.
    pub proven: bool,
    /// Whether the proof caught the sabotaged agent.
    pub control_caught: bool,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// Whether the demo showed what it is to show.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.proven && self.control_caught
    }
}

fn row(story: &mut Story<'_>, name: &str, value: u64, good: Option<bool>, note: &str) {
    let style = match good {
        Some(true) => GOOD,
        Some(false) => BAD,
        None => anstyle::Style::new(),
    };
    let line = format!("  {name:<14}{style}{:>9}{style:#}  {note}", grouped(value));
    story.line(line.trim_end());
}

/// The sums of the agent.
pub(super) fn sums(story: &mut Story<'_>, run: &Run) {
    let sums = &run.sums;
    story.line("");
    row(story, "accepted", sums.accepted, None, "events acknowledged to their senders, says the ledger");
    row(story, "delivered", sums.delivered, None, "of them, read back from the topic");
    row(story, "missing", sums.missing, Some(sums.missing == 0), "");
    row(story, "doubled", sums.doubled, Some(sums.doubled == 0), "");
    row(story, "reordered", sums.reordered, Some(sums.reordered == 0), "");
    let note =
        format!("sent without an answer at the kill; {} of them arrived", grouped(sums.unacknowledged));
    row(story, "unanswered", run.unanswered, None, &note);
    row(story, "peak backlog", run.peak_backlog, None, "events on disk, waiting for the target");
    row(
        story,
        "accepts again",
        run.accepts_again_ms,
        None,
        "ms after SIGKILL, with the start of the new process",
    );
    row(story, "drain rate", run.drain_rate, None, "events/s once the target was reached again");
    if !run.drained {
        story.line(&format!("  {BAD}not everything was delivered within 60 s{BAD:#}"));
    }
    if !run.stopped {
        story.line(&format!("  {BAD}the agent did not end within 10 s of SIGTERM{BAD:#}"));
    }
}

/// The control's sums.
pub(super) fn control(story: &mut Story<'_>, run: &Run) {
    let sums = &run.sums;
    let caught = sums.missing > 0;
    row(story, "accepted", sums.accepted, None, "");
    row(story, "missing", sums.missing, Some(caught), if caught { "caught" } else { "NOT caught" });
}

/// The last line.
pub(super) fn verdict(story: &mut Story<'_>, proven: bool, caught: bool) {
    let seconds = story.seconds();
    let line = match (proven, caught) {
        (true, true) => {
            format!("{GOOD}Nothing was lost{GOOD:#}, and the same proof catches an agent that loses.")
        }
        (false, _) => {
            format!("{BAD}The agent broke its promise.{BAD:#} Please report this with the sums above.")
        }
        (true, false) => format!("{BAD}The control was not caught{BAD:#}, so this run proves nothing."),
    };
    story.line("");
    story.line(&format!("{line} {HEAD}{seconds:.1} s{HEAD:#}"));
}
