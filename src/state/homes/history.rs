//! The eras of a data directory, in each of which every stream had one lane.

use std::collections::BTreeMap;

use crate::config::model::Stream;
use crate::config::{LaneTable, PatternError, RouteTable};
use crate::ids::{DestinationName, LaneName, Seq, StreamName};

/// Eras that may be remembered at once.
const MAX_ERAS: usize = 64;

/// Streams were moved again and again, and what is left of the first time still waits to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "streams were given other lanes {MAX_ERAS} times while events from before the first time are not delivered yet: \
     give them the lanes back that they had when the agent last ran, until that is done"
)]
pub struct TooManyMoves;

/// A time in which no stream moved.
#[derive(Debug, Clone)]
pub(super) struct Era {
    /// `None` where it is not known which lane kept which streams.
    pub(super) homes: Option<Homes>,
    /// The first number of each lane that was open.
    pub(super) starts: BTreeMap<LaneName, Seq>,
}

/// The `[[stream]]` entries of an era.
#[derive(Debug, Clone)]
pub(super) struct Homes {
    pub(super) streams: Vec<Stream>,
    table: LaneTable,
}

impl Homes {
    pub(super) fn new(streams: Vec<Stream>) -> Result<Self, PatternError> {
        Ok(Self { table: LaneTable::new(&streams)?, streams })
    }
}

/// The eras whose events may wait somewhere, and the present one. Oldest first, never empty.
#[derive(Debug, Clone)]
pub struct History {
    pub(super) eras: Vec<Era>,
}

impl History {
    /// Nothing is known of what is on disk.
    #[must_use]
    pub fn unknown() -> Self {
        Self { eras: vec![Era { homes: None, starts: BTreeMap::new() }] }
    }

    /// Begins an era, if the entries are others now. `ends`: the next number of each lane that is open.
    ///
    /// # Errors
    /// [`TooManyMoves`]; a pattern that can't be read.
    pub fn begin(&mut self, streams: &[Stream], ends: BTreeMap<LaneName, Seq>) -> Result<(), BeginError> {
        let last = self.eras.last().and_then(|era| era.homes.as_ref());
        if last.is_some_and(|homes| homes.streams == streams) {
            return Ok(());
        }
        if self.eras.len() >= MAX_ERAS {
            return Err(TooManyMoves.into());
        }
        self.eras.push(Era { homes: Some(Homes::new(streams.to_vec())?), starts: ends });
        Ok(())
    }

    /// Forgets eras of which everything is settled: of a lane, everything below a number.
    pub fn forget(&mut self, is_settled: impl Fn(&LaneName, Seq) -> bool) {
        let over = |next: &Era| next.starts.iter().all(|(lane, start)| is_settled(lane, *start));
        while self.eras.get(1).is_some_and(over) {
            self.eras.remove(0);
        }
    }

    /// Whether nothing has to wait for another lane.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.eras.len() < 2
    }

    /// Whether a later process has to know it: what it would otherwise take for granted is that every stream has been in
    /// `main`, or anywhere.
    #[must_use]
    pub fn is_worth_keeping(&self) -> bool {
        let main = crate::config::model::Config::main_lane();
        let plain = |era: &Era| era.homes.as_ref().is_some_and(|h| h.streams.iter().all(|s| s.lane == main));
        !self.is_settled() || !self.eras.iter().all(plain)
    }

    /// What has to be settled before an event of `stream` may go that has number `seq` in `lane`: of each other lane,
    /// everything below a number.
    #[must_use]
    pub fn waits(&self, lane: &LaneName, seq: Seq, stream: &StreamName) -> BTreeMap<LaneName, Seq> {
        let begun = |era: &Era| era.starts.get(lane).is_some_and(|start| *start <= seq);
        let own = self.eras.iter().skip(1).rposition(begun).map_or(0, |index| index + 1);
        let mut waits: BTreeMap<LaneName, Seq> = BTreeMap::new();
        // Each era before its own, with the one that ended it.
        for (era, next) in self.eras.iter().zip(self.eras.iter().skip(1)).take(own) {
            let home = era.homes.as_ref().map(|homes| homes.table.lane_of(stream));
            let left =
                next.starts.iter().filter(|(other, _)| *other != lane && home.is_none_or(|h| h == *other));
            for (other, end) in left {
                let below = waits.entry(other.clone()).or_default();
                *below = (*below).max(*end);
            }
        }
        waits
    }

    /// Whether `lane` may hold events that go to `destination`, accepted in any era that is remembered. Where it is not
    /// known what a lane holds, `unknown` is the answer.
    #[must_use]
    pub fn reaches(
        &self,
        routes: &RouteTable,
        destination: &DestinationName,
        lane: &LaneName,
        unknown: bool,
    ) -> bool {
        self.eras.iter().any(|era| match &era.homes {
            Some(homes) => routes.reaches(destination, &homes.table, lane),
            None => unknown,
        })
    }

    /// The highest number of `lane` that an era began with: everything below was durable then.
    #[must_use]
    pub fn highest(&self, lane: &LaneName) -> Option<Seq> {
        self.eras.iter().filter_map(|era| era.starts.get(lane)).max().copied()
    }
}

