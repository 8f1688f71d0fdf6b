//! Setting a store that can't be trusted aside, in place, for a person to look at.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::store::sync_dir;

/// How many are kept; older ones are removed, so that a store that breaks again and again fills no disk.
const KEPT: usize = 3;

/// Renames `dir` to `<dir>.broken-<milliseconds since 1970>` and removes all but the newest of its kind.
///
/// # Errors
/// When it can't be renamed or the parent can't be read. `dir` gone already is no error.
pub(super) fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let prefix = format!("{}.broken-", dir.file_name().unwrap_or_default().to_string_lossy());
    let parent = dir.parent().unwrap_or(Path::new("."));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    // Later than all there are, whatever the clock says: the lowest are taken for the oldest.
    let newest = found(parent, &prefix)?.last().map_or(0, |(at, _)| at.saturating_add(1));
    let aside = parent.join(format!("{prefix}{}", now.max(newest)));
    match fs::rename(dir, &aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    remove_old(parent, &prefix)?;
    sync_dir(parent)?;
    Ok(aside)
}

fn remove_old(parent: &Path, prefix: &str) -> io::Result<()> {
    let found = found(parent, prefix)?;
    let surplus = found.len().saturating_sub(KEPT);
    for (_, path) in found.into_iter().take(surplus) {
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// What was set aside before, oldest first.
fn found(parent: &Path, prefix: &str) -> io::Result<Vec<(u128, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(at) = name.to_string_lossy().strip_prefix(prefix).and_then(|at| at.parse::<u128>().ok()) {
            found.push((at, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_three_are_kept_and_nothing_else_is_touched() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("ledger");
        fs::create_dir(home.path().join("ledger.broken-")).unwrap();
        fs::create_dir(home.path().join("ledger.broken-mine")).unwrap();
        let mut made = Vec::new();
        for n in 0..5 {
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("n"), n.to_string()).unwrap();
            made.push(set_aside(&dir).unwrap());
        }
        assert!(!dir.exists());
        let kept: Vec<_> = made.iter().map(|p| p.exists()).collect();
        assert_eq!(kept, [false, false, true, true, true]);
        assert_eq!(fs::read_to_string(made[4].join("n")).unwrap(), "4");
        assert!(home.path().join("ledger.broken-mine").exists());
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_make_the_newest_the_oldest() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("ledger");
        // A thousand years from now.
        for at in [32_000_000_000_000_u64, 32_000_000_000_001, 32_000_000_000_002] {
            fs::create_dir(home.path().join(format!("ledger.broken-{at}"))).unwrap();
        }
        fs::write(&dir, "a file").unwrap();
        let aside = set_aside(&dir).unwrap();
        assert_eq!(aside, home.path().join("ledger.broken-32000000000003"));
        assert!(aside.exists() && !home.path().join("ledger.broken-32000000000000").exists());
    }

    #[test]
    fn one_that_is_gone_already_is_no_error_and_one_that_can_not_be_renamed_is() {
        let home = tempfile::tempdir().unwrap();
        set_aside(&home.path().join("ledger")).unwrap();
        // With what is appended, its name is longer than any.
        let dir = home.path().join("x".repeat(250));
        fs::create_dir(&dir).unwrap();
        set_aside(&dir).unwrap_err();
        assert!(dir.exists());
    }
}
