//! Hostile and slow senders: sizes, times, framing, memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test(start_paused = true)]
async fn an_event_over_the_limit_refuses_the_whole_request_and_is_named() {
    let bench = bench();
    let long = "x".repeat(MAX_EVENT + 1);
    for (path, headers, body) in [
        ("/v1/events/x", NDJSON, format!("1\n2\n{long}\n4\n")),
        ("/v1/events/x", JSON, format!("[1,2,\"{long}\"]")),
        ("/v1/events/x?key=kk", NDJSON, format!("1\n2\n{}\n", "x".repeat(MAX_EVENT - 1))),
    ] {
        let heard = bench.post(path, headers, body.as_bytes()).await;
        assert_eq!(heard.status, 413, "{heard:?}");
        assert!(heard.body.contains("\"error\":\"too_large\""), "{heard:?}");
        assert!(heard.body.contains("\"event\":2"), "{heard:?}");
    }
    assert!(bench.intake.values().is_empty());
    assert_eq!(bench.post("/v1/events/x", NDJSON, &b"x".repeat(MAX_EVENT)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let bench = bench();
    let heard = bench.post("/v1/events/x", NDJSON, &b"abc\n".repeat(MAX_BODY / 4 + 1)).await;
    assert_eq!(heard.status, 413, "{heard:?}");
    assert!(heard.body.contains("body_too_large"), "{heard:?}");
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..=MAX_BODY / 1024 {
        peer.say(format!("400\r\n{}\r\n", "abc\n".repeat(256))).await;
    }
    peer.say("0\r\n\r\n").await;
    assert_eq!(peer.hear().await.status, 413);
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_blows_up_small_lines_is_refused() {
    let bench = bench();
    let path = format!("/v1/events/x?key={}", "k".repeat(900));
    let heard = bench.post(&path, NDJSON, &b"a\n".repeat(1000)).await;
    assert_eq!(heard.status, 413, "{heard:?}");
    assert!(heard.body.contains("fewer"), "{heard:?}");
}

#[tokio::test]
async fn bombs_and_broken_streams_are_refused() {
    let bench = bench();
    let bomb = vec![b'\n'; 50_000_000];
    let mut cut = gzip(b"one\ntwo\n");
    cut.truncate(cut.len() - 5);
    // A frame header that asks for a window of 3.75 TiB.
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff][..], &[0; 20]].concat();
    // As `zstd --check` writes "abcdefgh" (a raw block, then the checksum), with one bit of it another one.
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x49, 0x00, 0x00];
    let flipped = [&head[..], b"abcdefgi\n", &[0x91, 0x25, 0x68, 0x86]].concat();
    for (coding, body, status) in [
        ("zstd", flipped, 400),
        ("gzip", gzip(&bomb), 413),
        ("zstd", zstd(&bomb), 413),
        ("gzip", cut, 400),
        ("gzip", b"no gzip".to_vec(), 400),
        ("zstd", b"no zstd".to_vec(), 400),
        ("zstd", window, 400),
        ("gzip", gzip(b"").repeat(1000), 200),
    ] {
        let headers = format!("{NDJSON}content-encoding: {coding}\r\n");
        let body = &body[..body.len().min(MAX_BODY)];
        let heard = bench.post("/v1/events/x", &headers, body).await;
        assert_eq!(heard.status, status, "{heard:?}");
    }
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn packed_bodies_share_one_budget_with_what_comes_out_of_them_and_all_get_through() {
    let bench = bench();
    let body = b"abcdefghi\n".repeat(MAX_BODY / 10);
    let mut peers = Vec::new();
    for i in 0..20 {
        let mut peer = bench.connect();
        let (coding, packed) = if i % 2 == 0 { ("gzip", gzip(&body)) } else { ("zstd", zstd(&body)) };
        peer.post("/v1/events/x", &format!("{NDJSON}content-encoding: {coding}\r\n"), &packed).await;
        peers.push(peer);
    }
    for mut peer in peers {
        assert_eq!(peer.hear().await.status, 200);
    }
    assert_eq!(bench.intake.values().len(), 20 * MAX_BODY / 10);
    // Somebody holds all there is: little comes out of it, and still it is refused in time.
    let mut holder = bench.service.budget.holder();
    holder.cover(16 * 1024 + 16 * 1024).await;
    let mut overdrawn = bench.service.budget.holder();
    overdrawn.cover(20 * 1024).await;
    let headers = format!("{NDJSON}content-encoding: gzip\r\n");
    assert_eq!(bench.post("/v1/events/x", &headers, &gzip(b"small\n")).await.status, 200);
    let start = tokio::time::Instant::now();
    let heard = bench.post("/v1/events/x", &headers, &gzip(&body)).await;
    assert_eq!((heard.status, start.elapsed().as_secs()), (503, 60), "{heard:?}");
    drop((holder, overdrawn));
    assert_eq!(bench.post("/v1/events/x", &headers, &gzip(&body)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_for_its_turn_to_be_unpacked_waits_no_longer_than_any_other() {
    let bench = bench();
    let all = bench.service.decoders.clone().acquire_many_owned(2).await.unwrap();
    let start = tokio::time::Instant::now();
    let headers = format!("{NDJSON}content-encoding: gzip\r\n");
    let heard = bench.post("/v1/events/x", &headers, &gzip(b"small\n")).await;
    assert_eq!((heard.status, start.elapsed().as_secs()), (503, 60), "{heard:?}");
    drop(all);
    assert_eq!(bench.post("/v1/events/x", &headers, &gzip(b"small\n")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_counted_once_for_each_event_before_it_is_copied_into_them() {
    let bench = bench();
    // Together the events of each take 36 KB; the budget has 16 and one overdraft.
    let key = "k".repeat(300);
    bench.intake.block();
    let mut peers = Vec::new();
    for format in [NDJSON, "content-type: application/json\r\n"] {
        for _ in 0..4 {
            let body = if format == NDJSON {
                b"a\n".repeat(110)
            } else {
                format!("[{}1]", "1,".repeat(109)).into_bytes()
            };
            let mut peer = bench.connect();
            peer.post("/v1/events/x", &format!("{format}spoolway-key: {key}\r\n"), &body).await;
            peers.push(peer);
        }
    }
    // One has the overdraft, and the others wait for its memory.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let alone = bench.intake.waiting_exactly(1);
    tokio::time::timeout(Duration::from_secs(1), alone).await.expect("one at a time");
    bench.intake.unblock();
    for mut peer in peers {
        assert_eq!(peer.hear().await.status, 200);
    }
}

#[tokio::test]
async fn web_pages_may_not_send_events_unless_they_have_a_token() {
    let bench = bench();
    for origin in ["https://evil.example", "null", "http://127.0.0.1:8080"] {
        let heard = bench.post("/v1/events/x", &format!("origin: {origin}\r\n"), b"forged\n").await;
        assert_eq!(heard.status, 403, "{heard:?}");
        assert!(heard.body.contains("web_page"), "{heard:?}");
    }
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn lengths_that_smuggle_are_refused_or_end_the_connection() {
    let bench = bench();
    for lengths in [
        "content-length: -1\r\n",
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: 18446744073709551616\r\n",
        "content-length: 1, 2\r\n",
        "content-length: +1\r\n",
        "transfer-encoding: chunked, gzip\r\n",
    ] {
        let mut peer = bench.connect();
        peer.say(format!("POST /v1/events/x HTTP/1.1\r\nhost: x\r\n{lengths}\r\n1")).await;
        assert_eq!(peer.hear().await.status, 400, "{lengths}");
        peer.closes().await;
    }
    // Both: the chunks count (RFC 9112, 6.3), and nothing more is taken from that connection.
    let mut peer = bench.connect();
    peer.say(
        "POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    peer.say("1\r\na\r\n0\r\n\r\nPOST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nb").await;
    assert_eq!(peer.hear().await.status, 200);
    peer.closes().await;
    assert_eq!(bench.intake.values(), vec![b"a"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_chunk_size_is_refused() {
    let bench = bench();
    for size in ["zz", "ffffffffffffffffff", "-1"] {
        let mut peer = bench.connect();
        peer.say(format!(
            "POST /v1/events/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{size}\r\nabc\r\n"
        ))
        .await;
        let heard = peer.hear().await;
        assert_eq!(heard.status, 400, "{heard:?}");
        assert!(heard.body.contains("malformed_body"), "{heard:?}");
    }
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_refused() {
    let bench = bench();
    let mut peer = bench.connect();
    let _ = peer
        .io
        .write_all(format!("POST /v1/events/x HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(40_000)).as_bytes())
        .await;
    assert_eq!(peer.hear().await.status, 431);
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_ends_the_connection_and_an_idle_one_has_longer() {
    let bench = bench();
    let start = tokio::time::Instant::now();
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"1").await;
    assert_eq!(peer.hear().await.status, 200);
    tokio::time::sleep(Duration::from_secs(200)).await;
    peer.say("POST /v1/ev").await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    peer.say("ents").await;
    peer.closes().await;
    assert_eq!(start.elapsed().as_secs(), 210);
    let start = tokio::time::Instant::now();
    bench.connect().closes().await;
    assert_eq!(start.elapsed().as_secs(), 10, "one that never said anything");
    let start = tokio::time::Instant::now();
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"1").await;
    assert_eq!(peer.hear().await.status, 200);
    peer.closes().await;
    assert_eq!(start.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_refused_after_its_time() {
    let bench = bench();
    let start = tokio::time::Instant::now();
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n").await;
    let mut sender = Vec::new();
    while start.elapsed() < Duration::from_secs(60) {
        sender.push(b'x');
        peer.say("x").await;
        tokio::time::sleep(Duration::from_millis(999)).await;
    }
    let heard = peer.hear().await;
    assert_eq!(heard.status, 408, "{heard:?}");
    assert!(heard.head.contains("connection: close"), "{heard:?}");
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn bodies_in_flight_share_one_budget_and_all_get_through() {
    let bench = bench();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = bench.connect();
        peer.say(format!("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY}\r\n\r\n"))
            .await;
        peer.say(b"abcdefghi\n".repeat(MAX_BODY / 20)).await;
        peers.push(peer);
    }
    for peer in &mut peers {
        peer.say(b"abcdefghi\n".repeat(MAX_BODY / 20)).await;
    }
    for mut peer in peers {
        assert_eq!(peer.hear().await.status, 200);
    }
    assert_eq!(bench.intake.values().len(), 20 * MAX_BODY / 10);
}

/// Three that stopped before their end held the memory of all large bodies for a minute, and came again at once.
#[tokio::test(start_paused = true)]
async fn senders_that_stop_amid_large_bodies_and_come_again_keep_others_waiting_for_seconds() {
    let bench = bench();
    let given_up = Arc::new(AtomicUsize::new(0));
    let hogs: Vec<_> = (0..3)
        .map(|_| {
            let (service, given_up) = (Arc::clone(&bench.service), Arc::clone(&given_up));
            tokio::spawn(async move {
                loop {
                    let mut hog = connect(Arc::clone(&service));
                    begin_large(&mut hog, 1).await;
                    let heard = hog.hear().await;
                    assert!(heard.status == 408 && heard.body.contains("body_slow"), "{heard:?}");
                    given_up.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // A small request is not kept waiting at all.
    let start = tokio::time::Instant::now();
    assert_eq!(bench.post("/v1/events/x", "", b"small\n").await.status, 200);
    assert_eq!(start.elapsed().as_secs(), 0);
    for _ in 0..3 {
        let start = tokio::time::Instant::now();
        let heard = bench.post("/v1/events/x", "", &b"abcdefghi\n".repeat(1800)).await;
        assert_eq!(heard.status, 200, "{heard:?}");
        let waited = start.elapsed().as_secs();
        // It waits twice, for room for its first piece and for the rest, each time behind three that have five seconds.
        assert!((1..=30).contains(&waited), "{waited} s");
    }
    assert!(given_up.load(Ordering::Relaxed) >= 3, "the hogs held nothing");
    assert!(hogs.iter().all(|hog| !hog.is_finished()), "they heard something else");
    hogs.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_large_body_may_come_slowly_while_nobody_waits_for_its_memory() {
    let bench = bench();
    let mut slow = bench.connect();
    begin_large(&mut slow, 30).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    slow.say(b"abcdefghi\n".repeat(30)).await;
    assert_eq!(slow.hear().await.status, 200);
    assert_eq!(bench.intake.values().len(), MAX_BODY / 10);
}

/// All of a large body but so many lines.
async fn begin_large(peer: &mut Peer, missing: usize) {
    peer.say(format!("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY}\r\n\r\n")).await;
    peer.say(b"abcdefghi\n".repeat(MAX_BODY / 10 - missing)).await;
}

/// A sender that left gave the memory back at once, while all of its body was still there, to be read to its end.
#[test]
fn the_memory_of_a_body_whose_sender_has_left_is_free_once_nothing_is_done_to_it_any_more() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        for headers in [JSON, "content-encoding: gzip\r\n", "content-encoding: zstd\r\n"] {
            let bench = bench_of(Gate::open(), Ack::Accepted, 1 << 20);
            // The only thread that does such things has something else to do.
            let (go_on, wait) = std::sync::mpsc::sync_channel::<()>(1);
            let busy = tokio::task::spawn_blocking(move || wait.recv());
            let mut peer = bench.connect();
            peer.post("/v1/events/x", headers, &vec![b'1'; 200_000]).await;
            let its_turn = async {
                while bench.service.decoders.available_permits() == 2 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), its_turn).await.expect("it has its turn");
            let Peer { io, served, .. } = peer;
            drop(io);
            served.await.unwrap();
            // More than there is at all: one at a time may have it.
            let mut next = bench.service.budget.holder();
            let at_once = tokio::time::timeout(Duration::ZERO, next.cover(1 << 20)).await;
            assert!(at_once.is_err(), "{headers}: another may hold as much while the first still does");
            drop(go_on);
            assert!(busy.await.unwrap().is_err());
            let in_time = tokio::time::timeout(Duration::from_secs(60), next.cover(1 << 20)).await;
            in_time.expect("it is given back at the end");
        }
    });
}
