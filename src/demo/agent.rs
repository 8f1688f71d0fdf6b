//! The agent as a child process: started, killed, watched.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

    /// SIGTERM; whether it ended well and in time.
    pub(super) async fn terminate(&mut self, patience: Duration) -> Result<bool, DemoError> {
        let Some(mut child) = self.child.take() else { return Ok(true) };
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(|e| DemoError::process("stopping the agent")(e.into()))?;
        }
        let ended = tokio::task::spawn_blocking(move || wait_or_kill(&mut child, patience)).await;
        ended.map_err(io::Error::other).flatten().map_err(DemoError::process("stopping the agent"))
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

fn wait_or_kill(child: &mut Child, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        // The standard library has no wait with a deadline, and no other thread could end it without a race.
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
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
