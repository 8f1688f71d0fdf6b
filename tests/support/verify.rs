//! `spoolway verify` as a process, and what it printed.

use serde_json::Value;

use super::agent::spoolway;

/// What a command printed.
pub struct Ran {
    /// On standard output.
    pub out: String,
    /// On standard error.
    pub err: String,
}

impl Ran {
    /// Its output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {} {}", self.out, self.err))
    }
}

/// `spoolway verify …`, which must end with this code.
#[track_caller]
pub fn verify(code: i32, args: &[&str]) -> Ran {
    let output = spoolway().arg("verify").args(args).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let ran = Ran { out: text(output.stdout), err: text(output.stderr) };
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{}\n{}", ran.out, ran.err);
    ran
}

/// events, missing, doubled, reordered, foreign of an object.
#[track_caller]
pub fn sums(of: &Value) -> [u64; 5] {
    ["events", "missing", "doubled", "reordered", "foreign"]
        .map(|name| of[name].as_u64().unwrap_or_else(|| panic!("{name} in {of}")))
}
