//! A salvage that is cut short: by a power cut at any moment, by an error of any call.

use super::*;
use crate::disk::File as _;
use crate::disk::sim::{Fault, Lasting, SimFs};

const OLD: &str = "/old";
const NEW: &str = "/new";

/// A rotten spool on the simulated disk, all of it durable.
fn rotten() -> SimFs {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let files = segments(dir.path());
    std::fs::copy(&files[0], files[0].with_extension("backup")).unwrap();
    for path in &files[..2] {
        spoil(path, blocks(path)[0].0 + 20);
    }
    let fs = SimFs::default();
    for (path, bytes) in tree(dir.path()) {
        let path = Path::new(OLD).join(path.strip_prefix(dir.path()).unwrap());
        fs.create_dir(path.parent().unwrap()).unwrap();
        let file = fs.create(&path).unwrap();
        file.write_at(&bytes, 0).unwrap();
        file.sync_data().unwrap();
        fs.sync_dir(path.parent().unwrap()).unwrap();
    }
    fs.create_dir(Path::new(NEW)).unwrap();
    fs
}

fn attempt(fs: &SimFs) -> Result<LaneCopy, OpenError> {
    let spool = Old::identify(fs, Path::new(OLD))?;
    let old = Old::find(fs, Path::new(OLD), spool)?;
    let wishes = Wishes { at_least: Seq::NONE, unproven: false, may_keep: &|_| true, run: SALVAGE };
    let copy = old.copy(&lane_name(), Path::new(NEW), &wishes, &mut |_| {})?;
    finish(fs, Path::new(NEW), spool)?;
    Ok(copy)
}

/// Nothing that anybody takes for a spool, or everything.
fn none_or_all(fs: &SimFs, expected: &(Vec<Event>, Vec<(u64, u64)>)) -> Result<bool, String> {
    match Snapshot::take(fs, Path::new(NEW)) {
        Err(OpenError::NotASpool { .. }) => Ok(false),
        Ok(_) if dump_on(fs, Path::new(NEW)) == *expected => Ok(true),
        other => Err(format!("a part of a spool: {other:?}")),
    }
}

#[test]
fn a_power_cut_at_any_moment_leaves_no_spool_or_all_of_it() {
    let fs = rotten();
    fs.record();
    let copy = attempt(&fs).unwrap();
    assert!(copy.salvaged.found > 0 && copy.salvaged.lost() > 0);
    let expected = dump_on(&fs, Path::new(NEW));
    let old = dump_on(&fs, Path::new(OLD));
    let (mut none, mut all) = (0, 0);
    for moment in fs.moments() {
        for choices in moment.world.cuts(64) {
            let after = SimFs::of(moment.world.after_power_cut(&choices));
            let whole =
                none_or_all(&after, &expected).unwrap_or_else(|e| panic!("before {:?}: {e}", moment.before));
            (none, all) = (none + u32::from(!whole), all + u32::from(whole));
            assert_eq!(dump_on(&after, Path::new(OLD)), old);
        }
    }
    assert!(none > 50 && all > 10, "{none} {all}");
}

#[test]
fn a_salvage_that_is_called_a_spool_too_early_is_caught() {
    let fs = rotten();
    fs.record();
    attempt(&fs).unwrap();
    let expected = dump_on(&fs, Path::new(NEW));
    let spool = Old::identify(&fs, Path::new(OLD)).unwrap();
    let caught = fs.moments().into_iter().filter(|moment| {
        let early = SimFs::of(moment.world.clone());
        finish(&early, Path::new(NEW), spool).is_ok() && none_or_all(&early, &expected).is_err()
    });
    assert!(caught.count() > 5);
}

#[test]
fn whatever_call_fails_the_salvage_says_so_or_is_whole() {
    let fs = rotten();
    let (world, begun) = (fs.world(), fs.calls());
    attempt(&fs).unwrap();
    let expected = dump_on(&fs, Path::new(NEW));
    let (mut told, mut whole) = (0, 0);
    for (errno, lasting) in [
        (rustix::io::Errno::IO, Lasting::Once),
        (rustix::io::Errno::NOSPC, Lasting::UntilRepaired),
        (rustix::io::Errno::ACCESS, Lasting::Once),
    ] {
        for at in 0..fs.calls() - begun + 2 {
            let broken = SimFs::of(world.clone());
            broken.break_at(Fault { at, errno, lasting });
            let done = attempt(&broken);
            broken.repair();
            let complete = none_or_all(&broken, &expected);
            if done.is_ok() {
                let after = SimFs::of(broken.world().after_power_cut(&[]));
                let durable = dump_on(&after, Path::new(NEW)) == dump_on(&broken, Path::new(NEW));
                assert!(durable, "{errno:?} at {at}: done, and not durable");
            }
            match done {
                Err(_) => told += 1,
                // What could not be read once may count as lost, and is then said to be.
                Ok(copy) if complete.is_err() => {
                    let (events, holes) = dump_on(&broken, Path::new(NEW));
                    assert_eq!(copy.salvaged.events, events.len() as u64, "{errno:?} at {at}");
                    let missing: u64 = holes.iter().map(|(a, b)| b - a).sum();
                    assert!(missing == copy.salvaged.lost() && missing > 0, "{errno:?} at {at}");
                }
                Ok(_) => whole += 1,
            }
        }
    }
    assert!(told > 50 && whole > 10, "{told} {whole}");
}
