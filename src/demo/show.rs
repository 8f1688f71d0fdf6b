//! The whole demonstration: the agent, then the control.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::DemoError;
use super::agent::Kind;
use super::report::{self, Report};
use super::script::{self, Run};
use super::senders::SENDERS;
use super::site::{PARTITIONS, Site};
use super::story::{HEAD, Story};
use super::workspace::Workspace;
use crate::config::model::{Destination, HostPort};

/// How long the topic of a demo that is interrupted may take to be deleted.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives the demonstration at a `cluster`, or at an embedded target. `say` is given every line for people as it comes, with
/// colours. Cancelled by `stop`, it ends its processes, deletes its topic, and says what is left.
///
/// # Errors
/// [`DemoError`] when it could not be run to its end.
pub async fn show(
    cluster: Option<&Destination>,
    stop: CancellationToken,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<Report, DemoError> {
    let workspace = Workspace::create()?;
    let mut story = Story::new(say);
    let brokers = |cluster: &Destination| {
        cluster.bootstrap.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
    };
    let brokers = cluster.map(brokers);
    introduce(&mut story, brokers.as_deref(), &workspace);
    let target = brokers.unwrap_or_else(|| "embedded".to_owned());
    let agent = once(Kind::Honest, cluster, &workspace, &stop, &mut story).await?;
    report::sums(&mut story, &agent);
    story.line("");
    story.line(&format!(
        "{HEAD}The control{HEAD:#}: the same faults, and an agent that is wrong on purpose. It answers from"
    ));
    story.line("memory, and takes for delivered what it has only sent. The proof has to catch it.");
    story.line("");
    let control = once(Kind::Sabotaged, cluster, &workspace, &stop, &mut story).await?;
    story.line("");
    report::control(&mut story, &control);
    let proven = agent.sums.is_proven() && agent.drained && agent.stopped;
    let control_caught = control.sums.missing > 0;
    report::verdict(&mut story, proven, control_caught);
    let seconds = story.seconds();
    Ok(Report { target, story: story.moments(), agent, control, proven, control_caught, seconds })
}

async fn once(
    kind: Kind,
    cluster: Option<&Destination>,
    workspace: &Workspace,
    stop: &CancellationToken,
    story: &mut Story<'_>,
) -> Result<Run, DemoError> {
    if stop.is_cancelled() {
        return Err(nothing_is_left());
    }
    let site = match cluster {
        Some(cluster) => Site::cluster(cluster).await?,
        None => {
            let name = if kind == Kind::Honest { "target" } else { "control-target" };
            Site::embedded(workspace.folder(name)?).await?
        }
    };
    let made = {
        let mut making = pin!(site.open());
        tokio::select! {
            made = &mut making => Some(made),
            // What a cluster was asked for already is waited for: it could be done after the topic was deleted.
            () = stop.cancelled() => timeout(PATIENCE, making).await.ok(),
        }
    };
    made.transpose()?;
    // Where the run does not come to its end, its agent ends with it.
    let run = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        run = script::run(kind, &site, workspace, story) => Some(run),
    };
    let Some(run) = run else { return Err(interrupted(site).await) };
    // The topic goes whatever came out; a failure of the run is the more telling of the two.
    let closed = site.close().await;
    let run = run?;
    closed.map(|()| run)
}

fn nothing_is_left() -> DemoError {
    DemoError::Interrupted { left: "nothing of the demo is left".to_owned() }
}

/// Deletes what may be there of the topic, and says what is left.
async fn interrupted(site: Site) -> DemoError {
    let topic = site.topic().to_owned();
    let why = match timeout(PATIENCE, site.close()).await {
        Ok(Ok(())) => return nothing_is_left(),
        Ok(Err(why)) => why.to_string(),
        Err(_) => format!("the cluster did not delete it within {} s", PATIENCE.as_secs()),
    };
    DemoError::Interrupted { left: format!("the topic {topic} may be left: {why}") }
}

fn introduce(story: &mut Story<'_>, brokers: Option<&str>, workspace: &Workspace) {
    let path = workspace.path().display();
    story.line(&format!("{HEAD}spoolway demo{HEAD:#}: events through a cut link and two crashes, and a proof that none is lost"));
    story.line("");
    if let Some(brokers) = brokers {
        story.line(&format!("  target    {brokers}, through a link of ours that can be cut; a topic of its own, {PARTITIONS} partitions."));
        story.line(
            "            Its brokers are not killed: instead, the link is cut in the middle of a request.",
        );
    } else {
        story.line(&format!(
            "  target    a small Kafka-protocol broker in this process, one topic, {PARTITIONS} partitions"
        ));
    }
    story.line(&format!("  agent     spoolway run, a child process, its spool in {path}"));
    story.line(&format!("  senders   {SENDERS} over HTTP, 20,000 events/s of 200 bytes; each acknowledged event is written down"));
    story.line("            by a separate process: the ledger");
    story.line("");
}
