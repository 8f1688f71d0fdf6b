//! Routes as they were: `<data_dir>/routes`, a file of slots.
//!
//! A destination that a stream goes to no more still gets what was accepted before: nobody else will. So each start writes
//! down the routes it begins with and, when they are other ones, up to which number the ones before held.
//!
//! ```text
//! value = JSON: {"spool": …, "now": [route …], "before": [{"until": {lane: number, …}, "routes": [route …]} …]}
//! route = {"streams": [text …], "to": text, "topic": text, "only": bool}
//! ```
//! Where the file is lost, what waits for a destination without a route counts as filtered.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::RouteTable;
use crate::config::model::{Route, TopicTemplate};
use crate::disk::{DiskError, Fs, Slots};
use crate::ids::{DestinationName, LaneName, Seq, SpoolId, StreamName, TopicName};

/// Room for a few hundred routes; more take a larger file.
const CAPACITY: usize = 32 << 10;
/// Changes that are remembered while something waits from before them.
const MAX_CHANGES: usize = 64;

/// The routes that held below some number.
#[derive(Debug)]
struct Before {
    until: BTreeMap<LaneName, Seq>,
    table: RouteTable,
    said: Vec<Said>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct RouteHistory {
    /// The newest first.
    before: Vec<Before>,
}

/// A route as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    streams: Vec<String>,
    to: String,
    topic: String,
    /// Its streams go by no other.
    #[serde(default)]
    only: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    until: BTreeMap<String, u64>,
    routes: Vec<Said>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    spool: u64,
    now: Vec<Said>,
    before: Vec<Change>,
}

impl Said {
    fn of(route: &Route) -> Self {
        let Route { streams, to, topic, only } = route;
        Self { streams: streams.clone(), to: to.to_string(), topic: topic.to_string(), only: *only }
    }

    fn read(&self) -> Option<Route> {
        let topic = TopicTemplate::parse(&self.topic).ok()?;
        let (to, streams) = (DestinationName::new(&self.to).ok()?, self.streams.clone());
        Some(Route { streams, to, topic, only: self.only })
    }
}

fn table(said: &[Said]) -> Option<RouteTable> {
    let routes: Option<Vec<Route>> = said.iter().map(Said::read).collect();
    RouteTable::of(&routes?, &[]).ok()
}

impl RouteHistory {
    /// Takes over the routes this start begins with; `ends` is the next number of each lane. What is settled by now is
    /// forgotten: `is_past` says whether everybody is past a number of a lane. Durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin<F: Fs>(
        fs: &F,
        data_dir: &Path,
        spool: SpoolId,
        routes: &[Route],
        ends: &BTreeMap<LaneName, Seq>,
        is_past: impl Fn(&LaneName, Seq) -> bool,
    ) -> Result<Self, DiskError> {
        let path = data_dir.join("routes");
        let (mut slots, value) = Slots::open(fs, &path, CAPACITY)?;
        let written: Option<Written> = value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
        let known = written.filter(|w| w.spool == spool.0);
        let now: Vec<Said> = routes.iter().map(Said::of).collect();
        let earlier = known.iter().flat_map(|written| &written.before);
        let mut changes: Vec<Option<Before>> = earlier.map(Change::read).collect();
        if let Some(known) = known.filter(|known| known.now != now) {
            tracing::info!(
                "routes have changed since the last start: what was accepted before still goes where it was to go"
            );
            let until = ends.iter().map(|(lane, end)| (lane.to_string(), end.0)).collect();
            changes.insert(0, Change { until, routes: known.now }.read());
        }
        let mut before: Vec<Before> = changes.into_iter().flatten().collect();
        before.retain(|b| !b.until.iter().all(|(lane, until)| is_past(lane, *until)));
        before.truncate(MAX_CHANGES);
        let value = Written { spool: spool.0, now, before: before.iter().map(Change::of).collect() };
        let value = serde_json::to_vec(&value).unwrap_or_default();
        if value.len() > slots.capacity() {
            (slots, _) = Slots::open(fs, &path, value.len())?;
        }
        slots.save(&value)?;
        slots.sync()?;
        Ok(Self { before })
    }

    /// Where events of a stream went below which number, the newest change first.
    #[must_use]
    pub fn ways(&self, lane: &LaneName, stream: &StreamName, to: &DestinationName) -> Vec<(Seq, TopicName)> {
        let ways = self.before.iter().filter_map(|before| {
            let topic = before.table.topic_for(stream, to).ok().flatten()?;
            Some((*before.until.get(lane)?, topic))
        });
        ways.collect()
    }

    /// Whether something of a lane may still go to a destination by routes that it has no more.
    #[must_use]
    pub fn reaches(&self, lane: &LaneName, to: &DestinationName) -> bool {
        self.before
            .iter()
            .any(|b| b.until.contains_key(lane) && b.said.iter().any(|said| said.to == to.as_str()))
    }
}

