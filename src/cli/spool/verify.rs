//! `spoolway spool verify`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::Directory;
use super::inspect::{hole_json, hole_text, look_over};
use crate::cli::{Exit, Outcome, output};
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
    let lanes = args.directory.look()?.lanes;
    let (mut text, mut rows, mut lost) = (String::new(), Vec::new(), 0);
    for lane in lanes {
        let findings = look_over(&lane, true)?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::model::{Spool, SpoolCompression, Sync, WhenFull};
    use crate::disk::RealFs;
    use crate::event::{Event, EventBatch};
    use crate::ids::{LaneName, Seq, StreamName};
    use crate::intake::Patience;
    use crate::metrics::Metrics;
    use crate::spool::{DataDir, Lane};

    fn spool_with_one_event(dir: &std::path::Path) {
        let settings = Spool {
            segment_size: 1 << 20,
            max_size: Some(1 << 30),
            max_event_size: 1000,
            reserve: 0,
            park_size: None,
            when_full: WhenFull::Block,
            sync: Sync::Always,
            commit_delay: std::time::Duration::ZERO,
            compression: SpoolCompression::None,
            retain_delivered: std::time::Duration::ZERO,
            max_streams: 10,
        };
        let data = DataDir::open(RealFs, dir).unwrap();
        let lane = LaneName::new("main").unwrap();
        let lane = Lane::open(&data, lane, &settings, Seq::NONE, Arc::clone(&Metrics::new())).unwrap();
        let mut batch = EventBatch::new();
        batch.push(&Event::of_value(b"an event"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(lane.append(StreamName::new("app").unwrap(), batch, Patience::Forever)).unwrap();
        lane.close();
    }

    #[test]
    fn a_whole_spool_is_well_and_a_flipped_bit_is_exit_code_3() {
        let dir = tempfile::tempdir().unwrap();
        spool_with_one_event(dir.path());
        let directory = Directory { dir: dir.path().to_owned(), lane: None };
        let args = VerifyArgs { directory, json: true };
        assert_eq!(run(&args), Ok(Exit::Done));
        let path = dir.path().join("lanes/main/00000000000000000001.seg");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(8).position(|w| w == b"an event").unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(run(&args), Ok(Exit::Loss));
    }

    #[test]
    fn a_lane_that_is_not_there_is_wrong_usage() {
        let dir = tempfile::tempdir().unwrap();
        spool_with_one_event(dir.path());
        let directory = Directory { dir: dir.path().to_owned(), lane: Some("other".to_owned()) };
        assert!(run(&VerifyArgs { directory, json: false }).is_err());
    }
}
