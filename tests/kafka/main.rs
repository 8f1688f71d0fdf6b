//! End-to-end tests on a real Apache Kafka.
//!
//! They need Java and Maven. Without them each is reported as ignored, with the reason; with
//! `SPOOLWAY_KAFKA_TESTS=required` that is a failure. `SPOOLWAY_KAFKA_TESTS=off` skips them.
//! `SPOOLWAY_KAFKA_VERSION` chooses the version of the brokers; `older` has a slice on an older one in any case.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test stops at the first surprise"
)]

mod abandoned;
mod acknowledge;
mod broker;
mod cluster;
mod controls;
mod crash;
mod doubted;
mod exactly;
mod expiry;
mod fleet;
mod harness;
mod hours;
mod interrupted;
mod isolation;
mod java;
mod lanes;
mod letters;
mod links;
mod moved;
mod older;
mod oneway;
mod outage;
mod parked;
mod permissions;
mod producer;
mod proxied;
mod quickstart;
mod quota;
mod secured;
mod shutdown;
mod snapshot;
#[path = "../support/mod.rs"]
mod support;
mod times;
mod topic;
mod verify;
mod volume;
mod wire;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

macro_rules! trials {
    ($($module:ident: [$($name:ident),* $(,)?]),* $(,)?) => {
        vec![$($(Trial::ignorable_test(
            concat!(stringify!($module), "::", stringify!($name)), || on_kafka($module::$name)
        )),*),*]
    };
}

