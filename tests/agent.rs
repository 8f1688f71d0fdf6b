//! The agent as a person runs it, without a Kafka: bad days at start, what it says over HTTP, how it ends.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use support::agent::{Agent, Setup, assert_accounts_balance};
use support::http::{self, Connection};
use support::ledger::Told;
use support::load::{Load, Plan};
use support::ports::free_port;

const SOON: Duration = Duration::from_secs(10);

/// A setup whose destination is never there.
fn lonely(name: &str) -> Setup {
    Setup::new(name).destination("home", free_port(), "")
}

/// The agent must end by itself with this exit code; returns what it printed.
#[track_caller]
fn fails(agent: &Agent<'_>, code: i32) -> String {
    let status = agent.process.wait(SOON);
    let printed = agent.process.output().all(SOON);
    assert_eq!(status.code(), Some(code), "{printed}");
    printed
}

/// One line names each of these.
#[track_caller]
fn one_line_says(printed: &str, words: &[&str]) {
    let said = printed.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(said, "no line with {words:?} in:\n{printed}");
}

#[test]
fn a_wrong_key_ends_with_2_and_names_the_place_and_the_right_key() {
    let setup = lonely("wrong-key").spool("sgment_size = \"64MiB\"");
    let printed = fails(&setup.spawn(), 2);
    assert!(printed.contains("spoolway.toml:7:1"), "file, line and column: {printed}");
    assert!(printed.contains("sgment_size") && printed.contains("segment_size"), "{printed}");
}

#[test]
fn a_missing_configuration_ends_with_2_and_names_the_file() {
    let mut command = support::agent::spoolway();
    command.args(["run", "-c", "/nonexistent/spoolway.toml"]);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    one_line_says(&String::from_utf8_lossy(&output.stderr), &["/nonexistent/spoolway.toml"]);
}

#[test]
fn a_port_in_use_ends_with_1_and_names_it() {
    let setup = lonely("port");
    let _taken = TcpListener::bind(("127.0.0.1", setup.http)).expect("a free port");
    let printed = fails(&setup.spawn(), 1);
    one_line_says(&printed, &[&format!("127.0.0.1:{}", setup.http), "in use"]);
}

#[test]
fn an_admin_port_in_use_ends_with_1_and_names_it() {
    let setup = lonely("admin-port");
    let _taken = TcpListener::bind(("127.0.0.1", setup.admin)).expect("a free port");
    let printed = fails(&setup.spawn(), 1);
    one_line_says(&printed, &[&format!("127.0.0.1:{}", setup.admin), "in use"]);
}

#[test]
fn a_data_directory_that_cannot_be_one_ends_with_1_and_names_it() {
    let setup = lonely("data-file");
    fs::write(setup.data_dir(), "a file stands in its place").expect("a writable scratch directory");
    let printed = fails(&setup.spawn(), 1);
    one_line_says(&printed, &[&setup.data_dir().display().to_string()]);
}

#[test]
fn a_data_directory_on_a_file_system_that_takes_no_files_ends_with_1_and_names_it() {
    let mut setup = lonely("data-proc");
    setup.dir = support::process::scratch("data-proc");
    // Nobody, root included, makes a directory in /proc.
    std::os::unix::fs::symlink("/proc/1", setup.data_dir()).expect("a link");
    let printed = fails(&setup.spawn(), 1);
    one_line_says(&printed, &["data"]);
}

#[test]
fn a_data_directory_of_a_newer_format_ends_with_1_and_is_left_as_it_is() {
    let setup = lonely("newer");
    setup.start().stop();
    let path = setup.data_dir().join("FORMAT");
    let format = fs::read_to_string(&path).expect("FORMAT is text");
    let newer = newer(&format);
    fs::write(&path, &newer).expect("a writable file");
    let printed = fails(&setup.spawn(), 1);
    one_line_says(&printed, &["error:", "newer", &setup.data_dir().display().to_string()]);
    assert_eq!(fs::read_to_string(&path).expect("FORMAT"), newer);
}

