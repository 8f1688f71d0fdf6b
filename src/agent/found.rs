//! Lanes as they are found at a start: opened behind the files of all who read them, and then where each of those goes on.

use std::sync::Arc;

use super::drained;
use super::error::AgentError;
use super::opened::Opened;
use super::routed::Stranger;
use crate::config::model::{self as config, Config, Destination};
use crate::deliver::Need;
use crate::disk::RealFs;
use crate::ids::{DestinationName, LaneName, Seq};
use crate::metrics::Metrics;
use crate::sabotage::{self, Bug};
use crate::spool::{DataDir, Lane};
use crate::state::homes::History;
use crate::state::journal::Intent;
use crate::state::known;
use crate::state::positions::Positions;

/// A lane that is to be opened.
pub(super) struct Plan {
    pub(super) lane: config::Lane,
    pub(super) draining: bool,
}

/// A lane that is open, with what is known of those who read it.
pub(super) struct Found<'a> {
    pub(super) lane: Lane,
    draining: bool,
    /// See [`config::Lane::first`].
    first: bool,
    readers: Vec<(&'a Destination, Opened)>,
    /// Those that are not configured any more.
    strangers: Vec<(DestinationName, Opened)>,
    /// Numbers have been given beyond the log's end.
    is_short: bool,
    pub(super) is_rolled_back: bool,
}

/// A lane of which it is known where everybody goes on.
pub(super) struct Readied<'a> {
    pub(super) lane: Lane,
    pub(super) draining: bool,
    pub(super) first: bool,
    pub(super) readers: Vec<Reader<'a>>,
    /// What those need who are not configured any more.
    pub(super) held: Vec<(DestinationName, Need)>,
    /// Those no longer configured that have a positions file. Where there is none (the disk is full) nobody can take it away.
    pub(super) stood: Vec<DestinationName>,
    /// What is known of them.
    pub(super) strangers: Vec<Stranger>,
}

/// A destination of a lane, and where it goes on.
pub(super) struct Reader<'a> {
    pub(super) destination: &'a Destination,
    pub(super) opened: Opened,
    pub(super) positions: Positions,
    pub(super) in_doubt: Vec<Intent>,
}

/// The lanes of the configuration, then those that are on disk and not configured any more.
pub(super) fn plans(config: &Config, data: &DataDir, on_disk: &[LaneName]) -> Result<Vec<Plan>, AgentError> {
    let configured = config.all_lanes();
    let others = on_disk.iter().filter(|name| configured.iter().all(|lane| lane.name != **name));
    let others = drained::remove(data, config, others.cloned().collect())?;
    let own = configured.into_iter().map(|lane| Plan { lane, draining: false });
    let left = others.into_iter().map(|name| {
        tracing::warn!(lane = %name, "this lane is no longer configured: it takes no events, and what it holds is delivered");
        Plan { lane: config::Lane { name, spool: config.spool.clone(), first: false }, draining: true }
    });
    Ok(own.chain(left).collect())
}

impl<'a> Found<'a> {
    /// Opens a lane, after the files of all who read it: new events must not be given numbers that those know already.
    /// A destination that has no file there and wants nothing of the lane gets none.
    pub(super) fn open(
        data: &DataDir,
        plan: &Plan,
        destinations: &'a [Destination],
        wanted: impl Fn(&Destination) -> bool,
        (history, metrics): (&History, &Arc<Metrics>),
    ) -> Result<Self, AgentError> {
        let name = &plan.lane.name;
        let all = known::destinations(&RealFs, data.path(), name);
        let reads = |d: &&Destination| all.contains(&d.name) || wanted(d);
        let readers = destinations.iter().filter(reads);
        let readers = readers.map(|d| Ok((d, Opened::open(data, name, &d.name)?)));
        let readers = readers.collect::<Result<Vec<_>, AgentError>>()?;
        let strangers = all.into_iter().filter(|name| destinations.iter().all(|d| d.name != *name));
        let strangers = strangers.map(|d| Opened::open(data, name, &d).map(|opened| (d, opened)));
        let strangers = strangers.collect::<Result<Vec<_>, _>>()?;
        let all = readers.iter().map(|(_, o)| o).chain(strangers.iter().map(|(_, o)| o));
        let blind = sabotage::commits(Bug::PositionBeyondTheLog);
        let known = all.filter_map(Opened::highest).chain(history.highest(name));
        let at_least = known.filter(|_| !blind).max().unwrap_or(Seq::FIRST);
        let lane = Lane::open(data, name.clone(), &plan.lane.spool, at_least, Arc::clone(metrics))?;
        let mut opened = readers.iter().map(|(_, opened)| opened).chain(strangers.iter().map(|(_, o)| o));
        let is_short = lane.was_behind(at_least) || lane.was_behind_its_floor();
        let is_rolled_back = is_short || opened.any(|opened| opened.is_of_another_past(&lane));
        let (draining, first) = (plan.draining, plan.lane.first);
        Ok(Self { lane, draining, first, readers, strangers, is_short, is_rolled_back })
    }

    /// What is known of everybody.
    pub(super) fn opened(&self) -> impl Iterator<Item = &Opened> {
        self.readers.iter().map(|(_, opened)| opened).chain(self.strangers.iter().map(|(_, opened)| opened))
    }

    /// Where everybody goes on.
    pub(super) fn ready(self, data: &DataDir) -> Result<Readied<'a>, AgentError> {
        let Self { lane, draining, first, readers, strangers, is_short, .. } = self;
        let readers = readers.into_iter().map(|(destination, mut opened)| {
            let (positions, in_doubt) = opened.positions(data, &lane, destination)?;
            Ok(Reader { destination, opened, positions, in_doubt })
        });
        let readers = readers.collect::<Result<Vec<_>, AgentError>>()?;
        // Whatever it was said to be, nobody says so any more.
        let need = |from| Need { from, required: true };
        let held =
            strangers.iter().filter_map(|(name, o)| Some((name.clone(), need(o.held_for(name, &lane)?))));
        let held = held.collect();
        let mut stood = Vec::new();
        let strangers = strangers.into_iter().map(|(name, mut opened)| {
            let was_made = opened.store.is_made();
            let (positions, in_doubt) = opened.as_stranger(data, &lane);
            // Where the disk has refused, its file may be missing though nobody has forgotten it.
            if was_made && !opened.still_says_so() {
                stood.push(name.clone());
            }
            Stranger { name, opened, positions, in_doubt }
        });
        let strangers: Vec<_> = strangers.collect();
        let mut all = readers.iter().map(|r| &r.opened).chain(strangers.iter().map(|s: &Stranger| &s.opened));
        if is_short && !all.any(Opened::still_says_so) {
            lane.go_on_above();
        }
        Ok(Readied { lane, draining, first, readers, held, stood, strangers })
    }
}

impl Readied<'_> {
    /// Whether `of` (or everybody, whether configured or not) has settled everything below a number of `lane`, if this is
    /// that lane.
    pub(super) fn is_past(&self, of: Option<&DestinationName>, lane: &LaneName, below: Seq) -> bool {
        let readers = self.readers.iter().map(|r| (&r.destination.name, r.positions.needed_from()));
        let mut needed = readers.chain(self.held.iter().map(|(name, need)| (name, need.from)));
        self.lane.name() != lane
            || needed.all(|(name, from)| from >= below || of.is_some_and(|of| of != name))
    }
}
