//! From files to a [`Config`], or to everything that is wrong with them at once.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use super::check;
use super::effective::Effective;
use super::find::{VARIABLE, find};
use super::model::{Admin, Config};
use super::read;
use super::reading::{Environment, Reading};
use super::report::{Problem, Report};
use super::section::{Section, unknown};
use super::text::{Place, Text};
use super::tree::{Data, Entry, Table, parse};

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the agent works with.
    pub config: Config,
    /// The same for people: every key with its value.
    pub effective: Effective,
    /// What is worth knowing about it; no errors.
    pub notes: Report,
    /// The files it came from, in the order of reading.
    pub files: Vec<PathBuf>,
}

impl Loaded {
    /// The configuration as it takes effect, for people: with what holds where a default is told by the file system. `limit` is that of a
    /// lane by default, if it is known.
    #[must_use]
    pub fn told(&self, limit: Option<u64>) -> String {
        self.effective.commented("[spool]", &read::told_by_the_disk(&self.config.spool, limit))
    }
}

/// Finds, reads and checks the configuration: `named` files, else `$SPOOLWAY_CONFIG`, else the default.
///
/// # Errors
/// The report of everything that is wrong.
pub fn load(named: &[PathBuf], environment: &Environment<'_>) -> Result<Loaded, Report> {
    let (texts, problems) = find(named, std::env::var_os(VARIABLE).map(PathBuf::from));
    if !problems.is_empty() && texts.is_empty() {
        return Err(Report::new(texts, problems));
    }
    load_texts(texts, problems, environment)
}

/// What [`load`] would find of `[admin]`, whatever is wrong with the rest or with it: where an agent that has rejected this
/// configuration, and goes on by the one before, is most likely asked.
#[must_use]
pub fn admin_alone(named: &[PathBuf], environment: &Environment<'_>) -> Admin {
    let (mut texts, mut problems) = find(named, std::env::var_os(VARIABLE).map(PathBuf::from));
    let mut root = parse(&texts, &mut problems);
    if problems.iter().any(Problem::is_syntax) {
        texts.iter_mut().for_each(|text| text.text = admin_lines(&text.text));
        root = parse(&texts, &mut problems);
    }
    read::admin(one(&reading(&texts, environment, problems), &root, "admin")).admin
}

/// A sum over the files that [`load`] would read, and which they are; a file that is replaced by another of the same content
/// does not change it.
#[must_use]
pub fn fingerprint(named: &[PathBuf]) -> u64 {
    let (texts, problems) = find(named, std::env::var_os(VARIABLE).map(PathBuf::from));
    let mut sum = crc32fast::Hasher::new();
    for text in &texts {
        sum.update(text.path.to_string_lossy().as_bytes());
        sum.update(&[0]);
        sum.update(text.text.as_bytes());
        sum.update(&[0]);
    }
    u64::from(sum.finalize()) << 32 | (problems.len() as u64 & 0xffff) << 16 | (texts.len() as u64 & 0xffff)
}

/// Reads and checks one text, as if it were a file of that name.
///
/// # Errors
/// The report of everything that is wrong.
pub fn load_text(path: &str, text: &str, environment: &Environment<'_>) -> Result<Loaded, Report> {
    load_texts(vec![Text { path: path.into(), text: text.to_owned() }], vec![], environment)
}

pub(super) fn load_texts(
    texts: Vec<Text>,
    mut problems: Vec<Problem>,
    environment: &Environment<'_>,
) -> Result<Loaded, Report> {
    let before = problems.len();
    let root = parse(&texts, &mut problems);
    if problems.iter().skip(before).any(Problem::is_syntax) {
        // What a broken file says in the rest of it would be guessed: problems that are none.
        return Err(Report::new(texts, problems));
    }
    let reading = reading(&texts, environment, problems);
    let config = resolve(&reading, &root);
    let Reading { problems, effective, .. } = reading;
    let (problems, effective) = (problems.into_inner(), effective.into_inner());
    let files = texts.iter().map(|text| text.path.clone()).collect();
    let report = Report::new(texts, problems);
    match config {
        Some(config) if report.errors() == 0 => Ok(Loaded { config, effective, notes: report, files }),
        _ => Err(report),
    }
}

