//! The `spoolway` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    spoolway::cli::main()
}
