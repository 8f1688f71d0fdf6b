//! The command against agents that are well, ill, not there, and slow.

use std::net::TcpListener;

use super::*;
use crate::cli::testing::{agent, answer, ok};
use crate::config::model::HostPort;

fn asks(admin: HostPort, ready: Option<Readiness>) -> Result<String, String> {
    let agent = Whom { admin: Some(admin), ..Whom::default() };
    let args = HealthcheckArgs { agent, ready, timeout: Duration::from_secs(5) };
    ask(&args).map_err(|failure| one_line(failure.message()))
}

#[test]
fn one_that_is_well_is_said_to_be() {
    let well = ok(r#"{"healthy":true}"#);
    assert_eq!(asks(agent(vec![well.clone()]), None), Ok("healthy".to_owned()));
    let ready = ok(r#"{"ready":true,"accept":{"ready":true,"reasons":[]},"notes":[]}"#);
    assert_eq!(asks(agent(vec![well, ready]), Some(Readiness::Accept)), Ok("healthy and ready".to_owned()));
}

#[test]
fn one_that_is_stuck_or_not_ready_says_why_in_one_line() {
    let stuck = answer("503 Service Unavailable", r#"{"healthy":false,"reason":"the delivery\nhas ended"}"#);
    let said = asks(agent(vec![stuck]), Some(Readiness::All)).unwrap_err();
    assert_eq!(said, "the agent is not healthy: the delivery has ended");
    let full = r#"{"ready":false,"accept":{"ready":false,"reasons":["it is full"]},
        "deliver":{"ready":false,"reasons":["it lags"]},"notes":[]}"#;
    let answers = vec![ok(r#"{"healthy":true}"#), answer("503 Service Unavailable", full)];
    let said = asks(agent(answers), Some(Readiness::All)).unwrap_err();
    assert_eq!(said, "the agent is not ready: it is full; it lags");
}

#[test]
fn one_that_is_not_there_or_too_slow_or_something_else_is_not_well() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = HostPort { host: free.ip().to_string(), port: free.port() };
    assert!(asks(nobody, None).unwrap_err().contains("no agent answers"));
    let said = asks(agent(vec![ok("<html>")]), None).unwrap_err();
    assert!(said.contains("not a spoolway agent"), "{said}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = HostPort { host: "127.0.0.1".into(), port: silent.local_addr().unwrap().port() };
    let agent = Whom { admin: Some(at), ..Whom::default() };
    let args = HealthcheckArgs { agent, ready: None, timeout: Duration::from_millis(50) };
    let said = ask(&args).unwrap_err();
    assert!(said.message().contains("/healthz in full within 50ms"), "{}", said.message());
}
