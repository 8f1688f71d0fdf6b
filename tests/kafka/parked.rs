//! What waits for a topic that will not have it does not fill the lane that others need.

use std::time::Duration;

use serde_json::Value;

use crate::broker::Broker;
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

const SOON: Duration = Duration::from_secs(60);
/// Several times what the lane has room for.
const EVENTS: u64 = 60_000;

fn setup(name: &str, port: u16, park_size: &str) -> Setup {
    let spool = [
        "segment_size = \"1MiB\"",
        "max_event_size = \"100KiB\"",
        "max_size = \"6MiB\"",
        "compression = \"none\"",
        park_size,
    ];
    let setup = Setup::new(name).without_tcp().destination("home", port, "compression = \"gzip\"");
    spool.into_iter().fold(setup, Setup::spool)
}

fn number(status: &Value, array: &str, key: &str) -> u64 {
    status[array][0][key].as_u64().unwrap_or_else(|| panic!("{array} without {key}: {status:#}"))
}

pub fn a_missing_topic_does_not_fill_its_lane_and_gets_everything_in_order_once_it_is_made() {
    let broker = Broker::shared();
    let here = Topic::create(broker, "flowing", 2);
    let setup = setup("parked", broker.port, "park_size = \"64MiB\"");
    let agent = setup.start();
    // While the lane takes three times what it has room for, nobody is refused.
    let loads = [("unmade", 1), ("flowing", 2)]
        .map(|(stream, g)| Load::http(Plan::new(setup.http, stream, g).limit(EVENTS)));
    loads[0].wait_accepted(EVENTS / 3, SOON);
    agent.kill();
    let agent = setup.start();
    let books = loads.map(Load::finish);
    let status = agent.wait_status("did not deliver what it can", SOON, |s| {
        number(s, "accounts", "delivered") >= books[1].count(crate::support::ledger::Told::Accepted)
    });
    assert_accounts_balance(&status);
    assert!(number(&status, "destinations", "parked_bytes") > 4 << 20, "{status:#}");
    assert!(number(&status, "lanes", "bytes") <= 7 << 20, "{status:#}");
    here.judge([&books[1]]).assert_exact();
    agent.kill();
    let agent = setup.start();
    let made = Topic::create(broker, "unmade", 2);
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    agent.wait_status("keeps what has arrived", SOON, |s| number(s, "destinations", "parked_bytes") == 0);
    agent.stop();
    made.judge([&books[0]]).assert_exact();
    here.judge([&books[1]]).assert_exact();
}

pub fn without_room_for_it_elsewhere_a_missing_topic_fills_its_lane() {
    let broker = Broker::shared();
    let setup = setup("unparked", broker.port, "park_size = \"0B\"");
    let agent = setup.start();
    let load = Load::http(Plan::new(setup.http, "unmade-too", 1).limit(EVENTS));
    let status = agent.wait_status("is not full", SOON, |s| s["lanes"][0]["full"] == true);
    assert_eq!(number(&status, "destinations", "parked_bytes"), 0, "{status:#}");
    let made = Topic::create(broker, "unmade-too", 1);
    let book = load.finish();
    agent.wait_drained(None, SOON);
    agent.stop();
    made.judge([&book]).assert_exact();
}
