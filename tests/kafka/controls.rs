//! Negative controls: the same agent, ledgers and readers, and a fault that no relay can survive. If these
//! tests found nothing wrong, the others would prove nothing.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::exactly::WINDOW;
use crate::support::agent::{Setup, spoolway};
use crate::support::compare::Verdict;
use crate::support::ledger::Book;
use crate::support::load::{Load, Plan};
use crate::support::sabotaged::sabotaged;
use crate::topic::Topic;
use crate::wire::Wire;

const SOON: Duration = Duration::from_secs(60);

/// An agent that has accepted 2,000 events for a topic that is not there yet, and has ended.
fn waiting(setup: &Setup, stream: &str) -> Book {
    let agent = setup.start();
    let book = Load::http(Plan::new(setup.http, stream, 1).limit(2_000)).finish();
    agent.stop();
    book
}

fn deliver(setup: &Setup) {
    let agent = setup.start();
    agent.wait_drained(None, SOON);
    agent.stop();
}

/// Of a running agent's directory a file that was listed may be gone by then.
pub fn copy(from: &Path, to: &Path) {
    assert!(from.exists(), "{}", from.display());
    let copied =
        Command::new("cp").env("LC_ALL", "C").arg("-a").args([from, to]).output().expect("cp starts");
    let said = String::from_utf8_lossy(&copied.stderr);
    let is_gone = |line: &str| line.ends_with(": No such file or directory");
    assert!(
        copied.status.success() || !said.is_empty() && said.lines().all(is_gone),
        "{}: {said}",
        copied.status
    );
}

pub fn a_spool_that_is_thrown_away_is_found_missing() {
    let broker = Broker::shared();
    let setup = Setup::new("thrown-away").destination("home", broker.port, "compression = \"gzip\"");
    let mut books = vec![waiting(&setup, "thrown-away")];
    std::fs::remove_dir_all(setup.data_dir()).expect("it can be removed");
    let topic = Topic::create(broker, "thrown-away", 2);
    let agent = setup.start();
    books.push(Load::http(Plan::new(setup.http, "thrown-away", 2).limit(1_000)).finish());
    agent.wait_drained(None, SOON);
    agent.stop();
    let verdict = topic.judge(&books);
    assert_eq!((verdict.missing, verdict.distinct, verdict.doubled), (2_000, 1_000, 0), "{verdict}");
    assert!(!verdict.is_lossless());
}

pub fn a_data_directory_put_back_from_a_copy_is_found_to_double() {
    let broker = Broker::shared();
    let setup = Setup::new("put-back").destination("home", broker.port, "compression = \"gzip\"");
    let book = waiting(&setup, "put-back");
    let kept = setup.dir.join("kept");
    copy(&setup.data_dir(), &kept);
    let topic = Topic::create(broker, "put-back", 2);
    deliver(&setup);
    topic.judge([&book]).assert_exact();
    std::fs::remove_dir_all(setup.data_dir()).expect("it can be removed");
    copy(&kept, &setup.data_dir());
    deliver(&setup);
    let verdict = topic.judge([&book]);
    assert_eq!((verdict.doubled, verdict.missing), (2_000, 0), "{verdict}");
}

/// A process is killed with a window in doubt that the topic has; a copy of its data directory is put back after the next one has
/// delivered more. What comes then has the shape of what came before: the same numbers of events in the same windows.
fn rolled_back(name: &str, program: impl Fn() -> Command) -> Verdict {
    let broker = Broker::shared();
    let topic = Topic::create(broker, name, 1);
    let wire = Wire::to(broker.port);
    let setup = Setup::new(name).destination("home", wire.port, &format!("{WINDOW}\n{}", wire.lines()));
    let start = || {
        let agent = setup.spawn_by(program());
        agent.wait_ready("/readyz?for=accept", SOON);
        agent
    };
    let window = |generator| Load::http(Plan::new(setup.http, name, generator).limit(100)).finish();
    let agent = start();
    let mut books = vec![window(1)];
    agent.wait_drained(None, SOON);
    wire.deafen();
    books.push(window(2));
    let end = Instant::now() + SOON;
    while topic.len() < 200 {
        assert!(Instant::now() < end, "nothing is in doubt, so nothing is tested");
    }
    agent.kill();
    wire.cut();
    let kept = setup.dir.join("kept");
    copy(&setup.data_dir(), &kept);
    for generator in [3, 4] {
        let agent = start();
        books.push(window(generator));
        agent.wait_drained(None, SOON);
        agent.stop();
        if generator == 3 {
            topic.judge(&books).assert_exact();
            std::fs::remove_dir_all(setup.data_dir()).expect("it can be removed");
            copy(&kept, &setup.data_dir());
        }
    }
    let verdict = topic.judge(&books);
    println!("{name}: {verdict}");
    verdict
}

/// The broker takes its new window for the one that it has under that sequence number, and answers that it is there.
pub fn an_agent_that_takes_its_next_sequence_number_from_disk_is_found_to_lose_events_after_a_rollback() {
    rolled_back("rollback", spoolway).assert_exact();
    let verdict = rolled_back("rollback-sabotaged", || sabotaged("next-sequence-from-disk"));
    assert_eq!((verdict.missing, verdict.doubled), (100, 0), "{verdict}");
}
