//! Clocks that are wrong, where the topic stamps its records itself.

use std::sync::Arc;
use std::time::Duration;

use super::{HOUR, Site};
use crate::config::model::{InDoubt, KafkaCompression};
use crate::ids::TopicName;
use crate::kafka::clock::{self, unix_now};
use crate::kafka::{
    LinkState, Observer, Outcome, Producer, RecordsBuilder, SharedPace, Stamp, Topology, Window,
};
use crate::metrics::Metrics;

const SOON: Duration = Duration::from_secs(20);

/// A window is the first of its process in its partition, and its process dies before there is an answer. Until then our clock is
/// ahead of the brokers' by one difference, afterwards by the other; the brokers forget the producer meanwhile.
async fn in_doubt(arrives: bool, (before, after): (i64, i64), outage: Duration) -> Site {
    let mut site = Site::new(1).await;
    site.target.configure("t", "message.timestamp.type", "LogAppendTime");
    clock::simulated::begin(unix_now() + before);
    site.begin();
    site.pass(SOON).await;
    let faults = site.target.faults().clone();
    faults.hold_answers();
    if !arrives {
        faults.refuse_produce("t", 0, 7, u32::MAX);
    }
    site.accept(5);
    site.pass(Duration::from_secs(5)).await;
    assert_eq!(site.target.end_offset("t", 0), Some(if arrives { 5 } else { 0 }));
    site.kill();
    faults.cut().await;
    faults.clear_planned();
    faults.release_answers();
    site.pass(outage).await;
    faults.clear_producer_state();
    faults.restore().await.unwrap();
    clock::simulated::begin(unix_now() - before + after);
    site.begin();
    site.drain(SOON, "after the outage").await;
    site
}

/// It was looked for behind where it stands, and sent once more.
#[tokio::test(start_paused = true)]
async fn a_window_in_doubt_is_found_whatever_our_clock_said_where_the_topic_stamps_records() {
    for hours in [(0, 0), (5, 5), (-5, -5), (5, 0), (-5, 0), (0, -5), (0, 5), (3000, 0)] {
        for arrives in [true, false] {
            let (before, after) = (hours.0 * HOUR, hours.1 * HOUR);
            let site = in_doubt(arrives, (before, after), Duration::from_secs(600)).await;
            let what = format!("hours ahead: {hours:?}, arrives: {arrives}");
            site.check(&what);
            let batches = site.target.batches("t", 0).unwrap();
            assert_eq!(batches.iter().map(|(header, _)| header.count).sum::<i32>(), 5, "{what}");
            assert_eq!(site.told.possibly_doubled, 0, "{what}");
        }
    }
}

/// Listens to nothing.
struct Deaf;

impl Observer for Deaf {
    fn settled(&self, _: u64, _: Outcome) {}
    fn producer_id(&self, _: i64, _: i16) {}
    fn topology(&self, _: Arc<Topology>) {}
    fn link(&self, _: LinkState) {}
}

/// Somebody else writes so many batches of nearly a megabyte.
async fn others_write(site: &Site, batches: u64) {
    let runtime = tokio::runtime::Handle::current();
    let pace = SharedPace::new(None).join(false);
    let other = Producer::start(&site.destination, &Metrics::new(), Arc::new(Deaf), pace, &runtime);
    let before = site.target.end_offset("t", 0).unwrap();
    for id in 0..batches {
        let mut records = RecordsBuilder::new(Stamp::Send);
        records.push(None, Some(&[7; 1_000_000]), [], 0);
        let topic = TopicName::new("t").unwrap();
        let batch = records.seal(KafkaCompression::None);
        other.send(Window { id, topic, partition: 0, batch, journaled: None });
    }
    while site.target.end_offset("t", 0).unwrap() < before + batches.cast_signed() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    other.close().await;
}

/// A window is the first of its process in its partition, has much of others before it, and was sent under a clock that is five hours
/// ahead; they write on. Where it was by that clock it is not, and before that is more than is read.
async fn far_back(in_doubt: InDoubt) -> (Site, usize) {
    let mut site = Site::new(1).await;
    site.destination.in_doubt = in_doubt;
    site.target.configure("t", "message.timestamp.type", "LogAppendTime");
    clock::simulated::begin(unix_now() + 5 * HOUR);
    site.begin();
    site.pass(SOON).await;
    others_write(&site, 18).await;
    site.target.faults().hold_answers();
    site.accept(5);
    site.pass(Duration::from_secs(5)).await;
    site.kill();
    site.target.faults().drop_connections();
    site.target.faults().release_answers();
    site.pass(Duration::from_mins(290)).await;
    others_write(&site, 1).await;
    site.pass(SOON).await;
    site.target.faults().clear_producer_state();
    site.begin();
    site.pass(Duration::from_mins(2)).await;
    let batches = site.target.batches("t", 0).unwrap();
    let ours = batches.iter().filter(|(head, _)| head.count == 5).count();
    (site, ours)
}

/// It was said not to be there, and came twice without being counted, or though it was to be held.
#[tokio::test(start_paused = true)]
async fn of_a_window_that_may_be_in_what_was_not_read_it_is_not_said_that_it_is_absent() {
    let (site, times) = far_back(InDoubt::Hold).await;
    assert_eq!((times, site.told.possibly_doubled, site.is_drained()), (1, 0, false));
    let (site, times) = far_back(InDoubt::Resend).await;
    assert_eq!((times, site.told.possibly_doubled, site.is_drained()), (2, 5, true));
}
