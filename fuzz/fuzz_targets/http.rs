//! Whatever bytes, in whatever pieces, as what comes over a connection. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spoolway::fuzz::http(bytes));
