//! Connections: keep-alive, disconnects, stops, and what is not answered.

use super::*;
use crate::intake::AcceptError;

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_closes_the_connection_without_an_answer() {
    let bench = bench();
    bench.intake.refuse_next(AcceptError::Unknown("fsync failed".into()));
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"1").await;
    peer.closes().await;
}

#[tokio::test(start_paused = true)]
async fn requests_come_one_after_the_other_on_one_connection_and_pipelined() {
    let bench = bench();
    let mut peer = bench.connect();
    for _ in 0..3 {
        peer.post("/v1/events/x", "", b"1\n").await;
        assert_eq!(peer.hear().await.status, 200);
    }
    peer.post("/", "", b"refused").await;
    assert_eq!(peer.hear().await.status, 404);
    for number in 0..100 {
        peer.post("/v1/events/x", "", format!("{number}\n").as_bytes()).await;
    }
    for number in 0..100 {
        assert!(peer.hear().await.body.contains(&format!("\"first_seq\":{},", number + 4)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_holds_the_request_and_then_refuses() {
    let bench = bench();
    bench.intake.block();
    let start = tokio::time::Instant::now();
    let heard = bench.post("/v1/events/x", "", b"1").await;
    assert_eq!((heard.status, start.elapsed().as_secs()), (503, 30));
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"2").await;
    bench.intake.waiting_exactly(1).await;
    bench.intake.unblock();
    assert_eq!(peer.hear().await.status, 200);
    assert_eq!(bench.intake.values(), vec![b"2"]);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_goes_away_while_it_is_held_withdraws_its_events() {
    let bench = bench();
    bench.intake.block();
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"1").await;
    bench.intake.waiting_exactly(1).await;
    drop(peer.io);
    bench.intake.waiting_exactly(0).await;
    bench.intake.unblock();
    peer.served.await.unwrap();
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_keeps_nothing() {
    let bench = bench();
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\none\ntwo\n").await;
    peer.io.shutdown().await.unwrap();
    peer.closes().await;
    assert!(bench.intake.values().is_empty());
    assert_eq!(bench.rejected(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_asks_first_is_told_to_go_on_or_that_it_is_too_much() {
    let bench = bench();
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        .await;
    assert_eq!(peer.hear().await.status, 100);
    peer.say("abc").await;
    assert_eq!(peer.hear().await.status, 200);
    let mut peer = bench.connect();
    peer.say(
        "POST /v1/events/x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n",
    )
    .await;
    assert_eq!(peer.hear().await.status, 413);
}

#[tokio::test(start_paused = true)]
async fn with_ack_delivered_the_answer_waits_and_says_when_it_did_not_wait_long_enough() {
    let bench = bench_with(Ack::Delivered);
    assert_eq!(bench.post("/v1/events/x", "", b"1").await.status, 200);
    bench.intake.never_deliver();
    let heard = bench.post("/v1/events/x", "", b"2").await;
    assert_eq!(heard.status, 202, "{heard:?}");
    assert_eq!(heard.body, r#"{"accepted":1,"first_seq":2,"last_seq":2,"delivered":false}"#);
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"3").await;
    bench.intake.kept_at_least(3).await;
    bench.service.stop.cancel();
    assert_eq!(peer.hear().await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_the_request_in_hand_finish_and_closes_idle_connections() {
    let bench = bench();
    bench.intake.block();
    let (mut busy, idle) = (bench.connect(), bench.connect());
    busy.post("/v1/events/x", "", b"1").await;
    bench.intake.waiting_exactly(1).await;
    bench.service.stop.cancel();
    idle.closes().await;
    bench.intake.unblock();
    let heard = busy.hear().await;
    assert!(heard.status == 200 && heard.head.contains("connection: close"), "{heard:?}");
    busy.closes().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_has_been_silent_for_longest_gives_its_place_to_whoever_wants_one() {
    let bench = bench();
    let second = Duration::from_secs(1);
    let mut first = bench.connect();
    // At a head that does not end for as long as at nothing.
    first.say("POST /v1/events/x HTTP/1.1\r\n").await;
    tokio::time::sleep(second / 2).await;
    let mut later = bench.connect();
    later.post("/v1/events/x", "", b"1").await;
    assert_eq!(later.hear().await.status, 200);
    tokio::time::sleep(2 * second).await;
    bench.service.give_way.notify_one();
    let start = tokio::time::Instant::now();
    first.closes().await;
    assert_eq!(start.elapsed(), Duration::ZERO, "at once");
    tokio::time::sleep(10 * second).await;
    later.post("/v1/events/x", "", b"2").await;
    assert_eq!(later.hear().await.status, 200, "one place was wanted");
}

#[tokio::test(start_paused = true)]
async fn nobody_gives_way_amid_a_request_or_within_a_second() {
    let bench = bench();
    let second = Duration::from_secs(1);
    bench.intake.block();
    let (mut busy, mut fresh) = (bench.connect(), bench.connect());
    busy.post("/v1/events/x", "", b"1").await;
    bench.intake.waiting_exactly(1).await;
    tokio::time::sleep(5 * second).await;
    drop(fresh);
    fresh = bench.connect();
    bench.service.give_way.notify_one();
    tokio::time::sleep(second / 2).await;
    bench.intake.unblock();
    assert_eq!(busy.hear().await.status, 200);
    let start = tokio::time::Instant::now();
    tokio::time::sleep(second / 10).await;
    fresh.post("/v1/events/x", "", b"2").await;
    assert_eq!(fresh.hear().await.status, 200);
    // Both are silent now, and the place is still wanted: the first that is so for a second gives its own.
    busy.closes().await;
    assert_eq!(start.elapsed().as_secs(), 1);
    fresh.post("/v1/events/x", "", b"3").await;
    assert_eq!(fresh.hear().await.status, 200);
}
