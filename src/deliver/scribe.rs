//! The thread that writes windows down and then sends them, while the delivery's thread reads and fills the next.
//!
//! # Promises
//! - A window leaves only once all that its [`Group`] says is durable.
//! - The journal is in one place: with the thread while a group is being written, at the desk otherwise. So groups are written
//!   one after the other, and what falls due meanwhile shares the next write and sync.
//! - A group that could not be written comes back whole, and nothing of it has left.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread::JoinHandle;

use super::engine::{Group, Sink};
use super::inbox::Inbox;
use crate::disk::Fs;
use crate::state::journal::{Journal, JournalError};

/// A journal on its way, and what is to be written in it or could not be.
struct Errand<F: Fs> {
    journal: Journal<F>,
    group: Group,
}

/// What came of it.
struct Done<F: Fs> {
    journal: Journal<F>,
    failed: Option<(Group, JournalError)>,
}

struct Thread<F: Fs> {
    errands: SyncSender<Errand<F>>,
    done: Receiver<Done<F>>,
    handle: JoinHandle<()>,
}

/// What has become of the group that was handed over last.
#[derive(Debug)]
pub(super) enum Last {
    /// It is still being written.
    Away,
    /// There was none since this was last asked.
    Nothing,
    /// It has left.
    Left,
    /// It could not be written, and is here again.
    Failed(Group, JournalError),
}

/// Where a delivery keeps its journal.
pub(super) struct Scribe<F: Fs> {
    /// `None` while it is with the thread, or where there is none.
    journal: Option<Journal<F>>,
    thread: Option<Thread<F>>,
    away: bool,
}

impl<F: Fs> Scribe<F> {
    /// `None`: nothing is written down.
    pub(super) fn new(journal: Option<Journal<F>>) -> Self {
        Self { journal, thread: None, away: false }
    }

    /// The journal, if it is here.
    pub(super) fn journal(&mut self) -> Option<&mut Journal<F>> {
        self.journal.as_mut()
    }

    /// Whether windows are written down at all.
    pub(super) fn writes(&self) -> bool {
        self.away || self.journal.is_some()
    }

    /// Whether a group may be handed over.
    pub(super) fn is_free(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::takes_more)
    }

    /// Has a group written down and sent to `sink`; the inbox is told when [`Scribe::last`] has something to say. Gives it back
    /// where that can't be done.
    pub(super) fn hand_over(&mut self, group: Group, sink: &impl Sink, inbox: &Arc<Inbox>) -> Option<Group> {
        let Some(journal) = self.journal.take() else { return Some(group) };
        if self.thread.is_none() {
            self.thread = start(sink.clone(), Arc::clone(inbox));
        }
        let errand = Errand { journal, group };
        let Some(thread) = &self.thread else {
            self.journal = Some(errand.journal);
            return Some(errand.group);
        };
        match thread.errands.send(errand) {
            Ok(()) => {
                self.away = true;
                None
            }
            Err(mpsc::SendError(errand)) => {
                self.journal = Some(errand.journal);
                Some(errand.group)
            }
        }
    }

    /// What has become of the group that was handed over last.
    pub(super) fn last(&mut self) -> Last {
        let Some(thread) = self.thread.as_ref().filter(|_| self.away) else { return Last::Nothing };
        match thread.done.try_recv() {
            Ok(done) => self.is_back(done),
            Err(TryRecvError::Empty) => Last::Away,
            Err(TryRecvError::Disconnected) => self.has_died(),
        }
    }

    /// The same, once it is known.
    pub(super) fn wait(&mut self) -> Last {
        let Some(thread) = self.thread.as_ref().filter(|_| self.away) else { return Last::Nothing };
        match thread.done.recv() {
            Ok(done) => self.is_back(done),
            Err(_) => self.has_died(),
        }
    }

    fn is_back(&mut self, done: Done<F>) -> Last {
        self.away = false;
        self.journal = Some(done.journal);
        done.failed.map_or(Last::Left, |(group, error)| Last::Failed(group, error))
    }

    /// Nobody knows what became of its group, so nothing more may leave: this thread goes the same way, which is noticed, and
    /// the next process settles what was left.
    fn has_died(&mut self) -> Last {
        if let Some(Err(panic)) = self.thread.take().map(|thread| thread.handle.join()) {
            std::panic::resume_unwind(panic);
        }
        Last::Away
    }
}

