//! Child processes that never outlive the test, and what they print.
//!
//! Each child runs in a process group of its own and is killed when its [`Process`] is dropped. If this test
//! process itself dies in any way, SIGKILL included, a watchdog notices the end of its input, kills what is
//! left, unmounts what is mounted there and removes the scratch directory.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};

/// A directory that is this test's alone; gone when the test binary ends, unless `SPOOLWAY_KEEP` is set.
pub fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let dir = watchdog().root.join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    dir
}

struct Watchdog {
    root: PathBuf,
    orders: Mutex<ChildStdin>,
}

/// Reads pids (`+1234`, and `-1234` when reaped); at the end of its input kills what is left and removes `$1`.
const WATCHDOG: &str = r#"
pids=" "
while read -r order; do
    pid=${order#?}
    case $order in
        +*) pids="$pids$pid " ;;
        -*) pids="${pids%% $pid *} ${pids#* $pid }" ;;
    esac
done
for pid in $pids; do kill -s KILL -- "-$pid"; done
while read -r _ point _; do
    case $point in "$1"/*) umount -l "$point" ;; esac
done </proc/self/mounts
[ -n "$SPOOLWAY_KEEP" ] || rm -rf "$1"
"#;

fn watchdog() -> &'static Watchdog {
    static WATCHDOG_PROCESS: OnceLock<Watchdog> = OnceLock::new();
    WATCHDOG_PROCESS.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("run-{}", std::process::id()));
        #[expect(clippy::zombie_processes, reason = "it ends after this process, by its design")]
        let mut child = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let orders = Mutex::new(child.stdin.take().expect("a piped stdin"));
        Watchdog { root, orders }
    })
}

fn tell_watchdog(order: char, pid: Pid) {
    let mut orders = watchdog().orders.lock().expect("no writer panics");
    writeln!(orders, "{order}{}", pid.as_raw_nonzero()).expect("the watchdog reads");
}

/// A running (or ended) child.
pub struct Process {
    name: String,
    pid: Pid,
    output: Arc<Output>,
    exit: Arc<(Mutex<Option<ExitStatus>>, Condvar)>,
    /// The child's standard input, if the command asked for a pipe.
    pub stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts `command`; what it prints on either stream goes to [`Process::output`].
    pub fn spawn(name: &str, mut command: Command) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdout(writer.try_clone().expect("a descriptor")).stderr(writer).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        drop(command); // its copies of the pipe's writing end would keep the reader waiting
        let pid = Pid::from_child(&child);
        tell_watchdog('+', pid);
        let stdin = child.stdin.take();
        let output = Arc::new(Output::default());
        let sink = output.clone();
        thread::spawn(move || sink.fill(BufReader::new(reader)));
        let exit = Arc::new((Mutex::new(None), Condvar::new()));
        let reaped = exit.clone();
        thread::spawn(move || {
            let status = child.wait().expect("a child can be waited for");
            tell_watchdog('-', pid);
            *reaped.0.lock().expect("no holder panics") = Some(status);
            reaped.1.notify_all();
        });
        Self { name: name.to_owned(), pid, output, exit, stdin }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sends a signal; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.status().is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Its exit status, if it has ended.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.exit.0.lock().expect("no holder panics")
    }

    /// Waits for its end.
    ///
    /// Panics, with the end of its output, if that takes longer than `limit`.
    pub fn wait(&self, limit: Duration) -> ExitStatus {
        let status = {
            let guard = self.exit.0.lock().expect("no holder panics");
            *self.exit.1.wait_timeout_while(guard, limit, |s| s.is_none()).expect("no holder panics").0
        };
        status.unwrap_or_else(|| panic!("{} still runs after {limit:?}; {}", self.name, self.output.tail()))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.wait(Duration::from_secs(10));
    }

    /// What it has printed.
    pub fn output(&self) -> &Output {
        &self.output
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The whole group: a shell's children too.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}

/// Lines a process has printed; the oldest are forgotten beyond a bound.
#[derive(Default)]
pub struct Output {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    forgotten: usize,
    ended: bool,
}

const KEPT_LINES: usize = 20_000;

impl Output {
    fn fill(&self, reader: impl BufRead) {
        for line in reader.split(b'\n').map_while(Result::ok) {
            let mut lines = self.lines.lock().expect("no holder panics");
            lines.kept.push_back(String::from_utf8_lossy(&line).into_owned());
            if lines.kept.len() > KEPT_LINES {
                lines.kept.pop_front();
                lines.forgotten += 1;
            }
            self.more.notify_all();
        }
        self.lines.lock().expect("no holder panics").ended = true;
        self.more.notify_all();
    }

    /// Waits for a line that contains `text`; `false` when the output ends or `limit` passes without one.
    pub fn wait_for(&self, text: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut next = 0;
        let mut lines = self.lines.lock().expect("no holder panics");
        loop {
            let skip = next.max(lines.forgotten) - lines.forgotten;
            if lines.kept.iter().skip(skip).any(|l| l.contains(text)) {
                return true;
            }
            next = lines.forgotten + lines.kept.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return false;
            }
            lines = self.more.wait_timeout(lines, left).expect("no holder panics").0;
        }
    }

    /// How many lines so far contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.lines.lock().expect("no holder panics").kept.iter().filter(|l| l.contains(text)).count()
    }

    /// Everything that is kept, once the process has closed its output (or `limit` has passed).
    pub fn all(&self, limit: Duration) -> String {
        let guard = self.lines.lock().expect("no holder panics");
        let (lines, _) = self.more.wait_timeout_while(guard, limit, |l| !l.ended).expect("no holder panics");
        lines.kept.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// The last lines, for a failure's message.
    pub fn tail(&self) -> String {
        let lines = self.lines.lock().expect("no holder panics");
        let from = lines.kept.len().saturating_sub(25);
        let tail: Vec<_> = lines.kept.iter().skip(from).cloned().collect();
        format!("the end of its output:\n{}", tail.join("\n"))
    }
}
