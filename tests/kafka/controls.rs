//! Negative controls: the same agent, ledgers and readers, and a fault that no relay can survive. If these
//! tests found nothing wrong, the others would prove nothing.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::broker::Broker;
use crate::support::agent::Setup;
use crate::support::ledger::Book;
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

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

pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("cp starts");
    assert!(status.success(), "{status}");
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
