//! `spoolway demo` on a real cluster, stopped in the midst of it.

use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::support::agent::spoolway;
use crate::support::process::{Process, Signal, scratch};
use crate::topic;

const SOON: Duration = Duration::from_secs(60);

/// One whose agent has begun, in a folder for what it writes.
fn begun(broker: &Broker) -> (Process, std::path::PathBuf) {
    let folder = scratch("interrupted");
    let mut command = spoolway();
    command.args(["demo", "-b", &broker.address()]).env("TMPDIR", &folder);
    let demo = Process::spawn("spoolway demo", command);
    assert!(demo.output().wait_for("agent started", SOON), "{}", demo.output().tail());
    (demo, folder)
}

fn topics(broker: &Broker) -> Vec<String> {
    topic::names(broker).into_iter().filter(|name| name.starts_with("spoolway-demo-")).collect()
}

/// Its topic stayed.
pub fn a_demo_that_is_interrupted_deletes_its_topic() {
    let broker = Broker::shared();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (demo, folder) = begun(broker);
        assert_eq!(topics(broker).len(), 1, "it has one of its own");
        demo.signal(signal);
        assert_eq!(demo.wait(SOON).code(), Some(1), "{}", demo.output().tail());
        assert_eq!(folder.read_dir().expect("it is there").count(), 0, "the demo left something behind");
        let deadline = Instant::now() + SOON;
        while !topics(broker).is_empty() {
            assert!(Instant::now() < deadline, "its topic stays: {:?}", topics(broker));
            thread::sleep(Duration::from_millis(50)); // another program's progress can only be asked for
        }
        let said = demo.output().count("interrupted; nothing of the demo is left");
        assert_eq!(said, 1, "{}", demo.output().tail());
    }
}

pub fn a_demo_whose_cluster_is_gone_ends_in_time_and_names_the_topic_that_may_be_left() {
    let broker = Broker::start("gone-in-demo");
    let (demo, folder) = begun(&broker);
    let [topic] = &topics(&broker)[..] else { panic!("it has one topic of its own") };
    broker.freeze();
    demo.signal(Signal::INT);
    let began = Instant::now();
    assert_eq!(demo.wait(SOON).code(), Some(1), "{}", demo.output().tail());
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    let said = format!("the topic {topic} may be left");
    assert_eq!(demo.output().count(&said), 1, "{}", demo.output().tail());
    assert_eq!(folder.read_dir().expect("it is there").count(), 0, "the demo left something behind");
    broker.thaw();
}
