//! A panic while a secret is in hand, with all of it in the message: the worst that a mistake here or in a library could do.
//!
//! The program that does so on purpose is `spoolway-sabotaged`; see `src/panics.rs`.

use std::process::{Command, Output};
use std::time::Duration;

use super::spoken::{asks_who, challenge};
use super::support::agent::Setup;
use super::support::certificates::put;
use super::support::http;
use super::support::ports::free_port;
use super::support::sabotaged::sabotaged;

const SOON: Duration = Duration::from_secs(30);
const PASSWORD: &str = "panic-canary-password-77d0";
const TOKEN: &str = "panic-canary-token-0123456789";
const LITERAL: &str = "panic-canary-literal-3c1e";

/// The agent that panics there, as talkative as it can be.
fn stumbling(over: &str) -> Command {
    let mut command = sabotaged(&format!("panic-over-{over}"));
    command.env("SPOOLWAY_LOG", "trace").env("RUST_BACKTRACE", "full");
    for name in ["SPOOLWAY_CONFIG", "SPOOLWAY_LOG_FORMAT", "SPOOLWAY_PANICS", "RUST_LIB_BACKTRACE"] {
        command.env_remove(name);
    }
    command
}

#[track_caller]
fn tells_of_the_panic_alone(said: &str) {
    assert!(said.contains("panicked at src/"), "where it was: {said}");
    assert!(said.contains("stack backtrace:"), "and the way there: {said}");
    for canary in [PASSWORD, TOKEN, LITERAL] {
        assert!(!said.contains(canary), "{canary} is in it: {said}");
    }
}

fn both(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).concat()
}

/// A setup with a secret of each kind; its broker asks for a proof of the password.
fn setup(name: &str) -> Setup {
    let (broker, _) = asks_who(|_, said| Some(challenge(said, "4096")));
    let sasl =
        "sasl = { mechanism = \"SCRAM-SHA-256\", username = \"u\", password = { file = \"password\" } }\n";
    let setup = Setup::new(name).http("token = { file = \"token\" }").destination("home", broker, sasl);
    put(&setup.dir, "password", PASSWORD);
    put(&setup.dir, "token", TOKEN);
    setup
}

#[test]
fn a_panic_over_a_configuration_or_a_secret_that_is_read_tells_nothing_of_them() {
    let setup = setup("panic-read");
    let literal = setup.config().replace("{ file = \"password\" }", &format!("\"{LITERAL}\""));
    assert!(literal.contains(LITERAL));
    let file = put(&setup.dir, "literal.toml", &literal);
    let checked = stumbling("configuration").args(["check", "-c"]).arg(file).output().expect("it runs");
    assert_eq!(checked.status.code(), Some(101));
    tells_of_the_panic_alone(&both(&checked));

    // The tokens are read before it serves.
    let agent = setup.spawn_by(stumbling("secret"));
    assert!(!agent.process.wait(SOON).success());
    tells_of_the_panic_alone(&agent.process.output().all(SOON));
}

#[test]
fn a_panic_over_a_password_or_a_token_in_use_is_in_no_log_status_metric_or_answer() {
    let setup = setup("panic-use");
    let agent = setup.spawn_by(stumbling("proof"));
    agent.wait_ready("/readyz?for=accept", SOON);
    let status = agent
        .wait_status("has not tried", SOON, |status| status["destinations"][0]["last_error"].is_object());
    let said = status["destinations"][0]["last_error"]["message"].as_str().expect("words");
    assert!(said.contains("panicked"), "{said}");
    let paths = ["/status", "/metrics", "/healthz", "/readyz", "/"];
    let answers = paths.map(|path| http::get(setup.admin, path).expect("an answer").text());
    agent.process.kill();
    tells_of_the_panic_alone(&[agent.process.output().all(SOON), answers.concat()].concat());

    let agent = setup.spawn_by(stumbling("token"));
    agent.wait_ready("/readyz?for=accept", SOON);
    let header = format!("Authorization: Bearer {TOKEN}\r\n");
    let answer = http::post(setup.http, "/v1/events/a", &header, b"x");
    assert!(answer.is_err(), "its connection went with it");
    assert!(agent.process.output().wait_for("panicked at", SOON));
    agent.process.kill();
    tells_of_the_panic_alone(&agent.process.output().all(SOON));
}

/// The control: it is in the message, and whoever asks for that sees it.
#[test]
fn a_panic_that_is_to_tell_all_does() {
    let setup = setup("panic-told");
    let agent = setup.spawn_by({
        let mut command = stumbling("secret");
        command.env("SPOOLWAY_PANICS", "full");
        command
    });
    assert!(!agent.process.wait(SOON).success());
    let said = agent.process.output().all(SOON);
    assert!(std::panic::catch_unwind(|| tells_of_the_panic_alone(&said)).is_err(), "{said}");
    assert!(said.contains(TOKEN), "{said}");
}

/// It was raw text amid lines of JSON.
#[test]
fn with_json_logs_a_panic_is_one_line_of_json() {
    let setup =
        Setup::new("panic-json").http("token = { file = \"token\" }").destination("home", free_port(), "");
    put(&setup.dir, "token", TOKEN);
    let agent = setup.spawn_by({
        let mut command = stumbling("secret");
        command.env("SPOOLWAY_LOG_FORMAT", "json").env_remove("RUST_BACKTRACE");
        command
    });
    assert!(!agent.process.wait(SOON).success());
    let said = agent.process.output().all(SOON);
    let line = said.lines().find(|line| line.contains("panicked")).expect("it says so");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert!(
        line["message"].as_str().expect("words").contains("kept back") && line["level"] == "ERROR",
        "{line}"
    );
}
