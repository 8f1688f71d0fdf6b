//! How a command ends.

use std::fmt::Display;
use std::process::ExitCode;

/// The contract's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed while running.
    Failed,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: damage or loss found.
    Loss,
    /// A code of another tool's contract (`status --nagios`).
    Code(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Loss => 3,
            Exit::Code(code) => code,
        })
    }
}

/// What a command returns.
pub type Outcome = Result<Exit, Failure>;

/// Why a command could not do what it was asked for: an exit code and the message for standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// It failed while running (exit code 1).
    #[must_use]
    pub fn running(message: impl Display) -> Self {
        Self { exit: Exit::Failed, message: message.to_string() }
    }

    /// What it was told makes no sense (exit code 2).
    #[must_use]
    pub fn usage(message: impl Display) -> Self {
        Self { exit: Exit::Usage, message: message.to_string() }
    }

    /// An end without a message: whoever read our output has gone away, or all has been said already.
    #[must_use]
    pub fn quiet(exit: Exit) -> Self {
        Self { exit, message: String::new() }
    }

    /// The message for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Prints the message to standard error and gives the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            anstream::eprintln!("{}error:{:#} {}", ERROR, ERROR, self.message);
        }
        self.exit.into()
    }
}

const ERROR: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
