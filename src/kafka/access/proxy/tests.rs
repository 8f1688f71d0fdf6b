use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::kafka::access::Access;
use crate::kafka::access::tests::{listen, play_broker};
use crate::kafka::connection::{ConnectError, Options, connect};
use crate::secret::Secret;

fn proxy(kind: ProxyKind, login: bool) -> Proxy {
    let login = login.then(|| ("me".to_owned(), Secret::new("hunter2".to_owned())));
    Proxy { kind, address: HostPort { host: "127.0.0.1".into(), port: 1 }, login }
}

fn target(host: &str) -> HostPort {
    HostPort { host: host.to_owned(), port: 9092 }
}

/// Plays the proxy's part from a script: what it must read, and what it writes then.
async fn play(mut far: DuplexStream, script: &[(&[u8], &[u8])]) -> DuplexStream {
    for (expected, answer) in script {
        let mut read = vec![0; expected.len()];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(read, *expected, "{}", String::from_utf8_lossy(&read));
        far.write_all(answer).await.unwrap();
    }
    far
}

async fn through(proxy: &Proxy, host: &str, script: &[(&[u8], &[u8])]) -> Result<(), ProxyError> {
    let (mut near, far) = duplex(4096);
    let target = target(host);
    let (outcome, mut far) = tokio::join!(connect_through(&mut near, proxy, &target), play(far, script));
    if outcome.is_ok() {
        // Not a byte of what follows was eaten.
        far.write_all(b"broker").await.unwrap();
        let mut next = [0; 6];
        near.read_exact(&mut next).await.unwrap();
        assert_eq!(&next, b"broker");
    }
    outcome
}

const OK: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0, 80];

#[tokio::test]
async fn socks_is_asked_by_name_and_by_address_with_and_without_credentials() {
    let plain = proxy(ProxyKind::Socks5, false);
    let greeting: (&[u8], &[u8]) = (&[5, 1, 0], &[5, 0]);
    through(&plain, "k", &[greeting, (&[5, 1, 0, 3, 1, b'k', 0x23, 0x84], OK)]).await.unwrap();
    through(&plain, "10.1.2.3", &[greeting, (&[5, 1, 0, 1, 10, 1, 2, 3, 0x23, 0x84], OK)]).await.unwrap();
    let mut v6 = vec![5, 1, 0, 4];
    v6.extend_from_slice(&std::net::Ipv6Addr::LOCALHOST.octets());
    v6.extend_from_slice(&[0x23, 0x84]);
    through(&plain, "::1", &[greeting, (&v6, &[5, 0, 0, 3, 2, b'a', b'b', 0, 80])]).await.unwrap();
    let login = b"\x01\x02me\x07hunter2";
    let script: [(&[u8], &[u8]); 3] =
        [(&[5, 2, 0, 2], &[5, 2]), (login, &[1, 0]), (&[5, 1, 0, 3, 1, b'k', 0x23, 0x84], OK)];
    through(&proxy(ProxyKind::Socks5, true), "k", &script).await.unwrap();
}

#[tokio::test]
async fn a_socks_proxy_that_says_no_is_quoted_and_its_credentials_are_not() {
    let greeting: (&[u8], &[u8]) = (&[5, 1, 0], &[5, 0]);
    let ask: &[u8] = &[5, 1, 0, 3, 1, b'k', 0x23, 0x84];
    for (login, script, says) in [
        (false, vec![greeting, (ask, &[5, 5, 0, 1][..])], "the host refuses the connection"),
        (false, vec![greeting, (ask, &[5, 2, 0, 1][..])], "its rules forbid it"),
        (false, vec![(&[5, 1, 0][..], &[5, 0xff][..])], "none are configured"),
        (true, vec![(&[5, 2, 0, 2][..], &[5, 2][..]), (b"\x01\x02me\x07hunter2", &[1, 1][..])], "status 1"),
        (false, vec![(&[5, 1, 0][..], b"HT")], "no SOCKS5 proxy"),
        (false, vec![greeting, (ask, &[5, 0, 0, 9][..])], "no SOCKS5 proxy"),
    ] {
        let error = through(&proxy(ProxyKind::Socks5, login), "k", &script).await.unwrap_err();
        let told = format!("{error} {}", error.hint());
        assert!(told.contains(says) && !told.contains("hunter2"), "{says}: {told}");
    }
}

#[tokio::test]
async fn http_is_asked_to_connect_and_its_answers_are_told_apart() {
    let ask = b"CONNECT k:9092 HTTP/1.1\r\nHost: k:9092\r\n\r\n";
    let http = proxy(ProxyKind::Http, false);
    through(&http, "k", &[(ask, b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")]).await.unwrap();
    let with_login =
        b"CONNECT k:9092 HTTP/1.1\r\nHost: k:9092\r\nProxy-Authorization: Basic bWU6aHVudGVyMg==\r\n\r\n";
    through(&proxy(ProxyKind::Http, true), "k", &[(with_login, b"HTTP/1.0 200 OK\r\n\r\n")]).await.unwrap();
    let endless = [b'x'; MAX_HEAD + 1];
    for (answer, says) in [
        (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "407 Proxy Authentication Required"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refuses: 403 Forbidden"),
        (b"SSH-2.0-x\r\n\r\n", "no HTTP proxy"),
        (&endless, "no HTTP proxy"),
    ] {
        let (mut near, mut far) = duplex(64 * 1024);
        let target = target("k");
        let (outcome, ()) = tokio::join!(connect_through(&mut near, &http, &target), async {
            far.write_all(answer).await.unwrap();
        });
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains(says), "{says}: {error}");
    }
}

#[tokio::test]
async fn a_broker_behind_a_proxy_is_reached_by_a_name_that_only_the_proxy_knows() {
    let broker = Arc::new(listen(play_broker).await);
    let knows = Arc::clone(&broker);
    let address = listen(move |mut stream| {
        let broker = Arc::clone(&knows);
        async move {
            let head = read_head(&mut stream).await.unwrap();
            assert!(head.starts_with("CONNECT broker.inside:9092 HTTP/1.1\r\n"), "{head}");
            let mut to = tokio::net::TcpStream::connect((broker.host.as_str(), broker.port)).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
        }
    })
    .await;
    let mut proxy = proxy(ProxyKind::Http, false);
    proxy.address = address;
    let mut options = Options {
        client_id: "test".into(),
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(5),
        max_answer: 1 << 20,
        access: Access::new(None, None, Some(&proxy)),
        sent: None,
    };
    connect(&target("broker.inside"), &options).await.unwrap();

    // A proxy that is not there is told apart from a broker that is not there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.address.port = listener.local_addr().unwrap().port();
    drop(listener);
    options.access = Access::new(None, None, Some(&proxy));
    let error = connect(&target("broker.inside"), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::ProxyAway { .. }), "{error}");
    assert!(error.link_error("k").hint.contains("`proxy`"));
}
