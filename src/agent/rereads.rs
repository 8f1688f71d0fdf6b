//! The configuration's files, looked at beside the agent's main loop: a drive that they are on may hang.

use std::sync::Arc;

use super::asked::Asked;
use super::process::{Configured, Reread, Rereading};

/// Whether the files are to be read. It outlives the agent that was asked to: another one may take over before it has an answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    #[default]
    Nothing,
    /// Since somebody said so, or they have changed.
    Wanted,
    /// The same, and they are being read.
    Asked,
}

impl Wish {
    /// They were read. What was wanted meanwhile is to be done again.
    pub(super) fn answered(&mut self) {
        if *self == Self::Asked {
            *self = Self::Nothing;
        }
    }
}

/// What is asked of them.
#[derive(Default)]
pub(super) struct Files {
    /// [`Rereading::fingerprint`]
    pub(super) sum: Asked<u64>,
    /// The same, and what was read behind it.
    pub(super) found: Asked<(u64, Reread)>,
}

impl Files {
    /// Has it asked whether they have changed.
    pub(super) fn look(&mut self, rereading: &Rereading) {
        let fingerprint = Arc::clone(&rereading.fingerprint);
        self.sum.ask("files", move || fingerprint());
    }

    /// Has them read, if that is wanted; again, if what was to read them has ended without an answer.
    pub(super) fn read(&mut self, wish: &mut Wish, configured: &Configured, rereading: &Rereading) {
        if *wish == Wish::Nothing || self.found.is_open() {
            return;
        }
        *wish = Wish::Asked;
        let (fingerprint, reread) = (Arc::clone(&rereading.fingerprint), Arc::clone(&rereading.reread));
        let running = configured.clone();
        self.found.ask("configuration", move || (fingerprint(), reread(&running)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::{Environment, load_text};

    fn configured() -> Configured {
        let text = "[relay]\nid = \"test\"\ndata_dir = \"/data\"\n[[source]]\ntype = \"http\"\nlisten = \"127.0.0.1:1\"\n\
             [[destination]]\nname = \"home\"\nbootstrap = [\"127.0.0.1:1\"]\n\
             [[route]]\nstreams = [\"*\"]\nto = \"home\"\ntopic = \"t\"\n";
        let config =
            load_text("test.toml", text, &Environment::Absent).unwrap_or_else(|r| panic!("{r}")).config;
        Configured { config, effective: String::new() }
    }

    /// How often they were read, and how: the first time it ends in a panic.
    fn rereading() -> (Arc<AtomicU32>, Rereading) {
        let read = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&read);
        let reread = move |_: &Configured| match count.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("on purpose"),
            _ => Reread::Same,
        };
        (read, Rereading { reread: Arc::new(reread), fingerprint: Arc::new(|| 7), began: 7 })
    }

    /// Found by an audit: the wish was gone when it was asked, so nobody read them after a panic, or by the agent that took over.
    #[test]
    fn what_is_wanted_is_read_until_there_is_an_answer_also_by_who_takes_over() {
        let (configured, (read, rereading)) = (configured(), rereading());
        let (mut files, mut wish) = (Files::default(), Wish::Nothing);
        files.read(&mut wish, &configured, &rereading);
        assert!(!files.found.is_open(), "nothing is wanted");
        wish = Wish::Wanted;
        let deadline = Instant::now() + Duration::from_secs(30);
        let answer = |files: &mut Files, wish: &mut Wish| {
            loop {
                files.read(wish, &configured, &rereading);
                if let Some((sum, _)) = files.found.take() {
                    wish.answered();
                    return sum;
                }
                assert!(Instant::now() < deadline);
                std::thread::yield_now();
            }
        };
        assert_eq!(
            (answer(&mut files, &mut wish), wish, read.load(Ordering::Relaxed)),
            (7, Wish::Nothing, 2)
        );
        wish = Wish::Wanted;
        files.read(&mut wish, &configured, &rereading);
        files = Files::default();
        assert_eq!((answer(&mut files, &mut wish), wish), (7, Wish::Nothing), "by who takes over");
        wish = Wish::Wanted;
        files.read(&mut wish, &configured, &rereading);
        // Somebody says so once more while they are read.
        wish = Wish::Wanted;
        assert_eq!((answer(&mut files, &mut wish), wish), (7, Wish::Wanted));
        assert_eq!((answer(&mut files, &mut wish), wish), (7, Wish::Nothing));
    }
}
