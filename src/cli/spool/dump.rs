//! `spoolway spool dump`: events as NDJSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::Directory;
use super::inspect::hole_text;
use crate::cli::{Exit, Failure, Outcome, output};
use crate::disk::RealFs;
use crate::event::EventRef;
use crate::ids::{LaneName, Seq};
use crate::spool::inspect::{LaneSnapshot, patient};
use crate::spool::{Block, HoleCause, Item};

/// Printed at once.
const CHUNK: usize = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    directory: Directory,
    /// Only this stream.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// First event number.
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
    /// Last event number.
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
}

pub(super) fn run(args: &DumpArgs) -> Outcome {
    let (_, lanes) = args.directory.snapshot()?;
    let mut lost = false;
    for lane in lanes {
        lost |= dump(args, &lane)?;
    }
    Ok(if lost { Exit::Loss } else { Exit::Done })
}

/// Prints a lane; whether something in its range is lost.
fn dump(args: &DumpArgs, lane: &LaneSnapshot<RealFs>) -> Result<bool, Failure> {
    let to = args.to.map_or(Seq(u64::MAX), Seq);
    let mut reader = lane.reader(Seq(args.from).max(lane.first()));
    let (mut text, mut lost) = (String::new(), false);
    while reader.position() <= to {
        let wanted = |stream: &str, _| args.stream.as_ref().is_none_or(|s| s == stream);
        match patient(&mut reader, wanted).map_err(Failure::running)? {
            None => break,
            Some(Item::Skipped(_)) => {}
            Some(Item::Block(block)) => put_block(&mut text, lane.name(), &block, to),
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
    Ok(lost)
}

fn put_block(text: &mut String, lane: &LaneName, block: &Block, to: Seq) {
    let mut seq = block.first;
    for event in block.events() {
        if seq > to {
            return;
        }
        match event {
            Ok(event) => {
                text.push_str(&row(lane, block, seq, &event).to_string());
                text.push('\n');
            }
            Err(e) => anstream::eprintln!("lane {lane}: event {seq} cannot be decoded: {e}"),
        }
        seq = seq.next();
    }
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
    if !event.headers.is_empty() {
        let headers = event.headers.iter().map(|(name, value)| {
            let mut header = Map::new();
            header.insert("name".to_owned(), json!(name));
            put_bytes(&mut header, "value", value);
            Value::Object(header)
        });
        row.insert("headers".to_owned(), headers.collect());
    }
    Value::Object(row)
}

/// `name` as text where it is UTF-8, else `name_base64`.
fn put_bytes(row: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|b| (b, std::str::from_utf8(b))) {
        None => row.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => row.insert(name.to_owned(), json!(text)),
        Some((bytes, Err(_))) => row.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}
