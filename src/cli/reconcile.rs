//! `spoolway reconcile`: two topics side by side.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::cluster::ClusterArgs;
use super::progress::Progress;
use super::status::words::{number, size, utc};
use super::{Exit, Failure, General, Outcome, output};
use crate::config::model::HostPort;
use crate::config::parse_host_port;
use crate::ids::TopicName;
use crate::reconcile::{Comparison, Pace, SideReport, Sides, Source, Spread, TopicSource, compare, has_rows};
use crate::verify::survey;

/// What `spoolway reconcile` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 both have the same records; 1 a side could not be read, or both are empty; 2 usage; \
                  3 one side has records that the other has not.\n\n\
                  A file is compared line by line: rows of `spoolway spool dump` if its first line is one, else each line \
                  is a value, and keys do not count."
)]
pub struct ReconcileArgs {
    /// One side: HOST:PORT[,HOST:PORT…]/TOPIC, or a file.
    #[arg(long, value_name = "B/T|FILE", value_parser = Place::parse)]
    pub left: Place,
    /// The other side.
    #[arg(long, value_name = "B/T|FILE", value_parser = Place::parse)]
    pub right: Place,
    /// Properties of both connections, as Kafka's own tools take them.
    #[arg(long, value_name = "FILE")]
    pub command_config: Option<PathBuf>,
    /// Properties of the left one's connection.
    #[arg(long, value_name = "FILE", conflicts_with = "command_config")]
    pub left_command_config: Option<PathBuf>,
    /// Properties of the right one's connection.
    #[arg(long, value_name = "FILE", conflicts_with = "command_config")]
    pub right_command_config: Option<PathBuf>,
    /// Keys do not count.
    #[arg(long)]
    pub values_only: bool,
    /// How many examples to show of what is on one side only.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub examples: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A side, as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A topic of a cluster.
    Topic(Vec<HostPort>, TopicName),
    /// A file.
    File(PathBuf),
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some((brokers, topic)) = text.rsplit_once('/') {
            let brokers: Result<Vec<_>, _> = brokers.split(',').map(parse_host_port).collect();
            if let Ok(brokers) = brokers {
                return TopicName::new(topic)
                    .map(|topic| Self::Topic(brokers, topic))
                    .map_err(|e| e.to_string());
            }
        }
        let path = PathBuf::from(text);
        if path.exists() {
            return Ok(Self::File(path));
        }
        Err("neither HOST:PORT/TOPIC nor a file that is there".to_owned())
    }

    /// What to read, and whether it has keys.
    async fn source(&self, config: Option<&PathBuf>) -> Result<(Source, bool), Failure> {
        let (brokers, topic) = match self {
            Self::File(path) => {
                let rows = has_rows(path).map_err(Failure::running)?;
                return Ok((Source::File { path: path.clone(), rows }, rows));
            }
            Self::Topic(brokers, topic) => (brokers, topic),
        };
        let args = ClusterArgs {
            bootstrap_server: brokers.clone(),
            command_config: config.cloned(),
            ..ClusterArgs::default()
        };
        let cluster = args.choose()?;
        let options = cluster.consumer();
        let plan = survey(&options, &[topic.to_string()]).await;
        let plan = plan.map_err(|e| Failure::running(format!("at {}: {e}", cluster.brokers())))?;
        Ok((Source::Topic(Box::new(TopicSource { options, plan })), true))
    }
}

/// Compares the sides and says what is on one only.
///
/// # Errors
/// [`Failure`] when a side can't be read to its end, or both are empty.
#[expect(clippy::needless_pass_by_value, reason = "commands own what they were given")]
pub fn run(args: ReconcileArgs, general: &General) -> Outcome {
    general.start_logs();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::running(format!("the network can't be used: {e}")))?;
    let (found, keys) = runtime.block_on(compared(&args))?;
    if args.json {
        output::line(&json(&found, keys).to_string())?;
    } else {
        output::print(&text(&found, keys))?;
    }
    if found.left.pace.records == 0 && found.right.pace.records == 0 {
        return Err(Failure::running("both sides are empty, so nothing was compared"));
    }
    Ok(if found.is_same() { Exit::Done } else { Exit::Loss })
}

