//! Senders that must do each other no harm: for each a source of its own, with its streams, and a lane for these.

use super::*;

/// Whoever had a way in could write into any stream, and so fill any lane.
#[test]
fn a_sender_that_fills_its_lane_can_not_fill_that_of_another() {
    let cluster = Cluster::start(&["hot.x", "calm"]);
    let calm = free_port();
    let setup = Setup::new("tenants")
        .without_tcp()
        .spool("segment_size = \"1MiB\"\nmax_event_size = \"100KB\"\ncompression = \"none\"")
        .http("streams = [\"hot.*\"]\nblock_timeout = \"100ms\"")
        .destination("home", cluster.port(), "")
        .section(&format!(
            "[[source]]\nname = \"calm\"\ntype = \"http\"\nlisten = \"127.0.0.1:{calm}\"\nstreams = [\"calm\"]"
        ))
        .section(&lane("hot", "max_size = \"2MiB\"\npark_size = 0"))
        .section(&stream("hot.*", "hot"));
    let agent = setup.start();
    cluster.cut();
    let send = |port: u16, stream: &str, body: &[u8]| {
        http::post(port, &format!("/v1/events/{stream}"), "", body).expect("an answer")
    };
    let large = [vec![b'x'; 90_000], vec![b'\n']].concat().repeat(5);
    let full = (0..20).map(|_| send(setup.http, "hot.x", &large)).find(|answer| answer.status != 200);
    let full = full.expect("its lane takes no more");
    assert_eq!((full.status, &full.json()["error"]), (503, &"spool_full".into()), "{}", full.text());
    let refused = send(setup.http, "calm", &large);
    assert_eq!((refused.status, &refused.json()["error"]), (403, &"stream_forbidden".into()));
    assert_eq!(send(calm, "calm", b"one\n").status, 200);
    assert_eq!(send(calm, "hot.x", b"one\n").status, 403);
    cluster.restore();
    assert_accounts_balance(&agent.wait_drained(None, SOON));
    assert_eq!(cluster.values("calm"), ["one"]);
}
