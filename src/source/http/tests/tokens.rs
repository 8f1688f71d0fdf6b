//! Who may send.

use super::*;
use crate::config::Pattern;
use crate::config::model::{Guard, SecretSource};
use crate::secret::Secret;

const TOKEN: &str = "a-token-for-tests-0123456789";

fn guarded() -> Bench {
    let token = SecretSource::Known(Secret::new(TOKEN.to_owned()));
    bench_behind(Gate::new(&Guard { tls: None, token: Some(token) }).unwrap(), Ack::Accepted)
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_token_is_taken_and_one_without_is_told_what_to_send() {
    let bench = guarded();
    let heard = bench.post("/v1/events/x", &format!("authorization: Bearer {TOKEN}\r\n"), b"1").await;
    assert_eq!(heard.status, 200, "{heard:?}");
    for headers in
        ["", "authorization: Bearer a-token-for-tests-012345678\r\n", "authorization: Basic eDp5\r\n"]
    {
        let heard = bench.post("/v1/events/x", headers, b"2").await;
        assert_eq!(heard.status, 401, "{heard:?}");
        assert!(heard.head.contains("www-authenticate: bearer"), "{heard:?}");
        assert!(heard.body.contains("\"unauthorized\"") && !heard.body.contains("a-token"), "{heard:?}");
    }
    assert_eq!(bench.intake.values(), vec![b"1"]);
    assert_eq!(bench.rejected(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_known_learns_nothing_of_what_is_here() {
    let bench = guarded();
    for path in ["/", "/v1/events/%zz", "/v1/events/x?kye=1"] {
        assert_eq!(bench.post(path, "content-type: text/html\r\n", b"").await.status, 401, "{path}");
    }
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n")
        .await;
    assert_eq!(peer.hear().await.status, 401, "it is not asked to go on");
}

/// With one token for each sender, a sender could write into any other's streams, and fill their lane.
#[tokio::test]
async fn senders_name_only_streams_that_their_source_takes() {
    let mut bench = bench();
    let streams = ["orders", "audit.*"].map(|text| Pattern::parse(text).unwrap());
    Arc::get_mut(&mut bench.service).unwrap().streams = streams.to_vec();
    for stream in ["orders", "o%72ders", "audit.login"] {
        assert_eq!(bench.post(&format!("/v1/events/{stream}"), NDJSON, b"1\n").await.status, 200, "{stream}");
    }
    for stream in ["order", "orders2", "audit", "xaudit.login", "Orders"] {
        let heard = bench.post(&format!("/v1/events/{stream}"), NDJSON, b"1\n").await;
        assert_eq!(heard.status, 403, "{heard:?}");
        assert!(heard.body.contains("\"error\":\"stream_forbidden\""), "{heard:?}");
        assert!(!heard.body.contains("audit.*"), "what others may send is not told: {heard:?}");
    }
    assert_eq!((bench.intake.values().len(), bench.rejected()), (3, 5));
}
