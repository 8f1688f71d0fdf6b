//! `spoolway pipe`: a configuration made of two options.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, General, Outcome, cluster, run};
use crate::config::model::{
    Ack, Admin, Config, DeadLetters, Guard, HostPort, KafkaCompression, Relay, Source, SourceKind, Spool,
};
use crate::config::parse_host_port;
use crate::ids::{StreamName, TopicName};

/// What `spoolway pipe` takes.
#[derive(Debug, Args)]
pub struct PipeArgs {
    /// Brokers to begin with; several with commas, or by repeating the option.
    #[arg(short, long, required = true, value_name = "HOST:PORT", value_delimiter = ',', value_parser = parse_host_port)]
    pub bootstrap_server: Vec<HostPort>,
    /// Properties of the connection, as Kafka's own tools take them: TLS, SASL, client.id, request.timeout.ms.
    #[arg(long, value_name = "FILE")]
    pub command_config: Option<PathBuf>,
    /// Topic for the lines.
    #[arg(short, long, value_parser = topic)]
    pub topic: TopicName,
    /// Where lines are kept until they are delivered. Default: one folder for each brokers and topic under
    /// $XDG_STATE_HOME/spoolway/pipe, else ~/.local/state/spoolway/pipe; for root, /var/lib/spoolway/pipe.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Of record batches: none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "lz4", value_parser = compression, value_name = "CODEC")]
    pub compression: KafkaCompression,
}

/// Brings the lines of standard input to the topic; ends when the input has ended and all is delivered.
///
/// # Errors
/// [`Failure`] with the exit code and the message.
#[expect(clippy::needless_pass_by_value, reason = "commands own what they were given")]
pub fn run(args: PipeArgs, general: &General) -> Outcome {
    general.start_logs();
    let home = Home::of_process();
    let config = configuration(&args, &home)?;
    tracing::info!(data_dir = %config.relay.data_dir.display(), topic = %args.topic, "lines are kept here until delivered");
    run::agent(&config)
}

fn topic(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|e| e.to_string())
}

fn compression(text: &str) -> Result<KafkaCompression, String> {
    let found = KafkaCompression::WORDS.iter().find(|(word, _)| *word == text);
    let words = || KafkaCompression::WORDS.map(|(word, _)| word).join(", ");
    found.map(|(_, codec)| *codec).ok_or_else(|| format!("one of {}", words()))
}

fn configuration(args: &PipeArgs, home: &Home) -> Result<Config, Failure> {
    let stream = StreamName::new(args.topic.as_str()).map_err(Failure::usage)?;
    let data_dir = match &args.data_dir {
        Some(dir) => dir.clone(),
        None => home.state()?.join(folder(&args.bootstrap_server)).join(args.topic.as_str()),
    };
    let mut destination =
        cluster::destination("pipe", &args.bootstrap_server, args.command_config.as_deref())?;
    destination.compression = args.compression;
    Ok(Config {
        relay: Relay { data_dir, ..Relay::default() },
        spool: Spool::default(),
        lanes: vec![],
        streams: vec![],
        sources: vec![Source {
            name: "stdin".to_owned(),
            kind: SourceKind::Stdin { stream },
            ack: Ack::Accepted,
            guard: Guard::default(),
        }],
        destinations: vec![destination],
        routes: vec![],
        dead_letters: DeadLetters::default(),
        admin: Admin::off(),
    })
}

/// One folder for each set of brokers: readable by its first one, unique by a checksum of all.
fn folder(brokers: &[HostPort]) -> String {
    let mut sorted: Vec<String> = brokers.iter().map(HostPort::to_string).collect();
    sorted.sort();
    sorted.dedup();
    let all = sorted.join(",");
    let readable = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    // A file name has 255 bytes at most.
    let first: String = sorted.first().map_or("", String::as_str).chars().map(readable).take(200).collect();
    format!("{first}-{:08x}", crc32fast::hash(all.as_bytes()))
}

/// What the process knows about whose it is.
struct Home {
    root: bool,
    state: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl Home {
    fn of_process() -> Self {
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            root: rustix::process::geteuid().is_root(),
            state: absolute("XDG_STATE_HOME"),
            home: absolute("HOME"),
        }
    }