/// An era could not be begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// Too many are remembered.
    #[error(transparent)]
    TooMany(#[from] TooManyMoves),
    /// A pattern that can't be read, though the configuration was checked.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &str) -> LaneName {
        LaneName::new(name).unwrap()
    }

    fn stream(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    fn entries(homes: &[(&str, &str)]) -> Vec<Stream> {
        homes.iter().map(|(name, l)| Stream { name: (*name).to_owned(), lane: lane(l) }).collect()
    }

    fn ends(ends: &[(&str, u64)]) -> BTreeMap<LaneName, Seq> {
        ends.iter().map(|(name, end)| (lane(name), Seq(*end))).collect()
    }

    /// x goes from main to fast and back, y stays.
    fn there_and_back() -> History {
        let mut history = History::unknown();
        history.begin(&[], ends(&[("main", 1)])).unwrap();
        history.forget(|_, _| true);
        history.begin(&entries(&[("x", "fast")]), ends(&[("main", 11), ("fast", 1)])).unwrap();
        history.begin(&[], ends(&[("main", 21), ("fast", 6)])).unwrap();
        history
    }

    #[test]
    fn a_stream_waits_for_what_it_left_in_other_lanes_and_one_that_stays_for_nothing() {
        let history = there_and_back();
        let waits = |l: &str, seq: u64, s: &str| history.waits(&lane(l), Seq(seq), &stream(s));
        assert_eq!(waits("main", 10, "x"), ends(&[]), "before it moved");
        assert_eq!(waits("fast", 1, "x"), ends(&[("main", 11)]));
        assert_eq!(waits("main", 21, "x"), ends(&[("fast", 6)]), "its own lane keeps the order by itself");
        assert_eq!(waits("main", 21, "y"), ends(&[]));
        assert_eq!(history.highest(&lane("main")), Some(Seq(21)));
    }

    #[test]
    fn an_era_is_forgotten_when_everything_before_the_next_is_settled_and_not_before() {
        let mut history = there_and_back();
        history.forget(|l, end| l.as_str() == "main" && end <= Seq(11));
        assert_eq!(history.eras.len(), 3, "lane fast may hold something");
        history.forget(|_, end| end <= Seq(11));
        assert_eq!(history.eras.len(), 2);
        assert_eq!(history.waits(&lane("main"), Seq(21), &stream("x")), ends(&[("fast", 6)]));
        history.forget(|_, _| true);
        assert!(history.is_settled());
        assert_eq!(history.waits(&lane("main"), Seq(21), &stream("x")), ends(&[]));
    }

    #[test]
    fn what_is_not_known_may_be_anywhere() {
        let mut history = History::unknown();
        assert!(history.is_worth_keeping());
        history.begin(&entries(&[("x", "fast")]), ends(&[("main", 5), ("fast", 9), ("old", 3)])).unwrap();
        let waits = history.waits(&lane("fast"), Seq(9), &stream("x"));
        assert_eq!(waits, ends(&[("main", 5), ("old", 3)]));
        assert_eq!(history.waits(&lane("fast"), Seq(8), &stream("x")), ends(&[]));
    }

    #[test]
    fn the_same_entries_begin_nothing_and_moves_without_end_are_refused() {
        let mut history = there_and_back();
        history.begin(&[], ends(&[("main", 30), ("fast", 6)])).unwrap();
        assert_eq!(history.eras.len(), 3);
        let refused = (0..100).find_map(|n| {
            let name = if n % 2 == 0 { "fast" } else { "main" };
            history.begin(&entries(&[("x", name)]), ends(&[("main", 30)])).err()
        });
        assert!(matches!(refused, Some(BeginError::TooMany(_))));
    }

    #[test]
    fn so_many_moves_are_remembered_and_no_more() {
        let mut history = History::unknown();
        let moves = (0..1000).take_while(|n| {
            let name = if n % 2 == 0 { "fast" } else { "main" };
            history.begin(&entries(&[("x", name)]), ends(&[("main", 30)])).is_ok()
        });
        assert_eq!(moves.count(), MAX_ERAS - 1, "the first era is what was not known");
        assert_eq!(history.eras.len(), MAX_ERAS);
        history.forget(|_, _| true);
        history.begin(&entries(&[("x", "slow")]), ends(&[("main", 30)])).unwrap();
    }

    #[test]
    fn only_what_a_later_process_would_take_for_granted_need_not_be_kept() {
        let mut history = History::unknown();
        assert!(history.is_worth_keeping(), "nobody knows");
        history.begin(&entries(&[("x", "main")]), ends(&[("main", 5)])).unwrap();
        assert!(history.is_worth_keeping(), "something may wait");
        history.forget(|_, _| true);
        assert!(!history.is_worth_keeping(), "every stream is in main, and was");
        history.begin(&[], ends(&[("main", 9)])).unwrap();
        assert!(history.is_worth_keeping() && !history.is_settled());
        history.forget(|_, _| true);
        history.begin(&entries(&[("x", "main"), ("y", "fast")]), ends(&[("main", 12)])).unwrap();
        history.forget(|_, _| true);
        assert!(history.is_settled() && history.is_worth_keeping(), "a stream is in another lane");
    }

    #[test]
    fn a_lane_may_hold_what_it_kept_in_any_era_that_is_remembered() {
        use crate::config::model::{Route, TopicTemplate};
        let name = |name: &str| DestinationName::new(name).unwrap();
        let route = |stream: &str, to: &str| Route {
            streams: vec![stream.to_owned()],
            to: name(to),
            topic: TopicTemplate::stream(),
            only: false,
        };
        let routes = RouteTable::of(&[route("x", "home"), route("y", "away")], &[]).unwrap();
        let mut history = there_and_back();
        let reaches = |history: &History, to: &str, l: &str, unknown| {
            history.reaches(&routes, &name(to), &lane(l), unknown)
        };
        for unknown in [false, true] {
            let of = |to: &str| ["main", "fast", "slow"].map(|l| reaches(&history, to, l, unknown));
            assert_eq!((of("home"), of("away")), ([true, true, false], [true, false, false]));
        }
        history.forget(|_, _| true);
        assert!(!reaches(&history, "home", "fast", true), "what was there has arrived");
        let unknown = History::unknown();
        assert!(reaches(&unknown, "home", "slow", true) && !reaches(&unknown, "home", "slow", false));
    }

    #[test]
    fn the_highest_number_of_a_lane_is_that_of_any_era() {
        let history = there_and_back();
        assert_eq!(
            ["main", "fast", "slow"].map(|l| history.highest(&lane(l))),
            [Some(Seq(21)), Some(Seq(6)), None]
        );
    }

    /// What happens to a data directory: a stream's event, or a start with other homes for x, y and z.
    #[derive(Debug, Clone)]
    enum Happening {
        Event(u8),
        Start([u8; 3]),
    }

    fn happenings() -> impl proptest::strategy::Strategy<Value = Vec<Happening>> {
        use proptest::prelude::*;
        let one = prop_oneof![
            5 => (0u8..3).prop_map(Happening::Event),
            1 => [0u8..3, 0u8..3, 0u8..3].prop_map(Happening::Start),
        ];
        proptest::collection::vec(one, 1..60)
    }

    proptest::proptest! {
        #[test]
        fn every_earlier_event_of_a_stream_is_waited_for_and_no_later_event_of_any(story in happenings()) {
            const LANES: [&str; 3] = ["main", "a", "b"];
            const STREAMS: [&str; 3] = ["x", "y", "z"];
            let mut homes = [0u8; 3];
            let mut next = [1u64; 3];
            let mut history = History::unknown();
            let starts = |next: [u64; 3]| ends(&[(LANES[0], next[0]), (LANES[1], next[1]), (LANES[2], next[2])]);
            history.begin(&[], starts(next)).unwrap();
            history.forget(|_, _| true);
            // Stream, lane and number of every event, oldest first.
            let mut log: Vec<(u8, usize, u64)> = Vec::new();
            for happening in story {
                match happening {
                    Happening::Event(of) => {
                        let home = usize::from(homes[usize::from(of)]);
                        log.push((of, home, next[home]));
                        next[home] += 1;
                    }
                    Happening::Start(now) => {
                        homes = now;
                        let named: Vec<_> = (0..3).map(|i| (STREAMS[i], LANES[usize::from(homes[i])])).collect();
                        history.begin(&entries(&named), starts(next)).unwrap();
                    }
                }
            }
            for (at, &(of, home, seq)) in log.iter().enumerate() {
                let waits = history.waits(&lane(LANES[home]), Seq(seq), &stream(STREAMS[usize::from(of)]));
                for (index, &(other, place, number)) in log.iter().enumerate() {
                    let waited = waits.get(&lane(LANES[place])).is_some_and(|below| Seq(number) < *below);
                    if other == of && place != home && index < at {
                        proptest::prop_assert!(waited, "{of} at {at} does not wait for {index}: {log:?}");
                    }
                    proptest::prop_assert!(!waited || index < at, "{of} at {at} waits for a later one: {log:?}");
                }
            }
        }
    }
}
