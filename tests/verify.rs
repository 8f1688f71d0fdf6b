//! `spoolway verify` as people run it, on topics that an agent filled and that were broken by hand; and `spoolway
//! spool replay`, which it judges.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::time::Duration;

use spoolway::target::{Target, TargetOptions};
use support::agent::{Setup, spoolway};
use support::http;
use support::ledger::Told;
use support::load::{Load, Plan};
use support::records::{Hands, foreign};
use support::verify::{Ran, sums, verify};

const SOON: Duration = Duration::from_secs(30);

/// A cluster in this process, and hands to move its records with.
struct Site {
    target: Target,
    hands: Hands,
    _runtime: tokio::runtime::Runtime,
}

impl Site {
    fn new(topics: &[(&str, i32)]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let topics = topics.iter().map(|(name, partitions)| ((*name).to_owned(), *partitions)).collect();
        let target = runtime.block_on(Target::start(TargetOptions { topics, ..TargetOptions::default() }));
        let target = target.expect("a target");
        let hands = Hands::at(&target.bootstrap());
        Self { target, hands, _runtime: runtime }
    }

    fn setup(&self, name: &str) -> Setup {
        let port = self.target.brokers()[0].port();
        Setup::new(name).destination("home", port, "compression = \"gzip\"")
    }

    /// Runs an agent that delivers so many events to a topic; its incarnation.
    fn deliver(&self, setup: &Setup, topic: &str, generator: u32, events: u64) -> String {
        let agent = setup.start();
        let book = Load::http(Plan::new(setup.http, topic, generator).limit(events)).finish();
        assert_eq!(book.count(Told::Accepted), events);
        let status = agent.wait_drained(None, SOON);
        agent.stop();
        status["relay"]["incarnation"].as_str().expect("an incarnation").to_owned()
    }

    /// `spoolway verify -b …`, which must end with this code.
    #[track_caller]
    fn verify(&self, code: i32, args: &[&str]) -> Ran {
        let bootstrap = self.target.bootstrap();
        verify(code, &[&["-b", &bootstrap], args].concat())
    }
}

