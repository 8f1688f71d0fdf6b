//! The harness itself, before it judges others.

use crate::broker::Broker;
use crate::support::ledger::{Book, Told};
use crate::support::payload::{self, Id};
use crate::topic::{Topic, produce};

/// Produces `book`'s events by key to two partitions, with rskafka.
fn events(count: u64) -> (Book, Vec<Vec<u8>>) {
    let mut book = Book::new(1);
    let mut values = Vec::new();
    for number in 0..count {
        let mut value = Vec::new();
        let hash = payload::write(Id { generator: 1, number }, 120, &mut value);
        book.offer(hash);
        values.push(value);
    }
    book.told(0, Told::Accepted);
    (book, values)
}

pub fn what_rskafka_wrote_is_read_by_both_readers_and_a_missing_event_is_noticed() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "harness-readers", 2);
    let (book, values) = events(101);
    for partition in 0..2 {
        let key = if partition == 0 { "even" } else { "odd" };
        let own = values.iter().take(100).skip(partition).step_by(2);
        let rows: Vec<_> = own.map(|v| (Some(key), v.clone())).collect();
        produce(broker, &topic.name, i32::try_from(partition).expect("small"), &rows);
    }
    assert_eq!(topic.len(), 100);
    let by_rskafka = topic.judge([&book]);
    assert_eq!(by_rskafka, topic.judge_java([&book]));
    for row in topic.read_java() {
        assert_eq!((row.headers.as_str(), row.timestamp), (r"h:1\x0A\x00", 1_700_000_000_123));
    }
    assert_eq!((by_rskafka.distinct, by_rskafka.missing), (100, 1), "{by_rskafka}");
    assert_eq!(by_rskafka.reordered + by_rskafka.doubled + by_rskafka.corrupt, 0, "{by_rskafka}");
}

pub fn a_broker_keeps_its_port_and_its_topics_over_stop_kill_and_freeze() {
    let broker = Broker::start("faults");
    let topic = Topic::create(&broker, "kept", 1);
    produce(&broker, "kept", 0, &[(None, b"one".to_vec())]);
    broker.stop();
    assert!(std::net::TcpStream::connect(("127.0.0.1", broker.port)).is_err(), "something listens");
    assert_ne!(broker.forget_producers(), 0, "a clean stop leaves a snapshot");
    broker.run();
    assert_eq!(topic.len(), 1);
    broker.kill();
    broker.run();
    produce(&broker, "kept", 0, &[(None, b"two".to_vec())]);
    assert_eq!(topic.len(), 2);
    broker.freeze();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| topic.len());
        assert!(!waiting.is_finished());
        broker.thaw();
        assert_eq!(waiting.join().expect("an answer"), 2);
    });
}
