//! A whole segment, read by tool and agent. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spoolway::fuzz::segment(bytes));
