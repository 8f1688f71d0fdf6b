//! `spoolway spool repair`.

mod place;
mod report;

pub(in crate::cli) use self::place::is_running;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::passed_over::Rows;
use super::{Readers, exists, failure};
use crate::cli::progress::Progress;
use crate::cli::{Exit, Failure, Outcome, output};
use crate::disk::RealFs;
use crate::ids::{DestinationName, LaneName, RunId, Seq, SpoolId};
use crate::spool::OpenError;
use crate::spool::inspect::Snapshot;
use crate::spool::salvage::{LaneCopy, Old, Wishes, carry_life, finish};
use crate::state::park::{self, Whose};
use crate::state::positions::{self, Carried, NewLane, Positions, Restored, Store, carry, may_keep};
use crate::state::routes;
use crate::state::{beside, known, letters};

#[derive(Debug, Args)]
pub(super) struct RepairArgs {
    /// The data directory (relay.data_dir). Nothing in it is changed.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Where the fresh spool is made: a directory that is empty or not there yet.
    #[arg(long, value_name = "NEW_DIR")]
    into: PathBuf,
    /// Take whole events too of which nobody was told that they are kept, such as those behind a torn write.
    #[arg(long)]
    with_unproven: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A lane that was salvaged.
struct Lane {
    name: LaneName,
    copy: LaneCopy,
    destinations: Vec<(DestinationName, Carried)>,
}

pub(super) fn run(args: &RepairArgs) -> Outcome {
    exists(&args.dir)?;
    place::check(&args.dir, &args.into)?;
    let repair = Repair::begin(args)?;
    place::check_room(&args.into, repair.old.bytes())?;
    let lanes = repair.lanes()?;
    let unread =
        repair.unread.get() + beside::carry(&RealFs, &args.dir, &args.into).map_err(Failure::running)?;
    carry_life(&RealFs, &args.dir, &args.into, repair.old.spool).map_err(|e| failure(&e))?;
    finish(&RealFs, &args.into, repair.old.spool).map_err(|e| failure(&e))?;
    place::give_to_owner(&args.dir, &args.into)?;
    let letters = letters::look(&RealFs, &args.into, repair.old.spool, usize::MAX, |_| true);
    let letters = letters.map_err(Failure::running)?.letters.len();
    let report = report::Report {
        letters,
        unread,
        args,
        old: &repair.old,
        lanes: &lanes,
        passed_over: &repair.passed_over,
        running: is_running(&args.dir),
    };
    if args.json {
        output::line(&report.json().to_string())?;
    } else {
        output::print(&report.text())?;
    }
    Ok(if report.lost() > 0 || report.is_damage() { Exit::Loss } else { Exit::Done })
}

struct Repair<'a> {
    args: &'a RepairArgs,
    old: Old<RealFs>,
    /// What the positions said before the lanes were looked at.
    readers: BTreeMap<LaneName, Readers>,
    /// Segments that the log passes over: how far they went, no number of a lost event says.
    passed_over: BTreeMap<LaneName, Rows>,
    run: RunId,
    /// Bytes of what stands beside the log that could not be read.
    unread: Cell<u64>,
}

impl<'a> Repair<'a> {
    fn begin(args: &'a RepairArgs) -> Result<Self, Failure> {
        let spool = Old::identify(&RealFs, &args.dir).map_err(|e| failure(&e))?;
        let mut readers = BTreeMap::new();
        for lane in known::lanes(&RealFs, &args.dir) {
            let found = look(&args.dir, spool, &lane)?;
            readers.insert(lane, found);
        }
        let passed_over = passed_over(&args.dir, &readers)?;
        let mut old = Old::find(&RealFs, &args.dir, spool).map_err(|e| failure(&e))?;
        readers.iter().filter(|(_, found)| !found.is_empty()).for_each(|(lane, _)| old.know(lane));
        let run = RunId::draw().map_err(|e| Failure::running(format!("no run id can be drawn: {e}")))?;
        Ok(Self { args, old, readers, passed_over, run, unread: Cell::new(0) })
    }

