//! The links as they are: TLS and SASL with a real Kafka, by the outside ledger.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::java;
use crate::secured::{PASSWORD, Secured};
use crate::support::agent::{Agent, Setup, assert_accounts_balance, spoolway};
use crate::support::certificates::put;
use crate::support::ledger::{Book, Told};
use crate::support::load::{Load, Plan};
use crate::support::payload::{self, Id};
use crate::support::process::{Process, scratch};
use crate::support::verify::verify;
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);

fn finish(agent: Agent<'_>, topic: &Topic<'_>, loads: Vec<Load>) -> serde_json::Value {
    let accepted: u64 = loads.iter().map(Load::accepted).sum();
    let books: Vec<_> = loads.into_iter().map(Load::stop).collect();
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let verdict = topic.judge(&books);
    println!("{}: {verdict}", topic.name);
    verdict.assert_exact();
    assert!(verdict.distinct >= accepted, "{verdict}");
    status
}

fn load(setup: &Setup, stream: &str, generator: u32) -> Load {
    Load::http(Plan::new(setup.http, stream, generator).batch(20).rate(1_000))
}

/// A broker that is still starting may have been asked for a producer id too early; nothing else went wrong.
fn assert_no_connection_was_lost(status: &serde_json::Value) {
    let error = &status["destinations"][0]["last_error"];
    assert!(error.is_null() || error["code"] == 14, "{error:#}");
}

/// `spoolway check --connect` on the agent's configuration.
fn check(setup: &Setup) -> Output {
    let path = setup.dir.join("spoolway.toml");
    let output = spoolway().args(["check", "--connect", "-c"]).arg(path).output().expect("it runs");
    for text in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(text).contains(PASSWORD), "a secret is printed");
    }
    output
}

fn scram(setup: Setup, secured: &Secured, password: &str) -> Setup {
    put(&setup.dir, "password", password);
    let sasl =
        "sasl = { mechanism = \"SCRAM-SHA-512\", username = \"relay\", password = { file = \"password\" } }";
    setup.destination("home", secured.scram, &(secured.tls("") + sasl))
}

pub fn scram_over_tls_with_a_broker_killed_in_mid_stream_costs_nothing() {
    let secured = Secured::start("killed");
    let topic = Topic::create(&secured.broker, "scram", 3);
    let setup = scram(Setup::new("scram").without_tcp(), &secured, PASSWORD);
    let agent = setup.start();
    let loads: Vec<_> = (1..3).map(|generator| load(&setup, "scram", generator)).collect();
    loads[0].wait_accepted(1_500, DRAIN);
    let checked = check(&setup);
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && told.contains("1 broker"), "{told}");
    secured.broker.kill();
    secured.broker.run();
    loads[0].wait_accepted(4_000, DRAIN);
    agent.wait_status("does not see Kafka again", DRAIN, |s| s["destinations"][0]["up"] == true);
    let metrics = agent.metrics();
    let expiry = "spoolway_tls_certificate_expiry_timestamp_seconds{destination=\"home\",certificate=\"broker\"} 3471292800";
    assert!(metrics.contains(expiry), "{metrics}");
    let status = finish(agent, &topic, loads);
    let accounts = &status["accounts"][0];
    assert_eq!(verified_over_the_link(&secured, "scram"), accounts["delivered"].as_u64());
}

/// The listener for SCRAM over TLS, and a file that tells Kafka's own tools how to reach it.
fn properties(secured: &Secured) -> [String; 2] {
    let properties = format!(
        "security.protocol=SASL_SSL\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={}/ca.pem\n\
         sasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  \
         username=\"relay\" password=\"{PASSWORD}\";\n",
        secured.dir.display()
    );
    let file = put(&secured.dir, "client.properties", &properties);
    [format!("127.0.0.1:{}", secured.scram), file.to_str().expect("text").to_owned()]
}

/// Reads the topic back as `spoolway verify` does with Kafka's own file of properties; how many events it found.
fn verified_over_the_link(secured: &Secured, topic: &str) -> Option<u64> {
    let [address, file] = &properties(secured);
    let found = verify(0, &["-b", address, "--command-config", file, "--topic", topic, "--json"]).json();
    assert_eq!(found["verdict"], "whole", "{found}");
    found["totals"]["events"].as_u64()
}

