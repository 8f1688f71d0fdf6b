//! The outside ledger: every accepted event is in the spool, a dead letter, or in the topic, at every moment.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use spoolway::disk::RealFs;
use spoolway::spool::salvage::Old;
use spoolway::state::letters::look;

use crate::site::{Seen, Site};
use crate::support::agent::spoolway;
use crate::support::compare::{Comparison, Verdict};
use crate::support::ledger::{Book, Told};
use crate::support::payload::{Id, hash, id_of};

/// What was offered and told, and what of it the topic was seen to hold.
#[derive(Default)]
pub struct Outside {
    books: HashMap<u32, Book>,
    delivered: HashSet<Id>,
    seen: Seen,
}

/// What a look at spool and topic found.
#[derive(Debug, Default)]
pub struct Finding {
    /// Events that were accepted.
    pub accepted: u64,
    /// Accepted, and neither in the spool, nor a dead letter, nor in the topic.
    pub lost: u64,
    /// Never offered, or not the bytes that were offered.
    pub wrong: u64,
    /// Refused with a complete answer, and there all the same.
    pub kept_though_refused: u64,
    /// Without an answer, and there.
    pub unanswered_kept: u64,
    /// Without an answer, and not there.
    pub unanswered_gone: u64,
    /// Some of what is lost or wrong, and what the spool says of itself when it is not whole.
    pub examples: Vec<String>,
}

impl Finding {
    pub fn is_lossless(&self) -> bool {
        self.lost == 0 && self.wrong == 0 && self.kept_though_refused == 0 && self.examples.is_empty()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} accepted: {} lost, {} wrong, {} kept though refused; of those without an answer {} are there and \
             {} are not",
            self.accepted,
            self.lost,
            self.wrong,
            self.kept_though_refused,
            self.unanswered_kept,
            self.unanswered_gone
        )?;
        self.examples.iter().try_for_each(|e| write!(f, "\n  {e}"))
    }
}

impl Outside {
    /// Takes a generator's ledger in.
    pub fn add(&mut self, book: Book) {
        let old = self.books.insert(book.generator, book);
        assert!(old.is_none(), "a generator's number was given twice");
    }

    /// Compares with what the spool at `data` and the topic hold now. Nothing may be running that moves events.
    pub fn look(&mut self, data: &Path, site: Option<&Site>) -> Finding {
        let mut finding = Finding::default();
        let mut there = HashSet::new();
        for record in site.map(|s| s.read(&mut self.seen)).unwrap_or_default() {
            if let Some(id) = self.know(&record.value, &mut finding) {
                self.delivered.insert(id);
            }
        }
        for value in dump(data, &mut finding) {
            there.extend(self.know(value.as_bytes(), &mut finding));
        }
        for (_, value) in letters(data) {
            there.extend(self.know(&value, &mut finding));
        }
        self.judge(&there, &mut finding);
        finding
    }

    fn know(&self, value: &[u8], finding: &mut Finding) -> Option<Id> {
        let id = id_of(value);
        let offered = id.and_then(|id| self.books.get(&id.generator)?.get(id.number));
        if offered.is_none_or(|(_, expected)| hash(value) != expected) {
            finding.wrong += 1;
            finding.example(format!("wrong: {}", String::from_utf8_lossy(&value[..value.len().min(80)])));
            return None;
        }
        id
    }

    fn judge(&self, there: &HashSet<Id>, finding: &mut Finding) {
        for (&generator, book) in &self.books {
            for number in 0..book.next() {
                let id = Id { generator, number };
                let kept = there.contains(&id) || self.delivered.contains(&id);
                match (book.get(number).map(|(told, _)| told), kept) {
                    (Some(Told::Accepted), true) => finding.accepted += 1,
                    (Some(Told::Accepted), false) => {
                        finding.accepted += 1;
                        finding.lost += 1;
                        finding.example(format!("lost: {id:?}"));
                    }
                    (Some(Told::Refused), true) => finding.kept_though_refused += 1,
                    (Some(Told::Nothing), true) => finding.unanswered_kept += 1,
                    (Some(Told::Nothing), false) => finding.unanswered_gone += 1,
                    (Some(Told::Refused) | None, _) => {}
                }
            }
        }
    }

    /// The whole topic against the ledgers, when everything is delivered.
    pub fn verdict(&self, site: &Site) -> Verdict {
        self.verdict_with(site, None)
    }

    /// The topics and the dead letters of `data` against the ledgers, when everything is settled: an event is one or
    /// the other, once.
    pub fn verdict_with(&self, site: &Site, data: Option<&Path>) -> Verdict {
        let mut comparison = Comparison::new(self.books.values());
        for r in site.read(&mut Seen::default()) {
            comparison.see(r.partition, r.offset, r.key.as_deref(), Some(&r.value));
        }
        for (id, value) in data.map(letters).unwrap_or_default() {
            // Each by itself: letters are in no order.
            comparison.see(i32::try_from(1_000 + id).expect("few"), 0, None, Some(&value));
        }
        comparison.judge()
    }
}

impl Finding {
    fn example(&mut self, text: String) {
        if self.examples.len() < 5 {
            self.examples.push(text);
        }
    }
}

/// The dead letters in `data`, with their numbers and values.
pub fn letters(data: &Path) -> Vec<(u64, Vec<u8>)> {
    // A start that was killed early has left no spool yet: `spool dump` says so.
    let Ok(spool) = Old::identify(&RealFs, data) else { return Vec::new() };
    let found = look(&RealFs, data, spool, usize::MAX, |_| true).expect("it can be read");
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    let value = |letter: &spoolway::state::letters::Letter| {
        letter.event().expect("an event").value.unwrap_or_default().to_vec()
    };
    found.letters.iter().map(|stored| (stored.id, value(&stored.letter))).collect()
}

/// Every event's value in the spool at `data`, by the tool that people have.
fn dump(data: &Path, finding: &mut Finding) -> Vec<String> {
    let output = spoolway().args(["spool", "dump"]).arg(data).output().expect("it runs");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        finding.example(format!("spool dump ends with {}: {}", output.status, said.trim()));
    }
    let row = |line: &str| -> Option<String> {
        let row: serde_json::Value = serde_json::from_str(line).expect("NDJSON");
        row["value"].as_str().map(str::to_owned)
    };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(row).collect()
}
