//! A broker that has less to give than the relay would take: a quota in bytes a second.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::Broker;
use crate::java;
use crate::support::agent::{Agent, Setup, assert_accounts_balance};
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);
/// Bytes a second.
const QUOTA: u64 = 60_000;
/// What Kafka looks back over (`quota.window.num`, `quota.window.size.seconds`): so much may come at once.
const LOOKS_BACK: Duration = Duration::from_secs(11);
/// Two windows of two partitions.
const REQUEST: u64 = 2 * 128 * 1024;
/// Two of these go in one request, which costs more seconds than a request may take to be answered.
const WINDOW: &str = "batch_size = \"128KiB\"\nrequest_timeout = \"4s\"\ncompression = \"none\"\n";

fn limit(broker: &Broker, client: &str, change: [&str; 2]) {
    let address = broker.address();
    let whom =
        ["--bootstrap-server", &address, "--alter", "--entity-type", "clients", "--entity-name", client];
    java::tool("org.apache.kafka.tools.ConfigCommand", &[&whom[..], &change].concat());
}

/// What is wrong with a destination that only has to wait.
fn complaint(status: &Value) -> Option<String> {
    let row = &status["destinations"][0];
    // A broker that is still starting may have been asked for a producer id too early.
    let error = &row["last_error"];
    let no_error = error.is_null() || error["code"] == 14;
    let is_well = row["up"] == true && no_error && row["possibly_doubled"] == 0;
    (!is_well).then(|| row.to_string())
}

/// Waits, and looks all the time whether something is wrong.
fn wait_calmly(agent: &Agent<'_>, done: impl Fn(&Value) -> bool) -> Value {
    agent.wait_status("waits for its quota", DRAIN, |status| {
        assert_eq!(complaint(status), None);
        done(status)
    })
}

fn number(status: &Value, name: &str) -> u64 {
    status["accounts"][0][name].as_u64().expect("a number")
}

fn sent(agent: &Agent<'_>) -> u64 {
    let metrics = agent.metrics();
    let row = metrics.lines().find(|l| l.starts_with("spoolway_network_sent_bytes_total{"));
    row.and_then(|row| row.rsplit(' ').next()?.parse().ok()).expect("it counts what it sends")
}

pub fn a_quota_is_obeyed_beyond_the_request_timeout_and_nothing_is_sent_again_also_over_a_kill() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "throttled", 2);
    let setup = Setup::new("throttled").without_tcp().destination(
        "home",
        broker.port,
        &format!("{WINDOW}client_id = \"throttled\"\n"),
    );
    let rate = format!("producer_byte_rate={QUOTA}");
    limit(broker, "throttled", ["--add-config", &rate]);
    let load =
        |generator, count| Load::http(Plan::new(setup.http, "throttled", generator).limit(count)).finish();
    let agent = setup.start();
    agent.wait_status("does not see Kafka", DRAIN, |s| s["destinations"][0]["up"] == true);
    let began = Instant::now();
    let mut books = vec![load(1, 4_500)];
    let accepted = began.elapsed();
    let status = wait_calmly(&agent, |s| number(s, "pending") == 0);
    let told = status["destinations"][0]["throttled_seconds"].as_f64().expect("a number");
    assert!(told > 5.0 && told < 2.0 * began.elapsed().as_secs_f64(), "throttled for {told} seconds");
    let (took, stored) = (began.elapsed(), broker.log_bytes("throttled"));
    println!("throttled: {stored} bytes in {took:?}, accepted in {accepted:?}, {} sent", sent(&agent));
    assert!(took + LOOKS_BACK >= Duration::from_secs(stored / QUOTA), "{stored} bytes in {took:?}");
    // Nothing but requests around the windows has been sent beside what is stored.
    assert!(sent(&agent) < stored + 32 * 1024, "{} sent, {stored} stored", sent(&agent));

    books.push(load(2, 3_000));
    wait_calmly(&agent, |s| number(s, "delivered") > 4_500 && number(s, "pending") > 0);
    agent.kill();
    let agent = setup.start();
    agent.wait_status("does not see Kafka", DRAIN, |s| s["destinations"][0]["up"] == true);
    let status = wait_calmly(&agent, |s| number(s, "pending") == 0);
    assert_accounts_balance(&status);
    agent.stop();
    let (took, stored) = (began.elapsed(), broker.log_bytes("throttled"));
    println!("throttled: {stored} bytes in {took:?}, killed in the midst of it");
    // A broker's answer to a new connection's first request is the first word of the quota there.
    let told = stored - REQUEST;
    assert!(took + LOOKS_BACK >= Duration::from_secs(told / QUOTA), "{stored} bytes in {took:?}");
    topic.judge(&books).assert_exact();

    // It was the quota that took the time.
    limit(broker, "throttled", ["--delete-config", "producer_byte_rate"]);
    let agent = setup.start();
    let began = Instant::now();
    books.push(load(3, 4_500));
    let status = agent.wait_drained(None, DRAIN);
    assert_eq!(status["destinations"][0]["throttled_seconds"], 0.0);
    let without = began.elapsed();
    println!("throttled: without the quota {without:?}");
    assert!(without < took / 2, "{without:?}");
    agent.stop();
    topic.judge(&books).assert_exact();
}
