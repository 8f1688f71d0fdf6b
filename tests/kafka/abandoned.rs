//! What a person gives up: windows that are held because nobody can find out whether they have arrived.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::broker::Broker;
use crate::exactly;
use crate::support::agent::{Setup, assert_accounts_balance, spoolway};
use crate::support::ledger::Told;
use crate::support::load::{Load, Plan};
use crate::support::records::Hands;
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(60);

/// `spoolway destination abandon home` of this setup.
fn abandon(setup: &Setup, more: &[&str]) -> (Option<i32>, String, String) {
    let config = setup.dir.join("spoolway.toml");
    let mut command = spoolway();
    command.args(["destination", "abandon", "home", "-c"]).arg(&config).args(more);
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

fn destination<'v>(status: &'v Value, name: &str) -> &'v Value {
    let rows = status["destinations"].as_array().expect("rows");
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {status:#}"))
}

fn possibly_doubled(metrics: &str, destination: &str) -> u64 {
    let row =
        format!("spoolway_events_possibly_doubled_total{{lane=\"main\",destination=\"{destination}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&row)?.parse().ok()).unwrap_or_default()
}

pub fn what_is_held_in_doubt_goes_out_anew_and_counted_once_a_person_gives_it_up_and_nobody_else_notices() {
    let (broker, other) = (Broker::start("abandoned"), Broker::shared());
    let (topic, copy) = (Topic::create(&broker, "abandoned", 1), Topic::create(other, "abandoned", 2));
    let setup = Setup::new("abandoned")
        .without_tcp()
        .destination("home", broker.port, &format!("{}\nin_doubt = \"hold\"", exactly::WINDOW))
        .destination("other", other.port, exactly::WINDOW)
        .route("abandoned", "home", "{stream}")
        .route("abandoned", "other", "{stream}");
    let [first, second] = exactly::in_flight_and_appended(&setup, &broker, &topic);
    // The broker has forgotten its producers, and of the log all that was there is deleted: nobody can tell any more.
    broker.stop();
    assert_ne!(broker.forget_producers(), 0);
    broker.run();
    let hands = Hands::at(&broker.address());
    for (partition, (_, end)) in (0..).zip(topic.offsets()) {
        hands.delete_before("abandoned", partition, end);
    }

    let agent = setup.start();
    let held = agent.wait_status("does not hold what is in doubt", DRAIN, |status| {
        let home = destination(status, "home");
        home["last_error"]["hint"].as_str().is_some_and(|hint| hint.contains("is held until then"))
    });
    let in_doubt = destination(&held, "home")["in_flight"].as_u64().expect("a number");
    assert_ne!(in_doubt, 0, "{held:#}");
    let third = Load::http(Plan::new(setup.http, &topic.name, 3).limit(1_000)).finish();
    assert_eq!(third.count(Told::Accepted), 1_000);
    let status = agent.wait_drained(Some("other"), DRAIN);
    assert_accounts_balance(&status);
    let home = destination(&status, "home");
    assert_eq!((home["in_flight"].as_u64(), topic.len()), (Some(in_doubt), 0), "{home:#}");

    let (code, said, error) = abandon(&setup, &["--json"]);
    assert_eq!(code, Some(0), "{said}{error}");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["events"], &said["lanes"][0]["lane"]), (&in_doubt.into(), &"main".into()), "{said}");
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    let metrics = agent.metrics();
    assert_eq!(possibly_doubled(&metrics, "home"), in_doubt);
    assert_eq!(possibly_doubled(&metrics, "other"), 0);
    assert_eq!(abandon(&setup, &[]).0, Some(2), "nothing is in doubt any more");
    agent.stop();
    let (code, _, error) = abandon(&setup, &[]);
    assert!(code == Some(1) && error.contains("start it first"), "{code:?} {error}");

    let verdict = topic.judge([&second, &third]);
    println!("{in_doubt} in doubt; home: {verdict}");
    verdict.assert_exact();
    copy.judge([&first, &second, &third]).assert_exact();
}
