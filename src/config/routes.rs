//! Which stream goes to which topic of which destination.
//!
//! A pure table: the same question always gets the same answer, so whoever asks per event keeps the answer
//! per stream. Without routes, every stream goes to the only destination, topic = stream name. With
//! routes, a stream goes to each destination that a route taking it names; for one destination the first
//! such route gives the topic.

use globset::{GlobBuilder, GlobMatcher};

use super::lanes::LaneTable;
use super::model::{Config, Destination, Route, TopicTemplate};
use super::nearest::nearest;
use crate::ids::{DestinationName, LaneName, NameError, StreamName, TopicName};

/// The compiled routes.
#[derive(Debug, Clone)]
pub struct RouteTable {
    routes: Vec<Compiled>,
}

#[derive(Debug, Clone)]
struct Compiled {
    streams: Vec<Pattern>,
    to: DestinationName,
    topic: TopicTemplate,
    only: bool,
}

/// A stream's name in the configuration: exact, or a glob in which `*` stands for any characters, dots
/// included.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// One stream.
    Exact(StreamName),
    /// Every stream the glob matches.
    Glob(Box<GlobMatcher>),
}

/// Why a stream's name or glob was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// An exact name that breaks the rule for streams.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A glob that can't be read.
    #[error("the glob can't be read: {0}")]
    Glob(String),
}

impl Pattern {
    /// Reads an exact name or a glob.
    ///
    /// # Errors
    /// [`PatternError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if !text.contains(['*', '?', '[', ']', '{', '}']) {
            return Ok(Pattern::Exact(StreamName::new(text)?));
        }
        let glob = GlobBuilder::new(text)
            .backslash_escape(false)
            .build()
            .map_err(|e| PatternError::Glob(e.kind().to_string()))?;
        Ok(Pattern::Glob(Box::new(glob.compile_matcher())))
    }

    /// Whether the stream is meant.
    #[must_use]
    pub fn takes(&self, stream: &StreamName) -> bool {
        match self {
            Pattern::Exact(name) => name == stream,
            Pattern::Glob(glob) => glob.is_match(stream.as_str()),
        }
    }

    /// The stream, if it is one that is named in full.
    #[must_use]
    pub fn exact(&self) -> Option<&StreamName> {
        match self {
            Pattern::Exact(name) => Some(name),
            Pattern::Glob(_) => None,
        }
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Pattern::Exact(name) => name.as_str(),
            Pattern::Glob(glob) => glob.glob().glob(),
        }
    }
}

impl RouteTable {
    /// Compiles the routes of a configuration.
    ///
    /// # Errors
    /// [`PatternError`] for a stream's name or glob that can't be read; a loaded configuration has none.
    pub fn new(config: &Config) -> Result<Self, PatternError> {
        Self::of(&config.routes, &config.destinations)
    }

    /// Compiles routes. `destinations` matters only when there are no routes.
    ///
    /// # Errors
    /// As [`RouteTable::new`].
    pub fn of(routes: &[Route], destinations: &[Destination]) -> Result<Self, PatternError> {
        if routes.is_empty() {
            let routes = destinations.iter().map(|d| everything_to(&d.name)).collect::<Result<_, _>>()?;
            return Ok(Self { routes });
        }
        let routes = routes.iter().map(Compiled::new).collect::<Result<_, _>>()?;
        Ok(Self { routes })
    }

    /// The topic that events of `stream` have in `destination`; `None` if they don't go there.
    ///
    /// # Errors
    /// [`NameError::TooLong`] when they do, but the stream's name is too long for the topic's template.
    /// The door refuses such a stream, so only events spooled under an earlier configuration can meet it.
    pub fn topic_for(
        &self,
        stream: &StreamName,
        destination: &DestinationName,
    ) -> Result<Option<TopicName>, NameError> {
        let route = self.taking(stream).find(|route| route.to == *destination);
        route.map(|route| route.topic.topic(stream)).transpose()
    }