/// `FORMAT` with a feature bit that this version does not know, as a later version writes it.
fn newer(format: &str) -> String {
    let (covered, _) = format.split_once("crc ").expect("a checksum");
    let (before, bits) = covered.split_once("incompat ").expect("feature bits");
    let covered = format!("{before}incompat 8{}", &bits[1..]);
    format!("{covered}crc {:08x}\n", crc32fast::hash(covered.as_bytes()))
}

#[test]
fn a_data_directory_held_by_another_agent_ends_with_1_and_leaves_the_other_alone() {
    let setup = lonely("held");
    let first = setup.start();
    let mut second = Setup::new("held-too").destination("home", free_port(), "");
    second.dir.clone_from(&setup.dir);
    let printed = fails(&second.spawn(), 1);
    one_line_says(&printed, &[&setup.data_dir().display().to_string()]);
    let answer = http::post(setup.http, "/v1/events/still-there", "", b"yes").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    first.stop();
}

/// A lane's durable sequence number, and what the http source counted.
fn counts(agent: &Agent<'_>) -> (u64, u64) {
    let status = agent.status();
    assert_accounts_balance(&status);
    let number = |v: &serde_json::Value| v.as_u64().unwrap_or_else(|| panic!("no number: {status:#}"));
    (number(&status["lanes"][0]["durable_seq"]), number(&status["sources"][0]["accepted"]))
}

/// Method, path, headers, body; the expected status, and a word of the answer.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [u8], u16, &'a str);

#[test]
fn bad_requests_are_refused_with_a_reason_and_nothing_of_them_is_kept() {
    let setup = lonely("bad-http").spool("max_event_size = \"1KiB\"");
    let agent = setup.start();
    let good = http::post(setup.http, "/v1/events/a", "", b"one\ntwo\n").expect("an answer");
    assert_eq!(good.status, 200, "{}", good.text());
    assert_eq!(good.json()["accepted"], 2);
    let before = counts(&agent);
    let large = [b"small\n".as_slice(), &[b'x'; 2000], b"\n"].concat();
    let json = "Content-Type: application/json\r\n";
    let cases: [Case<'_>; 8] = [
        ("POST", "/v1/events/a", "", &large, 413, "1"),
        ("POST", "/v1/events/a", json, b"[{\"a\":1},{\"a\":", 400, "error"),
        ("POST", "/v1/events/a", "Content-Type: text/html\r\n", b"x", 415, "text/html"),
        ("POST", "/v1/events/a", "Content-Encoding: br\r\n", b"x", 415, "zstd"),
        ("POST", "/v1/events/a", "Content-Encoding: gzip\r\n", b"not gzip", 400, "decompressed"),
        ("POST", "/v1/events/a%2Fb", "", b"x", 400, "stream"),
        ("POST", "/v1/nothing", "", b"x", 404, "error"),
        ("GET", "/v1/events/a", "", b"", 405, "POST"),
    ];
    for (method, path, headers, body, status, word) in cases {
        let mut connection = Connection::open(setup.http, SOON).expect("it listens");
        let answer = connection.request(method, path, headers, body).expect("a complete answer");
        assert_eq!(answer.status, status, "{method} {path} {headers}: {}", answer.text());
        assert!(answer.text().contains(word), "{method} {path} {headers}: {}", answer.text());
        assert!(answer.json()["error"].is_string(), "{}", answer.text());
    }
    assert_eq!(counts(&agent), before);
    agent.stop();
}

#[test]
fn a_stream_without_a_route_is_refused_with_the_nearest_name() {
    let setup = lonely("no-route").route("orders", "home", "{stream}").route("tcp", "home", "{stream}");
    let agent = setup.start();
    let answer = http::post(setup.http, "/v1/events/order", "", b"x").expect("an answer");
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert_eq!(answer.json()["error"], "no_route");
    assert_eq!(answer.json()["nearest"], "orders");
    agent.stop();
}

