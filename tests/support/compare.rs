//! Compares ledgers with what a topic holds. Feed it every record in offset order within each partition.

use std::collections::HashMap;
use std::fmt;

use super::ledger::{Book, Told};
use super::payload::{Id, hash, id_of};

/// Sees each record once, then judges.
pub struct Comparison<'a> {
    books: HashMap<u32, Tracked<'a>>,
    keys: HashMap<Vec<u8>, Vec<Last>>,
    keyless: Vec<Last>,
    verdict: Verdict,
}

struct Tracked<'a> {
    book: &'a Book,
    seen: Vec<u8>,
}

/// The newest first-seen event of a generator in a partition, for one key.
struct Last {
    partition: i32,
    generator: u32,
    number: u64,
}

/// What was found; everything but `records`, `distinct` and `unanswered` should be zero while the agent lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Records read.
    pub records: u64,
    /// Different events among them.
    pub distinct: u64,
    /// Accepted, and not there.
    pub missing: u64,
    /// Copies beyond the first.
    pub doubled: u64,
    /// First copies that stand behind a later event of the same key in their partition.
    pub reordered: u64,
    /// Keys found in more than one partition.
    pub wandered: u64,
    /// Not the bytes that were sent.
    pub corrupt: u64,
    /// Never offered.
    pub foreign: u64,
    /// Refused with a complete answer, and there all the same.
    pub kept_though_refused: u64,
    /// There, though their sender never got an answer: allowed.
    pub unanswered: u64,
    /// A few events that were missing, doubled, reordered or wrong, to look for.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Nothing missing, wrong, or out of order; doubles are the caller's to judge.
    pub fn is_lossless(&self) -> bool {
        let wrong = [
            self.missing,
            self.reordered,
            self.wandered,
            self.corrupt,
            self.foreign,
            self.kept_though_refused,
        ];
        wrong.iter().all(|&n| n == 0)
    }

    /// Panics unless every accepted event is there exactly once, in order.
    #[track_caller]
    pub fn assert_exact(&self) {
        assert!(self.is_lossless() && self.doubled == 0, "{self}");
    }

    /// Panics unless every accepted event is there, in order, with at most `doubles` copies too many.
    #[track_caller]
    pub fn assert_lossless(&self, doubles: u64) {
        assert!(self.is_lossless(), "{self}");
        assert!(self.doubled <= doubles, "more doubles than the {doubles} that were in flight: {self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records, {} distinct: {} missing, {} doubled, {} reordered, {} wandered, {} corrupt, {} foreign, \
             {} kept though refused, {} unanswered",
            self.records,
            self.distinct,
            self.missing,
            self.doubled,
            self.reordered,
            self.wandered,
            self.corrupt,
            self.foreign,
            self.kept_though_refused,
            self.unanswered
        )?;
        self.examples.iter().try_for_each(|e| write!(f, "\n  {e}"))
    }
}

impl<'a> Comparison<'a> {
    /// Against these ledgers, one a generator.
    pub fn new(books: impl IntoIterator<Item = &'a Book>) -> Self {
        let tracked = |book: &'a Book| {
            let seen = vec![0; usize::try_from(book.next()).expect("a ledger fits memory")];
            (book.generator, Tracked { book, seen })
        };
        let books = books.into_iter().map(tracked).collect();
        Self { books, keys: HashMap::new(), keyless: Vec::new(), verdict: Verdict::default() }
    }

    /// One record.
    pub fn see(&mut self, partition: i32, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.verdict.records += 1;
        let at = || format!("partition {partition} offset {offset}");
        let value = value.unwrap_or_default();
        let known = id_of(value).and_then(|id| {
            let tracked = self.books.get_mut(&id.generator)?;
            let (told, hash) = tracked.book.get(id.number)?;
            Some((id, told, hash, &mut tracked.seen[id.number as usize]))
        });
        let Some((id, told, expected, seen)) = known else {
            self.verdict.foreign += 1;
            return self.example(|| format!("foreign at {}: {:?}", at(), String::from_utf8_lossy(value)));
        };
        *seen = seen.saturating_add(1);
        let copies = *seen;
        if hash(value) != expected {
            self.verdict.corrupt += 1;
            self.example(|| format!("corrupt {id:?} at {}", at()));
        }
        if copies > 1 {
            self.verdict.doubled += 1;
            return self.example(|| format!("doubled {id:?} at {}", at()));
        }
        self.verdict.distinct += 1;
        match told {
            Told::Accepted => {}
            Told::Nothing => self.verdict.unanswered += 1,
            Told::Refused => {
                self.verdict.kept_though_refused += 1;
                self.example(|| format!("kept though refused {id:?} at {}", at()));
            }
        }
        self.place(partition, key, id, at);
    }

    fn place(&mut self, partition: i32, key: Option<&[u8]>, id: Id, at: impl Fn() -> String) {
        let lasts = match key {
            None => &mut self.keyless,
            Some(key) if self.keys.contains_key(key) => self.keys.get_mut(key).expect("just found"),
            Some(key) => self.keys.entry(key.to_vec()).or_default(),
        };
        let wandered = key.is_some() && !lasts.is_empty() && lasts.iter().all(|l| l.partition != partition);
        let same = |l: &&mut Last| l.partition == partition && l.generator == id.generator;
        let reordered = match lasts.iter_mut().find(same) {
            Some(last) if last.number > id.number => true,
            Some(last) => {
                last.number = id.number;
                false
            }
            None => {
                lasts.push(Last { partition, generator: id.generator, number: id.number });
                false
            }
        };
        self.verdict.wandered += u64::from(wandered);
        self.verdict.reordered += u64::from(reordered);
        if reordered || wandered {
            let what = if reordered { "reordered" } else { "wandered" };
            self.example(|| format!("{what} {id:?} at {}", at()));
        }
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.verdict.examples.len() < 10 {
            self.verdict.examples.push(text());
        }
    }

    /// Everything has been seen: counts what is missing.
    pub fn judge(mut self) -> Verdict {
        let mut missing = Vec::new();
        for (&generator, tracked) in &self.books {
            for (number, &seen) in (0u64..).zip(&tracked.seen) {
                if seen == 0 && tracked.book.get(number).is_some_and(|(t, _)| t == Told::Accepted) {
                    missing.push(Id { generator, number });
                }
            }
        }
        self.verdict.missing = missing.len() as u64;
        for id in missing.iter().take(3).chain(missing.last()) {
            self.example(|| format!("missing {id:?}"));
        }
        self.verdict
    }
}
