//! Dead letters that were being sent again by a destination of which nothing is known any more.
//!
//! Nobody would send them, and marked as they are nobody would list them either. So they are letters as before.

use std::path::Path;

use super::letters::{Letter, Letters, LettersError};
use super::{known, positions};
use crate::disk::{DiskError, Fs};
use crate::ids::{DestinationName, SpoolId};

/// Puts back the letters of `store` that nobody sends and nobody will find delivered; returns how many. `heir`: who has the name of a
/// destination now.
///
/// # Errors
/// When the disk refuses; then none is put back.
pub fn put_back<'a, F: Fs>(
    fs: &F,
    data_dir: &Path,
    spool: SpoolId,
    store: &Letters<F>,
    heir: impl Fn(&DestinationName) -> Option<&'a DestinationName>,
) -> Result<usize, LettersError> {
    let taken = store.taken();
    if taken.is_empty() {
        return Ok(0);
    }
    // Under whatever name: those of one that was renamed have its old name.
    let mut under_way = Vec::new();
    for lane in known::lanes(fs, data_dir) {
        let directory = positions::directory(data_dir, &lane);
        let found = positions::look(fs, data_dir, spool, &lane).map_err(DiskError::io("read", &directory))?;
        let found = found.iter().filter_map(|(_, restored)| positions::usable(restored));
        under_way.extend(found.flat_map(|p| p.replaying.iter().map(|r| r.id)));
    }
    let is_orphan = |letter: &Letter| {
        let all = known::destinations(fs, data_dir, &letter.lane);
        let is_known = |name: &DestinationName| all.contains(name);
        !is_known(&letter.destination) && !heir(&letter.destination).is_some_and(is_known)
    };
    let orphans = store.load(&taken)?.into_iter();
    let orphans = orphans.filter(|s| !under_way.contains(&s.id) && is_orphan(&s.letter));
    let orphans: Vec<u64> = orphans.map(|s| s.id).collect();
    store.put_back(&orphans)?;
    Ok(orphans.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealFs;
    use crate::event::Event;
    use crate::ids::{LaneName, RunId, Seq};
    use crate::state::handover;
    use crate::state::letters::Settings;
    use crate::state::letters::testing::letter;
    use crate::state::positions::{Positions, Replaying, Store};

    const SPOOL: SpoolId = SpoolId(7);

    fn name(name: &str) -> DestinationName {
        DestinationName::new(name).unwrap()
    }

    /// Letters 1 to 4, all being sent again: of `home`, of `other`, of `old` which is under way, and of `older`.
    fn store(dir: &Path) -> Letters<RealFs> {
        let settings = Settings { max_size: 10 << 20, max_event_size: 1000 };
        let store = Letters::open(&RealFs, dir, SPOOL, settings, 0).unwrap();
        let of = |destination| Letter { destination: name(destination), ..letter(1, &Event::of_value(b"v")) };
        store.append(&["home", "other", "old", "older"].map(of)).unwrap();
        store.take(&[1, 2, 3, 4]).unwrap();
        store
    }

    fn save(dir: &Path, destination: &str, replaying: &[u64]) {
        let lane = letter(1, &Event::of_value(b"v")).lane;
        let (mut positions, _) = Store::open(&RealFs, dir, SPOOL, &lane, &name(destination)).unwrap();
        let replaying = replaying.iter().map(|id| Replaying { id: *id, seq: Seq(1), run: RunId(1) });
        let saved = Positions { replaying: replaying.collect(), ..Positions::fresh(SPOOL, Seq(9)) };
        positions.save(&saved).unwrap();
    }

    #[test]
    fn a_letter_that_was_being_sent_by_a_destination_that_is_forgotten_is_a_letter_again() {
        let dir = tempfile::tempdir().unwrap();
        let (store, lane): (_, LaneName) = (store(dir.path()), letter(1, &Event::of_value(b"v")).lane);
        save(dir.path(), "home", &[1]);
        save(dir.path(), "other", &[2, 3]);
        let home = name("home");
        let heir = |old: &DestinationName| (*old == name("older")).then_some(&home);
        let put_back = || put_back(&RealFs, dir.path(), SPOOL, &store, heir).unwrap();
        assert_eq!((put_back(), store.taken()), (0, vec![1, 2, 3, 4]), "all are somebody's");
        handover::forget(&RealFs, dir.path(), &lane, &name("other")).unwrap();
        assert_eq!((put_back(), store.taken()), (2, vec![1, 4]));
        assert!(store.is_there(2) && store.is_there(3));
        handover::forget(&RealFs, dir.path(), &lane, &name("home")).unwrap();
        assert_eq!((put_back(), store.taken()), (2, vec![]));
    }
}
