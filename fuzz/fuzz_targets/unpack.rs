//! Bodies, packed, damaged, and not packed at all. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spoolway::fuzz::unpack(bytes));
