//! The spool on the simulated disk: every crash, every error, every bit, against a witness who remembers what was
//! promised.
//!
//! A [`Site`] is a host with a disk, a lane driven by hand, and a consumer that keeps its position as delivery does.
//! The [`Witness`] knows what was sent, acknowledged and delivered, and after which call of the disk each of it
//! happened. [`verify`] starts a new site on what a crash left and demands everything that was promised.

#![allow(clippy::print_stdout, reason = "figures of what was tried, for docs/reliability.md")]

mod controls;
mod exhaustive;
mod faults;
mod long;
mod rot;
mod site;
mod stop;
mod verify;
mod withheld;
mod witness;
mod worn;

use std::sync::atomic::{AtomicUsize, Ordering};

use verify::Tried;

/// Does `work` for every number below `count`, on as many threads as there are processors; sums what it counts. The
/// first error ends it.
pub(super) fn parallel(
    count: usize,
    work: impl Fn(usize) -> Result<(u64, Tried), String> + Sync,
) -> Result<(u64, Tried), String> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let worker = || {
        let (mut done, mut tried) = (0, Tried::default());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok::<_, String>((done, tried));
            }
            let more = work(number).inspect_err(|_| next.store(count, Ordering::Relaxed))?;
            done += more.0;
            tried += more.1;
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        started.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let mut all = (0, Tried::default());
    for result in results {
        let (done, tried) = result?;
        all.0 += done;
        all.1 += tried;
    }
    Ok(all)
}

/// Whether this is the long version (`just soak-spool`).
pub(super) fn soaking() -> bool {
    std::env::var("SPOOLWAY_SOAK").is_ok_and(|v| v == "1")
}
