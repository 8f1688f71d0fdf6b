//! What the command line may say, and the way from there to the command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::{
    Exit, Failure, Outcome, check, completions, demo, destination, dlq, hardening, healthcheck, init, man,
    pipe, reconcile, route, run, spool, status, verify,
};
use crate::config::{self, Environment, Loaded};
use crate::{logs, panics};

/// A zero-loss Kafka relay: takes events, keeps them on disk, brings them to Kafka.
#[derive(Debug, Parser)]
#[command(
    name = "spoolway",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed while running, 2 usage or configuration, 3 damage or loss found."
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub general: General,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct General {
    /// How log lines on standard error look.
    #[arg(
        long,
        global = true,
        env = "SPOOLWAY_LOG_FORMAT",
        value_enum,
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Logging"
    )]
    pub log_format: logs::Format,
    /// error, warn, info, debug, trace or off; or by module, as in "info,spoolway::kafka=debug".
    #[arg(
        long,
        global = true,
        env = "SPOOLWAY_LOG",
        default_value = "info",
        value_name = "LEVEL",
        help_heading = "Logging"
    )]
    pub log_level: logs::Level,
}

impl General {
    /// Turns logging on; each command that logs calls it once, first.
    pub fn start_logs(&self) {
        logs::init(self.log_format, &self.log_level);
    }
}

/// Where the configuration is, for the commands that need one.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFiles {
    /// Configuration file; may be given several times. Default: $SPOOLWAY_CONFIG, else
    /// /etc/spoolway/spoolway.toml. conf.d/*.toml beside each file is read too.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

impl ConfigFiles {
    /// [`Self::load`], for commands that need no configuration where something else is said: `instead` is what.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(super) fn load_or(&self, instead: &str) -> Result<Loaded, Failure> {
        if config::is_there_one(&self.files) {
            return self.load();
        }
        let (file, variable) = (config::DEFAULT_FILE, config::VARIABLE);
        Err(Failure::usage(format!(
            "there is no configuration: {file} does not exist; {instead}, or name a configuration with -c FILE or in ${variable}"
        )))
    }

    /// Finds, reads and checks the configuration.
    ///
    /// # Errors
    /// A [`Failure`] with exit code 2; everything that is wrong has been printed to standard error.
    pub fn load(&self) -> Result<Loaded, Failure> {
        let lookup = |name: &str| std::env::var(name).ok();
        config::load(&self.files, &Environment::Lookup(&lookup)).map_err(|report| {
            anstream::eprintln!("{}", report.render());
            Failure::quiet(Exit::Usage)
        })
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground, with logs on standard error.
    Run(run::RunArgs),
    /// Bring lines of standard input to a topic, through a durable spool, without a configuration.
    Pipe(pipe::PipeArgs),
    /// Show the main job end to end, with faults, and prove that nothing was lost.
    Demo(demo::DemoArgs),
    /// A process that the demo starts.
    #[command(hide = true)]
    DemoPart(demo::DemoPartArgs),
    /// Write a commented configuration to begin with.
    Init(init::InitArgs),
    /// Check the configuration and name every problem in it.
    Check(check::CheckArgs),
    /// Say what a running agent is doing.
    Status(status::StatusArgs),
    /// Ask a running agent whether it is well: exit code 0 if it is, else 1.
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Read topics back and prove that every event is there once, in order.
    Verify(verify::VerifyArgs),
    /// Compare two topics, or a topic and a file: what is on one side only, and the pace of each.
    Reconcile(reconcile::ReconcileArgs),
    /// Look into a spool, whether its agent runs or not.
    Spool(spool::SpoolArgs),
    /// Dead letters: events that a destination will never take, with the reason.
    Dlq(dlq::DlqArgs),
    /// Where streams go; and have them go elsewhere, at once.
    Route(route::RouteArgs),
    /// Give up what is kept for a destination that is no longer configured, or in doubt at one that will not come back.
    Destination(destination::DestinationArgs),
    /// Print what a shell needs to complete this command line.
    Completions(completions::CompletionsArgs),
    /// Print or write the manual pages.
    #[command(hide = true)]
    Man(man::ManArgs),
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    panics::install();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if std::env::args().any(|word| word == "--nagios") && error.use_stderr() => {
            return status::unknown(&error);
        }
        Err(error) => {
            return later(&error, std::env::args().skip(1)).map_or_else(|| usage(&error), |l| l.report());
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let general = cli.general;
    hardening::harden(&cli.command);
    match cli.command {
        Command::Run(args) => run::run(args, &general),
        Command::Pipe(args) => pipe::run(args, &general),
        Command::Demo(args) => demo::run(args, &general),
        Command::DemoPart(args) => demo::run_part(args, &general),
        Command::Init(args) => init::run(&args, &general),
        Command::Check(args) => check::run(&args, &general),
        Command::Status(args) => status::run(&args, &general),
        Command::Healthcheck(args) => healthcheck::run(&args, &general),
        Command::Verify(args) => verify::run(args, &general),
        Command::Reconcile(args) => reconcile::run(args, &general),
        Command::Spool(args) => spool::run(args, &general),
        Command::Dlq(args) => dlq::run(&args, &general),
        Command::Route(args) => route::run(&args, &general),
        Command::Destination(args) => destination::run(&args, &general),
        Command::Completions(args) => completions::run(&args, &general),
        Command::Man(args) => man::run(&args, &general),
    }
}

/// Commands of the contract that are not built yet, and what there is instead.
const LATER: [(&str, &str); 4] = [
    ("top", "`watch spoolway status` shows the same, again and again"),
    (
        "fleet",
        "`spoolway status` and /metrics tell of one relay, `spoolway verify` of all that write to a topic",
    ),
    ("bench", "`spoolway demo` runs all of it on this host"),
    ("doctor", "`spoolway check --connect`, `spoolway status` and `spoolway spool verify` say what is wrong"),
];

/// A command that is known and not in this version: no misspelling, which is what clap would take it for.
fn later(error: &clap::Error, mut line: impl Iterator<Item = String>) -> Option<Failure> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (name, instead) = LATER.iter().find(|(later, _)| later == name)?;
    // It may be a word in the place of another command's command.
    let is_first = line.find(|word| !word.starts_with('-'))? == *name;
    (error.kind() == ErrorKind::InvalidSubcommand && is_first)
        .then(|| Failure::usage(format!("`spoolway {name}` is not in this version: {instead}")))
}

