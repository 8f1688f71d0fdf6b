//! Files of slots: `floor`, positions. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spoolway::fuzz::slots(bytes));
