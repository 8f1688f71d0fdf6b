//! Connections that hang, die, move and come back.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::broker::{Broker, Fault, Shared};
use super::witness::{Witness, acked, expected, start, start_mapped, start_measured, window};
use crate::config::model::{Destination, HostPort};
use crate::ids::DestinationName;
use crate::kafka::Producer;
use crate::metrics::Metrics;

#[tokio::test(start_paused = true)]
async fn an_idle_link_is_down_within_twenty_seconds_of_a_hang_and_up_again_after_it() {
    let broker = Broker::alone(1).await;
    let (producer, witness) = start(broker.address.clone());
    witness.until("up", |w| w.is_up()).await;
    tokio::time::sleep(Duration::from_secs(33)).await;
    assert!(witness.is_up());
    broker.hang(true);
    let began = Instant::now();
    witness.until("down", |w| !w.is_up()).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(!witness.is_up());
    broker.hang(false);
    let began = Instant::now();
    witness.until("up again", |w| w.is_up()).await;
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
    producer.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_into_a_hang_arrives_once() {
    let broker = Broker::alone(1).await;
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    broker.hang(true);
    producer.send(window(1, "t", 0));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(witness.order.lock().unwrap().len(), 1);
    broker.hang(false);
    producer.send(window(2, "t", 0));
    witness.settled(3).await;
    assert_eq!(broker.log("t", 0), expected(0..3));
    assert!((0..3).all(|id| acked(&witness.outcome(id))));
}

#[tokio::test]
async fn a_leader_change_is_followed_under_the_same_identity() {
    let shared = Shared::default();
    let one = Broker::start(1, shared.clone()).await;
    let two = Broker::start(2, shared.clone()).await;
    {
        let mut state = shared.lock().unwrap();
        state.brokers = vec![(1, one.address.clone()), (2, two.address.clone())];
        state.topics.insert("t".into(), vec![1]);
    }
    let (producer, witness) = start(one.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    shared.lock().unwrap().topics.insert("t".into(), vec![2]);
    producer.send(window(1, "t", 0));
    witness.settled(2).await;
    assert_eq!(one.log("t", 0), expected(0..2));
    let identities: Vec<_> =
        shared.lock().unwrap().identities.iter().map(|i| (i.epoch, i.base_sequence)).collect();
    assert_eq!(identities, [(0, 0), (0, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_leader_that_was_replaced_is_not_waited_for() {
    let shared = Shared::default();
    let one = Broker::start(1, shared.clone()).await;
    let two = Broker::start(2, shared.clone()).await;
    {
        let mut state = shared.lock().unwrap();
        state.brokers = vec![(1, one.address.clone()), (2, two.address.clone())];
        state.topics.insert("t".into(), vec![2]);
    }
    let (producer, witness) = start(one.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    two.hang(true);
    shared.lock().unwrap().topics.insert("t".into(), vec![1]);
    let began = Instant::now();
    producer.send(window(1, "t", 0));
    witness.settled(2).await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(one.log("t", 0), expected(0..2));
    assert!(witness.links.lock().unwrap().iter().all(|l| l.up), "one broker of two is not the link");
}

#[tokio::test]
async fn a_broker_that_is_absent_at_the_start_is_waited_for() {
    let mut broker = Broker::alone(1).await;
    broker.kill();
    tokio::task::yield_now().await;
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    witness
        .until("said to be down", |w| w.links.lock().unwrap().iter().any(|l| !l.up && l.error.is_some()))
        .await;
    broker.restart().await;
    witness.settled(1).await;
    assert!(witness.is_up());
    assert_eq!(broker.log("t", 0), expected([0]));
}

#[tokio::test]
async fn a_restarted_broker_is_found_again() {
    let mut broker = Broker::alone(4).await;
    let (producer, witness) = start(broker.address.clone());
    let mut id = 0;
    for _ in 0..3 {
        for partition in 0..4 {
            producer.send(window(id, "t", partition));
            id += 1;
        }
        broker.faults([Fault::Well, Fault::LoseAnswer]);
        broker.kill();
        tokio::task::yield_now().await;
        broker.restart().await;
    }
    witness.settled(12).await;
    for partition in 0..4u64 {
        assert_eq!(broker.log("t", partition as i32), expected([partition, partition + 4, partition + 8]));
    }
}

#[tokio::test]
async fn brokers_that_moved_are_found_through_the_bootstrap_list() {
    let mut old = Broker::alone(1).await;
    let new = Broker::start(1, old.state.clone()).await;
    // The bootstrap address stays, behind it another broker of the cluster.
    let front = Broker::start(9, old.state.clone()).await;
    old.state.lock().unwrap().brokers = vec![(1, old.address.clone())];
    let (producer, witness) = start(front.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    old.kill();
    old.state.lock().unwrap().brokers = vec![(1, new.address.clone())];
    producer.send(window(1, "t", 0));
    witness.settled(2).await;
    assert_eq!(new.log("t", 0), expected(0..2));
}

#[tokio::test]
async fn advertised_addresses_are_mapped() {
    let broker = Broker::alone(1).await;
    let told = HostPort { host: "k0.inside.invalid".into(), port: 9092 };
    broker.state.lock().unwrap().brokers = vec![(1, told.clone())];
    let (producer, witness) = start_mapped(broker.address.clone(), vec![(told, broker.address.clone())]);
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    assert!(acked(&witness.outcome(0)));
}

#[tokio::test]
async fn leaders_that_can_not_be_reached_are_named_with_a_hint() {
    let broker = Broker::alone(1).await;
    let nowhere = {
        let mut gone = Broker::alone(1).await;
        gone.kill();
        tokio::task::yield_now().await;
        gone.address.clone()
    };
    broker.state.lock().unwrap().brokers = vec![(1, nowhere)];
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    witness
        .until("the reason is told", |w| {
            let links = w.links.lock().unwrap();
            links.iter().any(|l| !l.up && l.error.as_ref().is_some_and(|e| e.hint.contains("address_map")))
        })
        .await;
}

#[tokio::test]
async fn a_closed_producer_says_nothing_more() {
    let broker = Broker::alone(1).await;
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    producer.close().await;
    producer.send(window(1, "t", 0));
    tokio::task::yield_now().await;
    assert_eq!(witness.order.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_producer_asks_little() {
    let broker = Broker::alone(1).await;
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    let before = broker.state.lock().unwrap().metadata_requests;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = broker.state.lock().unwrap().metadata_requests - before;
    assert!((10..=13).contains(&asked), "{asked} in a minute");
}

/// Sends one window to each of some partitions and returns how long it took until all were acknowledged.
async fn time_of(
    producer: &Producer,
    witness: &Witness,
    next: &mut u64,
    partitions: impl IntoIterator<Item = i32>,
) -> Duration {
    let (began, first) = (Instant::now(), *next);
    for partition in partitions {
        producer.send(window(*next, "t", partition));
        *next += 1;
    }
    let ids = first..*next;
    witness
        .until("acknowledged", |w| ids.clone().all(|id| w.outcomes.lock().unwrap().contains_key(&id)))
        .await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_slow_partition_goes_alone_by_a_connection_of_its_own_and_keeps_nobody_waiting() {
    let broker = Broker::alone(8).await;
    let (producer, witness) = start(broker.address.clone());
    let mut next = 0;
    time_of(&producer, &witness, &mut next, 0..8).await;
    broker.state.lock().unwrap().slow.insert(3, Duration::from_secs(8));
    // The first time nobody knows whose fault it is: then each goes alone.
    assert!(time_of(&producer, &witness, &mut next, 0..8).await >= Duration::from_secs(8));
    time_of(&producer, &witness, &mut next, 0..8).await;
    broker.state.lock().unwrap().taken.clear();
    for _ in 0..10 {
        let slow = next;
        producer.send(window(next, "t", 3));
        next += 1;
        for _ in 0..5 {
            let others = [0, 1, 2, 4, 5, 6, 7];
            assert!(time_of(&producer, &witness, &mut next, others).await < Duration::from_millis(100));
        }
        assert!(!witness.outcomes.lock().unwrap().contains_key(&slow));
        witness.until("the slow one, too", |w| w.outcomes.lock().unwrap().contains_key(&slow)).await;
    }
    let taken = std::mem::take(&mut broker.state.lock().unwrap().taken);
    let (alone, others): (Vec<_>, Vec<_>) =
        taken.into_iter().partition(|(_, partitions)| partitions.contains(&3));
    assert_eq!(alone.len(), 10);
    assert!(alone.iter().all(|(_, partitions)| partitions[..] == [3]), "{alone:?}");
    let connection = others[0].0;
    assert!(others.iter().all(|(c, _)| *c == connection), "one connection for all others: {others:?}");
    assert!(others.len() < 7 * 50, "they share requests: {}", others.len());
    assert!(alone.iter().all(|(c, _)| *c != connection));
    // It is well again: it goes with the others.
    broker.state.lock().unwrap().slow.clear();
    time_of(&producer, &witness, &mut next, 0..8).await;
    broker.state.lock().unwrap().taken.clear();
    time_of(&producer, &witness, &mut next, 0..8).await;
    let taken = std::mem::take(&mut broker.state.lock().unwrap().taken);
    assert!(taken.iter().all(|(c, _)| *c == connection), "{taken:?}");
    for partition in 0..8 {
        let log = broker.log("t", partition);
        assert_eq!(log.len(), log.iter().collect::<BTreeSet<_>>().len(), "nothing is there twice");
    }
    producer.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_never_answered_keeps_the_others_waiting_twice_at_most() {
    let broker = Broker::alone(8).await;
    let (producer, witness) = start(broker.address.clone());
    let mut next = 0;
    time_of(&producer, &witness, &mut next, 0..8).await;
    broker.state.lock().unwrap().slow.insert(3, Duration::from_secs(3600));
    producer.send(window(next, "t", 3));
    next += 1;
    let others = [0, 1, 2, 4, 5, 6, 7];
    let first = time_of(&producer, &witness, &mut next, others).await;
    assert!(first < Duration::from_secs(35), "two time-outs: {first:?}");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(300) {
        let time = time_of(&producer, &witness, &mut next, others).await;
        assert!(time < Duration::from_millis(500), "{time:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(!witness.outcomes.lock().unwrap().contains_key(&8));
    producer.close().await;
}

#[tokio::test(start_paused = true)]
async fn in_a_cluster_made_anew_nothing_goes_under_an_id_that_is_somebody_elses_by_now() {
    let mut broker = Broker::alone(3).await;
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    broker.kill();
    broker.make_anew(0..3);
    // What waits meanwhile is not to arrive before anybody has asked which cluster this is.
    producer.send(window(1, "t", 1));
    broker.restart().await;
    witness.settled(2).await;
    producer.send(window(2, "t", 2));
    producer.send(window(3, "t", 0));
    witness.settled(4).await;
    assert!((0..4).all(|id| acked(&witness.outcome(id))));
    for (partition, id) in [(1, 1), (2, 2), (0, 3)] {
        assert_eq!(broker.log("t", partition), expected([id]), "answered well, and not there");
    }
    producer.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_throttle_is_counted_and_nobody_is_silenced_for_weeks() {
    let broker = Broker::alone(2).await;
    let name = DestinationName::new("home").unwrap();
    let (destination, metrics) = (Destination::new(name, vec![broker.address.clone()]), Metrics::new());
    let (producer, witness) = start_measured(&destination, &metrics);
    broker
        .faults([Fault::Throttle(Duration::from_secs(30)), Fault::Throttle(Duration::from_secs(1_000_000))]);
    let began = Instant::now();
    for id in 0..2 {
        producer.send(window(id, "t", 0));
        witness.settled(1 + id as usize).await;
    }
    producer.send(window(2, "t", 0));
    tokio::time::sleep(Duration::from_secs(290)).await;
    assert_eq!(witness.outcomes.lock().unwrap().len(), 2);
    witness.settled(3).await;
    assert!(began.elapsed() >= Duration::from_secs(329), "{:?}", began.elapsed());
    let label = crate::metrics::Destination { destination: "home".to_owned() };
    assert_eq!(metrics.throttled.get_or_create(&label).get(), 330.0);
    producer.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_throttle_is_not_got_round_by_another_connection() {
    let broker = Broker::alone(2).await;
    let (producer, witness) = start(broker.address.clone());
    broker.faults([Fault::Throttle(Duration::from_secs(30)); 3]);
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    let began = Instant::now();
    for id in 1..4 {
        producer.send(window(id, "t", 0));
        witness.settled(1 + id as usize).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(89), "{:?}", began.elapsed());
    let mut connections: Vec<_> = broker.state.lock().unwrap().taken.iter().map(|(c, _)| *c).collect();
    connections.dedup();
    assert_eq!(connections.len(), 1, "nobody is suspect for a throttle");
    producer.close().await;
}
