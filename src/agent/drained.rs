//! Lanes that are no longer configured and hold nothing that anybody waits for.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::config::model::Config;
use crate::disk::{DiskError, Fs, RealFs};
use crate::ids::{LaneName, Seq};
use crate::spool::inspect::{LaneSnapshot, Snapshot};
use crate::spool::{DataDir, OpenError};
use crate::state::positions::Replaying;
use crate::state::{journal, letters, positions};

/// Where a lane is while it is removed.
const REMOVING: &str = "removing";

/// Removes those of `lanes`; returns the others.
///
/// A lane goes only if every destination, configured or not, has read it to its end, by positions that fit the log, and
/// nothing is in it that could not be read; and if no dead letter of it is left, which nobody else could send. While `spool.retain_delivered` keeps delivered events, none goes.
pub(super) fn remove(
    data: &DataDir,
    config: &Config,
    lanes: Vec<LaneName>,
) -> Result<Vec<LaneName>, OpenError> {
    if let Err(error) = remove_directory(&RealFs, &data.path().join(REMOVING)) {
        tracing::warn!(%error, "what is left of a lane that was removed could not be removed");
    }
    if lanes.is_empty() || !config.spool.retain_delivered.is_zero() {
        return Ok(lanes);
    }
    let snapshot = Snapshot::take_with(&RealFs, data.path(), |_, _| Ok(Seq::NONE))?;
    let waits = match with_letters(data) {
        Ok(waits) => waits,
        Err(error) => {
            tracing::warn!(%error, "lanes that are no longer configured are not removed: they may have dead letters");
            return Ok(lanes);
        }
    };
    let look = |name: &LaneName| snapshot.lanes.iter().find(|lane| lane.name() == name);
    let goes = |name: &LaneName| {
        look(name).is_some_and(|lane| is_drained(data, config, name, lane.end()) && is_whole(lane))
            && !waits.contains(name)
            && remove_one(&RealFs, data.path(), name)
    };
    Ok(lanes.into_iter().filter(|name| !goes(name)).collect())
}

/// The lanes of which there are dead letters, or of which some are being sent again.
fn with_letters(data: &DataDir) -> Result<BTreeSet<LaneName>, DiskError> {
    let mut lanes = BTreeSet::new();
    letters::look(&RealFs, data.path(), data.spool_id(), usize::MAX, |stored| {
        lanes.insert(stored.letter.lane.clone());
        false
    })?;
    let being_sent = letters::being_sent(&RealFs, data.path(), data.spool_id())?;
    lanes.extend(being_sent.into_iter().map(|stored| stored.letter.lane));
    Ok(lanes)
}

fn is_whole(lane: &LaneSnapshot<RealFs>) -> bool {
    let more = lane.may_hold_more();
    if more {
        tracing::error!(lane = %lane.name(), "this lane is no longer configured, and it is not removed: it has segments that are damaged, \
            that can't be read or that are passed over; see `spoolway spool repair`");
    }
    !more
}

fn is_drained(data: &DataDir, config: &Config, lane: &LaneName, end: Seq) -> bool {
    let Ok(found) = positions::look(&RealFs, data.path(), data.spool_id(), lane) else { return false };
    let is_at_the_end = |restored| {
        let positions = positions::usable(restored);
        positions.is_some_and(|p| {
            let arrived = p.replaying.iter().all(Replaying::has_arrived);
            p.needed_from() == end && p.highest() <= end && arrived
        })
    };
    let has_read = |d: &crate::config::model::Destination| found.iter().any(|(name, _)| *name == d.name);
    config.destinations.iter().all(has_read) && found.iter().all(|(_, restored)| is_at_the_end(restored))
}

/// The log goes first, at once: positions without it are harmless, and the log without them would be delivered again.
fn remove_one<F: Fs>(fs: &F, data_dir: &Path, lane: &LaneName) -> bool {
    let (lanes, removing) = (data_dir.join("lanes"), data_dir.join(REMOVING));
    let taken_away = fs
        .rename(&lanes.join(lane.as_str()), &removing)
        .and_then(|()| fs.sync_dir(&lanes))
        .and_then(|()| fs.sync_dir(data_dir));
    let directories = [removing, positions::directory(data_dir, lane), journal::directory(data_dir, lane)];
    let removed = taken_away
        .and_then(|()| directories.iter().try_for_each(|directory| remove_directory(fs, directory)));
    match removed.and_then(|()| remove_parked(data_dir, lane)) {
        Ok(()) => {
            tracing::info!(%lane, "this lane is no longer configured, and everything in it is settled: it is removed");
            true
        }
        Err(error) => {
            tracing::warn!(%lane, %error, "a lane that is no longer needed could not be removed");
            false
        }
    }
}

