//! What stands beside the log, harmed under the agent as a person runs it: what it says, and where.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use spoolway::kafka::BatchReader;
use spoolway::target::{Target, TargetOptions};
use support::agent::{Agent, Setup, assert_accounts_balance, spoolway};
use support::compare::{Comparison, Verdict};
use support::http;
use support::ledger::Book;
use support::load::{Load, Plan};

const SOON: Duration = Duration::from_secs(30);
const TOPIC: &str = "events";

/// A small Kafka in this process.
struct Cluster {
    runtime: tokio::runtime::Runtime,
    target: Target,
}

impl Cluster {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let options = TargetOptions { topics: vec![(TOPIC.to_owned(), 2)], ..TargetOptions::default() };
        let target = runtime.block_on(Target::start(options)).expect("a target");
        Self { runtime, target }
    }

    fn setup(&self, name: &str) -> Setup {
        let port = self.target.brokers()[0].port();
        Setup::new(name).without_tcp().destination("home", port, "")
    }

    fn cut(&self) {
        self.runtime.block_on(self.target.faults().cut());
    }

    fn restore(&self) {
        self.runtime.block_on(self.target.faults().restore()).expect("its ports are free");
    }

    fn judge<'b>(&self, books: impl IntoIterator<Item = &'b Book>) -> Verdict {
        let mut comparison = Comparison::new(books);
        for partition in 0..2 {
            for (_, bytes) in self.target.batches(TOPIC, partition).expect("it is there") {
                for batch in BatchReader::new(&bytes, 64 << 20) {
                    for record in batch.expect("a batch").records() {
                        let record = record.expect("a record");
                        comparison.see(partition, record.offset, record.key, record.value);
                    }
                }
            }
        }
        comparison.judge()
    }
}

fn load(setup: &Setup, generator: u32, count: u64) -> Book {
    Load::http(Plan::new(setup.http, TOPIC, generator).limit(count)).finish()
}

fn incarnation(agent: &Agent<'_>) -> (String, String) {
    let relay = &agent.status()["relay"];
    let text = |name: &str| relay[name].as_str().unwrap_or_else(|| panic!("{name} in {relay}")).to_owned();
    (text("incarnation"), text("incarnation_cause"))
}

/// Lines of the log that are errors.
fn errors(printed: &str) -> Vec<&str> {
    printed.lines().filter(|line| line.to_lowercase().contains("error")).collect()
}

/// `/readyz`'s notes about the incarnation.
fn notes(setup: &Setup) -> Vec<String> {
    let answer = http::get(setup.admin, "/readyz").expect("an answer").json();
    let notes = answer["notes"].as_array().expect("notes").iter();
    notes.filter_map(|n| n.as_str()).filter(|n| n.contains("incarnation")).map(str::to_owned).collect()
}

fn metric(setup: &Setup, name: &str) -> u64 {
    let text = http::get(setup.admin, "/metrics").expect("an answer").text();
    let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

const CHANGED: &str = "spoolway_incarnation_changed_timestamp_seconds";

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success());
}

#[test]
fn a_copy_started_beside_the_living_original_says_what_it_is_and_both_deliver() {
    let cluster = Cluster::start();
    let setup = cluster.setup("original");
    let agent = setup.start();
    let mut books = vec![load(&setup, 1, 1_000)];
    agent.wait_drained(None, SOON);
    cluster.cut();
    books.push(load(&setup, 2, 500));
    let clone = cluster.setup("clone");
    copy(&setup.data_dir(), &clone.data_dir());
    let other = clone.start();
    cluster.restore();
    books.push(load(&setup, 3, 500));
    books.push(load(&clone, 4, 500));
    for running in [&agent, &other] {
        assert_accounts_balance(&running.wait_drained(None, SOON));
    }
    let verdict = cluster.judge(&books);
    // What was pending when the copy was made goes out twice, by two relays, and not always in one order.
    assert_eq!((verdict.missing, verdict.corrupt, verdict.foreign), (0, 0, 0), "{verdict}");
    assert!(verdict.doubled <= 500 + 1_000, "{verdict}");
    let (ours, theirs) = (incarnation(&agent), incarnation(&other));
    assert_eq!((ours.1.as_str(), theirs.1.as_str()), ("new", "copied"));
    assert_ne!(ours.0, theirs.0);
    assert_eq!((notes(&setup).len(), notes(&clone).len()), (0, 1));
    assert!(notes(&clone)[0].contains("if the original still runs"), "{:?}", notes(&clone));
    assert_eq!(metric(&setup, CHANGED), 0);
    assert!(metric(&clone, CHANGED) > 1_700_000_000);
    let printed = other.process.output().tail();
    let said = errors(&printed).iter().filter(|l| l.contains("new incarnation")).count();
    assert_eq!(said, 1, "{printed}");
    agent.stop();
    other.stop();
}

