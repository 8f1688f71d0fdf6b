//! Many events, every door, every codec, on a broker that is well.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use crate::broker::Broker;
use crate::java;
use crate::support::agent::{Setup, assert_accounts_balance, spoolway};
use crate::support::http;
use crate::support::ledger::{Book, Told};
use crate::support::load::{Load, Plan};
use crate::support::payload::{self, Id};
use crate::support::process::{Process, scratch};
use crate::topic::{Printed, Topic};

pub fn a_million_events_over_http_and_tcp_arrive_once_and_in_order() {
    let broker = Broker::shared();
    let orders = Topic::create(broker, "orders", 3);
    let lines = Topic::create(broker, "tcp", 2);
    let setup = Setup::new("million").destination("home", broker.port, "compression = \"snappy\"");
    let agent = setup.start();
    let http = |generator| Load::http(Plan::new(setup.http, "orders", generator).batch(500).limit(300_000));
    let loads = [http(1), http(2), Load::tcp(Plan::new(setup.tcp, "tcp", 3).limit(400_000))];
    let books = loads.map(Load::finish);
    for book in &books {
        assert_eq!(book.count(Told::Accepted), book.next(), "all was accepted");
    }
    let status = agent.wait_drained(None, Duration::from_secs(120));
    assert_accounts_balance(&status);
    assert_eq!(status["accounts"][0]["delivered"], 1_000_000, "{status:#}");
    agent.stop();
    let verdict = orders.judge(&books[..2]);
    verdict.assert_exact();
    assert_eq!(verdict.distinct, 600_000);
    let verdict = lines.judge_java(&books[2..]);
    verdict.assert_exact();
    assert_eq!(verdict.distinct, 400_000);
}

pub fn each_codec_is_read_by_kafkas_own_consumer_with_keys_headers_and_order() {
    let broker = Broker::shared();
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let mut setup = Setup::new("codecs").without_tcp();
    for codec in codecs {
        let lines = format!("compression = \"{codec}\"\nbatch_size = \"64KiB\"");
        setup =
            setup.destination(codec, broker.port, &lines).route("codecs", codec, &format!("codecs-{codec}"));
    }
    let topics = codecs.map(|codec| Topic::create(broker, &format!("codecs-{codec}"), 3));
    let agent = setup.start();
    let book = Load::http(Plan::new(setup.http, "codecs", 1).limit(10_000)).finish();
    let status = agent.wait_drained(None, Duration::from_secs(60));
    assert_accounts_balance(&status);
    agent.stop();
    let keys = |topic: &Topic<'_>| -> BTreeMap<(i32, i64), Option<String>> {
        topic.by_offset().into_iter().map(|(at, row)| (at, row.key)).collect()
    };
    for topic in &topics {
        topic.judge_java([&book]).assert_exact();
        let partitions: Vec<_> = keys(topic).into_iter().map(|((p, _), key)| (key, p)).collect();
        let distinct: BTreeMap<_, _> = partitions.iter().cloned().collect();
        assert_eq!(distinct.len(), 7, "{distinct:?}");
    }
    let bare = topics[0].read_java().into_iter().find(|row| !has_our_header(row));
    assert_eq!(bare, None, "each record has the header `spoolway` and nothing else");
}

fn has_our_header(row: &Printed) -> bool {
    row.headers.starts_with("spoolway:") && !row.headers.contains("spoolway-time")
}

pub fn keys_go_to_the_partitions_where_the_java_client_puts_them() {
    let broker = Broker::shared();
    let ours = Topic::create(broker, "partitioner", 7);
    let theirs = Topic::create(broker, "partitioner-java", 7);
    let keys: Vec<String> =
        (0..60u32).map(|n| format!("{}{n}", "k\u{e9}y-".repeat(n as usize % 5))).collect();
    let setup = Setup::new("partitioner").destination("home", broker.port, "");
    let agent = setup.start();
    for key in &keys {
        let path = format!("/v1/events/partitioner?key={}", percent(key));
        let answer = http::post(setup.http, &path, "", key.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    agent.wait_drained(None, Duration::from_secs(30));
    agent.stop();
    java_producer(broker, &theirs.name, &keys);
    let placed = |topic: &Topic<'_>| -> BTreeMap<Option<String>, i32> {
        topic.read_java().into_iter().map(|row| (row.key, row.partition)).collect()
    };
    let ours = placed(&ours);
    assert_eq!(ours.len(), keys.len());
    assert_eq!(ours, placed(&theirs));
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn java_producer(broker: &Broker, topic: &str, keys: &[String]) {
    let mut command = java::java("org.apache.kafka.tools.ConsoleProducer");
    command.args(["--bootstrap-server", &broker.address(), "--topic", topic]);
    command.args(["--reader-property", "parse.key=true", "--reader-property", "key.separator=|"]);
    command.env("JDK_JAVA_OPTIONS", "-Dfile.encoding=UTF-8").stdin(Stdio::piped());
    let mut process = Process::spawn("the Java producer", command);
    let mut input = process.stdin.take().expect("a pipe");
    for key in keys {
        writeln!(input, "{key}|{key}").expect("the producer reads");
    }
    drop(input);
    let status = process.wait(Duration::from_secs(30));
    assert!(status.success(), "{}", process.output().tail());
}

pub fn pipe_brings_every_line_and_ends_with_0() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "piped", 1);
    let mut command = spoolway();
    command.args(["pipe", "-b", &broker.address(), "-t", "piped", "--compression", "gzip", "--data-dir"]);
    command.arg(scratch("pipe").join("spool")).stdin(Stdio::piped());
    let mut pipe = Process::spawn("spoolway pipe", command);
    let mut input = pipe.stdin.take().expect("a pipe");
    let mut book = Book::new(1);
    for number in 0..20_000 {
        let mut line = Vec::new();
        book.offer(payload::write(Id { generator: 1, number }, 150, &mut line));
        line.push(b'\n');
        input.write_all(&line).expect("spoolway reads its standard input");
    }
    book.told(0, Told::Accepted);
    drop(input);
    let status = pipe.wait(Duration::from_secs(60));
    assert!(status.success(), "ended with {status}; {}", pipe.output().tail());
    topic.judge([&book]).assert_exact();
}
