//! Every fault does what it says, and ends.

use std::time::Duration;

use kafka_protocol::messages::*;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::client::{Client, TOPIC, batch, plain};
use super::produce::{one_topic, producer_id};
use crate::target::{Death, Target, TargetOptions};

async fn started() -> (Target, Client) {
    let target = Target::start(one_topic()).await.unwrap();
    let client = Client::connect(&target).await;
    (target, client)
}

#[tokio::test]
async fn a_cut_closes_and_refuses_until_it_is_restored() {
    let (target, mut client) = started().await;
    target.faults().cut().await;
    assert!(client.frame().await.is_err());
    assert!(TcpStream::connect(target.bootstrap()).await.is_err());
    target.faults().restore().await.unwrap();
    assert_eq!(Client::connect(&target).await.put(plain(&["a"])).await, (0, 0));
}

#[tokio::test]
async fn dropped_connections_leave_the_port_open() {
    let (target, mut client) = started().await;
    assert_eq!(client.put(plain(&["a"])).await, (0, 0));
    target.faults().drop_connections();
    assert!(client.frame().await.is_err());
    assert_eq!(Client::connect(&target).await.put(plain(&["a"])).await, (0, 1));
}

#[tokio::test]
async fn a_stalled_target_takes_bytes_and_works_on_them_when_it_resumes() {
    let (target, mut client) = started().await;
    assert_eq!(client.put(plain(&["a"])).await, (0, 0));
    target.faults().stall();
    client.send_batch(-1, 0, plain(&["b"])).await;
    let mut late = Client::connect(&target).await;
    late.send_batch(-1, 1, plain(&["c"])).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), client.frame()).await.is_err());
    assert_eq!(target.end_offset(TOPIC, 0), Some(1), "a stalled target worked");
    target.faults().resume();
    assert!(late.frame().await.is_ok());
    assert_eq!(target.end_offset(TOPIC, 0).max(target.end_offset(TOPIC, 1)), Some(2));
}

#[tokio::test]
async fn held_answers_are_of_work_already_done() {
    let (target, mut client) = started().await;
    target.faults().hold_answers();
    client.send_batch(-1, 0, plain(&["a"])).await;
    target.counts().wait_for(|c| c.unanswered == 1).await.unwrap();
    assert_eq!(target.end_offset(TOPIC, 0), Some(1));
    target.faults().release_answers();
    assert!(client.receive::<ProduceRequest>(8).await.is_ok());
}

#[tokio::test]
async fn a_lost_answer_is_of_an_appended_batch() {
    let (target, mut client) = started().await;
    let id = producer_id(&mut client).await;
    target.faults().lose_answers(1);
    client.send_batch(-1, 0, batch((id, 0, 0), &["a"])).await;
    assert!(client.frame().await.is_err());
    assert_eq!(target.end_offset(TOPIC, 0), Some(1));
    let again = Client::connect(&target).await.put(batch((id, 0, 0), &["a"])).await;
    assert_eq!(again, (0, 0));
    assert_eq!(target.end_offset(TOPIC, 0), Some(1));
}

#[tokio::test]
async fn planned_errors_strike_as_often_as_told_with_and_without_the_append() {
    let (target, mut client) = started().await;
    target.faults().refuse_produce(TOPIC, 0, 7, 2);
    assert_eq!(client.produce(1, plain(&["a"])).await.error_code, 0);
    assert_eq!(client.put(plain(&["a"])).await.0, 7);
    assert_eq!(client.put(plain(&["a"])).await.0, 7);
    assert_eq!(client.put(plain(&["a"])).await, (0, 0));
    target.faults().append_and_refuse(TOPIC, 0, 20, 1);
    assert_eq!(client.put(plain(&["b"])).await.0, 20);
    assert_eq!(client.put(plain(&["c"])).await, (0, 2));
}

#[tokio::test]
async fn a_throttled_answer_comes_at_once_and_the_next_one_late() {
    let (target, mut client) = started().await;
    let mute = Duration::from_millis(150);
    target.faults().throttle(mute, 1);
    let start = Instant::now();
    client.send_batch(-1, 0, plain(&["a"])).await;
    let answer = client.receive::<ProduceRequest>(8).await.unwrap();
    assert_eq!(answer.throttle_time_ms, 150);
    assert_eq!(client.put(plain(&["b"])).await, (0, 1));
    assert!(start.elapsed() >= mute);
}

