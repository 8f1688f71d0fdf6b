//! Whether a directory stands where its path leads.
//!
//! Files are opened, made and deleted by path, and what is open goes with its directory wherever that is moved. So
//! after `mv`, `umount -l`, or another mount in its place, a path says nothing of the directory any more: a file that is not
//! there is no loss, and one that is there may be somebody else's.
//!
//! INVARIANT: nothing that is in it is given up, made or deleted by path unless the directory stood there afterwards.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Directory, Fs, insist};

/// A directory that was opened.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    /// What it is to a person.
    name: &'static str,
    /// What holds while it is elsewhere.
    meanwhile: &'static str,
    /// `None` on a disk that can't tell.
    held: Option<Box<dyn Directory>>,
    astray: AtomicBool,
}

impl Home {
    /// Takes hold of it: of `name`, of which a person is told what holds `meanwhile`, while it is elsewhere. One that is not there
    /// can't be held.
    ///
    /// # Errors
    /// What the file system says.
    pub fn hold<F: Fs>(
        fs: &F,
        dir: &Path,
        (name, meanwhile): (&'static str, &'static str),
    ) -> io::Result<Self> {
        let held = match insist(|| fs.hold_dir(dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            held => held?,
        };
        Ok(Self { dir: dir.to_owned(), name, meanwhile, held, astray: AtomicBool::new(false) })
    }

    /// Whether it was there to be held, on a disk that can.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether its path leads to it; says so in the log when that changes.
    ///
    /// # Errors
    /// When it does not, or when that can't be found out.
    pub fn check(&self) -> io::Result<()> {
        let here = self.held.as_ref().map_or(Ok(true), |held| held.stands_at(&self.dir))?;
        let was_astray = self.astray.swap(!here, Ordering::Relaxed);
        match (here, self.away()) {
            (true, _) if was_astray => {
                tracing::info!(path = %self.dir.display(), "{} is back where it was", self.name);
            }
            (false, Some(why)) if !was_astray => {
                tracing::error!("{why}: {} until then", self.meanwhile);
            }
            _ => {}
        }
        if here {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, self.away().unwrap_or_default()))
        }
    }

    /// What is wrong, if the last look found it elsewhere.
    #[must_use]
    pub fn away(&self) -> Option<String> {
        let why = || {
            format!(
                "{} is no longer the directory that was opened (it was moved, unmounted, deleted or replaced); put it \
                 back, or start the agent again where it is now",
                self.dir.display()
            )
        };
        self.astray.load(Ordering::Relaxed).then(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealFs;
    use crate::disk::sim::SimFs;
    use crate::logs::testing::said;

    const OURS: (&str, &str) = ("our directory", "nothing is given up");

    #[test]
    fn a_directory_that_is_not_there_can_not_be_held_and_what_is_none_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::hold(&RealFs, &dir.path().join("gone"), OURS).unwrap();
        assert!(!home.is_held() && home.check().is_ok());
        std::fs::write(dir.path().join("file"), b"").unwrap();
        Home::hold(&RealFs, &dir.path().join("file"), OURS).unwrap_err();
    }

    #[test]
    fn that_it_went_and_that_it_is_back_is_said_once_each() {
        let (fs, at, elsewhere) = (SimFs::default(), Path::new("/data"), Path::new("/elsewhere"));
        fs.create_dir(at).unwrap();
        let home = Home::hold(&fs, at, OURS).unwrap();
        let mut ways = [(at, elsewhere), (elsewhere, at)].into_iter();
        for (is_here, expected) in
            [(true, ""), (false, "nothing is given up"), (true, "our directory is back where it was")]
        {
            for word in [expected, ""] {
                let (checked, lines) = said(|| home.check());
                assert_eq!(checked.is_ok(), is_here);
                assert_eq!(lines.len(), usize::from(!word.is_empty()), "{lines:?}");
                assert!(lines.iter().all(|line| line.contains(word)), "{lines:?}");
            }
            ways.next().into_iter().for_each(|(from, to)| fs.rename(from, to).unwrap());
        }
    }
}
