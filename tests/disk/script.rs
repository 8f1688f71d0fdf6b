//! The stories in which the agent is struck at each of its system calls. What leaves the lane is in [`crate::leaves`].

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cycle::small_segments;
use crate::leaves::Home;
use crate::outside::Outside;
use crate::site::{ASIDE, STREAM, Site};
use crate::support::agent::{Agent, Setup};
use crate::support::http::{self, Connection};
use crate::support::ledger::{Book, Told};
use crate::support::load::{Load, Plan};
use crate::support::payload::{self, Id};
use crate::trace::{arm, calls};

const SOON: Duration = Duration::from_secs(20);
/// Requests to one segment: so many events of such a size.
const APPENDS: [(u64, usize); 5] = [(1, 100), (3, 50_000), (40, 200), (2, 100_000), (1, 100)];
/// Calls without which nothing lasting happens.
const CHANGES: [&str; 4] = ["pwrite64", "fdatasync", "fsync", "unlink"];
/// Generator of what a template's spool holds.
const TEMPLATE: u32 = 7;

/// What the agent does while it is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Starts where nothing is, and takes its first events.
    Start,
    /// Appends to a segment: small and large requests, two streams, a pause.
    Append,
    /// Fills three segments.
    Rotate,
    /// Delivers some segments, keeps its positions, deletes them, notes in its ledger that they are finished.
    Deliver,
    /// Starts on what a killed agent left, and takes events.
    Recover,
    /// Parks what waits for a topic that is missing, forgets it in the lane, and delivers it once the topic is made.
    Park,
    /// Has the events of a topic refused, and keeps them as dead letters; the rest flows.
    Bury,
    /// Sends dead letters again.
    Replay,
    /// Starts with a stream in another lane than the one that holds its backlog, and delivers both in order.
    Relane,
    /// Starts with a stream routed to another destination than the one that its backlog waited for.
    HandOver,
}

impl Script {
    /// Whether calls count from the start of the process.
    fn counts_the_start(self) -> bool {
        matches!(self, Script::Start | Script::Recover | Script::Relane | Script::HandOver)
    }

    /// The tracer's word for a point of this script.
    pub fn point(self, point: usize) -> String {
        if self.counts_the_start() { point.to_string() } else { format!("+{point}") }
    }

    fn has_template(self) -> bool {
        !matches!(self, Script::Start | Script::Append | Script::Rotate | Script::Replay)
    }

    /// Events in its template. Those that are refused are few: after each the partition waits.
    fn of_template(self) -> u64 {
        if self == Script::Bury { 90 } else { 160 }
    }

    /// Makes the data directory that the script begins with, in `template`.
    pub fn prepare(self, template: &Path) {
        if !self.has_template() {
            return;
        }
        let scene = Scene::bare(self, Site::start(), Setup::new("scene"), Home::Before);
        scene.site.stall();
        let agent = scene.setup.start();
        if self.is_apart() {
            // In turn, so that most segments hold something that waits and something that does not.
            let mut book = Book::new(TEMPLATE);
            let for_aside = self.of_template() / 10 - 8;
            (0..10).for_each(|_| scene.send(&mut book, &[(8, 20_000), (for_aside, 20_000)]));
            assert_eq!(book.count(Told::Accepted), self.of_template());
        } else {
            Load::http(template_plan(self, scene.setup.http)).finish();
        }
        agent.kill();
        copy(&scene.setup.data_dir(), &template.join("data"));
    }
}

fn template_plan(script: Script, port: u16) -> Plan {
    let plan = Plan::new(port, STREAM, TEMPLATE).batch(8).limit(Script::Deliver.of_template());
    // What moves has one key throughout, with what comes after it: [`key`].
    let plan = if script.moves() { plan.keys(1) } else { plan };
    Plan { size: 20_000, ..plan }
}

/// In the query of a request: only what has the same key has an order.
fn key(script: Script) -> String {
    if script.moves() { format!("?key=g{TEMPLATE}-k0") } else { String::new() }
}

/// The ledger of what a template's spool holds.
fn template_book(script: Script) -> Book {
    let plan = template_plan(script, 0);
    let mut book = Book::new(TEMPLATE);
    for number in 0..script.of_template() {
        book.offer(payload::write(Id { generator: TEMPLATE, number }, plan.size, &mut Vec::new()));
    }
    book.told(0, Told::Accepted);
    book
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("cp starts");
    assert!(status.success(), "{status}");
}

/// One telling of a story: a fresh data directory and a destination of its own.
pub struct Scene {
    pub script: Script,
    pub setup: Setup,
    pub site: Site,
}

impl Scene {
    fn bare(script: Script, site: Site, setup: Setup, home: Home) -> Self {
        let setup = script.configured(&site, small_segments(setup), home);
        Self { script, setup, site }
    }

    pub fn new(script: Script, template: &Path) -> Self {
        let scene = Self::bare(script, Site::start(), Setup::new("scene"), Home::After);
        scene.site.stall();
        if script.has_template() {
            copy(&template.join("data"), &scene.setup.data_dir());
        }
        scene
    }

    /// The ledger of what the spool holds at the beginning.
    pub fn outside(&self) -> Outside {
        let mut outside = Outside::default();
        // Where a stream moves, both of its parts are of one generator: their order is to stay.
        if self.script.has_template() && !self.script.moves() {
            outside.add(template_book(self.script));
        }
        outside
    }

