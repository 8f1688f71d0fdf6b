//! Load generators. Each keeps its own [`Book`] and never sends an event twice, so every double in a topic is
//! the relay's.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::http::Connection;
use super::ledger::{Book, Told};
use super::payload::{self, Id};

/// What a generator sends.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to: a port of 127.0.0.1.
    pub port: u16,
    /// The stream (http only).
    pub stream: String,
    /// The generator's number; unique within a test.
    pub generator: u32,
    /// Bytes of each event.
    pub size: usize,
    /// Events a request.
    pub batch: usize,
    /// How many keys it uses in turn, one a request (http only); 0: no keys.
    pub keys: u32,
    /// Ends when so many have been accepted; `None`: when told to stop.
    pub limit: Option<u64>,
    /// Events a second at most.
    pub rate: Option<u32>,
    /// The time of every event, milliseconds since 1970 (http only); `None`: that of its coming.
    pub time: Option<i64>,
}

impl Plan {
    /// 200-byte events, 100 a request, 7 keys, until told to stop.
    pub fn new(port: u16, stream: &str, generator: u32) -> Self {
        let stream = stream.to_owned();
        Self { port, stream, generator, size: 200, batch: 100, keys: 7, limit: None, rate: None, time: None }
    }

    /// Ends when so many have been accepted.
    pub fn limit(self, limit: u64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Events a second at most.
    pub fn rate(self, rate: u32) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// The time of every event, milliseconds since 1970.
    pub fn time(self, time: i64) -> Self {
        Self { time: Some(time), ..self }
    }

    /// Events a request.
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// How many keys it uses; 0: none.
    pub fn keys(self, keys: u32) -> Self {
        Self { keys, ..self }
    }

    fn remaining(&self, accepted: u64) -> usize {
        let left = self.limit.map_or(u64::MAX, |l| l.saturating_sub(accepted));
        self.batch.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

/// A running generator.
pub struct Load {
    progress: Arc<Progress>,
    thread: JoinHandle<Book>,
}

/// What a generator has done so far.
#[derive(Debug, Default)]
pub struct Progress {
    stop: AtomicBool,
    accepted: AtomicU64,
    unanswered: AtomicU64,
    refused: AtomicU64,
}

impl Load {
    /// Starts an HTTP generator: NDJSON requests on one connection, each waiting for its answer; when the
    /// connection breaks it opens another and goes on with new events.
    pub fn http(plan: Plan) -> Self {
        Self::spawn(plan, run_http)
    }

    /// Starts a TCP generator: lines on one connection. What was written and followed by an orderly close
    /// counts as accepted, which holds as long as the agent is not killed before it has read to the end.
    pub fn tcp(plan: Plan) -> Self {
        Self::spawn(plan, run_tcp)
    }

    fn spawn(plan: Plan, run: fn(&Plan, &Progress) -> Book) -> Self {
        let progress = Arc::new(Progress::default());
        let shared = progress.clone();
        let thread = thread::spawn(move || run(&plan, &shared));
        Self { progress, thread }
    }

    /// How many events were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.progress.accepted.load(Ordering::Relaxed)
    }

    /// Waits until at least `count` have been refused.
    pub fn wait_refused(&self, count: u64, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.progress.refused.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < deadline, "nothing was refused within {limit:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until at least `count` have been accepted.
    pub fn wait_accepted(&self, count: u64, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.accepted() < count {
            assert!(
                Instant::now() < deadline,
                "only {} of {count} accepted after {limit:?}",
                self.accepted()
            );
            assert!(!self.thread.is_finished(), "the generator ended early, after {}", self.accepted());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets it finish its request, and takes its ledger.
    pub fn stop(self) -> Book {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until its plan is done, and takes its ledger.
    pub fn finish(self) -> Book {
        self.thread.join().unwrap_or_else(|_| panic!("a generator failed; its message stands above"))
    }
}

fn pace(plan: &Plan, start: Instant, offered: u64) {
    let Some(rate) = plan.rate else { return };
    let due = start + Duration::from_secs_f64(offered as f64 / f64::from(rate));
    // A rate is time itself: nothing else could be waited for.
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

fn run_http(plan: &Plan, progress: &Progress) -> Book {
    let mut book = Book::new(plan.generator);
    let mut connection = None;
    let start = Instant::now();
    for request in 0u32.. {
        let count = plan.remaining(progress.accepted.load(Ordering::Relaxed));
        if count == 0 || progress.stop.load(Ordering::Relaxed) {
            break;
        }
        pace(plan, start, book.next());
        let Some(open) = reconnect(&mut connection, plan.port, progress) else { break };
        let (from, body) = next_lines(&mut book, plan, count);
        match open.request("POST", &path(plan, request), "", &body) {
            Ok(answer) if answer.status == 200 => {
                let accepted = answer.json()["accepted"].as_u64();
                assert_eq!(accepted, Some(count as u64), "an answer that miscounts: {}", answer.text());
                book.told(from, Told::Accepted);
                progress.accepted.fetch_add(count as u64, Ordering::Relaxed);
            }
            Ok(answer) => {
                assert!((400..600).contains(&answer.status), "unexpected: {answer:?}");
                book.told(from, Told::Refused);
                progress.refused.fetch_add(count as u64, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
            Err(_) => {
                progress.unanswered.fetch_add(count as u64, Ordering::Relaxed);
                connection = None;
            }
        }
    }
    book
}

fn path(plan: &Plan, request: u32) -> String {
    let key = (plan.keys > 0).then(|| format!("key=g{}-k{}", plan.generator, request % plan.keys));
    let time = plan.time.map(|time| format!("timestamp={time}"));
    let query: Vec<_> = key.into_iter().chain(time).collect();
    match query.len() {
        0 => format!("/v1/events/{}", plan.stream),
        _ => format!("/v1/events/{}?{}", plan.stream, query.join("&")),
    }
}

fn next_lines(book: &mut Book, plan: &Plan, count: usize) -> (u64, Vec<u8>) {
    let mut body = Vec::with_capacity(count * (plan.size + 1));
    let from = book.next();
    for number in from..from + count as u64 {
        let hash = payload::write(Id { generator: plan.generator, number }, plan.size, &mut body);
        book.offer(hash);
        body.extend_from_slice(b"\n");
    }
    (from, body)
}

fn reconnect<'a>(
    connection: &'a mut Option<Connection>,
    port: u16,
    progress: &Progress,
) -> Option<&'a mut Connection> {
    while connection.is_none() && !progress.stop.load(Ordering::Relaxed) {
        match Connection::open(port, Duration::from_secs(40)) {
            Ok(open) => *connection = Some(open),
            Err(_) => thread::sleep(Duration::from_millis(10)), // as a sender does while the agent restarts
        }
    }
    connection.as_mut()
}

fn run_tcp(plan: &Plan, progress: &Progress) -> Book {
    let mut book = Book::new(plan.generator);
    let mut socket = TcpStream::connect(("127.0.0.1", plan.port)).expect("the agent listens");
    let start = Instant::now();
    loop {
        let count = plan.remaining(book.next());
        if count == 0 || progress.stop.load(Ordering::Relaxed) {
            break;
        }
        pace(plan, start, book.next());
        let (_, lines) = next_lines(&mut book, plan, count);
        if socket.write_all(&lines).is_err() {
            progress.unanswered.fetch_add(book.next(), Ordering::Relaxed);
            return book;
        }
        progress.accepted.store(book.next(), Ordering::Relaxed);
    }
    if socket.shutdown(Shutdown::Write).is_ok() && at_end(&mut socket) {
        book.told(0, Told::Accepted);
    }
    book
}

/// Whether the agent closes its side in good order, having read ours to the end.
fn at_end(socket: &mut TcpStream) -> bool {
    use std::io::Read;
    socket.set_read_timeout(Some(Duration::from_secs(120))).is_ok() && matches!(socket.read(&mut [0]), Ok(0))
}
