//! The ledger's thread: the only one that touches the store.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::LedgerError;
use super::aside::set_aside;
use super::row::{Page, Query, Row};
use super::store::{Fault, Store};

/// What the thread is asked.
pub(super) enum Command {
    Record(Row),
    Page(Query, SyncSender<Result<Page, LedgerError>>),
    Flush(SyncSender<Result<(), LedgerError>>),
    Close(SyncSender<()>),
}

pub(super) type Opener = Box<dyn FnMut(&Path) -> Result<Box<dyn Store>, Fault> + Send>;

/// Bounds and patience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Rows that wait in memory for the disk; beyond, the oldest are given up.
    pub(super) waiting: usize,
    /// How often stores may break in one run; then the ledger stays closed until the next.
    pub(super) breaks: u32,
    /// How soon rows that wait are tried again.
    pub(super) retry: Duration,
}

impl Patience {
    pub(super) const DEFAULT: Patience =
        Patience { waiting: 1024, breaks: 3, retry: Duration::from_secs(30) };
}

/// The thread's state.
pub(super) struct Keeper {
    pub(super) dir: PathBuf,
    pub(super) open: Opener,
    pub(super) patience: Patience,
    pub(super) missed: Arc<AtomicU64>,
    store: Option<Box<dyn Store>>,
    waiting: VecDeque<Row>,
    breaks: u32,
    in_trouble: bool,
}

impl Keeper {
    pub(super) fn new(dir: PathBuf, open: Opener, patience: Patience, missed: Arc<AtomicU64>) -> Self {
        Self {
            dir,
            open,
            patience,
            missed,
            store: None,
            waiting: VecDeque::new(),
            breaks: 0,
            in_trouble: false,
        }
    }

    /// Serves until it is told to close or nobody can tell it anything any more.
    ///
    /// The store stays open once it is: sled keeps most of a closed one's memory, so that closing it when
    /// idle and opening it again costs more than it gives back (measured, see docs/decisions).
    pub(super) fn run(mut self, commands: Receiver<Command>) {
        loop {
            match commands.recv_timeout(self.next_wake()) {
                Ok(command) => {
                    if let Some(closed) = self.serve(command, &commands) {
                        // First, so that whoever hears that it is closed is refused from then on.
                        drop(commands);
                        self.close_store();
                        // Whoever waited for it may be gone by now.
                        let _gone = closed.send(());
                        return;
                    }
                }
                // Its failure was logged and leads to the next try.
                Err(RecvTimeoutError::Timeout) => drop(self.note_trouble()),
                Err(RecvTimeoutError::Disconnected) => {
                    drop(self.note_trouble());
                    self.close_store();
                    return;
                }
            }
        }
    }

    fn next_wake(&self) -> Duration {
        const FOREVER: Duration = Duration::from_secs(1 << 30);
        if self.waiting.is_empty() { FOREVER } else { self.patience.retry }
    }

    /// Does one command; a run of rows that wait in the queue shares one sync.
    fn serve(&mut self, first: Command, commands: &Receiver<Command>) -> Option<SyncSender<()>> {
        let mut next = Some(first);
        while let Some(Command::Record(row)) = next {
            self.hold(row);
            next = commands.try_recv().ok();
        }
        let settled = self.note_trouble();
        // An answer nobody waits for any more is no loss.
        match next {
            Some(Command::Page(query, reply)) => drop(reply.send(settled.and_then(|()| self.page(&query)))),
            Some(Command::Flush(reply)) => drop(reply.send(settled)),
            Some(Command::Close(reply)) => return Some(reply),
            Some(Command::Record(_)) | None => {}
        }
        None
    }

    fn hold(&mut self, row: Row) {
        if self.waiting.len() >= self.patience.waiting && self.waiting.pop_front().is_some() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
        self.waiting.push_back(row);
    }

    /// Settles, and says so when that begins or ends to fail.
    fn note_trouble(&mut self) -> Result<(), LedgerError> {
        let settled = self.settle();
        match &settled {
            Err(error) if !self.in_trouble => {
                tracing::error!(%error, waiting = self.waiting.len(), "delivery ledger: rows can't be written; delivery goes on");
            }
            Ok(()) if self.in_trouble => {
                tracing::info!(
                    missed = self.missed.load(Ordering::Relaxed),
                    "delivery ledger: rows are written again"
                );
            }
            _ => {}
        }
        self.in_trouble = settled.is_err();
        settled
    }

