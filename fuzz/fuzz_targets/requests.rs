//! Arbitrary bytes as requests to the demo's broker. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spoolway::fuzz::requests(bytes));
