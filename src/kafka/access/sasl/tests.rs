//! The exchanges, against scripts of what brokers and token endpoints say.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{SaslAuthenticateResponse, SaslHandshakeResponse};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config::model::{HostPort, Mechanism, TokenGrant, TokenUrl};
use crate::kafka::access::tests::listen;

/// A broker that answers from a script, and what it was told.
#[derive(Default)]
struct Script {
    answers: Vec<Bytes>,
    told: Vec<Vec<u8>>,
}

impl Wire for Script {
    async fn ask(&mut self, request: Request) -> Result<Bytes, CallError> {
        let frame = request.into_frame(0);
        // Length, key, version, correlation, "test"; then the message, after its own length.
        self.told.push(frame[18..].to_vec());
        Ok(self.answers.remove(0))
    }
}

fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).unwrap();
    out.freeze()
}

fn handshake(code: i16) -> Bytes {
    let names = ["PLAIN", "OAUTHBEARER"].map(StrBytes::from_static_str).to_vec();
    encoded(&SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(names), 1)
}

fn verdict(code: i16, message: Option<&'static str>, bytes: &'static [u8], lifetime: i64) -> Bytes {
    let answer = SaslAuthenticateResponse::default()
        .with_error_code(code)
        .with_error_message(message.map(StrBytes::from_static_str))
        .with_auth_bytes(bytes.into())
        .with_session_lifetime_ms(lifetime);
    encoded(&answer, 1)
}

fn script(answers: impl IntoIterator<Item = Bytes>) -> Script {
    Script { answers: answers.into_iter().collect(), told: vec![] }
}

fn with_password(mechanism: Mechanism, password: SecretSource) -> Sasl {
    Sasl::new(&model::Sasl::Password { mechanism, username: "relay".into(), password }, None)
}

fn known(text: &str) -> SecretSource {
    SecretSource::Known(Secret::new(text.to_owned()))
}

/// What was told in the message of this number, without its length.
fn message(script: &Script, number: usize) -> String {
    String::from_utf8(script.told[number][4..].to_vec()).unwrap()
}

