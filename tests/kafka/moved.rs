//! Streams that move between clusters: what waits goes with them, what is in doubt stays until somebody knows.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::broker::Broker;
use crate::exactly::WINDOW;
use crate::support::agent::{Agent, Setup, assert_accounts_balance, spoolway};
use crate::support::ledger::Told;
use crate::support::load::{Load, Plan};
use crate::support::payload::{Id, id_of};
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);

fn two(setup: Setup, (stream, to): (&str, &str), home: &Broker, away: &Broker) -> Setup {
    setup
        .destination("home", home.port, WINDOW)
        .destination("away", away.port, WINDOW)
        .route(stream, to, "{stream}")
        .route("beside-moved", "away", "{stream}")
}

fn wait_in_flight(agent: &Agent<'_>) {
    agent.wait_status("sends nothing", DRAIN, |status| {
        let rows = status["destinations"].as_array().expect("rows");
        rows.iter().any(|row| row["in_flight"].as_u64() > Some(0))
    });
}

pub fn a_backlog_moved_away_from_a_dead_cluster_arrives_at_the_other_once_and_in_order() {
    let (home, away) = (Broker::start("moved-home"), Broker::shared());
    let there = Topic::create(away, "moved", 3);
    let (here, beside) = (Topic::create(&home, "moved", 3), Topic::create(away, "beside-moved", 1));
    let setup = two(Setup::new("moved").without_tcp(), ("moved", "home"), &home, away);
    let agent = setup.start();
    let before = Load::http(Plan::new(setup.http, "moved", 1).limit(5_000)).finish();
    agent.wait_drained(None, DRAIN);
    home.freeze();
    let backlog = Load::http(Plan::new(setup.http, "moved", 2).limit(10_000)).finish();
    let other = Load::http(Plan::new(setup.http, "beside-moved", 3).limit(2_000)).finish();
    agent.wait_drained(Some("away"), DRAIN);
    wait_in_flight(&agent);
    home.kill();
    let address = format!("127.0.0.1:{}", setup.admin);
    let abandon = ["destination", "abandon", "home", "--json", "--admin", &address];
    let told = spoolway().args(abandon).output().expect("it runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert!(told["events"].as_u64() > Some(0), "nothing was in doubt: {told}");
    agent.stop();
    let moved = two(setup.anew(), ("moved", "away"), &home, away);
    let agent = moved.start();
    let after = Load::http(Plan::new(moved.http, "moved", 4).limit(5_000)).finish();
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    home.run();
    let topics = [(&here, vec![&before]), (&there, vec![&backlog, &after]), (&beside, vec![&other])];
    for (topic, books) in topics {
        let verdict = topic.judge(books);
        println!("{}: {verdict}", topic.name);
        verdict.assert_exact();
    }
    assert_eq!([&before, &backlog, &after].iter().map(|b| b.count(Told::Accepted)).sum::<u64>(), 20_000);
}

pub fn what_is_in_doubt_at_the_old_cluster_stays_there_and_the_rest_goes_to_the_new_one() {
    let (home, away) = (Broker::start("doubt-home"), Broker::shared());
    let there = Topic::create(away, "moved-doubt", 1);
    let here = Topic::create(&home, "moved-doubt", 1);
    let routed = |setup: Setup, to: &str| two(setup, ("moved-doubt", to), &home, away);
    let setup = routed(Setup::new("moved-doubt").without_tcp(), "home");
    let agent = setup.start();
    let first = Load::http(Plan::new(setup.http, "moved-doubt", 1).limit(100)).finish();
    agent.wait_drained(None, DRAIN);
    home.freeze();
    let second = Load::http(Plan::new(setup.http, "moved-doubt", 2).limit(5_000)).finish();
    wait_in_flight(&agent);
    agent.kill();
    let moved = routed(setup.anew(), "away");
    let agent = moved.start();
    agent.wait_drained(Some("away"), DRAIN);
    let at_away = ids(&there);
    assert!((1..5_000).contains(&at_away.len()), "{} of 5000 went away", at_away.len());
    home.thaw();
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let at_home = ids(&here);
    println!("of 5000 {} went away, {} stayed", at_away.len(), at_home.len() - 100);
    assert!(at_home.is_disjoint(&at_away) && ids(&there) == at_away, "some are at both");
    assert_eq!(at_home.len() + at_away.len(), 5_100);
    assert_eq!(first.count(Told::Accepted) + second.count(Told::Accepted), 5_100);
    for verdict in [here.judge([&first, &second]), there.judge([&second])] {
        assert_eq!((verdict.doubled, verdict.reordered), (0, 0), "{verdict}");
    }
}

/// What a topic holds.
fn ids(topic: &Topic<'_>) -> BTreeSet<(u32, u64)> {
    let mut ids = BTreeSet::new();
    topic.read_rskafka(|_, _, _, value| {
        let Id { generator, number } = value.and_then(id_of).expect("a value of ours");
        ids.insert((generator, number));
    });
    ids
}
