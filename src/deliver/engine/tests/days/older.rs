//! What else the producer of a window in doubt has sent: after an older copy was put back, the log has never had it. After anything else it has.

use std::sync::Arc;
use std::time::Duration;

use super::Site;
use crate::ids::Seq;
use crate::kafka::RecordHeader;

const SOON: Duration = Duration::from_secs(40);

impl Site {
    /// Whatever the story, unless something was put back the log has it.
    pub(super) fn saw(&mut self, seen: Vec<RecordHeader>) {
        if !seen.is_empty() && !self.is_put_back {
            let held = self.log.identities();
            let foreign = seen.iter().find(|event| !held.contains(&(event.run, event.seq)));
            assert!(foreign.is_none(), "nothing was put back, and the log would not know of {foreign:?}");
        }
        self.seen.extend(seen);
    }
}

/// What a process finds whose events 1 to 5 are settled, 6 to 10 in doubt and `waiting` unsent by what was written down, while the one before has
/// sent those and three more.
async fn left_behind(log_too: bool, waiting: u64) -> Site {
    let mut site = to_be_looked_for(log_too, waiting).await;
    site.drain(SOON, "in the next process").await;
    site
}

/// The same, of a process that has just begun.
async fn to_be_looked_for(log_too: bool, waiting: u64) -> Site {
    let mut site = Site::new(1).await;
    site.begin();
    site.accept(5);
    site.drain(SOON, "at the start").await;
    let (before, target) = (site.target.counts().borrow().batches, Arc::clone(&site.target));
    site.target.faults().hold_answers();
    site.accept(5);
    assert!(site.go_on(SOON, |_| target.counts().borrow().batches > before).await);
    (0..waiting / 25).for_each(|_| site.accept(25));
    let (log, positions, intents) = (site.log.copied(), site.positions.clone(), site.intents.clone());
    site.target.faults().release_answers();
    site.drain(SOON, "before the end").await;
    site.accept(3);
    site.drain(SOON, "at the end").await;
    site.kill();
    if log_too {
        site.log = log;
    }
    (site.positions, site.intents, site.is_put_back) = (positions, intents, log_too);
    site.begin();
    site
}

#[tokio::test(start_paused = true)]
async fn after_a_copy_was_put_back_an_event_is_seen_that_its_log_has_never_had() {
    let mut site = left_behind(true, 0).await;
    let seen: Vec<_> = site.seen.drain(..).map(|event| event.seq).collect();
    assert_eq!(seen, [Seq(13)]);
    assert_eq!(site.doubled(), 0, "what was in doubt was found");
    assert_eq!(site.target.counts().borrow().fetches, 1, "the answer it was found in reached the end");
}

#[tokio::test(start_paused = true)]
async fn what_waited_when_the_copy_was_made_hides_nothing_though_it_is_more_than_one_answer_of_a_broker_holds()
 {
    const WAITING: u64 = 10_000;
    let mut site = left_behind(true, WAITING).await;
    let sizes = site.target.batches("t", 0).unwrap();
    let bytes: usize = sizes.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes > 4 * (64 << 10), "{bytes}");
    let seen: Vec<_> = site.seen.drain(..).map(|event| event.seq).collect();
    assert_eq!(seen, [Seq(WAITING + 13)]);
}

/// A consumer's quota used up by the answer in which it was found, or a leader that freezes behind that.
#[tokio::test(start_paused = true)]
async fn a_broker_that_falls_silent_after_a_window_was_found_does_not_keep_back_that_it_was() {
    let mut site = to_be_looked_for(true, 10_000).await;
    let target = Arc::clone(&site.target);
    let silence = tokio::spawn(async move {
        target.counts().wait_for(|counts| counts.fetches > 0).await.unwrap();
        target.faults().stall();
    });
    let before = site.told.delivered;
    assert!(site.go_on(Duration::from_secs(3), |site| site.told.delivered > before).await);
    silence.await.unwrap();
}

/// The journal could not be written for a while, and windows went without it.
#[tokio::test(start_paused = true)]
async fn after_a_journal_that_could_not_be_written_what_is_seen_is_in_the_log() {
    let mut site = left_behind(false, 0).await;
    let seen: Vec<_> = site.seen.drain(..).collect();
    assert_eq!(seen.iter().map(|event| event.seq).collect::<Vec<_>>(), [Seq(13)]);
    assert!(seen.iter().all(|event| site.log.identities().contains(&(event.run, event.seq))));
}
