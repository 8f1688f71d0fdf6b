//! Brokers that speak Kafka well and mean ill: what they say in a handshake, whom they name, how long they ask to wait.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use spoolway::config::model::HostPort;
use spoolway::target::{Reservation, Target, TargetOptions};
use tokio::runtime::Runtime;

use super::brokers::{frame, versions};
use super::support::agent::Setup;
use super::support::certificates::put;
use super::support::http;
use super::support::process::Signal;
use super::victim::withstands;

const SOON: Duration = Duration::from_secs(30);
const PASSWORD: &str = "hostile-canary-5b1c";

const HANDSHAKE: u16 = 17;
const VERSIONS: u16 = 18;
const AUTHENTICATE: u16 = 36;

/// A request's key, correlation id, and what is behind the client's name.
fn heard(stream: &mut TcpStream) -> Option<(u16, [u8; 4], Vec<u8>)> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).ok()?;
    let mut request = vec![0; usize::try_from(u32::from_be_bytes(len)).ok()?.min(1 << 20)];
    stream.read_exact(&mut request).ok()?;
    let key = u16::from_be_bytes(request.get(..2)?.try_into().ok()?);
    let name = usize::from(u16::from_be_bytes(request.get(8..10)?.try_into().ok()?));
    Some((key, request.get(4..8)?.try_into().ok()?, request.get(10 + name..)?.to_vec()))
}

/// What a broker answers to each message of SASL; `None` closes the connection.
pub type Answers = fn(usize, &str) -> Option<String>;

/// A broker that takes any mechanism, and everything that its clients said in it.
pub fn asks_who(answers: Answers) -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let told = Arc::new(Mutex::new(String::new()));
    let all = Arc::clone(&told);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let all = Arc::clone(&all);
            std::thread::spawn(move || converse(stream, &all, answers));
        }
    });
    (port, told)
}

fn converse(mut stream: TcpStream, told: &Mutex<String>, answers: Answers) {
    let mut messages = 0;
    while let Some((key, id, body)) = heard(&mut stream) {
        let answer = match key {
            VERSIONS => versions(id),
            HANDSHAKE => [&id[..], &[0; 6]].concat(),
            AUTHENTICATE => {
                let said = String::from_utf8_lossy(body.get(4..).unwrap_or_default()).into_owned();
                told.lock().expect("no panic").push_str(&said);
                messages += 1;
                let Some(answer) = answers(messages, &said) else { return };
                let len = u32::try_from(answer.len()).expect("short").to_be_bytes();
                [&id[..], &[0, 0, 0xff, 0xff], &len, answer.as_bytes(), &[0; 8]].concat()
            }
            _ => return,
        };
        frame(&mut stream, u32::try_from(answer.len()).expect("short"), &answer);
    }
}

/// A first message of SCRAM that repeats the nonce of the client's.
pub fn challenge(said: &str, iterations: &str) -> String {
    let nonce = said.rsplit("r=").next().unwrap_or_default();
    format!("r={nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i={iterations}")
}

const SCRAMS: [(&str, Answers, &str); 4] = [
    ("years", |_, said| Some(challenge(said, "2147483647")), "iterations"),
    ("one", |_, said| Some(challenge(said, "1")), "iterations"),
    (
        "liar",
        |messages, said| Some(if messages == 1 { challenge(said, "4096") } else { "v=AAAA".to_owned() }),
        "does not know the password",
    ),
    ("deaf", |_, _| Some("r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".to_owned()), "nonce"),
];

#[test]
fn brokers_that_ask_for_years_of_hashing_or_prove_nothing_are_left_at_once_and_hear_no_password() {
    let sasl =
        "sasl = { mechanism = \"SCRAM-SHA-256\", username = \"u\", password = { file = \"password\" } }\n";
    let mut setup = Setup::new("hostile-scram");
    put(&setup.dir, "password", PASSWORD);
    let all: Vec<_> = SCRAMS.iter().map(|(name, answers, _)| (*name, asks_who(*answers))).collect();
    for (name, (port, _)) in &all {
        setup = setup.destination(name, *port, sasl).route("*", name, "{stream}");
    }
    withstands(&setup, |agent| {
        post(&setup);
        // 2^31 rounds would take an hour.
        let status = agent.wait_status("has not tried all", SOON, |status| {
            let rows = status["destinations"].as_array().expect("rows");
            rows.iter().all(|row| row["last_error"].is_object())
        });
        for (row, (name, _, why)) in status["destinations"].as_array().expect("rows").iter().zip(SCRAMS) {
            let said = row["last_error"]["message"].as_str().expect("words");
            assert!(row["name"] == name && said.contains(why), "{row:#}");
        }
        for (name, (_, told)) in &all {
            let told = told.lock().expect("no panic");
            assert!(told.contains("n,,n=u,r=") && !told.contains(PASSWORD), "{name} was told {told}");
        }
    });
}

