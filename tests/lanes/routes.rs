//! Streams that get another cluster while the agent runs: by hand, by a changed file, by a reload.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Cluster, SOON, send};
use crate::support::agent::{Agent, Setup, assert_accounts_balance, spoolway};
use crate::support::http;
use crate::support::process::Signal;

fn two(name: &str, home: &Cluster, away: &Cluster) -> Setup {
    let patient = "linger = \"0ms\"";
    Setup::new(name)
        .without_tcp()
        .destination("home", home.port(), patient)
        .destination("away", away.port(), patient)
        .route("orders", "home", "{stream}")
        .route("beside", "away", "{stream}")
}

/// What `spoolway ARGUMENTS` says to the agent of this setup.
fn ask(setup: &Setup, arguments: &[&str]) -> Output {
    let address = format!("127.0.0.1:{}", setup.admin);
    spoolway().args(arguments).args(["--admin", &address]).output().expect("it runs")
}

#[track_caller]
fn done(setup: &Setup, arguments: &[&str]) -> String {
    let output = ask(setup, arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn refused(setup: &Setup, arguments: &[&str], why: &str) {
    let output = ask(setup, arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert!(error.contains(why), "{arguments:?}: {error}");
}

/// Waits until the first route is this one; while the agent goes over to it, it does not answer.
#[track_caller]
fn wait_routed(agent: &Agent<'_>, setup: &Setup, stream: &str, to: &str) -> Value {
    let end = Instant::now() + SOON;
    loop {
        let status = http::get(setup.admin, "/status").ok().map(|answer| answer.json());
        let is = |s: &Value| s["routes"][0]["to"] == to && s["routes"][0]["streams"][0] == stream;
        if let Some(status) = status.filter(is) {
            agent.wait_ready("/readyz?for=accept", SOON);
            return status;
        }
        assert!(Instant::now() < end, "no route {stream} -> {to}; {}", agent.process.output().tail());
        // Another process's state can only be asked for.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_route_that_is_set_holds_from_then_on_outlives_a_kill_and_ends_with_a_reload_unless_it_is_pinned() {
    let (home, away) = (Cluster::start(&["orders"]), Cluster::start(&["orders", "beside"]));
    let setup = two("set-routes", &home, &away);
    let agent = setup.start();
    let mut here = send(&setup, "orders", 0..20);
    send(&setup, "beside", 0..20);
    agent.wait_drained(None, SOON);
    refused(&setup, &["destination", "abandon", "home"], "nothing is in doubt");
    refused(&setup, &["destination", "abandon", "hme"], "has no destination hme");
    refused(&setup, &["route", "set", "orders", "awy"], "did you mean away");
    refused(&setup, &["route", "set", "orders", "away:a/b"], "is no topic");
    refused(&setup, &["route", "unset", "orders"], "no route was set");
    assert_eq!(agent.status()["routes"].as_array().expect("rows").len(), 2, "nothing has changed");

    home.cut();
    // What waits goes along.
    let mut there = send(&setup, "orders", 20..40);
    done(&setup, &["route", "set", "ord*", "away"]);
    wait_routed(&agent, &setup, "ord*", "away");
    assert!(done(&setup, &["route", "list"]).starts_with("ord* -> away:{stream}  (set)\n"));
    there.extend(send(&setup, "orders", 40..60));
    let status = agent.wait_drained(Some("away"), SOON);
    assert_accounts_balance(&status);
    agent.kill();
    let agent = setup.start();
    wait_routed(&agent, &setup, "ord*", "away");
    there.extend(send(&setup, "orders", 60..70));
    agent.wait_drained(Some("away"), SOON);
    home.restore();
    agent.wait_drained(None, SOON);

    agent.process.signal(Signal::HUP);
    wait_routed(&agent, &setup, "orders", "home");
    here.extend(send(&setup, "orders", 70..80));
    agent.wait_drained(None, SOON);
    done(&setup, &["route", "set", "orders", "away", "--pin"]);
    wait_routed(&agent, &setup, "orders", "away");
    agent.process.signal(Signal::HUP);
    assert!(agent.process.output().wait_for("the configuration has not changed", SOON));
    assert_eq!(wait_routed(&agent, &setup, "orders", "away")["routes"][0]["pinned"], true);
    done(&setup, &["route", "unset", "orders"]);
    wait_routed(&agent, &setup, "orders", "home");
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    agent.stop();
    assert_eq!((home.values("orders"), away.values("orders")), (here, there));
}

#[test]
fn with_watch_a_changed_file_counts_by_itself_and_a_wrong_one_is_said_once() {
    let (home, away) = (Cluster::start(&["orders"]), Cluster::start(&["orders", "beside"]));
    let setup = two("watched", &home, &away);
    let more = setup.dir.join("conf.d");
    std::fs::create_dir(&more).expect("a directory");
    std::fs::write(more.join("watch.toml"), "[relay]\nwatch = true\n").expect("a file");
    let agent = setup.start();
    // As Kubernetes does it: a link that leads elsewhere all of a sudden.
    let replace = |text: &str| {
        let (new, link, path) =
            (setup.dir.join("new.toml"), setup.dir.join("link"), setup.dir.join("spoolway.toml"));
        std::fs::write(&new, text).expect("a file");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&new, &link).expect("a link");
        std::fs::rename(&link, &path).expect("a renamed link");
    };
    let good = setup.config();
    replace(&good.replace("to = \"home\"", "to = \"hoome\""));
    let said = "the configuration is wrong, and the one before goes on";
    assert!(agent.process.output().wait_for(said, SOON), "{}", agent.process.output().tail());
    let routes = |status: &Value| status["routes"][0]["to"].clone();
    assert_eq!(routes(&agent.status()), "home");
    // Two more looks at it.
    let until = Instant::now() + Duration::from_millis(2_500);
    agent.wait_status("", SOON, |_| Instant::now() > until);
    assert_eq!(agent.process.output().count(said), 1);
    replace(&good.replace("to = \"home\"", "to = \"away\""));
    wait_routed(&agent, &setup, "orders", "away");
    send(&setup, "orders", 0..5);
    agent.wait_drained(Some("away"), SOON);
    agent.stop();
    assert_eq!(away.values("orders").len(), 5);
}
