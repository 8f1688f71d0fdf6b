//! A lane, written, damaged and opened again. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spoolway::fuzz::recovery(bytes));
