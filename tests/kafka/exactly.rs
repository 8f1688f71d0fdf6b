//! What was in flight when the agent died is settled from its journal, whatever the broker still knows.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::controls::copy;
use crate::letters::configure;
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::ledger::{Book, Told};
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);
pub const WINDOW: &str = "batch_size = \"32KiB\"\ncompression = \"gzip\"";

/// An agent that is killed while its windows stand in the socket of a frozen broker, which then appends them: they are in
/// the log, and nobody was told.
pub fn in_flight_and_appended(setup: &Setup, broker: &Broker, topic: &Topic<'_>) -> [Book; 2] {
    let agent = setup.start();
    let first = Load::http(Plan::new(setup.http, &topic.name, 1).limit(5_000)).finish();
    agent.wait_drained(None, DRAIN);
    broker.freeze();
    let second = Load::http(Plan::new(setup.http, &topic.name, 2).limit(5_000)).finish();
    agent.wait_status("sends nothing", DRAIN, |s| s["destinations"][0]["in_flight"].as_u64() > Some(0));
    agent.kill();
    let before = topic_len_after_thaw(broker, topic);
    assert!(before > 5_000, "nothing was in flight, so nothing is tested: {before}");
    assert_eq!(first.count(Told::Accepted) + second.count(Told::Accepted), 10_000);
    [first, second]
}

fn topic_len_after_thaw(broker: &Broker, topic: &Topic<'_>) -> u64 {
    broker.thaw();
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let len = topic.len();
        if len > 5_000 || Instant::now() > end {
            return len;
        }
    }
}

pub fn finish(setup: &Setup, topic: &Topic<'_>, books: &[Book]) {
    let agent = setup.start();
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let verdict = topic.judge(books);
    println!("{}: {verdict}", topic.name);
    verdict.assert_exact();
    assert_eq!(verdict.distinct, 10_000);
}

pub fn what_was_in_flight_is_read_back_from_a_broker_that_has_forgotten_its_producers() {
    let broker = Broker::start("read-back");
    let topic = Topic::create(&broker, "read-back", 2);
    let setup = Setup::new("read-back").destination("home", broker.port, WINDOW);
    let books = in_flight_and_appended(&setup, &broker, &topic);
    broker.stop();
    assert_ne!(broker.forget_producers(), 0);
    broker.run();
    finish(&setup, &topic, &books);
}

pub fn without_a_journal_the_same_is_doubled() {
    // The control: the windows were in flight, and the broker would have taken them twice.
    let broker = Broker::start("read-nothing");
    let topic = Topic::create(&broker, "read-nothing", 2);
    let window = format!("{WINDOW}\ndelivery = \"at-least-once\"");
    let setup = Setup::new("read-nothing").destination("home", broker.port, &window);
    let books = in_flight_and_appended(&setup, &broker, &topic);
    broker.stop();
    assert_ne!(broker.forget_producers(), 0);
    broker.run();
    let agent = setup.start();
    agent.wait_drained(None, DRAIN);
    agent.stop();
    let verdict = topic.judge(&books);
    println!("{}: {verdict}", topic.name);
    assert!(verdict.is_lossless() && verdict.doubled > 0, "{verdict}");
}

pub fn what_was_in_flight_is_settled_though_the_topic_would_refuse_it_by_now() {
    let broker = Broker::start("refused-later");
    let topic = Topic::create(&broker, "refused-later", 2);
    let setup = Setup::new("refused-later").destination("home", broker.port, WINDOW);
    let books = in_flight_and_appended(&setup, &broker, &topic);
    configure(&broker, "refused-later", "max.message.bytes=2000");
    finish(&setup, &topic, &books);
}

/// Flips a bit of an event that was accepted, where it stands in the spool.
fn damage(setup: &Setup, event: &[u8]) {
    let entries = std::fs::read_dir(setup.data_dir().join("lanes/main")).expect("a lane");
    let damaged = entries.filter(|entry| {
        let path = entry.as_ref().expect("an entry").path();
        let mut bytes = std::fs::read(&path).unwrap_or_default();
        let Some(at) = bytes.windows(event.len()).position(|window| window == event) else { return false };
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).expect("it can be written");
        true
    });
    assert_eq!(damaged.count(), 1, "the event stands in one segment");
}

pub fn a_window_of_which_a_block_has_rotted_is_looked_for_and_what_it_has_is_there_once() {
    let broker = Broker::start("rotted");
    let topic = Topic::create(&broker, "rotted", 2);
    // Windows of several blocks each.
    let window = format!("{WINDOW}\nlinger = \"2s\"");
    let setup =
        Setup::new("rotted").spool("compression = \"none\"").destination("home", broker.port, &window);
    let books = in_flight_and_appended(&setup, &broker, &topic);
    damage(&setup, br#"{"g":2,"n":0,"pad":"#);
    broker.stop();
    assert_ne!(broker.forget_producers(), 0);
    broker.run();
    let agent = setup.start();
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    assert_ne!(status["accounts"][0]["lost_to_damage"], 0, "{status:#}");
    agent.stop();
    let verdict = topic.judge(&books);
    println!("{}: {verdict}", topic.name);
    // The block was in the windows that had arrived, with others.
    verdict.assert_exact();
    assert_eq!(verdict.distinct, 10_000);
}

pub fn a_snapshot_put_back_after_more_was_delivered_takes_no_new_event_for_an_old_one() {
    let broker = Broker::start("rolled-back");
    let topic = Topic::create(&broker, "rolled-back", 2);
    let setup = Setup::new("rolled-back").destination("home", broker.port, WINDOW);
    let [first, second] = in_flight_and_appended(&setup, &broker, &topic);
    let kept = setup.dir.join("kept");
    copy(&setup.data_dir(), &kept);
    let load = |generator| Load::http(Plan::new(setup.http, "rolled-back", generator).limit(5_000)).finish();
    let agent = setup.start();
    let before = agent.status()["relay"]["incarnation"].clone();
    let third = load(3);
    agent.wait_drained(None, DRAIN);
    agent.stop();
    topic.judge([&first, &second, &third]).assert_exact();
    std::fs::remove_dir_all(setup.data_dir()).expect("it can be removed");
    copy(&kept, &setup.data_dir());
    // Its numbers, its sequences and its counters have all been used for other events meanwhile.
    let agent = setup.start();
    let status = agent.status();
    assert_ne!(status["relay"]["incarnation"], before, "{status:#}");
    let fourth = load(4);
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let verdict = topic.judge([&first, &second, &third, &fourth]);
    println!("{}: {verdict}", topic.name);
    assert_eq!((verdict.missing, verdict.distinct), (0, 20_000), "{verdict}");
    // What the snapshot did not know to be delivered is delivered again, and no more.
    assert!(verdict.doubled <= 5_000, "{verdict}");
}
