//! Every error code of every call, once and for long.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use tokio::time::Instant;

use super::Site;
use crate::config::model::{Mechanism, Sasl};
use crate::kafka::errors::meaning;
use crate::secret::{Secret, SecretSource};

/// Every call that the client makes.
const CALLS: [ApiKey; 9] = [
    ApiKey::ApiVersions,
    ApiKey::SaslHandshake,
    ApiKey::SaslAuthenticate,
    ApiKey::Metadata,
    ApiKey::InitProducerId,
    ApiKey::DescribeConfigs,
    ApiKey::ListOffsets,
    ApiKey::Fetch,
    ApiKey::Produce,
];
const LONG: Duration = Duration::from_secs(40);
/// Requests in a second, at the most, of a client that is refused all the time.
const PACE: u64 = 10;

/// Every code of Kafka's, and some that it does not have.
fn codes() -> impl Iterator<Item = i16> {
    (-1..=133).filter(|code| *code != 0).chain([-7, 999, i16::MAX])
}

/// What a broker refused so may last until a person has acted is tried once a minute, all else every ten seconds.
fn patience(call: ApiKey) -> Duration {
    match call {
        ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => Duration::from_secs(75),
        _ => Duration::from_secs(30),
    }
}

async fn site() -> Site {
    let mut site = Site::new(1).await;
    let password = SecretSource::Known(Secret::new("secret".to_owned()));
    let username = "relay".to_owned();
    site.destination.sasl = Some(Sasl::Password { mechanism: Mechanism::Plain, username, password });
    site.begin();
    site.accept(3);
    site.drain(Duration::from_secs(10), "at the start").await;
    site
}

/// A process dies with a window in flight that was appended, and the next one needs every call there is.
async fn leave_in_doubt(site: &mut Site) {
    let before = site.target.counts().borrow().batches;
    site.target.faults().hold_answers();
    site.accept(4);
    let target = std::sync::Arc::clone(&site.target);
    assert!(site.go_on(Duration::from_secs(60), |_| target.counts().borrow().batches > before).await);
    site.kill();
    site.target.faults().drop_connections();
    site.target.faults().release_answers();
}

async fn story(call: ApiKey, code: i16) -> (Duration, u64) {
    let what = format!("{call:?} {code}");
    let mut site = site().await;
    leave_in_doubt(&mut site).await;
    site.target.faults().refuse_calls(call, code, 1);
    site.begin();
    site.accept(5);
    site.drain(patience(call), &format!("{what} once")).await;
    leave_in_doubt(&mut site).await;
    site.target.faults().refuse_calls(call, code, u32::MAX);
    let requests = site.target.counts().borrow().requests;
    site.begin();
    site.accept(6);
    site.pass(LONG).await;
    let requests = site.target.counts().borrow().requests - requests;
    assert!(requests < PACE * LONG.as_secs(), "{what}: {requests} requests in {LONG:?}");
    site.target.faults().refuse_calls(call, code, 0);
    let took = site.drain(patience(call), &format!("{what} for long")).await;
    site.accept(2);
    site.drain(Duration::from_secs(12), &format!("{what} afterwards")).await;
    site.check(&what);
    (took, requests)
}

#[tokio::test(start_paused = true)]
async fn every_error_code_of_every_call_once_and_for_long_costs_nothing_but_time() {
    let began = std::time::Instant::now();
    let mut worst: BTreeMap<i16, (Duration, u64)> = BTreeMap::new();
    for call in CALLS {
        for code in codes() {
            let (took, requests) = story(call, code).await;
            let row = worst.entry(call as i16).or_default();
            *row = (row.0.max(took), row.1.max(requests));
        }
    }
    println!(
        "{} stories in {:?}; the slowest return and most requests of each call: {worst:?}",
        CALLS.len() * codes().count(),
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_appended_and_answered_with_an_error_is_there_once() {
    for code in codes().filter(|code| meaning(*code).ambiguous) {
        let what = format!("appended, then {code}");
        let mut site = site().await;
        site.target.faults().append_and_refuse("t", 0, code, 3);
        site.accept(5);
        site.drain(Duration::from_secs(12), &what).await;
        // And where it was another process that heard of it.
        site.target.faults().append_and_refuse("t", 0, code, u32::MAX);
        site.accept(5);
        site.pass(Duration::from_secs(20)).await;
        site.kill();
        site.begin();
        site.pass(Duration::from_secs(20)).await;
        site.target.faults().clear_planned();
        site.drain(Duration::from_secs(12), &what).await;
        site.check(&what);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_answers_nonsense_is_left_and_asked_again() {
    for body in [&b""[..], b"\0", &[0xff; 9], &[0x7f; 40], &[0; 300]] {
        let mut site = site().await;
        site.target.faults().answer_raw(body, 12);
        site.accept(5);
        site.target.faults().drop_connections();
        let began = Instant::now();
        site.drain(Duration::from_secs(180), "nonsense").await;
        assert!(began.elapsed() < Duration::from_secs(180));
        site.check("nonsense");
    }
}
