//! `spoolway man`: the manual pages, made from what `--help` says, for those who make packages.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};

use super::{Cli, Exit, Failure, General, Outcome, output};

/// What `spoolway man` takes.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write spoolway.1 and a page for each command into this directory, which is there; without it, spoolway.1 is printed.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints the manual page, or writes all of them.
///
/// # Errors
/// [`Failure`] when they can't be written.
pub fn run(args: &ManArgs, _general: &General) -> Outcome {
    match &args.dir {
        Some(dir) => write(dir)?,
        None => output::print(&main_page()?)?,
    }
    Ok(Exit::Done)
}

fn write(dir: &Path) -> Result<(), Failure> {
    let failed = |e| Failure::running(format!("manual pages can't be written to {}: {e}", dir.display()));
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)
}

fn main_page() -> Result<String, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Failure::running)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command_and_each_is_as_it_was_when_made_again() {
        let pages = || {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path()).unwrap();
            let pages = std::fs::read_dir(dir.path()).unwrap().map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
            });
            pages.collect::<std::collections::BTreeMap<_, _>>()
        };
        let made = pages();
        for name in ["spoolway.1", "spoolway-run.1", "spoolway-spool-verify.1", "spoolway-healthcheck.1"] {
            let page = made.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", made.keys()));
            assert!(page.contains(".SH NAME"), "{name}: {page}");
        }
        assert!(!made.keys().any(|name| name.contains("demo-part")), "what is hidden has no page");
        assert_eq!(made, pages());
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let failure = write(Path::new("/nonexistent/man")).unwrap_err();
        assert!(failure.message().contains("/nonexistent/man"), "{}", failure.message());
        assert!(main_page().unwrap().contains("SPOOLWAY_LOG"), "variables are named");
    }
}
