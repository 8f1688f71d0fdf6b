//! What else the producer of a window in doubt has sent: after an older copy was put back, the log has never had it. After anything else it has.

use std::sync::Arc;
use std::time::Duration;

use super::Site;
use crate::ids::Seq;

const SOON: Duration = Duration::from_secs(40);

/// What a process finds whose events 1 to 5 are settled, 6 to 10 in doubt and `waiting` unsent by what was written down, while the one before has
/// sent those and three more.
async fn left_behind(log_too: bool, waiting: u64) -> Site {
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
    site.drain(SOON, "in the next process").await;
    site
}

#[tokio::test(start_paused = true)]
async fn after_a_copy_was_put_back_an_event_is_seen_that_its_log_has_never_had() {
    let mut site = left_behind(true, 0).await;
    let seen: Vec<_> = site.seen.drain(..).map(|event| event.seq).collect();
    assert_eq!(seen, [Seq(13)]);
    assert_eq!(site.doubled(), 0, "what was in doubt was found");
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

/// The journal could not be written for a while, and windows went without it.
#[tokio::test(start_paused = true)]
async fn after_a_journal_that_could_not_be_written_what_is_seen_is_in_the_log() {
    let mut site = left_behind(false, 0).await;
    let seen: Vec<_> = site.seen.drain(..).collect();
    assert_eq!(seen.iter().map(|event| event.seq).collect::<Vec<_>>(), [Seq(13)]);
    assert!(seen.iter().all(|event| site.log.identities().contains(&(event.run, event.seq))));
}