/// `None`: the system has no thread to give.
fn start<F: Fs>(sink: impl Sink, inbox: Arc<Inbox>) -> Option<Thread<F>> {
    let (errands, to_do) = mpsc::sync_channel(1);
    let (done, results) = mpsc::sync_channel(1);
    let work = move || {
        for errand in to_do {
            if done.send(run(errand, &sink)).is_err() {
                return;
            }
            inbox.written();
        }
    };
    let handle = std::thread::Builder::new().name("journal".to_owned()).spawn(work);
    let handle = handle.inspect_err(|error| {
        tracing::warn!(%error, "no thread for the journal: what is due waits for the disk");
    });
    Some(Thread { errands, done: results, handle: handle.ok()? })
}

fn run<F: Fs>(errand: Errand<F>, sink: &impl Sink) -> Done<F> {
    let Errand { mut journal, group } = errand;
    match journal.append(group.intents()) {
        Ok(()) => {
            group.send(sink);
            Done { journal, failed: None }
        }
        Err(error) => Done { journal, failed: Some((group, error)) },
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::tests::due;
    use super::*;
    use crate::disk::faulty::{Faulty, Op};
    use crate::ids::{DestinationName, LaneName, SpoolId, TopicName};
    use crate::kafka::Window;
    use std::sync::Mutex;
    use std::time::Duration;

    /// How many syncs there had been when each window was sent.
    #[derive(Clone, Default)]
    struct Sent(Faulty, Arc<Mutex<Vec<u64>>>);

    impl Sink for Sent {
        fn send(&self, _: Window) {
            self.1.lock().unwrap().push(self.0.count(Op::SyncData));
        }
        fn track(&self, _: TopicName) {}
    }

    fn journal(fs: &Faulty, dir: &std::path::Path) -> Journal<Faulty> {
        let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
        Journal::open(fs, dir, SpoolId(7), &lane, &home).0
    }

    #[test]
    fn windows_leave_once_what_is_said_of_them_is_synced_and_the_desk_is_told() {
        let (dir, sink, inbox) = (tempfile::tempdir().unwrap(), Sent::default(), Arc::new(Inbox::default()));
        let mut book = journal(&sink.0, dir.path());
        book.begin([]).unwrap();
        let mut scribe = Scribe::new(Some(book));
        let (before, mut expected) = (sink.0.count(Op::SyncData), Vec::new());
        for round in 1..=3 {
            let group = due();
            let windows = group.intents().count();
            assert!(windows > 1, "{windows}");
            assert!(scribe.is_free() && scribe.hand_over(group, &sink, &inbox).is_none());
            assert!(scribe.writes() && !scribe.is_free() && scribe.journal().is_none());
            assert!(inbox.wait(Duration::from_secs(60)).written);
            assert!(matches!(scribe.last(), Last::Left) && matches!(scribe.wait(), Last::Nothing));
            expected.extend(vec![before + round; windows]);
            assert_eq!(*sink.1.lock().unwrap(), expected, "one sync for all of a group");
        }
    }

    #[test]
    fn a_group_that_can_not_be_written_comes_back_whole_and_nothing_of_it_has_left() {
        let (dir, sink, inbox) = (tempfile::tempdir().unwrap(), Sent::default(), Arc::default());
        let mut book = journal(&sink.0, dir.path());
        book.begin([]).unwrap();
        let mut scribe = Scribe::new(Some(book));
        sink.0.fail_next(Op::SyncData, 1);
        let windows = due().intents().count();
        assert!(scribe.hand_over(due(), &sink, &inbox).is_none());
        let Last::Failed(group, JournalError::Disk(_)) = scribe.wait() else { panic!("it did not fail") };
        assert_eq!((group.intents().count(), sink.1.lock().unwrap().len()), (windows, 0));
        assert!(!scribe.is_free(), "a failed sync is believed");
        assert!(scribe.journal().is_some());
    }

    #[test]
    fn where_nothing_is_written_down_a_group_is_given_back() {
        let (sink, inbox) = (Sent::default(), Arc::default());
        let mut scribe = Scribe::<Faulty>::new(None);
        assert!(!scribe.writes() && !scribe.is_free());
        assert!(scribe.hand_over(due(), &sink, &inbox).is_some());
        assert!(matches!(scribe.last(), Last::Nothing) && sink.1.lock().unwrap().is_empty());
    }
}
