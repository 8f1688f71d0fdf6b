//! Golden spools: see `tests/golden/README.md`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::readers::{Said, lost_lines, program, second};
use crate::support::process::scratch;

/// A golden spool.
pub struct Golden {
    /// Version and name.
    pub name: String,
    dir: PathBuf,
}

impl Golden {
    /// All of them, of every version.
    pub fn all() -> Vec<Golden> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let below = |dir: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path());
            let mut found: Vec<_> = entries.filter(|p| p.is_dir()).collect();
            found.sort();
            found
        };
        let found: Vec<_> = below(&root).iter().flat_map(|version| below(version)).collect();
        assert!(found.len() >= 14, "golden spools are never taken away: {found:?}");
        found
            .into_iter()
            .map(|dir| {
                let name = dir.strip_prefix(&root).expect("below it").display().to_string();
                Golden { name, dir }
            })
            .collect()
    }

    /// One of version 1.
    pub fn v1(name: &str) -> Golden {
        let wanted = format!("v1/{name}");
        Self::all().into_iter().find(|g| g.name == wanted).expect("a golden spool of that name")
    }

    /// A copy of its data directory.
    pub fn copy(&self, to: &Path) {
        std::fs::create_dir_all(to).expect("a writable place");
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(self.dir.join("spool.tar.gz")).arg("-C").arg(to);
        assert!(tar.status().expect("tar starts").success());
    }

    /// What has to be read from it.
    pub fn expected(&self) -> Said {
        let read = |name| std::fs::read_to_string(self.dir.join(name)).expect("a file beside the spool");
        Said { events: read("events.ndjson"), lost: lost_lines(&read("lost.ndjson")) }
    }
}

#[test]
fn both_readers_read_every_golden_spool_as_it_is_written_down() {
    for golden in Golden::all() {
        let data = scratch("golden").join("data");
        golden.copy(&data);
        let expected = golden.expected();
        assert_eq!(program(&data), expected, "{}: the program", golden.name);
        assert_eq!(second(&data), expected, "{}: the second reader", golden.name);
    }
}