/// What any client does that believes Metadata, and must: a cluster names its brokers so. `docs/security.md` says what it means.
#[test]
fn a_rogue_broker_sends_the_agent_and_its_password_anywhere_until_an_honest_one_is_in_its_place() {
    let runtime = runtime();
    let sasl = "sasl = { mechanism = \"PLAIN\", username = \"u\", password = { file = \"password\" } }\n\
                request_timeout = \"1s\"\n";
    let (named, told) = asks_who(|_, _| None);
    let place = runtime.block_on(async { Reservation::take(0) }).expect("a port");
    let port = place.address().port();
    let rogue = target(&runtime, Some(port), Some(named));
    let setup = Setup::new("hostile-rogue").destination("home", port, sasl);
    put(&setup.dir, "password", PASSWORD);
    withstands(&setup, |agent| {
        let mut sent = post(&setup);
        agent.wait_status("has not believed it", SOON, |_| told.lock().expect("no panic").contains(PASSWORD));
        runtime.block_on(rogue.kill());
        // Its own doors are among what can be named: what speaks Kafka to them is no request, and changes nothing.
        for door in [setup.http, setup.admin] {
            let rogue = target(&runtime, Some(port), Some(door));
            sent += post(&setup);
            runtime.block_on(asked(&rogue));
            runtime.block_on(rogue.kill());
        }
        let _honest = target(&runtime, Some(port), None);
        let status = agent.wait_drained(Some("home"), SOON);
        assert_eq!(status["accounts"][0]["delivered"], sent, "{status:#}");
    });
}

#[test]
fn codes_that_kafka_does_not_have_in_every_answer_keep_nothing_from_arriving_later() {
    let runtime = runtime();
    let target = target(&runtime, None, None);
    let setup = Setup::new("hostile-codes").destination("home", target.brokers()[0].port(), "");
    // Asked once in the agent's life.
    target.faults().refuse_calls(ApiKey::InitProducerId, 32_000, u32::MAX);
    withstands(&setup, |agent| {
        let mut sent = post(&setup);
        let status =
            agent.wait_status("hears no error", SOON, |s| !s["destinations"][0]["last_error"].is_null());
        assert_eq!(status["accounts"][0]["delivered"], 0, "{status:#}");
        target.faults().refuse_calls(ApiKey::InitProducerId, 0, 0);
        agent.wait_drained(Some("home"), SOON);
        for call in [ApiKey::Metadata, ApiKey::ApiVersions] {
            target.faults().refuse_calls(call, 32_000, u32::MAX);
            target.faults().drop_connections();
            sent += post(&setup);
            runtime.block_on(asked(&target));
            target.faults().refuse_calls(call, 0, 0);
            let status = agent.wait_drained(Some("home"), SOON);
            assert_eq!(status["accounts"][0]["delivered"], sent, "{call:?}: {status:#}");
        }
    });
}

/// Five minutes of such a throttle are obeyed (`deliver/engine/tests/days`); what is accepted, how it stops and what the next one does
/// depend on none of it.
#[test]
fn a_broker_that_asks_for_silence_of_24_days_keeps_nobody_from_accepting_stopping_or_starting_anew() {
    let runtime = runtime();
    let target = target(&runtime, None, None);
    target.faults().throttle(Duration::from_millis(i32::MAX.unsigned_abs().into()), u32::MAX);
    let setup = Setup::new("hostile-throttle").destination("home", target.brokers()[0].port(), "");
    let mut sent = 0;
    withstands(&setup, |agent| {
        sent += post(&setup);
        agent.wait_drained(Some("home"), SOON);
        // The honest event after this one stays behind; the agent stops in time nevertheless.
        sent += post(&setup);
        assert!(agent.status()["accounts"][0]["pending"].as_u64() >= Some(1));
    });
    target.faults().throttle(Duration::ZERO, 0);
    let agent = setup.start();
    // The one that `withstands` sends is to another topic, which there is not.
    let status = agent.wait_status("has not delivered", SOON, |status| {
        status["accounts"][0]["delivered"].as_u64() >= Some(sent)
    });
    assert_eq!(status["accounts"][0]["pending"], 1, "{status:#}");
    agent.process.signal(Signal::TERM);
    assert!(agent.process.wait(SOON).success());
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime")
}

/// One broker with topic `a` on a port, which may name another one in its place.
fn target(runtime: &Runtime, port: Option<u16>, named: Option<u16>) -> Target {
    let advertise = named.map(|port| HostPort { host: "127.0.0.1".to_owned(), port });
    let options = TargetOptions {
        topics: vec![("a".to_owned(), 1)],
        ports: port.into_iter().collect(),
        advertise: advertise.into_iter().collect(),
        ..TargetOptions::default()
    };
    runtime.block_on(Target::start(options)).expect("a target")
}

/// Waits until it was asked twice more.
async fn asked(target: &Target) {
    let mut counts = target.counts();
    let before = counts.borrow().requests;
    let more = counts.wait_for(|counts| counts.requests >= before + 2);
    tokio::time::timeout(SOON, more).await.expect("in time").expect("it lives");
}

/// One event for topic `a`, which is taken.
fn post(setup: &Setup) -> u64 {
    let answer = http::post(setup.http, "/v1/events/a", "", b"x\n").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    1
}
