//! SCRAM (RFC 5802, RFC 7677) as Kafka speaks it: no channel binding, names and passwords as they are in UTF-8.
//!
//! What it promises: the password never leaves this host, the broker must prove that it has the verifier of it, and what the
//! broker may make us do is bounded: fewer than [`LEAST`] iterations would make guessing the password from the exchange
//! cheap, and more than [`MOST`] would keep a small host busy for minutes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use super::error::{SaslError, printable};
use crate::panics;
use crate::sabotage::{self, Bug};
use crate::secret::Secret;

/// RFC 7677, and what the Java client insists on.
const LEAST: u32 = 4096;
/// Kafka's own limit is 16,384; the most that is recommended anywhere is 600,000.
const MOST: u32 = 650_000;
/// Salts have 16 to 64 bytes.
const LONGEST_SALT: usize = 1024;
/// `n,,` in base64: no channel binding, no other identity.
const NO_BINDING: &str = "biws";

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

type Bits = Zeroizing<Vec<u8>>;

impl Hash {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    fn hmac(self, key: &[u8], message: &[u8]) -> Bits {
        match self {
            Self::Sha256 => {
                let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("any length");
                mac.update(message);
                Zeroizing::new(mac.finalize().into_bytes().to_vec())
            }
            Self::Sha512 => {
                let mut mac = <Hmac<Sha512> as Mac>::new_from_slice(key).expect("any length");
                mac.update(message);
                Zeroizing::new(mac.finalize().into_bytes().to_vec())
            }
        }
    }

    fn digest(self, message: &[u8]) -> Bits {
        Zeroizing::new(match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        })
    }

    fn stretch(self, password: &[u8], salt: &[u8], iterations: u32) -> Bits {
        match self {
            Self::Sha256 => {
                let mut out = Zeroizing::new(vec![0; 32]);
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut out);
                out
            }
            Self::Sha512 => {
                let mut out = Zeroizing::new(vec![0; 64]);
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut out);
                out
            }
        }
    }
}

/// An exchange.
pub(super) struct Scram {
    hash: Hash,
    password: Secret,
    nonce: String,
    first_bare: String,
    /// What the broker must answer last, once it has been computed.
    expected: Option<Bits>,
}

impl Scram {
    pub(super) fn new(hash: Hash, user: &str, password: &Secret, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        Self { hash, password: password.clone(), nonce: nonce.to_owned(), first_bare, expected: None }
    }

    pub(super) fn first(&self) -> Bytes {
        format!("n,,{}", self.first_bare).into()
    }

    pub(super) async fn next(&mut self, answer: &[u8]) -> Result<Option<Bytes>, SaslError> {
        let text = std::str::from_utf8(answer).map_err(|_| server("its message is not text"))?;
        if let Some(expected) = &self.expected {
            return finish(expected, text).map(|()| None);
        }
        let challenge = Challenge::read(text, &self.nonce)?;
        let (hash, password, first) = (self.hash, self.password.clone(), self.first_bare.clone());
        // Thousands of hashes: not on a thread that others wait for.
        let proof = move || prove(hash, &password, &first, &challenge);
        let (message, expected) = tokio::task::spawn_blocking(proof)
            .await
            .map_err(|e| SaslError::Secret(format!("the proof was not computed: {}", panics::of_task(&e))))?;
        self.expected = Some(expected);
        Ok(Some(message.into()))
    }
}

fn server(what: impl Into<String>) -> SaslError {
    SaslError::Server(what.into())
}

/// What the broker sends first.
#[derive(Debug)]
struct Challenge {
    text: String,
    nonce: String,
    salt: Vec<u8>,
    iterations: u32,
}