#[test]
fn an_older_copy_put_back_in_place_of_the_newer_is_recognised_and_new_events_arrive() {
    let cluster = Cluster::start();
    let setup = cluster.setup("put-back");
    let agent = setup.start();
    let mut books = vec![load(&setup, 1, 1_000)];
    agent.wait_drained(None, SOON);
    agent.stop();
    let backup = setup.dir.join("backup");
    copy(&setup.data_dir(), &backup);
    let agent = setup.start();
    let before = incarnation(&agent);
    books.push(load(&setup, 2, 1_000));
    agent.wait_drained(None, SOON);
    agent.kill();
    fs::remove_dir_all(setup.data_dir()).expect("it is there");
    copy(&backup, &setup.data_dir());
    let agent = setup.start();
    let after = incarnation(&agent);
    assert_eq!(after.1, "copied");
    assert_ne!(after.0, before.0);
    books.push(load(&setup, 3, 1_000));
    assert_accounts_balance(&agent.wait_drained(None, SOON));
    // The same numbers as those of the second load, and yet none is taken for one of them.
    cluster.judge(&books).assert_exact();
    agent.stop();
    // Tools say under which it lived last, and what is salvaged of it goes on under that one.
    let new = setup.dir.join("salvaged");
    let text = |path: &Path| path.to_str().expect("a path of text").to_owned();
    let (data, into) = (text(&setup.data_dir()), text(&new));
    for args in [&["inspect", "--json", &data][..], &["repair", "--json", &data, "--into", &into]] {
        let output = spoolway().arg("spool").args(args).output().expect("it runs");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(said["incarnation"], after.0, "{args:?}: {said}");
        assert_ne!(said["spool"], after.0, "{args:?}: {said}");
    }
    fs::remove_dir_all(setup.data_dir()).expect("it is there");
    fs::rename(&new, setup.data_dir()).expect("the same file system");
    let agent = setup.start();
    assert_eq!(incarnation(&agent), after);
    agent.stop();
}

#[test]
fn a_restart_a_kill_and_a_new_name_give_no_alarm() {
    let cluster = Cluster::start();
    let mut setup = cluster.setup("no-alarm");
    let agent = setup.start();
    let first = incarnation(&agent);
    assert_eq!(first.1, "new");
    let mut books = vec![load(&setup, 1, 500)];
    agent.kill();
    let agent = setup.start();
    assert_eq!(incarnation(&agent), first);
    agent.stop();
    let renamed = setup.dir.with_extension("renamed");
    fs::create_dir(&renamed).expect("a new directory");
    fs::rename(setup.data_dir(), renamed.join("data")).expect("the same file system");
    setup.dir = renamed;
    let agent = setup.start();
    assert_eq!(incarnation(&agent), first);
    assert!(notes(&setup).is_empty());
    books.push(load(&setup, 2, 500));
    agent.wait_drained(None, SOON);
    let printed = agent.process.output().tail();
    assert!(errors(&printed).is_empty(), "{printed}");
    cluster.judge(&books).assert_lossless(500);
    agent.stop();
}

#[test]
fn each_harm_is_said_once_names_the_file_and_stops_nothing() {
    let cluster = Cluster::start();
    let setup = cluster.setup("said-once");
    let agent = setup.start();
    let mut books = vec![load(&setup, 1, 500)];
    agent.wait_drained(None, SOON);
    agent.stop();
    let files = ["FORMAT", "incarnation", "readers/main/home", "lanes/main/floor"];
    for (generator, file) in (2..).zip(files) {
        fs::write(setup.data_dir().join(file), vec![0xa5; 20_000]).expect("a file");
        let agent = setup.start();
        books.push(load(&setup, generator, 100));
        assert_accounts_balance(&agent.wait_drained(None, SOON));
        let printed = agent.process.output().tail();
        let said = errors(&printed);
        assert!(said.iter().any(|line| line.contains(file)), "{file}: {said:?}");
        assert!(said.len() <= 2, "{file}: what became of the file, and what follows: {said:?}");
        agent.stop();
        let agent = setup.start();
        let printed = agent.process.output().tail();
        assert!(errors(&printed).is_empty(), "{file}, at the next start: {printed}");
        agent.stop();
    }
    cluster.judge(&books).assert_lossless(books.len() as u64 * 500);
}
