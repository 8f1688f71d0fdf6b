//! Parking, on the simulated disk: what a worker does of it.

use std::path::Path;
use std::sync::Arc;

use super::super::super::parked::ParkedLog;
use super::super::super::parking::{needed, unneeded};
use super::log::TestLog;
use super::world::{SPOOL, World};
use crate::disk::sim::SimFs;
use crate::ids::{DestinationName, LaneName, Seq};
use crate::state::park::{Park, Whose};

pub(super) type ModelLog = ParkedLog<TestLog, SimFs>;

pub(super) fn open(fs: &SimFs) -> Park<SimFs> {
    let (lane, destination) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    let whose = Whose { spool: SPOOL, lane: &lane, destination: &destination };
    Park::open(fs, Path::new("/data"), whose).unwrap().bounded(1 << 20, 0)
}

impl World {
    pub(super) fn reopen_park(&mut self) {
        self.park = Arc::new(open(self.park.fs()));
    }

    /// Parks what one topic waits for and deletes of the log what nobody needs of it any more, by what is durable.
    pub(super) fn park_some(&mut self) {
        let Some(book) = self.book.as_ref().filter(|book| book.begun) else { return };
        let saved = book.positions.clone();
        let stuck: Vec<_> = self.engine.stuck(self.now()).cloned().collect();
        let waiting =
            |side: &&crate::state::positions::Side| side.end.is_none() && stuck.contains(&side.topic);
        if let Some(side) = saved.sides.iter().find(waiting) {
            let from = self.park.covered(&side.topic, side.needed_from());
            let below = Seq(from.0 + 1 + self.random(60) as u64).min(saved.position);
            if from < below {
                let most = self.park.room(0).unwrap() / 2;
                let begun = self.engine.begin_parking(&saved, side, (from, below), (most, self.now()));
                if let Some(mut parking) = begun {
                    while !self.engine.collect(&mut parking).unwrap() {}
                    self.park.keep(&side.topic, parking.covers(), parking.blocks()).unwrap();
                }
            }
        }
        if self.random(8) == 0 {
            return self.kill();
        }
        let deleted = self.log.delete(needed(&self.park, &saved));
        self.parked += u64::from(deleted && needed(&self.park, &saved) > saved.needed_from());
        self.park.forget(|topic| unneeded(&saved, topic)).unwrap();
    }
}