/// Everything that was parked of the lane has arrived.
fn remove_parked(data_dir: &Path, lane: &LaneName) -> io::Result<()> {
    match std::fs::remove_dir_all(data_dir.join("parked").join(lane.as_str())) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// What is in it and is no file is left alone, and the directory with it.
fn remove_directory<F: Fs>(fs: &F, directory: &Path) -> io::Result<()> {
    let entries = match fs.list(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    entries.iter().try_for_each(|entry| fs.remove(&directory.join(&entry.name)))?;
    std::fs::remove_dir(directory)?;
    directory.parent().map_or(Ok(()), |parent| fs.sync_dir(parent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load_text};
    use crate::disk::faulty::Syncs;
    use crate::event::Event;
    use crate::ids::RunId;
    use crate::metrics::Metrics;
    use crate::spool::Lane;
    use crate::state::letters::testing::letter;
    use crate::state::letters::{Letter, Letters, Settings};
    use crate::state::positions::{Positions, Store};

    #[test]
    fn a_lane_with_a_dead_letter_is_not_removed_also_when_that_is_being_sent_again() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[relay]\nid = \"test\"\ndata_dir = \"{}\"\n[[source]]\ntype = \"http\"\nlisten = \"127.0.0.1:1\"\n\
             [[destination]]\nname = \"home\"\nbootstrap = [\"127.0.0.1:1\"]\n",
            dir.path().display()
        );
        let config = load_text("test.toml", &text, &Environment::Absent).unwrap().config;
        let data = DataDir::open(RealFs, dir.path()).unwrap();
        let (spool, old) = (data.spool_id(), LaneName::new("old").unwrap());
        let lane = Lane::open(&data, old.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
        lane.close();
        let (mut store, _) =
            Store::open(&RealFs, dir.path(), spool, &old, &config.destinations[0].name).unwrap();
        let mut save = |id: u64| {
            let replaying = vec![Replaying { id, seq: Seq(1), run: RunId(1) }];
            let positions = Positions { replaying, ..Positions::fresh(spool, lane.durable().next()) };
            store.save(&positions).unwrap();
        };
        let settings = Settings { max_size: 10 << 20, max_event_size: 1000 };
        let letters = Letters::open(&RealFs, dir.path(), spool, settings, 0).unwrap();
        letters.append(&[Letter { lane: old.clone(), ..letter(1, &Event::of_value(b"v")) }]).unwrap();
        let left = || remove(&data, &config, vec![old.clone()]).unwrap();
        save(0);
        assert_eq!(left(), std::slice::from_ref(&old), "only this lane's delivery could send it");
        save(1);
        assert_eq!(left(), std::slice::from_ref(&old), "its mark is about to be made");
        letters.take(&[1]).unwrap();
        save(0);
        assert_eq!(
            left(),
            std::slice::from_ref(&old),
            "it has arrived, and that it is gone is about to be marked"
        );
        letters.remove(&[1]).unwrap();
        assert_eq!(left(), []);
    }

    #[test]
    fn that_the_log_is_gone_is_durable_before_what_is_known_of_its_delivery_goes() {
        let lane = LaneName::new("old").unwrap();
        let log = |dir: &Path| dir.join("lanes").join(lane.as_str());
        let others = |dir: &Path| [positions::directory(dir, &lane), journal::directory(dir, &lane)];
        let prepare = |dir: &Path| {
            for directory in [log(dir)].into_iter().chain(others(dir)) {
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(directory.join("file"), "x").unwrap();
            }
        };
        let removed = Syncs::made_by(prepare, |fs, dir| {
            let removed = remove_one(fs, dir, &lane);
            let left = others(dir).iter().filter(|other| other.exists()).count();
            assert!(!log(dir).exists() && (!dir.join(REMOVING).exists() || left == 2));
            if removed { Ok(()) } else { Err("it is tried again") }
        });
        // Where it was, where it is, that it is nowhere, and that the two others are not there.
        assert_eq!(removed, Syncs::of(0, 2 + 3));
    }
}