#[test]
fn what_an_agent_delivered_is_whole_and_every_copy_is_counted_where_it_lies() {
    let site = Site::new(&[("orders", 3), ("untouched", 1)]);
    let incarnation = site.deliver(&site.setup("whole"), "orders", 1, 3000);
    let ran = site.verify(0, &["--topic", "orders"]);
    assert!(
        ran.out.ends_with("Whole: 3,000 events of 1 relay, each there once and in order.\n"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("orders: 3,000 records in 3 partitions"), "{}", ran.out);
    assert_eq!(ran.err, "", "no progress in a pipe");

    let found = site.verify(0, &["--topic", "orders", "--json"]).json();
    assert_eq!((&found["verdict"], sums(&found["totals"])), (&"whole".into(), [3000, 0, 0, 0, 0]));
    let topic = &found["topics"][0];
    assert_eq!(topic["relays"][0]["incarnation"], incarnation[..8]);
    let records = [0, 1, 2].map(|partition| site.hands.read("orders", partition));
    for (partition, records) in records.iter().enumerate() {
        let row = &topic["partitions"][partition];
        assert_eq!((&row["partition"], sums(row)[0]), (&partition.into(), records.len() as u64));
        assert_eq!(row["end"], records.len());
    }

    // A record into its own partition, and one into another, as a producer without the key would.
    let full = (0..3).max_by_key(|p| records[*p].len()).expect("three");
    let other = (full + 1) % 3;
    let (at, to) = (i32::try_from(full).expect("small"), i32::try_from(other).expect("small"));
    site.hands.append("orders", at, &records[full][7..8]);
    let found = site.verify(3, &["--topic", "orders", "--json"]).json();
    assert_eq!(sums(&found["totals"]), [3000, 0, 1, 0, 0]);
    assert_eq!(found["topics"][0]["partitions"][full]["doubled"], 1);
    site.hands.append("orders", to, &records[full][9..10]);
    let found = site.verify(3, &["--topic", "orders", "--json"]).json();
    assert_eq!((&found["verdict"], sums(&found["totals"])), (&"damaged".into(), [3000, 0, 2, 0, 0]));
    assert_eq!(found["topics"][0]["partitions"][other]["doubled"], 1);
    let text = site.verify(3, &["--topic", "orders"]).out;
    assert!(text.ends_with("DAMAGED: 2 doubled; 3,000 events of 1 relay.\n"), "{text}");
}

#[test]
fn records_that_are_left_out_or_change_places_are_counted_and_foreign_ones_are_no_fault() {
    let site = Site::new(&[("orders", 1), ("broken", 1)]);
    site.deliver(&site.setup("broken"), "orders", 1, 1000);
    let mut records = site.hands.read("orders", 0);
    site.hands.append("broken", 0, &[foreign("before")]);
    records.remove(500);
    records.remove(300);
    records.swap(20, 21);
    records.insert(100, foreign("between"));
    site.hands.append("broken", 0, &records);
    let found = site.verify(3, &["--topic", "broken", "--json"]).json();
    assert_eq!(sums(&found["totals"]), [998, 2, 0, 1, 2]);
    site.hands.append("orders", 0, &[foreign("behind")]);
    let found = site.verify(0, &["--topic", "orders", "--json"]).json();
    assert_eq!(sums(&found["totals"]), [1000, 0, 0, 0, 1]);
    // Both at once: their sums, and a row for each.
    let found = site.verify(3, &["--topic", "broken", "--topic", "orders", "--json"]).json();
    assert_eq!(
        (sums(&found["totals"]), found["topics"].as_array().map(Vec::len)),
        ([1998, 2, 0, 1, 3], Some(2))
    );
}

#[test]
fn of_two_relays_in_a_topic_each_is_followed_by_itself() {
    let site = Site::new(&[("shared", 2), ("shared-broken", 2)]);
    let one = site.deliver(&site.setup("relay-one"), "shared", 1, 700);
    let two = site.deliver(&site.setup("relay-two"), "shared", 2, 300);
    assert_ne!(one, two);
    for partition in 0..2 {
        let mut records = site.hands.read("shared", partition);
        // One of the second relay's, which sent last.
        records.remove(records.len() - 5);
        site.hands.append("shared-broken", partition, &records);
    }
    let found = site.verify(0, &["--topic", "shared", "--json"]).json();
    assert_eq!((&found["totals"]["relays"], sums(&found["totals"])), (&2.into(), [1000, 0, 0, 0, 0]));
    let whole = site.verify(0, &["--topic", "shared-broken", "--relay", &one, "--json"]).json();
    assert_eq!((sums(&whole["totals"]), &whole["totals"]["other_relays"]), ([700, 0, 0, 0, 0], &298.into()));
    let broken = site.verify(3, &["--topic", "shared-broken", "--relay", &two[..8], "--json"]).json();
    assert_eq!(sums(&broken["totals"]), [298, 2, 0, 0, 0]);
    let nobody = site.verify(1, &["--topic", "shared", "--relay", "0123456789abcdef"]);
    assert!(nobody.err.contains("only records of other relays"), "{}", nobody.err);
}

#[test]
fn the_ledger_shows_what_the_topic_alone_can_not() {
    let site = Site::new(&[("orders", 2), ("short", 2), ("other", 2)]);
    let setup = site
        .setup("ledger")
        .spool("segment_size = \"1MiB\"\nmax_event_size = \"64KiB\"\ncompression = \"none\"");
    let agent = setup.start();
    let book = Load::http(Plan::new(setup.http, "orders", 1).limit(20_000)).finish();
    assert_eq!(book.count(Told::Accepted), 20_000);
    agent.wait_drained(None, SOON);
    let rows = |args: &[&str]| {
        let output = spoolway().arg("status").args(["--ledger", "--json", "--admin"]).args(args).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    let admin = format!("127.0.0.1:{}", setup.admin);
    agent.wait_status("has no finished segment", SOON, |_| rows(&[&admin]).lines().count() >= 2);
    let of_agent = site.verify(0, &["--topic", "orders", "--ledger", &admin, "--json"]).json();
    assert!(of_agent["ledger"]["segments"].as_u64() >= Some(2), "{of_agent}");
    assert_eq!(of_agent["ledger"]["holds"], of_agent["ledger"]["segments"]);
    let dir = setup.data_dir();
    let dir = dir.to_str().expect("a path of text");
    let open = site.verify(2, &["--topic", "orders", "--ledger", dir]);
    assert!(open.err.contains("an agent runs"), "{}", open.err);
    let file = setup.dir.join("rows.ndjson");
    std::fs::write(&file, rows(&[&admin])).expect("a file");
    let file = file.to_str().expect("a path of text");
    agent.stop();
    site.verify(0, &["--topic", "orders", "--ledger", file]);
    let stopped = site.verify(0, &["--topic", "orders", "--ledger", dir]).out;
    assert!(stopped.contains(" hold, 0 with events missing, 0 that differ"), "{stopped}");

    // Everything from somewhere on is gone: no header can show that, the ledger does. Then one event's content.
    for partition in 0..2 {
        let mut records = site.hands.read("orders", partition);
        let mut other = records.clone();
        other[3].value = Some(b"forged".to_vec());
        site.hands.append("other", partition, &other);
        records.truncate(400);
        site.hands.append("short", partition, &records);
    }
    assert_eq!(sums(&site.verify(0, &["--topic", "short", "--json"]).json()["totals"])[..4], [800, 0, 0, 0]);
    let short = site.verify(3, &["--topic", "short", "--ledger", dir, "--json"]).json();
    assert_eq!((&short["verdict"], sums(&short["totals"])[1]), (&"damaged".into(), 0));
    assert!(short["ledger"]["missing"].as_u64() > Some(0), "{short}");
    site.verify(0, &["--topic", "other"]);
    let other = site.verify(3, &["--topic", "other", "--ledger", file, "--json"]).json();
    assert_eq!((&other["ledger"]["differs"], &other["ledger"]["missing"]), (&1.into(), &0.into()), "{other}");
    assert_eq!(other["ledger"]["findings"][0]["finding"], "differs");
}

#[test]
fn the_configuration_names_the_cluster_and_its_topics() {
    let site = Site::new(&[("all", 2)]);
    let setup = site.setup("configured").route("*", "home", "all");
    site.deliver(&setup, "anything", 1, 200);
    let path = setup.dir.join("spoolway.toml");
    let found = verify(0, &["-c", path.to_str().expect("text"), "--json"]).json();
    assert_eq!((&found["topics"][0]["topic"], sums(&found["totals"])[0]), (&"all".into(), 200));
}

#[test]
fn what_proves_nothing_is_no_success_and_what_is_done_wrong_is_said() {
    let site = Site::new(&[("empty", 2), ("foreign", 1)]);
    site.hands.append("foreign", 0, &[foreign("a"), foreign("b")]);
    let says = |code: i32, args: &[&str], words: &str| {
        let ran = site.verify(code, args);
        assert!(ran.err.contains(words), "{args:?}: no {words:?} in {}", ran.err);
        ran
    };
    let empty = says(1, &["--topic", "empty", "--json"], "nothing was ever written to it").json();
    assert_eq!((&empty["verdict"], sums(&empty["totals"])), (&"nothing".into(), [0; 5]));
    says(1, &["--topic", "foreign"], "no record has a `spoolway` header");
    says(1, &["--topic", "empty", "--topic", "ghost"], "has no topic ghost");
    says(2, &[], "which topic? add --topic");
    says(2, &["--topic", "a b"], "is not allowed in a name");
    says(2, &["--topic", "empty", "--relay", "edge-042"], "hex digits");
    says(2, &["--topic", "empty", "--ledger", "/nonexistent"], "/nonexistent can't be read");
    says(2, &["--topic", "empty", "--ledger", "Cargo.toml"], "not a row of");
    says(2, &["--topic", "empty", "--ledger", "src"], "no ledger in it");
    let dead = verify(1, &["-b", "127.0.0.1:1", "--topic", "empty"]);
    assert!(dead.err.contains("can't connect to 127.0.0.1:1"), "{}", dead.err);
    assert!(dead.err.contains("check that the broker runs"), "{}", dead.err);
}

#[test]
fn a_drained_agent_has_noted_down_every_segment_but_its_last() {
    let site = Site::new(&[("orders", 1)]);
    let small = "segment_size = \"1MiB\"\nmax_event_size = \"64KiB\"\ncompression = \"none\"";
    let setup = site.setup("noted").spool(small);
    // Stopped as soon as it is drained: nothing more comes that would make it look again.
    site.deliver(&setup, "orders", 1, 20_000);
    let dir = setup.data_dir();
    let dir = dir.to_str().expect("a path of text");
    let found = site.verify(0, &["--topic", "orders", "--ledger", dir, "--json"]).json();
    assert!(found["ledger"]["segments"].as_u64() >= Some(3), "{}", found["ledger"]);
}

/// 30 events of `orders` and 10 of `audit.login`, delivered and kept; the agent has ended.
fn kept(site: &Site, name: &str) -> Setup {
    let setup = site.setup(name).spool("compression = \"none\"\nretain_delivered = \"1h\"");
    let agent = setup.start();
    for (stream, count) in [("orders", 30), ("audit.login", 10)] {
        for n in 0..count {
            let body = format!("{stream} {n:03}");
            let answer = http::post(setup.http, &format!("/v1/events/{stream}?key=k"), "", body.as_bytes());
            assert_eq!(answer.expect("an answer").status, 200);
        }
    }
    agent.wait_drained(None, SOON);
    agent.stop();
    setup
}

/// `spoolway spool replay DIR -b …`, which must end with this code.
#[track_caller]
fn replay(site: &Site, setup: &Setup, code: i32, args: &[&str]) -> Ran {
    let mut command = spoolway();
    command.args(["spool", "replay"]).arg(setup.data_dir());
    if !args.contains(&"-c") {
        command.args(["-b", &site.target.bootstrap()]);
    }
    let output = command.args(args).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let ran = Ran { out: text(output.stdout), err: text(output.stderr) };
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{}\n{}", ran.out, ran.err);
    ran
}

#[test]
fn a_replay_sends_nothing_unless_told_to_and_then_exactly_what_was_asked_for() {
    let site = Site::new(&[("orders", 2), ("audit.login", 1), ("again", 3), ("plain", 1)]);
    let setup = kept(&site, "replay");
    let said = replay(&site, &setup, 0, &[]);
    assert!(said.out.contains("lane main, stream orders to topic orders: 30 events, 1..=30"), "{}", said.out);
    assert!(said.out.contains("Nothing was sent. To send these 40 events: --execute"), "{}", said.out);
    let orders = ["--topic", "orders", "--json"];
    assert_eq!(sums(&site.verify(0, &orders).json()["totals"]), [30, 0, 0, 0, 0]);

    let six = ["--stream", "ord*", "--from-seq", "5", "--to-seq", "10", "--execute", "--json"];
    let sent = replay(&site, &setup, 0, &six).json();
    assert_eq!(
        (&sent["acknowledged"], &sent["events"], &sent["executed"]),
        (&6.into(), &6.into(), &true.into())
    );
    assert_eq!(sums(&site.verify(3, &orders).json()["totals"]), [30, 0, 6, 0, 0]);

    // To a topic of its own it is whole, in order, event by event.
    let sent = replay(&site, &setup, 0, &["--topic", "again", "--execute"]);
    assert!(sent.out.ends_with("40 events sent and acknowledged.\n"), "{}", sent.out);
    assert_eq!(sums(&site.verify(0, &["--topic", "again", "--json"]).json()["totals"]), [40, 0, 0, 0, 0]);
    // With the destination of the configuration, whose codec rskafka can read.
    let config = setup.dir.join("spoolway.toml");
    let config = config.to_str().expect("text");
    let audit = ["-c", config, "--topic", "plain", "--stream", "audit.login"];
    replay(&site, &setup, 0, &[&audit[..], &["--execute", "--no-header"]].concat());
    let plain = site.verify(1, &["--topic", "plain", "--json"]).json();
    assert_eq!(sums(&plain["totals"]), [0, 0, 0, 0, 10]);
    let values: Vec<_> = site.hands.read("plain", 0).into_iter().map(|r| (r.key, r.value)).collect();
    let expected = (0..10).map(|n| (Some(b"k".to_vec()), Some(format!("audit.login {n:03}").into_bytes())));
    assert_eq!(values, expected.collect::<Vec<_>>());
}

#[test]
fn a_replay_goes_by_the_routes_of_the_configuration_and_says_what_is_damaged_or_wrong() {
    let site = Site::new(&[("orders", 1), ("audit.login", 1), ("routed", 1)]);
    let setup = kept(&site, "replay-routes");
    let mut routed = site.setup("replay-config").without_tcp().route("audit.*", "home", "routed");
    routed.dir.clone_from(&setup.dir);
    let config = setup.dir.join("routed.toml");
    std::fs::write(&config, routed.config()).expect("a file");
    let config = config.to_str().expect("text");
    let sent = replay(&site, &setup, 0, &["-c", config, "--execute", "--json"]).json();
    assert_eq!((&sent["acknowledged"], &sent["rows"][0]["topic"]), (&10.into(), &"routed".into()));

    let segment = setup.data_dir().join("lanes/main/00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let at = bytes.windows(10).position(|w| w == b"orders 007").expect("an event");
    bytes[at] ^= 4;
    std::fs::write(&segment, bytes).expect("a writable file");
    let sent = replay(&site, &setup, 3, &["--topic", "routed", "--execute", "--json"]);
    assert_eq!((&sent.json()["acknowledged"], &sent.json()["lost"]), (&39.into(), &1.into()));
    assert!(sent.err.contains("damaged: 8..=8"), "{}", sent.err);

    let ghost = replay(&site, &setup, 1, &["--topic", "ghost", "--execute", "--from-seq", "20"]);
    assert!(ghost.err.contains("topic ghost can't be written to"), "{}", ghost.err);
    assert!(ghost.err.contains("--lane main --from-seq 20"), "{}", ghost.err);
    let wrong = replay(&site, &setup, 2, &["--from-seq", "9", "--to-seq", "3"]);
    assert!(wrong.err.contains("no event is in between"), "{}", wrong.err);
    replay(&site, &setup, 2, &["--execute", "--dry-run"]);
}

/// `spoolway reconcile …`, which must end with this code.
#[track_caller]
fn reconcile(code: i32, left: &str, right: &str, more: &[&str]) -> Ran {
    let sides = ["reconcile", "--left", left, "--right", right];
    let output = spoolway().args(sides).args(more).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let ran = Ran { out: text(output.stdout), err: text(output.stderr) };
    assert_eq!(output.status.code(), Some(code), "{left} {right} {more:?}\n{}\n{}", ran.out, ran.err);
    ran
}

#[test]
fn two_topics_with_the_same_records_are_the_same_whatever_their_order_and_partitions() {
    let site = Site::new(&[("old", 2), ("new", 3), ("none", 1)]);
    site.deliver(&site.setup("reconcile"), "old", 1, 2000);
    let mut records: Vec<_> = (0..2).flat_map(|p| site.hands.read("old", p)).collect();
    records.reverse();
    for (partition, part) in (0..).zip(records.chunks(700)) {
        site.hands.append("new", partition, part);
    }
    let side = |topic: &str| format!("{}/{topic}", site.target.bootstrap());
    let same = reconcile(0, &side("old"), &side("new"), &[]);
    assert!(same.out.ends_with("Same: 2,000 records match by key and value.\n"), "{}", same.out);
    assert_eq!(same.err, "");
    site.hands.append("new", 1, &[foreign("only on the right")]);
    site.hands.append("old", 0, &records[..2]);
    let found = reconcile(3, &side("old"), &side("new"), &["--json"]).json();
    assert_eq!(
        (&found["only_left"], &found["only_right"], &found["matched"]),
        (&2.into(), &1.into(), &2000.into())
    );
    assert_eq!(found["right"]["examples"][0]["value"], "only on the right");
    assert_eq!(found["left"]["examples"].as_array().map(Vec::len), Some(2));
    assert_eq!((&found["same"], &found["left"]["records"]), (&false.into(), &2002.into()));
    let text = reconcile(3, &side("old"), &side("new"), &["--examples", "1"]).out;
    assert!(text.contains("only right: partition 1, offset"), "{text}");
    assert!(
        text.ends_with("DIFFERENT: 2 only left, 1 only right; 2,000 match by key and value.\n"),
        "{text}"
    );
    let empty = reconcile(1, &side("none"), &side("none"), &[]);
    assert!(empty.err.contains("both sides are empty"), "{}", empty.err);
    let ghost = reconcile(1, &side("old"), &side("ghost"), &[]);
    assert!(ghost.err.contains("ghost"), "{}", ghost.err);
    let wrong = reconcile(2, &side("old"), "nothing-there", &[]);
    assert!(wrong.err.contains("HOST:PORT/TOPIC"), "{}", wrong.err);
}

#[test]
fn a_topic_is_compared_with_a_dump_of_the_spool_and_with_a_file_of_values() {
    let site = Site::new(&[("orders", 2), ("audit.login", 1)]);
    let setup = kept(&site, "reconcile-file");
    let side = format!("{}/orders", site.target.bootstrap());
    let dumped =
        spoolway().args(["spool", "dump"]).arg(setup.data_dir()).args(["--stream", "orders"]).output();
    let (rows, values) = (setup.dir.join("rows"), setup.dir.join("values"));
    std::fs::write(&rows, dumped.expect("it runs").stdout).expect("a file");
    let lines: String = (0..30).map(|n| format!("orders {n:03}\n")).collect();
    std::fs::write(&values, &lines).expect("a file");
    let (rows, values) = (rows.to_str().expect("text"), values.to_str().expect("text"));
    let found = reconcile(0, &side, rows, &["--json"]).json();
    assert_eq!((&found["matched"], &found["keys_compared"]), (&30.into(), &true.into()));
    let found = reconcile(0, values, &side, &["--json"]).json();
    assert_eq!((&found["matched"], &found["keys_compared"]), (&30.into(), &false.into()));
    std::fs::write(values, lines.replace("orders 007\n", "")).expect("a file");
    let found = reconcile(3, values, &side, &["--json"]).json();
    assert_eq!((&found["only_left"], &found["only_right"]), (&0.into(), &1.into()));
    assert_eq!(found["right"]["examples"][0]["value"], "orders 007");
}
