//! What becomes of windows when requests, answers and brokers are lost.

use std::time::Duration;

use tokio::time::Instant;

use super::broker::{Broker, Fault};
use super::witness::{Witness, acked, expected, start, window};
use crate::ids::TopicName;
use crate::kafka::topology::TopicState;
use crate::kafka::window::Outcome;

#[tokio::test(start_paused = true)]
async fn windows_arrive_once_and_in_order_through_lost_requests_and_answers() {
    let broker = Broker::alone(1).await;
    use Fault::{AppendThenCode, Code, LoseAnswer, LoseRequest, Well};
    broker.faults([
        LoseAnswer,
        Code(19),
        Well,
        LoseRequest,
        LoseAnswer,
        AppendThenCode(7),
        Code(6),
        Code(19),
    ]);
    broker.faults([AppendThenCode(20), LoseAnswer, Code(10), Code(29), Well, Code(2)]);
    let (producer, witness) = start(broker.address.clone());
    (0..8).for_each(|id| producer.send(window(id, "t", 0)));
    witness.settled(8).await;
    assert_eq!(broker.log("t", 0), expected(0..8));
    assert!((0..8).all(|id| acked(&witness.outcome(id))));
    assert_eq!(*witness.order.lock().unwrap(), (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_throttled_success_is_not_sent_again_and_the_next_waits() {
    let broker = Broker::alone(1).await;
    broker.faults([Fault::Throttle(Duration::from_millis(300)); 2]);
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    let began = Instant::now();
    producer.send(window(1, "t", 0));
    witness.settled(2).await;
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!(broker.log("t", 0), expected(0..2));
    assert_eq!(broker.state.lock().unwrap().requests, [1, 1]);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_refused_and_the_next_goes_on() {
    let broker = Broker::alone(1).await;
    broker.faults([Fault::Code(10)]);
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    producer.send(window(1, "t", 0));
    witness.settled(2).await;
    assert!(matches!(witness.outcome(0), Outcome::Refused { code: 10, .. }));
    assert!(acked(&witness.outcome(1)));
    assert_eq!(broker.state.lock().unwrap().identities[0].base_sequence, 0, "it used no number");
}

#[tokio::test]
async fn a_forgetful_broker_gets_the_next_epoch_and_sequence_zero() {
    let broker = Broker::alone(1).await;
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    broker.faults([Fault::Code(45)]);
    producer.send(window(1, "t", 0));
    witness.settled(2).await;
    assert!(acked(&witness.outcome(1)), "the first send was refused for certain");
    let last = *broker.state.lock().unwrap().identities.last().unwrap();
    assert_eq!((last.producer_id, last.epoch, last.base_sequence), (4000, 1, 0));
    assert_eq!(broker.log("t", 0), expected(0..2));
}

#[tokio::test]
async fn no_batch_goes_out_without_a_producer_id() {
    let broker = Broker::alone(1).await;
    broker.state.lock().unwrap().producer_id_errors.extend([14, 15, 51, 0]);
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    assert!(broker.state.lock().unwrap().producer_id_errors.is_empty());
    assert_eq!(broker.log("t", 0), expected([0]));
}

#[tokio::test(start_paused = true)]
async fn a_missing_topic_gives_back_its_windows_and_holds_up_no_other() {
    let broker = Broker::alone(1).await;
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "gone", 0));
    producer.send(window(1, "t", 0));
    let began = Instant::now();
    witness.until("t", |w| w.outcomes.lock().unwrap().contains_key(&1)).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    witness.settled(2).await;
    assert!(matches!(witness.outcome(0), Outcome::Deferred { code: 3, .. }));
    broker.state.lock().unwrap().topics.insert("gone".into(), vec![1, 1]);
    witness
        .until("the topic is seen", |w| {
            w.topologies.lock().unwrap().last().unwrap().partition_count("gone") == Some(2)
        })
        .await;
    producer.send(window(2, "gone", 1));
    witness.settled(3).await;
    assert_eq!(broker.log("gone", 1), expected([2]));
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_topic_gives_back_its_windows() {
    let broker = Broker::alone(1).await;
    broker.faults([Fault::Code(29); 40]);
    let (producer, witness) = start(broker.address.clone());
    producer.send(window(0, "t", 0));
    witness.settled(1).await;
    assert!(matches!(witness.outcome(0), Outcome::Deferred { code: 29, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_vanishes_in_doubt_is_waited_for() {
    let broker = Broker::alone(1).await;
    broker.faults([Fault::LoseAnswer]);
    let (producer, witness) = start(broker.address.clone());
    producer.track(crate::ids::TopicName::new("t").unwrap());
    witness.until("known", |w| !w.topologies.lock().unwrap().is_empty()).await;
    producer.send(window(0, "t", 0));
    while broker.log("t", 0).is_empty() {
        tokio::task::yield_now().await;
    }
    let kept = broker.state.lock().unwrap().topics.remove("t").unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(witness.outcomes.lock().unwrap().is_empty(), "in doubt stays in doubt");
    broker.state.lock().unwrap().topics.insert("t".into(), kept);
    witness.settled(1).await;
    assert!(matches!(witness.outcome(0), Outcome::Acked { doubtful: true, .. }));
    assert_eq!(broker.log("t", 0), expected([0]));
}

#[tokio::test]
async fn partitions_share_requests() {
    let broker = Broker::alone(64).await;
    let (producer, witness) = start(broker.address.clone());
    (0..64).for_each(|id| producer.send(window(id, "t", id as i32)));
    witness.settled(64).await;
    let requests = broker.state.lock().unwrap().requests.clone();
    assert_eq!(requests.iter().sum::<usize>(), 64);
    assert!(requests.len() <= 3, "{requests:?}");
    (0..64).for_each(|p| assert_eq!(broker.log("t", p), expected([p as u64])));
}

#[tokio::test]
async fn topics_are_told_with_their_partitions() {
    let broker = Broker::alone(3).await;
    let (producer, witness) = start(broker.address.clone());
    producer.track(crate::ids::TopicName::new("t").unwrap());
    producer.track(crate::ids::TopicName::new("no").unwrap());
    let both = |w: &super::witness::Witness| {
        w.topologies.lock().unwrap().last().is_some_and(|t| t.topics.len() == 2)
    };
    witness.until("both", both).await;
    let topology = witness.topologies.lock().unwrap().last().cloned().unwrap();
    assert_eq!(topology.cluster_id.as_deref(), Some("cluster 0"));
    assert_eq!(topology.partition_count("t"), Some(3));
    assert!(matches!(topology.topics["no"], TopicState::Missing { code: 3, .. }));
    producer.close().await;
}

/// The engine had forgotten that there is none, asked for another, and waited for ever.
#[tokio::test(start_paused = true)]
async fn that_there_is_no_producer_id_is_told_again_to_whoever_asks_for_another() {
    let broker = Broker::alone(1).await;
    broker.state.lock().unwrap().producer_id_errors.extend([31; 1000]);
    let (producer, witness) = start(broker.address.clone());
    producer.track(TopicName::new("t").unwrap());
    for told in 1..=3 {
        let so = |w: &Witness| *w.producer_ids.lock().unwrap() == vec![-1; told];
        witness.until("that there is none", so).await;
        producer.renew();
    }
    producer.close().await;
}
