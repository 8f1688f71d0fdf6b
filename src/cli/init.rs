//! `spoolway init`: a configuration to begin with. It asks nothing.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure, General, Outcome, output};
use crate::config::model::HostPort;
use crate::config::{parse_host_port, starter};

/// What `spoolway init` takes.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Write to this file instead of standard output; one that is there is never written over.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Brokers to begin with; several with commas, or by repeating the option.
    #[arg(short, long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = parse_host_port)]
    pub bootstrap_server: Vec<HostPort>,
    /// Where events are kept until they are delivered; a relative path begins at the configuration's folder.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Writes a commented configuration that `spoolway check` accepts.
///
/// # Errors
/// [`Failure`] when the file is there already, or can't be written.
pub fn run(args: &InitArgs, _general: &General) -> Outcome {
    let text = starter(&args.bootstrap_server, args.data_dir.as_deref());
    let Some(path) = &args.output else {
        output::print(&text)?;
        return Ok(Exit::Done);
    };
    write_new(path, &text)?;
    let path = path.display();
    anstream::eprintln!("{path} is written; edit it, then: spoolway check -c {path} --connect");
    Ok(Exit::Done)
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    // There is no secret in it, and the agent's own user must be able to read it.
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    let mut file = opened.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => Failure::running(format!(
            "{} is there already and is left as it is: move it away, or name another file",
            path.display()
        )),
        ErrorKind::NotFound => unwritten(path, &e, "; make its folder first, or name another file"),
        ErrorKind::PermissionDenied => unwritten(path, &e, "; run this as root, or name another file"),
        _ => unwritten(path, &e, ""),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| {
        // Half a configuration would be taken for a whole one.
        let _removed = std::fs::remove_file(path);
        unwritten(path, &e, "")
    })
}

fn unwritten(path: &Path, e: &std::io::Error, remedy: &str) -> Failure {
    Failure::running(format!("{} can't be written: {e}{remedy}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_left_as_it_is_and_so_is_what_a_link_names() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a.toml"), dir.path().join("link.toml"));
        write_new(&path, "first").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for there in [&path, &link] {
            let failure = write_new(there, "second").unwrap_err();
            assert!(failure.message().contains("is there already"), "{}", failure.message());
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        let nowhere = write_new(&dir.path().join("no/where.toml"), "x").unwrap_err();
        assert!(nowhere.message().contains("can't be written: No such file"), "{}", nowhere.message());
        assert!(nowhere.message().contains("make its folder first"), "{}", nowhere.message());
    }
}