/// Help and version are answers, everything else is wrong usage; clap prints either to its right stream.
fn usage(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    match error.print() {
        Ok(()) => exit.into(),
        Err(_) => Exit::Failed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn log_options_stand_before_or_after_the_command() {
        for line in [["spoolway", "--log-format", "json", "run"], ["spoolway", "run", "--log-format", "json"]]
        {
            assert_eq!(Cli::try_parse_from(line).unwrap().general.log_format, logs::Format::Json);
        }
    }

    #[test]
    fn a_log_level_that_is_none_is_wrong_usage() {
        let error = Cli::try_parse_from(["spoolway", "run", "--log-level", "inof"]).unwrap_err();
        assert!(error.use_stderr());
        assert!(error.to_string().contains("is not a log level"), "{error}");
    }

    #[test]
    fn a_command_of_a_later_version_is_said_to_be_one_and_is_offered_nowhere() {
        let told = |line: &[&str]| {
            let words = || line.iter().map(|word| (*word).to_owned());
            let error =
                Cli::try_parse_from(std::iter::once("spoolway".to_owned()).chain(words())).unwrap_err();
            later(&error, words())
        };
        for (name, _) in LATER {
            let failure = told(&["--log-format=json", name, "--all"]).unwrap();
            assert!(failure.message().contains(&format!("`spoolway {name}` is not in this version: ")));
            assert_eq!(Failure::usage(failure.message()), failure, "exit code 2");
        }
        assert_eq!((told(&["tpo"]), told(&["spool", "top"]), told(&["status", "top"])), (None, None, None));
    }

    #[test]
    fn no_command_is_listed_that_is_not_built_in() {
        use clap::CommandFactory;
        let listed: Vec<String> = Cli::command()
            .get_subcommands()
            .filter(|c| !c.is_hide_set())
            .map(|c| c.get_name().to_owned())
            .collect();
        assert_eq!(
            listed,
            [
                "run",
                "pipe",
                "demo",
                "init",
                "check",
                "status",
                "healthcheck",
                "verify",
                "reconcile",
                "spool",
                "dlq",
                "route",
                "destination",
                "completions"
            ]
        );
    }
}