impl Change {
    fn of(before: &Before) -> Self {
        let until = before.until.iter().map(|(lane, until)| (lane.to_string(), until.0)).collect();
        Self { until, routes: before.said.clone() }
    }

    /// `None` where it was written by a version that knows other routes.
    fn read(&self) -> Option<Before> {
        let until =
            self.until.iter().filter_map(|(lane, until)| Some((LaneName::new(lane).ok()?, Seq(*until))));
        Some(Before { until: until.collect(), table: table(&self.routes)?, said: self.routes.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealFs;

    fn route(streams: &[&str], to: &str, topic: &str) -> Route {
        let topic = TopicTemplate::parse(topic).unwrap();
        Route {
            streams: streams.iter().map(|s| (*s).to_owned()).collect(),
            to: DestinationName::new(to).unwrap(),
            topic,
            only: false,
        }
    }

    fn begin(dir: &Path, routes: &[Route], end: u64, past: u64) -> RouteHistory {
        let ends = [(LaneName::new("main").unwrap(), Seq(end))].into();
        RouteHistory::begin(&RealFs, dir, SpoolId(5), routes, &ends, |_, until| until.0 <= past).unwrap()
    }

    fn ways(history: &RouteHistory, stream: &str, to: &str) -> Vec<(u64, String)> {
        let (stream, to) = (StreamName::new(stream).unwrap(), DestinationName::new(to).unwrap());
        let ways = history.ways(&LaneName::new("main").unwrap(), &stream, &to);
        ways.into_iter().map(|(until, topic)| (until.0, topic.to_string())).collect()
    }

    #[test]
    fn routes_that_are_taken_away_hold_for_what_was_accepted_before_until_that_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let first = [route(&["a", "b.*"], "home", "t-{stream}")];
        assert_eq!(ways(&begin(dir.path(), &first, 1, 0), "a", "home"), []);
        assert_eq!(ways(&begin(dir.path(), &first, 50, 0), "a", "home"), [], "nothing has changed");
        let second = [route(&["a", "b.*"], "away", "{stream}")];
        let history = begin(dir.path(), &second, 100, 0);
        assert_eq!(ways(&history, "b.x", "home"), [(100, "t-b.x".to_owned())]);
        assert_eq!((ways(&history, "c", "home"), ways(&history, "a", "away")), (vec![], vec![]));
        let history = begin(dir.path(), &[], 200, 0);
        assert_eq!(ways(&history, "a", "home"), [(100, "t-a".to_owned())]);
        assert_eq!(ways(&history, "a", "away"), [(200, "a".to_owned())]);
        assert!(history.reaches(&LaneName::new("main").unwrap(), &DestinationName::new("home").unwrap()));
        let history = begin(dir.path(), &[], 300, 150);
        assert_eq!((ways(&history, "a", "home"), ways(&history, "a", "away").len()), (vec![], 1));
        assert_eq!(ways(&begin(dir.path(), &[], 300, 300), "a", "away"), []);
    }

    #[test]
    fn many_routes_take_a_larger_file() {
        let dir = tempfile::tempdir().unwrap();
        let many: Vec<Route> =
            (0..2000).map(|i| route(&[&format!("stream-{i}")], "home", "{stream}")).collect();
        begin(dir.path(), &many, 1, 0);
        assert_eq!(
            ways(&begin(dir.path(), &[], 9, 0), "stream-1999", "home"),
            [(9, "stream-1999".to_owned())]
        );
    }
}
