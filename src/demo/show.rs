//! The whole demonstration: the agent, then the control.

use super::DemoError;
use super::agent::Kind;
use super::report::{self, Report};
use super::script::{self, Run};
use super::senders::SENDERS;
use super::site::{PARTITIONS, Site};
use super::story::{HEAD, Story};
use super::workspace::Workspace;
use crate::config::model::{Destination, HostPort};

/// Gives the demonstration at a `cluster`, or at an embedded target. `say` is given every line for people as it comes, with
/// colours.
///
/// # Errors
/// [`DemoError`] when it could not be run to its end.
pub async fn show(
    cluster: Option<&Destination>,
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
    let agent = once(Kind::Honest, cluster, &workspace, &mut story).await?;
    report::sums(&mut story, &agent);
    story.line("");
    story.line(&format!(
        "{HEAD}The control{HEAD:#}: the same faults, and an agent that is wrong on purpose. It answers from"
    ));
    story.line("memory, and takes for delivered what it has only sent. The proof has to catch it.");
    story.line("");
    let control = once(Kind::Sabotaged, cluster, &workspace, &mut story).await?;
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
    story: &mut Story<'_>,
) -> Result<Run, DemoError> {
    let site = match cluster {
        Some(cluster) => Site::cluster(cluster).await?,
        None => {
            let name = if kind == Kind::Honest { "target" } else { "control-target" };
            Site::embedded(workspace.folder(name)?).await?
        }
    };
    let run = script::run(kind, &site, workspace, story).await;
    // The topic goes whatever came out; a failure of the run is the more telling of the two.
    let closed = site.close().await;
    let run = run?;
    closed.map(|()| run)
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