#[tokio::test]
async fn plain_says_name_and_password_and_learns_how_long_the_session_lives() {
    let sasl = with_password(Mechanism::Plain, known("hunter2"));
    let mut wire = script([handshake(0), verdict(0, None, b"", 3000)]);
    let lifetime = sasl.authenticate(&mut wire, "test", 1).await.unwrap();
    assert_eq!(lifetime, Some(Duration::from_secs(3)));
    assert_eq!(wire.told[0], b"\x00\x05PLAIN");
    assert_eq!(message(&wire, 1), "\0relay\0hunter2");
    assert!(!format!("{sasl:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_refusal_says_who_was_refused_and_why_and_never_the_password() {
    let sasl = with_password(Mechanism::Plain, known("hunter2"));
    let mut wire = script([handshake(33)]);
    let error = sasl.authenticate(&mut wire, "test", 1).await.unwrap_err();
    assert!(
        error.to_string().contains("does not offer PLAIN on this listener, but PLAIN, OAUTHBEARER"),
        "{error}"
    );
    assert_eq!((error.code(), error.is_lasting()), (Some(33), true));
    let mut wire = script([handshake(0), verdict(58, Some("Invalid\nusername"), b"", 0)]);
    let error = sasl.authenticate(&mut wire, "test", 1).await.unwrap_err();
    assert_eq!(error.to_string(), "the broker refuses the credentials of relay (PLAIN: Invalid username)");
    assert_eq!((error.code(), error.is_lasting()), (Some(58), true));
    assert!(error.hint().contains("read again"));
}

#[tokio::test]
async fn a_password_corrected_in_its_file_counts_at_the_next_try_and_a_lost_file_does_not_hurt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    let sasl = with_password(Mechanism::Plain, SecretSource::File(path.clone()));
    let missing = sasl.authenticate(&mut Script::default(), "test", 1).await.unwrap_err();
    assert!(matches!(&missing, SaslError::Secret(why) if why.contains("password")), "{missing}");
    for (text, sent) in [(Some("wrong"), "wrong"), (Some("right\n"), "right"), (None, "right")] {
        match text {
            Some(text) => {
                std::fs::write(&path, text).unwrap();
                let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(&path, private).unwrap();
            }
            None => std::fs::remove_file(&path).unwrap(),
        }
        let mut wire = script([handshake(0), verdict(0, None, b"", 0)]);
        assert_eq!(sasl.authenticate(&mut wire, "test", 1).await.unwrap(), None);
        assert_eq!(message(&wire, 1), format!("\0relay\0{sent}"));
    }
}

#[tokio::test]
async fn a_scram_broker_that_asks_without_end_or_proves_nothing_is_left() {
    let sasl = with_password(Mechanism::ScramSha512, known("hunter2"));
    let mut wire = script([handshake(0), verdict(0, None, b"r=x,s=eA==,i=4096", 0)]);
    let error = sasl.authenticate(&mut wire, "test", 1).await.unwrap_err();
    assert!(error.to_string().contains("does not prove itself") && error.is_lasting(), "{error}");
    assert!(message(&wire, 1).starts_with("n,,n=relay,r="));
}

/// A token endpoint that gives tokens `t1`, `t2`, … of this life, or refuses.
async fn endpoint(life: &'static str, calls: Arc<AtomicUsize>) -> TokenUrl {
    let address: HostPort = listen(move |mut stream: TcpStream| {
        let calls = Arc::clone(&calls);
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"scope=write+all") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with("POST /token?x=1 HTTP/1.1\r\n"), "{head}");
            // "relay%3A1:s%2B+%C3%A9"
            let right = head.contains("Basic cmVsYXklM0ExOnMlMkIrJUMzJUE5");
            let number = calls.fetch_add(1, Ordering::SeqCst) + 1;
            let (status, body) = if right && life != "down" {
                (
                    200,
                    format!(
                        "{{\"access_token\":\"t{number}\",\"token_type\":\"Bearer\",\"expires_in\":{life}}}"
                    ),
                )
            } else if right {
                (503, String::new())
            } else {
                (401, "{\"error\":\"invalid_client\",\"error_description\":\"no\\nsuch\"}".to_owned())
            };
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    TokenUrl { tls: false, address, path: "/token?x=1".to_owned() }
}

fn with_token(url: TokenUrl, client_secret: SecretSource) -> Sasl {
    let (client_id, scope) = ("relay:1".to_owned(), Some("write all".to_owned()));
    Sasl::new(&model::Sasl::Token(TokenGrant { url, client_id, client_secret, scope, ca: None }), None)
}

async fn shown(sasl: &Sasl) -> String {
    let mut wire = script([handshake(0), verdict(0, None, b"", 0)]);
    sasl.authenticate(&mut wire, "test", 1).await.unwrap();
    message(&wire, 1)
}

#[tokio::test]
async fn a_token_is_asked_for_once_kept_and_renewed_when_it_gets_old() {
    let calls = Arc::new(AtomicUsize::new(0));
    let sasl = with_token(endpoint("3600", Arc::clone(&calls)).await, known("s+ é"));
    for _ in 0..3 {
        assert_eq!(shown(&sasl).await, "n,,\u{1}auth=Bearer t1\u{1}\u{1}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // Of one that lives for no time at all, the next is asked for at once.
    let sasl = with_token(endpoint("0", Arc::clone(&calls)).await, known("s+ é"));
    assert_eq!(shown(&sasl).await, "n,,\u{1}auth=Bearer t2\u{1}\u{1}");
    assert_eq!(shown(&sasl).await, "n,,\u{1}auth=Bearer t3\u{1}\u{1}");
}

#[tokio::test]
async fn a_token_that_the_broker_refuses_in_json_is_refused_and_not_shown_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let sasl = with_token(endpoint("3600", Arc::clone(&calls)).await, known("s+ é"));
    let json = b"{\"status\":\"invalid_token\"}";
    let mut wire = script([handshake(0), verdict(0, None, json, 0), verdict(58, Some("bad"), b"", 0)]);
    let error = sasl.authenticate(&mut wire, "test", 1).await.unwrap_err();
    assert_eq!(message(&wire, 2), "\u{1}");
    assert!(error.to_string().contains("OAUTHBEARER: {\"status\":\"invalid_token\"}"), "{error}");
    assert!(!error.to_string().contains("t1"));
    assert_eq!(shown(&sasl).await, "n,,\u{1}auth=Bearer t2\u{1}\u{1}");
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_is_told_apart_from_one_that_is_down() {
    let calls = Arc::new(AtomicUsize::new(0));
    let url = endpoint("3600", Arc::clone(&calls)).await;
    let wrong = with_token(url, known("hunter2"));
    let error = wrong.authenticate(&mut Script::default(), "test", 1).await.unwrap_err();
    assert!(error.to_string().contains("it answers 401: invalid_client no such"), "{error}");
    assert!(error.is_lasting() && !error.to_string().contains("hunter2"));
    let down = with_token(endpoint("down", calls).await, known("s+ é"));
    let error = down.authenticate(&mut Script::default(), "test", 1).await.unwrap_err();
    assert!(error.to_string().contains("it answers 503") && !error.is_lasting(), "{error}");
}

#[test]
fn no_answer_is_a_panic_and_no_length_in_it_is_believed() {
    let good = [handshake(0), verdict(0, Some("x"), b"yz", 7)];
    let decode = |bytes: &[u8]| {
        let _ = SaslHandshakeAnswer::decode(bytes);
        let _ = SaslAuthenticateAnswer::decode(bytes, 1);
        let _ = SaslAuthenticateAnswer::decode(bytes, 0);
    };
    for good in good {
        for end in 0..=good.len() {
            decode(&good[..end]);
            for huge in [0x7fff_ffffu32, u32::MAX, 0x8000_0000] {
                let mut bad = BytesMut::from(&good[..end]);
                bad.put_u32(huge);
                bad.extend_from_slice(&good[end..]);
                decode(&bad);
            }
        }
    }
}
