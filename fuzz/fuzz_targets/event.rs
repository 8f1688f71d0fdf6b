//! Decodes arbitrary bytes as events. Whatever decodes must encode to something that decodes to the same,
//! and nothing may panic or allocate by a count that was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spoolway::event::{Event, EventBatch, EventIter, EventRef, first_event_len};

fn owned<'a>(event: &EventRef<'a>, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Event<'a> {
    Event { key: event.key, value: event.value, headers, time: event.time }
}

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    for event in EventIter::new(bytes) {
        let Ok(event) = event else { return };
        let len = first_event_len(rest).expect("an event that was decoded has a length");
        rest = &rest[len..];
        let headers: Vec<_> = event.headers.iter().collect();
        assert_eq!(headers.len(), event.headers.len());
        let mut batch = EventBatch::new();
        batch.push(&owned(&event, &headers));
        let again = batch.iter().next().expect("one event").expect("what we encoded decodes");
        assert_eq!((again.key, again.value, again.time), (event.key, event.value, event.time));
        assert!(again.headers.iter().eq(headers.iter().copied()));
    }
    assert!(rest.is_empty(), "without an error, every byte belongs to an event");
});
