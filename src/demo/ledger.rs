//! The ledger: what senders were told is accepted, kept by a process of its own.
//!
//! INVARIANT: the ledger hears of an event only after its sender got the agent's "accepted", and knows
//! nothing else. So whatever the agent forgets, the ledger remembers.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::DemoError;

/// Numbers of one sender that were acknowledged together, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) sender: u32,
    pub(super) first: u32,
    pub(super) last: u32,
}

/// The separate process: appends its standard input to `path`, synced, until that ends.
///
/// # Errors
/// [`DemoError::Folder`] when the file can't be written.
pub fn keep_ledger(path: &Path) -> Result<(), DemoError> {
    append_input(path).map_err(|source| DemoError::Folder { path: path.to_owned(), source })
}

fn append_input(path: &Path) -> io::Result<()> {
    let mut file = File::options().create_new(true).append(true).open(path)?;
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return file.sync_all();
        }
        file.write_all(buffer.get(..read).unwrap_or_default())?;
        file.sync_data()?;
    }
}

/// The demo's end of the ledger process.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    child: Child,
    input: Mutex<Option<ChildStdin>>,
}

impl Ledger {
    pub(super) fn start(path: PathBuf) -> Result<Self, DemoError> {
        let failed = DemoError::process;
        let binary = std::env::current_exe().map_err(failed("finding this program"))?;
        let mut child = Command::new(binary)
            .args(["demo-part", "ledger"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed("starting the ledger process"))?;
        let input = Mutex::new(child.stdin.take());
        Ok(Self { path, child, input })
    }

    /// Writes an entry. The pipe is the bound: a ledger that lags holds its senders up.
    pub(super) fn note(&self, entry: Entry) -> io::Result<()> {
        let line = format!("{} {} {}\n", entry.sender, entry.first, entry.last);
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        match input.as_mut() {
            Some(pipe) => pipe.write_all(line.as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Ends the process and reads what it kept.
    pub(super) fn close(mut self) -> Result<Vec<Entry>, DemoError> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
        let status = self.child.wait().map_err(DemoError::process("waiting for the ledger process"))?;
        if !status.success() {
            return Err(DemoError::Part(format!("the ledger process failed: {status}")));
        }
        let text = fs::read_to_string(&self.path)
            .map_err(|source| DemoError::Folder { path: self.path.clone(), source })?;
        Ok(text.lines().filter_map(parse).collect())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(line: &str) -> Option<Entry> {
    let mut fields = line.split(' ').map(str::parse);
    let mut next = || fields.next()?.ok();
    Some(Entry { sender: next()?, first: next()?, last: next()? })
}
