//! Destinations that come, may be left behind, change their names, and go.

use serde_json::Value;

use super::{Cluster, SOON, lane, row, send, stream};
use crate::support;
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::http;
use crate::support::ports::free_port;

#[test]
fn a_destination_that_is_not_required_is_left_behind_when_the_lane_is_full_and_its_losses_are_counted() {
    let cluster = Cluster::start(&["x", "a"]);
    let setup = Setup::new("optional")
        .without_tcp()
        .spool(
            "max_event_size = \"1KiB\"\nsegment_size = \"1MiB\"\nmax_size = \"2MiB\"\ncompression = \"none\"",
        )
        .destination("home", cluster.port(), "")
        .destination("extra", free_port(), "required = false")
        .route("*", "home", "{stream}")
        .route("*", "extra", "{stream}")
        .section(&lane("a", ""))
        .section(&stream("a", "a"));
    let agent = setup.start();
    send(&setup, "a", 0..10);
    let body = [[b'x'; 199].as_slice(), b"\n"].concat().repeat(1_000);
    for _ in 0..60 {
        let answer = http::post(setup.http, "/v1/events/x", "", &body).expect("an answer");
        assert_eq!(answer.status, 200, "12 MB through a lane of 2 MiB: {}", answer.text());
    }
    let status = agent.wait_drained(Some("home"), SOON);
    assert_accounts_balance(&status);
    let home = row(&status, "accounts", &[("lane", "main"), ("destination", "home")]);
    assert_eq!((home["delivered"].as_u64(), home["dropped"].as_u64()), (Some(60_000), Some(0)), "{home}");
    agent.stop();
    // It comes at last, and gets what is left.
    let late = Cluster::start(&["x", "a"]);
    let setup = setup
        .anew()
        .spool(
            "max_event_size = \"1KiB\"\nsegment_size = \"1MiB\"\nmax_size = \"2MiB\"\ncompression = \"none\"",
        )
        .destination("home", cluster.port(), "")
        .destination("extra", late.port(), "required = false")
        .route("*", "home", "{stream}")
        .route("*", "extra", "{stream}")
        .section(&lane("a", ""))
        .section(&stream("a", "a"));
    let agent = setup.start();
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    let extra = row(&status, "accounts", &[("lane", "main"), ("destination", "extra")]);
    let (delivered, dropped) = (extra["delivered"].as_u64(), extra["dropped"].as_u64());
    assert_eq!(extra["accepted"], 60_000, "{extra}");
    assert!(dropped > Some(10_000) && delivered > Some(1_000), "{extra}");
    assert_eq!(late.values("x").len() as u64, delivered.expect("a number"));
    let other = row(&status, "accounts", &[("lane", "a"), ("destination", "extra")]);
    assert_eq!((other["delivered"].as_u64(), other["dropped"].as_u64()), (Some(10), Some(0)), "{other}");
    agent.stop();
}

#[test]
fn a_new_destination_begins_with_the_oldest_event_or_with_the_next_one_and_not_anew_after_a_kill() {
    let cluster = Cluster::start(&["x", "old", "new"]);
    let port = cluster.port();
    let home = |setup: Setup| setup.destination("home", port, "").route("*", "home", "{stream}");
    let setup = home(Setup::new("begins").without_tcp());
    let agent = setup.start();
    let before = send(&setup, "x", 0..10);
    agent.wait_drained(None, SOON);
    agent.stop();
    let dead = free_port();
    let with = |oldest: u16, now: u16| {
        home(setup.anew())
            .destination("all", oldest, "from = \"oldest\"")
            .destination("fresh", now, "from = \"now\"")
            .route("*", "all", "old")
            .route("*", "fresh", "new")
    };
    // First seen while it can't be reached, and killed before it gets anything.
    with(dead, dead).start().kill();
    let seen = with(dead, dead);
    let agent = seen.start();
    let after = send(&seen, "x", 10..20);
    agent.kill();
    let reached = with(port, port);
    let agent = reached.start();
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    assert_eq!(cluster.values("old"), [before, after.clone()].concat());
    assert_eq!(cluster.values("new"), after);
    let since = |name: &str| row(&status, "accounts", &[("destination", name)])["since_seq"].as_u64();
    assert_eq!((since("all"), since("fresh")), (Some(1), Some(11)));
    agent.stop();
}

