//! Looking at positions files from outside: no lock, no write, beside a running agent or without one.

use std::io;
use std::path::Path;

use super::record::Positions;
use super::store::{Restored, Unusable, directory, read};
use crate::disk::{Fs, look_at_slots};
use crate::ids::{DestinationName, LaneName, Seq, SpoolId};
use crate::state::known;

/// What the positions files of a lane say at this moment.
///
/// # Errors
/// When a file can't be read for a reason that says nothing of its bytes, such as a missing permission.
pub fn look<F: Fs>(
    fs: &F,
    data_dir: &Path,
    spool: SpoolId,
    lane: &LaneName,
) -> io::Result<Vec<(DestinationName, Restored)>> {
    let directory = directory(data_dir, lane);
    match fs.list(&directory) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(e),
        _ => {}
    }
    let mut found = Vec::new();
    for name in known::destinations(fs, data_dir, lane) {
        let restored = look_at(fs, &directory.join(name.as_str()), spool)?;
        found.push((name, restored));
    }
    Ok(found)
}

/// The highest number that any of them names.
#[must_use]
pub fn highest(found: &[(DestinationName, Restored)]) -> Seq {
    let whole = found.iter().filter_map(|(_, restored)| match restored {
        Restored::Positions(positions) => Some(positions.highest()),
        _ => None,
    });
    whole.max().unwrap_or(Seq::NONE)
}

fn look_at<F: Fs>(fs: &F, path: &Path, spool: SpoolId) -> io::Result<Restored> {
    match look_at_slots(fs, path) {
        Ok(value) => Ok(value.map_or(Restored::Nothing, |value| read(&value, spool))),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(e),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Restored::Nothing),
        Err(_) => Ok(Restored::Unusable(Unusable::Damaged)),
    }
}

/// The number from which on a lane whose files begin at `first` and end at `end` is still needed, and how many
/// events that are.
#[must_use]
pub fn needs(restored: &Restored, (first, end): (Seq, Seq)) -> (Seq, u64) {
    match restored {
        Restored::Positions(positions) => (positions.needed_from(), positions.pending(end)),
        _ => (first, end.0.saturating_sub(first.0)),
    }
}

/// The positions, if they could be read.
#[must_use]
pub fn usable(restored: &Restored) -> Option<&Positions> {
    match restored {
        Restored::Positions(positions) => Some(positions),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealFs;
    use crate::disk::faulty::{Faulty, Op};
    use crate::state::positions::{Store, codec};

    const SPOOL: SpoolId = SpoolId(7);

    fn lane() -> LaneName {
        LaneName::new("main").unwrap()
    }

    fn saved(dir: &Path, spool: SpoolId, name: &str) -> Positions {
        let destination = DestinationName::new(name).unwrap();
        let (mut store, _) = Store::open(&RealFs, dir, spool, &lane(), &destination).unwrap();
        let positions = Positions { spool, ..codec::sample() };
        store.save(&positions).unwrap();
        positions
    }

    #[test]
    fn each_file_says_what_it_holds_and_what_is_left_over_is_no_destination() {
        let dir = tempfile::tempdir().unwrap();
        let positions = saved(dir.path(), SPOOL, "a");
        saved(dir.path(), SpoolId(8), "foreign");
        let readers = directory(dir.path(), &lane());
        for (name, bytes) in [
            ("b.new", &[1; 10][..]),
            ("b.making", &[1; 10]),
            ("b.aside-1", &[1; 10]),
            ("damaged", &[1; 3 * 4096]),
            ("empty", &[]),
            ("fresh", &[0; 3 * 4096]),
        ] {
            std::fs::write(readers.join(name), bytes).unwrap();
        }
        let found = look(&RealFs, dir.path(), SPOOL, &lane()).unwrap();
        let damaged = Restored::Unusable(Unusable::Damaged);
        let expected = [
            ("a", Restored::Positions(Box::new(positions.clone()))),
            ("damaged", damaged),
            ("empty", Restored::Unusable(Unusable::Damaged)),
            ("foreign", Restored::Unusable(Unusable::Foreign(SpoolId(8)))),
            ("fresh", Restored::Nothing),
        ];
        let found_by_name: Vec<_> = found.iter().map(|(name, restored)| (name.as_str(), restored)).collect();
        let expected: Vec<_> = expected.iter().map(|(name, restored)| (*name, restored)).collect();
        assert_eq!(found_by_name, expected);
        assert_eq!(highest(&found), positions.highest());
        assert_eq!(highest(&found[1..]), Seq::NONE);
        assert_eq!(usable(&found[0].1), Some(&positions));
        assert_eq!(usable(&found[1].1), None);
    }

    #[test]
    fn a_lane_without_files_has_none_and_a_file_that_is_gone_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(&RealFs, dir.path(), SPOOL, &lane()).unwrap(), []);
        assert_eq!(look_at(&RealFs, &dir.path().join("gone"), SPOOL).unwrap(), Restored::Nothing);
    }

    #[test]
    fn a_file_that_may_not_be_read_is_an_error_and_one_that_can_not_be_read_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        saved(dir.path(), SPOOL, "a");
        let fs = Faulty::new();
        // It is tried three times.
        fs.fail_next(Op::Open, 3);
        let found = look(&fs, dir.path(), SPOOL, &lane()).unwrap();
        assert_eq!(found[0].1, Restored::Unusable(Unusable::Damaged));
        fs.error(rustix::io::Errno::ACCESS);
        fs.fail_next(Op::Open, 1);
        let refused = look(&fs, dir.path(), SPOOL, &lane()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn positions_that_are_not_known_need_everything() {
        let positions = codec::sample();
        let needed = (positions.needed_from(), positions.pending(Seq(1000)));
        assert_eq!(needs(&Restored::Positions(Box::new(positions)), (Seq(5), Seq(1000))), needed);
        assert_eq!(needs(&Restored::Nothing, (Seq(5), Seq(9))), (Seq(5), 4));
    }

    #[test]
    fn a_directory_that_may_not_be_listed_is_an_error_and_not_one_without_files() {
        use crate::disk::sim::{Fault, Lasting, SimFs};
        let fs = SimFs::default();
        crate::disk::make_dir(&fs, Path::new("/data"), &directory(Path::new("/data"), &lane())).unwrap();
        let errno = rustix::io::Errno::ACCESS;
        fs.break_at(Fault { at: fs.calls(), errno, lasting: Lasting::Once });
        let refused = look(&fs, Path::new("/data"), SPOOL, &lane()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
}
