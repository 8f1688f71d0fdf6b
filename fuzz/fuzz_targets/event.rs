//! Arbitrary bytes as events. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spoolway::fuzz::event(bytes));
