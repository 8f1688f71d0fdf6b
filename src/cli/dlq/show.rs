//! `spoolway dlq list` and `show`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Place, Which, exit};
use crate::cli::spool::dump::{put_bytes, put_headers};
use crate::cli::status::table::printable;
use crate::cli::{Exit, Failure, Outcome, output};
use crate::state::letters::Stored;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    which: Which,
    /// List this many at most.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Print JSON, an object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    place: Place,
    /// The letter's number, as listed.
    #[arg(value_name = "ID")]
    id: u64,
    /// Print JSON.
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print the event's value alone, byte by byte.
    #[arg(long)]
    raw: bool,
}

pub(super) fn list(args: &ListArgs) -> Outcome {
    let found = args.place.look(args.limit.unwrap_or(usize::MAX), |stored| args.which.takes(stored))?;
    let mut text = String::new();
    if args.json {
        for stored in &found.letters {
            text.push_str(&Value::Object(row(stored)).to_string());
            text.push('\n');
        }
    } else if found.letters.is_empty() {
        anstream::eprintln!("no dead letters");
    } else {
        text = table(&found.letters);
    }
    output::print(&text)?;
    Ok(exit(&found))
}

fn row(stored: &Stored) -> Map<String, Value> {
    let letter = &stored.letter;
    let mut row = Map::new();
    let mut put = |name: &str, value: Value| row.insert(name.to_owned(), value);
    put("id", json!(stored.id));
    put("at", json!(letter.at));
    put("lane", json!(letter.lane));
    put("seq", json!(letter.seq));
    put("stream", json!(letter.stream));
    put("destination", json!(letter.destination));
    put("topic", json!(letter.topic));
    put("partition", json!(Some(letter.partition).filter(|p| *p >= 0)));
    put("reason", json!(letter.reason.name()));
    put("code", json!(letter.code));
    put("message", json!(letter.message));
    put("size", json!(letter.event().map_or(0, |e| size(&e))));
    row
}

fn size(event: &crate::event::EventRef<'_>) -> usize {
    let headers: usize = event.headers.iter().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len)).sum();
    event.key.map_or(0, <[u8]>::len) + event.value.map_or(0, <[u8]>::len) + headers
}

fn table(letters: &[Stored]) -> String {
    let titles = ["ID", "AT", "DESTINATION", "TOPIC", "STREAM", "SEQ", "SIZE", "REASON"].map(str::to_owned);
    let rows = letters.iter().map(|stored| {
        let letter = &stored.letter;
        [
            stored.id.to_string(),
            moment(letter.at),
            letter.destination.to_string(),
            letter.topic.to_string(),
            letter.stream.to_string(),
            letter.seq.to_string(),
            letter.event().map_or(0, |e| size(&e)).to_string(),
            format!("{}: {}", letter.reason.name(), printable(&letter.message)),
        ]
    });
    let rows: Vec<[String; 8]> = std::iter::once(titles).chain(rows).collect();
    let width =
        |column: usize| rows.iter().filter_map(|r| r.get(column)).map(String::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().enumerate().map(|(i, cell)| {
            let width = widths.get(i).copied().unwrap_or_default();
            format!("{cell:<width$}")
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn moment(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| at.to_string())
}

pub(super) fn show(args: &ShowArgs) -> Outcome {
    let found = args.place.look(1, |stored| stored.id == args.id)?;
    let Some(stored) = found.letters.first() else {
        return Err(Failure::usage(format!(
            "there is no dead letter {}: it was sent again or purged, or never was; `spoolway dlq list` lists those there are",
            args.id
        )));
    };
    let event =
        stored.letter.event().map_err(|e| Failure::running(format!("letter {} is damaged: {e}", args.id)))?;
    if args.raw {
        return raw(event.value.unwrap_or_default());
    }
    let mut row = row(stored);
    row.insert("time".to_owned(), json!(event.time.unwrap_or(stored.letter.time)));
    row.insert("accepted_at".to_owned(), json!(stored.letter.time));
    row.insert("run".to_owned(), json!(stored.letter.run));
    put_bytes(&mut row, "key", event.key);
    put_bytes(&mut row, "value", event.value);
    put_headers(&mut row, &event);
    let row = Value::Object(row);
    let text =
        if args.json { row.to_string() } else { serde_json::to_string_pretty(&row).unwrap_or_default() };
    output::line(&text)?;
    Ok(Exit::Done)
}

fn raw(bytes: &[u8]) -> Outcome {
    use std::io::Write as _;
    let written = std::io::stdout().lock().write_all(bytes);
    written.map_err(|e| Failure::running(format!("standard output can't be written: {e}")))?;
    Ok(Exit::Done)
}
