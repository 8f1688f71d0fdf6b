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

/// A wall clock that has been corrected by more than this since a moment was recorded has jumped.
const JUMP: UnixMillis = 60_000;

impl Stamp {
    /// When `earlier` was by the wall clock of this moment: a host that boots in 1970 learns the time later. What an
    /// earlier boot recorded stands as it was recorded.
    #[must_use]
    pub fn corrected(self, earlier: Stamp) -> UnixMillis {
        if earlier.boot == 0 || earlier.boot != self.boot || earlier.monotonic > self.monotonic {
            return earlier.time;
        }
        let passed = i64::try_from(self.since(earlier).as_millis()).unwrap_or(i64::MAX);
        let time = self.time.saturating_sub(passed);
        if time.abs_diff(earlier.time) > JUMP.unsigned_abs() { time } else { earlier.time }
    }

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
        let is_there = |path: &str| std::path::Path::new(path).exists();
        let contained = is_container(is_there, |name| std::env::var_os(name).is_some());
        if contained { None } else { machine_id(|path| std::fs::read_to_string(path).ok()) }
    }
}

fn machine_id(read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let id = read("/etc/machine-id").or_else(|| read("/var/lib/dbus/machine-id"))?;
    let id = id.trim().to_ascii_lowercase();
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

fn is_container(is_there: impl Fn(&str) -> bool, is_set: impl Fn(&str) -> bool) -> bool {
    let marks = ["/run/systemd/container", "/run/.containerenv", "/.dockerenv"];
    let variables = ["container", "KUBERNETES_SERVICE_HOST"];
    marks.into_iter().any(is_there) || variables.into_iter().any(is_set)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;
    const NOW: UnixMillis = 1_800_000_000_000;

    #[test]
    fn a_host_that_knows_nothing_of_its_machine_says_nothing_of_it() {
        assert_eq!(crate::spool::stepped::SteppedHost::new(1).machine(), None);
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let contained = is_container(|path| read(path).is_some(), |name| std::env::var_os(name).is_some());
        let known = machine_id(read).filter(|_| !contained);
        assert_eq!(SystemHost::new().machine(), known);
    }

    #[test]
    fn a_machine_is_known_by_an_id_of_the_right_form_and_not_in_a_container() {
        let id = "0123456789ABCDEF0123456789abcdef";
        let known = Some("0123456789abcdef0123456789abcdef".to_owned());
        let machine = |at: &str, text: &str| machine_id(|path| (path == at).then(|| text.to_owned()));
        assert_eq!(machine("/etc/machine-id", &format!("{id}\n")), known);
        assert_eq!(machine("/var/lib/dbus/machine-id", id), known);
        for other in ["", "uninitialized", &id[1..], &id.replace('0', "g")] {
            assert_eq!(machine("/etc/machine-id", other), None, "{other}");
        }
        let contained = |mark: &str| is_container(|path| path == mark, |name| name == mark);
        assert!(contained("/.dockerenv") && contained("container") && contained("KUBERNETES_SERVICE_HOST"));
        assert!(!contained("HOME"));
    }

    #[test]
    fn the_moment_is_that_of_the_clocks() {
        let wall = || {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            i64::try_from(since.as_millis()).unwrap()
        };
        let (host, before, began) = (SystemHost::new(), wall(), std::time::Instant::now());
        let (first, between, second) = (host.now(), began.elapsed(), host.now());
        assert!((before..=wall()).contains(&first.time), "{before} {first:?}");
        assert!(second.since(first) <= began.elapsed() && between <= began.elapsed());
        assert!(first.monotonic > 1_000_000_000, "nanoseconds");
    }

    #[test]
    fn what_was_accepted_in_1970_has_its_time_once_the_clock_is_set() {
        let booted = Stamp { time: 5_000, boot: 7, monotonic: 5_000_000_000 };
        let now = Stamp { time: NOW, boot: 7, monotonic: booted.monotonic + HOUR };
        assert_eq!(now.corrected(booted), NOW - 3_600_000);
        let set_back = Stamp { time: NOW + 86_400_000, ..booted };
        assert_eq!(now.corrected(set_back), NOW - 3_600_000, "a clock that was ahead");
    }

    #[test]
    fn what_differs_little_or_was_recorded_in_another_boot_stands() {
        let then = Stamp { time: NOW - 3_600_000 - 59_000, boot: 7, monotonic: HOUR };
        let now = Stamp { time: NOW, boot: 7, monotonic: 2 * HOUR };
        assert_eq!(now.corrected(then), then.time, "clocks are trimmed all the time");
        let exactly = Stamp { time: then.time + 59_000 - 60_000, ..then };
        assert_eq!(now.corrected(exactly), exactly.time);
        assert_eq!(now.corrected(Stamp { time: exactly.time - 1, ..exactly }), then.time + 59_000);
        let booted = Stamp { time: 5_000, ..then };
        assert_eq!(booted.corrected(Stamp { time: 99_000, ..booted }), 5_000, "set at that very moment");
        for other in [
            Stamp { boot: 8, ..booted },
            Stamp { boot: 0, ..booted },
            Stamp { monotonic: 3 * HOUR, ..booted },
        ] {
            assert_eq!(now.corrected(other), 5_000);
        }
    }
}
