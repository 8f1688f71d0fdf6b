//! Bearer tokens (RFC 6750): one a line, so that a new one can be let in before the old one is taken out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::model::SecretSource;
use crate::kept::Kept;
use crate::sabotage::{self, Bug};

/// Shorter ones could be guessed.
const SHORTEST: usize = 16;
const LONGEST: usize = 4096;

type Hash = [u8; 32];

/// The tokens of a listener.
#[derive(Debug)]
pub(super) struct Tokens {
    source: SecretSource,
    kept: Kept<Hashes>,
    current: RwLock<Arc<Hashes>>,
    began: Instant,
    /// In which second the file was looked at last.
    looked: AtomicU64,
}

struct Hashes(Vec<Hash>);

impl std::fmt::Debug for Hashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Tokens {
    pub(super) fn new(source: &SecretSource) -> Result<Self, String> {
        let kept = Kept::default();
        let current = RwLock::new(read(&kept, source)?);
        Ok(Self { source: source.clone(), kept, current, began: Instant::now(), looked: AtomicU64::new(0) })
    }

    /// Whether the header names one of them. How long that takes does not depend on what is in them.
    pub(super) fn admit(&self, authorization: Option<&[u8]>) -> bool {
        let Some(token) = authorization.and_then(bearer) else { return false };
        sabotage::stumble(Bug::PanicOverToken, token);
        let shown = hash(token);
        let known = self.now();
        // INVARIANT: all of them are compared, and none is left early.
        known.0.iter().fold(Choice::from(0), |found, hash| found | hash.ct_eq(&shown)).into()
    }

    fn now(&self) -> Arc<Hashes> {
        let second = self.began.elapsed().as_secs();
        if self.looked.swap(second, Ordering::Relaxed) != second
            && let Ok(new) = read(&self.kept, &self.source)
        {
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        }
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(kept: &Kept<Hashes>, source: &SecretSource) -> Result<Arc<Hashes>, String> {
    let file = match source {
        SecretSource::File(path) => Some(path.as_path()),
        SecretSource::Known(_) => None,
    };
    kept.get(&Vec::from_iter(file), || parse(source.read()?.reveal()).map(Hashes))
}

/// Whether a text is one of tokens.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// INVARIANT: no finding repeats what is in it.
fn parse(text: &str) -> Result<Vec<Hash>, String> {
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    let hashes = lines.map(|(at, line)| {
        let line_number = at + 1;
        if !(SHORTEST..=LONGEST).contains(&line.len()) {
            return Err(format!("the token in line {line_number} has {} characters, and needs {SHORTEST} to {LONGEST}", line.len()));
        }
        if !line.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
            return Err(format!(
                "the token in line {line_number} has a character that tokens can't have: they have letters, digits and -._~+/="
            ));
        }
        Ok(hash(line.as_bytes()))
    });
    let hashes = hashes.collect::<Result<Vec<_>, _>>()?;
    if hashes.is_empty() { Err("there is no token in it".to_owned()) } else { Ok(hashes) }
}

fn hash(token: &[u8]) -> Hash {
    Sha256::digest(token).into()
}

/// What follows `Bearer `, whose case does not matter (RFC 9110, 11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(7)?;
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const OLD: &str = "the-old-token-0123456789";
    const NEW: &str = "the+new/token_is~not.old==";

    fn known(text: &str) -> Result<Tokens, String> {
        Tokens::new(&SecretSource::Known(Secret::new(text.to_owned())))
    }

    fn admits(tokens: &Tokens, header: &str) -> bool {
        tokens.admit(Some(header.as_bytes()))
    }

    #[test]
    fn one_of_the_tokens_lets_in_and_nothing_else_does() {
        let tokens = known(&format!("{OLD}\n\n  {NEW}\r\n")).unwrap();
        for good in [format!("Bearer {OLD}"), format!("bearer {NEW}"), format!("BEARER   {NEW} ")] {
            assert!(admits(&tokens, &good), "{good}");
        }
        let short = &OLD[..OLD.len() - 1];
        for bad in [
            short,
            &format!("Bearer {short}"),
            &format!("Bearer {OLD}x"),
            OLD,
            "Bearer ",
            "Bearer",
            "",
            "Basic eDp5",
        ] {
            assert!(!admits(&tokens, bad), "{bad}");
        }
        assert!(
            !admits(&tokens, &format!("Bearer {OLD} {NEW}"))
                && !admits(&tokens, &format!("Bearer {OLD}\n{NEW}"))
        );
        assert!(!tokens.admit(None));
        assert!(!admits(&tokens, &format!("Token: {OLD}")));
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_repeated() {
        for bad in [
            "",
            "\n\n",
            "short-hunter2",
            "hunter2 hunter2 hunter2",
            "hunter2hunter2\u{e9}hunter2",
            &"x".repeat(5000),
        ] {
            let error = known(bad).unwrap_err();
            assert!(error.contains("token") && !error.contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", known(OLD).unwrap()).contains("old"));
    }

    #[test]
    fn a_changed_file_counts_a_second_later_and_one_that_can_not_be_used_changes_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let write = |text: &str| {
            let fresh = dir.path().join("fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::rename(&fresh, &path).unwrap();
        };
        write(OLD);
        let mut tokens = Tokens::new(&SecretSource::File(path.clone())).unwrap();
        let (old, new) = (format!("Bearer {OLD}"), format!("Bearer {NEW}"));
        let later = |tokens: &mut Tokens| tokens.began -= std::time::Duration::from_secs(1);
        assert!(admits(&tokens, &old) && !admits(&tokens, &new));
        write(NEW);
        later(&mut tokens);
        assert!(!admits(&tokens, &old) && admits(&tokens, &new));
        write("bad");
        later(&mut tokens);
        assert!(admits(&tokens, &new), "the last good ones stay in force");
    }
}
