//! TLS with a server in this process: who is believed, who is not, and what is said about it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::protocol::Encodable;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;
use crate::config::model::{HostPort, Pem, TlsIdentity};
use crate::guard::testing::certificates::{Authority, Signed, put};
use crate::kafka::connection::{ConnectError, Connection, Options, connect};

fn options(access: Access) -> Options {
    Options {
        client_id: "test".into(),
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(5),
        max_answer: 1 << 20,
        access,
        sent: None,
    }
}

fn server_config(signed: &Signed, clients: Option<&Authority>) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let chain = CertificateDer::pem_slice_iter(signed.certificate.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
}

/// Answers ApiVersions on a stream, for as long as it is asked.
pub(super) async fn play_broker(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while let Ok(len) = stream.read_i32().await {
        let mut frame = vec![0; usize::try_from(len).unwrap()];
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let rows = [(0, 3, 13), (3, 0, 13), (18, 0, 4), (22, 0, 5)].map(|(key, min, max)| {
            ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
        });
        let mut out = BytesMut::new();
        out.put_i32(0);
        out.extend_from_slice(&frame[4..8]);
        ApiVersionsResponse::default().with_api_keys(rows.into()).encode(&mut out, 2).unwrap();
        let len = u32::try_from(out.len() - 4).unwrap();
        out[..4].copy_from_slice(&len.to_be_bytes());
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// A broker behind TLS. A handshake that fails is the other side's to complain about.
async fn broker(acceptor: TlsAcceptor) -> HostPort {
    listen(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                play_broker(stream).await;
            }
        }
    })
    .await
}

pub(super) async fn listen<F, D>(mut serve: F) -> HostPort
where
    F: FnMut(TcpStream) -> D + Send + 'static,
    D: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    HostPort { host: "127.0.0.1".to_owned(), port }
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> Pem {
    Pem::File(put(dir.path(), name, text))
}

async fn reach(address: &HostPort, tls: &model::Tls) -> Result<Connection, ConnectError> {
    connect(address, &options(Access::new(Some(tls), None, None))).await
}

fn told(result: Result<Connection, ConnectError>) -> (String, bool) {
    let error = result.expect_err("it must be refused");
    let lasting = error.is_lasting();
    let told = error.link_error("the broker");
    (format!("{} | {}", told.message, told.hint), lasting)
}

#[tokio::test]
async fn a_broker_whose_certificate_is_signed_by_our_authority_is_believed_by_name_and_by_address() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let address = broker(server_config(&authority.sign(&["127.0.0.1", "localhost", "other"]), None)).await;
    let mut tls = model::Tls { ca: Some(file(&dir, "ca.pem", authority.pem())), ..model::Tls::default() };
    reach(&address, &tls).await.unwrap();
    reach(&HostPort { host: "localhost".into(), port: address.port }, &tls).await.unwrap();
    tls.server_name = Some("other".into());
    reach(&address, &tls).await.unwrap();
    // The same, with the authority's certificate in the settings themselves.
    let text = Pem::Text(crate::secret::Secret::new(authority.pem().to_owned()));
    reach(&address, &model::Tls { ca: Some(text), ..model::Tls::default() }).await.unwrap();
}

#[tokio::test]
async fn what_can_not_be_trusted_is_refused_and_the_reason_is_said_in_plain_words() {
    let (dir, ours, theirs) =
        (tempfile::tempdir().unwrap(), Authority::new("ours"), Authority::new("theirs"));
    let tls = model::Tls { ca: Some(file(&dir, "ca.pem", ours.pem())), ..model::Tls::default() };
    let wrong_name = tls.clone();
    let cases = [
        (ours.sign_for(&["127.0.0.1"], (2020, 2021)), &tls, "has expired", "this host's clock"),
        (ours.sign_for(&["127.0.0.1"], (2079, 2080)), &tls, "not valid yet", "this host's clock"),
        (theirs.sign(&["127.0.0.1"]), &tls, "signed by nobody who is trusted here", "ca = \"FILE.pem\""),
        (ours.sign(&["elsewhere.example"]), &wrong_name, "is not for \"127.0.0.1\"", "tls.server_name"),
    ];
    for (signed, tls, message, hint) in cases {
        let address = broker(server_config(&signed, None)).await;
        let (told, lasting) = told(reach(&address, tls).await);
        assert!(told.contains(message) && told.contains(hint) && lasting, "{message}: {told}");
    }
    // Without a `ca`, the public authorities are trusted, and not this one.
    let address = broker(server_config(&ours.sign(&["127.0.0.1"]), None)).await;
    let (told, _) = told(reach(&address, &model::Tls::default()).await);
    assert!(told.contains("only public authorities are trusted"), "{told}");
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_refused_though_nothing_else_is_wrong_with_it() {
    let (dir, ours) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pem = |kind: &str, der: &[u8]| {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
    };
    let signed =
        Signed { certificate: pem("CERTIFICATE", own.der()), key: pem("PRIVATE KEY", &key.serialize_der()) };
    let address = broker(server_config(&signed, None)).await;
    let tls = model::Tls { ca: Some(file(&dir, "ca.pem", ours.pem())), ..model::Tls::default() };
    let (told, lasting) = told(reach(&address, &tls).await);
    assert!(told.contains("signed by nobody who is trusted here") && lasting, "{told}");
}

#[tokio::test]
async fn a_broker_that_asks_who_we_are_is_told_and_without_a_certificate_it_says_so() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let address = broker(server_config(&authority.sign(&["127.0.0.1"]), Some(&authority))).await;
    let mut tls = model::Tls { ca: Some(file(&dir, "ca.pem", authority.pem())), ..model::Tls::default() };
    let (nobody, lasting) = told(reach(&address, &tls).await);
    assert!(nobody.contains("tls.certificate") && lasting, "{nobody}");

    let me = authority.sign(&["edge-042"]);
    let certificate = file(&dir, "me.pem", &me.certificate);
    tls.identity = Some(TlsIdentity { certificate, key: file(&dir, "me.key", &me.key) });
    let metrics = Metrics::new();
    let mut destination = Destination::new(crate::ids::DestinationName::new("home").unwrap(), vec![]);
    destination.tls = Some(tls.clone());
    connect(&address, &options(Access::measured(&destination, &metrics))).await.unwrap();
    let exposed = metrics.encode().unwrap();
    for certificate in ["client", "broker"] {
        let row = format!(
            "spoolway_tls_certificate_expiry_timestamp_seconds{{destination=\"home\",certificate=\"{certificate}\"}} 3471292800"
        );
        assert!(exposed.contains(&row), "{exposed}");
    }

    let other = Authority::new("theirs").sign(&["edge-042"]);
    put(dir.path(), "me.pem", &other.certificate);
    put(dir.path(), "me.key", &other.key);
    let (stranger, lasting) = told(reach(&address, &tls).await);
    assert!(stranger.contains("tls.certificate") && lasting, "{stranger}");
}

