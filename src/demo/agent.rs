//! The agent as a child process: started, killed, watched.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::DemoError;
use super::event::STREAM;
use super::http::Http;
use super::link::{Told, quoted};
use super::parent;
use super::site::Site;
use super::workspace::reserve;
use crate::target::Reservation;

/// Name by which a sabotaged agent knows that its configuration is a demo's.
pub(super) const RELAY: &str = "spoolway-demo";

/// Which program takes the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `spoolway run`, as anyone starts it.
    Honest,
    /// The control: answers from memory, forgets what it has sent.
    Sabotaged,
}

/// The agent's place: its configuration, folder and ports, whether or not it lives.
#[derive(Debug)]
pub(super) struct Agent {
    kind: Kind,
    folder: PathBuf,
    http: SocketAddr,
    admin: SocketAddr,
    told: Told,
    child: Option<Child>,
    _ports: [Reservation; 2],
}

/// What `/status` says, summed over lanes and destinations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) lag: u64,
    pub(super) in_flight: u64,
    pub(super) pending: u64,
}

impl Agent {
    pub(super) fn new(kind: Kind, folder: PathBuf, site: &Site) -> Result<Self, DemoError> {
        let ((port, http), (admin_port, admin)) = (reserve()?, reserve()?);
        let told = site.told(&folder)?;
        let text = configuration(&folder, http, admin, site, &told);
        let path = folder.join("spoolway.toml");
        fs::write(&path, text).map_err(|source| DemoError::Folder { path, source })?;
        Ok(Self { kind, folder, http, admin, told, child: None, _ports: [port, admin_port] })
    }

    pub(super) fn http(&self) -> SocketAddr {
        self.http
    }

    pub(super) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub(super) fn start(&mut self) -> Result<(), DemoError> {
        let log = self.folder.join("agent.log");
        let file = File::options().create(true).append(true).open(&log);
        let file = file.map_err(|source| DemoError::Folder { path: log, source })?;
        let binary = std::env::current_exe().map_err(DemoError::process("finding this program"))?;
        let mut command = Command::new(binary);
        match self.kind {
            Kind::Honest => command.arg("run"),
            Kind::Sabotaged => command.args(["demo-part", "sabotaged"]),
        };
        command
            .arg("-c")
            .arg(self.folder.join("spoolway.toml"))
            .envs(self.told.variable())
            .envs([parent::variable()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        self.child = Some(command.spawn().map_err(DemoError::process("starting the agent"))?);
        Ok(())
    }

    /// SIGKILL, and the moment of it. The process is gone when this returns.
    pub(super) fn kill(&mut self) -> Result<Instant, DemoError> {
        let at = Instant::now();
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).map_err(DemoError::process("killing the agent"))?;
        }
        Ok(at)
    }

    /// SIGTERM; whether it ended well and in time. It stays ours until it has ended, so that it is killed where this is given up.
    pub(super) async fn terminate(&mut self, patience: Duration) -> Result<bool, DemoError> {
        let stopping = || DemoError::process("stopping the agent");
        let Some(child) = self.child.as_mut() else { return Ok(true) };
        kill_process(Pid::from_child(child), Signal::TERM).map_err(|e| stopping()(e.into()))?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().map_err(stopping())? {
                self.child = None;
                return Ok(status.success());
            }
            // The standard library has no wait with a deadline.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill().map(|_| false)
    }

    /// The end of its log, for when something is wrong.
    pub(super) fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Asks `/status`; `None` while the agent does not answer.
pub(super) async fn sample(admin: SocketAddr) -> Option<Sample> {
    let answer = Http::open(admin).await.ok()?.get("/status").await.ok()?;
    let status: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let sum = |rows: &str, field: &str| -> Option<u64> {
        let rows = status.get(rows)?.as_array()?;
        Some(rows.iter().filter_map(|row| row.get(field)?.as_u64()).sum())
    };
    Some(Sample {
        lag: sum("destinations", "lag_events")?,
        in_flight: sum("destinations", "in_flight")?,
        pending: sum("accounts", "pending")?,
    })
}

fn configuration(folder: &Path, http: SocketAddr, admin: SocketAddr, site: &Site, told: &Told) -> String {
    let bootstrap: Vec<_> = site.bootstrap().iter().map(|b| quoted(&b.to_string())).collect();
    let data = folder.join("data");
    let mut text = Vec::new();
    let written = write!(
        text,
        "[relay]\nid = \"{RELAY}\"\ndata_dir = {}\n\n\
         [spool]\nsegment_size = \"8MiB\"\nreserve = \"16MiB\"\n\n\
         [[source]]\ntype = \"http\"\nlisten = \"{http}\"\n\n\
         [[destination]]\nname = \"target\"\nbootstrap = [{}]\n{}\n\
         [[route]]\nstreams = [\"{STREAM}\"]\nto = \"target\"\ntopic = {}\n\n\
         [admin]\nlisten = \"{admin}\"\n",
        quoted(&data.to_string_lossy()),
        bootstrap.join(", "),
        told.lines,
        quoted(site.topic()),
    );
    // Writing to a vector does not fail.
    written.map(|()| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    /// It was waited for on a thread of its own, and lived on there with its folder.
    #[tokio::test]
    async fn an_agent_whose_stop_is_given_up_is_dead_when_it_is_dropped() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo ready; exec sleep 60"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let ((port, http), (admin_port, admin)) = (reserve().unwrap(), reserve().unwrap());
        let mut agent = Agent {
            kind: Kind::Honest,
            folder: PathBuf::new(),
            http,
            admin,
            told: Told::default(),
            child: Some(child),
            _ports: [port, admin_port],
        };
        tokio::select! {
            biased;
            _ = agent.terminate(Duration::from_secs(5)) => unreachable!("it does not listen"),
            () = std::future::ready(()) => {}
        }
        assert!(process.exists(), "it does not listen");
        drop(agent);
        assert!(!process.exists(), "the agent lives on");
    }
}
