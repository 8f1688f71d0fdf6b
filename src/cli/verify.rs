//! `spoolway verify`: whether every event that relays delivered to a topic is there once, in order.

mod claims;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::cluster::{ChosenCluster, ClusterArgs};
use super::progress::Progress;
use super::{Exit, Failure, General, Outcome, connect, output};
use crate::ids::TopicName;
use crate::kafka::ConsumeError;
use crate::verify::{
    ClaimReport, Counts, Expected, Finding, Plan, ReadError, TopicReport, Verification, read, survey,
};

/// What `spoolway verify` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every event that was found is there once, in order; 1 it could not be read, or nothing \
                  of a relay is in it; 2 usage or configuration; 3 events are missing, doubled or out of order.\n\n\
                  What it goes by is the header `spoolway` of the records. Events after the last one that is there \
                  can only be missed by comparing with the relay's ledger (--ledger)."
)]
pub struct VerifyArgs {
    /// Topic to read; several by repeating the option. Default: those that the configuration names.
    #[arg(short, long = "topic", value_name = "TOPIC", value_parser = topic)]
    pub topics: Vec<TopicName>,
    /// Where the topics are.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Only events of this relay: its incarnation, as in /status (at least 8 hex digits). Default: all relays.
    #[arg(long = "relay", value_name = "INCARNATION", value_parser = incarnation)]
    pub relays: Vec<u32>,
    /// Compare with what a relay says it has delivered: its data directory (no agent running), the file that
    /// `spoolway status --ledger --json` printed, or the admin address HOST:PORT of a running agent. All topics
    /// that its destination gets have to be named.
    #[arg(long, value_name = "DIR|FILE|HOST:PORT")]
    pub ledger: Option<PathBuf>,
    /// Which destination's rows of the ledger are meant; needed where it has several.
    #[arg(long, value_name = "NAME", requires = "ledger")]
    pub ledger_destination: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn topic(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|e| e.to_string())
}

/// The high half of an incarnation: as much as a record's header holds.
fn incarnation(text: &str) -> Result<u32, String> {
    let digits = text.trim().trim_start_matches("0x");
    let known = (8..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let high = digits.get(..8).filter(|_| known);
    high.and_then(|high| u32::from_str_radix(high, 16).ok()).ok_or_else(|| {
        "an incarnation has 8 to 16 hex digits, as in relay.incarnation of `spoolway status --json`"
            .to_owned()
    })
}

/// What was found out, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    verdict: Verdict,
    totals: Totals,
    topics: Vec<TopicReport>,
    ledger: Option<LedgerReport>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Every event that was found is there once, in order.
    Whole,
    /// Events are missing, doubled or out of order.
    Damaged,
    /// Nothing of a relay was found, so nothing is proven.
    Nothing,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    #[serde(flatten)]
    counts: Counts,
    foreign: u64,
    unreadable: u64,
    other_relays: u64,
    relays: usize,
}

/// The comparison with the ledger.
#[derive(Debug, Serialize)]
struct LedgerReport {
    segments: usize,
    holds: usize,
    expired: usize,
    missing: usize,
    differs: usize,
    unknown: usize,
    /// Segments of which something is wrong or not known, the first thousand.
    findings: Vec<ClaimReport>,
}

/// Reads the topics and says what is in them.
///
/// # Errors
/// [`Failure`] when they can't be read to the end, or hold nothing of a relay.
#[expect(clippy::needless_pass_by_value, reason = "commands own what they were given")]
pub fn run(args: VerifyArgs, general: &General) -> Outcome {
    general.start_logs();
    let cluster = args.cluster.choose()?;
    let topics = topics(&args, &cluster)?;
    let expected = claims::expected(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::running(format!("the network can't be used: {e}")))?;
    let (plan, verification) = runtime
        .block_on(follow(&cluster, &topics, &args.relays, expected))
        .map_err(|e| Failure::running(explain(&e, &cluster)))?;
    let report = Report::of(&plan, verification);
    if args.json {
        output::line(&serde_json::to_string(&report).map_err(Failure::running)?)?;
    } else {
        output::print(&text::of(&report))?;
    }
    match report.verdict {
        Verdict::Whole => Ok(Exit::Done),
        Verdict::Damaged => Ok(Exit::Loss),
        Verdict::Nothing => Err(Failure::running(text::nothing(&report))),
    }
}