async fn compared(args: &ReconcileArgs) -> Result<(Comparison, bool), Failure> {
    let config = |own: &'_ Option<PathBuf>| own.clone().or_else(|| args.command_config.clone());
    let (left, left_keys) = args.left.source(config(&args.left_command_config).as_ref()).await?;
    let (right, right_keys) = args.right.source(config(&args.right_command_config).as_ref()).await?;
    let keys = left_keys && right_keys && !args.values_only;
    let sides = Sides { left, right, keys, examples: args.examples };
    let mut progress: Option<Progress> = None;
    let told = move |read, total| {
        progress.get_or_insert_with(|| Progress::new("comparing".to_owned(), total)).at(read);
    };
    compare(&sides, told).await.map(|found| (found, keys)).map_err(Failure::running)
}

fn json(found: &Comparison, keys: bool) -> serde_json::Value {
    json!({
        "same": found.is_same(), "matched": found.matched, "only_left": found.left.only_here,
        "only_right": found.right.only_here, "keys_compared": keys, "left": found.left, "right": found.right,
        "right_behind_left_ms": found.right_behind_left_ms, "passes": found.passes,
    })
}

fn text(found: &Comparison, keys: bool) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    for (name, side) in [("left", &found.left), ("right", &found.right)] {
        let _ = writeln!(text, "{name}: {}", pace(side));
    }
    if let Some(behind) = quantiles(&found.right_behind_left_ms) {
        let _ = writeln!(text, "right behind left, by the records' time stamps: {behind}");
    }
    for (name, side) in [("left", &found.left), ("right", &found.right)] {
        for example in &side.examples {
            let (key, value) = (&example.key, &example.value);
            let show =
                |part: &Option<String>| part.as_ref().map_or("null".to_owned(), |text| format!("{text:?}"));
            let _ = writeln!(
                text,
                "  only {name}: partition {}, offset {}, {} time(s), key {}, value {}",
                example.partition,
                example.offset,
                example.count,
                show(key),
                show(value)
            );
        }
    }
    let what = if keys { "key and value" } else { "value" };
    let _ = if found.is_same() {
        writeln!(text, "Same: {} records match by {what}.", number(found.matched))
    } else {
        writeln!(
            text,
            "DIFFERENT: {} only left, {} only right; {} match by {what}.",
            number(found.left.only_here),
            number(found.right.only_here),
            number(found.matched)
        )
    };
    text
}

fn pace(side: &SideReport) -> String {
    let Pace { records, bytes, first_at, last_at, latency_ms } = &side.pace;
    let mut text = format!("{} records, {}", number(*records), size(*bytes));
    if let (Some(first), Some(last)) = (first_at.filter(|t| *t > 0), last_at.filter(|t| *t > 0)) {
        let _ = write!(text, ", stamped {} to {}", utc(first), utc(last));
    }
    if let Some(rate) = side.records_per_second {
        let _ = write!(text, ", {} records/s", number(rate));
    }
    if let Some(latency) = quantiles(latency_ms) {
        let _ = write!(text, ", latency {latency}");
    }
    text
}

fn quantiles(spread: &Spread) -> Option<String> {
    let [p50, p99, max] = [500, 990, 1000].map(|permille| spread.quantile(permille));
    Some(format!("p50 {} ms, p99 {} ms, max {} ms", p50?, p99?, max?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_brokers_and_a_topic_or_a_file() {
        let Ok(Place::Topic(brokers, topic)) = Place::parse("a:1,[::1]:2/orders") else { panic!("a topic") };
        assert_eq!((brokers.len(), topic.as_str()), (2, "orders"));
        assert_eq!(Place::parse("Cargo.toml"), Ok(Place::File("Cargo.toml".into())));
        assert_eq!(Place::parse("./src/lib.rs"), Ok(Place::File("./src/lib.rs".into())));
        assert!(Place::parse("a:1/my topic").unwrap_err().contains("not allowed in a name"));
        assert!(Place::parse("orders").unwrap_err().contains("HOST:PORT/TOPIC"));
    }
}
