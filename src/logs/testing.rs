//! What is said in the log, for tests.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use tracing::Dispatch;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// Keeps what is written to it, and to its clones.
#[derive(Clone, Default)]
pub(super) struct Sink(pub(super) Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `work` returns, and the lines that it says in this thread.
pub(crate) fn said<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    // Where there is one subscriber alone, a line that another thread comes to first is taken for one that nobody wants.
    static ANOTHER: OnceLock<Dispatch> = OnceLock::new();
    ANOTHER.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
    let sink = Sink::default();
    let writer = {
        let sink = sink.clone();
        move || sink.clone()
    };
    let layer = fmt::layer().with_ansi(false).without_time().with_writer(writer);
    let done = tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    (done, text.lines().map(str::to_owned).collect())
}
