use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::Encodable;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::kafka::wire::{ProducerIdAnswer, producer_id_request};

mod session;

/// The broker's end of a connection, played by the test.
struct Far(DuplexStream);

impl Far {
    /// Reads a request: key, version, correlation id.
    async fn request(&mut self) -> (i16, i16, i32) {
        let len = self.0.read_i32().await.unwrap();
        let mut frame = vec![0; usize::try_from(len).unwrap()];
        self.0.read_exact(&mut frame).await.unwrap();
        let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        (number(0), number(2), i32::from_be_bytes(frame[4..8].try_into().unwrap()))
    }

    async fn answer(&mut self, correlation: i32, message: &impl Encodable, version: i16) {
        let mut out = BytesMut::new();
        out.put_i32(0);
        out.put_i32(correlation);
        message.encode(&mut out, version).unwrap();
        let len = u32::try_from(out.len() - 4).unwrap();
        out[..4].copy_from_slice(&len.to_be_bytes());
        self.0.write_all(&out).await.unwrap();
    }

    async fn producer_id(&mut self, id: i64) {
        let (key, version, correlation) = self.request().await;
        assert_eq!((key, version), (22, 1));
        let answer = InitProducerIdResponse::default().with_producer_id(id.into());
        self.answer(correlation, &answer, 1).await;
    }
}

fn offer() -> ApiVersionsResponse {
    let row = |(key, min, max): (i16, i16, i16)| {
        ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
    };
    let rows = [(0, 3, 13), (1, 4, 18), (2, 1, 10), (3, 0, 13), (17, 0, 1), (22, 0, 5), (36, 0, 2)];
    ApiVersionsResponse::default().with_api_keys(rows.into_iter().map(row).collect())
}

fn options() -> Options {
    Options {
        client_id: "test".into(),
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(15),
        max_answer: 1 << 20,
        access: Access::default(),
        sent: None,
    }
}

async fn connected() -> (Connection, Far) {
    let (near, far) = tokio::io::duplex(4096);
    let mut far = Far(far);
    let options = options();
    let (connection, ()) = tokio::join!(Connection::start(near, &options), async {
        let (key, version, correlation) = far.request().await;
        assert_eq!((key, version), (18, 2));
        far.answer(correlation, &offer(), 2).await;
    });
    (connection.unwrap(), far)
}

async fn ask(connection: &Connection) -> Result<i64, CallError> {
    let answer = connection.call(producer_id_request("test", 1)).await?;
    Ok(ProducerIdAnswer::decode(&answer).unwrap().producer_id)
}