impl Challenge {
    fn read(text: &str, ours: &str) -> Result<Self, SaslError> {
        let mut fields = text.split(',');
        let mut field = |name: &str| {
            let field = fields.next().and_then(|field| field.strip_prefix(name));
            field.ok_or_else(|| server(format!("its first message has no {name}")))
        };
        let (nonce, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        if !nonce.starts_with(ours) || nonce.len() <= ours.len() {
            return Err(server("it does not repeat our nonce"));
        }
        let salt = Some(salt).filter(|salt| salt.len() <= LONGEST_SALT).and_then(|s| STANDARD.decode(s).ok());
        let salt = salt.filter(|salt| !salt.is_empty()).ok_or_else(|| server("its salt can't be used"))?;
        let iterations = iterations.parse::<u32>().ok().filter(|i| (LEAST..=MOST).contains(i));
        let Some(iterations) = iterations else {
            return Err(server(format!(
                "it wants a number of iterations that is not within {LEAST} to {MOST}"
            )));
        };
        Ok(Self { text: text.to_owned(), nonce: nonce.to_owned(), salt, iterations })
    }
}

/// Our last message, and what the broker must answer to it.
fn prove(hash: Hash, password: &Secret, first_bare: &str, challenge: &Challenge) -> (String, Bits) {
    sabotage::stumble(Bug::PanicOverProof, password.reveal().as_bytes());
    let salted = hash.stretch(password.reveal().as_bytes(), &challenge.salt, challenge.iterations);
    let client_key = hash.hmac(&salted, b"Client Key");
    let stored_key = hash.digest(&client_key);
    let without_proof = format!("c={NO_BINDING},r={}", challenge.nonce);
    let all = format!("{first_bare},{},{without_proof}", challenge.text);
    let signature = hash.hmac(&stored_key, all.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature.iter()).map(|(a, b)| a ^ b).collect();
    let server_key = hash.hmac(&salted, b"Server Key");
    let expected = hash.hmac(&server_key, all.as_bytes());
    (format!("{without_proof},p={}", STANDARD.encode(proof)), expected)
}

fn finish(expected: &[u8], text: &str) -> Result<(), SaslError> {
    if let Some(error) = text.strip_prefix("e=") {
        return Err(server(format!("it says {}", printable(error, 100))));
    }
    let signature = text.strip_prefix("v=").and_then(|rest| rest.split(',').next());
    let signature = signature.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    if same(&signature, expected) { Ok(()) } else { Err(server("it does not know the password either")) }
}

/// In a time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const PROOF: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const VERDICT: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn scram(user: &str) -> Scram {
        Scram::new(Hash::Sha256, user, &Secret::new("pencil".into()), NONCE)
    }

    #[tokio::test]
    async fn the_example_of_the_rfc_is_reproduced_and_its_server_believed() {
        let mut scram = scram("user");
        assert_eq!(scram.first(), format!("n,,n=user,r={NONCE}").as_bytes());
        assert_eq!(scram.next(CHALLENGE.as_bytes()).await.unwrap().unwrap(), PROOF.as_bytes());
        assert!(scram.next(VERDICT.as_bytes()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_server_that_does_not_know_the_password_is_not_believed() {
        let wrong = VERDICT.replace("6rri", "7rri");
        for verdict in [wrong.as_str(), "v=", "", "e=other-error", "v=6rri"] {
            let mut scram = scram("user");
            scram.next(CHALLENGE.as_bytes()).await.unwrap();
            let answer = scram.next(verdict.as_bytes()).await;
            assert!(matches!(answer, Err(SaslError::Server(_))), "{verdict} {answer:?}");
        }
    }

    #[test]
    fn what_a_server_may_ask_for_is_bounded() {
        let with = |from: &str, to: &str| Challenge::read(&CHALLENGE.replace(from, to), NONCE);
        assert!(with("i=4096", "i=650000").is_ok());
        let huge_salt = format!("s={}", "A".repeat(2000));
        for (from, to) in [
            ("i=4096", "i=4095"),
            ("i=4096", "i=650001"),
            ("i=4096", "i=4294967296"),
            ("i=4096", "i=-1"),
            (",i=4096", ""),
            ("r=rOpr", "r=xOpr"),
            ("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""),
            ("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
            ("s=W22ZaJ0SNY7soEsUEjb6gQ==", &huge_salt),
            ("r=", "m=x,r="),
        ] {
            assert!(with(from, to).is_err(), "{to:.40}");
        }
    }

    #[test]
    fn commas_and_equal_signs_in_a_name_are_escaped() {
        assert_eq!(scram("a=b,c").first(), format!("n,,n=a=3Db=2Cc,r={NONCE}").as_bytes());
    }

    proptest! {
        #[test]
        fn no_text_of_a_server_is_a_panic(text in "[rsiev=,A-Za-z0-9+/=%]{0,120}") {
            let _ = Challenge::read(&text, NONCE);
            let _ = Challenge::read(&text, "");
            let _ = finish(&[1, 2, 3], &text);
        }
    }
}
