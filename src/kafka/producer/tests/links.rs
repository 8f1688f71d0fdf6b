//! Connections that hang, die, move and come back.

use std::time::Duration;

use tokio::time::Instant;

use super::broker::{Broker, Fault, Shared};
use super::witness::{acked, expected, start, start_mapped, window};
use crate::config::model::HostPort;

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
