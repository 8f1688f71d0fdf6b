//! Topics that are deleted and made anew behind everybody's back.

use std::sync::Arc;
use std::time::Duration;

use super::{Bell, HOUR, Site};
use crate::ids::{Incarnation, RunId, Seq};
use crate::kafka::clock::unix_now;
use crate::kafka::{
    Counter, Journaled, Producer, RecordHeader, RecordsBuilder, SharedPace, Stamp, Window, header,
};
use crate::metrics::Metrics;
use crate::state::journal::Intent;

const SOON: Duration = Duration::from_secs(60);

fn records(site: &Site) -> i32 {
    records_of(site, 2)
}

fn records_of(site: &Site, partitions: i32) -> i32 {
    let batches = (0..partitions).flat_map(|partition| site.target.batches("t", partition).unwrap());
    batches.map(|(header, _)| header.count).sum()
}

/// A Produce request names its topic: the window goes into the new one, under what is known of the old one.
#[tokio::test(start_paused = true)]
async fn a_window_that_went_into_the_new_topic_before_anybody_knew_of_it_is_found_there_and_not_sent_again() {
    for dies in [false, true] {
        let mut site = Site::new(2).await;
        site.begin();
        site.accept(5);
        site.drain(SOON, "into the old one").await;
        assert!(site.target.delete_topic("t"));
        site.target.create_topic("t", 2).unwrap();
        site.target.faults().hold_answers();
        let before = site.target.counts().borrow().batches;
        site.accept(9);
        let target = std::sync::Arc::clone(&site.target);
        assert!(site.go_on(SOON, |_| target.counts().borrow().batches > before).await);
        if dies {
            site.kill();
        }
        site.target.faults().drop_connections();
        site.target.faults().release_answers();
        if dies {
            site.begin();
        }
        site.drain(SOON, "into the new one").await;
        assert_eq!((records(&site), site.told.possibly_doubled), (9, 0), "dies: {dies}");
    }
}

/// What the old one kept was believed of the new one for five minutes.
#[tokio::test(start_paused = true)]
async fn what_a_topic_keeps_is_asked_anew_when_it_was_made_anew_though_nobody_saw_it_missing() {
    let mut site = Site::new(1).await;
    site.target.configure("t", "retention.ms", "-1");
    site.begin();
    site.accept_at(1, unix_now() - HOUR);
    site.drain(SOON, "into the old one").await;
    assert!(site.target.delete_topic("t"));
    site.target.create_topic("t", 1).unwrap();
    site.target.configure("t", "retention.ms", &HOUR.to_string());
    // As soon as it hears of the new one.
    site.target.faults().drop_connections();
    site.pass(Duration::from_secs(10)).await;
    site.accept_at(1, unix_now() - HOUR);
    site.drain(SOON, "into the new one").await;
    let newest = site.target.batches("t", 0).unwrap()[0].0.max_timestamp;
    assert!(unix_now() - newest < HOUR / 60, "the new topic would delete it when it comes");
}

/// Everything of the topic waited for five minutes, as for a cluster that has lost its memory for a moment.
#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_in_a_partition_that_went_with_its_topic_holds_nothing_for_long() {
    for dies in [false, true] {
        let mut site = Site::new(3).await;
        site.begin();
        site.accept(7);
        site.drain(SOON, "into the old one").await;
        site.target.faults().hold_answers();
        let before = site.target.counts().borrow().batches;
        site.accept(21);
        let target = std::sync::Arc::clone(&site.target);
        assert!(site.go_on(SOON, |_| target.counts().borrow().batches == before + 3).await);
        if dies {
            site.kill();
        }
        assert!(site.target.delete_topic("t"));
        site.target.create_topic("t", 1).unwrap();
        site.target.faults().drop_connections();
        site.target.faults().release_answers();
        if dies {
            site.begin();
        }
        site.accept(7);
        site.drain(SOON, "into the new one").await;
        let in_doubt = (0..7u8).filter(|key| crate::kafka::partition_for_key(&[*key], 3) > 0).count() * 3;
        assert_eq!(site.told.possibly_doubled, in_doubt as u64, "dies: {dies}");
        assert_eq!(records_of(&site, 1), 28, "dies: {dies}");
    }
}

