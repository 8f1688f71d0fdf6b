//! `spoolway check`.

use clap::Args;
use serde::Serialize;

use super::{ConfigFiles, Exit, Failure, General, Outcome, output};
use crate::config::model::Config;
use crate::config::{self, Environment, Loaded, Report, Row};

/// What `spoolway check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFiles,
    /// Take { env = … } and { file = … } for given without looking them up: for CI, which has no secrets.
    #[arg(long)]
    pub no_environment: bool,
    /// Print the configuration as it takes effect: defaults filled in, secrets masked.
    #[arg(long, conflicts_with = "json")]
    pub print_effective: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The result with `--json`.
#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
    files: Vec<String>,
    findings: Vec<Row>,
}

/// Checks the configuration.
///
/// # Errors
/// [`Failure`] with exit code 2 when it can't be used; every problem has been printed.
pub fn run(args: &CheckArgs, _general: &General) -> Outcome {
    let lookup = |name: &str| std::env::var(name).ok();
    let environment = if args.no_environment { Environment::Absent } else { Environment::Lookup(&lookup) };
    match config::load(&args.config.files, &environment) {
        Err(report) => refuse(&report, args.json),
        Ok(loaded) if args.json => {
            print_json(&Verdict { ok: true, files: files(&loaded), findings: loaded.notes.rows() })?;
            Ok(Exit::Done)
        }
        Ok(loaded) => {
            tell_notes(&loaded.notes);
            output::print(&if args.print_effective {
                loaded.effective.to_string()
            } else {
                summary(&loaded)
            })?;
            Ok(Exit::Done)
        }
    }
}

fn refuse(report: &Report, json: bool) -> Outcome {
    if json {
        print_json(&Verdict { ok: false, files: vec![], findings: report.rows() })?;
        return Ok(Exit::Usage);
    }
    let count = report.errors();
    let problems = if count == 1 { "1 problem".to_owned() } else { format!("{count} problems") };
    anstream::eprintln!("{}\n", report.render());
    Err(Failure::usage(format!("the configuration can't be used: {problems}")))
}

fn print_json(verdict: &Verdict) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(verdict).map_err(Failure::running)?;
    output::line(&json)
}

/// Prints what is worth knowing about a configuration to standard error.
fn tell_notes(notes: &Report) {
    if !notes.is_empty() {
        anstream::eprintln!("{}\n", notes.render());
    }
}

fn files(loaded: &Loaded) -> Vec<String> {
    loaded.files.iter().map(|f| f.to_string_lossy().into_owned()).collect()
}

fn summary(loaded: &Loaded) -> String {
    let Config { relay, sources, destinations, routes, .. } = &loaded.config;
    let names = |names: Vec<String>| names.join(", ");
    let routes = match routes.len() {
        0 => "none: every stream goes to the only destination, topic = stream name".to_owned(),
        count => count.to_string(),
    };
    format!(
        "OK: {}\n  relay         {} in {}\n  sources       {}\n  destinations  {}\n  routes        {routes}\n",
        files(loaded).join(", "),
        relay.id,
        relay.data_dir.display(),
        names(sources.iter().map(|s| s.name.clone()).collect()),
        names(destinations.iter().map(|d| d.name.to_string()).collect()),
    )
}
