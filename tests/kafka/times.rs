//! Time stamps where the topic sets bounds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::broker::Broker;
use crate::letters::configure;
use crate::support::agent::Setup;
use crate::support::http;
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(60);
const MINUTE: i64 = 60_000;

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    i64::try_from(since.as_millis()).expect("a time")
}

pub fn events_older_than_half_of_what_their_topic_keeps_or_takes_are_sent_under_the_time_of_sending() {
    bounded(Broker::shared(), "bounded");
}

/// An hour is kept of one topic, and taken by the other.
pub fn bounded(broker: &Broker, name: &str) {
    let names = [format!("{name}-kept"), format!("{name}-taken")];
    let topics = names.each_ref().map(|name| Topic::create(broker, name, 1));
    configure(broker, &names[0], "retention.ms=3600000");
    configure(broker, &names[1], "message.timestamp.before.max.ms=3600000");
    let setup = Setup::new(name).without_tcp().destination("home", broker.port, "compression = \"gzip\"");
    let agent = setup.start();
    let begun = now();
    let ages = [29, 31, 90, 0, -30];
    for name in &names {
        for age in ages {
            let headers = format!(
                "Content-Type: application/octet-stream\r\nSpoolway-Timestamp: {}\r\n",
                begun - age * MINUTE
            );
            let path = format!("/v1/events/{name}");
            let answer = http::post(setup.http, &path, &headers, b"event").expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
            // A window has one kind of stamps: what waits together may share it.
            agent.wait_drained(None, DRAIN);
        }
    }
    let status = agent.wait_drained(None, DRAIN);
    let metrics = agent.metrics();
    assert!(metrics.contains("spoolway_events_restamped_total{destination=\"home\"} 6"), "{metrics}");
    assert_eq!(status["accounts"][0]["delivered"], 10, "{status:#}");
    agent.stop();
    for topic in &topics {
        let rows: Vec<_> = topic.by_offset().into_values().collect();
        for (row, age) in rows.iter().zip(ages) {
            let event = begun - age * MINUTE;
            let keeps = [29, 0].contains(&age);
            assert_eq!(row.timestamp == event, keeps, "{age} min: {row:?}");
            assert!(keeps || (begun..=now()).contains(&row.timestamp), "{row:?}");
            assert_eq!(row.headers.contains(&format!("spoolway-time:{event}")), !keeps, "{row:?}");
        }
        assert_eq!(rows.len(), ages.len());
    }
}
