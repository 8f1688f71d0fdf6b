//! `ack = "delivered"`: 200 when Kafka has the events, 202 when that takes too long.

use std::time::Duration;

use crate::broker::Broker;
use crate::support::agent::Setup;
use crate::support::http;
use crate::topic::Topic;

pub fn delivered_means_in_the_topic_and_202_means_kept_and_not_yet_there() {
    let broker = Broker::shared();
    let there = Topic::create(broker, "acked", 2);
    let setup = Setup::new("acked").http("ack = \"delivered\"\ndelivered_timeout = \"1s\"").destination(
        "home",
        broker.port,
        "compression = \"gzip\"",
    );
    let agent = setup.start();
    for count in 1..=20 {
        let answer = http::post(setup.http, "/v1/events/acked?key=k", "", b"one").expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(there.len(), count, "answered before Kafka had it");
    }
    let answer = http::post(setup.http, "/v1/events/acked-late", "", b"one\ntwo").expect("an answer");
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.json()["accepted"], 2);
    let late = Topic::create(broker, "acked-late", 1);
    agent.wait_drained(None, Duration::from_secs(30));
    agent.stop();
    assert_eq!((there.len(), late.len()), (20, 2));
}
