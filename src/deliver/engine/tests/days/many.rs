//! Topics with hundreds of partitions, many of which lead to a broker that has gone silent.

use std::time::Duration;

use tokio::time::Instant;

use super::Site;
use crate::kafka::clock::unix_now;
use crate::kafka::partition_for_key;

const SECOND: Duration = Duration::from_secs(1);
const BROKERS: i32 = 4;
/// The one that goes silent.
const SILENT: i32 = 3;

/// An event of every key.
fn accept_all(site: &mut Site) {
    let keys: Vec<_> = (0..=u8::MAX).map(Some).collect();
    site.log.append_at("t", &keys, unix_now());
    site.life.as_ref().unwrap().bell.rung.notify_one();
}

/// How many events have arrived at other brokers than the silent one.
fn at_others(site: &Site, partitions: i32) -> i64 {
    let others = (0..partitions).filter(|partition| partition % BROKERS != SILENT);
    others.filter_map(|partition| site.target.end_offset("t", partition)).sum()
}

#[tokio::test(start_paused = true)]
async fn of_hundreds_of_partitions_those_of_a_silent_broker_keep_no_others_waiting() {
    for partitions in [128, 500] {
        let mut site = Site::among(4, partitions).await;
        site.begin();
        accept_all(&mut site);
        site.drain(10 * SECOND, "at first").await;
        let leads_to = |key: u8| partition_for_key(&[key], partitions.unsigned_abs()).cast_signed();
        let silent: std::collections::BTreeSet<i32> =
            (0..=u8::MAX).map(leads_to).filter(|partition| partition % BROKERS == SILENT).collect();
        let others = (0..=u8::MAX).filter(|key| leads_to(*key) % BROKERS != SILENT).count() as i64;
        assert!(silent.len() > 20, "{silent:?}");
        site.target.faults().stall_broker(SILENT);
        let (mut accepted, mut slowest) = (1, Duration::ZERO);
        for second in 0..if partitions == 500 { 35 } else { 20 } {
            accept_all(&mut site);
            accepted += 1;
            let began = Instant::now();
            let all = site.go_on(60 * SECOND, |site| at_others(site, partitions) == accepted * others).await;
            assert!(
                all,
                "{partitions} partitions, after {second} s: {} of {}",
                at_others(&site, partitions),
                accepted * others
            );
            slowest = slowest.max(began.elapsed());
            site.pass(SECOND.saturating_sub(began.elapsed())).await;
        }
        let apart = site.engine().view().waiting.len();
        println!(
            "{partitions} partitions, {} silent: the others waited {slowest:?} at most, {apart} are apart",
            silent.len()
        );
        assert!(slowest < 2 * SECOND, "{slowest:?}");
        assert_eq!(apart, silent.len());
        site.target.faults().resume();
        site.drain(60 * SECOND, "at last").await;
        site.check("many");
        assert_eq!(site.told.possibly_doubled, 0);
    }
}