    /// A sum over everything that says what goes to a destination under which topic; never 0.
    #[must_use]
    pub fn sum(&self, destination: &DestinationName) -> u64 {
        let mut text = String::new();
        for route in self.routes.iter().filter(|route| route.to == *destination) {
            route.streams.iter().for_each(|pattern| text.extend([pattern.as_str(), "\n"]));
            text.extend([format!("{:?}", route.topic).as_str(), if route.only { "\n!\n" } else { "\n\n" }]);
        }
        // What stands above the others takes from this destination, too.
        for route in self.routes.iter().filter(|route| route.only && route.to != *destination) {
            route.streams.iter().for_each(|pattern| text.extend([pattern.as_str(), "\n-\n"]));
        }
        u64::from(crc32fast::hash(text.as_bytes())) << 32 | (text.len() as u64 & 0x7fff_ffff) | 1 << 31
    }

    /// Whether some stream that `lanes` keeps in `lane` may go to `destination`. True where that can't be ruled out.
    #[must_use]
    pub fn reaches(&self, destination: &DestinationName, lanes: &LaneTable, lane: &LaneName) -> bool {
        let mut streams =
            self.routes.iter().filter(|route| route.to == *destination).flat_map(|route| &route.streams);
        streams.any(|pattern| lanes.may_hold(lane, pattern))
    }

    /// Whether any route takes the stream.
    #[must_use]
    pub fn takes(&self, stream: &StreamName) -> bool {
        self.taking(stream).next().is_some()
    }

    /// The routes by which a stream goes.
    fn taking<'a>(&'a self, stream: &'a StreamName) -> impl Iterator<Item = &'a Compiled> + 'a {
        let above = self.routes.iter().find(|route| route.only && route.takes(stream));
        let others = self.routes.iter().filter(move |route| above.is_none() && route.takes(stream));
        above.into_iter().chain(others)
    }

    /// Whether the stream goes anywhere, and every topic it goes to can be named.
    ///
    /// # Errors
    /// [`NameError::TooLong`] as [`RouteTable::topic_for`].
    pub fn check(&self, stream: &StreamName) -> Result<bool, NameError> {
        let mut taken = false;
        for route in self.taking(stream) {
            route.topic.topic(stream)?;
            taken = true;
        }
        Ok(taken)
    }

    /// What a route takes that is nearest to a stream none takes: an exact name, or a glob whose
    /// beginning is nearly that of the stream.
    #[must_use]
    pub fn nearest(&self, stream: &StreamName) -> Option<String> {
        let patterns = || self.routes.iter().flat_map(|route| &route.streams);
        let exact = patterns().filter(|p| matches!(p, Pattern::Exact(_))).map(Pattern::as_str);
        let found = nearest(stream.as_str(), exact);
        found
            .or_else(|| patterns().map(Pattern::as_str).find(|glob| begins_nearly(stream, glob)))
            .map(str::to_owned)
    }
}

impl Compiled {
    fn new(route: &Route) -> Result<Self, PatternError> {
        let streams = route.streams.iter().map(|s| Pattern::parse(s)).collect::<Result<_, _>>()?;
        Ok(Self { streams, to: route.to.clone(), topic: route.topic.clone(), only: route.only })
    }

    fn takes(&self, stream: &StreamName) -> bool {
        self.streams.iter().any(|pattern| pattern.takes(stream))
    }
}

fn everything_to(destination: &DestinationName) -> Result<Compiled, PatternError> {
    Ok(Compiled {
        streams: vec![Pattern::parse("*")?],
        to: destination.clone(),
        topic: TopicTemplate::stream(),
        only: false,
    })
}

