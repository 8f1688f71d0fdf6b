//! `spoolway spool verify`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::Directory;
use super::inspect::{hole_json, hole_text};
use crate::cli::{Exit, Failure, Outcome, output};
use crate::spool::inspect::Findings;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    directory: Directory,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs) -> Outcome {
    let (_, lanes) = args.directory.snapshot()?;
    let (mut text, mut rows, mut lost) = (String::new(), Vec::new(), 0);
    for lane in lanes {
        let findings = lane.look_over(true).map_err(Failure::running)?;
        lost += findings.lost();
        let events: u64 = findings.streams.values().sum();
        rows.push(json!({
            "name": lane.name(), "events": events, "bytes": findings.bytes, "lost": findings.lost(),
            "undecodable": findings.undecodable,
            "holes": findings.holes.iter().map(hole_json).collect::<Vec<_>>(),
        }));
        text.push_str(&as_text(lane.name().as_str(), events, &findings));
    }
    if args.json {
        output::line(&json!({ "lost": lost, "lanes": rows }).to_string())?;
    } else {
        output::print(&text)?;
    }
    Ok(if lost > 0 { Exit::Loss } else { Exit::Done })
}

fn as_text(lane: &str, events: u64, findings: &Findings) -> String {
    let mut text = format!("lane {lane}: {events} events whole, {} lost to damage\n", findings.lost());
    // Writing to a String does not fail.
    for hole in &findings.holes {
        let _ = writeln!(text, "  {}", hole_text(hole));
    }
    if findings.undecodable > 0 {
        let _ = writeln!(text, "  {} events cannot be decoded by this version", findings.undecodable);
    }
    text
}
