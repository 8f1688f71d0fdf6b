//! Authentication at a connection's beginning and within its life.

use super::*;
use crate::config::model::{Mechanism, Sasl};
use crate::secret::{Secret, SecretSource};

fn with_sasl() -> Options {
    let password = SecretSource::Known(Secret::new("hunter2".into()));
    let sasl = Sasl::Password { mechanism: Mechanism::Plain, username: "relay".into(), password };
    Options { access: Access::new(None, Some(&sasl), None), ..options() }
}

impl Far {
    async fn versions(&mut self) {
        let (key, _, correlation) = self.request().await;
        assert_eq!(key, 18);
        self.answer(correlation, &offer(), 2).await;
    }

    /// Takes SaslHandshake and SaslAuthenticate, and answers the second with this code and lifetime.
    async fn authenticate(&mut self, code: i16, lifetime_ms: i64) {
        let (key, version, correlation) = self.request().await;
        assert_eq!((key, version), (17, 1));
        self.answer(correlation, &SaslHandshakeResponse::default(), 1).await;
        let (key, version, correlation) = self.request().await;
        assert_eq!((key, version), (36, 1));
        let answer =
            SaslAuthenticateResponse::default().with_error_code(code).with_session_lifetime_ms(lifetime_ms);
        self.answer(correlation, &answer, 1).await;
    }
}

async fn authenticated(lifetime_ms: i64) -> (Connection, Far) {
    let (near, far) = tokio::io::duplex(4096);
    let (mut far, options) = (Far(far), with_sasl());
    let (connection, ()) = tokio::join!(Connection::start(near, &options), async {
        far.versions().await;
        far.authenticate(0, lifetime_ms).await;
    });
    (connection.unwrap(), far)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_broker_knows_us() {
    let (connection, mut far) = authenticated(0).await;
    tokio::time::sleep(Duration::from_secs(7200)).await;
    let (answer, ()) = tokio::join!(ask(&connection), far.producer_id(4));
    assert_eq!(answer.unwrap(), 4, "a session without an end is not renewed");
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_are_told_apart_from_a_broken_connection() {
    // In both, the connection is closed at once: the "no" that came before must not be lost over that.
    for (code, lasting) in [(58, true), (0, false)] {
        let (near, far) = tokio::io::duplex(4096);
        let (mut far, options) = (Far(far), with_sasl());
        let (connection, ()) = tokio::join!(Connection::start(near, &options), async {
            far.versions().await;
            if code == 0 {
                // Hangs up in mid-exchange.
                far.request().await;
                drop(far);
            } else {
                far.authenticate(code, 0).await;
            }
        });
        let error = connection.unwrap_err();
        assert_eq!(error.is_lasting(), lasting, "{error}");
        let told = error.link_error("the broker");
        assert_eq!(told.code, lasting.then_some(58));
        assert!(!format!("{told:?} {error:?}").contains("hunter2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_renewed_between_two_requests_before_it_ends() {
    let (connection, mut far) = authenticated(10_000).await;
    for round in 0..3 {
        let (answer, ()) = tokio::join!(ask(&connection), far.producer_id(round));
        assert_eq!(answer.unwrap(), round);
        tokio::time::sleep(Duration::from_millis(8_500)).await;
        let (answer, ()) = tokio::join!(ask(&connection), async {
            far.authenticate(0, 10_000).await;
            far.producer_id(100 + round).await;
        });
        assert_eq!(answer.unwrap(), 100 + round);
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_renewal_that_fails_was_not_sent_and_what_was_before_is_answered() {
    let (connection, mut far) = authenticated(10_000).await;
    let before = connection.clone();
    let before = tokio::spawn(async move { ask(&before).await });
    let (_, _, correlation) = far.request().await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    let (waiting, ()) = tokio::join!(ask(&connection), async {
        // The answer to what was sent before comes first, as everything on a connection.
        far.answer(correlation, &InitProducerIdResponse::default().with_producer_id(1.into()), 1).await;
        far.authenticate(58, 0).await;
    });
    assert_eq!(before.await.unwrap().unwrap(), 1);
    let Err(CallError::NotSent(reason)) = waiting else { panic!("{waiting:?}") };
    assert!(reason.contains("can't be renewed: the broker refuses the credentials of relay"), "{reason}");
    assert!(connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_falls_silent_in_a_renewal_is_noticed() {
    let (connection, mut far) = authenticated(10_000).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    let began = Instant::now();
    let (waiting, _) = tokio::join!(ask(&connection), far.request());
    assert!(matches!(waiting, Err(CallError::NotSent(_))), "{waiting:?}");
    assert_eq!(began.elapsed().as_secs(), 15);
}