#[tokio::test]
async fn delayed_answers_come_late() {
    let (target, mut client) = started().await;
    let delay = Duration::from_millis(50);
    target.faults().delay_answers(delay);
    let start = Instant::now();
    assert_eq!(client.put(plain(&["a"])).await, (0, 0));
    assert!(start.elapsed() >= delay);
}

#[tokio::test]
async fn a_moved_leader_answers_and_the_old_one_does_not() {
    let target = Target::start(TargetOptions { brokers: 2, ..one_topic() }).await.unwrap();
    let (mut old, mut new) = (Client::connect(&target).await, Client::connect_to(&target, 1).await);
    assert_eq!(old.put(batch((4, 0, 0), &["a"])).await, (0, 0));
    target.faults().move_leader(TOPIC, 0, Some(1)).unwrap();
    assert_eq!(old.put(batch((4, 0, 0), &["a"])).await.0, 6);
    assert_eq!(new.put(batch((4, 0, 0), &["a"])).await, (0, 0));
    assert_eq!(target.end_offset(TOPIC, 0), Some(1));
    target.faults().move_leader(TOPIC, 0, None).unwrap();
    assert_eq!(new.put(batch((4, 0, 1), &["b"])).await.0, 6);
    let request = MetadataRequest::default().with_topics(None);
    let partition = new.ask(9, &request).await.topics[0].partitions[0].clone();
    assert_eq!((partition.error_code, partition.leader_id.0, partition.leader_epoch), (5, -1, 2));
    assert!(target.faults().move_leader("none", 0, None).is_err());
}

#[tokio::test]
async fn cleared_producers_are_unknown() {
    let (target, mut client) = started().await;
    assert_eq!(client.put(batch((4, 0, 0), &["a"])).await, (0, 0));
    target.faults().clear_producer_state();
    assert_eq!(client.put(batch((4, 0, 0), &["a"])).await, (0, 1));
}

#[tokio::test]
async fn refused_producer_ids_are_minus_one() {
    let (target, mut client) = started().await;
    target.faults().refuse_producer_ids(14, 1);
    let answer = client.ask(4, &InitProducerIdRequest::default().with_transactional_id(None)).await;
    assert_eq!((answer.error_code, answer.producer_id.0), (14, -1));
    producer_id(&mut client).await;
}

#[tokio::test]
async fn raw_answers_reach_the_client_as_they_are() {
    let (target, mut client) = started().await;
    target.faults().answer_raw(&[0x7f, 0xff, 0xff, 0xff], 1);
    client.send(4, &MetadataRequest::default()).await;
    assert_eq!(client.frame().await.unwrap()[..], [0, 0, 0, 5, 0x7f, 0xff, 0xff, 0xff]);
}

#[tokio::test]
async fn each_death_leaves_what_it_says() {
    for (death, appended, cut_off) in
        [(Death::BeforeAppend, 0, false), (Death::HalfAppended, 0, true), (Death::BeforeAnswer, 1, false)]
    {
        let (target, mut client) = started().await;
        target.faults().die_in_append(death);
        client.send_batch(-1, 0, batch((4, 0, 0), &["a"])).await;
        target.died().await;
        assert!(client.frame().await.is_err(), "{death:?} was answered");
        assert_eq!(target.start_again().await.unwrap() > 0, cut_off, "{death:?}");
        assert_eq!(target.end_offset(TOPIC, 0), Some(appended), "{death:?}");
        let again = Client::connect(&target).await.put(batch((4, 0, 0), &["a"])).await;
        assert_eq!(again, (0, 0), "{death:?}");
        assert_eq!(target.end_offset(TOPIC, 0), Some(1), "{death:?}");
    }
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let target = Target::start(TargetOptions { max_connections: 1, ..one_topic() }).await.unwrap();
    let mut first = Client::connect(&target).await;
    assert_eq!(first.put(plain(&["a"])).await, (0, 0));
    let mut second = Client::connect(&target).await;
    second.send_batch(-1, 0, plain(&["b"])).await;
    assert!(tokio::time::timeout(Duration::from_millis(30), second.frame()).await.is_err());
    drop(first);
    assert!(second.frame().await.is_ok());
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let options = TargetOptions { idle_timeout: Duration::from_millis(30), ..one_topic() };
    let target = Target::start(options).await.unwrap();
    assert!(Client::connect(&target).await.frame().await.is_err());
}
