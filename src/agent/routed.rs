//! What a change of routes does to those who deliver: before they begin.

use super::error::AgentError;
use super::found::Readied;
use super::opened::{GoOnError, Opened};
use crate::config::model::Config;
use crate::deliver::{Hindrance, Holder, Role, hand_over};
use crate::disk::RealFs;
use crate::ids::{DestinationName, LaneName};
use crate::spool::DataDir;
use crate::state::journal::Intent;
use crate::state::positions::Positions;
use crate::state::routes::{RouteHistory, RoutesFile};

/// A destination that is not configured any more, in a lane that it has not read to the end.
pub(super) struct Stranger {
    pub(super) name: DestinationName,
    pub(super) opened: Opened,
    pub(super) positions: Positions,
    pub(super) in_doubt: Vec<Intent>,
}

/// Takes over the routes as they are, and hands what waits to those whom it belongs to by them. Durable when it returns.
pub(super) fn follow_routes(
    data: &DataDir,
    config: &Config,
    lanes: &mut [Readied<'_>],
) -> Result<RouteHistory, AgentError> {
    let ends = lanes.iter().map(|r| (r.lane.name().clone(), r.lane.durable().next())).collect();
    let (mut file, mut history) = RoutesFile::open(&RealFs, data.path(), data.spool_id())?;
    let is_old = |name: &DestinationName| config.destinations.iter().all(|d| d.name != *name);
    for destination in &config.destinations {
        if let Some(old) = destination.renamed_from.as_ref().filter(|old| is_old(old)) {
            history.rename(old, &destination.name);
        }
    }
    lanes.iter().for_each(|lane| lane.readers.iter().for_each(|r| history.count_from(r.positions.known())));
    lanes.iter_mut().for_each(|lane| lane.forget_unknown(data, &history));
    // What a kill left unfinished is ended by the routes it was begun with.
    hand_on(&mut file, &mut history, lanes)?;
    let is_past = |lane: &LaneName, until| lanes.iter().all(|r| r.is_past(None, lane, until));
    if history.begin(&config.all_routes(), &ends, is_past) {
        tracing::info!(
            "routes have changed: what waits goes by them; what is in doubt is settled where it was sent"
        );
    }
    hand_on(&mut file, &mut history, lanes)?;
    file.keep_if_it_can_be(&history)?;
    Ok(history)
}

/// Hands over what the newest change of routes moved, if that has not been done.
fn hand_on(
    file: &mut RoutesFile<RealFs>,
    history: &mut RouteHistory,
    lanes: &mut [Readied<'_>],
) -> Result<(), AgentError> {
    let handed: Result<Vec<_>, Hindrance> = lanes.iter().map(|lane| lane.handed(history)).collect();
    let handed = handed.unwrap_or_else(|error| {
        tracing::warn!(
            %error,
            "what was accepted before routes changed is not handed to other destinations: it still goes where it was to go"
        );
        history.forgo();
        Vec::new()
    });
    // DURABILITY: in this order; see `deliver::takeover`.
    file.keep_if_it_can_be(history)?;
    for role in [Role::Takes, Role::Gives] {
        for (lane, handed) in lanes.iter_mut().zip(&handed) {
            lane.go_on(handed, role)?;
        }
    }
    history.note_done();
    Ok(file.keep_if_it_can_be(history)?)
}

impl Readied<'_> {
    /// Where it is not known any more what was taken over, because the routes as they were are lost, everything from the
    /// positions on is sent again.
    /// Where the positions are older than what was taken over, they would pass over it: everything is sent again.
    fn forget_unknown(&mut self, data: &DataDir, history: &RouteHistory) {
        for reader in &mut self.readers {
            let positions = &mut reader.positions;
            let taken = history.last_taken(&reader.destination.name);
            if positions.change < taken && !reader.opened.goes_on(&self.lane) {
                // It begins anew anyhow.
                positions.change = taken;
            }
            if positions.change < taken {
                tracing::error!(lane = %self.lane.name(), destination = %reader.destination.name, "the positions file does not know what was taken over from another destination: everything on disk is sent again, and its counts start anew");
                let first = positions.position.min(self.lane.first());
                *positions = Positions { change: taken, ..Positions::fresh(data.spool_id(), first) };
                reader.in_doubt.clear();
            }
            let is_unknown = positions.taken.iter().any(|t| !history.knows(t.change));
            if is_unknown {
                if positions.taken.iter().any(|t| positions.position < t.until) {
                    tracing::error!(lane = %self.lane.name(), destination = %reader.destination.name, "it is not known any more which streams were taken over from another destination: what may be of them is sent again");
                    positions.passed.clear();
                }
                positions.taken.clear();
            }
        }
    }

    /// What becomes of everybody who reads it, once what waits is handed to whom it belongs.
    fn handed(&self, history: &RouteHistory) -> Result<Vec<Holder>, Hindrance> {
        let readers =
            self.readers.iter().map(|r| (&r.destination.name, &r.opened, &r.positions, &r.in_doubt));
        let strangers = self.strangers.iter().map(|s| (&s.name, &s.opened, &s.positions, &s.in_doubt));
        let holders = readers.chain(strangers).map(|(name, opened, positions, in_doubt)| Holder {
            name: name.clone(),
            positions: positions.clone(),
            in_doubt: in_doubt.clone(),
            parks: opened.parks(),
            becomes: None,
        });
        let mut holders: Vec<Holder> = holders.collect();
        hand_over(&mut holders, (history, self.lane.name()), &self.lane, self.lane.first())?;
        Ok(holders)
    }

    /// Makes durable where those go on who take something over, or who give it away.
    fn go_on(&mut self, handed: &[Holder], role: Role) -> Result<(), GoOnError> {
        let find =
            |name: &DestinationName| handed.iter().find(|h| h.name == *name && h.becomes == Some(role));
        for reader in &mut self.readers {
            let Some(holder) = find(&reader.destination.name) else { continue };
            reader.opened.go_on(&reader.positions, &reader.in_doubt, &holder.positions)?;
            if role == Role::Takes {
                tracing::info!(lane = %self.lane.name(), destination = %holder.name, from = %holder.positions.position, "what waited for another destination goes to this one");
            }
            reader.positions = holder.positions.clone();
        }
        for stranger in &mut self.strangers {
            let Some(holder) = find(&stranger.name) else { continue };
            stranger.opened.go_on(&stranger.positions, &stranger.in_doubt, &holder.positions)?;
            stranger.positions = holder.positions.clone();
            let needed = self.held.iter_mut().filter(|(held, _)| *held == stranger.name);
            needed.for_each(|(_, need)| need.from = need.from.min(stranger.positions.needed_from()));
        }
        Ok(())
    }
}