#[test]
fn what_was_accepted_is_counted_the_same_after_a_kill() {
    let setup = lonely("counted");
    let agent = setup.start();
    let book = Load::http(Plan::new(setup.http, "a", 1).limit(5_000)).finish();
    let mut tcp = TcpStream::connect(("127.0.0.1", setup.tcp)).expect("it listens");
    tcp.write_all(b"one\ntwo\nthree\n").expect("it reads");
    tcp.shutdown(std::net::Shutdown::Write).expect("open");
    assert_eq!(tcp.read(&mut [0]).ok(), Some(0), "closed once all is durable");
    let accepted = book.count(Told::Accepted) + 3;
    let status = agent.status();
    assert_eq!(status["accounts"][0]["pending"], accepted, "{status:#}");
    let incarnation = status["relay"]["incarnation"].clone();
    agent.kill();
    let agent = setup.start();
    let status = agent.status();
    assert_accounts_balance(&status);
    assert_eq!(status["accounts"][0]["accepted"], accepted, "{status:#}");
    assert_eq!(status["accounts"][0]["pending"], accepted, "{status:#}");
    assert_eq!(status["relay"]["incarnation"], incarnation);
    agent.stop();
}

#[test]
fn sequence_numbers_go_on_over_a_kill_without_a_gap_or_a_repetition() {
    let setup = lonely("numbers");
    let mut next = None;
    for _ in 0..4 {
        let agent = setup.start();
        for _ in 0..5 {
            let answer = http::post(setup.http, "/v1/events/a", "", b"x\ny\nz\n").expect("an answer").json();
            let (first, last) = (answer["first_seq"].as_u64(), answer["last_seq"].as_u64());
            assert!(next.is_none() || first == next, "{answer}, expected {next:?}");
            assert_eq!(last, first.map(|f| f + 2));
            next = last.map(|l| l + 1);
        }
        agent.kill();
    }
}

#[test]
fn a_full_spool_refuses_with_503_and_says_so_in_readyz() {
    let lines = "max_event_size = \"1KiB\"\nsegment_size = \"1MiB\"\nmax_size = \"2MiB\"\nwhen_full = \"reject\"\ncompression = \"none\"";
    let setup = lonely("full").spool(lines);
    let agent = setup.start();
    let mut connection = Connection::open(setup.http, SOON).expect("it listens");
    let body = [[b'x'; 199].as_slice(), b"\n"].concat().repeat(1_000);
    let refused = (0..60).find_map(|_| {
        let answer = connection.request("POST", "/v1/events/a", "", &body).expect("an answer");
        (answer.status != 200).then_some(answer)
    });
    let answer = refused.expect("12 MB do not fit into 2 MiB");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    let ready = http::get(setup.admin, "/readyz?for=accept").expect("an answer");
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("full"), "{}", ready.text());
    let status = agent.status();
    assert_accounts_balance(&status);
    assert_eq!(status["lanes"][0]["full"], true, "{status:#}");
    agent.stop();
}

#[test]
fn the_admin_server_answers_each_of_its_paths() {
    let setup = lonely("admin");
    let agent = setup.start();
    http::post(setup.http, "/v1/events/a", "", b"x").expect("an answer");
    for path in ["/healthz", "/readyz?for=accept", "/status", "/metrics", "/"] {
        let answer = http::get(setup.admin, path).expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(!answer.body.is_empty(), "{path}");
    }
    let metrics = http::get(setup.admin, "/metrics").expect("an answer").text();
    let line = "spoolway_events_accepted_total{source=\"http\",stream=\"a\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    for name in [
        "spoolway_lag_events",
        "spoolway_spool_bytes",
        "spoolway_commit_seconds_bucket",
        "spoolway_build_info",
    ] {
        assert!(metrics.contains(name), "no {name} in {metrics}");
    }
    assert_eq!(http::get(setup.admin, "/nothing").expect("an answer").status, 404);
    agent.stop();
}

