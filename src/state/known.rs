//! Of whom a data directory knows something, configured or not.

use std::path::{Path, PathBuf};

use super::{journal, positions};
use crate::disk::{EntryKind, Fs, owner_of_slots};
use crate::ids::{DestinationName, LaneName};

/// Lanes for which something is known of some destination.
#[must_use]
pub fn lanes<F: Fs>(fs: &F, data_dir: &Path) -> Vec<LaneName> {
    // What is not there has none; what can't be read is refused when a file in it is opened.
    let entries =
        ["readers", "journal"].into_iter().flat_map(|n| fs.list(&data_dir.join(n)).unwrap_or_default());
    let directories = entries.filter(|e| e.kind == EntryKind::Directory);
    let mut lanes: Vec<LaneName> = directories.filter_map(|e| LaneName::new(&e.name).ok()).collect();
    lanes.sort_unstable();
    lanes.dedup();
    lanes
}

/// The destinations of which something is known in a lane: those that have a positions file, and those that have lost it and
/// have a journal. To take one of these for nobody would give up what it still needs.
#[must_use]
pub fn destinations<F: Fs>(fs: &F, data_dir: &Path, lane: &LaneName) -> Vec<DestinationName> {
    // A directory that is not there has no files; one that can't be read is refused when a file is opened.
    let list = |directory: PathBuf| fs.list(&directory).unwrap_or_default().into_iter();
    let positions = list(positions::directory(data_dir, lane));
    let positions = positions.filter_map(|e| owner_of_slots(&e.name).map(str::to_owned));
    let of_a_journal = |name: String| Some(name.strip_suffix(".0").or(name.strip_suffix(".1"))?.to_owned());
    let journals = list(journal::directory(data_dir, lane)).filter_map(|e| of_a_journal(e.name));
    let names = positions.chain(journals);
    let mut names: Vec<DestinationName> = names.filter_map(|name| DestinationName::new(&name).ok()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;
    use crate::disk::RealFs;

    #[test]
    fn a_journal_alone_makes_known_and_what_is_left_over_does_not() {
        let dir = tempfile::tempdir().unwrap();
        for (directory, files) in [
            (
                "readers/main",
                &["home", "home.rescued", "j.rescued", "b.new", "c.making", "d.aside-1", "not a name"][..],
            ),
            ("journal/main", &["home.0", "home.1", "e.f.1", "g.0.aside-2", "h.new", "i"]),
            ("journal/fast", &[]),
        ] {
            create_dir_all(dir.path().join(directory)).unwrap();
            files.iter().for_each(|name| write(dir.path().join(directory).join(name), "").unwrap());
        }
        write(dir.path().join("readers/file"), "").unwrap();
        let lane = |name| LaneName::new(name).unwrap();
        assert_eq!(lanes(&RealFs, dir.path()), [lane("fast"), lane("main")]);
        let names = destinations(&RealFs, dir.path(), &lane("main"));
        assert_eq!(names.iter().map(DestinationName::as_str).collect::<Vec<_>>(), ["e.f", "home", "j"]);
        assert_eq!(destinations(&RealFs, dir.path(), &lane("fast")), []);
        assert_eq!(destinations(&RealFs, dir.path(), &lane("none")), []);
    }
}