    fn lanes(&self) -> Result<Vec<Lane>, Failure> {
        let mut progress = Progress::new("salvaging".to_owned(), self.old.bytes());
        let mut done = 0;
        let mut told = |bytes| {
            done += bytes;
            progress.at(done);
        };
        let lanes = self.old.lanes().into_iter().map(|name| self.lane(name, &mut told)).collect();
        // Whose some of it is may be said by routes that hold no more.
        routes::carry(&RealFs, &self.args.dir, &self.args.into).map_err(Failure::running)?;
        lanes
    }

    fn lane(&self, name: LaneName, progress: &mut dyn FnMut(u64)) -> Result<Lane, Failure> {
        let none = Readers::new();
        let before = self.readers.get(&name).unwrap_or(&none);
        let wishes = Wishes {
            at_least: positions::highest(before),
            unproven: self.args.with_unproven,
            may_keep: &|seq: Seq| before.iter().all(|(_, restored)| may_keep(restored, seq)),
            run: self.run,
        };
        let copy = self.old.copy(&name, &self.args.into, &wishes, progress).map_err(|e| failure(&e))?;
        let lane =
            NewLane { first: copy.first, gone: copy.gone, end: copy.log_end, found: copy.salvaged.found > 0 };
        let unread = beside::carry_journals(&RealFs, &self.args.dir, &self.args.into, &name);
        self.unread.set(self.unread.get() + unread.map_err(Failure::running)?);
        let after = look(&self.args.dir, self.old.spool, &name)?;
        let mut destinations = Vec::new();
        for (destination, before) in before {
            let after = after.iter().find(|(name, _)| name == destination).map(|(_, restored)| restored);
            let carried = carry(self.old.spool, before, after.unwrap_or(&Restored::Nothing), lane);
            // After the positions: what has gone from there meanwhile has arrived.
            let whose = Whose { spool: self.old.spool, lane: &name, destination };
            let (parked, unread) =
                park::copy(&RealFs, &self.args.dir, &self.args.into, whose).map_err(Failure::running)?;
            self.unread.set(self.unread.get() + unread);
            let carried = with_parked(carried, parked);
            self.save(&name, destination, &carried)?;
            destinations.push((destination.clone(), carried));
        }
        Ok(Lane { name, copy, destinations })
    }

    fn save(&self, lane: &LaneName, destination: &DestinationName, carried: &Carried) -> Result<(), Failure> {
        let (Carried::AsItWas(positions) | Carried::Anew(positions)) = carried else { return Ok(()) };
        let (mut store, _) = Store::open(&RealFs, &self.args.into, self.old.spool, lane, destination)
            .map_err(Failure::running)?;
        store.save(positions).and_then(|()| store.sync()).map_err(Failure::running)
    }
}

fn passed_over(
    dir: &Path,
    readers: &BTreeMap<LaneName, Readers>,
) -> Result<BTreeMap<LaneName, Rows>, Failure> {
    let at_least = |lane: &LaneName| readers.get(lane).map_or(Seq::NONE, |found| positions::highest(found));
    let snapshot = Snapshot::take_with(&RealFs, dir, |_, lane| Ok(at_least(lane)));
    let lanes = snapshot.map_err(|e| failure(&e))?.lanes;
    Ok(lanes.iter().map(|lane| (lane.name().clone(), Rows::of(lane))).collect())
}

/// One that begins anew gets what is parked, too.
fn with_parked(carried: Carried, parked: Option<Seq>) -> Carried {
    match (carried, parked) {
        (Carried::Anew(positions), Some(parked)) if parked < positions.position => {
            Carried::Anew(Positions::fresh(positions.spool, parked))
        }
        (carried, _) => carried,
    }
}

fn look(dir: &Path, spool: SpoolId, lane: &LaneName) -> Result<Readers, Failure> {
    positions::look(&RealFs, dir, spool, lane).map_err(|source| {
        failure(&OpenError::Io {
            operation: "read the positions in",
            path: positions::directory(dir, lane),
            source,
        })
    })
}
