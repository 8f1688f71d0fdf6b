//! A topic of which one partition has no leader, for good, while another will not have its events for a while.

use std::time::Duration;

use super::Site;

const SECOND: Duration = Duration::from_secs(1);

/// Events for partition 0 wait, refused with `code` for so long; partition 1 has no leader.
async fn refused(code: i16, time: Duration) -> (Site, usize) {
    let mut site = Site::new(2).await;
    site.missing_topic_after = 60 * SECOND;
    site.begin();
    site.pass(5 * SECOND).await;
    site.target.faults().move_leader("t", 1, None).unwrap();
    site.target.faults().refuse_produce("t", 0, code, u32::MAX);
    site.accept(14);
    site.pass(time).await;
    site.target.faults().clear_planned();
    let own = (0..7u8).filter(|key| crate::kafka::partition_for_key(&[*key], 2) == 0).count();
    assert!((1..7).contains(&own));
    (site, 2 * own)
}

fn arrived(site: &Site) -> usize {
    site.records()[&0].len()
}

/// Its topic waited for the cluster to say something new of it, which a partition that has its replicas again is not.
#[tokio::test(start_paused = true)]
async fn a_partition_that_takes_events_again_gets_them_though_another_has_no_leader() {
    let (mut site, own) = refused(19, 10 * SECOND).await;
    assert_eq!(arrived(&site), 0);
    assert!(site.go_on(10 * SECOND, |site| arrived(site) == own).await, "{:?}", site.engine().view());
    site.target.faults().move_leader("t", 1, Some(0)).unwrap();
    site.drain(30 * SECOND, "all").await;
    site.check("all");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_metadata_never_called_missing_gets_no_dead_letters_for_that() {
    let (mut site, own) = refused(3, 10 * SECOND).await;
    site.pass(300 * SECOND).await;
    assert_eq!((site.letters.len(), arrived(&site)), (0, own), "{:?}", site.engine().view());
    site.target.faults().move_leader("t", 1, Some(0)).unwrap();
    site.drain(30 * SECOND, "all").await;
    site.check("all");
}

/// The leader that was known was kept until a restart, though it leads nothing any more.
#[tokio::test(start_paused = true)]
async fn leaders_whose_epochs_go_back_are_found_once_two_brokers_have_said_so_for_a_while() {
    let mut site = Site::among(3, 2).await;
    site.begin();
    for leader in [1, 2, 1, 2] {
        site.target.faults().move_leader("t", 0, Some(leader)).unwrap();
    }
    site.accept(14);
    site.drain(30 * SECOND, "before").await;
    site.target.faults().restore_leader("t", 0, 0, 1);
    site.accept(14);
    let took = site.drain(200 * SECOND, "after controllers were restored").await;
    assert!(took >= 60 * SECOND, "believed after {took:?}");
    // Under the new ones things go on as ever.
    site.target.faults().move_leader("t", 0, Some(1)).unwrap();
    site.accept(14);
    let took = site.drain(30 * SECOND, "later").await;
    assert!(took < 10 * SECOND, "{took:?}");
    site.check("all");
}
