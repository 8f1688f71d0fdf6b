//! The answer is lost between append and agent, and before the agent asks again the topic would refuse what it has: a
//! refusal of a second try says nothing of the first.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::exactly::WINDOW;
use crate::letters::configure;
use crate::permissions::{allow, deny, guarded, permit};
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::certificates::put;
use crate::support::load::{Load, Plan};
use crate::topic::Topic;
use crate::wire::Wire;

const SOON: Duration = Duration::from_secs(60);

/// Half of the events are in the topic and nobody has said so when `refuse` is done; what the agent then sends again is refused
/// with `code`, until `restore` is done.
fn story(setup: &Setup, topic: &Topic<'_>, wire: &Wire, code: i64, refuse: impl Fn(), restore: impl Fn()) {
    let agent = setup.start();
    let first = Load::http(Plan::new(setup.http, &topic.name, 1).limit(5_000)).finish();
    agent.wait_drained(None, SOON);
    wire.deafen();
    let second = Load::http(Plan::new(setup.http, &topic.name, 2).limit(5_000)).finish();
    let end = Instant::now() + Duration::from_secs(10);
    while topic.len() == 5_000 {
        assert!(Instant::now() < end, "nothing was appended, so nothing is tested");
    }
    refuse();
    wire.cut();
    agent.wait_status("is refused", SOON, |s| s["destinations"][0]["last_error"]["code"] == code);
    let status = agent.status();
    assert_eq!(status["accounts"][0]["dead_lettered"], 0, "{status:#}");
    restore();
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    agent.stop();
    let verdict = topic.judge(&[first, second]);
    println!("{}: {verdict}", topic.name);
    verdict.assert_exact();
    assert_eq!(verdict.distinct, 10_000);
}

pub fn what_was_appended_and_is_too_large_by_now_is_there_once() {
    let broker = Broker::start("doubted");
    let topic = Topic::create(&broker, "doubted", 2);
    let wire = Wire::to(broker.port);
    let setup = Setup::new("doubted").destination("home", wire.port, &format!("{WINDOW}\n{}", wire.lines()));
    let limit = |bytes: &str| configure(&broker, "doubted", &format!("max.message.bytes={bytes}"));
    story(&setup, &topic, &wire, 10, || limit("2000"), || limit("1048588"));
}

pub fn what_was_appended_and_is_forbidden_by_now_is_there_once() {
    let (broker, port) = guarded("doubted-rights");
    let topic = Topic::create(&broker, "doubted-rights", 2);
    allow(&broker, "Write", "doubted-rights");
    allow(&broker, "Read", "doubted-rights");
    let wire = Wire::to(port);
    let setup = Setup::new("doubted-rights");
    put(&setup.dir, "password", "relay-secret");
    let sasl = "sasl = { mechanism = \"PLAIN\", username = \"relay\", password = { file = \"password\" } }";
    let setup = setup.destination("home", wire.port, &format!("{WINDOW}\n{sasl}\n{}", wire.lines()));
    let topic_name = "doubted-rights";
    let (refuse, restore) = (|| deny(&broker, "Write", topic_name), || permit(&broker, "Write", topic_name));
    story(&setup, &topic, &wire, 29, refuse, restore);
}
