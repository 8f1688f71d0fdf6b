//! To whom a stream's events belong after routes have changed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Before, RouteHistory, Said};
use crate::config::{Pattern, RouteTable, may_overlap};
use crate::ids::{DestinationName, LaneName, Seq, SeqRange, StreamName};

/// Numbers of a stream that went from one destination to others by a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Number of the change.
    pub change: u64,
    /// Whose they were.
    pub from: DestinationName,
    /// One of those whose they are now.
    pub to: DestinationName,
    /// Which.
    pub ranges: Vec<SeqRange>,
}

impl Given {
    /// Whether it is about a number.
    #[must_use]
    pub fn holds(&self, seq: Seq) -> bool {
        self.ranges.iter().any(|range| range.contains(seq))
    }
}

/// What a destination has of a stream by [`RouteHistory`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Share {
    /// The numbers that are its own; `None`: all.
    pub own: Option<Vec<SeqRange>>,
    /// What it was given by others.
    pub given: Vec<Given>,
    /// What it gave to others.
    pub gave: Vec<Given>,
}

impl Share {
    /// Whether an event is its own.
    #[must_use]
    pub fn has(&self, seq: Seq) -> bool {
        // An event that will come is asked for by the highest number there is.
        let seq = Seq(seq.0.min(u64::MAX - 1));
        self.own.as_ref().is_none_or(|own| own.iter().any(|range| range.contains(seq)))
    }
}

/// Destinations between which a change may have moved streams.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// It may have lost some.
    pub from: DestinationName,
    /// It may have gained them.
    pub to: DestinationName,
}

/// A stream in a lane, change by change.
#[derive(Debug, Default)]
struct Story {
    own: BTreeMap<DestinationName, Vec<SeqRange>>,
    given: Vec<Given>,
}

const ALL: SeqRange = SeqRange { first: Seq(0), end: Seq(u64::MAX) };

fn below(ranges: &[SeqRange], end: Seq) -> Vec<SeqRange> {
    let cut = ranges.iter().map(|r| SeqRange { first: r.first, end: r.end.min(end) });
    cut.filter(|r| !r.is_empty()).collect()
}

fn from(first: Seq) -> SeqRange {
    SeqRange { first, ..ALL }
}

impl RouteHistory {
    /// What a destination has of a stream of a lane.
    #[must_use]
    pub fn share(&self, lane: &LaneName, stream: &StreamName, of: &DestinationName) -> Share {
        if self.before.is_empty() {
            return Share::default();
        }
        let Story { mut own, given } = self.story(lane, stream);
        let gave = given.iter().filter(|g| g.from == *of).cloned().collect();
        let given = given.into_iter().filter(|g| g.to == *of).collect();
        let own = own.remove(of).filter(|own| own.as_slice() != [ALL]);
        Share { own, given, gave }
    }

    /// What a destination has given away of a stream by a change: from whichever number on it was its own.
    #[must_use]
    pub fn gave_away(
        &self,
        lane: &LaneName,
        stream: &StreamName,
        by: (u64, &DestinationName),
        seq: Seq,
    ) -> bool {
        let given = self.story(lane, stream).given;
        given.iter().any(|g| (g.change, &g.from) == by && g.holds(seq))
    }

    /// A sum over everything that says what goes to a destination under which topic: by the routes as they are, and by the last
    /// change that concerned it. Never 0.
    #[must_use]
    pub fn sum(&self, now: &RouteTable, of: &DestinationName) -> u64 {
        let concerns = |(before, after, _): &(&Before, &RouteTable, &[Said])| {
            (before.table.sum(of) != after.sum(of)).then_some(before.change)
        };
        let last = self.changes().iter().filter_map(concerns).max().unwrap_or_default();
        (now.sum(of) ^ last << 40).max(1)
    }

    /// The last change by which a destination may have taken something over: its positions must know of it.
    #[must_use]
    pub fn last_taken(&self, by: &DestinationName) -> u64 {
        let changes = self.changes();
        let handed = changes.iter().filter(|(before, ..)| before.moves && before.done);
        let taken =
            handed.filter(|(before, _, said)| may_move(&before.said, said).iter().any(|p| p.to == *by));
        taken.map(|(before, ..)| before.change).max().unwrap_or_default()
    }

    /// The newest change, if streams may move by it and have not been handed over yet.
    #[must_use]
    pub fn open_change(&self) -> Option<(u64, BTreeSet<Pair>)> {
        let before = self.before.first().filter(|b| b.moves && !b.done)?;
        Some((before.change, may_move(&before.said, &self.said)))
    }

    /// Each change, the oldest first, with the routes after it.
    fn changes(&self) -> Vec<(&Before, &RouteTable, &[Said])> {
        let newer = self.before.iter().map(|b| (&b.table, b.said.as_slice()));
        let after = self.now.iter().map(|now| (now, self.said.as_slice())).chain(newer);
        let mut all: Vec<_> =
            self.before.iter().zip(after).map(|(before, (table, said))| (before, table, said)).collect();
        all.reverse();
        all
    }

