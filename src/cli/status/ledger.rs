//! `spoolway status --ledger`: the finished segments.

use super::table::Column::{Left, Right};
use super::table::Table;
use super::view::{LedgerPage, LedgerRow};
use super::words::{number, utc};
use crate::cli::client::Client;
use crate::cli::{Exit, Failure, Outcome, output};

/// More pages than a ledger can have: an agent that answers for ever is not listened to for ever.
const MAX_PAGES: usize = 1000;

pub(in crate::cli) fn print(client: &Client, json: bool) -> Outcome {
    let last = if json {
        each_page(client, |rows| {
            output::print(&rows.iter().map(|row| format!("{row}\n")).collect::<String>())
        })?
    } else {
        let mut read = Vec::new();
        let last = each_page(client, |rows| {
            for row in rows {
                read.push(client.read::<LedgerRow>(&row.to_string())?);
            }
            Ok(())
        })?;
        output::print(&render(&read))?;
        last
    };
    warn(&last);
    Ok(Exit::Done)
}

/// Hands over the rows of page after page, as they came; returns the last page with the sums of all.
pub(in crate::cli) fn each_page(
    client: &Client,
    mut take: impl FnMut(&[serde_json::Value]) -> Result<(), Failure>,
) -> Result<LedgerPage, Failure> {
    let mut path = "/ledger?limit=1000".to_owned();
    let mut unreadable = 0;
    for _ in 0..MAX_PAGES {
        let page: LedgerPage = client.read(&client.get(&path)?)?;
        take(&page.rows)?;
        unreadable += page.unreadable;
        match &page.next {
            Some(next) => path = format!("/ledger?limit=1000&after={next}"),
            None => return Ok(LedgerPage { unreadable, ..page }),
        }
    }
    Err(Failure::running("the agent's ledger has no end: what was printed is its beginning"))
}

fn warn(page: &LedgerPage) {
    if page.unreadable > 0 {
        anstream::eprintln!("note: {} rows can't be read (damaged, or of a newer version)", page.unreadable);
    }
    if page.missed > 0 {
        anstream::eprintln!(
            "note: {} rows are missing since the start: the disk would not have them",
            page.missed
        );
    }
}

pub(super) fn render(rows: &[LedgerRow]) -> String {
    if rows.is_empty() {
        return "No segment has been finished yet.\n".to_owned();
    }
    let mut table = Table::new(&[
        Left("lane"),
        Left("destination"),
        Right("segment"),
        Right("first"),
        Right("last"),
        Right("accepted"),
        Right("delivered"),
        Right("filtered"),
        Right("dead-lettered"),
        Right("dropped"),
        Right("lost"),
        Left("hash"),
        Left("finished"),
    ]);
    for row in rows {
        table.row(vec![
            row.lane.clone(),
            row.destination.clone(),
            row.segment.to_string(),
            number(row.first_seq),
            number(row.last_seq),
            number(row.accepted),
            number(row.delivered),
            number(row.filtered),
            number(row.dead_lettered),
            number(row.dropped),
            number(row.lost_to_damage),
            row.hash.clone(),
            utc(row.finished_at),
        ]);
    }
    table.render()
}
