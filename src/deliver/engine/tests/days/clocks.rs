//! Clocks that are wrong, where the topic stamps its records itself.

use std::time::Duration;

use super::{HOUR, Site};
use crate::kafka::clock::{self, unix_now};

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
