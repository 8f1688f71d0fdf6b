//! End-to-end tests on a real Apache Kafka.
//!
//! They need Java and Maven. Without them each is reported as ignored, with the reason; with
//! `SPOOLWAY_KAFKA_TESTS=required` that is a failure. `SPOOLWAY_KAFKA_TESTS=off` skips them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test stops at the first surprise"
)]

mod broker;
mod harness;
mod java;
mod producer;
#[path = "../support/mod.rs"]
mod support;
mod topic;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

macro_rules! trials {
    ($($module:ident: [$($name:ident),* $(,)?]),* $(,)?) => {
        vec![$($(Trial::ignorable_test(
            concat!(stringify!($module), "::", stringify!($name)), || on_kafka($module::$name)
        )),*),*]
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of their time the tests wait for a fault to last, so more of them run than there are cores.
    arguments.test_threads.get_or_insert(4);
    let trials = trials! {
        harness: [
            what_rskafka_wrote_is_read_by_both_readers_and_a_missing_event_is_noticed,
            a_broker_keeps_its_port_and_its_topics_over_stop_kill_and_freeze,
        ],
        producer: [
            every_codec_is_read_by_java_and_by_us_with_headers_in_order,
            a_broker_killed_frozen_and_restarted_gets_every_window_once_and_in_order,
        ],
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a test where a Kafka can be had, else says why not.
fn on_kafka(test: fn()) -> Result<Completion, Failed> {
    let wish = std::env::var("SPOOLWAY_KAFKA_TESTS").unwrap_or_default();
    if wish == "off" {
        return Ok(Completion::ignored_with("SPOOLWAY_KAFKA_TESTS=off"));
    }
    match java::kafka_libs() {
        Ok(_) => {
            test();
            Ok(Completion::Completed)
        }
        Err(reason) if wish == "required" => Err(format!("no Kafka: {reason}").into()),
        Err(reason) => Ok(Completion::ignored_with(format!("no Kafka: {reason}"))),
    }
}
