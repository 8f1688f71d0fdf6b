//! A cluster that gives no producer ids: what is sent can't be told from a duplicate by the broker.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::Site;
use crate::target::Death;

const FORBIDDEN: i16 = 31;
const SOON: Duration = Duration::from_secs(40);

async fn site() -> Site {
    let site = Site::new(2).await;
    site.target.faults().refuse_calls(ApiKey::InitProducerId, FORBIDDEN, u32::MAX);
    site
}

fn notes(site: &mut Site) -> Vec<String> {
    site.engine().view().notes
}

/// Producer ids of the batches, in the order appended.
fn producers(site: &Site) -> Vec<i64> {
    let partitions = (0..2).flat_map(|partition| site.target.batches("t", partition).unwrap());
    partitions.map(|(header, _)| header.producer_id).collect()
}

/// Windows are appended, and nobody is told; this process or, with `kill`, the next has to find out.
async fn lose_answers(site: &mut Site, kill: bool) {
    let before = site.target.counts().borrow().batches;
    site.target.faults().hold_answers();
    site.accept(9);
    let target = std::sync::Arc::clone(&site.target);
    assert!(site.go_on(Duration::from_secs(60), |_| target.counts().borrow().batches > before).await);
    if kill {
        site.kill();
    }
    site.target.faults().drop_connections();
    site.target.faults().release_answers();
    if kill {
        site.begin();
    }
}

#[tokio::test(start_paused = true)]
async fn it_gets_its_events_all_the_same_and_what_was_in_flight_is_found_in_the_topic() {
    let mut site = site().await;
    site.begin();
    site.accept(5);
    let took = site.drain(SOON, "at the start").await;
    assert!(took >= Duration::from_secs(3), "a refusal may pass: {took:?}");
    for round in 0..20 {
        // Whoever kept a connection waiting goes alone: here both are to be on their way.
        site.accept(9);
        site.drain(SOON, "before answers are lost").await;
        lose_answers(&mut site, round % 2 == 0).await;
        site.drain(SOON, "after lost answers").await;
    }
    let notes = notes(&mut site);
    assert!(notes.len() == 1 && notes[0].contains("allow IDEMPOTENT_WRITE on the cluster"), "{notes:?}");
    assert_eq!(site.told.possibly_doubled, 0);
    site.check("without producer ids");
    assert!(producers(&site).iter().all(|id| *id == -1));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_found_is_sent_again_and_counted() {
    let mut site = site().await;
    site.begin();
    site.accept(5);
    site.drain(SOON, "at the start").await;
    for death in [Death::BeforeAppend, Death::BeforeAnswer] {
        site.target.faults().die_in_append(death);
        site.accept(9);
        let target = std::sync::Arc::clone(&site.target);
        let died = target.died();
        tokio::pin!(died);
        tokio::select! {
            () = &mut died => {}
            _ = site.go_on(SOON, |_| false) => panic!("nobody has died"),
        }
        target.start_again().await.unwrap();
        site.drain(SOON, "after a death").await;
    }
    site.check("not found");
    assert!(site.told.possibly_doubled > 0, "nobody can rule it out");
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_looked_for_is_sent_again_and_counted() {
    let mut site = site().await;
    site.target.faults().refuse_calls(ApiKey::ListOffsets, 29, u32::MAX);
    site.begin();
    site.accept(5);
    site.drain(SOON, "at the start").await;
    for round in 0..6 {
        lose_answers(&mut site, round % 2 == 0).await;
        site.drain(SOON, "after lost answers").await;
    }
    let doubled = site.doubled() as u64;
    assert!(doubled > 0, "no answer was lost, so nothing is tested");
    assert!(site.told.possibly_doubled >= doubled, "{} of {doubled}", site.told.possibly_doubled);
}

#[tokio::test(start_paused = true)]
async fn with_the_permission_everything_has_an_identity_again_and_without_it_again_what_has_one_keeps_it() {
    let mut site = site().await;
    site.begin();
    site.accept(9);
    site.drain(SOON, "at the start").await;
    site.target.faults().refuse_calls(ApiKey::InitProducerId, FORBIDDEN, 0);
    site.pass(Duration::from_secs(15)).await;
    let before = producers(&site).len();
    site.accept(9);
    site.drain(SOON, "once it is permitted").await;
    assert_eq!(notes(&mut site), Vec::<String>::new());
    // One that was in flight with an identity, and is settled by a process that has none.
    site.target.faults().refuse_calls(ApiKey::InitProducerId, FORBIDDEN, u32::MAX);
    lose_answers(&mut site, true).await;
    site.drain(SOON, "forbidden again").await;
    let ids = producers(&site);
    assert!(ids.len() > before && ids.iter().filter(|id| **id >= 0).count() == ids.len() - before, "{ids:?}");
    site.accept(9);
    site.drain(SOON, "forbidden again").await;
    assert!(producers(&site).iter().filter(|id| **id < 0).count() > before);
    assert_eq!(site.told.possibly_doubled, 0);
    site.check("permitted and forbidden");
}
