//! Arbitrary bytes as answers of a broker. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spoolway::fuzz::responses(bytes));