/// Whether the fixed beginning of a glob and as much of the stream's name are a typing error apart.
fn begins_nearly(stream: &StreamName, glob: &str) -> bool {
    let Some((prefix, _)) = glob.split_once(['*', '?', '[', '{']) else { return false };
    if prefix.len() < 3 {
        return false;
    }
    // Names are ASCII; one character more or less is a typing error too.
    let cut = |len: usize| stream.as_str().get(..len).unwrap_or(stream.as_str());
    [prefix.len(), prefix.len() - 1, prefix.len() + 1]
        .iter()
        .any(|len| nearest(cut(*len), [prefix]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    fn destination(name: &str) -> DestinationName {
        DestinationName::new(name).unwrap()
    }

    fn route(streams: &[&str], to: &str, topic: &str) -> Route {
        Route {
            streams: streams.iter().map(|s| (*s).to_owned()).collect(),
            to: destination(to),
            topic: TopicTemplate::parse(topic).unwrap(),
            only: false,
        }
    }

    fn topic(table: &RouteTable, s: &str, d: &str) -> Option<String> {
        table.topic_for(&stream(s), &destination(d)).unwrap().map(|t| t.to_string())
    }

    #[test]
    fn without_routes_every_stream_goes_to_the_only_destination_under_its_own_name() {
        let table = RouteTable::of(&[], &[Destination::new(destination("home"), vec![])]).unwrap();
        assert_eq!(topic(&table, "any.thing", "home").as_deref(), Some("any.thing"));
        assert!(table.takes(&stream("x")));
    }

    #[test]
    fn a_stream_goes_to_each_destination_that_names_it_and_the_first_route_gives_the_topic() {
        let table = RouteTable::of(
            &[
                route(&["orders"], "home", "o"),
                route(&["*"], "home", "rest-{stream}"),
                route(&["audit.*", "orders"], "away", "{stream}"),
            ],
            &[],
        )
        .unwrap();
        assert_eq!(topic(&table, "orders", "home").as_deref(), Some("o"));
        assert_eq!(topic(&table, "orders", "away").as_deref(), Some("orders"));
        assert_eq!(topic(&table, "audit.a.b", "away").as_deref(), Some("audit.a.b"));
        assert_eq!(topic(&table, "audit.a.b", "home").as_deref(), Some("rest-audit.a.b"));
        assert_eq!(topic(&table, "other", "away"), None);
    }

    #[test]
    fn the_sum_of_a_destinations_routes_is_another_when_what_goes_there_is() {
        let sum = |routes: &[Route], to: &str| RouteTable::of(routes, &[]).unwrap().sum(&destination(to));
        let before = sum(&[route(&["a", "b"], "home", "t"), route(&["c"], "away", "t")], "home");
        assert_eq!(before, sum(&[route(&["a", "b"], "home", "t"), route(&["d"], "away", "u")], "home"));
        for changed in [
            route(&["a"], "home", "t"),
            route(&["a", "b"], "home", "{stream}"),
            route(&["a", "b"], "away", "t"),
        ] {
            assert_ne!(before, sum(&[changed], "home"));
        }
    }

    #[test]
    fn what_no_route_takes_is_told_what_is_nearest() {
        let table = RouteTable::of(&[route(&["orders", "audit.*"], "home", "{stream}")], &[]).unwrap();
        assert!(!table.takes(&stream("order")));
        assert_eq!(table.nearest(&stream("order")).as_deref(), Some("orders"));
        assert_eq!(table.nearest(&stream("adit.login")).as_deref(), Some("audit.*"));
        assert_eq!(table.nearest(&stream("metrics")), None);
    }

    #[test]
    fn a_stream_whose_topic_would_be_too_long_is_told_apart_from_one_without_a_route() {
        let table = RouteTable::of(&[route(&["x*"], "home", "p-{stream}")], &[]).unwrap();
        assert_eq!(table.check(&stream("x1")), Ok(true));
        assert_eq!(table.check(&stream("y")), Ok(false));
        assert_eq!(table.check(&stream(&"x".repeat(249))), Err(NameError::TooLong(251)));
    }

    #[test]
    fn globs_and_names_that_can_not_be_read_are_refused() {
        assert!(matches!(Pattern::parse("a b"), Err(PatternError::Name(_))));
        assert!(matches!(Pattern::parse("a[b"), Err(PatternError::Glob(_))));
    }

    proptest::proptest! {
        #[test]
        fn takes_is_true_exactly_when_some_destination_gets_the_stream(name in "[a-d.]{1,4}") {
            proptest::prop_assume!(name != "." && name != "..");
            let table = RouteTable::of(
                &[route(&["a*", "b"], "home", "t"), route(&["*.d"], "away", "{stream}")], &[]).unwrap();
            let s = stream(&name);
            let reached = ["home", "away"].iter().any(|d| topic(&table, &name, d).is_some());
            proptest::prop_assert_eq!(table.takes(&s), reached);
        }
    }
}
