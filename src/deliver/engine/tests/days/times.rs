//! Which time stamps records get, where the topic and the time that passes decide it.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use tokio::time::Instant;

use super::{HOUR, Site};
use crate::config::model::TimestampPolicy;
use crate::kafka::clock::unix_now;

const SOON: Duration = Duration::from_secs(20);
const MINUTE: i64 = 60_000;

/// The newest time of each batch in partition 0, as ages.
fn ages(site: &Site) -> Vec<i64> {
    let now = unix_now();
    site.target.batches("t", 0).unwrap().iter().map(|(head, _)| (now - head.max_timestamp) / MINUTE).collect()
}

async fn keeping(retention: i64) -> Site {
    let site = Site::new(1).await;
    site.target.configure("t", "retention.ms", &retention.to_string());
    site
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_the_topic_would_delete_is_sent_under_the_time_of_sending() {
    let mut site = keeping(HOUR).await;
    for minutes in [600, 31, 29, 0] {
        site.accept_at(2, unix_now() - minutes * MINUTE);
        site.begin();
        site.drain(SOON, "a backlog").await;
        site.kill();
    }
    assert_eq!(ages(&site), [0, 0, 29, 0]);
    site.check("a backlog");
}

#[tokio::test(start_paused = true)]
async fn what_a_topic_takes_is_asked_again_and_a_wider_bound_is_used() {
    let mut site = keeping(HOUR).await;
    site.begin();
    site.accept_at(1, unix_now() - 50 * MINUTE);
    site.drain(SOON, "at first").await;
    site.target.configure("t", "retention.ms", "-1");
    site.pass(Duration::from_secs(310)).await;
    site.accept_at(1, unix_now() - 50 * MINUTE);
    site.drain(SOON, "later").await;
    assert_eq!(ages(&site), [5, 50]);
}

#[tokio::test(start_paused = true)]
async fn where_it_may_not_be_read_what_a_topic_takes_the_configured_age_decides() {
    let mut site = keeping(HOUR).await;
    site.target.faults().refuse_calls(ApiKey::DescribeConfigs, 29, u32::MAX);
    site.begin();
    for minutes in [13 * 60, 11 * 60] {
        site.accept_at(1, unix_now() - minutes * MINUTE);
        site.drain(SOON, "not permitted").await;
    }
    assert_eq!(ages(&site), [0, 11 * 60]);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_says_what_a_topic_takes_holds_nothing_back_for_long() {
    let mut site = keeping(HOUR).await;
    site.target.faults().refuse_calls(ApiKey::DescribeConfigs, -1, u32::MAX);
    site.begin();
    site.accept(1);
    let took = site.drain(SOON, "never").await;
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn windows_that_waited_through_an_outage_until_they_were_too_old_are_stamped_anew() {
    // In windows since it began, of which none was ever sent.
    let mut site = keeping(2 * HOUR).await;
    site.begin();
    site.pass(SOON).await;
    site.target.faults().cut().await;
    site.accept(5);
    site.pass(Duration::from_hours(5)).await;
    site.target.faults().restore().await.unwrap();
    site.drain(SOON, "never sent").await;
    assert!(ages(&site).iter().all(|age| *age == 0), "{:?}", ages(&site));
    // And they are counted as such.
    assert_eq!(site.told.restamped, 5);
    site.check("never sent");
}

#[tokio::test(start_paused = true)]
async fn a_window_in_doubt_that_is_too_old_by_now_is_looked_for_before_it_is_stamped_anew() {
    for arrives in [true, false] {
        for dies in [true, false] {
            let what = format!("arrives: {arrives}, dies: {dies}");
            let mut site = keeping(2 * HOUR).await;
            site.begin();
            site.pass(SOON).await;
            if arrives {
                site.target.faults().hold_answers();
            } else {
                site.target.faults().refuse_calls(ApiKey::Produce, 7, u32::MAX);
            }
            site.accept(5);
            site.pass(Duration::from_secs(5)).await;
            site.target.faults().cut().await;
            site.target.faults().refuse_calls(ApiKey::Produce, 7, 0);
            site.target.faults().release_answers();
            site.pass(Duration::from_hours(2)).await;
            if dies {
                site.kill();
                site.begin();
            }
            site.pass(Duration::from_hours(3)).await;
            // It would tell a duplicate, if it remembered.
            site.target.faults().clear_producer_state();
            site.target.faults().restore().await.unwrap();
            site.drain(SOON, &what).await;
            site.check(&what);
            let age = ages(&site)[0];
            assert_eq!(age >= 300, arrives, "{what}: {age}");
            assert_eq!(site.told.restamped, 0, "{what}: it goes as it was, with its times moved");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_events_own_times_what_expires_when_it_comes_is_counted_and_said() {
    let mut site = keeping(HOUR).await;
    site.destination.timestamp = TimestampPolicy::Event;
    site.begin();
    site.accept_at(3, unix_now() - 90 * MINUTE);
    site.drain(SOON, "old").await;
    assert_eq!((site.told.expired, site.told.restamped), (3, 0));
    let notes = site.engine().view().notes;
    assert!(
        notes.len() == 1 && notes[0].contains("topic t") && notes[0].contains("retention.ms"),
        "{notes:?}"
    );
    site.accept(1);
    site.drain(SOON, "fresh").await;
    assert_eq!(site.told.expired, 3);
    assert!(site.engine().view().notes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn with_the_events_own_times_what_would_expire_when_it_comes_is_said_while_it_waits() {
    let mut site = keeping(HOUR).await;
    site.destination.timestamp = TimestampPolicy::Event;
    site.begin();
    site.accept(1);
    site.drain(SOON, "fresh").await;
    site.target.faults().cut().await;
    site.accept(3);
    site.pass(Duration::from_mins(59)).await;
    assert!(site.engine().view().notes.is_empty());
    site.pass(Duration::from_mins(2)).await;
    let notes = site.engine().view().notes;
    assert!(notes.len() == 1 && notes[0].contains("wait for topic t"), "{notes:?}");
    site.target.faults().restore().await.unwrap();
    site.drain(SOON, "after the outage").await;
    assert_eq!(site.told.expired, 0, "they were put into a window while they were fresh");
    site.accept(1);
    site.drain(SOON, "fresh again").await;
    assert!(site.engine().view().notes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn windows_of_two_partitions_refused_for_their_stamps_at_once_are_both_stamped_anew() {
    // The second refusal was taken for one of the time of sending, and its events became dead letters.
    let mut site = Site::new(4).await;
    site.begin();
    site.pass(SOON).await;
    for partition in 0..4 {
        site.target.faults().refuse_produce("t", partition, 32, 1);
    }
    site.accept_at(20, unix_now() - HOUR);
    site.drain(SOON, "refused").await;
    assert!(site.letters.is_empty(), "{:?}", site.letters);
    assert_eq!(site.told.restamped, 20);
    // After a while it is tried whether the topic takes times of events by now.
    site.pass(Duration::from_secs(601)).await;
    site.accept_at(20, unix_now() - HOUR);
    let began = Instant::now();
    site.drain(SOON, "later").await;
    assert!(began.elapsed() < SOON);
    assert_eq!(site.told.restamped, 20);
    site.check("refused");
}
