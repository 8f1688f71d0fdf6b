//! `spoolway completions`: what a shell needs to complete this command line.

use clap::{Args, Command, CommandFactory, ValueEnum};

use super::{Cli, Exit, General, Outcome, output};

/// What `spoolway completions` takes.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell.
    pub shell: Shell,
}

/// A shell that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// fish.
    Fish,
}

/// Prints the script.
///
/// # Errors
/// A [`super::Failure`] when it can't be printed.
pub fn run(args: &CompletionsArgs, _general: &General) -> Outcome {
    output::print(&script(args.shell))?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut offered(), "spoolway", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The command line without the commands that are hidden: the script for bash would offer them.
fn offered() -> Command {
    let all = Cli::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("spoolway")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(all.get_arguments().cloned())
        .subcommands(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_the_commands_and_options_that_a_person_may_use() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for word in ["healthcheck", "bootstrap-server", "print-effective", "replay"] {
                assert!(script.contains(word), "{shell:?} {word}");
            }
            for hidden in ["demo-part", "demo__part", "demo_part", "sabotaged"] {
                assert!(!script.contains(hidden), "{shell:?} {hidden}");
            }
        }
    }

    #[test]
    fn bash_takes_its_script_without_an_error() {
        let mut bash = std::process::Command::new("bash");
        let output = bash.args(["-n", "-c", &script(Shell::Bash)]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
