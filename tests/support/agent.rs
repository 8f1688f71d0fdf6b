//! The agent as its users run it: a process with a configuration file.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http;
use super::ports::free_port;
use super::process::{Process, Signal, scratch};

/// A configuration and the directory it lives in; agents started from it in turn share their spool.
pub struct Setup {
    /// Holds the configuration and the data directory.
    pub dir: PathBuf,
    /// Port of the http source.
    pub http: u16,
    /// Port of the tcp source, whose stream is `tcp`.
    pub tcp: u16,
    /// Port of the admin server.
    pub admin: u16,
    spool: String,
    http_lines: String,
    rest: String,
    admin_lines: String,
    tcp_source: bool,
}

impl Setup {
    /// With an http source, a tcp source and no destination yet.
    pub fn new(name: &str) -> Self {
        let (http, tcp, admin) = (free_port(), free_port(), free_port());
        let spool = "reserve = \"1MiB\"\n".to_owned();
        Self {
            dir: scratch(name),
            http,
            tcp,
            admin,
            spool,
            http_lines: String::new(),
            rest: String::new(),
            admin_lines: String::new(),
            tcp_source: true,
        }
    }

    /// Adds lines to the http source.
    #[must_use]
    pub fn http(mut self, lines: &str) -> Self {
        self.http_lines.push_str(lines);
        self.http_lines.push('\n');
        self
    }

    /// Leaves the tcp source out.
    #[must_use]
    pub fn without_tcp(self) -> Self {
        Self { tcp_source: false, ..self }
    }

    /// Adds a line to `[spool]`.
    #[must_use]
    pub fn spool(mut self, line: &str) -> Self {
        self.spool.push_str(line);
        self.spool.push('\n');
        self
    }

    /// Adds a destination on a port of this host, with more lines for it.
    #[must_use]
    pub fn destination(mut self, name: &str, port: u16, lines: &str) -> Self {
        let _ = writeln!(
            self.rest,
            "[[destination]]\nname = \"{name}\"\nbootstrap = [\"127.0.0.1:{port}\"]\n{lines}"
        );
        self
    }

    /// Adds a route.
    #[must_use]
    pub fn route(mut self, streams: &str, to: &str, topic: &str) -> Self {
        let _ =
            writeln!(self.rest, "[[route]]\nstreams = [\"{streams}\"]\nto = \"{to}\"\ntopic = \"{topic}\"\n");
        self
    }

    /// Opens the admin server to other hosts, with lines for `[admin]` that this takes.
    #[must_use]
    pub fn open_admin(mut self, lines: &str) -> Self {
        self.admin_lines.push_str(lines);
        self.admin_lines.push('\n');
        self
    }

    /// Adds lines behind the destinations and routes, sections of their own.
    #[must_use]
    pub fn section(mut self, lines: &str) -> Self {
        self.rest.push_str(lines);
        self.rest.push_str("\n\n");
        self
    }

    /// The same directory and ports, with nothing in `[spool]` and no destinations, routes or other sections.
    #[must_use]
    pub fn anew(&self) -> Self {
        let Self { dir, http, tcp, admin, .. } = self;
        Self {
            dir: dir.clone(),
            http: *http,
            tcp: *tcp,
            admin: *admin,
            spool: "reserve = \"1MiB\"\n".to_owned(),
            http_lines: String::new(),
            rest: String::new(),
            admin_lines: String::new(),
            tcp_source: self.tcp_source,
        }
    }

    /// Where the spool is.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The configuration as text.
    pub fn config(&self) -> String {
        let Self { http, http_lines, tcp, admin, spool, rest, admin_lines, .. } = self;
        let data = self.data_dir();
        let host = if admin_lines.is_empty() { "127.0.0.1" } else { "0.0.0.0" };
        let tcp = if self.tcp_source {
            format!(
                "[[source]]\nname = \"tcp\"\ntype = \"tcp\"\nlisten = \"127.0.0.1:{tcp}\"\nstream = \"tcp\"\n\n"
            )
        } else {
            String::new()
        };
        format!(
            "[relay]\nid = \"test\"\ndata_dir = \"{}\"\n\n[spool]\n{spool}\n\
             [[source]]\nname = \"http\"\ntype = \"http\"\nlisten = \"127.0.0.1:{http}\"\n{http_lines}\n\
             {tcp}\
             {rest}\n[admin]\nlisten = \"{host}:{admin}\"\n{admin_lines}",
            data.display()
        )
    }

    /// Writes the configuration and starts an agent that is ready to accept.
    pub fn start(&self) -> Agent<'_> {
        let agent = self.spawn();
        agent.wait_ready("/readyz?for=accept", Duration::from_secs(20));
        agent
    }

    /// Writes the configuration and starts an agent, whether it gets ready or not.
    pub fn spawn(&self) -> Agent<'_> {
        self.spawn_by(spoolway())
    }

    /// As [`Setup::spawn`], with another program, or one in front of the agent: `command` gets `run -c FILE`.
    pub fn spawn_by(&self, mut command: Command) -> Agent<'_> {
        let path = self.dir.join("spoolway.toml");
        std::fs::write(&path, self.config()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        command.arg("run").arg("-c").arg(&path);
        Agent { setup: self, process: Process::spawn("the agent", command) }
    }
}

