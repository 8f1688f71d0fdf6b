//! The agent on disks that fail: real kernels, real file systems, a ledger of accepted events outside.
//!
//! Most of it needs root (mounts, loop devices) and some tools. Without them a test is reported as ignored, with
//! the reason; with `SPOOLWAY_DISK_TESTS=required` that is a failure. `SPOOLWAY_DISK_TESTS=off` skips them.
//! `SPOOLWAY_SOAK=1` runs the long versions, each of `SPOOLWAY_CYCLES` rounds or for `SPOOLWAY_SECONDS`; with
//! `SPOOLWAY_SWEEP=all` the sweeps strike at every system call, not only at those that change something.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test stops at the first surprise"
)]

mod broken;
mod clock;
mod cycle;
mod full;
mod hung;
mod kills;
mod leaves;
mod lying;
mod needs;
mod neighbours;
mod outside;
mod power;
mod says;
mod script;
mod site;
#[path = "../support/mod.rs"]
mod support;
mod sweep;
mod trace;
mod volume;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use needs::Need::{self, Btrfs, BtrfsInKernel, Ext4, Mounts, Python, Root, Tracing, Xfs};

macro_rules! trials {
    ($($module:ident: [$($name:ident needs $needs:expr),* $(,)?]),* $(,)?) => {
        vec![$($(Trial::ignorable_test(
            concat!(stringify!($module), "::", stringify!($name)), || where_possible(&$needs, $module::$name)
        )),*),*]
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait for disks and other processes more than they compute.
    arguments.test_threads.get_or_insert(3);
    let trials = trials! {
        power: [
            power_cuts_on_ext4_lose_nothing needs [Mounts, Ext4, Python],
            power_cuts_on_xfs_lose_nothing needs [Mounts, Xfs, Python],
            on_ext4_an_agent_that_answers_before_the_sync_is_caught needs [Mounts, Ext4, Python],
            on_xfs_an_agent_that_answers_before_the_sync_is_caught needs [Mounts, Xfs, Python],
        ],
        lying: [
            an_fsync_that_fails_once_and_then_lies_loses_nothing needs [Mounts, Ext4],
            an_agent_that_tries_a_failed_sync_again_is_caught needs [Mounts, Ext4],
        ],
        full: [
            ext4_filled_to_the_last_byte_drains_and_accepts_again_by_itself needs [Mounts, Ext4],
            xfs_filled_to_the_last_byte_drains_and_accepts_again_by_itself needs [Mounts, Xfs],
            btrfs_filled_to_the_last_byte_drains_and_accepts_again_by_itself needs [Mounts, Btrfs, BtrfsInKernel],
            a_quota_that_is_used_up_drains_and_accepts_again_by_itself needs [Mounts, Btrfs, BtrfsInKernel],
            a_file_system_without_inodes_drains_and_accepts_again_by_itself needs [Mounts, Ext4],
            on_a_full_disk_an_agent_without_its_small_files_starts_and_keeps_what_a_destination_that_is_gone_needs needs [Mounts, Ext4],
            on_a_full_ext4_an_agent_that_accepts_what_it_cannot_write_is_caught needs [Mounts, Ext4],
            on_a_full_xfs_an_agent_that_accepts_what_it_cannot_write_is_caught needs [Mounts, Xfs],
        ],
        broken: [
            on_a_file_system_that_aborts_what_is_durable_is_delivered_and_nothing_is_lost needs [Mounts, Ext4],
            a_directory_that_turns_read_only_is_waited_for_and_delivered_from_meanwhile needs [Mounts],
            on_a_file_system_that_aborts_an_agent_that_accepts_what_it_cannot_write_is_caught needs [Mounts, Ext4],
            in_a_directory_that_turns_read_only_an_agent_that_accepts_what_it_cannot_write_is_caught needs [Mounts],
        ],
        sweep: [
            saving_positions_and_deleting_survives_a_kill_at_every_call needs [Python, Tracing],
            saving_positions_and_deleting_survives_every_call_failing needs [Python, Tracing],
            a_start_on_an_empty_directory_survives_a_kill_at_every_call needs [Python, Tracing],
            a_start_on_an_empty_directory_survives_every_call_failing needs [Python, Tracing],
            appending_survives_a_kill_at_every_call needs [Python, Tracing],
            appending_survives_every_call_failing needs [Python, Tracing],
            rotating_survives_a_kill_at_every_call needs [Python, Tracing],
            rotating_survives_every_call_failing needs [Python, Tracing],
            recovering_survives_a_kill_at_every_call needs [Python, Tracing],
            recovering_survives_every_call_failing needs [Python, Tracing],
            parking_survives_a_kill_at_every_call needs [Python, Tracing],
            parking_survives_every_call_failing needs [Python, Tracing],
            burying_survives_a_kill_at_every_call needs [Python, Tracing],
            burying_survives_every_call_failing needs [Python, Tracing],
            sending_letters_again_survives_a_kill_at_every_call needs [Python, Tracing],
            sending_letters_again_survives_every_call_failing needs [Python, Tracing],
            a_stream_that_moves_between_lanes_survives_a_kill_at_every_call needs [Python, Tracing],
            a_stream_that_moves_between_lanes_survives_every_call_failing needs [Python, Tracing],
            a_backlog_that_goes_to_another_destination_survives_a_kill_at_every_call needs [Python, Tracing],
            a_backlog_that_goes_to_another_destination_survives_every_call_failing needs [Python, Tracing],
        ],
        sweep: [
            an_agent_that_counts_what_it_sends_as_delivered_is_caught needs [Python, Tracing],
            an_agent_that_accepts_what_it_cannot_write_is_caught needs [Python, Tracing],
            parked_events_whose_file_has_its_name_too_early_are_noticed needs [Python, Tracing],
            dead_letters_that_positions_know_before_the_disk_has_them_are_noticed needs [Python, Tracing],
            letters_that_are_forgotten_before_they_have_arrived_are_noticed needs [Python, Tracing],
            a_stream_whose_new_lane_does_not_wait_for_its_old_one_is_noticed needs [Python, Tracing],
        ],
        clock: [
            what_a_host_accepted_in_1970_arrives_with_its_time_once_it_knows_it_and_no_jump_loses_or_doubles
                needs [Python, Tracing],
        ],
        hung: [an_agent_on_a_disk_that_hangs_says_so_refuses_and_goes_on_when_it_answers needs [Mounts, Ext4]],
        kills: [
            kills_at_random_moments_lose_nothing needs [],
            an_agent_that_counts_what_it_sends_as_delivered_is_caught needs [],
        ],
        neighbours: [another_account_may_look_and_change_nothing needs [Root]],
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a test where the machine has what it needs, else says what is missing.
fn where_possible(needs: &[Need], test: fn()) -> Result<Completion, Failed> {
    let wish = std::env::var("SPOOLWAY_DISK_TESTS").unwrap_or_default();
    if wish == "off" {
        return Ok(Completion::ignored_with("SPOOLWAY_DISK_TESTS=off"));
    }
    match needs.iter().find_map(|need| Some((need, need.missing()?))) {
        None => {
            test();
            Ok(Completion::Completed)
        }
        Some((need, reason)) if wish == "required" && need.can_be_had() => Err(reason.into()),
        Some((_, reason)) => Ok(Completion::ignored_with(reason)),
    }
}
