//! How many bytes from senders are held in memory at once, over all sources.
//!
//! INVARIANT: whoever waits here is never waiting for somebody who waits here too. When the shared part is
//! used up, one holder at a time may overdraw it up to its own limits; it finishes, gives everything back,
//! and the next one goes on. So the memory held is at most the budget, one largest request, and [`FREE`] for
//! each holder, besides the decoders that have their turn (`http/decode.rs`), of which each source has two.
//!
//! The first [`FREE`] bytes of each holder are not asked for: ordinary requests get through while a few large
//! ones that never end hold all there is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

const UNIT: usize = 1024;
/// Held by everybody without asking; the number of holders has its own bound (`max_connections`).
pub(super) const FREE: usize = 16 * 1024;
/// Between two holders that give way: what the first gives back may be enough.
const TURN: Duration = Duration::from_millis(100);

/// How many wait.
#[derive(Debug, Default, Clone, Copy)]
struct Wanted {
    /// For a shared part, or the overdraft, whichever comes first.
    either: usize,
    /// For the overdraft alone: no shared part is of use to them.
    overdraft: usize,
}

/// The bytes to share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    /// What there is to share, in units.
    units: usize,
    shared: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
    waiting: Arc<watch::Sender<Wanted>>,
    /// When a holder gave way last.
    gave_way: Arc<Mutex<Option<Instant>>>,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT);
        let (shared, overdraft) = (Arc::new(Semaphore::new(units)), Arc::new(Semaphore::new(1)));
        Self { units, shared, overdraft, waiting: Arc::default(), gave_way: Arc::default() }
    }

    /// Takes the turn to give way; when it is to be asked again, if another one had it just now.
    fn take_turn(&self) -> Option<Instant> {
        let mut last = self.gave_way.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let next = last.map(|last| last + TURN).filter(|next| *next > now);
        if next.is_none() {
            *last = Some(now);
        }
        next
    }

    /// A holder that holds nothing yet.
    pub(super) fn holder(&self) -> Held {
        Held { budget: self.clone(), permits: None, overdraft: None }
    }
}

/// What a holder has that others could wait for.
#[derive(Debug, Clone)]
pub(super) struct Stake {
    budget: Budget,
    shared: bool,
    overdraft: bool,
}

impl Stake {
    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        self.shared || self.overdraft
    }

    /// Resolves when somebody waits for it and it is this holder's turn to give way: one at a time, for the others' parts may
    /// not be needed.
    pub(super) async fn wanted(&self) {
        let mut waiting = self.budget.waiting.subscribe();
        let helps =
            |wanted: &Wanted| wanted.either > 0 && self.is_any() || wanted.overdraft > 0 && self.overdraft;
        loop {
            // It is never closed: we have it.
            let _ = waiting.wait_for(helps).await;
            let Some(next) = self.budget.take_turn() else { return };
            tokio::time::sleep_until(next).await;
        }
    }
}

/// One who waits, for as long as this lives.
struct Waiting {
    all: Arc<watch::Sender<Wanted>>,
    which: fn(&mut Wanted) -> &mut usize,
}

impl Waiting {
    fn of(budget: &Budget, which: fn(&mut Wanted) -> &mut usize) -> Self {
        budget.waiting.send_modify(|wanted| *which(wanted) += 1);
        Self { all: Arc::clone(&budget.waiting), which }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.send_modify(|wanted| *(self.which)(wanted) -= 1);
    }
}

/// What has to be asked for to hold `bytes`.
fn units(bytes: usize) -> usize {
    bytes.saturating_sub(FREE).div_ceil(UNIT)
}

