//! Arbitrary bytes as the batches of a Fetch answer. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spoolway::fuzz::records(bytes));
