use std::sync::Mutex;

use super::*;
use crate::config::model::{Destination, Route, TopicTemplate};
use crate::event::Event;
use crate::ids::{DestinationName, LaneName, NameError, Seq};

/// Lanes that note what they get, and answer as they are told.
#[derive(Default)]
struct Fake {
    appended: Mutex<Vec<(String, u32)>>,
    refuse: Mutex<Option<AcceptError>>,
}

impl Lanes for Fake {
    async fn append(
        &self,
        stream: StreamName,
        batch: EventBatch,
        _: Patience,
    ) -> Result<Appended, AcceptError> {
        std::future::ready(()).await;
        if let Some(error) = self.refuse.lock().unwrap().clone() {
            return Err(error);
        }
        self.appended.lock().unwrap().push((stream.to_string(), batch.count()));
        Ok(Appended {
            lane: LaneName::new("main").unwrap(),
            first: Seq(1),
            last: Seq(u64::from(batch.count())),
        })
    }

    async fn delivered(&self, _: &Appended) {
        std::future::ready(()).await;
    }
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn events(values: &[&[u8]]) -> EventBatch {
    let mut batch = EventBatch::new();
    values.iter().for_each(|value| batch.push(&Event::of_value(value)));
    batch
}

fn door(routes: &[Route], max_event_size: usize, max_streams: usize) -> Door<Fake> {
    let home = Destination::new(DestinationName::new("home").unwrap(), vec![]);
    let table = RouteTable::of(routes, &[home]).unwrap();
    Door::new(Fake::default(), Arc::new(table), Limits { max_event_size, max_streams }, [])
}

fn route(streams: &[&str], topic: &str) -> Route {
    Route {
        streams: streams.iter().map(|s| (*s).to_owned()).collect(),
        to: DestinationName::new("home").unwrap(),
        topic: TopicTemplate::parse(topic).unwrap(),
        only: false,
    }
}

async fn accept(door: &Door<Fake>, name: &str, values: &[&[u8]]) -> Result<Appended, AcceptError> {
    door.accept(stream(name), events(values), Patience::Forever).await
}

fn refusal(answer: Result<Appended, AcceptError>) -> Refused {
    match answer {
        Err(AcceptError::Refused(refused)) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_routed_and_small_enough_reaches_the_lanes_whole() {
    let door = door(&[], 10, 10);
    assert_eq!(accept(&door, "x", &[b"one", b"two"]).await.unwrap().last, Seq(2));
    assert_eq!(*door.lanes.appended.lock().unwrap(), [("x".to_owned(), 2)]);
}

#[tokio::test]
async fn a_stream_without_a_route_is_refused_with_the_nearest_one() {
    let door = door(&[route(&["orders"], "{stream}")], 10, 10);
    let refused = refusal(accept(&door, "order", &[b"x"]).await);
    assert_eq!(refused, Refused::NoRoute { stream: stream("order"), nearest: Some("orders".into()) });
    assert!(door.lanes.appended.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stream_too_long_for_its_topic_is_refused() {
    let door = door(&[route(&["*"], "p-{stream}")], 10, 10);
    let refused = refusal(accept(&door, &"x".repeat(248), &[b"x"]).await);
    assert!(matches!(refused, Refused::StreamName { cause: NameError::TooLong(250), .. }), "{refused:?}");
}

#[tokio::test]
async fn one_event_too_large_refuses_the_whole_batch_and_says_which() {
    let door = door(&[], 10, 10);
    let refused = refusal(accept(&door, "x", &[b"0123456789", b"0123456789a", b"b"]).await);
    assert_eq!(refused, Refused::TooLarge { index: 1, size: 11, limit: 10 });
    assert!(door.lanes.appended.lock().unwrap().is_empty());
}

#[tokio::test]
async fn key_and_headers_count_and_the_encoding_around_them_does_not() {
    let door = door(&[], 10, 10);
    let batch = |value| {
        let mut batch = EventBatch::new();
        let headers = [("h", Some(&b"12"[..]))];
        batch.push(&Event { key: Some(b"key"), value: Some(value), headers: &headers, time: Some(7) });
        batch
    };
    assert!(door.accept(stream("x"), batch(b"1234"), Patience::Forever).await.is_ok());
    let refused = refusal(door.accept(stream("x"), batch(b"12345"), Patience::Forever).await);
    assert_eq!(refused, Refused::TooLarge { index: 0, size: 11, limit: 10 });
}

#[tokio::test]
async fn stream_names_are_bounded_and_refused_batches_use_none_up() {
    let door = door(&[], 10, 2);
    *door.lanes.refuse.lock().unwrap() = Some(Refused::Full("no room".into()).into());
    for name in ["a", "b", "c"] {
        assert_eq!(refusal(accept(&door, name, &[b"x"]).await), Refused::Full("no room".into()));
    }
    *door.lanes.refuse.lock().unwrap() = None;
    for name in ["d", "e", "d"] {
        assert!(accept(&door, name, &[b"x"]).await.is_ok());
    }
    assert_eq!(refusal(accept(&door, "f", &[b"x"]).await), Refused::TooManyStreams { limit: 2 });
}

#[tokio::test]
async fn a_name_whose_append_is_in_doubt_stays_in_use() {
    let door = door(&[], 10, 1);
    *door.lanes.refuse.lock().unwrap() = Some(AcceptError::Unknown("fsync".into()));
    assert!(matches!(accept(&door, "a", &[b"x"]).await, Err(AcceptError::Unknown(_))));
    assert_eq!(refusal(accept(&door, "b", &[b"x"]).await), Refused::TooManyStreams { limit: 1 });
}
