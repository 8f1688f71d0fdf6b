//! What the service manager is told: systemd's `sd_notify(3)`, spoken without its library.
//!
//! What it promises:
//! - `READY=1` when events can be taken, and not before.
//! - `WATCHDOG=1` only while every task comes round, by the same look that `/healthz` takes: there is no timer that
//!   would go on saying so while the agent is stuck.
//! - Whether anybody listens, or has stopped listening, changes nothing for the agent.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// A manager that is itself stuck holds the agent up this long and no longer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two lines of `systemctl status` that differ.
const NEWS_AFTER: Duration = Duration::from_secs(5);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub(super) struct Manager {
    socket: Option<UnixDatagram>,
    /// Without `WATCHDOG=1` for this long, it kills us.
    watchdog: Option<Duration>,
    fed: Option<Instant>,
    is_reloading: bool,
    told: String,
    told_at: Option<Instant>,
}

impl Manager {
    /// By the environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub(super) fn of_process() -> Self {
        Self::of(|name| std::env::var_os(name), std::process::id())
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let Some(address) = variable("NOTIFY_SOCKET").filter(|a| !a.is_empty()) else {
            return Self::default();
        };
        let socket = match connect(&address) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(socket = ?address, %error, "the service manager can't be told anything");
                return Self::default();
            }
        };
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let ours = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(u64::from(pid));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0).map(Duration::from_micros);
        Self { socket: Some(socket), watchdog, ..Self::default() }
    }

    /// How often to look at the agent: at least twice before the watchdog's patience ends.
    pub(super) fn pace(&self, usual: Duration) -> Duration {
        self.watchdog.map_or(usual, |patience| usual.min(patience / 2).max(Duration::from_millis(1)))
    }

    /// Events can be taken.
    pub(super) fn ready(&mut self) {
        self.is_reloading = false;
        self.tell("READY=1");
    }

    /// The configuration is being looked at again, or another one taken over; ends with [`Manager::ready`].
    pub(super) fn reloading(&mut self) {
        self.is_reloading = true;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// The same, where that may have been said before.
    pub(super) fn still_reloading(&mut self) {
        if !self.is_reloading {
            self.reloading();
        }
    }

    /// It is ending.
    pub(super) fn stopping(&mut self) {
        self.tell("STOPPING=1");
    }

    /// To be called again and again by what drives the agent: feeds the watchdog unless a task is stuck, and says how things
    /// are when that has changed.
    pub(super) fn look(&mut self, now: Instant, stalled: Option<String>, news: impl FnOnce() -> String) {
        if self.socket.is_none() {
            return;
        }
        let since =
            |then: Option<Instant>| then.map_or(Duration::MAX, |then| now.saturating_duration_since(then));
        let hungry = self.watchdog.is_some_and(|patience| since(self.fed) >= patience / 4);
        if hungry && stalled.is_none() {
            self.tell("WATCHDOG=1");
            self.fed = Some(now);
        }
        if since(self.told_at) < NEWS_AFTER {
            return;
        }
        self.told_at = Some(now);
        let news = stalled.map_or_else(news, |what| format!("stuck: {what}"));
        // A line break would begin another assignment.
        let news: String = news.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if news != self.told {
            self.tell(&format!("STATUS={news}"));
            self.told = news;
        }
    }

    fn tell(&mut self, what: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(what.as_bytes()) {
            tracing::debug!(%error, what, "the service manager does not listen");
        }
    }
}

/// `/path`, or `@name` in the abstract namespace.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor @NAME")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: u32 = 7;

    /// What a manager hears, and the agent's side of it.
    fn pair(variables: &[(&str, &str)]) -> (UnixDatagram, Manager) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        let variable = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
            name => variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)),
        };
        let manager = Manager::of(variable, PID);
        (heard, manager)
    }

    fn all(heard: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 1000];
        std::iter::from_fn(|| {
            heard.recv(&mut buffer).ok().map(|n| String::from_utf8(buffer[..n].to_vec()).unwrap())
        })
        .collect()
    }

    fn fine() -> String {
        "fine".to_owned()
    }

    #[test]
    fn a_name_in_the_abstract_namespace_is_found_too() {
        let name = format!("spoolway-test-{}", std::process::id());
        let heard = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        heard.set_nonblocking(true).unwrap();
        let mut manager = Manager::of(|v| (v == "NOTIFY_SOCKET").then(|| format!("@{name}").into()), PID);
        manager.ready();
        manager.stopping();
        assert_eq!(all(&heard), ["READY=1", "STOPPING=1"]);
    }

    #[test]
    fn a_reload_carries_the_clock_that_the_manager_compares_with_its_own() {
        let (heard, mut manager) = pair(&[]);
        let before = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        manager.reloading();
        let said = all(&heard).remove(0);
        let usec: i64 = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        let before = before.tv_sec * 1_000_000 + before.tv_nsec / 1000;
        assert!((before..before + 60_000_000).contains(&usec), "{usec} after {before}");
    }

    #[test]
    fn the_watchdog_is_fed_while_all_tasks_come_round_and_not_while_one_is_stuck() {
        let (heard, mut manager) = pair(&[("WATCHDOG_USEC", "8000000"), ("WATCHDOG_PID", "7")]);
        assert_eq!(manager.pace(Duration::from_secs(30)), Duration::from_secs(4));
        assert_eq!(manager.pace(Duration::from_secs(1)), Duration::from_secs(1));
        let began = Instant::now();
        let mut at = |second: u64, stuck: Option<&str>| {
            manager.look(began + Duration::from_secs(second), stuck.map(str::to_owned), fine);
            all(&heard)
        };
        assert_eq!(at(0, None), ["WATCHDOG=1", "STATUS=fine"]);
        assert_eq!(at(1, None), Vec::<String>::new(), "a quarter of its patience is soon enough");
        assert_eq!(at(2, None), ["WATCHDOG=1"]);
        assert_eq!(at(60, Some("the delivery")), ["STATUS=stuck: the delivery"]);
        assert_eq!(at(120, Some("the delivery")), Vec::<String>::new());
        assert_eq!(at(180, None), ["WATCHDOG=1", "STATUS=fine"]);
    }

    #[test]
    fn a_watchdog_for_another_process_or_none_is_not_fed() {
        for variables in
            [&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "8")][..], &[("WATCHDOG_USEC", "soon")], &[]]
        {
            let (heard, mut manager) = pair(variables);
            manager.look(Instant::now(), None, fine);
            assert_eq!(all(&heard), ["STATUS=fine"], "{variables:?}");
        }
    }

    #[test]
    fn news_is_one_line_whatever_is_in_it() {
        let (heard, mut manager) = pair(&[]);
        manager.look(Instant::now(), None, || "full\nREADY=1".to_owned());
        assert_eq!(all(&heard), ["STATUS=full READY=1"]);
    }

    #[test]
    fn where_nobody_listens_or_listens_no_longer_nothing_happens() {
        for address in ["", "/nonexistent/notify", "vsock:2:1", "relative"] {
            let mut manager = Manager::of(|v| (v == "NOTIFY_SOCKET").then(|| address.into()), PID);
            manager.ready();
            manager.look(Instant::now(), None, || panic!("nobody asks"));
        }
        let (heard, mut manager) = pair(&[]);
        drop(heard);
        manager.ready();
    }
}
