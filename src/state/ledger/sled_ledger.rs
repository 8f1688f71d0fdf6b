//! The ledger's public handle.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::keeper::{Command, Keeper, Opener, Patience};
use super::row::{Page, Query, Row};
use super::store::{SledStore, Store};
use super::{Ledger, LedgerError, MAX_ROWS};

/// Rows and questions that wait for the thread.
const QUEUE: usize = 1024;

/// How long a caller waits for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A [`Ledger`] in `sled`, in a directory of its own.
///
/// Making one starts a thread and does no I/O; the store is opened with the first row or question. Dropping
/// it closes it.
#[derive(Debug)]
pub struct SledLedger {
    commands: SyncSender<Command>,
    missed: Arc<AtomicU64>,
}

impl SledLedger {
    /// Starts the ledger's thread over `dir`, which need not exist (its parent must).
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(dir: PathBuf) -> io::Result<Self> {
        Self::start_with(dir, MAX_ROWS, Patience::DEFAULT)
    }

    pub(super) fn start_with(dir: PathBuf, max_rows: usize, patience: Patience) -> io::Result<Self> {
        let open: Opener =
            Box::new(move |dir| Ok(Box::new(SledStore::open(dir, max_rows)?) as Box<dyn Store>));
        Self::start_over(dir, open, patience)
    }

    pub(super) fn start_over(dir: PathBuf, open: Opener, patience: Patience) -> io::Result<Self> {
        let (commands, queue) = sync_channel(QUEUE);
        let missed = Arc::new(AtomicU64::new(0));
        let keeper = Keeper::new(dir, open, patience, Arc::clone(&missed));
        std::thread::Builder::new().name("ledger".into()).spawn(move || keeper.run(queue))?;
        Ok(Self { commands, missed })
    }

    /// Rows given up since the start, because the disk would not have them.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Writes what waits and closes the store; blocks for at most ten seconds. Rows recorded later are
    /// refused.
    pub fn close(&self) {
        let (reply, closed) = sync_channel(1);
        if self.commands.send(Command::Close(reply)).is_ok() && closed.recv_timeout(ANSWER).is_err() {
            tracing::error!("delivery ledger: not closed within {ANSWER:?}; its last rows may be missing");
        }
    }

    fn ask<T>(
        &self,
        command: impl FnOnce(SyncSender<Result<T, LedgerError>>) -> Command,
    ) -> Result<T, LedgerError> {
        let (reply, answer) = sync_channel(1);
        match self.commands.try_send(command(reply)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(LedgerError::Busy(Duration::ZERO)),
            Err(TrySendError::Disconnected(_)) => return Err(closed()),
        }
        match answer.recv_timeout(ANSWER) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(LedgerError::Busy(ANSWER)),
            Err(RecvTimeoutError::Disconnected) => Err(closed()),
        }
    }
}

fn closed() -> LedgerError {
    LedgerError::Closed("the agent is shutting down".into())
}

impl Ledger for SledLedger {
    fn record(&self, row: Row) -> Result<(), LedgerError> {
        match self.commands.try_send(Command::Record(row)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                // A thread that hangs in the store must not hold up delivery: the row is given up.
                self.missed.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => Err(closed()),
        }
    }

    fn page(&self, query: &Query) -> Result<Page, LedgerError> {
        let mut page = self.ask(|reply| Command::Page(query.clone(), reply))?;
        page.missed = self.missed();
        Ok(page)
    }

    fn flush(&self) -> Result<(), LedgerError> {
        self.ask(Command::Flush)
    }
}

impl Drop for SledLedger {
    fn drop(&mut self) {
        self.close();
    }
}
