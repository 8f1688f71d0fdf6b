//! Which stream's events are kept in which lane.
//!
//! A pure table: the first `[[stream]]` that takes a stream gives its lane; a stream that none takes belongs to `main`.

use super::model::{Config, Stream};
use super::routes::{Pattern, PatternError};
use crate::ids::{LaneName, StreamName};

/// The compiled `[[stream]]` entries.
#[derive(Debug, Clone)]
pub struct LaneTable {
    rules: Vec<(Pattern, LaneName)>,
    main: LaneName,
}

impl LaneTable {
    /// Compiles the entries.
    ///
    /// # Errors
    /// [`PatternError`] for a name or glob that can't be read; a loaded configuration has none.
    pub fn new(streams: &[Stream]) -> Result<Self, PatternError> {
        let rules = streams.iter().map(|s| Ok((Pattern::parse(&s.name)?, s.lane.clone())));
        Ok(Self { rules: rules.collect::<Result<_, PatternError>>()?, main: Config::main_lane() })
    }

    /// The lane that keeps the stream's events.
    #[must_use]
    pub fn lane_of(&self, stream: &StreamName) -> &LaneName {
        let rule = self.rules.iter().find(|(pattern, _)| pattern.takes(stream));
        rule.map_or(&self.main, |(_, lane)| lane)
    }

    /// Whether a stream that `pattern` takes may be kept in `lane`. True where that can't be ruled out: what two globs
    /// have in common is judged by their beginnings.
    #[must_use]
    pub fn may_hold(&self, lane: &LaneName, pattern: &Pattern) -> bool {
        let asked = match pattern {
            Pattern::Exact(stream) => return self.lane_of(stream) == lane,
            Pattern::Glob(_) => pattern,
        };
        let mut own = self.rules.iter().filter(|(_, of)| of == lane).map(|(pattern, _)| pattern);
        let by_rule = own.any(|own| match own {
            Pattern::Exact(stream) => asked.takes(stream) && self.lane_of(stream) == lane,
            Pattern::Glob(_) => may_overlap(own.as_str(), asked.as_str()),
        });
        by_rule || (*lane == self.main && !self.rules.iter().any(|(pattern, _)| pattern.as_str() == "*"))
    }
}

/// Whether two globs may take one name: whether the fixed beginning of one begins with that of the other.
#[must_use]
pub fn may_overlap(one: &str, other: &str) -> bool {
    let beginning = |glob: &str| glob.split(['*', '?', '[', '{']).next().unwrap_or_default().to_owned();
    let (one, other) = (beginning(one), beginning(other));
    one.starts_with(&other) || other.starts_with(&one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RouteTable;
    use crate::config::model::{Route, TopicTemplate};
    use crate::ids::DestinationName;

    fn table(rules: &[(&str, &str)]) -> LaneTable {
        let stream = |(name, lane): &(&str, &str)| Stream {
            name: (*name).to_owned(),
            lane: LaneName::new(lane).unwrap(),
        };
        LaneTable::new(&rules.iter().map(stream).collect::<Vec<_>>()).unwrap()
    }

    fn lane(table: &LaneTable, stream: &str) -> String {
        table.lane_of(&StreamName::new(stream).unwrap()).to_string()
    }

    #[test]
    fn the_first_entry_that_takes_a_stream_gives_its_lane_and_without_one_it_is_main() {
        let table = table(&[("orders", "fast"), ("order*", "slow"), ("main.*", "main"), ("m*", "slow")]);
        for (stream, expected) in
            [("orders", "fast"), ("orders2", "slow"), ("main.x", "main"), ("mx", "slow"), ("other", "main")]
        {
            assert_eq!(lane(&table, stream), expected, "{stream}");
        }
    }

    #[test]
    fn a_pattern_reaches_a_lane_unless_that_can_be_ruled_out() {
        let table = table(&[("orders", "fast"), ("audit.*", "slow"), ("audit.x", "fast")]);
        let may = |lane: &str, pattern: &str| {
            table.may_hold(&LaneName::new(lane).unwrap(), &Pattern::parse(pattern).unwrap())
        };
        assert!(may("fast", "orders") && may("fast", "o*") && may("slow", "audit.y") && may("slow", "a*"));
        assert!(may("slow", "audit.login.*") && may("main", "*") && may("main", "other"));
        assert!(!may("fast", "audit.x"), "an entry before it has the stream");
        assert!(!may("fast", "b*") && !may("slow", "b*") && !may("main", "orders"));
    }

    proptest::proptest! {
        #[test]
        fn a_stream_that_a_route_takes_always_reaches_its_destination_from_the_lane_that_keeps_it(
            name in "[ab.]{1,4}",
            rules in proptest::collection::vec(("[ab*?.]{1,3}", "[xy]"), 0..4),
            routes in proptest::collection::vec("[ab*?.]{1,3}", 1..3),
        ) {
            proptest::prop_assume!(name != "." && name != "..");
            let readable = |p: &str| Pattern::parse(p).is_ok();
            let rules: Vec<_> = rules.iter().filter(|(p, _)| readable(p)).map(|(p, l)| (p.as_str(), l.as_str())).collect();
            let table = table(&rules);
            let to = DestinationName::new("home").unwrap();
            let streams = routes.into_iter().filter(|p| readable(p)).collect();
            let routes = RouteTable::of(&[Route { streams, to: to.clone(), topic: TopicTemplate::stream(), only: false }], &[]).unwrap();
            let stream = StreamName::new(&name).unwrap();
            if routes.takes(&stream) {
                proptest::prop_assert!(routes.reaches(&to, &table, table.lane_of(&stream)));
            }
        }
    }
}