/// It waited for the next start of the agent, or until there were as many partitions again.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_partition_that_was_apart_when_its_topic_got_fewer_arrives_within_a_minute() {
    let mut site = Site::new(3).await;
    site.begin();
    site.accept(7);
    site.drain(SOON, "into the old one").await;
    site.target.faults().move_leader("t", 1, None).unwrap();
    // So that nothing is sent to the leader that it had.
    site.target.faults().drop_connections();
    site.pass(Duration::from_secs(10)).await;
    site.accept(21);
    site.pass(Duration::from_secs(20)).await;
    let waiting = site.engine().view().waiting;
    assert!(waiting.len() == 1 && waiting[0].1.contains("has no leader"), "{waiting:?}");
    assert!(site.target.delete_topic("t"));
    site.target.create_topic("t", 1).unwrap();
    site.target.faults().drop_connections();
    let took = site.drain(SOON, "into the new one").await;
    assert!(took >= Duration::from_secs(25), "a broker that lags behind may say so: {took:?}");
    let own = (0..7u8).filter(|key| crate::kafka::partition_for_key(&[*key], 3) == 1).count() * 3;
    assert!(own > 0);
    assert_eq!((records_of(&site, 1), site.told.possibly_doubled), (i32::try_from(own).unwrap(), 0));
}

/// Another host sends a window as large, under the same identity.
async fn send_as_another(site: &Site, intent: &Intent, has_header: bool) {
    let mut records = RecordsBuilder::new(Stamp::Event);
    for n in 0..intent.count() {
        let its = RecordHeader::new(
            Incarnation(99 << 40),
            RunId(99 << 40),
            Seq(1 + u64::from(n)),
            0,
            Counter::default(),
        );
        let its = its.encode();
        let headers = [(header::NAME, Some(&its[..]))];
        records.push(None, Some(b"another's"), headers.into_iter().filter(|_| has_header), unix_now());
    }
    let bell = Arc::new(Bell::default());
    let (metrics, pace, here) =
        (Metrics::new(), SharedPace::new(None).join(false), tokio::runtime::Handle::current());
    let producer = Producer::start(&site.destination, &metrics, Arc::clone(&bell) as _, pace, &here);
    let (topic, partition, batch) =
        (intent.topic.clone(), intent.partition, records.seal(site.destination.compression));
    let journaled = Journaled { topic_id: [0; 16], ..super::super::super::journal::journaled(intent, false) };
    producer.send(Window { id: 1, topic, partition, batch, journaled: Some(journaled) });
    while bell.inbox.take().outcomes.is_empty() {
        bell.rung.notified().await;
    }
}

/// A cluster that was thrown away and begun anew has the id it had, where that is an image's, and gives its producer ids out from the first one on.
#[tokio::test(start_paused = true)]
async fn in_a_topic_made_anew_a_window_of_another_host_that_has_the_same_identity_is_not_taken_for_ours() {
    for has_header in [true, false] {
        let mut site = Site::new(1).await;
        site.begin();
        site.accept(5);
        site.drain(SOON, "into the old one").await;
        site.target.faults().hold_answers();
        let before = site.target.counts().borrow().batches;
        site.accept(3);
        let target = Arc::clone(&site.target);
        assert!(site.go_on(SOON, |_| target.counts().borrow().batches > before).await);
        site.kill();
        assert!(site.target.delete_topic("t"));
        site.target.create_topic("t", 1).unwrap();
        site.target.faults().drop_connections();
        site.target.faults().release_answers();
        let window = site.intents.last().unwrap().clone();
        assert_eq!(window.count(), 3);
        send_as_another(&site, &window, has_header).await;
        site.begin();
        site.drain(SOON, "into the new one").await;
        // Without headers nobody can tell.
        let doubtful = if has_header { 0 } else { 3 };
        assert_eq!(
            (records_of(&site, 1), site.told.possibly_doubled),
            (6, doubtful),
            "headers: {has_header}"
        );
    }
}
