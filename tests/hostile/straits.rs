//! An agent that has too few files, and hostile senders on a source that speaks TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::support::agent::Setup;
use super::support::certificates::{Authority, put};
use super::support::http::{self, Connection};
use super::support::ports::free_port;
use super::victim::withstands;

const SOON: Duration = Duration::from_secs(20);

fn connect(port: u16) -> TcpStream {
    let stream =
        TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), SOON).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    stream
}

/// Segments of 1 MiB, so that a few requests need new files.
fn small_segments(name: &str) -> Setup {
    Setup::new(name)
        .destination("home", free_port(), "")
        .spool("segment_size = \"1MiB\"\nmax_event_size = \"400KiB\"\ncompression = \"none\"")
}

/// Lets a process have so many files, which it may exceed already; how many it might have before.
fn allow_files(pid: u32, files: Option<u64>) -> Option<u64> {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("a process");
    // The most it may have is what it has from us, and stays: only root could raise that again.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let before = prlimit(Some(pid), Resource::Nofile, Rlimit { current: files, maximum });
    before.expect("our own process").current
}

#[test]
fn a_process_that_has_run_out_of_files_refuses_and_takes_again_when_there_are_some() {
    let setup = small_segments("hostile-files").http("block_timeout = \"1s\"");
    withstands(&setup, |agent| {
        let pid = agent.process.pid();
        let mut patient = Connection::open(setup.http, SOON).expect("a place");
        let mut body = vec![b'x'; 300_000];
        body.push(b'\n');
        let mut post = || patient.request("POST", "/v1/events/patient", "", &body).expect("an answer");
        assert_eq!(post().status, 200);
        let before = allow_files(pid, Some(8));
        // Whoever comes is not let in, and waits for it.
        let mut newcomer = Connection::open(setup.http, SOON).expect("the kernel takes it");
        newcomer
            .send_raw(b"POST /v1/events/new HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\na\n")
            .expect("sent");
        let answers: Vec<u16> = (0..12).map(|_| post().status).collect();
        println!("answered without files: {answers:?}");
        // A segment that can't be made is refused, and nothing that was accepted is lost by it.
        assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
        assert!(answers.contains(&503), "{answers:?}");
        allow_files(pid, before);
        // It is let in now; the lane may take a moment longer to try again.
        assert!([200, 503].contains(&newcomer.read_response().expect("an answer").status));
        let deadline = Instant::now() + SOON;
        while post().status != 200 {
            assert!(Instant::now() < deadline, "it takes no events: {}", agent.process.output().tail());
        }
    });
}

/// Posts over TLS as a person would, by curl; the status that is answered.
fn curl(port: u16, ca: &std::path::Path, body: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", "--cacert"]).arg(ca);
    curl.args(["--data-binary", body]).arg(format!("https://localhost:{port}/v1/events/sealed"));
    let said = curl.stderr(Stdio::inherit()).output().expect("curl runs");
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[test]
fn hostile_clients_of_a_source_that_speaks_tls_keep_nobody_out() {
    let port = free_port();
    let setup = Setup::new("hostile-tls").destination("home", free_port(), "");
    let authority = Authority::new("shop");
    let ours = authority.sign(&["localhost"]);
    let ca = put(&setup.dir, "ca.pem", authority.pem());
    let (certificate, key) =
        (put(&setup.dir, "server.pem", &ours.certificate), put(&setup.dir, "server.key", &ours.key));
    let setup = setup.section(&format!(
        "[[source]]\nname = \"sealed\"\ntype = \"http\"\nlisten = \"127.0.0.1:{port}\"\n\
         tls = {{ certificate = \"{}\", key = \"{}\" }}\n",
        certificate.display(),
        key.display()
    ));
    withstands(&setup, |_| {
        assert_eq!(curl(port, &ca, "before"), "200");
        let hello_of = |length: u16| [&[0x16, 3, 1][..], &length.to_be_bytes(), &[1, 0, 0xff, 0xff]].concat();
        let openings: Vec<Vec<u8>> = vec![
            b"POST /v1/events/plain HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na".to_vec(),
            hello_of(0xffff),
            hello_of(4),
            hello_of(16_384),
            [vec![0x15, 3, 3, 0, 2, 2, 0x28], vec![0x17; 20_000]].concat(),
            vec![0x80; 70_000],
            vec![0; 1_000],
            vec![0x16],
        ];
        let mut silent = Vec::new();
        for opening in openings.iter().cycle().take(160) {
            let mut stream = connect(port);
            let _ = stream.write_all(opening);
            silent.push(stream);
        }
        assert_eq!(curl(port, &ca, "meanwhile"), "200");
        // What is no handshake is answered with an alert or nothing, and what has not ended after 10 s is closed.
        for mut stream in silent {
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            assert!(heard.len() < 100 && !heard.starts_with(b"HTTP"), "{heard:?}");
        }
        assert_eq!(curl(port, &ca, "afterwards"), "200");
        let answer = http::post(port, "/v1/events/plain", "", b"x");
        assert!(answer.is_err(), "nothing is taken that is not sealed");
    });
}
