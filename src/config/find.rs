//! Which files make up the configuration.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::report::Problem;
use super::text::Text;
use crate::sabotage::{self, Bug};

/// Where the configuration is when nobody says.
pub const DEFAULT_FILE: &str = "/etc/spoolway/spoolway.toml";
/// The environment variable that names it.
pub const VARIABLE: &str = "SPOOLWAY_CONFIG";
/// Beyond this, what was named is no configuration file.
const MAX_FILE_SIZE: u64 = 16 * 1024 * 1024;

/// Reads the files that `named` names (else the environment variable, else the default one), and after
/// each the files of `conf.d` beside it, by name.
pub(super) fn find(named: &[PathBuf], variable: Option<PathBuf>) -> (Vec<Text>, Vec<Problem>) {
    let chosen: Vec<PathBuf> = match (named, variable) {
        ([], Some(path)) if !path.as_os_str().is_empty() => vec![path],
        ([], _) if !Path::new(DEFAULT_FILE).exists() => return (vec![], vec![nothing_named()]),
        ([], _) => vec![PathBuf::from(DEFAULT_FILE)],
        (named, _) => named.to_vec(),
    };
    let mut problems = vec![];
    let mut paths: Vec<PathBuf> = vec![];
    for path in &chosen {
        paths.push(path.clone());
        paths.extend(beside(path, &mut problems));
    }
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())));
    let texts =
        paths.iter().filter_map(|path| read(path).map_err(|problem| problems.push(*problem)).ok()).collect();
    (texts, problems)
}

/// Whether a configuration is named, or stands at its usual place.
#[must_use]
pub fn is_there_one(named: &[PathBuf]) -> bool {
    let by_variable = || std::env::var_os(VARIABLE).is_some_and(|path| !path.is_empty());
    !named.is_empty() || by_variable() || Path::new(DEFAULT_FILE).exists()
}

fn nothing_named() -> Problem {
    Problem::new(format!("there is no configuration: {DEFAULT_FILE} does not exist")).help(format!(
        "name a file with -c FILE or in ${VARIABLE}; `spoolway pipe` and `spoolway demo` need none"
    ))
}

/// The files of `conf.d` beside a configuration file, by name.
fn beside(path: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = parent.join("conf.d");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return vec![];
        }
        Err(e) => {
            problems.push(unopened(&folder, &e));
            return vec![];
        }
    };
    let mut files = vec![];
    for entry in entries {
        match entry.map(|entry| entry.path()) {
            Ok(path) if path.extension().is_some_and(|e| e == "toml") && !hidden(&path) => files.push(path),
            Ok(_) => {}
            Err(e) => problems.push(unopened(&folder, &e)),
        }
    }
    files.sort();
    // "conf.d/x.toml" reads better than "./conf.d/x.toml" beside a file named without a folder.
    files.into_iter().map(|p| p.strip_prefix(".").map(Path::to_path_buf).unwrap_or(p)).collect()
}

/// Editors keep their backups in dot files.
fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn unreadable(path: &Path, cause: &str) -> Problem {
    Problem::new(format!("{} can't be read: {cause}", path.display()))
}

fn unopened(path: &Path, e: &io::Error) -> Problem {
    let problem = unreadable(path, &e.to_string());
    match remedy(e) {
        Some(remedy) => problem.help(remedy),
        None => problem,
    }
}

/// What to do about a file that can't be opened or read.
pub(super) fn remedy(e: &io::Error) -> Option<&'static str> {
    match e.kind() {
        ErrorKind::NotFound => Some("check its path: a relative one begins where the command is run"),
        ErrorKind::PermissionDenied => Some("run this as the user the agent runs as, or as root"),
        ErrorKind::IsADirectory => Some("name a file in it; conf.d beside a named file is read by itself"),
        _ => None,
    }
}

/// The first file that was named, by `named` or else by the environment, and is not there or can't be opened: in words, with
/// the remedy.
#[must_use]
pub fn missing(named: &[PathBuf]) -> Option<String> {
    let variable = std::env::var_os(VARIABLE).filter(|path| named.is_empty() && !path.is_empty());
    let by = if named.is_empty() { VARIABLE } else { "-c" };
    named.iter().cloned().chain(variable.map(PathBuf::from)).find_map(|path| {
        let e = opens(&path).err()?;
        let remedy = remedy(&e).map_or_else(String::new, |remedy| format!("; {remedy}"));
        Some(format!("{}, which {by} names, can't be opened: {e}{remedy}", path.display()))
    })
}

/// A pipe is left alone: what is opened and closed again may be gone for the one who reads it.
fn opens(path: &Path) -> io::Result<()> {
    match fs::metadata(path)? {
        found if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        found if found.is_file() => fs::File::open(path).map(drop),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Text, Box<Problem>> {
    let file = fs::File::open(path).map_err(|e| Box::new(unopened(path, &e)))?;
    let mut bytes = vec![];
    file.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes).map_err(|e| Box::new(unopened(path, &e)))?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        let cause = "it is larger than 16 MiB, so it is no configuration file";
        return Err(Box::new(unreadable(path, cause)));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let good = e.as_bytes().iter().take(e.utf8_error().valid_up_to());
        let line = good.filter(|b| **b == b'\n').count() + 1;
        Box::new(unreadable(path, &format!("line {line} is not UTF-8, which TOML must be")))
    })?;
    sabotage::stumble(Bug::PanicOverConfiguration, text.as_bytes());
    Ok(Text { path: path.to_path_buf(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(named: &[PathBuf], variable: Option<PathBuf>) -> Vec<String> {
        let (texts, _) = find(named, variable);
        texts.iter().map(|t| t.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn each_file_is_followed_by_its_conf_d_and_no_file_is_read_twice() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("conf.d");
        fs::create_dir(&folder).unwrap();
        for name in
            ["main.toml", "more.toml", "conf.d/b.toml", "conf.d/a.toml", "conf.d/.a.toml", "conf.d/a.txt"]
        {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let named = [dir.path().join("main.toml"), dir.path().join("more.toml")];
        assert_eq!(
            paths(&named, Some("ignored.toml".into())),
            ["main.toml", "a.toml", "b.toml", "more.toml"]
        );
        assert_eq!(paths(&[], Some(named[1].clone())), ["more.toml", "a.toml", "b.toml"]);
    }

    #[test]
    fn every_file_that_can_not_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("latin1.toml"), b"# fine\nid = \"\xe9\"\n").unwrap();
        let named = ["absent.toml", "latin1.toml", "."].map(|name| dir.path().join(name));
        let (texts, problems) = find(&named, None);
        assert!(texts.is_empty());
        let report = super::super::report::Report::new(texts, problems).to_string();
        assert!(report.contains("absent.toml can't be read: No such file"), "{report}");
        assert!(report.contains("check its path"), "{report}");
        assert!(report.contains("line 2 is not UTF-8"), "{report}");
        assert!(report.contains("Is a directory"), "{report}");
    }

    #[test]
    fn of_named_files_one_that_can_not_be_opened_is_told_and_one_that_is_wrong_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("wrong.toml"), b"\xff").unwrap();
        assert_eq!(missing(&[path("wrong.toml")]), None);
        let told = missing(&[path("wrong.toml"), path("nope.toml")]).unwrap();
        assert!(told.contains("nope.toml, which -c names, can't be opened: No such file"), "{told}");
        assert!(missing(&[path("")]).unwrap().contains("name a file in it"));
    }
}
