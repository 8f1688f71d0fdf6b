//! The `spoolway` binary.

fn main() {}