/// The lines of `[admin]` and its parts, of a text that may be broken before and behind them.
fn admin_lines(text: &str) -> String {
    let mut is_within = false;
    let mut lines = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with('[') {
            is_within = line.trim_start().starts_with("[admin");
        }
        if is_within {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    lines
}

fn reading<'a>(files: &'a [Text], environment: &'a Environment<'a>, problems: Vec<Problem>) -> Reading<'a> {
    Reading {
        files,
        environment,
        problems: RefCell::new(problems),
        effective: RefCell::default(),
        stood_in: Cell::default(),
    }
}

const TABLES: [&str; 4] = ["relay", "spool", "dead_letters", "admin"];
const ARRAYS: [&str; 5] = ["lane", "source", "stream", "destination", "route"];

/// `None` when parts are missing, which has been reported.
fn resolve(reading: &Reading<'_>, root: &Table) -> Option<Config> {
    let known: Vec<&str> = TABLES.into_iter().chain(ARRAYS).collect();
    for entry in root.0.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        reading.problem(unknown("", entry, &known));
    }
    let relay = read::relay(one(reading, root, "relay"));
    let spool = read::spool(one(reading, root, "spool"));
    let lanes = many(reading, root, "lane", |section| read::lane(section, &spool));
    let sources = many(reading, root, "source", read::source);
    let streams = many(reading, root, "stream", read::stream);
    let destinations = many(reading, root, "destination", read::destination);
    let routes = many(reading, root, "route", read::route);
    let dead_letters = read::dead_letters(one(reading, root, "dead_letters"));
    let admin = read::admin(one(reading, root, "admin"));

    check::lanes(reading, &lanes, &streams.read);
    check::streams(reading, &streams.read);
    check::sources(reading, &sources);
    check::addresses(reading, &sources.read, &admin);
    check::destinations(reading, &destinations);
    check::routes(reading, &routes, &destinations);
    check::ways(reading, &sources.read, &routes, &destinations);
    let config = Config {
        relay,
        spool,
        lanes: lanes.read.into_iter().map(|(lane, _)| lane).collect(),
        streams: streams.read.into_iter().map(|s| s.stream).collect(),
        sources: sources.read.iter().map(|s| s.source.clone()).collect(),
        destinations: destinations.read.iter().map(|d| d.destination.clone()).collect::<Option<_>>()?,
        routes: routes.read.iter().map(|r| r.route.clone()).collect(),
        dead_letters,
        admin: admin.admin,
    };
    check::promises(reading, &config);
    Some(config)
}

fn one<'a>(reading: &'a Reading<'a>, root: &'a Table, name: &'static str) -> Section<'a> {
    let header = format!("[{name}]");
    let entry = root.get(name);
    let table = entry.and_then(|entry| match &entry.value.data {
        Data::Table(table) => Some(table),
        _ => {
            wrong_shape(reading, entry, &header);
            None
        }
    });
    let place = entry.map_or(Place { file: 0, span: 0..0 }, |entry| entry.key_place.clone());
    Section::new(reading, name, &header, table, place)
}

/// The sections of one name: how many there are, and what could be read of them.
pub(super) struct Many<T> {
    pub(super) count: usize,
    pub(super) read: Vec<T>,
}

fn many<'a, T>(
    reading: &'a Reading<'a>,
    root: &'a Table,
    name: &'static str,
    read: impl Fn(Section<'a>) -> Option<T>,
) -> Many<T> {
    let header = format!("[[{name}]]");
    let Some(entry) = root.get(name) else { return Many { count: 0, read: vec![] } };
    let Data::Array(values) = &entry.value.data else {
        wrong_shape(reading, entry, &header);
        return Many { count: 1, read: vec![] };
    };
    let sections = values.iter().filter_map(|value| match &value.data {
        Data::Table(table) => Some(Section::new(reading, name, &header, Some(table), value.place.clone())),
        _ => {
            wrong_shape(reading, entry, &header);
            None
        }
    });
    Many { count: values.len(), read: sections.filter_map(read).collect() }
}

fn wrong_shape(reading: &Reading<'_>, entry: &Entry, header: &str) {
    reading.problem(
        Problem::at(&entry.key_place, format!("`{}` must be written as {header}", entry.key))
            .help(format!("write {header}, and its keys in the lines after it")),
    );
}
