//! systemd's side of the socket.

use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;

use super::support::agent::spoolway;
use super::support::http;
use super::support::ports::free_port;
use super::support::process::Signal;
use super::{SOON, lonely};

struct Manager {
    name: String,
    socket: UnixDatagram,
}

impl Manager {
    fn new(test: &str) -> Self {
        let name = format!("spoolway-test-{}-{test}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let socket = UnixDatagram::bind_addr(&address).expect("a name of our own");
        socket.set_read_timeout(Some(SOON)).expect("a time");
        Self { name, socket }
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let len = self.socket.recv(&mut buffer).expect("a message in time");
        String::from_utf8(buffer[..len].to_vec()).expect("text")
    }

    /// The first message that begins so; the others are passed over.
    fn until(&self, begin: &str) -> String {
        loop {
            let message = self.next();
            if message.starts_with(begin) {
                return message;
            }
        }
    }

    /// The first message that is neither food for the watchdog nor news.
    fn next_step(&self) -> String {
        loop {
            let message = self.next();
            if message != "WATCHDOG=1" && !message.starts_with("STATUS=") {
                return message;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_of_the_start_of_progress_of_reloads_and_of_the_end() {
    let (setup, manager) = (lonely("manager"), Manager::new("life"));
    let mut command = spoolway();
    command.env("NOTIFY_SOCKET", format!("@{}", manager.name)).env("WATCHDOG_USEC", "2000000");
    let agent = setup.spawn_by(command);
    assert_eq!(manager.next(), "READY=1");
    // Ready is ready: the first try is taken.
    let answer = http::post(setup.http, "/v1/events/a", "", b"x").expect("it listens");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let news = manager.until("STATUS=");
    assert!(news.starts_with("STATUS=accepting; destinations up: 0 of 1; events waiting: "), "{news}");
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    agent.process.signal(Signal::HUP);
    let reloading = |message: String| {
        let usec = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").map(str::parse::<u64>);
        assert!(matches!(usec, Some(Ok(1..))), "{message}");
    };
    reloading(manager.next_step());
    assert_eq!(manager.next_step(), "READY=1", "nothing has changed");
    let changed = setup.config().replace("[spool]", "[spool]\nmax_streams = 7");
    std::fs::write(setup.dir.join("spoolway.toml"), changed).expect("a writable scratch directory");
    agent.process.signal(Signal::HUP);
    reloading(manager.next_step());
    assert_eq!(manager.next_step(), "READY=1", "by the new configuration");
    assert!(agent.process.output().wait_for("going on with it", SOON));
    let (status, _) = agent.terminate(SOON);
    assert!(status.success(), "{status}");
    assert_eq!(manager.next_step(), "STOPPING=1");
}

#[test]
fn an_agent_that_can_not_start_never_says_that_it_is_ready() {
    let (setup, manager) = (lonely("manager-fails"), Manager::new("fails"));
    let _taken = std::net::TcpListener::bind(("127.0.0.1", setup.http)).expect("a free port");
    let mut command = spoolway();
    command.env("NOTIFY_SOCKET", format!("@{}", manager.name));
    let agent = setup.spawn_by(command);
    assert_eq!(agent.process.wait(SOON).code(), Some(1));
    manager.socket.set_nonblocking(true).expect("a socket");
    assert!(manager.socket.recv(&mut [0; 100]).is_err(), "nothing was said");
}

#[test]
fn the_watchdog_is_fed_while_what_came_on_standard_input_waits_for_its_destination() {
    let manager = Manager::new("drain");
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = spoolway();
    command
        .args(["pipe", "-b", &format!("127.0.0.1:{}", free_port()), "-t", "x", "--data-dir"])
        .arg(dir.path());
    command.env("NOTIFY_SOCKET", format!("@{}", manager.name)).env("WATCHDOG_USEC", "400000");
    let mut pipe = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
    pipe.stdin.take().expect("a pipe").write_all(b"line\n").expect("it reads");
    manager.until("READY=1");
    // Its input has ended by the second of these.
    (0..8).for_each(|_| drop(manager.until("WATCHDOG=1")));
    pipe.kill().and_then(|()| pipe.wait()).expect("it ends");
}
