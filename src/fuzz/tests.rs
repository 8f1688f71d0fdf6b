//! Every seed through the functions that the fuzzers run.

use std::path::Path;

use super::*;

fn seeds(target: &str, enough: usize, run: impl Fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut tried = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        // With the name first: it is what a panic has to be told by.
        println!("{}", path.display());
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