/// A person with a cluster that asks for a password, and the file that Kafka's tools go by.
pub fn pipe_and_demo_reach_a_cluster_that_asks_for_a_password_as_kafkas_tools_do() {
    let secured = Secured::shared();
    let topic = Topic::create(&secured.broker, "piped-sealed", 1);
    let [address, file] = &properties(secured);
    let link = ["-b", address, "--command-config", file];
    let mut command = spoolway();
    command.arg("pipe").args(link).args(["-t", "piped-sealed", "--compression", "gzip", "--data-dir"]);
    command.arg(scratch("pipe-sealed").join("spool")).stdin(Stdio::piped());
    let mut pipe = Process::spawn("spoolway pipe", command);
    let mut book = Book::new(1);
    let mut lines = Vec::new();
    for number in 0..1_000 {
        let mut line = Vec::new();
        book.offer(payload::write(Id { generator: 1, number }, 100, &mut line));
        lines.extend([line, vec![b'\n']].concat());
    }
    book.told(0, Told::Accepted);
    pipe.stdin.take().expect("a pipe").write_all(&lines).expect("spoolway reads");
    let status = pipe.wait(DRAIN);
    assert!(status.success(), "ended with {status}; {}", pipe.output().tail());
    topic.judge([&book]).assert_exact();

    let output = spoolway().arg("demo").args(link).arg("--json").output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["proven"], &told["control_caught"]), (&true.into(), &true.into()), "{told:#}");
    assert_eq!((&told["agent"]["missing"], &told["agent"]["doubled"]), (&0.into(), &0.into()), "{told:#}");
    let topics = java::tool(
        "org.apache.kafka.tools.TopicCommand",
        &["--bootstrap-server", &secured.broker.address(), "--list"],
    );
    assert!(!topics.contains("spoolway-demo-"), "its topic is deleted again: {topics}");
    // Without the file nobody answers, and it says so in one line.
    let refused = spoolway().args(["demo", "-b", address]).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("connecting to a broker") && said.contains("TLS"), "{said}");
}

pub fn sessions_that_end_every_three_seconds_are_renewed_and_nothing_is_in_doubt() {
    let secured = Secured::shared();
    let topic = Topic::create(&secured.broker, "renewed", 3);
    let password = format!("password = {{ file = \"{}/plain\" }}", secured.dir.display());
    put(&secured.dir, "plain", PASSWORD);
    let sasl = format!("sasl = {{ mechanism = \"PLAIN\", username = \"relay\", {password} }}");
    let setup =
        Setup::new("renewed").without_tcp().destination("home", secured.plain, &(secured.tls("") + &sasl));
    let agent = setup.start();
    let loads = vec![load(&setup, "renewed", 1)];
    // Three sessions' worth of events at their steady rate.
    loads[0].wait_accepted(10_000, DRAIN);
    let status = finish(agent, &topic, loads);
    assert_no_connection_was_lost(&status);
}

pub fn both_sides_show_certificates_and_a_renewed_one_counts_without_a_restart() {
    let secured = Secured::shared();
    let topic = Topic::create(&secured.broker, "mutual", 3);
    let setup = Setup::new("mutual").without_tcp();
    let dir = setup.dir.clone();
    // The first one has expired, which the broker must refuse.
    let expired = secured.authority.sign_for(&["edge-042"], (2020, 2021));
    put(&dir, "me.pem", &expired.certificate);
    put(&dir, "me.key", &expired.key);
    let tls = secured.tls(", certificate = \"me.pem\", key = \"me.key\"");
    let setup = setup.destination("home", secured.mutual, &tls);
    let agent = setup.start();
    let loads = vec![load(&setup, "mutual", 1)];
    let status = agent.wait_status("says nothing about the certificate", DRAIN, |status| {
        status["destinations"][0]["last_error"]["hint"]
            .as_str()
            .is_some_and(|h| h.contains("tls.certificate"))
    });
    assert_eq!(status["destinations"][0]["up"], false, "{status:#}");
    let renewed = secured.authority.sign(&["edge-042"]);
    put(&dir, "me.key", &renewed.key);
    put(&dir, "me.pem", &renewed.certificate);
    agent.wait_status("does not use the new certificate", DRAIN, |s| s["destinations"][0]["up"] == true);
    loads[0].wait_accepted(2_000, DRAIN);
    assert!(check(&setup).status.success());
    finish(agent, &topic, loads);
}

