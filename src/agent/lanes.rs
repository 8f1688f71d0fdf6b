//! What stands behind the door: the lanes, each with the deliveries that empty it.

use std::path::Path;
use std::sync::Arc;

use super::forgotten::Held;
use crate::config::LaneTable;
use crate::deliver::{Delivery, Needs};
use crate::event::EventBatch;
use crate::ids::{DestinationName, LaneName, StreamName};
use crate::intake::{AcceptError, Appended, Patience, Refused};
use crate::shape;
use crate::spool::Lane;
use crate::state::positions;
use crate::status;

/// The open lanes: those of the configuration, then those that are only emptied.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    all: Arc<Vec<OpenLane>>,
    homes: Arc<LaneTable>,
}

/// A lane, and what brings its events away.
#[derive(Debug)]
pub(super) struct OpenLane {
    pub(super) lane: Lane,
    /// It is no longer configured: it takes no events.
    pub(super) draining: bool,
    pub(super) deliveries: Vec<Delivery>,
    /// What its destinations need, and who needs something of it though he is not configured any more.
    pub(super) needs: Arc<Needs>,
    /// Of the latter, those that had a positions file when the lane was opened.
    pub(super) held: Vec<DestinationName>,
}

impl OpenLane {
    /// Its row of `/status`.
    pub(super) fn status(&self) -> status::Lane {
        status::Lane { draining: self.draining, ..self.lane.status() }
    }
}

impl Lanes {
    /// `homes` names no lane that is not among `all`.
    pub(super) fn new(all: Vec<OpenLane>, homes: Arc<LaneTable>) -> Self {
        Self { all: Arc::new(all), homes }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OpenLane> {
        self.all.iter()
    }

    /// The deliveries of all lanes.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.iter().flat_map(|open| &open.deliveries)
    }

    /// Those for whom something is kept though they are not configured any more.
    pub(super) fn held(&self, data_dir: &Path) -> Vec<Held> {
        let held = self.iter().flat_map(|open| {
            let (lane, kept) = (open.lane.name(), open.held.iter().filter(|name| open.needs.has(name)));
            kept.map(|destination| Held {
                lane: lane.clone(),
                destination: destination.clone(),
                file: positions::directory(data_dir, lane).join(destination.as_str()),
            })
        });
        held.collect()
    }

    /// Lets go of what is kept for one of these.
    pub(super) fn let_go(&self, held: &Held) {
        let Some(OpenLane { lane, needs, .. }) = self.of(&held.lane) else { return };
        tracing::info!(lane = %held.lane, destination = %held.destination, "it is forgotten: nothing is kept for it any more");
        if let Some(needed) = needs.forget(&held.destination) {
            lane.release(needed.by_all);
            lane.may_drop(needed.by_required);
        }
    }

    fn of(&self, name: &LaneName) -> Option<&OpenLane> {
        self.iter().find(|open| open.lane.name() == name)
    }
}

impl shape::Lanes for Lanes {
    async fn append(
        &self,
        stream: StreamName,
        batch: EventBatch,
        patience: Patience,
    ) -> Result<Appended, AcceptError> {
        let name = self.homes.lane_of(&stream);
        match self.of(name).filter(|open| !open.draining) {
            Some(open) => open.lane.append(stream, batch, patience).await,
            None => Err(Refused::Failing(format!("lane {name} is not open")).into()),
        }
    }

    async fn delivered(&self, appended: &Appended) {
        for delivery in self.of(&appended.lane).into_iter().flat_map(|open| &open.deliveries) {
            delivery.settled(appended.last).await;
        }
    }
}
