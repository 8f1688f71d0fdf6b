//! The README's quick start on a real Kafka, word for word. Only ports are others, so that it runs beside
//! whatever uses the usual ones, and `[admin]` gets one too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::support::http;
use crate::support::ports::free_port;
use crate::support::process::{Process, scratch};
use crate::support::readme::{Block, blocks, readme};
use crate::topic::Topic;

const SOON: Duration = Duration::from_secs(60);

/// A person at a terminal in an empty directory that has `tests/kafka/broker.sh` and `spoolway` on the path.
struct Person {
    dir: PathBuf,
    ports: Vec<(&'static str, u16)>,
}

impl Person {
    fn new() -> Self {
        let dir = scratch("readme");
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a parent");
        fs::create_dir_all(dir.join("tests/kafka")).expect("a directory");
        fs::create_dir_all(dir.join("target")).expect("a directory");
        for file in ["tests/kafka/broker.sh", "tests/kafka/pom.xml"] {
            fs::copy(project.join(file), dir.join(file)).expect("a copy");
        }
        for name in ["kafka-libs", "kafka-libs.pom.xml"] {
            std::os::unix::fs::symlink(target.join(name), dir.join("target").join(name)).expect("a link");
        }
        let ports =
            [("9092", free_pair()), ("8080", free_port()), ("5170", free_port()), ("9674", free_port())];
        Self { dir, ports: ports.into() }
    }

    fn port(&self, usual: &str) -> u16 {
        self.ports.iter().find(|(name, _)| *name == usual).expect("one of the four").1
    }

    fn with_ports(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (usual, port)| text.replace(usual, &port.to_string()))
    }

    fn shell(&self, line: &str) -> Command {
        let mut line = self.with_ports(line);
        // The script's own default cannot be replaced in the README's words.
        if line.starts_with("tests/kafka/broker.sh") {
            line = format!("{line} {}", self.port("9092"));
        }
        let program = Path::new(env!("CARGO_BIN_EXE_spoolway")).parent().expect("a parent");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command.args(["-c", &line]).current_dir(&self.dir).stdin(Stdio::null());
        command.env("PATH", format!("{}:{path}", program.display())).env_remove("SPOOLWAY_CONFIG");
        command
    }

    /// A line that stays in the foreground of a terminal of its own.
    fn leave_running(&self, line: &str) -> Process {
        Process::spawn(line, self.shell(line))
    }

    /// A line that ends, well.
    fn run(&self, line: &str) -> String {
        let process = Process::spawn(line, self.shell(line));
        let status = process.wait(SOON);
        let printed = process.output().all(SOON);
        assert!(status.success(), "`{line}` ended with {status}:\n{printed}");
        printed
    }
}

/// A port whose next one is free too, for the controller.
fn free_pair() -> u16 {
    let mut port = free_port();
    loop {
        let next = free_port();
        if next == port + 1 {
            return port;
        }
        port = next;
    }
}

fn eventually(what: &str, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !seen() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(50)); // another program's progress can only be asked for
    }
}

fn section(title: &str) -> Vec<Block> {
    let found: Vec<_> = blocks(&readme()).into_iter().filter(|b| b.heading == title).collect();
    assert!(!found.is_empty(), "the README has no commands under {title}");
    found
}

pub fn the_quick_start_of_the_readme_works_word_for_word() {
    let person = Person::new();
    let mut left_running = Vec::new();
    let mut printed = String::new();
    for block in section("With a real Kafka") {
        if block.language == "toml" {
            let admin = format!("\n[admin]\nlisten = \"127.0.0.1:{}\"\n", person.port("9674"));
            let text = person.with_ports(&block.text) + &admin;
            fs::write(person.dir.join("spoolway.toml"), text).expect("a file");
            continue;
        }
        for line in block.text.lines() {
            if line.starts_with("tests/kafka/broker.sh start") {
                let broker = person.leave_running(line);
                let listens = || std::net::TcpStream::connect(("127.0.0.1", person.port("9092"))).is_ok();
                eventually("Kafka does not come up", listens);
                left_running.push(broker);
            } else if line.starts_with("spoolway run") {
                left_running.push(person.leave_running(line));
                let ready = || http::get(person.port("9674"), "/readyz").is_ok_and(|r| r.status == 200);
                eventually("the agent does not get ready", ready);
            } else {
                printed += &person.run(line);
            }
        }
    }
    let promised = r#"{"accepted":2,"first_seq":1,"last_seq":2}"#;
    assert!(readme().contains(promised) && printed.contains(promised), "curl printed:\n{printed}");
    for event in [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#] {
        assert!(printed.contains(event), "{event} is not in the topic:\n{printed}");
    }
}

pub fn the_pipe_of_the_readme_follows_a_file_word_for_word() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "app", 1);
    let mut person = Person::new();
    person.ports[0].1 = broker.port;
    fs::write(person.dir.join("app.log"), "one\ntwo\n").expect("a file");
    let line = section("Try it with your own events").remove(0).text;
    assert!(line.contains("| spoolway pipe"), "{line}");
    // As root the default data directory is the system's, which a test must leave alone.
    let line = format!("{} --data-dir {}", line.trim(), person.dir.join("spool").display());
    let _pipe = person.leave_running(&line);
    eventually("the first lines do not arrive", || topic.len() == 2);
    let mut log = fs::OpenOptions::new().append(true).open(person.dir.join("app.log")).expect("it is there");
    std::io::Write::write_all(&mut log, b"three\n").expect("a line more");
    eventually("the line that was appended does not arrive", || topic.len() == 3);
    let values: Vec<_> = topic.read_java().into_iter().filter_map(|row| row.value).collect();
    assert_eq!(values, ["one", "two", "three"]);
}
