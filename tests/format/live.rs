//! Spools of a running agent.

use std::time::{Duration, Instant};

use crate::readers::{program, second};
use crate::support::agent::Setup;
use crate::support::http;
use crate::support::load::{Load, Plan};
use crate::support::ports::free_port;

/// Segments of 1 MiB, and nowhere to deliver to, so that everything stays.
pub fn lonely(name: &str) -> Setup {
    Setup::new(name).spool("max_event_size = \"64KiB\"\nsegment_size = \"1MiB\"").destination(
        "home",
        free_port(),
        "",
    )
}

#[test]
fn both_readers_see_the_same_beside_a_running_agent_and_after_its_kill() {
    let setup = lonely("live");
    let agent = setup.start();
    let load = Load::http(Plan::new(setup.http, "a", 1).rate(3_000));
    // Of a log that grows, whoever looks later sees what was seen before, and more.
    let (mut seen, mut grown) = (String::new(), 0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while grown < 4 {
        assert!(Instant::now() < deadline, "nothing is written between two looks");
        for read in [program, second] {
            let said = read(&setup.data_dir());
            assert_eq!(said.lost, [], "nothing is lost");
            assert!(said.events.starts_with(&seen), "what was there is there no more");
            grown += usize::from(said.events.len() > seen.len());
            seen = said.events;
        }
    }
    let book = load.stop();
    let accepted = book.count(crate::support::ledger::Told::Accepted);
    let answer =
        http::post(setup.http, "/v1/events/last?key=%00%ff", "", b"\x7f and \xff\n\x7f").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = program(&setup.data_dir());
    assert_eq!(second(&setup.data_dir()), said);
    assert_eq!(said.events.lines().count() as u64, accepted + 2);
    agent.kill();
    assert_eq!(program(&setup.data_dir()), said);
    assert_eq!(second(&setup.data_dir()), said);
    setup.start().terminate(Duration::from_secs(10));
    assert_eq!(program(&setup.data_dir()), said);
    assert_eq!(second(&setup.data_dir()), said);
}
