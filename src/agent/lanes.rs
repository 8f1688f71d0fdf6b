//! What stands behind the door: the lanes, each with the deliveries that empty it.

use std::io;
use std::path::Path;
use std::sync::Arc;

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
    /// Lets go of what is kept for those whose files have been removed since.
    fn let_go(&self, data_dir: &Path) {
        let directory = positions::directory(data_dir, self.lane.name());
        for name in &self.held {
            let there = directory.join(name.as_str()).symlink_metadata();
            if !there.is_err_and(|e| e.kind() == io::ErrorKind::NotFound) || !self.needs.has(name) {
                continue;
            }
            tracing::info!(lane = %self.lane.name(), destination = %name, "it is forgotten: nothing is kept for it any more");
            if let Some(needed) = self.needs.forget(name) {
                self.lane.release(needed.by_all);
                self.lane.may_drop(needed.by_required);
            }
        }
    }

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

    /// Lets go of what is kept for destinations that somebody has told to forget.
    pub(super) fn let_go(&self, data_dir: &Path) {
        self.iter().for_each(|open| open.let_go(data_dir));
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