    /// Does its part of the story until the end of it or of the agent. What senders offered and were told.
    pub fn play(&self, agent: &Agent<'_>, log: &Path) -> Book {
        let mut book = if self.script.moves() { template_book(self.script) } else { Book::new(1) };
        if !ready(agent, &self.setup) {
            return book;
        }
        self.before(agent, &mut book);
        if !self.script.counts_the_start() {
            arm(agent, log);
        }
        match self.script {
            Script::Start | Script::Recover => self.send(&mut book, &[(3, 200), (2, 20_000)]),
            Script::Append => self.send(&mut book, &APPENDS),
            Script::Rotate => self.send(&mut book, &[(3, 100_000); 9]),
            Script::Deliver => self.deliver(agent, &mut book),
            Script::Park => self.park(agent, &mut book),
            Script::Bury => self.bury(agent),
            Script::Replay => self.replay(agent),
            Script::Relane | Script::HandOver => self.moved(agent, &mut book),
        }
        quiet(agent, log);
        book
    }

    /// Requests of so many events of such a size, each after the answer to the one before, on two streams in turn.
    pub fn send(&self, book: &mut Book, requests: &[(u64, usize)]) {
        for (n, (count, size)) in requests.iter().enumerate() {
            let (from, mut body) = (book.next(), Vec::new());
            for number in from..from + count {
                book.offer(payload::write(Id { generator: book.generator, number }, *size, &mut body));
                body.push(b'\n');
            }
            let stream = match self.script {
                Script::Replay => ASIDE,
                Script::Park | Script::Bury if n % 2 == 1 => ASIDE,
                Script::Start | Script::Append | Script::Rotate | Script::Recover if n % 3 == 2 => "other",
                _ => STREAM,
            };
            let told = Connection::open(self.setup.http, SOON)
                .and_then(|mut c| {
                    c.request("POST", &format!("/v1/events/{stream}{}", key(self.script)), "", &body)
                })
                .map_or(Told::Nothing, |a| if a.status == 200 { Told::Accepted } else { Told::Refused });
            book.told(from, told);
        }
    }

    /// Lets the destination answer, and waits until what it took is deleted. One event more, which waits, has the
    /// agent note in its ledger which segments are finished.
    fn deliver(&self, agent: &Agent<'_>, book: &mut Book) {
        self.site.resume();
        let done = || (self.pending()? == 0 && self.has_one_segment()?).then_some(());
        poll("everything is delivered and deleted", agent, done);
        self.site.stall();
        self.send(book, &[(1, 200)]);
        let ledger = self.setup.data_dir().join("ledger/db");
        let settled = || self.pending() == Some(0); // said by an agent that is wrong on purpose
        let noted = || ledger.exists() || agent.process.output().count("delivery ledger") > 0 || settled();
        // An event whose append was struck does not wait for anything.
        if book.count(Told::Accepted) > 0 {
            poll("the ledger is opened", agent, || noted().then_some(()));
        }
        quiet(agent, &self.setup.dir.join("calls"));
        if agent.process.status().is_some() {
            // Killed with its host: what it had sent and heard nothing of is gone.
            self.site.cut();
            self.site.restore();
        }
        self.site.resume();
    }

    /// Waits until only the segment that is written to is left.
    pub fn wait_tidied(&self, agent: &Agent<'_>) {
        let tidied = poll("what was delivered is deleted", agent, || self.has_one_segment()?.then_some(()));
        assert!(tidied.is_some(), "the agent has ended: {}", agent.process.output().tail());
    }

    pub fn has_one_segment(&self) -> Option<bool> {
        let lanes = self.rows("lanes")?;
        Some(lanes.iter().all(|lane| lane["segments"].as_u64().is_some_and(|n| n <= 1)))
    }

    fn rows(&self, array: &str) -> Option<Vec<serde_json::Value>> {
        let status = http::get(self.setup.admin, "/status").ok()?.json();
        status[array].as_array().cloned()
    }

    /// The sum of a number over all rows of an array of `/status`.
    pub fn sum(&self, array: &str, name: &str) -> Option<u64> {
        self.rows(array)?.iter().map(|row| row[name].as_u64()).sum()
    }

    pub fn pending(&self) -> Option<u64> {
        self.sum("accounts", "pending")
    }

    /// Its directory is not needed any more.
    pub fn remove(self) {
        let _ = fs::remove_dir_all(&self.setup.dir);
    }
}

/// Asks until there is an answer; `None` when the agent has ended before.
pub fn poll<T>(what: &str, agent: &Agent<'_>, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + SOON;
    while agent.process.status().is_none() {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}; {}", agent.process.output().tail());
        std::thread::sleep(Duration::from_millis(5)); // another process's state can only be asked for
    }
    None
}

/// Whether it got as far as taking events.
fn ready(agent: &Agent<'_>, setup: &Setup) -> bool {
    let accepts = || http::get(setup.admin, "/readyz?for=accept").is_ok_and(|answer| answer.status == 200);
    poll("it accepts", agent, || accepts().then_some(())).is_some()
}

/// Waits until it changes nothing more: an idle lane writes a mark, positions are synced once more.
fn quiet(agent: &Agent<'_>, log: &Path) {
    let changes = || calls(log).iter().filter(|call| CHANGES.iter().any(|c| call.contains(c))).count();
    let mut last = (changes(), Instant::now());
    poll("it is quiet", agent, || {
        let now = changes();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(300)).then_some(())
    });
}
