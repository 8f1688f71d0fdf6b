//! What a relay says it has delivered: from its data directory, a file, or the running agent.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::VerifyArgs;
use crate::cli::Failure;
use crate::cli::client::Client;
use crate::cli::spool::is_running;
use crate::cli::status::ledger::each_page;
use crate::config::parse_host_port;
use crate::ids::{DestinationName, LaneName, SegmentId, Seq};
use crate::state::ledger::{Ledger as _, MAX_PAGE, Query, SledLedger};
use crate::verify::{Claim, Expected};

/// More rows than a ledger holds.
const MAX_BYTES: u64 = 64 << 20;

/// The claims to compare with, if `--ledger` was given.
pub(super) fn expected(args: &VerifyArgs) -> Result<Option<Expected>, Failure> {
    let Some(place) = &args.ledger else { return Ok(None) };
    let claims = match place.to_str().and_then(|text| parse_host_port(text).ok()) {
        Some(address) if !place.exists() => of_agent(&Client::new(address))?,
        _ if place.is_dir() => of_directory(place)?,
        _ => of_file(place)?,
    };
    if claims.is_empty() {
        let place = place.display();
        return Err(Failure::running(format!(
            "{place}: the ledger has no finished segment to compare with yet"
        )));
    }
    Ok(Some(Expected::new(of_destination(&claims, args.ledger_destination.as_deref())?)))
}

/// Claims of one destination: what others hold is not in these topics.
fn of_destination(claims: &[Claim], wanted: Option<&str>) -> Result<Vec<Claim>, Failure> {
    let mut names: Vec<_> = claims.iter().map(|c| c.destination.clone()).collect();
    names.sort();
    names.dedup();
    let listed = || names.iter().map(DestinationName::to_string).collect::<Vec<_>>().join(", ");
    let wanted = match (wanted, names.as_slice()) {
        (Some(wanted), _) => names.iter().find(|n| n.as_str() == wanted).ok_or_else(|| {
            Failure::usage(format!("the ledger has no rows of destination {wanted:?}; it has {}", listed()))
        })?,
        (None, [only]) => only,
        (None, _) => {
            return Err(Failure::usage(format!(
                "the ledger has rows of several destinations ({}): say with --ledger-destination which of them is read",
                listed()
            )));
        }
    };
    Ok(claims.iter().filter(|c| c.destination == *wanted).cloned().collect())
}

/// A row as `/ledger` and `spoolway status --ledger --json` print it.
#[derive(Debug, Deserialize)]
struct Line {
    lane: String,
    destination: String,
    segment: u64,
    #[serde(default)]
    run: Option<String>,
    first_seq: u64,
    last_seq: u64,
    delivered: u64,
    dead_lettered: u64,
    dropped: u64,
    lost_to_damage: u64,
    hash: String,
}

impl Line {
    fn claim(&self) -> Option<Claim> {
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let run =
            self.run.as_deref().map(|run| hex(run).map(|run| u32::try_from(run >> 32).unwrap_or_default()));
        let beyond = self.dead_lettered + self.dropped + self.lost_to_damage;
        let hash = hex(&self.hash)?;
        Some(Claim {
            lane: LaneName::new(&self.lane).ok()?,
            destination: DestinationName::new(&self.destination).ok()?,
            segment: SegmentId(self.segment),
            run: run.flatten(),
            first: Seq(self.first_seq),
            last: Seq(self.last_seq),
            delivered: self.delivered,
            beyond,
            hash: (beyond == 0).then_some(hash),
        })
    }
}

fn of_line(line: &str, place: &str) -> Result<Claim, Failure> {
    let read: Result<Line, _> = serde_json::from_str(line);
    read.ok().and_then(|line| line.claim()).ok_or_else(|| {
        let beginning: String = line.chars().take(80).collect();
        Failure::usage(format!(
            "{place}: not a row of `spoolway status --ledger --json`, nor a data directory: {beginning:?}"
        ))
    })
}

fn of_agent(client: &Client) -> Result<Vec<Claim>, Failure> {
    let mut claims = Vec::new();
    each_page(client, |rows| {
        for row in rows {
            claims.push(of_line(&row.to_string(), "the agent's ledger")?);
        }
        Ok(())
    })?;
    Ok(claims)
}

fn of_file(path: &Path) -> Result<Vec<Claim>, Failure> {
    let place = path.display().to_string();
    let failed = |e: std::io::Error| Failure::usage(format!("--ledger {place} can't be read: {e}"));
    if fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(Failure::usage(format!("--ledger {place} is far too large for a ledger")));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| of_line(line, &place)).collect()
}

/// Of a copy: opening a ledger may change it, and nothing is changed here.
fn of_directory(dir: &Path) -> Result<Vec<Claim>, Failure> {
    let ledger = dir.join("ledger");
    let shown = dir.display();
    if !ledger.is_dir() {
        return Err(Failure::usage(format!(
            "{shown} has no ledger in it: name relay.data_dir, or a file of rows"
        )));
    }
    if is_running(dir) {
        return Err(Failure::usage(format!(
            "an agent runs on {shown} and has its ledger open: name its admin address (HOST:PORT) instead"
        )));
    }
    let copy = Copy::of(&ledger)
        .map_err(|e| Failure::running(format!("{shown}: the ledger can't be copied: {e}")))?;
    let failed =
        |e: &dyn std::fmt::Display| Failure::running(format!("{shown}: the ledger can't be read: {e}"));
    let opened = SledLedger::start(copy.0.join("ledger")).map_err(|e| failed(&e))?;
    let (mut claims, mut query) = (Vec::new(), Query { limit: MAX_PAGE, ..Query::default() });
    loop {
        let page = opened.page(&query).map_err(|e| failed(&e))?;
        claims.extend(page.rows.iter().map(Claim::of));
        query.after = page.next;
        if query.after.is_none() {
            return Ok(claims);
        }
    }
}

/// A copy of a directory without subdirectories of depth; gone when it is dropped.
struct Copy(PathBuf);

impl Copy {
    fn of(ledger: &Path) -> std::io::Result<Self> {
        let random = getrandom::u64().map_err(|e| std::io::Error::other(e.to_string()))?;
        let copy = Self(std::env::temp_dir().join(format!("spoolway-ledger-{random:016x}")));
        copy_tree(ledger, &copy.0.join("ledger"))?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A copy that is left behind harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
