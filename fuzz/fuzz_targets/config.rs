//! Reads arbitrary text as a configuration. Nothing may panic; what is refused is refused with a reason that can
//! be rendered; what is accepted prints as a configuration that is accepted with the same effect.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spoolway::config::{Environment, load_text};

fuzz_target!(|text: &str| {
    match load_text("fuzz.toml", text, &Environment::Absent) {
        Ok(loaded) => {
            let printed = loaded.effective.to_string();
            let again = load_text("fuzz.toml", &printed, &Environment::Absent).expect("what was printed is accepted");
            assert_eq!(again.effective, loaded.effective);
        }
        Err(report) => {
            assert!(report.errors() > 0);
            assert!(!report.to_string().is_empty());
            assert!(!report.rows().is_empty());
        }
    }
});
