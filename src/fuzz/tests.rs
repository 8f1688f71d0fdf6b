//! Every seed through the functions that the fuzzers run.

use std::path::Path;

use super::*;
use crate::sabotage::{Bug, Sabotage};

fn seeds(target: &str, enough: usize, run: impl Fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut tried = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        // With the name first: it is what a panic has to be told by.
        eprintln!("{}", path.display());
        run(&std::fs::read(&path).unwrap());
        tried += 1;
    }
    assert!(tried >= enough, "{tried} seeds in {}", dir.display());
}

#[test]
fn seeds_of_event_break_no_promise() {
    seeds("event", 5, event);
}

#[test]
fn seeds_of_block_break_no_promise() {
    seeds("block", 4, block);
}

#[test]
fn seeds_of_config_break_no_promise() {
    seeds("config", 1, |bytes| config(&String::from_utf8_lossy(bytes)));
}

#[test]
fn seeds_of_segment_break_no_promise() {
    seeds("segment", 5, segment);
}

#[test]
fn seeds_of_recovery_break_no_promise() {
    seeds("recovery", 5, recovery);
}

#[test]
fn seeds_of_slots_break_no_promise() {
    seeds("slots", 3, slots);
}

#[test]
fn seeds_of_journal_break_no_promise() {
    seeds("journal", 5, journal);
}

#[test]
fn seeds_of_letters_break_no_promise() {
    seeds("letters", 5, letters);
}

#[test]
fn seeds_of_parked_break_no_promise() {
    seeds("parked", 5, parked);
}

#[test]
fn seeds_of_http_break_no_promise() {
    seeds("http", 5, http);
}

#[test]
fn seeds_of_unpack_break_no_promise() {
    seeds("unpack", 5, unpack);
}

#[test]
fn seeds_of_responses_break_no_promise() {
    seeds("responses", 5, responses);
}

#[test]
fn seeds_of_records_break_no_promise() {
    seeds("records", 4, records);
}

#[test]
fn seeds_of_requests_break_no_promise() {
    seeds("requests", 4, requests);
}

/// The negative control: what is wrong on purpose is caught by the seeds of a target as they are, and by what it asserts.
fn caught_by_seeds(bug: Bug, target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let _sabotage = Sabotage::begin(bug);
    let caught = seeds.find(|seed| {
        let bytes = std::fs::read(seed).unwrap();
        std::panic::catch_unwind(|| run(&bytes)).is_err()
    });
    assert!(caught.is_some(), "{bug:?} is not caught by {target}");
}

#[test]
fn seeds_of_recovery_catch_a_lane_that_is_wrong_on_purpose() {
    for bug in
        [Bug::AnswerBeforeSync, Bug::NoDirectorySync, Bug::RetryAfterFailedSync, Bug::NumbersTwiceUnderOneRun]
    {
        caught_by_seeds(bug, "recovery", recovery);
    }
}

#[test]
fn seeds_of_block_segment_and_slots_catch_checksums_that_nobody_compares() {
    caught_by_seeds(Bug::HeaderUnchecked, "block", block);
    caught_by_seeds(Bug::PayloadUnchecked, "segment", segment);
    caught_by_seeds(Bug::SlotUnchecked, "slots", slots);
}

#[test]
fn seeds_of_journal_and_letters_catch_what_is_said_to_be_on_disk_and_is_not() {
    caught_by_seeds(Bug::JournalUnsynced, "journal", journal);
    caught_by_seeds(Bug::LetterUnsynced, "letters", letters);
}

/// Bytes that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }

    /// A seed with some bytes changed, put in, or taken out.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(6) {
            let at = self.roll(bytes.len() + 1);
            let byte = self.roll(256) as u8;
            match self.roll(4) {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => bytes.push(byte),
            }
        }
    }
}

/// What a fuzzer does, without what guides it: runs on stable, a little in every `cargo test`, longer with
/// `SPOOLWAY_FUZZ=<inputs>`. A failing input is printed and repeats.
fn mutations(target: &str, inputs: u64, run: impl Fn(&[u8])) {
    let inputs = std::env::var("SPOOLWAY_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(inputs);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|p| std::fs::read(p).unwrap()).collect();
    for number in 1..=inputs {
        let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut bytes = seeds[dice.roll(seeds.len())].clone();
        dice.mutate(&mut bytes);
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&bytes))) {
            eprintln!("input {number} of {target}: {bytes:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn mutated_seeds_of_segment_break_no_promise() {
    mutations("segment", 500, segment);
}

#[test]
fn mutated_seeds_of_recovery_break_no_promise() {
    mutations("recovery", 300, recovery);
}

#[test]
fn mutated_seeds_of_slots_break_no_promise() {
    mutations("slots", 100, slots);
}

#[test]
fn mutated_seeds_of_journal_break_no_promise() {
    mutations("journal", 500, journal);
}

#[test]
fn mutated_seeds_of_letters_break_no_promise() {
    mutations("letters", 300, letters);
}

#[test]
fn mutated_seeds_of_parked_break_no_promise() {
    mutations("parked", 500, parked);
}

/// An append whose sync fails, an opening that reads it all the same, and a power cut after which it is gone.
#[test]
fn a_window_that_was_read_though_its_sync_had_failed_may_be_gone_after_a_power_cut() {
    let mut input = Vec::new();
    input.extend([0, 0, 1, 2]);
    input.extend([255; 12]);
    input.extend([9, 0]);
    input.extend([63; 44]);
    input.extend([0, 0, 0, 104]);
    input.extend([63; 12]);
    input.extend([0, 1, 255, 79, 1, 5, 6, 7, 254, 8, 71]);
    super::journal(&input);
}

/// Where there was nothing to forge, a letter was kept and not noted.
#[test]
fn letters_that_are_kept_in_a_forged_store_are_not_looked_for() {
    super::letters(&[
        0, 3, 10, 243, 0, 0, 10, 0, 49, 1, 12, 36, 255, 196, 196, 196, 196, 255, 55, 248, 138, 253, 252, 22,
        0, 167, 1, 3, 138, 46, 1, 10, 83, 87, 83, 76, 0, 8, 9, 0,
    ]);
}
