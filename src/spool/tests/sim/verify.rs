//! After a crash: everything that was promised, and the same agent goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::site::{Site, Step};
use super::witness::{At, Witness};
use crate::config::model::Spool;
use crate::disk::sim::{SimFs, World};
use crate::ids::Seq;
use crate::metrics::Metrics;
use crate::spool::inspect::Snapshot;
use crate::spool::table::Segment;

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Crashes inside the recovery from a crash, and inside the recovery from that.
    pub(crate) nested: u32,
    /// Ways in which one power cut may end; see [`crate::disk::sim::Cuts`].
    pub(crate) cuts: u64,
    /// The same for nested ones.
    pub(crate) nested_cuts: u64,
    /// One in so many moments of a recovery is crashed at; where it begins moves from recovery to recovery.
    pub(crate) stride: usize,
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    /// Disks that an agent was started on.
    pub(crate) recoveries: u64,
    /// Moments at which not every way a power cut can end was tried.
    pub(crate) sampled: u64,
}

impl std::ops::AddAssign for Tried {
    fn add_assign(&mut self, other: Self) {
        self.recoveries += other.recoveries;
        self.sampled += other.sampled;
    }
}

/// Who verifies.
pub(crate) struct Verifier<'a> {
    pub(crate) settings: &'a Spool,
    pub(crate) metrics: &'a Arc<Metrics>,
    pub(crate) depth: Depth,
    pub(crate) tried: Tried,
    /// The data directory of every agent it starts.
    pub(crate) place: &'static Path,
}

impl<'a> Verifier<'a> {
    pub(crate) fn new(settings: &'a Spool, metrics: &'a Arc<Metrics>, depth: Depth) -> Self {
        Self { settings, metrics, depth, tried: Tried::default(), place: Path::new("/data") }
    }

    /// Every crash at a moment: kill -9, and every way in which a power cut can end.
    pub(crate) fn crash(
        &mut self,
        world: &World,
        witness: &Witness,
        at: At,
        level: u32,
    ) -> Result<(), String> {
        let promised = witness.at(at);
        self.recover(world.clone(), &promised, level).map_err(|e| format!("killed at call {at}: {e}"))?;
        let cuts = world.cuts(if level == 0 { self.depth.cuts } else { self.depth.nested_cuts });
        self.tried.sampled += u64::from(!cuts.is_exhaustive());
        let promised = witness.at_power_cut(at);
        for choices in cuts {
            let after = world.after_power_cut(&choices);
            self.recover(after, &promised, level)
                .map_err(|e| format!("power cut at call {at}, {choices:?}: {e}"))?;
        }
        Ok(())
    }

    fn recover(&mut self, world: World, promised: &Witness, level: u32) -> Result<(), String> {
        self.tried.recoveries += 1;
        let fs = SimFs::of(world);
        let nested = level < self.depth.nested;
        if nested {
            fs.record();
        }
        let mut witness = promised.clone();
        let mut site = Site::new(fs.clone(), 1000 + u64::from(level), self.settings, self.metrics);
        site.place = self.place;
        self.live_on(&mut site, &mut witness)?;
        if nested {
            let first = usize::try_from(self.tried.recoveries).unwrap_or(0) % self.depth.stride;
            for moment in fs.moments().into_iter().skip(first).step_by(self.depth.stride) {
                self.crash(&moment.world, &witness, moment.calls, level + 1)
                    .map_err(|e| format!("and in the recovery, before {:?}: {e}", moment.before))?;
            }
        }
        Ok(())
    }

    fn live_on(&mut self, site: &mut Site, witness: &mut Witness) -> Result<(), String> {
        site.start()?;
        let (found, end) = site.read(witness)?;
        complete(witness, &found)?;
        let (judged, bytes) = (self.judged(site)?, self.segments(site));
        // Recovery is repeated and finds the same, in the same bytes. The first one has put to the test what only the page
        // cache held; from then on nothing may change.
        site.kill();
        site.start()?;
        let again = site.read(witness)?;
        if again != (found, end) {
            return Err(format!("a second recovery finds {again:?}"));
        }
        let (judged_again, bytes_again) = (self.judged(site)?, self.segments(site));
        if judged_again != judged {
            return Err(format!("a second recovery judges {judged_again:#?} instead of {judged:#?}"));
        }
        if bytes_again != bytes {
            let differs = bytes_again.iter().find(|(path, now)| bytes.get(*path) != Some(*now));
            return Err(format!("a second recovery leaves other bytes: {:?}", differs.map(|(path, _)| path)));
        }
        self.look_on(site, witness)?;
        // Faults have stopped: a new event is accepted, everything drains, segments go.
        site.lives_on(witness)?;
        site.step(Step::Reopen, witness)?;
        let (left, _) = site.read(witness)?;
        complete(witness, &left)?;
        if left.keys().any(|mark| witness.is_delivered(*mark)) {
            return Err("after an orderly stop something is delivered again".to_owned());
        }
        Ok(())
    }

    /// What the log is, by the files that an agent has left. The one that a start makes ready holds nothing.
    fn judged(&self, site: &Site) -> Result<Vec<(Seq, Vec<Segment>)>, String> {
        let snapshot = Snapshot::take(&site.fs, site.place).map_err(|e| format!("no snapshot: {e}"))?;
        let begun = |s: &&Segment| s.created.is_some() || s.end > s.base;
        let lanes = snapshot.lanes.iter();
        Ok(lanes.map(|lane| (lane.end(), lane.segments().filter(begun).cloned().collect())).collect())
    }

    /// Every byte of the lanes' files, but for their floors and for those in which nothing stands.
    fn segments(&self, site: &Site) -> BTreeMap<PathBuf, Vec<u8>> {
        let (world, lanes) = (site.fs.world(), self.place.join("lanes"));
        let paths = world.paths().into_iter();
        let segments = paths.filter(|path| path.starts_with(&lanes) && !path.ends_with("floor"));
        let read = segments.filter_map(|path| Some((path.clone(), world.read(&path)?)));
        read.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)).collect()
    }

    /// A tool that looks on sees nothing wrong, and changes nothing.
    fn look_on(&self, site: &Site, witness: &Witness) -> Result<(), String> {
        let snapshot = Snapshot::take(&site.fs, site.place).map_err(|e| format!("no snapshot: {e}"))?;
        for lane in &snapshot.lanes {
            let findings = lane.look_over(true).map_err(|e| e.to_string())?;
            if findings.lost() > witness.most_lost() {
                let segments: Vec<_> = lane.segments().collect();
                return Err(format!("verify would say that events are lost: {findings:?} in {segments:#?}"));
            }
        }
        Ok(())
    }
}

fn complete(witness: &Witness, found: &BTreeMap<super::witness::Mark, Seq>) -> Result<(), String> {
    let missing = witness.missing(found);
    if !missing.is_empty() {
        return Err(format!("acknowledged and neither delivered nor there: events {missing:?}"));
    }
    witness.in_order(found)
}
