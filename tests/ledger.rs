//! The judge is judged: each kind of wrong that the comparison of ledger and topic must catch is made here on
//! purpose, and a right topic is found right.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

mod support;

use support::compare::{Comparison, Verdict};
use support::ledger::{Book, Told};
use support::payload::{self, Id};

type Row = (i32, Option<&'static str>, Vec<u8>);

/// Ten events of generator 1: 0-6 accepted, 7 unanswered, 8-9 refused; and the topic that a right relay makes.
fn right() -> (Book, Vec<Row>) {
    let mut book = Book::new(1);
    let mut topic = Vec::new();
    for number in 0..10 {
        let mut value = Vec::new();
        let hash = payload::write(Id { generator: 1, number }, 100, &mut value);
        book.offer(hash);
        let told = match number {
            0..7 => Told::Accepted,
            7 => Told::Nothing,
            _ => Told::Refused,
        };
        book.told(number, told);
        if told == Told::Accepted {
            let even = number % 2 == 0;
            topic.push((i32::from(even), Some(if even { "even" } else { "odd" }), value));
        }
    }
    (book, topic)
}

fn judge(book: &Book, topic: &[Row]) -> Verdict {
    let mut comparison = Comparison::new([book]);
    for (offset, (partition, key, value)) in (0..).zip(topic) {
        comparison.see(*partition, offset, key.map(str::as_bytes), Some(value));
    }
    comparison.judge()
}

#[test]
fn a_right_topic_is_found_right() {
    let (book, topic) = right();
    let verdict = judge(&book, &topic);
    verdict.assert_exact();
    assert_eq!((verdict.records, verdict.distinct), (7, 7));
}

#[test]
fn a_missing_event_is_caught() {
    let (book, mut topic) = right();
    topic.remove(3);
    let verdict = judge(&book, &topic);
    assert_eq!(verdict.missing, 1);
    assert!(!verdict.is_lossless());
}

#[test]
fn a_doubled_event_is_caught_and_not_taken_for_reordered() {
    let (book, mut topic) = right();
    topic.push(topic[0].clone());
    let verdict = judge(&book, &topic);
    assert_eq!((verdict.doubled, verdict.reordered, verdict.missing), (1, 0, 0));
    assert!(verdict.is_lossless());
    assert!(std::panic::catch_unwind(|| verdict.assert_exact()).is_err());
    assert!(std::panic::catch_unwind(|| verdict.assert_lossless(0)).is_err());
    verdict.assert_lossless(1);
}

#[test]
fn a_reordered_event_is_caught_only_within_its_key_and_partition() {
    let (book, mut topic) = right();
    topic.swap(0, 1); // different keys: no order is promised between them
    judge(&book, &topic).assert_exact();
    let (book, mut topic) = right();
    topic.swap(0, 2);
    let verdict = judge(&book, &topic);
    assert_eq!(verdict.reordered, 1);
    assert!(!verdict.is_lossless());
}

#[test]
fn a_reordered_event_without_key_is_caught_within_its_partition() {
    let (book, mut topic) = right();
    topic.iter_mut().for_each(|row| row.1 = None);
    judge(&book, &topic).assert_exact();
    topic.swap(0, 2);
    assert_eq!(judge(&book, &topic).reordered, 1);
}

#[test]
fn a_key_in_two_partitions_is_caught() {
    let (book, mut topic) = right();
    topic[4].0 = 5;
    assert_eq!(judge(&book, &topic).wandered, 1);
}

#[test]
fn a_changed_byte_is_caught() {
    let (book, mut topic) = right();
    topic[2].2[60] ^= 1;
    let verdict = judge(&book, &topic);
    assert_eq!((verdict.corrupt, verdict.missing), (1, 0));
    assert!(!verdict.is_lossless());
}

#[test]
fn an_event_that_was_never_offered_is_caught() {
    let (book, mut topic) = right();
    topic.push((0, None, b"hello".to_vec()));
    let mut value = Vec::new();
    payload::write(Id { generator: 1, number: 99 }, 100, &mut value);
    topic.push((0, None, value));
    assert_eq!(judge(&book, &topic).foreign, 2);
}

#[test]
fn an_unanswered_event_may_be_there_and_a_refused_one_may_not() {
    let (book, mut topic) = right();
    for number in [7, 8] {
        let mut value = Vec::new();
        payload::write(Id { generator: 1, number }, 100, &mut value);
        topic.push((2, None, value));
    }
    let verdict = judge(&book, &topic);
    assert_eq!((verdict.unanswered, verdict.kept_though_refused), (1, 1));
    assert!(!verdict.is_lossless());
}

#[test]
fn events_have_the_size_asked_for_and_tell_their_id() {
    for (generator, number, size) in [(0, 0, 48), (7, 12_345_678_901, 200), (u32::MAX, u64::MAX, 1000)] {
        let id = Id { generator, number };
        let mut value = Vec::new();
        payload::write(id, size, &mut value);
        assert!(value.len() == size || size == 48, "{} bytes", value.len());
        assert_eq!(payload::id_of(&value), Some(id));
        serde_json::from_slice::<serde_json::Value>(&value).expect("JSON");
    }
}
