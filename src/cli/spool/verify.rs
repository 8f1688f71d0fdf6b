//! `spoolway spool verify`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::inspect::{hole_json, hole_text, look_over};
use super::{Directory, parked, passed_over, put_aside};
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
    let looked = args.directory.look()?;
    let (mut text, mut rows, mut lost, mut is_damaged) = (String::new(), Vec::new(), 0, false);
    for lane in &looked.lanes {
        let findings = look_over(lane, true)?;
        let parked = parked::Rows::thorough(&looked, lane.name())?;
        lost += findings.lost() + parked.lost();
        let aside = put_aside::Rows::of(lane, true)?;
        let passed_over = passed_over::Rows::of(lane);
        is_damaged |= !aside.is_empty() || passed_over.is_damage();
        let events: u64 = findings.streams.values().sum();
        rows.push(json!({
            "name": lane.name(), "events": events, "bytes": findings.bytes, "lost": findings.lost(),
            "undecodable": findings.undecodable,
            "holes": findings.holes.iter().map(hole_json).collect::<Vec<_>>(),
            "parked": parked.json(), "passed_over": passed_over.json(),
            "put_aside": aside.json(),
        }));
        text.push_str(&as_text(lane.name().as_str(), events, &findings));
        text.push_str(&parked.text());
        text.push_str(&passed_over.text());
        text.push_str(&aside.text());
    }
    if args.json {
        output::line(&json!({ "lost": lost, "lanes": rows }).to_string())?;
    } else {
        output::print(&text)?;
    }
    Ok(if lost > 0 || is_damaged { Exit::Loss } else { Exit::Done })
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

    use super::super::dump;
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

    #[derive(clap::Parser)]
    struct Dump {
        #[command(flatten)]
        args: dump::DumpArgs,
    }

    /// What cannot be read says of no number that it is missing. All of them exited with 0.
    #[test]
    fn a_segment_that_is_passed_over_is_told_and_exit_code_3() {
        use super::super::inspect;
        use crate::spool::format::{Predecessor, SegmentHeader, Verdict};
        let of_the_last = |harm: &dyn Fn(&std::path::Path)| {
            let dir = tempfile::tempdir().unwrap();
            spool_with_one_event(dir.path());
            let path = dir.path().join("lanes/main/00000000000000000002.seg");
            std::fs::copy(dir.path().join("lanes/main/00000000000000000001.seg"), &path).unwrap();
            harm(&path);
            let directory = Directory { dir: dir.path().to_owned(), lane: None };
            let looked = directory.look().unwrap();
            let rows = passed_over::Rows::of(&looked.lanes[0]);
            let all = |json| {
                let directory = directory.clone();
                [
                    run(&VerifyArgs { directory: directory.clone(), json }),
                    inspect::run(&inspect::InspectArgs { directory, json }),
                ]
            };
            assert_eq!(all(true), all(false));
            let all_of_it = <Dump as clap::Parser>::parse_from([dir.path(), dir.path()]);
            assert_eq!(dump::run(&all_of_it.args), all(true)[0]);
            let why = rows.json()[0]["why"].as_str().map(str::to_owned);
            assert_eq!(rows.text().contains("passed over: "), why.is_some(), "{}", rows.text());
            (all(true), why)
        };
        let (well, damaged) = ([Ok(Exit::Done), Ok(Exit::Done)], [Ok(Exit::Loss), Ok(Exit::Loss)]);
        // A second file of a segment is none of the log and no loss.
        assert_eq!(of_the_last(&|_| {}), (well.clone(), None));
        assert_eq!(
            of_the_last(&|path| std::fs::write(path, vec![0; 9000]).unwrap()),
            (well, None),
            "prepared"
        );
        let is = |why: &str| (damaged.clone(), Some(why.to_owned()));
        let garbage = |path: &std::path::Path| std::fs::write(path, vec![0xa5; 9000]).unwrap();
        assert_eq!(of_the_last(&garbage), is("unrecognised"));
        let directory = |path: &std::path::Path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        };
        assert_eq!(of_the_last(&directory), is("not_a_file"));
        let with_header = |path: &std::path::Path, change: &dyn Fn(&mut SegmentHeader)| {
            let mut bytes = std::fs::read(path).unwrap();
            let mut header = SegmentHeader::decode_area(&bytes).unwrap();
            change(&mut header);
            let area = header.encode_area();
            bytes[..area.len()].copy_from_slice(&area);
            std::fs::write(path, bytes).unwrap();
        };
        let newer = |path: &std::path::Path| {
            let (segment, end_offset) = (crate::ids::SegmentId(1), std::fs::metadata(path).unwrap().len());
            let predecessor = Predecessor { segment, end_offset, end: Seq(2), verdict: Verdict::Closed };
            with_header(path, &|h| {
                (h.incompat, h.segment, h.base) = (1 << 7, segment.next(), Seq(2));
                h.predecessor = predecessor;
            });
        };
        assert_eq!(of_the_last(&newer), is("newer_version"));
        let foreign = |path: &std::path::Path| with_header(path, &|h| h.lane = "mian".to_owned());
        assert_eq!(of_the_last(&foreign), is("foreign"));
    }

    #[test]
    fn parked_events_are_checked_and_counted_too() {
        use crate::ids::{DestinationName, RunId, SegmentId, SeqRange, TopicName};
        use crate::state::park::{self, Park, Parked, Whose};
        let dir = tempfile::tempdir().unwrap();
        spool_with_one_event(dir.path());
        let directory = Directory { dir: dir.path().to_owned(), lane: None };
        let looked = directory.look().unwrap();
        let (lane, destination) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
        let whose = Whose { spool: looked.spool, lane: &lane, destination: &destination };
        let park = Park::open(&RealFs, dir.path(), whose).unwrap().bounded(1 << 20, 0);
        let block = |first: u64| {
            let mut batch = EventBatch::new();
            (0..3).for_each(|_| batch.push(&Event::of_value(b"parked")));
            Parked {
                range: SeqRange::new(Seq(first), Seq(first + 3)),
                stream: StreamName::new("s").unwrap(),
                time: 1000,
                run: RunId(3),
                segment: SegmentId(1),
                payload: batch.as_bytes().to_vec().into(),
            }
        };
        let covers = SeqRange::new(Seq(1), Seq(20));
        park.keep(&TopicName::new("t").unwrap(), covers, &[block(1), block(7)]).unwrap();
        let args = VerifyArgs { directory, json: true };
        assert_eq!(run(&args), Ok(Exit::Done));
        let rows = parked::Rows::thorough(&looked, &lane).unwrap();
        assert_eq!(rows.json(), parked::Rows::by_headers(&looked, &lane).unwrap().json());
        let row = &rows.json()[0];
        assert_eq!((&row["events"], &row["lost"], &row["end_seq"]), (&json!(6), &json!(0), &json!(20)));
        let mut numbers = Vec::new();
        let mut below = |end| {
            numbers.clear();
            let lost = parked::each(&looked, &lane, Seq(end), |block| {
                numbers.push(block.range.first.0);
                Ok(())
            });
            (lost.unwrap(), numbers.clone())
        };
        assert_eq!((below(20), below(7)), ((0, vec![1, 7]), (0, vec![1])));
        // Every byte of it counts, and a damaged one costs a block.
        let path = park::files(&RealFs, dir.path(), &lane).unwrap().remove(0).path;
        let bytes = std::fs::read(&path).unwrap();
        let mut found = std::collections::BTreeSet::new();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            let rows = parked::Rows::thorough(&looked, &lane).unwrap();
            let row = &rows.json()[0];
            let headers = row["damaged_headers"].as_array().unwrap().len();
            assert!(
                rows.lost() == 3 && row["events"] == 3 || headers == 1 && row["events"] == 6,
                "byte {at}: {row}"
            );
            found.insert((rows.lost(), headers));
        }
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(run(&args), Ok(Exit::Loss));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(run(&args), Ok(Exit::Done));
    }

    #[test]
    fn a_lane_that_is_not_there_is_wrong_usage() {
        let dir = tempfile::tempdir().unwrap();
        spool_with_one_event(dir.path());
        let directory = Directory { dir: dir.path().to_owned(), lane: Some("other".to_owned()) };
        assert!(run(&VerifyArgs { directory, json: false }).is_err());
    }
}
