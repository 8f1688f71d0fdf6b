//! `spoolway spool replay`: kept events are sent again, on purpose.

mod report;

use std::collections::HashMap;

use clap::Args;
use tokio::runtime::Runtime;

use self::report::Report;
use super::inspect::hole_text;
use super::selection::Selection;
use super::{Directory, passed_over, read_failure};
use crate::cli::cluster::{ChosenCluster, ClusterArgs};
use crate::cli::progress::Progress;
use crate::cli::{Exit, Failure, Outcome, output};
use crate::config::RouteTable;
use crate::deliver::replay::{BlockInfo, Replay};
use crate::disk::RealFs;
use crate::event::EventRef;
use crate::ids::{DestinationName, LaneName, Seq, SeqRange, StreamName, TopicName};
use crate::spool::inspect::{LaneSnapshot, incarnation, patient};
use crate::spool::{Block, HoleCause, Item};

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing of the spool is changed: the agent's positions, totals and counters know nothing of a replay. \
                  Where the topic already holds the events, it holds them twice then, and `spoolway verify` says so: \
                  their headers name the same events.\n\n\
                  Exit codes: 0 done; 1 it ended before its end, and says from which number on to go on; 2 usage; \
                  3 some of the events asked for are lost to damage."
)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Topic for all events. Default: that of the configuration's routes; with --bootstrap-server, the name of
    /// the stream.
    #[arg(short, long, value_name = "TOPIC", value_parser = topic)]
    topic: Option<TopicName>,
    #[command(flatten)]
    selection: Selection,
    /// Leave out the header `spoolway`: consumers see new events, and `verify` foreign records.
    #[arg(long)]
    no_header: bool,
    /// Send. Without it nothing is sent, and it is only said what would be.
    #[arg(long)]
    execute: bool,
    /// Only say what would be sent: the default.
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn topic(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|e| e.to_string())
}

pub(super) fn run(args: &ReplayArgs) -> Outcome {
    args.selection.check()?;
    let cluster = args.cluster.choose()?;
    let topics = Topics::of(args, &cluster)?;
    let looked = args.directory.look()?;
    let life = incarnation(&RealFs, &args.directory.dir, looked.spool);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::running(format!("the network can't be used: {e}")))?;
    let sender = if args.execute {
        let life = (!args.no_header).then_some(life);
        Some(Replay::start(&cluster.destination, life, runtime.handle()).map_err(Failure::running)?)
    } else {
        None
    };
    let mut walk = Walk { args, topics, sender, report: Report::new(args.execute), cluster: &cluster };
    let walked = looked.lanes.iter().try_for_each(|lane| walk.lane(lane));
    let report = walk.end(&runtime);
    if args.json {
        output::line(&report.json().to_string())?;
    } else {
        output::print(&report.text())?;
    }
    walked?;
    // Each lane is asked: all of them are told.
    let passed_over = looked.lanes.iter().filter(|lane| passed_over::tell(lane)).count();
    Ok(if report.lost() > 0 || passed_over > 0 { Exit::Loss } else { Exit::Done })
}

/// Where each stream goes.
enum Topics {
    One(TopicName),
    Routes(Box<RouteTable>, DestinationName),
    Streams,
}

impl Topics {
    fn of(args: &ReplayArgs, cluster: &ChosenCluster) -> Result<Self, Failure> {
        Ok(match (&args.topic, &cluster.config) {
            (Some(topic), _) => Self::One(topic.clone()),
            (None, Some(config)) if args.cluster.bootstrap_server.is_empty() => {
                let table = RouteTable::new(config).map_err(Failure::usage)?;
                Self::Routes(Box::new(table), cluster.destination.name.clone())
            }
            _ => Self::Streams,
        })
    }

    /// `None`: nowhere.
    fn of_stream(&self, stream: &StreamName) -> Result<Option<TopicName>, Failure> {
        match self {
            Self::One(topic) => Ok(Some(topic.clone())),
            Self::Routes(table, destination) => table.topic_for(stream, destination).map_err(|e| {
                Failure::usage(format!("the route's topic name is not valid for stream {stream}: {e}"))
            }),
            Self::Streams => TopicName::new(stream.as_str()).map(Some).map_err(Failure::usage),
        }
    }
}

