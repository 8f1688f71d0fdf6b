//! Arbitrary text as a configuration. See `src/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| spoolway::fuzz::config(text));