#[test]
fn a_renamed_destination_goes_on_where_it_was_once() {
    let cluster = Cluster::start(&["x"]);
    let port = cluster.port();
    let setup = Setup::new("renamed").without_tcp().destination("old", port, "");
    let agent = setup.start();
    let mut sent = send(&setup, "x", 0..10);
    agent.wait_drained(None, SOON);
    cluster.cut();
    sent.extend(send(&setup, "x", 10..20));
    agent.kill();
    let renamed = setup.anew().destination("new", port, "renamed_from = \"old\"");
    let agent = renamed.start();
    let status = agent.status();
    let account = row(&status, "accounts", &[("destination", "new")]);
    assert_eq!(
        (account["since_seq"].as_u64(), account["pending"].as_u64()),
        (Some(1), Some(10)),
        "{account}"
    );
    agent.kill();
    cluster.restore();
    let agent = renamed.start();
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    assert_eq!(row(&status, "accounts", &[("destination", "new")])["delivered"], 20);
    assert_eq!(cluster.values("x"), sent);
    agent.stop();
}

/// Runs `destination forget`; returns its exit code and what it printed.
fn forget(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = support::agent::spoolway();
    command.args(["destination", "forget"]).args(arguments).arg("-c").arg(setup.dir.join("spoolway.toml"));
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_destination_that_is_gone_holds_its_events_until_it_is_forgotten_with_an_agent_or_without() {
    const SEGMENTS: &str =
        "max_event_size = \"1KiB\"\nsegment_size = \"1MiB\"\nmax_size = \"64MiB\"\ncompression = \"none\"";
    let cluster = Cluster::start(&["x"]);
    let port = cluster.port();
    let both = |setup: Setup| {
        let home = setup.spool(SEGMENTS).destination("home", port, "").route("*", "home", "{stream}");
        home.destination("gone", free_port(), "").route("*", "gone", "{stream}")
    };
    let setup = both(Setup::new("forgotten").without_tcp());
    let body = [[b'x'; 199].as_slice(), b"\n"].concat().repeat(1_000);
    let fill = || {
        (0..30).for_each(|_| {
            let answer = http::post(setup.http, "/v1/events/x", "", &body).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
        });
    };
    let agent = setup.start();
    fill();
    agent.wait_drained(Some("home"), SOON);
    let (code, said) = forget(&setup, &["gone", "--yes"]);
    assert!(code == Some(2) && said.contains("is configured"), "{said}");
    agent.stop();
    let alone = setup.anew().spool(SEGMENTS).destination("home", port, "");
    let agent = alone.start();
    let bytes = |status: &Value| status["lanes"][0]["bytes"].as_u64().expect("a number");
    assert!(bytes(&agent.status()) > 6_000_000, "all of it is kept");
    let (code, said) = forget(&alone, &["gone"]);
    assert!(code == Some(2) && said.contains("30000 events") && said.contains("--yes"), "{said}");
    let (code, said) = forget(&alone, &["gone", "--yes", "--json"]);
    assert!(code == Some(0) && said.contains("\"events\": 30000"), "{said}");
    agent.wait_status("keeps it", SOON, |s| bytes(s) < 2_500_000);
    let (code, said) = forget(&alone, &["gone", "--yes"]);
    assert!(code == Some(2) && said.contains("nothing is known"), "{said}");
    agent.stop();
    // The same again, with its positions lost, and no agent there when it is forgotten.
    let again = both(setup.anew());
    let agent = again.start();
    fill();
    agent.wait_drained(Some("home"), SOON);
    agent.stop();
    std::fs::remove_file(setup.data_dir().join("readers/main/gone")).expect("it has positions");
    let agent = alone.start();
    assert!(bytes(&agent.status()) > 6_000_000, "all of it is kept");
    agent.stop();
    let (code, said) = forget(&alone, &["gone", "--yes"]);
    assert!(code == Some(0) && said.contains("forgotten"), "{said}");
    let agent = alone.start();
    agent.wait_status("keeps it", SOON, |s| bytes(s) < 2_500_000);
    agent.stop();
}
