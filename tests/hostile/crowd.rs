//! Ten thousand connections that say nothing, and what honest senders have of it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::senders::{lonely, raise_files};
use super::support::agent::{Agent, Setup, spoolway};
use super::support::http::{self, Connection};
use super::victim::{withstands, withstands_by};

const SOON: Duration = Duration::from_secs(30);
/// Of the agent: the sources have what is left of them, by halves.
const FILES: usize = 900;
const PLACES: u64 = (FILES as u64 - 256) / 2;

/// The agent with so many files, whoever starts it.
fn with_files(files: usize) -> Command {
    let program = spoolway();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={files}:{files}")).arg(program.get_program());
    for (name, _) in program.get_envs() {
        command.env_remove(name);
    }
    command
}

/// Does it again and again until `ended`; the longest that it took, and how often it was done.
fn longest(ended: &AtomicBool, pause: Duration, mut each: impl FnMut()) -> (Duration, u32) {
    let (mut longest, mut times) = (Duration::ZERO, 0);
    while !ended.load(Ordering::SeqCst) {
        let start = Instant::now();
        each();
        longest = longest.max(start.elapsed());
        times += 1;
        thread::sleep(pause);
    }
    (longest, times)
}

/// One that comes now is answered, after this time.
fn comes_and_is_answered(setup: &Setup) -> Duration {
    let start = Instant::now();
    let mut newcomer = Connection::open(setup.http, SOON).expect("a place");
    let answer = newcomer.request("POST", "/v1/events/new", "", b"new\n").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    start.elapsed()
}

fn open_files(agent: &Agent<'_>) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.process.pid())).expect("the agent runs").count()
}

fn connections(agent: &Agent<'_>) -> u64 {
    agent.status()["sources"][0]["connections"].as_u64().expect("a number")
}

#[test]
fn ten_thousand_silent_connections_keep_nobody_waiting_and_leave_the_spool_its_files() {
    let setup = lonely("hostile-crowd")
        .spool("segment_size = \"1MiB\"\nmax_event_size = \"400KiB\"\ncompression = \"none\"")
        .http("max_connections = 5000");
    let crowd = raise_files().min(10_000);
    assert!(crowd > 4 * FILES, "this host allows {crowd} files");
    withstands_by(with_files(FILES), &setup, |agent| {
        let at = SocketAddr::from(([127, 0, 0, 1], setup.http));
        // What the kernel's backlog has no room for is turned away.
        let open = || TcpStream::connect_timeout(&at, Duration::from_millis(20)).ok();
        let body = [vec![b'x'; 99_999], vec![b'\n']].concat();
        let mut patient = Connection::open(setup.http, SOON).expect("a place");
        let mut post = || {
            let answer = patient.request("POST", "/v1/events/patient", "", &body).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
        };
        post();
        let ended = AtomicBool::new(false);
        let (silent, most_files, kept, asked) = thread::scope(|scope| {
            let pause = Duration::from_millis(100);
            let ended = &ended;
            // One who is in already, with events that take a new segment every ten; and one who asks how it is.
            let kept = scope.spawn(move || longest(ended, pause, post));
            let (admin, asking) = (setup.admin, pause);
            let asked = scope.spawn(move || {
                longest(ended, asking, || {
                    let answer = http::get(admin, "/readyz?for=accept").expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                })
            });
            let silent: Vec<TcpStream> = (0..crowd).filter_map(|_| open()).collect();
            let most_files = open_files(agent);
            let full = connections(agent);
            assert!((PLACES - 20..=PLACES).contains(&full), "{full} of {PLACES} places are taken");
            // Those who come now wait in a long queue, and no longer than it takes to ask everybody in it for a word.
            let waited = comes_and_is_answered(&setup);
            println!("{} of {crowd} connections; a newcomer was answered after {waited:?}", silent.len());
            assert!(waited < Duration::from_secs(10), "{waited:?}");
            ended.store(true, Ordering::SeqCst);
            (silent, most_files, kept.join().expect("no panic"), asked.join().expect("no panic"))
        });
        println!(
            "{most_files} of {FILES} files; one who was in was answered after {kept:?} at most, one who asked after {asked:?}"
        );
        assert!(silent.len() > 2 * FILES, "{}", silent.len());
        assert!(most_files < FILES - 200, "{most_files}");
        for (longest, times) in [kept, asked] {
            assert!(longest < Duration::from_secs(2) && times > 10, "{longest:?}, {times} times");
        }
        assert!(agent.status()["lanes"][0]["segments"].as_u64().expect("a number") > 1, "{kept:?}");
        // Those past the limit are waited with, and it says so; none of them costs a file.
        let said = agent.process.output();
        assert!(said.wait_for("all places for connections are taken", SOON));
        assert!(said.wait_for("leaves room for fewer connections", SOON));
        assert_eq!(
            said.count("Too many open files") + said.count("can't take connections"),
            0,
            "{}",
            said.tail()
        );
        drop(silent);
        let waited = comes_and_is_answered(&setup);
        println!("afterwards after {waited:?}");
        agent.wait_status("still has them", SOON, |status| {
            status["sources"][0]["connections"].as_u64().is_some_and(|open| open <= 2)
        });
    });
}

#[test]
fn a_hundred_thousand_requests_in_a_row_on_one_connection_are_each_answered() {
    let setup = lonely("hostile-pipelined");
    withstands(&setup, |_| {
        let mut pipelined = Connection::open(setup.http, Duration::from_secs(60)).expect("a place");
        let requests = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
        let mut answers = 0;
        for _ in 0..1_000 {
            pipelined.send_raw(&requests).expect("it reads on");
            for _ in 0..100 {
                let answer = pipelined.read_response().expect("an answer to each");
                assert_eq!(answer.status, 404);
                answers += 1;
            }
        }
        assert_eq!(answers, 100_000);
    });
}