pub fn check_says_in_plain_words_what_is_wrong_with_a_link() {
    let secured = Secured::shared();
    let sasl = format!(
        "sasl = {{ mechanism = \"SCRAM-SHA-512\", username = \"relay\", password = {{ file = \"{}\" }} }}",
        put(&secured.dir, "scram", PASSWORD).display()
    );
    let expired = secured.authority.sign_for(&["edge-042"], (2020, 2021));
    put(&secured.dir, "old.pem", &expired.certificate);
    let key = put(&secured.dir, "old.key", &expired.key);
    let old = format!(", certificate = \"{}/old.pem\", key = \"{}\"", secured.dir.display(), key.display());
    let cases = [
        (secured.scram, secured.tls("") + &sasl, "1 broker", ""),
        (
            secured.scram,
            secured.tls(", server_name = \"elsewhere.example\"") + &sasl,
            "is not for \"elsewhere.example\"",
            "tls.server_name",
        ),
        (secured.scram, format!("tls = {{}}\n{sasl}"), "only public authorities are trusted", "ca = "),
        (secured.scram, sasl.clone(), "does not answer like a Kafka broker", "speaks TLS"),
        (secured.scram, secured.tls(""), "the broker has closed the connection", "set `sasl`"),
        (secured.mutual, secured.tls(""), "certificate", "tls.certificate"),
        (secured.mutual, secured.tls(&old), "certificate", "tls.certificate"),
        (secured.broker.port, secured.tls(""), "during the TLS handshake", "speaks TLS"),
    ];
    for (number, (port, lines, problem, remedy)) in cases.into_iter().enumerate() {
        let setup = Setup::new(&format!("wrong-{number}")).without_tcp().destination("home", port, &lines);
        std::fs::write(setup.dir.join("spoolway.toml"), setup.config()).expect("a file");
        let checked = check(&setup);
        let told = String::from_utf8_lossy(&checked.stdout).into_owned();
        println!("{number}: {told}");
        assert_eq!(checked.status.success(), number == 0, "{number}: {told}");
        assert!(told.contains(problem) && told.contains(remedy), "{number}: {told}");
    }
}

pub fn a_wrong_password_is_said_and_heals_when_its_file_is_corrected() {
    let secured = Secured::shared();
    let topic = Topic::create(&secured.broker, "healed", 3);
    let setup = scram(Setup::new("healed").without_tcp(), secured, "wrong-secret\n");
    let agent = setup.start();
    let loads = vec![load(&setup, "healed", 1)];
    let status = agent.wait_status("says nothing about the credentials", DRAIN, |status| {
        status["destinations"][0]["last_error"]["code"] == 58
    });
    let error = &status["destinations"][0]["last_error"];
    let (message, hint) = (error["message"].to_string(), error["hint"].to_string());
    assert!(message.contains("refuses the credentials of relay (SCRAM-SHA-512"), "{message}");
    assert!(hint.contains("read again at the next try"), "{hint}");
    assert_eq!(status["destinations"][0]["up"], false);
    let checked = check(&setup);
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success() && told.contains("refuses the credentials of relay"), "{told}");
    put(&setup.dir, "password", &format!("{PASSWORD}\n"));
    agent.wait_status("does not heal", DRAIN, |s| s["destinations"][0]["up"] == true);
    loads[0].wait_accepted(2_000, DRAIN);
    let log = agent.process.output().tail();
    assert!(!log.contains("wrong-secret") && !log.contains(PASSWORD), "{log}");
    finish(agent, &topic, loads);
}

/// A token endpoint that gives each asker a token for `relay` that lives for some seconds; counts them.
fn token_endpoint(life: u64) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let (mut length, mut line) = (0, String::new());
            while stream.read_line(&mut line).expect("a line") > 2 {
                if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut form = vec![0; length];
            stream.read_exact(&mut form).expect("the form");
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
            let claims = format!("{{\"sub\":\"relay\",\"iat\":{now},\"exp\":{}}}", now + life);
            let [head, claims] = ["{\"alg\":\"none\"}", &claims].map(|json| URL_SAFE_NO_PAD.encode(json));
            let body = format!("{{\"access_token\":\"{head}.{claims}.\",\"expires_in\":{life}}}");
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            counter.fetch_add(1, Ordering::Relaxed);
            stream.get_mut().write_all(answer.as_bytes()).expect("an answer");
        }
    });
    (port, count)
}

pub fn tokens_are_fetched_shown_and_renewed() {
    let secured = Secured::shared();
    let topic = Topic::create(&secured.broker, "tokens", 3);
    let (port, count) = token_endpoint(6);
    let setup = Setup::new("tokens").without_tcp();
    put(&setup.dir, "secret", "the client's");
    let sasl = format!(
        "sasl = {{ mechanism = \"OAUTHBEARER\", token_url = \"http://127.0.0.1:{port}/token\", \
         client_id = \"relay\", client_secret = {{ file = \"secret\" }} }}"
    );
    let setup = setup.destination("home", secured.token, &(secured.tls("") + &sasl));
    let agent = setup.start();
    let began = Instant::now();
    let loads = vec![load(&setup, "tokens", 1)];
    loads[0].wait_accepted(12_000, DRAIN);
    let status = finish(agent, &topic, loads);
    assert_no_connection_was_lost(&status);
    let (fetched, seconds) = (count.load(Ordering::Relaxed), began.elapsed().as_secs());
    println!("tokens: {fetched} in {seconds} s");
    assert!(fetched >= 2 && fetched <= 3 + seconds / 4, "{fetched} tokens in {seconds} s");
}
