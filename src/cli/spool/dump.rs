//! `spoolway spool dump`: events as NDJSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::inspect::hole_text;
use super::selection::Selection;
use super::{Directory, Looked, parked, passed_over, read_failure};
use crate::cli::progress::Progress;
use crate::cli::{Exit, Failure, Outcome, output};
use crate::disk::RealFs;
use crate::event::EventRef;
use crate::ids::{LaneName, Seq, SeqRange, StreamName};
use crate::spool::inspect::{LaneSnapshot, patient};
use crate::spool::{Block, HoleCause, Item};
use crate::state::park::Parked;

/// Printed at once.
const CHUNK: usize = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    selection: Selection,
    /// Changes nothing: it prints JSON anyway. Taken since the other commands take it.
    #[arg(long = "json")]
    _json: bool,
}

pub(super) fn run(args: &DumpArgs) -> Outcome {
    args.selection.check()?;
    let looked = args.directory.look()?;
    let mut lost = false;
    for lane in &looked.lanes {
        lost |= dump_parked(args, &looked, lane)?;
        lost |= dump(args, lane)?;
    }
    Ok(if lost { Exit::Loss } else { Exit::Done })
}

/// Prints what is parked and no more in the lane; whether something of it is lost.
fn dump_parked(args: &DumpArgs, looked: &Looked, lane: &LaneSnapshot<RealFs>) -> Result<bool, Failure> {
    let (name, from, to) = (lane.name(), args.selection.from(), args.selection.to());
    let mut whole = true;
    let lost = parked::each(looked, name, lane.first().max(lane.begin()), |parked| {
        let Parked { range, stream, time, run, segment, payload } = parked;
        if range.end <= from || range.first > to || !args.selection.takes_stream(&stream) {
            return Ok(());
        }
        let count = u32::try_from(range.len()).unwrap_or(u32::MAX);
        let block =
            Block { first: range.first, count, stream, time, boot: 0, monotonic: 0, run, segment, payload };
        let mut text = String::new();
        whole &= put_block(&mut text, name, &block, args);
        output::print(&text)
    })?;
    if lost > 0 {
        anstream::eprintln!(
            "lane {name}: {lost} parked events are lost to damage; `spoolway spool verify` says where"
        );
    }
    Ok(lost > 0 || !whole)
}

/// Prints a lane; whether something in its range is lost.
fn dump(args: &DumpArgs, lane: &LaneSnapshot<RealFs>) -> Result<bool, Failure> {
    let to = args.selection.to();
    let mut reader = lane.reader(args.selection.from().max(lane.begin()));
    let mut progress = Progress::new(format!("lane {}", lane.name()), lane.end().0.min(to.0));
    let (mut text, mut lost) = (String::new(), false);
    while reader.position() <= to {
        progress.at(reader.position().0);
        let wanted = |stream: &StreamName, _| args.selection.takes_stream(stream);
        match patient(&mut reader, wanted).map_err(|e| read_failure(&e))? {
            None => break,
            Some(Item::Skipped(..)) => {}
            Some(Item::Block(block)) => lost |= !put_block(&mut text, lane.name(), &block, args),
            Some(Item::Hole(hole)) => {
                lost |= matches!(hole.cause, HoleCause::Damaged | HoleCause::Missing);
                anstream::eprintln!("lane {}: {}", lane.name(), hole_text(&hole));
            }
        }
        if text.len() >= CHUNK {
            output::print(&text)?;
            text.clear();
        }
    }
    output::print(&text)?;
    Ok(passed_over::tell(lane) || lost)
}

/// Whether all of it can be decoded.
fn put_block(text: &mut String, lane: &LaneName, block: &Block, args: &DumpArgs) -> bool {
    let mut seq = block.first;
    for event in block.events() {
        if seq > args.selection.to() {
            return true;
        }
        match event {
            Ok(_) if seq < args.selection.from() => {}
            Ok(event) if args.selection.takes_time(event.time.unwrap_or(block.time)) => {
                text.push_str(&row(lane, block, seq, &event).to_string());
                text.push('\n');
            }
            Ok(_) => {}
            Err(e) => {
                let rest = SeqRange::new(seq, block.range().end);
                anstream::eprintln!(
                    "lane {lane}: damaged: {rest} ({} events) cannot be decoded: {e}",
                    rest.len()
                );
                return false;
            }
        }
        seq = seq.next();
    }
    true
}

fn row(lane: &LaneName, block: &Block, seq: Seq, event: &EventRef<'_>) -> Value {
    let mut row = Map::new();
    row.insert("lane".to_owned(), json!(lane));
    row.insert("seq".to_owned(), json!(seq));
    row.insert("stream".to_owned(), json!(block.stream));
    row.insert("time".to_owned(), json!(event.time.unwrap_or(block.time)));
    row.insert("accepted_at".to_owned(), json!(block.time));
    row.insert("run".to_owned(), json!(block.run));
    if let Some(key) = event.key {
        put_bytes(&mut row, "key", Some(key));
    }
    put_bytes(&mut row, "value", event.value);
    put_headers(&mut row, event);
    Value::Object(row)
}

pub(in crate::cli) fn put_headers(row: &mut Map<String, Value>, event: &EventRef<'_>) {
    if !event.headers.is_empty() {
        let headers = event.headers.iter().map(|(name, value)| {
            let mut header = Map::new();
            header.insert("name".to_owned(), json!(name));
            put_bytes(&mut header, "value", value);
            Value::Object(header)
        });
        row.insert("headers".to_owned(), headers.collect());
    }
}

/// `name` as text where it is UTF-8, else `name_base64`.
pub(in crate::cli) fn put_bytes(row: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|b| (b, std::str::from_utf8(b))) {
        None => row.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => row.insert(name.to_owned(), json!(text)),
        Some((bytes, Err(_))) => row.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}