#[test]
fn sigterm_ends_an_idle_agent_with_0_at_once() {
    let setup = lonely("idle");
    let (status, took) = setup.start().terminate(SOON);
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// The file that the agent reads, as if a person had edited it.
fn write_config(setup: &Setup, text: &str) {
    fs::write(setup.dir.join("spoolway.toml"), text).expect("a writable scratch directory");
}

fn destinations(status: &serde_json::Value) -> Vec<&str> {
    let rows = status["destinations"].as_array().expect("rows");
    rows.iter().filter_map(|row| row["name"].as_str()).collect()
}

#[test]
fn a_changed_configuration_is_taken_over_at_sighup_and_a_wrong_one_is_not() {
    let setup = lonely("reload");
    let agent = setup.start();
    let last_reload = |ok: u8| format!("spoolway_config_last_reload_successful {ok}\n");
    let post =
        || http::post(setup.http, "/v1/events/s", "", b"an event").is_ok_and(|answer| answer.status == 200);
    assert!(post());
    let hangup = || agent.process.signal(support::process::Signal::HUP);
    hangup();
    assert!(agent.process.output().wait_for("has not changed", SOON));
    // Wrong: everything stays as it is, and it is said.
    write_config(&setup, &setup.config().replace("[spool]", "[spoool]"));
    hangup();
    assert!(agent.process.output().wait_for("the configuration is wrong", SOON));
    assert!(agent.metrics().contains(&last_reload(0)) && post());
    // Right, and another one.
    let two = setup.config()
        + &format!("\n[[destination]]\nname = \"away\"\nbootstrap = [\"127.0.0.1:{}\"]\n", free_port())
        + "[[route]]\nstreams = [\"*\"]\nto = \"home\"\n[[route]]\nstreams = [\"*\"]\nto = \"away\"\n";
    write_config(&setup, &two);
    hangup();
    assert!(agent.process.output().wait_for("going on with it", SOON));
    let begun = Instant::now();
    // The one before answers until it stops, and then nobody for a moment.
    let is_new = || {
        let status = http::get(setup.admin, "/status").map(|answer| answer.json());
        status.is_ok_and(|status| destinations(&status) == ["home", "away"])
    };
    while !is_new() {
        assert!(
            begun.elapsed() < SOON,
            "the new configuration does not take effect: {}",
            agent.process.output().tail()
        );
        std::thread::yield_now();
    }
    agent.wait_ready("/readyz?for=accept", SOON);
    assert!(agent.metrics().contains(&last_reload(1)) && post());
    let status = agent.status();
    assert_accounts_balance(&status);
    assert_eq!(status["accounts"][0]["pending"], 3, "what waits is still there: {status:#}");
    assert_eq!(status["sources"][0]["accepted"], 1, "counted since the sources began");
    // Right to read, and not to be started with: back to the one before.
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    write_config(&setup, &two.replace(&format!("127.0.0.1:{}", setup.http), &address));
    hangup();
    assert!(agent.process.output().wait_for("going back to the one before", SOON));
    agent.wait_ready("/readyz?for=accept", SOON);
    assert!(agent.metrics().contains(&last_reload(0)) && post());
    assert_eq!(destinations(&agent.status()), ["home", "away"]);
    let (status, _) = agent.terminate(SOON);
    assert_eq!(status.code(), Some(0));
}

/// Found by an audit: they were read in the agent's main loop, which then heard no signal and fed no watchdog.
#[test]
fn a_configuration_on_a_drive_that_hangs_holds_up_neither_signals_nor_senders() {
    use std::os::unix::fs::OpenOptionsExt;
    let setup = lonely("hung-configuration");
    let agent = setup.start();
    let path = setup.dir.join("spoolway.toml");
    fs::remove_file(&path).expect("the configuration");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    agent.process.signal(support::process::Signal::HUP);
    // As a drive that hangs: it is opened to be read, and nothing comes.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let begun = Instant::now();
    let silent = loop {
        match fs::OpenOptions::new().write(true).custom_flags(nonblocking).open(&path) {
            Ok(pipe) => break pipe,
            Err(e) => assert!(begun.elapsed() < SOON, "nobody reads it: {e}"),
        }
        // Another process's state can only be asked for.
        std::thread::sleep(Duration::from_millis(10));
    };
    let answer = http::post(setup.http, "/v1/events/s", "", b"an event").expect("an answer");
    assert_eq!(answer.status, 200);
    let (status, _) = agent.terminate(SOON);
    assert!(status.success(), "{status}");
    drop(silent);
}
