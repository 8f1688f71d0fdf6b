//! Encoding and decoding, with friendly and with hostile bytes.

use super::*;
use proptest::prelude::*;

type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, Option<i64>);

fn any_event() -> impl Strategy<Value = Owned> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    (bytes(), bytes(), proptest::collection::vec((".{0,9}", bytes()), 0..4), any::<Option<i64>>())
}

fn push(batch: &mut EventBatch, (key, value, headers, time): &Owned) {
    let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
    batch.push(&Event { key: key.as_deref(), value: value.as_deref(), headers: &headers, time: *time });
}

proptest! {
    #[test]
    fn what_is_pushed_is_read_back(events in proptest::collection::vec(any_event(), 0..8)) {
        let mut batch = EventBatch::new();
        events.iter().for_each(|e| push(&mut batch, e));
        let read: Vec<_> = batch.iter().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), events.len());
        for (got, (key, value, headers, time)) in read.iter().zip(&events) {
            prop_assert_eq!(got.key, key.as_deref());
            prop_assert_eq!(got.value, value.as_deref());
            prop_assert_eq!(got.time, *time);
            let got: Vec<_> = got.headers.iter().collect();
            let want: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for event in EventIter::new(&bytes).flatten() {
            let _ = event.headers.iter().count();
        }
        let _ = first_event_len(&bytes);
    }

    #[test]
    fn a_batch_is_cut_at_event_boundaries(events in proptest::collection::vec(any_event(), 1..8)) {
        let mut batch = EventBatch::new();
        events.iter().for_each(|e| push(&mut batch, e));
        let mut rest = batch.as_bytes();
        for _ in &events {
            rest = &rest[first_event_len(rest).unwrap()..];
        }
        prop_assert!(rest.is_empty());
    }
}

#[test]
fn a_huge_header_count_is_refused_without_allocating() {
    let bytes = [7, HAS_HEADERS, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
    assert_eq!(EventIter::new(&bytes).next(), Some(Err(EventError::Truncated)));
}
