//! `spoolway spool` as people run it: on spools with rot made by hand, beside a running agent, and done wrong.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rskafka::client::ClientBuilder;
use rskafka::client::partition::UnknownTopicHandling;
use serde_json::Value;
use spoolway::target::{Target, TargetOptions};
use support::agent::{Setup, spoolway};
use support::http;
use support::load::{Load, Plan};
use support::ports::free_port;
use support::process::scratch;

const SOON: Duration = Duration::from_secs(30);

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {} {}", self.out, self.err))
    }

    fn rows(&self) -> Vec<Value> {
        self.out.lines().map(|l| serde_json::from_str(l).expect("NDJSON")).collect()
    }
}

/// `spoolway spool …`, which must end with this code.
#[track_caller]
fn tool(code: i32, args: &[&str]) -> Ran {
    let output = spoolway().arg("spool").args(args).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let ran =
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) };
    assert_eq!(ran.code, code, "{args:?}\n{}\n{}", ran.out, ran.err);
    ran
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("lanes/main")).expect("a lane").map(|e| e.expect("an entry").path());
    let mut files: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
    files.sort();
    files
}

/// Every file and directory with its content and the time it was changed.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for path in fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path()) {
        let changed = path.metadata().and_then(|m| m.modified()).expect("metadata");
        if path.is_dir() {
            all.extend(tree(&path));
            all.insert(path, (changed, Vec::new()));
        } else {
            all.insert(path.clone(), (changed, fs::read(&path).expect("a file")));
        }
    }
    all
}

/// Flips a bit of the event with this value, wherever it stands.
#[track_caller]
fn rot(dir: &Path, value: &str) {
    for path in segments(dir) {
        let bytes = fs::read(&path).expect("a segment");
        if let Some(at) = bytes.windows(value.len()).position(|w| w == value.as_bytes()) {
            // That byte alone: an agent may be writing there.
            let file = fs::OpenOptions::new().write(true).open(&path).expect("a writable segment");
            file.write_all_at(&[bytes[at] ^ 4], at as u64).expect("a writable segment");
            return;
        }
    }
    panic!("no segment holds {value}");
}

