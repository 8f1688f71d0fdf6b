//! Those who come from other hosts, and those who don't.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::super::answer::{Answers, Way};
use super::super::peer::Ends;
use super::super::route::Scope;
use super::*;
use crate::config::model::{Guard, SecretSource};
use crate::guard::testing::{Site, client};
use crate::secret::Secret;

const TOKEN: &str = "a-token-for-tests-0123456789";
const WITH_TOKEN: &str = "Host: x\r\nAuthorization: Bearer a-token-for-tests-0123456789\r\n";

fn token() -> Option<SecretSource> {
    Some(SecretSource::Known(Secret::new(TOKEN.to_owned())))
}

/// Connections come from this host, or are taken for ones from elsewhere.
fn guarded(guard: Guard, from_here: bool) -> Running {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = Admin { listen: Some(any), metrics_listen: Some(any), guard, ..Admin::default() };
    let limits = match from_here {
        true => Limits::DEFAULT,
        false => Limits { from_here: |_| false, ..Limits::DEFAULT },
    };
    start(&config, limits)
}

async fn get_by_tls(run: &Running, client: &TlsConnector, headers: &str) -> u16 {
    let stream = TcpStream::connect(run.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = client.connect(name, stream).await.unwrap();
    let request = format!("GET /status HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    // Without TLS's own goodbye an end is an error.
    let _end = stream.read_to_end(&mut all).await;
    let text = String::from_utf8_lossy(&all);
    text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn from_another_host_a_token_is_asked_for_and_metrics_alone_are_shown_to_all() {
    let run = guarded(Guard { tls: None, token: token() }, false);
    for path in ["/status", "/healthz", "/metrics", "/nothing"] {
        let reply = get(run.address(), path, "Host: x\r\n").await;
        assert_eq!(reply.code, 401, "{path}");
        assert!(
            reply.head.contains("www-authenticate: bearer") && reply.head.contains("no-store"),
            "{}",
            reply.head
        );
    }
    let ok = get(run.address(), "/healthz", &WITH_TOKEN.replace("Host: x", "Host: localhost")).await;
    assert_eq!(ok.code, 200, "{}", ok.body);
    let metrics = run.server.metrics_address().unwrap();
    assert_eq!(get(metrics, "/metrics", "Host: localhost\r\n").await.code, 200);
    let posted = "POST /dead-letters/purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                  Content-Length: 10\r\nConnection: close\r\n\r\n{\"ids\":[]}";
    assert_eq!(request(run.address(), posted).await.code, 401);
}

#[tokio::test]
async fn from_another_host_nothing_is_heard_before_the_handshake() {
    let site = Site::new();
    let run = guarded(Guard { token: token(), ..site.tls(None) }, false);
    assert_eq!(get(run.address(), "/status", WITH_TOKEN).await.code, 0, "no HTTP is spoken there");
    let client = client(&site.authority, None);
    let local = WITH_TOKEN.replace("Host: x", "Host: localhost");
    assert_eq!(get_by_tls(&run, &client, &local).await, 200);
    assert_eq!(get_by_tls(&run, &client, "Host: localhost\r\n").await, 401);
}

#[tokio::test]
async fn from_this_host_nothing_is_asked_whether_by_tls_or_not() {
    let site = Site::new();
    let run = guarded(Guard { token: token(), ..site.tls(None) }, true);
    assert_eq!(run.get("/status").await.code, 200);
    let client = client(&site.authority, None);
    assert_eq!(get_by_tls(&run, &client, "Host: localhost\r\n").await, 200);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_handshake_that_does_not_come() {
    let run = guarded(Site::new().tls(None), false);
    let mut silent = TcpStream::connect(run.address()).await.unwrap();
    // Answered, so the connection before it has been taken.
    assert_eq!(get(run.address(), "/status", "").await.code, 0);
    run.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), run.server.stopped()).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn strangers_that_say_nothing_leave_places_to_this_host() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = Admin { listen: Some(any), guard: Guard { tls: None, token: token() }, ..Admin::default() };
    let from_here =
        |stream: &TcpStream| stream.peer_addr().unwrap().ip() != std::net::Ipv4Addr::new(127, 0, 0, 2);
    let run = start(&config, Limits { connections: 4, from_here, ..Limits::DEFAULT });
    let stranger = async || {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(run.address()).await.unwrap()
    };
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(stranger().await);
    }
    assert_eq!(run.get("/healthz").await.code, 200);
    // The fourth and later ones were sent away, and the first three have their places.
    let mut closed = 0;
    for stream in &mut silent {
        let heard = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut [0])).await;
        closed += usize::from(heard.is_ok());
    }
    assert_eq!(closed, 3);
}

#[tokio::test]
async fn files_that_can_not_be_used_keep_it_from_starting_and_are_named() {
    let site = Site::new();
    std::fs::remove_file(site.path("key.pem")).unwrap();
    let config = Admin { guard: site.tls(None), ..Admin::default() };
    let facts = Arc::new(Fake::default()) as Arc<dyn Facts>;
    let error = Server::start(&config, facts, Metrics::new(), CancellationToken::new()).unwrap_err();
    assert!(error.to_string().contains("key.pem: No such file"), "{error}");
}

#[tokio::test]
async fn a_web_page_can_not_read_through_a_browser_of_this_host_by_any_of_its_addresses() {
    let facts = Arc::new(Fake::default()) as Arc<dyn Facts>;
    let answers = Answers::new(facts, Metrics::new(), None);
    let ask = async |method: &str, host: &str, way| {
        let request = Request::builder().method(method).uri("/status").header("host", host);
        let request = request.body(Full::<Bytes>::default()).unwrap();
        answers.answer(request, Scope::All, way).await.status().as_u16()
    };
    let at = SocketAddr::from(([127, 0, 0, 1], 1));
    for way in [Way::Loopback(Ends { local: at, peer: at }), Way::Here] {
        assert_eq!(ask("GET", "evil.example:9674", way).await, 403, "{way:?}");
        assert_eq!(ask("GET", "192.0.2.7:9674", way).await, 200, "{way:?}");
    }
    assert_eq!(ask("GET", "edge-042:9674", Way::Afar).await, 200, "a certificate or token was shown");
}