/// Those named, else those that the configuration's fixed routes and sources send to the destination.
fn topics(args: &VerifyArgs, cluster: &ChosenCluster) -> Result<Vec<String>, Failure> {
    let named: BTreeSet<_> = args.topics.iter().cloned().collect();
    let known = match &cluster.config {
        Some(config) if named.is_empty() => connect::known_topics(config, &cluster.destination),
        _ => named,
    };
    if known.is_empty() {
        return Err(Failure::usage(match cluster.config {
            Some(_) => {
                "the configuration names no topic beforehand (they follow from the streams): add --topic"
            }
            None => "which topic? add --topic",
        }));
    }
    Ok(known.iter().map(TopicName::to_string).collect())
}

async fn follow(
    cluster: &ChosenCluster,
    topics: &[String],
    relays: &[u32],
    expected: Option<Expected>,
) -> Result<(Plan, Verification), ReadError> {
    let options = cluster.consumer();
    let plan = survey(&options, topics).await?;
    let verification = Verification::new(&plan, relays, expected);
    let mut progress = Progress::new(format!("verifying {}", topics.join(", ")), plan.offsets());
    let verification = read(&options, &plan, verification, move |done| progress.at(done)).await?;
    Ok((plan, verification))
}

fn explain(error: &ReadError, cluster: &ChosenCluster) -> String {
    let brokers = cluster.brokers();
    match error {
        ReadError::Consume(ConsumeError::Code { topic, code: 3, .. }) => format!(
            "the cluster at {brokers} has no topic {topic}, or does not let us see it: check its name and the permissions"
        ),
        _ => format!("at {brokers}: {error}"),
    }
}

impl Report {
    fn of(plan: &Plan, verification: Verification) -> Self {
        let (topics, expected) = verification.finish();
        let mut totals = Totals::default();
        for topic in &topics {
            totals.counts.add(&topic.counts);
            totals.foreign += topic.foreign;
            totals.unreadable += topic.unreadable;
            totals.other_relays += topic.other_relays;
        }
        let relays = topics.iter().flat_map(|t| &t.relays).map(|r| &r.incarnation);
        totals.relays = relays.collect::<BTreeSet<_>>().len();
        let ledger = expected.map(|expected| LedgerReport::of(expected.judge(&cut(plan, &topics))));
        let broken = ledger.as_ref().is_some_and(|l| l.missing > 0 || l.differs > 0);
        let verdict = match (totals.counts.records, totals.counts.is_damaged() || broken) {
            (_, true) => Verdict::Damaged,
            (0, false) => Verdict::Nothing,
            (_, false) => Verdict::Whole,
        };
        Self { verdict, totals, topics, ledger }
    }
}

/// Partitions of which something is gone on purpose: by retention, or by compaction.
fn cut(plan: &Plan, topics: &[TopicReport]) -> Vec<(usize, usize)> {
    let numbered = plan.topics.iter().zip(topics).enumerate();
    let cut = numbered.flat_map(|(topic, ((_, extents), report))| {
        let partitions = extents.iter().zip(&report.partitions).enumerate();
        let gone = partitions
            .filter(|(_, ((start, _), p))| *start > 0 || p.counts.expired > 0 || p.counts.removed > 0);
        gone.map(move |(partition, _)| (topic, partition))
    });
    cut.collect()
}

impl LedgerReport {
    const LISTED: usize = 1000;

    fn of(claims: Vec<ClaimReport>) -> Self {
        let count = |finding| claims.iter().filter(|c| c.finding == finding).count();
        Self {
            segments: claims.len(),
            holds: count(Finding::Holds),
            expired: count(Finding::Expired),
            missing: count(Finding::Missing),
            differs: count(Finding::Differs),
            unknown: count(Finding::Unknown),
            findings: claims.into_iter().filter(|c| c.finding != Finding::Holds).take(Self::LISTED).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_named_by_8_to_16_hex_digits_of_its_incarnation() {
        assert_eq!(incarnation("c2b106c481d99a83"), Ok(0xc2b1_06c4));
        assert_eq!(incarnation("0xC2B106C4"), Ok(0xc2b1_06c4));
        for wrong in ["", "c2b106c", "c2b106c481d99a830", "edge-042", "éééééééé"] {
            assert!(incarnation(wrong).unwrap_err().contains("hex digits"), "{wrong}");
        }
    }
}