/// What one request or connection holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Budget,
    permits: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Waits until `bytes` in all are held. Dropping the future leaves what was held before.
    pub(super) async fn cover(&mut self, bytes: usize) {
        if self.try_cover(bytes) {
            return;
        }
        if units(bytes) > self.budget.units {
            let _waiting = Waiting::of(&self.budget, |wanted| &mut wanted.overdraft);
            // So much there is not to be had: waiting for it would gather all that others give back.
            self.overdraft = Arc::clone(&self.budget.overdraft).acquire_owned().await.ok();
            return;
        }
        let _waiting = Waiting::of(&self.budget, |wanted| &mut wanted.either);
        let missing = u32::try_from(self.missing(bytes)).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            got = Arc::clone(&self.budget.shared).acquire_many_owned(missing) => self.add(got.ok()),
            got = Arc::clone(&self.budget.overdraft).acquire_owned() => self.overdraft = got.ok(),
        }
    }

    /// Takes `bytes` in all if they are free now.
    pub(super) fn try_cover(&mut self, bytes: usize) -> bool {
        let missing = self.missing(bytes);
        if missing == 0 {
            return true;
        }
        let Ok(missing) = u32::try_from(missing) else { return false };
        let got = Arc::clone(&self.budget.shared).try_acquire_many_owned(missing).ok();
        let done = got.is_some();
        self.add(got);
        done
    }

    /// What it holds that others could have.
    pub(super) fn stake(&self) -> Stake {
        Stake { budget: self.budget.clone(), shared: self.held() > 0, overdraft: self.overdraft.is_some() }
    }

    /// Gives back all but `bytes`.
    pub(super) fn keep(&mut self, bytes: usize) {
        if units(bytes) <= self.held() {
            self.overdraft = None;
        }
        let surplus = self.held().saturating_sub(units(bytes));
        if surplus > 0 {
            drop(self.permits.as_mut().and_then(|p| p.split(surplus)));
        }
    }

    /// Moves all but `bytes` to a new holder.
    pub(super) fn split_but(&mut self, bytes: usize) -> Held {
        let surplus = self.held().saturating_sub(units(bytes));
        let permits = self.permits.as_mut().and_then(|p| p.split(surplus));
        Held { budget: self.budget.clone(), permits, overdraft: self.overdraft.take() }
    }

    fn held(&self) -> usize {
        self.permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn missing(&self, bytes: usize) -> usize {
        if self.overdraft.is_some() { 0 } else { units(bytes).saturating_sub(self.held()) }
    }

    fn add(&mut self, more: Option<OwnedSemaphorePermit>) {
        let Some(more) = more else { return };
        match &mut self.permits {
            Some(permits) => permits.merge(more),
            none => *none = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that cost a holder `units`.
    fn of(units: usize) -> usize {
        FREE + units * UNIT
    }

    #[tokio::test]
    async fn what_is_dropped_is_given_back() {
        let budget = Budget::new(10 * UNIT);
        let mut first = budget.holder();
        assert!(first.try_cover(of(10)));
        assert!(!budget.holder().try_cover(of(1)));
        first.keep(of(4));
        assert!(budget.holder().try_cover(of(6)));
        drop(first);
        assert!(budget.holder().try_cover(of(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_wants_more_than_there_is_at_all_keeps_it_from_nobody_while_another_overdraws() {
        let budget = Budget::new(4 * UNIT);
        let (mut first, mut second) = (budget.holder(), budget.holder());
        first.cover(of(5)).await;
        let (mut third, mut fourth) = (budget.holder(), budget.holder());
        let wait = tokio::spawn(async move { second.cover(of(5)).await });
        tokio::task::yield_now().await;
        tokio::time::timeout(Duration::from_secs(1), third.cover(of(3))).await.expect("that is free");
        tokio::time::timeout(Duration::from_secs(1), fourth.cover(of(1))).await.expect("that is free");
        drop(first);
        wait.await.expect("it has the overdraft now");
    }

    #[tokio::test]
    async fn a_little_is_always_free() {
        let budget = Budget::new(UNIT);
        let mut greedy = budget.holder();
        assert!(greedy.try_cover(of(1)));
        assert!(budget.holder().try_cover(FREE));
        assert!(!budget.holder().try_cover(FREE + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_holder_may_overdraw_and_the_next_waits_for_it() {
        let budget = Budget::new(4 * UNIT);
        let (mut first, mut second) = (budget.holder(), budget.holder());
        first.cover(of(2)).await;
        second.cover(of(2)).await;
        // Both want more than there is: without the overdraft they would wait for each other forever.
        first.cover(of(9)).await;
        first.cover(of(100)).await;
        assert!(tokio::time::timeout(Duration::from_secs(1), second.cover(of(3))).await.is_err());
        drop(first);
        second.cover(of(3)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_keeps_no_more_than_is_paid_for_gives_the_overdraft_back() {
        let budget = Budget::new(4 * UNIT);
        let (mut first, mut second) = (budget.holder(), budget.holder());
        first.cover(of(5)).await;
        first.keep(of(1));
        assert!(tokio::time::timeout(Duration::from_secs(1), second.cover(of(5))).await.is_err());
        first.keep(FREE);
        second.cover(of(5)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn holders_give_way_one_after_the_other_until_nobody_waits() {
        let budget = Budget::new(10 * UNIT);
        let (mut overdraws, mut waits) = (budget.holder(), budget.holder());
        overdraws.cover(of(11)).await;
        let holders: Vec<_> = (0..10)
            .map(|_| {
                let mut holder = budget.holder();
                assert!(holder.try_cover(of(1)));
                tokio::spawn(async move {
                    holder.stake().wanted().await;
                    drop(holder);
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(10)).await;
        waits.cover(of(3)).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(holders.iter().filter(|holder| holder.is_finished()).count(), 3);
        holders.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_overdraft_alone_wants_it_of_the_one_who_has_it() {
        let budget = Budget::new(4 * UNIT);
        let (mut shares, mut overdraws, mut waits) = (budget.holder(), budget.holder(), budget.holder());
        shares.cover(of(2)).await;
        overdraws.cover(of(5)).await;
        let wait = tokio::spawn(async move { waits.cover(of(5)).await });
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, shares.stake().wanted()).await.is_err(), "it can't help");
        tokio::time::timeout(hour, overdraws.stake().wanted()).await.expect("it can");
        drop(overdraws);
        wait.await.expect("it has the overdraft now");
    }

    #[tokio::test]
    async fn what_is_split_off_is_given_back_by_its_new_holder() {
        let budget = Budget::new(10 * UNIT);
        let mut first = budget.holder();
        assert!(first.try_cover(of(10)));
        let second = first.split_but(of(3));
        assert!(!budget.holder().try_cover(of(1)));
        drop(second);
        assert!(budget.holder().try_cover(of(7)));
        assert!(!budget.holder().try_cover(of(8)));
    }
}