#[tokio::test(start_paused = true)]
async fn answers_come_back_to_whom_they_belong() {
    let (connection, mut far) = connected().await;
    let (a, b, ()) = tokio::join!(ask(&connection), ask(&connection), async {
        let (_, _, first) = far.request().await;
        let (_, _, second) = far.request().await;
        for (correlation, id) in [(first, 1), (second, 2)] {
            far.answer(correlation, &InitProducerIdResponse::default().with_producer_id(id.into()), 1).await;
        }
    });
    assert_eq!((a.unwrap(), b.unwrap()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_only_knows_version_0_is_asked_in_it() {
    let (near, far) = tokio::io::duplex(4096);
    let mut far = Far(far);
    let options = options();
    let (connection, ()) = tokio::join!(Connection::start(near, &options), async {
        let (_, _, first) = far.request().await;
        far.answer(first, &ApiVersionsResponse::default().with_error_code(35), 0).await;
        let (_, version, second) = far.request().await;
        assert_eq!(version, 0);
        far.answer(second, &offer(), 0).await;
    });
    assert!(connection.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_hung_broker_is_noticed_and_the_request_is_in_doubt() {
    let (connection, mut far) = connected().await;
    let began = Instant::now();
    let (answer, _) = tokio::join!(ask(&connection), far.request());
    assert!(matches!(answer, Err(CallError::Unanswered(_))), "{answer:?}");
    assert_eq!(began.elapsed().as_secs(), 15);
    assert!(connection.is_closed());
    assert!(matches!(ask(&connection).await, Err(CallError::NotSent(_))));
}

#[tokio::test(start_paused = true)]
async fn a_hung_handshake_ends_and_is_not_taken_for_another_protocol() {
    let (near, far) = tokio::io::duplex(4096);
    let error = Connection::start(near, &options()).await.unwrap_err();
    assert!(error.link_error("b").hint.contains("hangs"), "{error}");
    drop(far);
    let (near, far) = tokio::io::duplex(4096);
    drop(far);
    let error = Connection::start(near, &options()).await.unwrap_err();
    assert!(error.link_error("b").hint.contains("speaks TLS"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_no_bytes_is_noticed() {
    let (connection, far) = connected().await;
    let mut request = crate::kafka::wire::ProduceRequest::new("test", 8, 1, 0);
    request.topic(&"x".repeat(200), 0);
    let mut big = request;
    for _ in 0..60 {
        big.topic(&"x".repeat(200), 0);
    }
    let answer = connection.call(big.finish()).await;
    assert!(matches!(answer, Err(CallError::Unanswered(_))), "partly written: {answer:?}");
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_puts_what_was_written_in_doubt() {
    let (connection, mut far) = connected().await;
    let (answer, ()) = tokio::join!(ask(&connection), async {
        far.request().await;
        drop(far);
    });
    assert!(matches!(answer, Err(CallError::Unanswered(_))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn an_announced_throttle_is_not_a_hang() {
    let (connection, mut far) = connected().await;
    connection.throttle(Duration::from_secs(40));
    let (answer, ()) = tokio::join!(ask(&connection), async {
        let (_, _, correlation) = far.request().await;
        tokio::time::sleep(Duration::from_secs(50)).await;
        far.answer(correlation, &InitProducerIdResponse::default().with_producer_id(9.into()), 1).await;
    });
    assert_eq!(answer.unwrap(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_that_comes_while_waiting_moves_the_deadline() {
    let (connection, mut far) = connected().await;
    let (answer, ()) = tokio::join!(ask(&connection), async {
        let (_, _, correlation) = far.request().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        connection.throttle(Duration::from_secs(40));
        tokio::time::sleep(Duration::from_secs(45)).await;
        far.answer(correlation, &InitProducerIdResponse::default().with_producer_id(9.into()), 1).await;
    });
    assert_eq!(answer.unwrap(), 9);
}

#[tokio::test(start_paused = true)]
async fn answers_that_were_not_asked_for_end_the_connection() {
    let (connection, mut far) = connected().await;
    far.answer(99, &InitProducerIdResponse::default(), 1).await;
    connection.closed().cancelled().await;
    assert!(connection.call(producer_id_request("test", 1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn answers_out_of_order_end_the_connection() {
    let (connection, mut far) = connected().await;
    let (answer, ()) = tokio::join!(ask(&connection), async {
        let (_, _, correlation) = far.request().await;
        far.answer(correlation + 1, &InitProducerIdResponse::default(), 1).await;
    });
    assert!(matches!(answer, Err(CallError::Unanswered(_))));
    assert!(connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_huge_answer_is_refused_by_its_length() {
    for len in [i32::MAX, -1, (1 << 20) + 1] {
        let (connection, mut far) = connected().await;
        far.0.write_all(&len.to_be_bytes()).await.unwrap();
        connection.closed().cancelled().await;
        assert!(connection.is_closed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_is_closed_for_the_broker() {
    let (connection, mut far) = connected().await;
    drop(connection);
    assert_eq!(far.0.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_stays() {
    let (connection, mut far) = connected().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(connection.silent_since(), None);
    let (answer, ()) = tokio::join!(ask(&connection), far.producer_id(4));
    assert_eq!(answer.unwrap(), 4);
}
