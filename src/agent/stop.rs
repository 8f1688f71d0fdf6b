//! The end of an agent: lanes, deliveries, what copies dead letters, the ledger, in this order.
//!
//! What waits for a disk is given time, and is left to itself where the disk does not answer: nothing of it was promised to anybody, and
//! the next start goes on from what is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use tokio::sync::mpsc as tokio_mpsc;
use tokio_util::sync::CancellationToken;

use super::facts::Facts;
use super::stand::Stand;
use crate::admin;
use crate::deliver::Delivery;
use crate::spool::Lane;

/// How long deliveries may take, at a stop, to hear of what is in flight.
const SETTLE: Duration = Duration::from_secs(3);
/// And how long, beyond that, a disk to take what they and the others have to say.
const GRACE: Duration = Duration::from_secs(12);
/// The same, of one that did not answer a lane for so long that it was given up.
const LITTLE_GRACE: Duration = Duration::from_secs(3);
/// How often it is asked whether what is waited for is given up.
const LOOK: Duration = Duration::from_millis(200);

type Work = Box<dyn FnOnce() + Send>;

/// Threads that were left to themselves: each holds a sender of it until it ends.
pub(super) struct Left(tokio_mpsc::Receiver<()>);

impl Left {
    pub(super) fn new() -> (tokio_mpsc::Sender<()>, Self) {
        let (holds, left) = tokio_mpsc::channel(1);
        (holds, Self(left))
    }

    pub(super) fn nothing() -> Self {
        Self::new().1
    }

    /// Resolves when all have ended.
    pub(super) async fn over(&mut self) {
        while self.0.recv().await.is_some() {}
    }
}

/// Returns what has not ended, since its disk does not answer.
pub(super) async fn shut_down(stand: &Stand, facts: &Facts, stop: &CancellationToken) -> Left {
    stop.cancel();
    facts.stopping.store(true, Ordering::Relaxed);
    let (holds, left) = Left::new();
    tokio::task::block_in_place(|| close(stand, &holds));
    drop(holds);
    for delivery in stand.lanes.deliveries() {
        delivery.disconnect().await;
    }
    let waiting: u64 = admin::Facts::status(facts).accounts.iter().map(|a| a.pending).sum();
    tracing::info!(waiting, "stopped");
    left
}

fn close(stand: &Stand, holds: &tokio_mpsc::Sender<()>) {
    let lanes: Vec<Lane> = stand.lanes.iter().map(|open| open.lane.clone()).collect();
    let works = lanes.iter().map(|lane| {
        let lane = lane.clone();
        Box::new(move || lane.close()) as Work
    });
    // A slow disk is waited for; see `Lane::is_hung`.
    let hung = each(works, holds, |index| lanes.get(index).is_none_or(Lane::is_hung));
    let grace = if hung.is_empty() { GRACE } else { LITTLE_GRACE };
    let hung = hung.into_iter().filter_map(|index| lanes.get(index));
    hung.for_each(|lane| say_left(&format!("lane {}", lane.name())));
    let deadline = Instant::now() + SETTLE;
    let late = |_: usize| Instant::now() >= deadline + grace;
    let deliveries: Vec<&Delivery> = stand.lanes.deliveries().collect();
    let works = (0..deliveries.len()).map(|index| {
        let lanes = stand.lanes.clone();
        Box::new(move || lanes.deliveries().skip(index).take(1).for_each(|d| d.close(deadline))) as Work
    });
    let left = each(works, holds, late).into_iter().filter_map(|index| deliveries.get(index));
    left.for_each(|delivery| say_left(&format!("the delivery to {}", delivery.board().destination())));
    let (copying, ledger) = (stand.copying(), Arc::clone(&stand.ledger));
    let late_by = Instant::now() + grace;
    let stop_copying: Work =
        Box::new(move || copying.get().into_iter().for_each(crate::deliver::Copies::close));
    let close_ledger: Work = Box::new(move || ledger.close());
    let left = each([stop_copying, close_ledger], holds, |_| Instant::now() >= late_by);
    let names = ["what copies dead letters", "the ledger"];
    left.into_iter().filter_map(|index| names.get(index)).for_each(|what| say_left(what));
}

fn say_left(what: &str) {
    tracing::error!(
        "the disk does not answer, and {what} waits for it: it is left to itself; what was synced is kept, and the rest unless the power fails or the disk stays away"
    );
}

/// Does each work on a thread of its own, and waits for all, but for those that are given up. Returns which were not done.
fn each(
    works: impl IntoIterator<Item = Work>,
    holds: &tokio_mpsc::Sender<()>,
    is_given_up: impl Fn(usize) -> bool,
) -> BTreeSet<usize> {
    let works: Vec<Work> = works.into_iter().collect();
    // Each says one thing, and waits for nobody.
    let (done, ended) = mpsc::sync_channel(works.len());
    let mut left = BTreeSet::new();
    for (index, work) in works.into_iter().enumerate() {
        let (end, holds) = (End(index, done.clone()), holds.clone());
        std::thread::spawn(move || {
            let _end = end;
            work();
            drop(holds);
        });
        left.insert(index);
    }
    drop(done);
    while left.iter().any(|index| !is_given_up(*index)) {
        match ended.recv_timeout(LOOK) {
            Ok(index) => {
                left.remove(&index);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    ended.try_iter().for_each(|index| {
        left.remove(&index);
    });
    left
}

/// Tells when it is dropped, also by a panic.
struct End(usize, SyncSender<usize>);

impl Drop for End {
    fn drop(&mut self) {
        // Nobody waits any more.
        let _gone = self.1.send(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_does_not_come_back_is_waited_for_until_it_is_given_up_and_everything_else_is_done() {
        let (answer, hangs) = mpsc::sync_channel::<()>(1);
        let (tell, told) = mpsc::sync_channel(1);
        let works: [Work; 4] = [
            Box::new(|| {}),
            Box::new(move || assert!(hangs.recv().is_err())),
            Box::new(|| panic!("on purpose")),
            Box::new(move || tell.send(7).unwrap()),
        ];
        let (asked, (holds, mut threads)) = (Cell::new(0), Left::new());
        let left = each(works, &holds, |index| {
            asked.set(asked.get() + usize::from(index == 1));
            index == 1 && asked.get() > 2
        });
        assert_eq!((left, told.try_recv()), ([1].into(), Ok(7)));
        assert!(asked.get() > 2, "it had its time");
        drop(holds);
        tokio::select! {
            biased;
            () = threads.over() => panic!("one is left"),
            () = tokio::task::yield_now() => {}
        }
        drop(answer);
        assert_eq!(each([], &Left::new().0, |_| panic!("there is nothing")), [].into());
        tokio::time::timeout(Duration::from_secs(30), threads.over()).await.unwrap();
    }
}
