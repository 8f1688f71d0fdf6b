//! Arbitrary bytes as headers of blocks and segments, and as `FORMAT`. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spoolway::fuzz::block(bytes));
