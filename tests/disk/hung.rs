//! A disk that does not answer any more, and later does: a frozen file system, on which every call that writes waits.

use std::time::{Duration, Instant};

use crate::outside::Outside;
use crate::says;
use crate::site::{STREAM, Site};
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::http;
use crate::support::load::{Load, Plan};
use crate::volume::{EXT4, Volume};

const SOON: Duration = Duration::from_secs(30);

pub fn an_agent_on_a_disk_that_hangs_says_so_refuses_and_goes_on_when_it_answers() {
    let site = Site::start();
    let setup = site.of(Setup::new("hung").without_tcp(), "");
    let volume = Volume::new(EXT4, &setup.data_dir());
    let agent = setup.start();
    let mut outside = Outside::default();
    let load = Load::http(Plan::new(setup.http, STREAM, 1).batch(8).rate(100));
    load.wait_accepted(80, SOON);
    let frozen = volume.freeze();
    // Its own senders' requests wait in the disk's hands; whoever comes later is not kept waiting.
    says::not_accepting(&agent, "has not answered");
    let asked = Instant::now();
    let answer = http::post(setup.http, "/v1/events/events", "", b"{\"refused\":true}").expect("an answer");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("spool_failing"), "{}", answer.text());
    assert_eq!(
        http::get(setup.admin, "/healthz").expect("an answer").status,
        200,
        "a start anew would not help"
    );
    says::assert_trouble_said(&agent, 1);
    drop(frozen);
    agent.wait_ready("/readyz?for=accept", SOON);
    let before = load.accepted();
    load.wait_accepted(before + 80, SOON);
    outside.add(load.stop());
    assert_accounts_balance(&agent.wait_drained(None, SOON));
    says::assert_trouble_said(&agent, 1);
    assert_eq!(
        agent.process.output().count("the disk answers again"),
        1,
        "{}",
        agent.process.output().tail()
    );
    agent.stop();
    let verdict = outside.verdict(&site);
    println!("hung, and answered again without a restart, {verdict}");
    verdict.assert_exact();
}