#[tokio::test]
async fn a_renewed_authority_and_certificate_count_at_the_next_connection_and_a_broken_file_does_not() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), Authority::new("old"), Authority::new("new"));
    let tls = model::Tls { ca: Some(file(&dir, "ca.pem", old.pem())), ..model::Tls::default() };
    let options = options(Access::new(Some(&tls), None, None));
    let before = broker(server_config(&old.sign(&["127.0.0.1"]), None)).await;
    let after = broker(server_config(&new.sign(&["127.0.0.1"]), None)).await;
    connect(&before, &options).await.unwrap();
    assert!(connect(&after, &options).await.is_err());
    put(dir.path(), "ca.pem", "-----BEGIN CERTIFICATE-----\n!!!\n");
    connect(&before, &options).await.expect("the last good one stays in force");
    put(dir.path(), "ca.pem", &format!("{}{}", old.pem(), new.pem()));
    connect(&before, &options).await.unwrap();
    connect(&after, &options).await.unwrap();
}

#[tokio::test]
async fn files_that_can_not_be_used_are_named_and_a_private_key_for_all_to_read_is_refused() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let address = broker(server_config(&authority.sign(&["127.0.0.1"]), None)).await;
    let me = authority.sign(&["edge-042"]);
    let ca = file(&dir, "ca.pem", authority.pem());
    let certificate = file(&dir, "me.pem", &me.certificate);
    let with = |key: Pem| model::Tls {
        ca: Some(ca.clone()),
        identity: Some(TlsIdentity { certificate: certificate.clone(), key }),
        server_name: None,
    };
    let open = put(dir.path(), "open.key", &me.key);
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let encrypted = me.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (key, says) in [
        (Pem::File(open), "chmod 600"),
        (file(&dir, "none.key", "nothing"), "no private key in PEM"),
        (file(&dir, "encrypted.key", &encrypted), "is encrypted"),
        (file(&dir, "other.key", &authority.sign(&["x"]).key), "other.key"),
        (Pem::File(dir.path().join("missing.key")), "missing.key: No such file"),
    ] {
        let (told, lasting) = told(reach(&address, &with(key)).await);
        assert!(told.contains(says) && told.contains("read again") && lasting, "{says}: {told}");
    }
    let empty = model::Tls { ca: Some(file(&dir, "empty.pem", "")), ..model::Tls::default() };
    assert!(
        told(reach(&address, &empty).await).0.contains("empty.pem: there is no certificate in PEM in it")
    );
}

#[tokio::test]
async fn what_does_not_speak_tls_or_hangs_in_the_handshake_is_given_up() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let tls = model::Tls { ca: Some(file(&dir, "ca.pem", authority.pem())), ..model::Tls::default() };
    let talks = listen(|mut stream: TcpStream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read_u8().await;
    })
    .await;
    assert!(told(reach(&talks, &tls).await).0.contains("does not speak TLS"));
    let ends = listen(|mut stream: TcpStream| async move { drop(stream.read_u8().await) }).await;
    let (ended, lasting) = told(reach(&ends, &tls).await);
    assert!(ended.contains("listener of the broker speaks TLS") && !lasting, "{ended}");
    let hangs = listen(|stream: TcpStream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let mut options = options(Access::new(Some(&tls), None, None));
    options.connect_timeout = Duration::from_millis(200);
    let hung = connect(&hangs, &options).await;
    assert!(
        matches!(hung, Err(ConnectError::Timeout(limit)) if limit == options.connect_timeout),
        "{hung:?}"
    );
}
