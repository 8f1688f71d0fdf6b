//! What becomes of bodies and of refusals.

use super::*;
use crate::ids::StreamName;
use crate::intake::Refused;

#[tokio::test(start_paused = true)]
async fn lines_become_events_and_the_answer_names_their_numbers() {
    let bench = bench();
    let heard = bench.post("/v1/events/orders", NDJSON, b"{\"a\":1}\n\n{\"b\": 2 }\r\nlast").await;
    assert_eq!((heard.status, heard.body.as_str()), (200, r#"{"accepted":3,"first_seq":1,"last_seq":3}"#));
    assert!(heard.head.contains("content-type: application/json"), "{}", heard.head);
    assert_eq!(bench.intake.values(), vec![&b"{\"a\":1}"[..], b"{\"b\": 2 }\r", b"last"]);
    assert_eq!(bench.intake.kept()[0].stream, "orders");
    assert_eq!(bench.intake.kept()[0].key, None);
}

#[tokio::test(start_paused = true)]
async fn key_and_time_of_the_request_are_those_of_each_event() {
    let bench = bench();
    let headers = "spoolway-key: k\r\nspoolway-timestamp: 1700000000000\r\n";
    assert_eq!(bench.post("/v1/events/x", headers, b"1\n2\n").await.status, 200);
    for kept in bench.intake.kept() {
        assert_eq!((kept.key.as_deref(), kept.time), (Some(&b"k"[..]), Some(1_700_000_000_000)));
    }
}

#[tokio::test(start_paused = true)]
async fn elements_of_an_array_are_kept_as_their_bytes_stand() {
    let bench = bench();
    let body = br#" [ {"a" : 1e999, "a":2} ,"x", [1, 2],null, "\ud800" ] "#;
    let heard = bench.post("/v1/events/x", JSON, body).await;
    assert_eq!(heard.status, 200, "{heard:?}");
    let expected: [&[u8]; 5] = [br#"{"a" : 1e999, "a":2}"#, br#""x""#, b"[1, 2]", b"null", br#""\ud800""#];
    assert_eq!(bench.intake.values(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_json_value_that_is_no_array_is_one_event() {
    let bench = bench();
    assert_eq!(bench.post("/v1/events/x", JSON, b"\n {\"a\": [1] }\n").await.status, 200);
    assert_eq!(bench.intake.values(), vec![b"{\"a\": [1] }"]);
}

#[tokio::test(start_paused = true)]
async fn malformed_json_is_refused_as_a_whole_and_names_event_and_place() {
    let bench = bench();
    for (body, event) in [
        (&b"[1,2,{]"[..], 2),
        (b"[1,2", 2),
        (b"[1] x", 1),
        (b"", 0),
        (b"{\"a\":}", 0),
        (b"[\"\xff\"]", 0),
        (b"\xef\xbb\xbf[]", 0),
    ] {
        let heard = bench.post("/v1/events/x", JSON, body).await;
        assert_eq!(heard.status, 400, "{heard:?}");
        assert!(heard.body.contains("\"error\":\"malformed_json\""), "{heard:?}");
        assert!(heard.body.contains(&format!("\"event\":{event}")), "{heard:?}");
        assert!(heard.body.contains("line ") && heard.body.contains("column "), "{heard:?}");
    }
    assert!(bench.intake.values().is_empty());
    assert_eq!(bench.rejected(), 7);
}

#[tokio::test(start_paused = true)]
async fn json_nested_a_hundred_thousand_deep_costs_no_stack() {
    let bench = bench();
    let deep = [vec![b'['; 9_000], vec![b']'; 9_000]].concat();
    let heard = bench.post("/v1/events/x", JSON, &deep).await;
    assert_eq!(heard.status, 413, "{heard:?}");
    assert!(heard.body.contains("\"error\":\"too_large\""), "{heard:?}");
    let events = super::super::events::Events::new(&head_of_json(), 1 << 20, 1 << 20);
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert_eq!(events.complete(&deep).unwrap().count(), 1);
}

fn head_of_json() -> super::super::head::Head {
    super::super::head::Head {
        stream: StreamName::new("x").unwrap(),
        key: None,
        time: None,
        format: super::super::head::Format::Json,
        coding: super::super::head::Coding::Identity,
        length: None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_octet_stream_is_one_event_of_any_length() {
    let bench = bench();
    assert_eq!(bench.post("/v1/events/x", OCTETS, b"").await.status, 200);
    assert_eq!(bench.post("/v1/events/x", OCTETS, b"a\nb\0").await.status, 200);
    assert_eq!(bench.intake.values(), vec![&b""[..], b"a\nb\0"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_events_is_accepted_and_keeps_nothing() {
    let bench = bench();
    for (headers, body) in [(NDJSON, &b"\n\n"[..]), (JSON, b"[]"), ("", b"")] {
        let heard = bench.post("/v1/events/x", headers, body).await;
        assert_eq!((heard.status, heard.body.as_str()), (200, r#"{"accepted":0}"#));
    }
    assert_eq!(bench.intake.batches(), 0);
}

#[tokio::test(start_paused = true)]
async fn chunks_of_one_byte_give_the_same_events() {
    let bench = bench();
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for byte in b"one\ntwo\nthree" {
        peer.say([b'1', b'\r', b'\n', *byte, b'\r', b'\n']).await;
    }
    peer.say("0\r\n\r\n").await;
    assert_eq!(peer.hear().await.status, 200);
    assert_eq!(bench.intake.values(), vec![&b"one"[..], b"two", b"three"]);
}

#[tokio::test]
async fn compressed_bodies_are_unpacked() {
    let bench = bench();
    let lines = b"one\ntwo\n".repeat(100);
    for (coding, body) in [
        ("gzip", gzip(&lines)),
        ("zstd", zstd(&lines)),
        ("gzip", [gzip(&lines[..400]), gzip(&lines[400..])].concat()),
    ] {
        let headers = format!("{NDJSON}content-encoding: {coding}\r\n");
        let heard = bench.post("/v1/events/x", &headers, &body).await;
        assert!(heard.body.contains("\"accepted\":200"), "{heard:?}");
    }
    let headers = format!("{JSON}content-encoding: gzip\r\n");
    assert_eq!(bench.post("/v1/events/x", &headers, &gzip(b"[1, 2]")).await.status, 200);
    assert_eq!(bench.intake.values().len(), 602);
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_methods_types_and_names_are_refused_with_a_reason() {
    let bench = bench();
    assert_eq!(bench.post("/", "", b"x").await.status, 404);
    assert_eq!(bench.post("/v1/events/a%2fb", "", b"x").await.status, 400);
    let heard = bench.post("/v1/events/x", "content-type: application/xml\r\n", b"x").await;
    assert!(heard.status == 415 && heard.body.contains("\"error\":\"content_type\""), "{heard:?}");
    assert_eq!(bench.post("/v1/events/x", "content-encoding: br\r\n", b"x").await.status, 415);
    let mut peer = bench.connect();
    peer.say("GET /v1/events/x HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let heard = peer.hear().await;
    assert!(heard.status == 405 && heard.head.contains("allow: post"), "{heard:?}");
    assert_eq!(bench.rejected(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_the_intake_refuses_is_answered_with_its_reason() {
    let bench = bench();
    let stream = StreamName::new("ordes").unwrap();
    for (refused, status, words) in [
        (Refused::NoRoute { stream, nearest: Some("orders".into()) }, 404, r#""nearest":"orders""#),
        (Refused::TooManyStreams { limit: 9 }, 429, "too_many_streams"),
        (Refused::Full("10 GiB".into()), 503, "spool_full"),
        (Refused::Failing("fsync".into()), 503, "spool_failing"),
        (Refused::ShuttingDown, 503, "shutting_down"),
        (Refused::TooLarge { index: 1, size: 9, limit: 8 }, 413, r#""event":1"#),
    ] {
        bench.intake.refuse_next(refused);
        let heard = bench.post("/v1/events/ordes", "", b"1\n2\n").await;
        assert_eq!(heard.status, status, "{heard:?}");
        assert!(heard.body.contains(words), "{heard:?}");
        assert_eq!(heard.head.contains("retry-after: "), status == 503, "{heard:?}");
    }
    assert_eq!(bench.rejected(), 12);
}

/// 16 MiB of it take half a second, in which the thread answered nobody else.
#[tokio::test(start_paused = true)]
async fn long_json_is_read_beside_the_connections_and_waits_for_its_turn_no_longer_than_any_other() {
    let bench = bench_of(Gate::open(), Ack::Accepted, 1 << 20);
    let all = bench.service.decoders.clone().acquire_many_owned(2).await.unwrap();
    let long = format!("[{}1]", "1234567890123456,".repeat(10_000));
    let packed = format!("{JSON}content-encoding: gzip\r\n");
    assert_eq!(bench.post("/v1/events/x", JSON, b"[1,2]").await.status, 200, "short is read at once");
    let start = tokio::time::Instant::now();
    let heard = bench.post("/v1/events/x", JSON, long.as_bytes()).await;
    assert_eq!((heard.status, start.elapsed().as_secs()), (503, 60), "{heard:?}");
    drop(all);
    assert_eq!(bench.post("/v1/events/x", JSON, long.as_bytes()).await.status, 200);
    assert_eq!(bench.post("/v1/events/x", &packed, &gzip(long.as_bytes())).await.status, 200);
    assert_eq!(bench.intake.values().len(), 2 + 2 * 10_001);
    let broken = bench.post("/v1/events/x", JSON, long.trim_end_matches("1]").as_bytes()).await;
    assert_eq!(broken.status, 400, "{broken:?}");
    assert!(broken.body.contains("malformed_json") && broken.body.contains("\"event\":10000"), "{broken:?}");
}
