//! How fast it goes: a rate that is kept, a gentle start, and slow tries where only a person can help.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::broker::Broker;
use super::witness::{acked, expected, start_as, window};
use crate::config::model::{Destination, HostPort, KafkaCompression, Tls};
use crate::ids::{DestinationName, TopicName};
use crate::kafka::batch::{RecordsBuilder, Stamp};
use crate::kafka::window::Window;

fn destination(at: HostPort) -> Destination {
    Destination::new(DestinationName::new("home").unwrap(), vec![at])
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_by_all_partitions_together_and_every_window_arrives_once() {
    let broker = Broker::alone(4).await;
    let limit = 1024;
    let (producer, witness) =
        start_as(&Destination { max_rate: Some(limit), ..destination(broker.address.clone()) });
    let windows: Vec<Window> = (0..40).map(|id| window(id, "t", (id % 4) as i32)).collect();
    let bytes: usize = windows.iter().map(|w| w.batch.encoded_len()).sum();
    let began = Instant::now();
    windows.into_iter().for_each(|window| producer.send(window));
    witness.settled(40).await;
    // The last request does not wait for its own bytes, and none has more than a second's worth.
    let least = Duration::from_secs_f64(bytes as f64 / limit as f64 - 1.0);
    assert!(began.elapsed() >= least && least > Duration::from_secs(2), "{:?} {least:?}", began.elapsed());
    assert!(began.elapsed() < least * 2 + Duration::from_secs(2), "{:?} {least:?}", began.elapsed());
    for partition in 0..4 {
        assert_eq!(broker.log("t", partition), expected((0..40).filter(|id| id % 4 == partition as u64)));
    }
    assert!((0..40).all(|id| acked(&witness.outcome(id))));
    producer.close().await;
}

/// A window of 300 KB.
fn large(id: u64, partition: i32) -> Window {
    let mut builder = RecordsBuilder::new(Stamp::Send);
    builder.push(None, Some(&vec![b'x'; 300_000]), [], 0);
    let (topic, batch) = (TopicName::new("t").unwrap(), builder.seal(KafkaCompression::None));
    Window { id, topic, partition, batch, journaled: None }
}

#[tokio::test]
async fn a_new_connection_begins_with_one_small_request_and_grows_from_answer_to_answer() {
    let broker = Broker::alone(16).await;
    let (producer, witness) = start_as(&destination(broker.address.clone()));
    (0..16).for_each(|id| producer.send(large(id, id as i32)));
    witness.settled(16).await;
    let requests = broker.state.lock().unwrap().requests.clone();
    assert_eq!(requests.iter().sum::<usize>(), 16);
    assert_eq!(requests[0], 1, "half a megabyte holds one: {requests:?}");
    assert!(requests[1] <= 3 && requests.iter().max() > Some(&3), "then one, two and four: {requests:?}");
    producer.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_only_a_person_can_put_right_is_tried_once_a_minute_and_says_so_each_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = HostPort { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            // No TLS, whatever comes.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.read_u8().await;
        }
    });
    let (producer, witness) = start_as(&Destination { tls: Some(Tls::default()), ..destination(at) });
    witness.until("an error", |w| w.links.lock().unwrap().iter().any(|l| l.error.is_some())).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let tries = tries.load(Ordering::Relaxed);
    assert!((60..=130).contains(&tries), "{tries} tries in an hour");
    let links = witness.links.lock().unwrap().clone();
    let error = links.last().and_then(|l| l.error.clone()).unwrap();
    assert!(error.message.contains("does not speak TLS") && error.hint.contains("listener"), "{error:?}");
    producer.close().await;
}