/// The way through the lanes.
struct Walk<'a> {
    args: &'a ReplayArgs,
    topics: Topics,
    sender: Option<Replay>,
    report: Report,
    cluster: &'a ChosenCluster,
}

impl Walk<'_> {
    fn lane(&mut self, lane: &LaneSnapshot<RealFs>) -> Result<(), Failure> {
        let selection = &self.args.selection;
        let (from, to) = (selection.from().max(lane.begin()), selection.to());
        let mut reader = lane.reader(from);
        let what = if self.args.execute { "replaying" } else { "counting" };
        let end = lane.end().0.min(to.0.saturating_add(1));
        let mut progress = Progress::new(format!("{what} lane {}", lane.name()), end.saturating_sub(from.0));
        let mut routes: HashMap<StreamName, Option<TopicName>> = HashMap::new();
        while reader.position() <= to {
            progress.at(reader.position().0.saturating_sub(from.0));
            let mut failed = None;
            let wanted = |stream: &StreamName, _: SeqRange| {
                if !selection.takes_stream(stream) {
                    return false;
                }
                let known = routes.entry(stream.clone()).or_insert_with(|| {
                    self.topics.of_stream(stream).unwrap_or_else(|failure| {
                        failed = Some(failure);
                        None
                    })
                });
                known.is_some()
            };
            let item = patient(&mut reader, wanted).map_err(|e| read_failure(&e))?;
            if let Some(failure) = failed {
                return Err(failure);
            }
            match item {
                None => break,
                Some(Item::Skipped(..)) => {}
                Some(Item::Block(block)) => {
                    let topic = routes.get(&block.stream).cloned().flatten();
                    topic.map_or(Ok(()), |topic| self.block(lane.name(), &block, &topic))?;
                }
                Some(Item::Hole(hole)) => {
                    let damage = matches!(hole.cause, HoleCause::Damaged | HoleCause::Missing);
                    self.report.lose(if damage { hole.range.len() } else { 0 });
                    anstream::eprintln!("lane {}: {}", lane.name(), hole_text(&hole));
                }
            }
        }
        let finished = self.sender.as_mut().map_or(Ok(()), Replay::finish);
        finished.map_err(|e| self.failure(lane.name(), to, &e))
    }

    fn block(&mut self, lane: &LaneName, block: &Block, topic: &TopicName) -> Result<(), Failure> {
        let info = BlockInfo {
            range: block.range(),
            stream: block.stream.clone(),
            time: block.time,
            run: block.run,
            segment: Some(block.segment),
        };
        let numbered = (0u32..).zip(block.events());
        for (index, event) in numbered {
            let seq = block.first.plus(u64::from(index));
            if seq > self.args.selection.to() {
                return Ok(());
            }
            let Ok(event) = event else {
                let rest = SeqRange::new(seq, block.range().end);
                self.report.lose(rest.len());
                anstream::eprintln!("lane {lane}: damaged: {rest} ({} events) cannot be decoded", rest.len());
                return Ok(());
            };
            let in_range = seq >= self.args.selection.from();
            if in_range && self.args.selection.takes_time(event.time.unwrap_or(block.time)) {
                self.event(lane, &info, index, &event, topic)?;
            }
        }
        Ok(())
    }

    fn event(
        &mut self,
        lane: &LaneName,
        block: &BlockInfo,
        index: u32,
        event: &EventRef<'_>,
        topic: &TopicName,
    ) -> Result<(), Failure> {
        let seq = block.range.first.plus(u64::from(index));
        self.report.take(lane, &block.stream, topic, seq, event);
        let put = self.sender.as_mut().map_or(Ok(()), |sender| sender.put(topic, block, index, event));
        put.map_err(|e| self.failure(lane, seq, &e))
    }

    fn failure(&self, lane: &LaneName, at: Seq, error: &dyn std::fmt::Display) -> Failure {
        let from = self.sender.as_ref().and_then(Replay::unsettled_from).unwrap_or(at);
        Failure::running(format!(
            "at {}: {error}\nlane {lane}: everything before {from} that was asked for is acknowledged; to go on: \
             --lane {lane} --from-seq {from} (what was acknowledged behind it is doubled then)",
            self.cluster.brokers()
        ))
    }

    fn end(mut self, runtime: &Runtime) -> Report {
        if let Some(sender) = self.sender.take() {
            self.report.sent = Some(sender.sums());
            runtime.block_on(sender.close());
        }
        self.report
    }
}
