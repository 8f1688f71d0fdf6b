//! From a request to a consumer: how long single events take through a running agent and a real Kafka.
//!
//! `cargo bench --bench latency -- HTTP_ADDRESS BROKER TOPIC [RATE] [SECONDS] [CONNECTIONS]`, or through
//! `benches/relay.py latency`, which starts both. One process sends and consumes, so there is one clock. The
//! schedule is open: an answer that comes late delays nobody else's request, only the next of its connection.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use spoolway::config::model::HostPort;
use spoolway::kafka::{Consumer, ConsumerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of an event.
const SIZE: usize = 200;

/// Nanoseconds since the start of everything, an event each; 0: has not happened.
type Times = Arc<Vec<AtomicU64>>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [http, broker, topic, rest @ ..] = arguments.as_slice() else {
        // What `cargo bench` and `cargo test --benches` give: nothing to measure against.
        println!("latency: needs a running agent and Kafka; see benches/relay.py");
        return;
    };
    let number = |i: usize, default: u64| rest.get(i).map_or(default, |a| a.parse().unwrap());
    let (rate, seconds, connections) = (number(0, 10_000), number(1, 10), number(2, 100));
    let total = rate * seconds;
    let times = || -> Times { Arc::new((0..total).map(|_| AtomicU64::new(0)).collect()) };
    let (sent, answered, seen) = (times(), times(), times());
    let start = Instant::now() + Duration::from_millis(500);

    let (broker, topic) = (broker.clone(), topic.clone());
    let see = Arc::clone(&seen);
    let consumer = std::thread::spawn(move || one_thread(consume(&broker, &topic, start, &see)));
    one_thread(send(http, (rate, total, connections), start, (&sent, &answered)));
    consumer.join().unwrap();
    report(&sent, &answered, &seen, rate);
}

fn one_thread(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

async fn send(
    http: &str,
    (rate, total, connections): (u64, u64, u64),
    start: Instant,
    (sent, answered): (&Times, &Times),
) {
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..connections {
        let stream = TcpStream::connect(http).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sent, answered, http) = (Arc::clone(sent), Arc::clone(answered), http.to_owned());
        tasks.spawn(async move {
            let mut stream = stream;
            let mut answer = Vec::new();
            for event in (connection..total).step_by(usize::try_from(connections).unwrap()) {
                let due = start + Duration::from_nanos(event * 1_000_000_000 / rate);
                tokio::time::sleep_until(due.into()).await;
                let request = request(&http, event);
                note(&sent, event, start);
                stream.write_all(&request).await.unwrap();
                read_answer(&mut stream, &mut answer).await;
                note(&answered, event, start);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

fn request(http: &str, event: u64) -> Vec<u8> {
    let body = format!("{{\"n\":{event:010},\"pad\":\"");
    let body = format!("{body}{:x<width$}\"}}", "", width = SIZE - body.len() - 2);
    format!("POST /v1/events/bench HTTP/1.1\r\nHost: {http}\r\nContent-Length: {SIZE}\r\n\r\n{body}")
        .into_bytes()
}

async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) {
    answer.clear();
    loop {
        assert!(stream.read_buf(answer).await.unwrap() > 0, "the agent has closed the connection");
        let text = String::from_utf8_lossy(answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        let length =
            head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return;
        }
    }
}

async fn consume(broker: &str, topic: &str, start: Instant, seen: &Times) {
    let (host, port) = broker.rsplit_once(':').unwrap();
    let broker = HostPort { host: host.to_owned(), port: port.parse().unwrap() };
    let mut consumer = Consumer::new(&ConsumerOptions::new(vec![broker]));
    let mut next = consumer.latest(topic, 0).await.unwrap();
    let mut left = seen.len();
    while left > 0 {
        let fetched = consumer.fetch(topic, 0, next).await.unwrap();
        next = fetched
            .for_each(|record| {
                let value = record.record.value.unwrap();
                let event = std::str::from_utf8(&value[5..15]).unwrap().parse().unwrap();
                note(seen, event, start);
                left -= 1;
            })
            .unwrap();
        assert!(start.elapsed() < Duration::from_secs(300), "{left} events have not come");
    }
}

fn note(times: &Times, event: u64, start: Instant) {
    let now = u64::try_from(start.elapsed().as_nanos()).unwrap().max(1);
    times[usize::try_from(event).unwrap()].store(now, Ordering::Relaxed);
}

fn report(sent: &Times, answered: &Times, seen: &Times, rate: u64) {
    let took = answered.iter().map(|t| t.load(Ordering::Relaxed)).max().unwrap();
    println!(" {} events, {:.0} a second", sent.len(), sent.len() as f64 / (took as f64 / 1e9));
    let due = |event: usize| event as u64 * 1_000_000_000 / rate;
    let at = |times: &Times, event: usize| times[event].load(Ordering::Relaxed);
    print_line("request late, behind schedule", sent.len(), |e| at(sent, e).saturating_sub(due(e)));
    print_line("request to answer (the fsync)", sent.len(), |e| at(answered, e) - at(sent, e));
    print_line("answer to consumer", sent.len(), |e| at(seen, e).saturating_sub(at(answered, e)));
    print_line("request to consumer", sent.len(), |e| at(seen, e).saturating_sub(at(sent, e)));
}

fn print_line(name: &str, count: usize, nanos: impl Fn(usize) -> u64) {
    let mut all: Vec<u64> = (0..count).map(nanos).collect();
    all.sort_unstable();
    let ms = |share: usize| all[(count - 1) * share / 1000] as f64 / 1e6;
    println!(
        "  {name:32} p50 {:8.2} ms   p99 {:8.2} ms   p99.9 {:8.2} ms   most {:8.2} ms",
        ms(500),
        ms(990),
        ms(999),
        ms(1000)
    );
}
