//! A stream that moves between lanes, and a destination that gets another name: order and exactness stay.

use std::time::Duration;

use crate::broker::Broker;
use crate::exactly::{WINDOW, finish, in_flight_and_appended};
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::ledger::Told;
use crate::support::load::{Load, Plan};
use crate::support::random::Random;
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);

/// The same directory, with the stream `moved` in a lane.
fn in_lane(setup: &Setup, broker: &Broker, lane: &str) -> Setup {
    let setup = setup.anew().destination("home", broker.port, WINDOW);
    if lane == "main" {
        return setup;
    }
    let lines = format!("[[lane]]\nname = \"{lane}\"\n[[stream]]\nname = \"moved\"\nlane = \"{lane}\"");
    setup.section(&lines)
}

pub fn a_stream_moved_from_lane_to_lane_by_kills_under_load_arrives_once_and_in_order() {
    let broker = Broker::start("lanes");
    let topic = Topic::create(&broker, "moved", 3);
    let setup = Setup::new("moved-lanes").without_tcp();
    let mut random = Random::new("moved-lanes");
    let loads = [1, 2].map(|g| Load::http(Plan::new(setup.http, "moved", g).batch(40).rate(5_000)));
    let mut moves = 0;
    for (round, lane) in ["main", "a", "b", "a", "main", "b", "main", "a"].iter().enumerate() {
        let moved = in_lane(&setup, &broker, lane);
        let agent = moved.start();
        loads[0].wait_accepted(loads[0].accepted() + 200, DRAIN);
        // For a while nothing is delivered, so that a backlog stands in several lanes.
        match round {
            1 => broker.freeze(),
            4 => broker.thaw(),
            _ => {}
        }
        std::thread::sleep(random.millis(50..500)); // the random moment is what is tested
        moves += 1;
        agent.kill();
    }
    let last = in_lane(&setup, &broker, "b");
    let agent = last.start();
    loads[0].wait_accepted(loads[0].accepted() + 200, DRAIN);
    let books = loads.map(Load::stop);
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let accepted: u64 = books.iter().map(|b| b.count(Told::Accepted)).sum();
    let verdict = topic.judge(&books);
    println!("{}: {moves} moves, {accepted} accepted, {verdict}", topic.name);
    assert!(accepted > 2_000, "too little load to prove anything: {accepted}");
    verdict.assert_exact();
}

pub fn what_was_in_flight_under_a_destinations_old_name_is_settled_under_its_new_one() {
    let broker = Broker::start("renamed");
    let topic = Topic::create(&broker, "renamed", 2);
    let setup = Setup::new("renamed-kafka").destination("old", broker.port, WINDOW);
    let books = in_flight_and_appended(&setup, &broker, &topic);
    let lines = format!("{WINDOW}\nrenamed_from = \"old\"");
    finish(&setup.anew().destination("new", broker.port, &lines), &topic, &books);
}