    /// Where state of this kind is kept (XDG Base Directory Specification; relative values are ignored).
    fn state(&self) -> Result<PathBuf, Failure> {
        let base = match (&self.state, &self.home) {
            (Some(state), _) => state.clone(),
            (None, _) if self.root => PathBuf::from("/var/lib"),
            (None, Some(home)) => home.join(".local/state"),
            (None, None) => {
                return Err(Failure::usage(
                    "there is no place to keep lines: neither $XDG_STATE_HOME nor $HOME is set; say --data-dir DIR",
                ));
            }
        };
        Ok(base.join(Path::new("spoolway/pipe")))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(line: &[&str]) -> Result<PipeArgs, clap::Error> {
        let line = ["spoolway", "pipe"].iter().chain(line);
        Cli::try_parse_from(line).map(|cli| match cli.command {
            Command::Pipe(args) => args,
            other => panic!("{other:?}"),
        })
    }

    fn home(root: bool, state: Option<&str>, home: Option<&str>) -> Home {
        Home { root, state: state.map(PathBuf::from), home: home.map(PathBuf::from) }
    }

    #[test]
    fn two_options_make_a_configuration() {
        let args = args(&["-b", "a:1,b:2", "-t", "orders", "--compression", "zstd"]).unwrap();
        let config = configuration(&args, &home(false, None, Some("/home/x"))).unwrap();
        assert_eq!(config.destinations[0].bootstrap.len(), 2);
        assert_eq!(config.destinations[0].compression, KafkaCompression::Zstd);
        assert!(config.admin.listen.is_none());
        let table = crate::config::RouteTable::new(&config).unwrap();
        let SourceKind::Stdin { stream } = &config.sources[0].kind else { panic!("stdin") };
        let topic = table.topic_for(stream, &config.destinations[0].name).unwrap().unwrap();
        assert_eq!(topic.as_str(), "orders");
        let dir = config.relay.data_dir.to_string_lossy().into_owned();
        assert!(dir.starts_with("/home/x/.local/state/spoolway/pipe/a_1-"), "{dir}");
        assert!(dir.ends_with("/orders"), "{dir}");
    }

    #[test]
    fn properties_say_how_to_reach_the_brokers_and_change_nothing_of_where_lines_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client.properties");
        std::fs::write(&file, "client.id=me\nsecurity.protocol=SSL\n").unwrap();
        let home = home(false, None, Some("/home/x"));
        let plain = configuration(&args(&["-b", "a:1", "-t", "x"]).unwrap(), &home).unwrap();
        let with = ["-b", "a:1", "-t", "x", "--command-config", file.to_str().unwrap()];
        let sealed = configuration(&args(&with).unwrap(), &home).unwrap();
        assert_eq!(sealed.relay.data_dir, plain.relay.data_dir);
        let destination = &sealed.destinations[0];
        assert_eq!((destination.client_id.as_str(), destination.tls.is_some()), ("me", true));
        std::fs::write(&file, "security.protocol=SASL_SSL\n").unwrap();
        assert!(
            configuration(&args(&with).unwrap(), &home).unwrap_err().message().contains("sasl.mechanism")
        );
    }

    #[test]
    fn the_folder_depends_on_the_brokers_and_not_on_their_order() {
        let brokers = |list: &[&str]| list.iter().map(|b| parse_host_port(b).unwrap()).collect::<Vec<_>>();
        assert_eq!(folder(&brokers(&["a:1", "b:2"])), folder(&brokers(&["b:2", "a:1", "a:1"])));
        assert_ne!(folder(&brokers(&["a:1", "b:2"])), folder(&brokers(&["a:1"])));
        let long = format!("{}:65535", "h".repeat(253));
        assert!(folder(&brokers(&[&long])).len() < 256);
        assert!(!folder(&brokers(&["[::1]:1"])).contains([':', '[', '/']));
    }

    #[test]
    fn state_is_kept_where_the_system_keeps_it() {
        let state = |home: Home| home.state().unwrap().to_string_lossy().into_owned();
        assert_eq!(state(home(true, None, Some("/root"))), "/var/lib/spoolway/pipe");
        assert_eq!(state(home(true, Some("/s"), None)), "/s/spoolway/pipe");
        assert_eq!(state(home(false, None, Some("/h"))), "/h/.local/state/spoolway/pipe");
        assert!(home(false, None, None).state().unwrap_err().message().contains("--data-dir"));
    }

    #[test]
    fn wrong_options_are_refused_with_what_would_be_right() {
        let error = |line: &[&str]| args(line).unwrap_err().to_string();
        assert!(error(&["-b", "a", "-t", "x"]).contains("add the port: \"a:9092\""));
        assert!(error(&["-b", "a:1", "-t", "my topic"]).contains("is not allowed in a name"));
        assert!(error(&["-b", "a:1", "-t", "x", "--compression", "brotli"]).contains("one of none, gzip"));
        assert!(error(&["-t", "x"]).contains("--bootstrap-server"));
    }
}
