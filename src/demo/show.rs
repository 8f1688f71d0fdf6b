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

/// How long the topic may take to be deleted at the end, and first to be made where a demo is interrupted in that.
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
        return Err(DemoError::Interrupted);
    }
    let mut site = match cluster {
        Some(cluster) => Site::cluster(cluster).await?,
        None => {
            let name = if kind == Kind::Honest { "target" } else { "control-target" };
            Site::embedded(workspace.folder(name)?).await?
        }
    };
    // Nothing is asked of the cluster yet that could leave something there.
    tokio::select! {
        reached = site.reach() => reached?,
        () = stop.cancelled() => return Err(DemoError::Interrupted),
    }
    let made = {
        let mut making = pin!(site.open());
        tokio::select! {
            made = &mut making => Some(made),
            // What a cluster was asked for already is waited for: it could be done after the topic was deleted.
            () = stop.cancelled() => timeout(PATIENCE, making).await.ok(),
        }
    };
    let run = match made {
        Some(Err(error @ DemoError::Unanswered { .. })) => Err(error),
        Some(Err(error)) => return Err(error),
        // Where the run does not come to its end, its agent ends with it.
        Some(Ok(())) | None => tokio::select! {
            biased;
            () = stop.cancelled() => Err(DemoError::Interrupted),
            run = script::run(kind, &site, workspace, story) => run,
        },
    };
    leave(site, run).await
}

/// Deletes what may be there of the topic, whatever came out; where that can't be done, its name is told besides.
async fn leave<T>(site: Site, came_out: Result<T, DemoError>) -> Result<T, DemoError> {
    let topic = site.topic().to_owned();
    let cause = match timeout(PATIENCE, site.close()).await {
        Ok(Ok(())) => return came_out,
        Ok(Err(why)) => why.to_string(),
        Err(_) => format!("the cluster did not delete it within {} s", PATIENCE.as_secs()),
    };
    let came_out = match came_out {
        Ok(_) => "the demo came to its end".to_owned(),
        Err(DemoError::Interrupted) => "interrupted".to_owned(),
        Err(why) => why.to_string(),
    };
    Err(DemoError::Left { came_out, topic, cause })
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

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;

    use super::*;
    use crate::ids::DestinationName;
    use crate::target::{Target, TargetOptions};

    /// A cluster that answers to CreateTopics with `code`, and does nothing then; nobody may delete a topic there.
    async fn answering(code: i16) -> (Target, Destination) {
        let target = Target::start(TargetOptions::default()).await.unwrap();
        target.faults().refuse_calls(ApiKey::CreateTopics, code, 1);
        let broker = target.brokers()[0];
        let bootstrap = vec![HostPort { host: broker.ip().to_string(), port: broker.port() }];
        (target, Destination::new(DestinationName::new("target").unwrap(), bootstrap))
    }

    async fn shown(code: i16) -> String {
        let (_target, cluster) = answering(code).await;
        show(Some(&cluster), CancellationToken::new(), &mut |_| {}).await.unwrap_err().to_string()
    }

    /// REQUEST_TIMED_OUT: it may be made later. It was left, and nobody knew its name.
    #[tokio::test]
    async fn a_topic_that_may_have_been_made_is_deleted_or_named() {
        let told = shown(7).await;
        assert!(told.starts_with("creating a topic at "), "{told}");
        assert!(
            told.contains("; the topic spoolway-demo-") && told.contains(" may be left: deleting"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn a_topic_that_was_refused_is_not_said_to_be_left() {
        let told = shown(29).await;
        assert!(told.starts_with("creating a topic at ") && !told.contains("left"), "{told}");
    }

    /// rskafka asks again when the answer that it was made says that a quota was passed. The demo ended with it.
    #[tokio::test]
    async fn a_topic_that_is_there_when_it_is_asked_for_again_is_the_demos() {
        let (_target, cluster) = answering(36).await;
        Site::cluster(&cluster).await.unwrap().open().await.unwrap();
    }
}
