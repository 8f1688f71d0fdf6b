//! Sources that other hosts may reach.

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::*;
use crate::config::model::SecretSource;
use crate::guard::testing::{Site, client, text};
use crate::secret::Secret;

async fn connect(bench: &Bench, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    client.connect(ServerName::try_from("localhost").unwrap(), bench.connect(0).await).await
}

#[tokio::test]
async fn lines_come_in_by_a_certificate_of_the_authority_and_others_are_counted() {
    let site = Site::new();
    let guard = site.tls(Some(text(site.authority.pem())));
    let bench = start(&[Source { guard, ..tcp(any_port(), 4) }]).unwrap();
    let known = client(&site.authority, Some(&site.authority.sign(&["app"])));
    let mut lines = connect(&bench, &known).await.unwrap();
    lines.write_all(b"one\ntwo\n").await.unwrap();
    bench.intake.kept_at_least(2).await;
    let unknown = connect(&bench, &client(&site.authority, None)).await;
    // TLS 1.3 lets the client find out with its first read.
    let heard = match unknown {
        Ok(mut stream) => stream.read(&mut [0]).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(heard.is_err());
    let mut plain = bench.connect(0).await;
    plain.write_all(b"three\nfour\n").await.unwrap();
    let mut rest = Vec::new();
    let _end = plain.read_to_end(&mut rest).await;
    assert_eq!(bench.intake.values(), vec![&b"one"[..], b"two"]);
    assert_eq!(bench.sources.status()[0].rejected, 2);
}

#[tokio::test]
async fn http_asks_for_a_token_behind_tls() {
    let site = Site::new();
    let token = "a-token-for-tests-0123456789";
    let guard = Guard { token: Some(SecretSource::Known(Secret::new(token.to_owned()))), ..site.tls(None) };
    let bench = start(&[Source { guard, ..http() }]).unwrap();
    let client = client(&site.authority, None);
    for (header, status) in [(format!("Authorization: Bearer {token}\r\n"), "200"), (String::new(), "401")] {
        let mut stream = connect(&bench, &client).await.unwrap();
        let request =
            format!("POST /v1/events/orders HTTP/1.1\r\nhost: x\r\n{header}content-length: 4\r\n\r\nfour");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[9..], status.as_bytes());
    }
    assert_eq!(bench.intake.values(), vec![b"four"]);
}

#[tokio::test]
async fn a_certificate_that_can_not_be_used_is_named_with_its_source_and_nothing_is_left_behind() {
    let site = Site::new();
    std::fs::remove_file(site.path("cert.pem")).unwrap();
    let path = site.path("s.sock");
    let error = start(&[unix(path.clone()), Source { guard: site.tls(None), ..http() }]).err().unwrap();
    assert!(error.to_string().starts_with("source h: ") && error.to_string().contains("cert.pem"), "{error}");
    assert!(!path.exists());
}
