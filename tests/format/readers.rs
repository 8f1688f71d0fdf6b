//! What each of the two readers says of a data directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::agent::spoolway;

/// What a reader said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Rows, as printed.
    pub events: String,
    /// Lane, first and last number of what is lost, in order, adjacent ranges joined.
    pub lost: Vec<(String, u64, u64)>,
}

impl Said {
    /// How many numbers are lost.
    pub fn count_lost(&self) -> u64 {
        self.lost.iter().map(|(_, first, last)| last - first + 1).sum()
    }
}

/// Where the second reader is.
pub fn second_reader() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reader/spool_reader.py")
}

/// The second reader, at `reader`, on a data directory.
pub fn second_at(reader: &Path, data: &Path) -> Said {
    let output = Command::new("python3").arg(reader).arg(data).output();
    let output = output.unwrap_or_else(|e| panic!("python3 is needed to test the spool's format: {e}"));
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3)), "{code:?}: {errors}");
    let said = Said { events: String::from_utf8(output.stdout).expect("UTF-8"), lost: lost_lines(&errors) };
    assert_eq!(code == Some(3), !said.lost.is_empty(), "the exit code says whether something is lost");
    said
}

/// The second reader on a data directory.
pub fn second(data: &Path) -> Said {
    second_at(&second_reader(), data)
}

/// `spoolway spool dump` and `verify` on a data directory; they must agree with each other.
pub fn program(data: &Path) -> Said {
    let dump = spoolway().args(["spool", "dump"]).arg(data).output().expect("it runs");
    let verify = spoolway().args(["spool", "verify", "--json"]).arg(data).output().expect("it runs");
    let errors = String::from_utf8_lossy(&verify.stderr).into_owned();
    let found: Value = serde_json::from_slice(&verify.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    let (mut lost, mut passed_over, mut put_aside) = (Vec::new(), false, false);
    for lane in found["lanes"].as_array().expect("lanes") {
        let name = lane["name"].as_str().expect("a name").to_owned();
        assert_eq!(lane["undecodable"], 0, "no spool here has events that cannot be decoded");
        // Of a file without a header and a first block nobody can say what it held. It is told, and is no number.
        passed_over |= lane["passed_over"].as_array().expect("files").iter().any(|p| p["damage"] == true);
        put_aside |= !lane["put_aside"].as_array().expect("files").is_empty();
        lost.extend(lane["holes"].as_array().expect("holes").iter().map(|hole| hole_of(&name, hole)));
    }
    let said = Said { events: String::from_utf8(dump.stdout).expect("UTF-8"), lost: joined(lost) };
    let code = if said.lost.is_empty() && !passed_over { 0 } else { 3 };
    // Whether the agent has come to that by the time it is stopped is chance.
    let verified = if put_aside { 3 } else { code };
    assert_eq!((dump.status.code(), verify.status.code()), (Some(code), Some(verified)), "{errors}{found:#}");
    assert_eq!(found["lost"], said.count_lost());
    said
}

/// Ranges that are lost, one JSON object a line.
pub fn lost_lines(text: &str) -> Vec<(String, u64, u64)> {
    let row = |line| -> Value { serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {text}")) };
    joined(text.lines().map(row).map(|h| hole_of(h["lane"].as_str().expect("a lane"), &h)).collect())
}

fn hole_of(lane: &str, hole: &Value) -> (String, u64, u64) {
    let number = |name: &str| hole[name].as_u64().unwrap_or_else(|| panic!("no {name} in {hole}"));
    (lane.to_owned(), number("first_seq"), number("last_seq"))
}

fn joined(mut holes: Vec<(String, u64, u64)>) -> Vec<(String, u64, u64)> {
    holes.sort();
    let mut joined: Vec<(String, u64, u64)> = Vec::new();
    for hole in holes {
        match joined.last_mut() {
            Some(last) if last.0 == hole.0 && last.2 + 1 == hole.1 => last.2 = hole.2,
            _ => joined.push(hole),
        }
    }
    joined
}