    fn story(&self, lane: &LaneName, stream: &StreamName) -> Story {
        let mut story = Story::default();
        for (index, (before, after, said)) in self.changes().into_iter().enumerate() {
            let (old, new) = (takers(&before.table, &before.said, stream), takers(after, said, stream));
            if index == 0 {
                story.own.extend(old.iter().map(|to| (to.clone(), vec![ALL])));
            }
            let until = before.until.get(lane).copied().unwrap_or_default();
            story.go_on(before, (&old, &new), until);
        }
        story
    }
}

impl Story {
    /// One change: of these destinations to those, at a number.
    fn go_on(
        &mut self,
        before: &Before,
        (old, new): (&BTreeSet<DestinationName>, &BTreeSet<DestinationName>),
        until: Seq,
    ) {
        let lost: Vec<_> = old.difference(new).collect();
        let gained: Vec<_> = new.difference(old).collect();
        let had_some = |to: &&DestinationName| !below(self.own_of(to), until).is_empty();
        let handed = match lost.as_slice() {
            // Where several lost it, each keeps its own: it can't be told which of them the new one is for. And one that still
            // has some of it from before would not know what is whose.
            [one] if before.moves && !gained.is_empty() && !gained.iter().any(had_some) => Some(*one),
            _ => None,
        };
        let ranges = handed.map(|from| below(self.own_of(from), until)).unwrap_or_default();
        for to in gained {
            let is_new = !self.own.contains_key(to);
            let own = self.own.entry(to.clone()).or_default();
            if let Some(from) = handed {
                let (change, from, to, ranges) = (before.change, from.clone(), to.clone(), ranges.clone());
                own.extend(&ranges);
                self.given.push(Given { change, from, to, ranges });
            }
            // One that a stream goes to in addition gets what is there; but one that had it before does not go back behind that.
            own.push(if lost.is_empty() && is_new { ALL } else { from(until) });
        }
        for from in lost {
            let kept = if handed.is_some() { Vec::new() } else { below(self.own_of(from), until) };
            self.own.insert(from.clone(), kept);
        }
    }

    fn own_of(&self, of: &DestinationName) -> &[SeqRange] {
        self.own.get(of).map_or(&[], Vec::as_slice)
    }
}

/// To whom a stream goes by some routes.
fn takers(table: &RouteTable, said: &[Said], stream: &StreamName) -> BTreeSet<DestinationName> {
    let all = said.iter().filter_map(|said| DestinationName::new(&said.to).ok());
    all.filter(|to| table.topic_for(stream, to).ok().flatten().is_some()).collect()
}

/// Between which destinations a change may have moved a stream, judged by the patterns of its routes. What it says too much
/// costs reading headers.
fn may_move(before: &[Said], after: &[Said]) -> BTreeSet<Pair> {
    let (lost, gained) = (without(before, after), without(after, before));
    let pairs = lost.iter().flat_map(|lost| gained.iter().map(move |gained| (lost, gained)));
    let moved = pairs.filter(|((from, old), (to, new))| from != to && overlap(old, new));
    moved.map(|((from, _), (to, _))| Pair { from: from.clone(), to: to.clone() }).collect()
}

/// Destinations and patterns of some routes that are not among others, or that one which stands above all had taken from them,
/// or gives back to them.
fn without<'a>(said: &'a [Said], others: &'a [Said]) -> Vec<(DestinationName, &'a str)> {
    let is_among = |to: &str, pattern: &str, only: bool| {
        let same = |other: &Said| other.to == to && other.only == only;
        others.iter().any(|other| same(other) && other.streams.iter().any(|s| s == pattern))
    };
    let above = others.iter().filter(|o| o.only && !said.contains(o)).flat_map(|o| &o.streams);
    let above: Vec<&String> = above.collect();
    let all = said.iter().flat_map(|said| said.streams.iter().map(move |pattern| (said, pattern.as_str())));
    let left = all.filter(|(said, pattern)| {
        !is_among(&said.to, pattern, said.only) || above.iter().any(|above| overlap(above, pattern))
    });
    left.filter_map(|(said, pattern)| Some((DestinationName::new(&said.to).ok()?, pattern))).collect()
}

/// Whether two patterns may take one stream.
fn overlap(one: &str, other: &str) -> bool {
    match (Pattern::parse(one), Pattern::parse(other)) {
        (Ok(Pattern::Exact(one)), Ok(pattern)) => pattern.takes(&one),
        (Ok(pattern), Ok(Pattern::Exact(other))) => pattern.takes(&other),
        _ => may_overlap(one, other),
    }
}