    /// Makes every row that waits durable.
    fn settle(&mut self) -> Result<(), LedgerError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        let settled = self.with_store(|store| {
            store.put(&mut rows.iter())?;
            store.sync()
        });
        if settled.is_err() {
            self.waiting = rows;
        }
        settled
    }

    fn page(&mut self, query: &Query) -> Result<Page, LedgerError> {
        // Nothing was ever noted down: no reason to make a store.
        if self.store.is_none() && !self.dir.exists() {
            return Ok(Page::default());
        }
        self.with_store(|store| store.page(query))
    }

    /// Does `work` on the store, opened if need be; one that breaks is set aside and `work` is done on the
    /// next.
    fn with_store<T>(
        &mut self,
        mut work: impl FnMut(&mut dyn Store) -> Result<T, Fault>,
    ) -> Result<T, LedgerError> {
        loop {
            if self.breaks > self.patience.breaks {
                return Err(LedgerError::Closed(format!(
                    "its store broke {} times since the start; restart the agent to try again",
                    self.breaks
                )));
            }
            let done = match self.opened() {
                Ok(store) => guarded(|| work(store)),
                Err(fault) => Err(fault),
            };
            match done {
                Ok(value) => return Ok(value),
                Err(Fault::Disk(cause)) => {
                    self.close_store();
                    return Err(LedgerError::Disk { path: self.dir.clone(), cause });
                }
                Err(Fault::Broken(cause)) => self.replace(&cause)?,
            }
        }
    }

    fn opened(&mut self) -> Result<&mut dyn Store, Fault> {
        let store = match self.store.take() {
            Some(store) => store,
            None => guarded(|| (self.open)(&self.dir))?,
        };
        Ok(self.store.insert(store).as_mut())
    }

    fn replace(&mut self, cause: &str) -> Result<(), LedgerError> {
        self.breaks += 1;
        // INVARIANT: a broken store is never dropped. sled's destructors flush and unwrap; a panic in one
        // while another unwinds aborts the process. What leaks is bounded by `Patience::breaks`.
        std::mem::forget(self.store.take());
        match set_aside(&self.dir) {
            Ok(aside) => {
                tracing::error!(%cause, aside = %aside.display(), "delivery ledger: set aside and begun anew; nothing else depends on it");
                Ok(())
            }
            Err(error) => Err(LedgerError::Disk {
                path: self.dir.clone(),
                cause: format!("{cause}; and it can't be set aside: {error}"),
            }),
        }
    }

    fn close_store(&mut self) {
        let store = self.store.take();
        if let Err(Fault::Broken(cause) | Fault::Disk(cause)) = guarded(|| {
            drop(store);
            Ok(())
        }) {
            tracing::error!(%cause, "delivery ledger: closing failed; rows written since the last flush may be gone");
        }
    }
}