/// The binary under test, with an environment that says nothing to it. `SPOOLWAY_BIN` names another than the one that was built
/// with the tests: the one that is shipped.
pub fn spoolway() -> Command {
    let built = || Path::new(env!("CARGO_BIN_EXE_spoolway")).into();
    let mut command = Command::new(std::env::var_os("SPOOLWAY_BIN").map_or_else(built, PathBuf::from));
    for name in ["SPOOLWAY_CONFIG", "SPOOLWAY_LOG", "SPOOLWAY_LOG_FORMAT"] {
        command.env_remove(name);
    }
    command
}

/// A running agent.
pub struct Agent<'a> {
    setup: &'a Setup,
    /// Its process.
    pub process: Process,
}

impl Agent<'_> {
    /// Waits until `path` of the admin server answers 200.
    pub fn wait_ready(&self, path: &str, limit: Duration) {
        let mut last = String::from("no answer");
        self.poll(
            limit,
            || match http::get(self.setup.admin, path) {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.text()),
                Err(error) => Err(error.to_string()),
            },
            &mut last,
        );
    }

    /// Waits until `path` of the admin server answers 503 with `word` in it; returns that answer.
    pub fn wait_refusing(&self, path: &str, word: &str, limit: Duration) -> String {
        let mut last = String::from("no answer");
        self.poll(
            limit,
            || match http::get(self.setup.admin, path) {
                Ok(answer) if answer.status == 503 && answer.text().contains(word) => Ok(answer.text()),
                Ok(answer) => {
                    Err(format!("{} instead of 503 with {word:?}: {}", answer.status, answer.text()))
                }
                Err(error) => Err(error.to_string()),
            },
            &mut last,
        )
    }

    /// `/metrics`.
    pub fn metrics(&self) -> String {
        let answer = http::get(self.setup.admin, "/metrics").expect("the admin server answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// `/status`.
    pub fn status(&self) -> Value {
        let answer = http::get(self.setup.admin, "/status")
            .unwrap_or_else(|e| panic!("/status: {e}; {}", self.process.output().tail()));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Polls `/status` until `done` says so.
    pub fn wait_status(&self, what: &str, limit: Duration, done: impl Fn(&Value) -> bool) -> Value {
        let mut last = String::new();
        self.poll(
            limit,
            || {
                let status = self.status();
                if done(&status) { Ok(status) } else { Err(format!("{what}, {status:#}")) }
            },
            &mut last,
        )
    }

    /// Waits until nothing is pending for any destination (or the one named).
    pub fn wait_drained(&self, destination: Option<&str>, limit: Duration) -> Value {
        self.wait_status("is not drained", limit, |status| {
            let rows = status["accounts"].as_array().expect("accounts");
            let mut rows =
                rows.iter().filter(|r| destination.is_none_or(|d| r["destination"] == d)).peekable();
            rows.peek().is_some() && rows.all(|r| r["pending"] == 0)
        })
    }

    fn poll<T>(&self, limit: Duration, mut ask: impl FnMut() -> Result<T, String>, last: &mut String) -> T {
        let deadline = Instant::now() + limit;
        loop {
            match ask() {
                Ok(value) => return value,
                Err(why) => *last = why,
            }
            let ended = self.process.status();
            assert!(ended.is_none(), "the agent ended ({ended:?}); {}", self.process.output().tail());
            assert!(
                Instant::now() < deadline,
                "after {limit:?} the agent still says: {last}; {}",
                self.process.output().tail()
            );
            // Another process's state can only be asked for.
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL.
    pub fn kill(self) {
        self.process.kill();
    }

    /// SIGTERM; returns how it ended and how long that took.
    pub fn terminate(self, limit: Duration) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.process.signal(Signal::TERM);
        let status = self.process.wait(limit);
        (status, start.elapsed())
    }

    /// SIGTERM, and it must end well.
    pub fn stop(self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(Duration::from_secs(15));
        assert!(status.success(), "ended with {status}; {}", self.process.output().tail());
    }
}

/// Checks the sum that must hold in every row of `accounts`.
pub fn assert_accounts_balance(status: &Value) {
    let rows = status["accounts"].as_array().expect("accounts");
    for row in rows {
        let n = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{name} in {row}"));
        let parts = ["delivered", "dead_lettered", "filtered", "dropped", "lost_to_damage", "pending"];
        assert_eq!(n("accepted"), parts.iter().map(|p| n(p)).sum::<u64>(), "unbalanced: {row}");
    }
}
