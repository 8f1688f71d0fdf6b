//! `spoolway check`.

mod data_dir;

use clap::Args;
use serde::Serialize;

use super::connect::{self, Reached};
use super::{ConfigFiles, Exit, Failure, General, Outcome, output};
use crate::config::model::Config;
use crate::config::{self, Environment, Loaded, Report, Row, Severity};
use crate::spool::default_quota;

/// What `spoolway check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFiles,
    /// Take { env = … } and { file = … } for given without looking them up: for CI, which has no secrets.
    #[arg(long)]
    pub no_environment: bool,
    /// Reach each destination too: brokers, advertised addresses, and the topics that are known beforehand.
    #[arg(long, conflicts_with_all = ["no_environment", "print_effective"])]
    pub connect: bool,
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
    /// With `--connect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    destinations: Option<Vec<Reached>>,
}

/// Checks the configuration.
///
/// # Errors
/// [`Failure`] with exit code 2 when it can't be used, every problem having been printed.
pub fn run(args: &CheckArgs, _general: &General) -> Outcome {
    let lookup = |name: &str| std::env::var(name).ok();
    let environment = if args.no_environment { Environment::Absent } else { Environment::Lookup(&lookup) };
    let loaded = match config::load(&args.config.files, &environment) {
        Ok(loaded) => loaded,
        Err(report) => return refuse(&report, args.json),
    };
    let reached = if args.connect { Some(reach(&loaded.config)?) } else { None };
    let ok = reached.iter().flatten().all(|r| r.problems.is_empty());
    // CI, which has no secrets, has no place for events either.
    let unwritable =
        if args.no_environment { None } else { data_dir::unwritable(&loaded.config.relay.data_dir) };
    if args.json {
        let findings = loaded.notes.rows().into_iter().chain(unwritable.map(as_row)).collect();
        print_json(&Verdict { ok, files: files(&loaded), findings, destinations: reached })?;
    } else {
        tell_notes(&loaded.notes);
        if let Some(note) = unwritable {
            anstream::eprintln!("note: {note}\n");
        }
        output::print(&if args.print_effective { effective(&loaded, args) } else { summary(&loaded) })?;
        output::print(&reached.iter().flatten().map(Reached::tell).collect::<String>())?;
    }
    // The configuration can be used.
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

fn as_row(message: String) -> Row {
    Row { severity: Severity::Note, file: None, line: None, column: None, message, help: None }
}

fn effective(loaded: &Loaded, args: &CheckArgs) -> String {
    let dir = &loaded.config.relay.data_dir;
    loaded.told(if args.no_environment { None } else { data_dir::file_system(dir).map(default_quota) })
}

fn reach(config: &Config) -> Result<Vec<Reached>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::running(format!("the network can't be used: {e}")))?;
    Ok(runtime.block_on(connect::reach_all(config)))
}

fn refuse(report: &Report, json: bool) -> Outcome {
    if json {
        print_json(&Verdict { ok: false, files: vec![], findings: report.rows(), destinations: None })?;
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