/// Runs code of the store; a panic there is a broken store, not a dead thread.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(Fault::Broken(format!("panicked: {}", crate::panics::shown(&*panic, false))))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::sync_channel;

    use super::super::codec::tests::{key, row};
    use super::super::{Ledger, SledLedger};
    use super::*;
    use crate::logs::testing::said;

    /// What stores are told, and what became of them.
    #[derive(Default)]
    struct Told {
        /// Of the next tries, the last first.
        faults: Vec<Fault>,
        kept: usize,
        opened: u32,
        closed: u32,
        /// A store closes when this is closed, or a moment later.
        gate: Option<Receiver<()>>,
    }

    struct Stub(Arc<Mutex<Told>>);

    impl Store for Stub {
        fn put(&mut self, rows: &mut dyn Iterator<Item = &Row>) -> Result<(), Fault> {
            let mut told = self.0.lock().unwrap();
            told.kept += rows.count();
            told.faults.pop().map_or(Ok(()), Err)
        }

        fn sync(&mut self) -> Result<(), Fault> {
            Ok(())
        }

        fn page(&self, _: &Query) -> Result<Page, Fault> {
            Ok(Page::default())
        }
    }

    impl Drop for Stub {
        fn drop(&mut self) {
            let gate = self.0.lock().unwrap().gate.take();
            let _elapsed = gate.map(|gate| gate.recv_timeout(Duration::from_millis(20)));
            self.0.lock().unwrap().closed += 1;
        }
    }

    fn stubs(faults: Vec<Fault>) -> (Opener, Arc<Mutex<Told>>) {
        let told = Arc::new(Mutex::new(Told { faults, ..Told::default() }));
        let opens = Arc::clone(&told);
        let open = move |_: &Path| {
            opens.lock().unwrap().opened += 1;
            Ok(Box::new(Stub(Arc::clone(&opens))) as Box<dyn Store>)
        };
        (Box::new(open), told)
    }

    /// With one row that waits.
    fn keeper(home: &Path, faults: Vec<Fault>, breaks: u32) -> (Keeper, Arc<Mutex<Told>>) {
        let (open, told) = stubs(faults);
        let patience = Patience { breaks, ..Patience::DEFAULT };
        let mut keeper = Keeper::new(home.join("ledger"), open, patience, Arc::default());
        keeper.hold(row(key("main", "home", 1), 7));
        (keeper, told)
    }

    fn opened_and_closed(told: &Mutex<Told>) -> (u32, u32) {
        let told = told.lock().unwrap();
        (told.opened, told.closed)
    }

    fn full() -> Fault {
        Fault::Disk("No space left on device".into())
    }

    #[test]
    fn it_wakes_by_itself_only_while_rows_wait() {
        let home = tempfile::tempdir().unwrap();
        let (mut keeper, _told) = keeper(home.path(), vec![], 0);
        assert_eq!(keeper.next_wake(), Patience::DEFAULT.retry);
        keeper.note_trouble().unwrap();
        assert!(keeper.next_wake() > Duration::from_secs(1_000_000));
    }

    #[test]
    fn it_is_given_up_when_stores_break_more_often_than_there_is_patience_for() {
        let home = tempfile::tempdir().unwrap();
        let broken = |times| std::iter::repeat_with(|| Fault::Broken("rot".into())).take(times).collect();
        let (mut patient, told) = keeper(home.path(), broken(2), 2);
        patient.note_trouble().unwrap();
        assert_eq!(told.lock().unwrap().opened, 3);
        let (mut given_up, told) = keeper(home.path(), broken(3), 2);
        assert!(matches!(given_up.note_trouble(), Err(LedgerError::Closed(_))));
        assert_eq!(told.lock().unwrap().opened, 3);
    }

    #[test]
    fn that_rows_can_not_be_written_is_said_once_and_so_is_that_they_are_again() {
        let home = tempfile::tempdir().unwrap();
        let (mut keeper, _told) = keeper(home.path(), vec![full(), full(), full()], 0);
        let said: Vec<_> = (0..6).map(|_| said(|| keeper.note_trouble()).1.concat()).collect();
        let is = |line: &String| (line.contains("can't be written"), line.contains("written again"));
        let (silence, trouble, end) = ((false, false), (true, false), (false, true));
        assert_eq!(
            said.iter().map(is).collect::<Vec<_>>(),
            [trouble, silence, silence, end, silence, silence],
            "{said:?}"
        );
    }

    #[test]
    fn a_store_that_the_disk_fails_is_closed_and_opened_anew() {
        let home = tempfile::tempdir().unwrap();
        let (mut keeper, told) = keeper(home.path(), vec![full()], 0);
        keeper.note_trouble().unwrap_err();
        assert_eq!(opened_and_closed(&told), (1, 1));
        keeper.note_trouble().unwrap();
        assert_eq!(opened_and_closed(&told), (2, 1));
    }

    #[test]
    fn a_ledger_that_is_dropped_is_closed_first() {
        let home = tempfile::tempdir().unwrap();
        let (open, told) = stubs(vec![]);
        let (_open_until_the_end, gate) = sync_channel(0);
        told.lock().unwrap().gate = Some(gate);
        let ledger = SledLedger::start_over(home.path().join("ledger"), open, Patience::DEFAULT).unwrap();
        ledger.record(row(key("main", "home", 1), 7)).unwrap();
        drop(ledger);
        assert_eq!(opened_and_closed(&told), (1, 1));
        assert_eq!(told.lock().unwrap().kept, 1);
    }
}