/// Those that need networks of their own.
const ONE_WAY: [(&str, fn()); 2] = [
    (
        "oneway::a_link_that_brings_no_answers_any_more_is_noticed_and_costs_nothing",
        oneway::a_link_that_brings_no_answers_any_more_is_noticed_and_costs_nothing,
    ),
    (
        "oneway::a_link_that_takes_no_requests_any_more_is_noticed_and_costs_nothing",
        oneway::a_link_that_takes_no_requests_any_more_is_noticed_and_costs_nothing,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of their time the tests wait for a fault to last, so more of them run than there are cores.
    arguments.test_threads.get_or_insert(4);
    // The longest first.
    let mut trials = trials! {
        outage: [
            kafka_killed_for_a_minute_in_mid_stream_costs_nothing,
            kafka_frozen_for_a_minute_in_mid_stream_costs_nothing,
            kafka_killed_again_and_again_under_load_costs_nothing,
            kafka_restarted_with_an_empty_producer_cache_gets_no_event_twice,
        ],
        cluster: [
            three_brokers_restarted_killed_and_frozen_in_turn_under_a_killed_agent_get_every_event_once,
            a_partition_whose_only_broker_is_dead_holds_back_only_its_own_keys,
            partitions_that_are_added_under_load_are_used_and_nothing_is_lost_or_doubled,
            a_topic_deleted_and_made_anew_gets_everything_that_is_accepted_since,
        ],
        doubted: [
            what_was_appended_and_is_too_large_by_now_is_there_once,
            what_was_appended_and_is_forbidden_by_now_is_there_once,
        ],
        volume: [
            a_million_events_over_http_and_tcp_arrive_once_and_in_order,
            each_codec_is_read_by_kafkas_own_consumer_with_keys_headers_and_order,
            keys_go_to_the_partitions_where_the_java_client_puts_them,
            pipe_brings_every_line_and_ends_with_0,
        ],
        parked: [
            a_missing_topic_does_not_fill_its_lane_and_gets_everything_in_order_once_it_is_made,
            without_room_for_it_elsewhere_a_missing_topic_fills_its_lane,
        ],
        fleet: [
            relays_that_all_come_back_at_once_deliver_everything_once_and_send_nothing_again,
        ],
        hours: [
            a_link_that_comes_and_goes_costs_nothing_and_memory_stays_where_it_is,
        ],
        crash: [
            the_agent_killed_again_and_again_under_load_loses_nothing,
            killed_without_a_journal_only_what_was_in_flight_is_doubled,
            the_agent_and_kafka_both_killed_under_load_lose_nothing,
        ],
        exactly: [
            what_was_in_flight_is_read_back_from_a_broker_that_has_forgotten_its_producers,
            without_a_journal_the_same_is_doubled,
            what_was_in_flight_is_settled_though_the_topic_would_refuse_it_by_now,
            a_window_of_which_a_block_has_rotted_is_looked_for_and_what_it_has_is_there_once,
            a_snapshot_put_back_after_more_was_delivered_takes_no_new_event_for_an_old_one,
        ],
        snapshot: [
            a_snapshot_put_back_in_place_is_recognised_by_what_its_topic_holds,
            a_journal_that_was_not_written_while_events_were_sent_gives_no_alarm,
        ],
        quota: [
            a_quota_is_obeyed_beyond_the_request_timeout_and_nothing_is_sent_again_also_over_a_kill,
        ],
        expiry: [
            a_producer_that_was_silent_until_it_was_forgotten_goes_on_and_nothing_is_lost_or_doubled,
            what_was_in_flight_is_read_back_once_its_producer_has_been_forgotten_and_doubled_without_a_journal,
            events_older_than_what_brokers_remember_are_looked_for_before_they_are_sent_again,
        ],
        abandoned: [
            what_is_held_in_doubt_goes_out_anew_and_counted_once_a_person_gives_it_up_and_nobody_else_notices,
        ],
        lanes: [
            a_stream_moved_from_lane_to_lane_by_kills_under_load_arrives_once_and_in_order,
            what_was_in_flight_under_a_destinations_old_name_is_settled_under_its_new_one,
        ],
        moved: [
            a_backlog_moved_away_from_a_dead_cluster_arrives_at_the_other_once_and_in_order,
            what_is_in_doubt_at_the_old_cluster_stays_there_and_the_rest_goes_to_the_new_one,
        ],
        interrupted: [
            a_demo_that_is_interrupted_deletes_its_topic,
            a_demo_whose_cluster_is_gone_ends_in_time_and_names_the_topic_that_may_be_left,
        ],
        shutdown: [
            sigterm_under_load_ends_in_time_and_costs_nothing,
            sigterm_while_kafka_is_dead_ends_in_time_and_costs_nothing,
        ],
        isolation: [
            of_two_destinations_the_dead_one_holds_back_only_itself,
            kafka_absent_at_start_is_said_and_everything_is_delivered_when_it_comes,
            a_missing_topic_waits_alone_and_goes_on_once_it_is_made,
            a_missing_topic_is_remembered_over_a_kill_and_nothing_else_is_sent_again,
            what_waits_for_a_missing_topic_goes_the_new_way_once_the_route_is_corrected,
        ],
        letters: [
            events_too_large_for_the_topic_become_dead_letters_and_arrive_once_it_takes_them,
            of_a_batch_with_one_refused_event_everything_else_arrives_once,
            a_topic_missing_for_too_long_gives_its_events_up_and_they_can_be_sent_again,
            each_dead_letter_is_a_record_of_their_topic_too_and_over_a_kill_none_is_there_twice,
        ],
        controls: [
            a_spool_that_is_thrown_away_is_found_missing,
            a_data_directory_put_back_from_a_copy_is_found_to_double,
            an_agent_that_takes_its_next_sequence_number_from_disk_is_found_to_lose_events_after_a_rollback,
        ],
        permissions: [
            with_reading_forbidden_only_what_was_in_doubt_may_be_doubled_and_that_is_counted,
            what_is_forbidden_is_said_and_works_as_soon_as_it_is_permitted,
            without_producer_ids_events_flow_what_it_costs_is_said_and_it_ends_with_the_permission,
        ],
        times: [
            events_older_than_half_of_what_their_topic_keeps_or_takes_are_sent_under_the_time_of_sending,
        ],
        links: [
            pipe_and_demo_reach_a_cluster_that_asks_for_a_password_as_kafkas_tools_do,
            scram_over_tls_with_a_broker_killed_in_mid_stream_costs_nothing,
            sessions_that_end_every_three_seconds_are_renewed_and_nothing_is_in_doubt,
            both_sides_show_certificates_and_a_renewed_one_counts_without_a_restart,
            check_says_in_plain_words_what_is_wrong_with_a_link,
            a_wrong_password_is_said_and_heals_when_its_file_is_corrected,
            tokens_are_fetched_shown_and_renewed,
        ],
        acknowledge: [
            delivered_means_in_the_topic_and_202_means_kept_and_not_yet_there,
        ],
        quickstart: [
            the_quick_start_of_the_readme_works_word_for_word,
            the_pipe_of_the_readme_follows_a_file_word_for_word,
        ],
        harness: [
            what_rskafka_wrote_is_read_by_both_readers_and_a_missing_event_is_noticed,
            a_broker_keeps_its_port_and_its_topics_over_stop_kill_and_freeze,
        ],
        verify: [
            a_run_is_whole_and_a_record_copied_by_hand_is_counted_exactly,
            what_was_deleted_from_the_start_of_the_log_is_expired_for_headers_and_ledger,
            two_relays_and_producers_with_transactions_share_a_topic,
        ],
        proxied: [
            a_cluster_behind_a_socks_proxy_that_cuts_its_connections_gets_everything_once,
            a_cluster_behind_an_http_proxy_that_cuts_its_connections_gets_everything_once,
        ],
        producer: [
            every_codec_is_read_by_java_and_by_us_with_headers_in_order,
            a_broker_killed_frozen_and_restarted_gets_every_window_once_and_in_order,
            sequence_numbers_that_come_round_to_0_are_those_the_broker_waits_for,
        ],
    };
    for (name, test) in ONE_WAY {
        trials.push(Trial::ignorable_test(name, move || match oneway::missing() {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => on_kafka(test),
        }));
    }
    trials.push(Trial::ignorable_test(
        "older::killed_brokers_and_agents_and_letters_are_what_they_are_on_the_newest",
        || {
            on_kafka_of(
                java::OLDER,
                older::killed_brokers_and_agents_and_letters_are_what_they_are_on_the_newest,
            )
        },
    ));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a test where a Kafka can be had, else says why not.
fn on_kafka(test: fn()) -> Result<Completion, Failed> {
    on_kafka_of(&java::version(), test)
}

fn on_kafka_of(version: &str, test: fn()) -> Result<Completion, Failed> {
    let wish = std::env::var("SPOOLWAY_KAFKA_TESTS").unwrap_or_default();
    if wish == "off" {
        return Ok(Completion::ignored_with("SPOOLWAY_KAFKA_TESTS=off"));
    }
    match java::can_run(version) {
        Ok(()) => {
            test();
            Ok(Completion::Completed)
        }
        Err(reason) if wish == "required" => Err(format!("no Kafka: {reason}").into()),
        Err(reason) => Ok(Completion::ignored_with(format!("no Kafka: {reason}"))),
    }
}
