//! A side that is a file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::sources::{Show, Shown};
use crate::event::UnixMillis;

/// The longest line; no event is larger, also in base64.
const MAX_LINE: u64 = 256 << 20;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system says why.
    #[error("{path} can't be read: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no row of `spool dump`.
    #[error("{path}, line {line}: not a row of `spoolway spool dump` as the first line is: {why}")]
    Row {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: i64,
        /// What is wrong.
        why: String,
    },
    /// A line does not end.
    #[error("{path}, line {line}: longer than {MAX_LINE} bytes")]
    Long {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: i64,
    },
}

/// What `spool dump` prints of an event.
#[derive(Debug, Deserialize)]
struct Row {
    #[serde(rename = "lane")]
    _lane: String,
    #[serde(rename = "seq")]
    _seq: u64,
    time: UnixMillis,
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
}

/// Whether a file has rows of `spool dump`: its first line is one.
///
/// # Errors
/// [`FileError::Io`].
pub fn has_rows(path: &Path) -> Result<bool, FileError> {
    let mut first = Vec::new();
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    BufReader::new(file).take(MAX_LINE).read_until(b'\n', &mut first).map_err(io)?;
    Ok(serde_json::from_slice::<Row>(&first).is_ok())
}

/// Shows every line.
pub(super) fn each(path: &Path, rows: bool, show: &Show) -> Result<(), FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(io)?);
    let (mut bytes, mut line) = (Vec::new(), 0);
    loop {
        bytes.clear();
        line += 1;
        let read = (&mut file).take(MAX_LINE).read_until(b'\n', &mut bytes).map_err(io)?;
        if read == 0 {
            return Ok(());
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if read as u64 == MAX_LINE {
            return Err(FileError::Long { path: path.to_owned(), line });
        }
        if bytes.is_empty() {
            continue;
        }
        let go_on = if rows {
            let why = |why: String| FileError::Row { path: path.to_owned(), line, why };
            let row: Row = serde_json::from_slice(&bytes).map_err(|e| why(e.to_string()))?;
            let key = part(row.key, row.key_base64.as_deref()).map_err(why)?;
            let value = part(row.value, row.value_base64.as_deref()).map_err(why)?;
            let (key, value) = (key.as_deref(), value.as_deref());
            show(&Shown { at: (0, line), key, value, time: row.time, latency: None })
        } else {
            show(&Shown { at: (0, line), key: None, value: Some(&bytes), time: 0, latency: None })
        };
        if !go_on {
            return Ok(());
        }
    }
}

fn part(text: Option<String>, base64: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    match base64 {
        Some(base64) => STANDARD.decode(base64).map(Some).map_err(|e| e.to_string()),
        None => Ok(text.map(String::into_bytes)),
    }
}
