//! The agent with one deliberate bug (`SPOOLWAY_SABOTAGE`), for negative controls. Needs the feature `simulation`;
//! never part of a release.

use std::process::ExitCode;

fn main() -> ExitCode {
    match spoolway::sabotage::of_environment() {
        Ok(bug) => {
            anstream::eprintln!("spoolway-sabotaged: wrong on purpose ({}); it loses events", bug.name());
            spoolway::cli::main()
        }
        Err(why) => {
            anstream::eprintln!("spoolway-sabotaged: {why}");
            ExitCode::from(2)
        }
    }
}