fn post(setup: &Setup, stream: &str, body: &str) {
    let answer =
        http::post(setup.http, &format!("/v1/events/{stream}"), "", body.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// A setup of small segments whose bytes can be found, and which are kept when they are delivered.
fn plain(name: &str, port: u16) -> Setup {
    Setup::new(name)
        .spool("segment_size = \"1MiB\"\nmax_event_size = \"64KiB\"\ncompression = \"none\"\nretain_delivered = \"1h\"")
        .destination("home", port, "compression = \"none\"")
}

/// A spool of 30 events of stream `orders`, 10 of `audit.login`, that nobody has been sent; its agent has ended.
fn stopped(name: &str) -> Setup {
    let setup = plain(name, free_port());
    let agent = setup.start();
    for i in 0..30 {
        post(&setup, "orders", &format!("order {i:03}"));
    }
    for i in 0..10 {
        post(&setup, "audit.login", &format!("login {i:03}"));
    }
    agent.stop();
    setup
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Values of a topic of one partition, in order.
fn topic(runtime: &tokio::runtime::Runtime, target: &Target, name: &str) -> Vec<String> {
    let end = target.end_offset(name, 0).expect("the topic");
    runtime.block_on(async {
        let client = ClientBuilder::new(vec![target.bootstrap()]).build().await.expect("a client");
        let partition =
            client.partition_client(name, 0, UnknownTopicHandling::Error).await.expect("a partition");
        let mut values = Vec::new();
        let read = |values: &Vec<String>| i64::try_from(values.len()).expect("a number");
        while read(&values) < end {
            let (records, _) =
                partition.fetch_records(read(&values), 1..1_000_000, 1000).await.expect("records");
            values.extend(
                records
                    .into_iter()
                    .map(|r| String::from_utf8(r.record.value.expect("a value")).expect("text")),
            );
        }
        values
    })
}

#[test]
fn an_agent_on_a_repaired_spool_delivers_exactly_the_intact_events_that_were_not_delivered() {
    let runtime = runtime();
    let options = TargetOptions { topics: vec![("orders".to_owned(), 1)], ..TargetOptions::default() };
    let target = runtime.block_on(Target::start(options)).expect("a target");
    let port = target.brokers()[0].port();
    let setup = plain("deliver", port);
    let agent = setup.start();
    let name = |i: usize| format!("order {i:04}");
    (0..40).for_each(|i| post(&setup, "orders", &name(i)));
    agent.wait_drained(None, SOON);
    runtime.block_on(target.kill());
    (40..100).for_each(|i| post(&setup, "orders", &name(i)));
    agent.stop();
    let dir = setup.data_dir();
    // One that was delivered, two that were not, and a whole segment's name.
    [7, 55, 90].into_iter().for_each(|i| rot(&dir, &name(i)));
    let before = tree(&dir);
    let dump = tool(3, &["dump", text(&dir)]);

    let mut repaired = plain("deliver-repaired", port);
    repaired.dir = scratch("deliver-repaired");
    let new = repaired.data_dir();
    let report = tool(3, &["repair", text(&dir), "--into", text(&new), "--json"]).json();
    assert_eq!(report["lost"], 3);
    let lane = &report["lanes"][0];
    let lost: Vec<_> =
        lane["holes"].as_array().expect("holes").iter().map(|h| h["first_seq"].clone()).collect();
    assert_eq!(lost, [8, 56, 91]);
    assert_eq!(lane["destinations"][0]["positions"], "kept");
    assert_eq!(lane["destinations"][0]["needed_from_seq"], 41);
    assert_eq!(tool(3, &["dump", text(&new)]).out, dump.out);
    assert!(before == tree(&dir), "a repair changes nothing in the old directory");

    runtime.block_on(target.start_again()).expect("the target is back");
    let agent = repaired.start();
    let status = agent.wait_drained(None, SOON);
    let account = &status["accounts"][0];
    assert_eq!((&account["delivered"], &account["lost_to_damage"]), (&98.into(), &2.into()), "{account}");
    post(&repaired, "orders", "a new one");
    agent.wait_drained(None, SOON);
    agent.stop();
    let expected = (0..100).filter(|i| ![55, 90].contains(i)).map(name).chain(["a new one".to_owned()]);
    assert_eq!(topic(&runtime, &target, "orders"), expected.collect::<Vec<_>>());
}

#[test]
fn a_bit_flipped_in_a_live_spool_costs_its_event_and_everybody_is_told() {
    let runtime = runtime();
    let options = TargetOptions { topics: vec![("orders".to_owned(), 1)], ..TargetOptions::default() };
    let target = runtime.block_on(Target::start(options)).expect("a target");
    let port = target.brokers()[0].port();
    runtime.block_on(target.kill());
    let setup = plain("live", port);
    let agent = setup.start();
    let name = |i: usize| format!("order {i:04}");
    (0..60).for_each(|i| post(&setup, "orders", &name(i)));
    let dir = setup.data_dir();
    rot(&dir, &name(41));
    // It goes on accepting, and delivers the rest.
    (60..100).for_each(|i| post(&setup, "orders", &name(i)));
    runtime.block_on(target.start_again()).expect("the target is back");
    let status = agent.wait_drained(None, SOON);
    let account = &status["accounts"][0];
    assert_eq!((&account["delivered"], &account["lost_to_damage"]), (&99.into(), &1.into()), "{account}");
    let metrics = agent.metrics();
    assert!(metrics.contains("spoolway_spool_quarantined_events_total{lane=\"main\"} 1\n"), "{metrics}");
    assert_eq!(status["lanes"][0]["quarantined_events"], 1, "{status:#}");
    assert_eq!(agent.process.output().count("events are lost to damaged or missing bytes on disk"), 1);
    let verified = tool(3, &["verify", text(&dir), "--json"]).json();
    assert_eq!(verified["lost"], 1, "{verified}");
    agent.stop();
    let expected: Vec<String> = (0..100).filter(|i| *i != 41).map(name).collect();
    assert_eq!(topic(&runtime, &target, "orders"), expected);
}

/// No number says that anything is missing: `verify` said so, and `repair` said that nothing was lost.
#[test]
fn a_repair_says_that_a_segment_is_passed_over_and_ends_with_code_3() {
    let setup = plain("passed-over", free_port());
    let agent = setup.start();
    (0..4).for_each(|i| post(&setup, "orders", &format!("kept {i}")));
    agent.stop();
    let agent = setup.start();
    (0..2).for_each(|i| post(&setup, "orders", &format!("destroyed {i}")));
    agent.kill();
    let dir = setup.data_dir();
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).expect("a segment");
        bytes.windows(9).any(|w| w == b"destroyed")
    };
    let newest = segments(&dir).into_iter().rfind(holds).expect("a segment of the second run");
    let length = fs::metadata(&newest).expect("a segment").len();
    fs::write(&newest, vec![0xa5; usize::try_from(length).expect("a length")]).expect("a writable segment");
    assert!(tool(3, &["verify", text(&dir)]).out.contains("passed over: "));
    let told = tool(3, &["repair", text(&dir), "--into", text(&setup.dir.join("new"))]).out;
    assert!(told.contains("4 events salvaged, 0 lost\n") && told.contains("passed over: "), "{told}");
    assert!(told.contains("whether more was in them no number says"), "{told}");
    let report = tool(3, &["repair", text(&dir), "--into", text(&setup.dir.join("newer")), "--json"]).json();
    let lane = &report["lanes"][0];
    assert_eq!((&lane["events"], &lane["lost"]), (&4.into(), &0.into()), "{report}");
    assert_eq!(lane["passed_over"][0]["damage"], true, "{report}");
}

#[test]
fn dead_letters_come_along_in_a_repair_and_are_sent_from_there() {
    let runtime = runtime();
    let options = TargetOptions { topics: vec![("orders".to_owned(), 1)], ..TargetOptions::default() };
    let target = runtime.block_on(Target::start(options)).expect("a target");
    let port = target.brokers()[0].port();
    let setup = Setup::new("letters").destination("home", port, "missing_topic_after = \"1s\"");
    let agent = setup.start();
    post(&setup, "nowhere", "a letter");
    post(&setup, "orders", "an order");
    agent.wait_status("has no letter", SOON, |status| status["accounts"][0]["dead_lettered"] == 1);
    agent.wait_drained(None, SOON);
    agent.stop();
    let mut repaired = Setup::new("letters-repaired").destination("home", port, "");
    repaired.dir = scratch("letters-repaired");
    let new = repaired.data_dir();
    let report = tool(0, &["repair", text(&setup.data_dir()), "--into", text(&new), "--json"]).json();
    assert_eq!((&report["dead_letters"], &report["unread_beside"]), (&1.into(), &0.into()), "{report}");
    let agent = repaired.start();
    let listed = spoolway()
        .args(["dlq", "list", "-c"])
        .arg(repaired.dir.join("spoolway.toml"))
        .output()
        .expect("it runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("nowhere"), "{listed}");
    agent.stop();
    assert_eq!(topic(&runtime, &target, "orders"), ["an order"]);
}

#[test]
fn segments_that_somebody_renamed_are_found_and_nothing_is_lost() {
    let setup = stopped("renamed");
    let agent = setup.start();
    post(&setup, "orders", "of a second run");
    agent.stop();
    let dir = setup.data_dir();
    let whole = tool(0, &["dump", text(&dir)]).out;
    let segment = segments(&dir).remove(0);
    fs::rename(&segment, dir.join("lanes/00000000000000000001.seg.corrupt?")).expect("a rename");
    assert_eq!(tool(3, &["verify", text(&dir), "--json"]).json()["lost"], 40);
    let new = setup.dir.join("new");
    let report = tool(0, &["repair", text(&dir), "--into", text(&new)]);
    assert!(report.out.contains("41 events salvaged, 0 lost"), "{}", report.out);
    assert_eq!(tool(0, &["dump", text(&new)]).out, whole);
}

#[test]
fn inspect_names_streams_segments_and_what_each_destination_still_needs() {
    let setup = stopped("inspect");
    let dir = setup.data_dir();
    let before = tree(&dir);
    let found = tool(0, &["inspect", text(&dir), "--json"]).json();
    let lane = &found["lanes"][0];
    assert_eq!((&lane["streams"]["orders"], &lane["streams"]["audit.login"]), (&30.into(), &10.into()));
    let destination = &lane["destinations"][0];
    assert_eq!((&destination["name"], &destination["pending"]), (&"home".into(), &40.into()));
    assert_eq!(
        (&destination["needed_from_seq"], &destination["totals"]["delivered"]),
        (&1.into(), &0.into())
    );
    let people = tool(0, &["inspect", text(&dir)]).out;
    assert!(people.contains("destination home: still needs 40 events, from 1 on"), "{people}");
    // Its positions are damaged: it is said, and that everything is needed.
    fs::write(dir.join("readers/main/home"), vec![7; 3 * 4096]).expect("a writable file");
    let people = tool(0, &["inspect", text(&dir)]).out;
    assert!(people.contains("everything is sent again"), "{people}");
    fs::remove_file(dir.join("readers/main/home")).expect("a file");
    tool(0, &["inspect", text(&dir)]);
    let mut after = tree(&dir);
    after.remove(&dir.join("readers/main"));
    assert!(after.iter().all(|(path, was)| before.get(path) == Some(was)), "looking changes nothing");
}

#[test]
fn dump_takes_streams_numbers_and_times() {
    let setup = stopped("filters");
    let dir = setup.data_dir();
    let all = tool(0, &["dump", text(&dir)]).rows();
    assert_eq!(tool(0, &["dump", "--json", text(&dir)]).rows(), all, "it prints JSON anyway");
    assert_eq!(all.len(), 40);
    let count = |args: &[&str]| tool(0, &[&["dump", text(&dir)], args].concat()).rows().len();
    assert_eq!(count(&["--stream", "audit.*"]), 10);
    assert_eq!(count(&["--stream", "audit.login", "--stream", "ord*"]), 40);
    assert_eq!(count(&["--stream", "order"]), 0);
    assert_eq!(count(&["--from", "5", "--to", "8"]), 4);
    let time = all[20]["time"].as_i64().expect("a time");
    let since = all.iter().filter(|row| row["time"].as_i64() >= Some(time)).count();
    assert_eq!(count(&["--since", &time.to_string()]), since);
    assert_eq!(count(&["--until", &time.to_string()]), 40 - since);
    assert_eq!(count(&["--since", "1h", "--until", "2100-01-01T00:00:00Z"]), 40);
    assert_eq!(count(&["--since", "2100-01-01T00:00:00+02:00"]), 0);
}

#[test]
fn a_flipped_bit_is_exit_code_3_with_its_number_for_every_tool() {
    let setup = stopped("rot");
    let dir = setup.data_dir();
    tool(0, &["verify", text(&dir)]);
    rot(&dir, "order 012");
    let verified = tool(3, &["verify", text(&dir)]);
    assert!(verified.out.contains("damaged: 13..=13 (1 events)"), "{}", verified.out);
    assert!(!verified.err.contains('%'), "no progress in a pipe: {}", verified.err);
    let dumped = tool(3, &["dump", text(&dir)]);
    assert_eq!(dumped.rows().len(), 39);
    assert!(dumped.err.contains("13..=13"), "{}", dumped.err);
    assert_eq!(tool(0, &["dump", text(&dir), "--from", "14"]).rows().len(), 27);
    let new = setup.dir.join("new");
    let report = tool(3, &["repair", text(&dir), "--into", text(&new)]);
    assert!(report.out.contains("lost: 13..=13 (1 events)"), "{}", report.out);
}

#[test]
fn beside_an_agent_that_appends_and_deletes_nothing_is_called_lost() {
    let runtime = runtime();
    let options = TargetOptions { topics: vec![("busy".to_owned(), 1)], ..TargetOptions::default() };
    let target = runtime.block_on(Target::start(options)).expect("a target");
    let setup = Setup::new("busy")
        .spool("segment_size = \"1MiB\"\nmax_event_size = \"64KiB\"\ncompression = \"none\"")
        .destination("home", target.brokers()[0].port(), "");
    let agent = setup.start();
    let load = Load::http(Plan::new(setup.http, "busy", 1).batch(100));
    let dir = setup.data_dir();
    let first = |found: &Value| found["lanes"][0]["released_below"].as_u64().expect("a number");
    let (mut round, mut released) = (0, 0);
    // Until segments were deleted between two looks, several times over.
    while released < 5 {
        let before = first(&tool(0, &["inspect", text(&dir), "--json"]).json());
        assert_eq!(tool(0, &["verify", text(&dir), "--json"]).json()["lost"], 0);
        tool(0, &["dump", text(&dir)]);
        let new = setup.dir.join(format!("new-{round}"));
        let report = tool(0, &["repair", text(&dir), "--into", text(&new), "--json"]).json();
        assert_eq!((&report["lost"], &report["agent_running"]), (&0.into(), &true.into()));
        let lane = &report["lanes"][0];
        assert_eq!((&lane["unproven_left"], &lane["renumbered"]), (&0.into(), &0.into()), "{lane}");
        tool(0, &["verify", text(&new)]);
        fs::remove_dir_all(&new).expect("a directory");
        let after = first(&tool(0, &["inspect", text(&dir), "--json"]).json());
        released += u32::from(after > before);
        round += 1;
        assert!(round < 300, "only {released} times was a segment deleted");
    }
    load.stop();
    agent.stop();
}

#[test]
fn what_is_done_wrong_is_said_with_the_remedy() {
    let setup = stopped("wrong");
    let dir = setup.data_dir();
    let (data, new) = (text(&dir), setup.dir.join("new"));
    let says = |code, args: &[&str], words: &[&str]| {
        let ran = tool(code, args);
        assert!(words.iter().all(|w| ran.err.contains(w)), "{args:?}: no {words:?} in {}", ran.err);
    };
    says(2, &["verify", "/nonexistent"], &["/nonexistent does not exist"]);
    says(2, &["verify", text(&setup.dir)], &["is not a spoolway data directory"]);
    says(2, &["inspect", text(&setup.dir.join("spoolway.toml"))], &["is not a directory"]);
    says(2, &["dump", data, "--lane", "mian"], &["no lane named \"mian\"", "it has main"]);
    says(2, &["dump", data, "--since", "yesterday"], &["2h"]);
    says(2, &["dump", data, "--from", "9", "--to", "3"], &["no event is in between"]);
    says(2, &["repair", data], &["--into"]);
    says(2, &["repair", data, "--into", data], &["lies in"]);
    says(2, &["repair", data, "--into", text(&dir.join("new"))], &["lies in"]);
    says(2, &["repair", data, "--into", text(&setup.dir)], &["is not empty"]);
    says(2, &["repair", "/nonexistent", "--into", text(&new)], &["does not exist"]);
    assert!(!new.exists(), "what is refused leaves nothing behind");
    fs::create_dir_all(new.join("lanes.unfinished")).expect("a directory");
    says(2, &["repair", data, "--into", text(&new)], &["did not end"]);
    let format = fs::read_to_string(dir.join("FORMAT")).expect("FORMAT");
    let (covered, _) = format.split_once("crc ").expect("a checksum");
    let covered = covered.replace("incompat 0", "incompat 8");
    let newer = format!("{covered}crc {:08x}\n", crc32fast::hash(covered.as_bytes()));
    fs::write(dir.join("FORMAT"), newer).expect("a writable file");
    for args in [&["inspect", data][..], &["repair", data, "--into", "elsewhere"]] {
        says(2, args, &["newer spoolway"]);
    }
}
