//! Clock and randomness of this host, behind a seam so that a simulation can be the host.

use std::io;
use std::time::Duration;

use crate::event::UnixMillis;

/// A moment, as a block records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Wall clock.
    pub time: UnixMillis,
    /// First 64 bits of the kernel's boot id; 0 if not known.
    pub boot: u64,
    /// Nanoseconds since that boot, sleep included.
    pub monotonic: u64,
}

impl Stamp {
    /// Time passed since `earlier`, by the monotonic clock.
    #[must_use]
    pub fn since(self, earlier: Stamp) -> Duration {
        Duration::from_nanos(self.monotonic.saturating_sub(earlier.monotonic))
    }
}

/// What the spool asks the host for besides its disk.
pub trait Host: std::fmt::Debug + Send + Sync + 'static {
    /// The moment.
    fn now(&self) -> Stamp;

    /// A random number, for identities.
    ///
    /// # Errors
    /// When the host has no randomness to give.
    fn random(&self) -> io::Result<u64>;

    /// What tells this machine from others and stays over reboots; `None` where nothing does.
    fn machine(&self) -> Option<String> {
        None
    }
}

/// The host this process runs on.
#[derive(Debug)]
pub struct SystemHost {
    boot: u64,
}

impl SystemHost {
    /// Reads the boot id once; a host without one has boot 0.
    #[must_use]
    pub fn new() -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        Self { boot: u64::from_str_radix(&digits, 16).unwrap_or(0) }
    }
}

impl Default for SystemHost {
    fn default() -> Self {
        Self::new()
    }
}

impl Host for SystemHost {
    fn now(&self) -> Stamp {
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let nanos =
            |t: rustix::time::Timespec| t.tv_sec.saturating_mul(1_000_000_000).saturating_add(t.tv_nsec);
        Stamp {
            time: wall.tv_sec.saturating_mul(1000).saturating_add(wall.tv_nsec / 1_000_000),
            boot: self.boot,
            monotonic: u64::try_from(nanos(boot)).unwrap_or(0),
        }
    }

    fn random(&self) -> io::Result<u64> {
        getrandom::u64().map_err(|e| io::Error::other(e.to_string()))
    }

    /// The id that systemd and D-Bus keep (machine-id(5)). In a container it is the image's, or a new one each time.
    fn machine(&self) -> Option<String> {
        if is_container() {
            return None;
        }
        let read = |path| std::fs::read_to_string(path).ok();
        let id = read("/etc/machine-id").or_else(|| read("/var/lib/dbus/machine-id"))?;
        let id = id.trim().to_ascii_lowercase();
        (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
    }
}

fn is_container() -> bool {
    let marks = ["/run/systemd/container", "/run/.containerenv", "/.dockerenv"];
    let variables = ["container", "KUBERNETES_SERVICE_HOST"];
    marks.iter().any(|path| std::path::Path::new(path).exists())
        || variables.iter().any(|name| std::env::var_os(name).is_some())
}
