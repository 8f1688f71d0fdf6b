//! The gate with clients in this process.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::testing::certificates::{Authority, put};
use super::testing::{Site, client, text};
use super::*;
use crate::config::model::Guard;

/// What the two ends say to a connection: the gate's verdict, and what a client gets to hear of "hello".
async fn meet(gate: &Gate, client: &TlsConnector) -> (Result<(), GateError>, std::io::Result<String>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let server = async {
        let mut stream = gate.enter(ours).await?;
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        Ok(())
    };
    let name = ServerName::try_from("localhost").unwrap();
    let heard = async {
        let mut stream: ClientStream<DuplexStream> = client.connect(name, theirs).await?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await?;
        Ok(heard)
    };
    tokio::join!(server, heard)
}

#[tokio::test]
async fn an_open_gate_hands_the_connection_on_as_it_is() {
    let gate = Gate::new(&Guard::default()).unwrap();
    assert!(gate.is_open() && gate.admits(None));
    let (ours, mut theirs) = tokio::io::duplex(100);
    let mut entered = gate.enter(ours).await.unwrap();
    entered.write_all(b"plain").await.unwrap();
    drop(entered);
    let mut heard = String::new();
    theirs.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "plain");
}

#[tokio::test]
async fn a_client_with_a_certificate_of_the_authority_comes_in_and_others_do_not() {
    let (site, others) = (Site::new(), Authority::new("others"));
    let gate = Gate::new(&site.tls(Some(text(site.authority.pem())))).unwrap();
    let ours = &site.authority;
    let (entered, heard) = meet(&gate, &client(ours, Some(&ours.sign(&["app"])))).await;
    assert!(entered.is_ok() && heard.unwrap() == "hello");
    let (entered, heard) = meet(&gate, &client(ours, None)).await;
    assert!(matches!(entered, Err(GateError::NoCertificate)) && heard.is_err(), "{entered:?}");
    let expired = ours.sign_for(&["app"], (2020, 2021));
    for stranger in [others.sign(&["app"]), expired] {
        let (entered, heard) = meet(&gate, &client(ours, Some(&stranger))).await;
        assert!(matches!(entered, Err(GateError::Certificate(_))) && heard.is_err(), "{entered:?}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_counts_for_the_next_connection_and_a_bad_one_leaves_the_last() {
    let (site, later) = (Site::new(), Authority::new("later"));
    let gate = Gate::new(&site.tls(None)).unwrap();
    let (before, after) = (client(&site.authority, None), client(&later, None));
    assert_eq!(meet(&gate, &before).await.1.unwrap(), "hello");
    assert!(meet(&gate, &after).await.1.is_err(), "the client does not trust it yet");
    site.renew(&later.sign(&["localhost"]));
    assert_eq!(meet(&gate, &after).await.1.unwrap(), "hello");
    put(site.dir.path(), "cert.pem", "-----BEGIN CERTIFICATE-----\n!!!\n");
    assert_eq!(meet(&gate, &after).await.1.unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_or_something_else_is_let_go() {
    let site = Site::new();
    let gate = Gate::new(&site.tls(None)).unwrap();
    let (ours, mut theirs) = tokio::io::duplex(1000);
    theirs.write_all(b"POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert!(matches!(gate.enter(ours).await, Err(GateError::Foreign)));
    let (ours, _theirs) = tokio::io::duplex(1000);
    let began = tokio::time::Instant::now();
    assert!(matches!(gate.enter(ours).await, Err(GateError::Late)));
    assert_eq!(began.elapsed().as_secs(), HANDSHAKE.as_secs());
}

#[test]
fn files_that_can_not_be_used_are_named_at_the_start() {
    let site = Site::new();
    put(site.dir.path(), "key.pem", &site.authority.sign(&["localhost"]).key);
    let error = Gate::new(&site.tls(None)).unwrap_err();
    assert!(error.contains("cert.pem and ") && error.contains("key.pem"), "another's key: {error}");
    std::fs::remove_file(site.path("cert.pem")).unwrap();
    assert!(Gate::new(&site.tls(None)).unwrap_err().contains("cert.pem: No such file"));
}
