//! What all sections need while a configuration is read: the files, the outside world, and the places
//! where findings and effective values are collected.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use super::effective::Effective;
use super::report::Problem;
use super::scalar::Scalar;
use super::text::{Place, Text};
use super::tree::{Data, Table, Value};
use super::words;
use crate::secret::read_value;

/// Where `{ env = "…" }` and `{ file = "…" }` get their values.
pub enum Environment<'a> {
    /// From this function and from the disk.
    Lookup(&'a dyn Fn(&str) -> Option<String>),
    /// From nowhere: placeholders stand in (`check --no-environment`).
    Absent,
}

/// What stands in for a value that was not looked up.
#[derive(Debug, Clone, Copy)]
pub(super) enum StandIn {
    /// A name, which is also a path.
    Name,
    /// An address to listen on.
    Address,
    /// This text.
    Text(&'static str),
}

/// How the names begin that stand in.
const STAND_IN: &str = "placeholder-";

pub(super) struct Reading<'a> {
    pub(super) files: &'a [Text],
    pub(super) environment: &'a Environment<'a>,
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) effective: RefCell<Effective>,
    /// How many values were stood in for.
    pub(super) stood_in: Cell<u8>,
}

/// The only keys of a reference.
const REFERENCE_KEYS: [&str; 3] = ["env", "default", "file"];

impl Reading<'_> {
    pub(super) fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// A value that no other one is equal to, so that what was not looked up is not taken for said twice.
    pub(super) fn stand_in(&self, what: StandIn) -> Scalar {
        let number = self.stood_in.get().saturating_add(1);
        self.stood_in.set(number);
        Scalar::Text(match what {
            StandIn::Name => format!("{STAND_IN}{number}"),
            StandIn::Address => format!("127.0.1.{number}:0"),
            StandIn::Text(text) => text.to_owned(),
        })
    }

    /// Whether a name stands in for one that was not looked up.
    pub(super) fn stands_in(&self, name: &str) -> bool {
        matches!(self.environment, Environment::Absent) && name.starts_with(STAND_IN)
    }

    /// A path as written, relative to the folder of the file it is written in.
    pub(super) fn path(&self, place: &Place, written: &str) -> PathBuf {
        let folder = self.files.get(place.file).and_then(|file| file.path.parent());
        folder.unwrap_or(Path::new("")).join(written)
    }

    /// The single value that stands here, looked up if it is a reference. `None` when that failed, which
    /// has been reported.
    pub(super) fn resolve(&self, name: &str, value: &Value) -> Option<Scalar> {
        match &value.data {
            Data::Text(text) => Some(Scalar::Text(text.clone())),
            Data::Integer(Some(n)) => Some(Scalar::Integer(*n)),
            Data::Integer(None) => Some(Scalar::Other("a number of more than 64 bits")),
            Data::Boolean(value) => Some(Scalar::Boolean(*value)),
            Data::Table(table) => self.reference(name, table, &value.place),
            other => Some(Scalar::Other(other.kind())),
        }
    }

    fn reference(&self, name: &str, table: &Table, place: &Place) -> Option<Scalar> {
        if let Some(stranger) = table.0.iter().find(|e| !REFERENCE_KEYS.contains(&e.key.as_str())) {
            let what = format!("`{name}` is a table with the unknown key `{}`", stranger.key);
            // `bootstrap.servers = …` without quotes is a table `bootstrap` to TOML.
            let dotted =
                name.split_once('.').map(|(section, key)| (section, format!("{key}.{}", stranger.key)));
            let other_word = dotted.and_then(|(section, word)| words::instead(section, &word));
            self.problem(Problem::at(&stranger.key_place, what).help(other_word.unwrap_or(
                "a value is either written here, or { env = \"NAME\", default = … }, or { file = \"PATH\" }",
            )));
            return None;
        }
        match (self.inner(table, "env"), self.inner(table, "file")) {
            (Some((variable, place)), None) => self.variable(name, &variable, &place, table.get("default")),
            (None, Some((file, place))) if table.get("default").is_none() => self.file(name, &file, &place),
            _ => {
                self.problem(
                    Problem::at(place, format!("`{name}` must name either a variable or a file"))
                        .help("{ env = \"NAME\" }, { env = \"NAME\", default = … } or { file = \"PATH\" }"),
                );
                None
            }
        }
    }

    fn inner(&self, table: &Table, key: &str) -> Option<(String, Place)> {
        let entry = table.get(key)?;
        match &entry.value.data {
            Data::Text(text) => Some((text.clone(), entry.value.place.clone())),
            _ => None,
        }
    }

    fn variable(
        &self,
        name: &str,
        variable: &str,
        place: &Place,
        default: Option<&super::tree::Entry>,
    ) -> Option<Scalar> {
        let found = match self.environment {
            Environment::Lookup(lookup) => lookup(variable).map(Scalar::Outside),
            Environment::Absent if default.is_none() => Some(Scalar::Placeholder),
            Environment::Absent => None,
        };
        match (found, default) {
            (Some(found), _) => Some(found),
            (None, Some(default)) if !matches!(default.value.data, Data::Table(_)) => {
                self.resolve(name, &default.value)
            }
            (None, _) => {
                self.problem(
                    Problem::at(place, format!("the environment variable {variable} of `{name}` is not set"))
                        .help(format!(
                            "set it, or say what holds without it: {{ env = \"{variable}\", default = … }}"
                        )),
                );
                None
            }
        }
    }

    fn file(&self, name: &str, file: &str, place: &Place) -> Option<Scalar> {
        if matches!(self.environment, Environment::Absent) {
            return Some(Scalar::Placeholder);
        }
        let path = self.path(place, file);
        match read_value(&path) {
            Ok(text) => Some(Scalar::Outside(text.to_string())),
            Err(cause) => {
                let what = format!("the file {} of `{name}` can't be read: {cause}", path.display());
                let help = credential_of(&path).map_or_else(|| FILE_HELP.to_owned(), credential_help);
                self.problem(Problem::at(place, what).help(help));
                None
            }
        }
    }
}

const FILE_HELP: &str = "check its path, which begins at the configuration's folder, and that the agent's user may read it; \
                         `spoolway check --no-environment` checks all but the values from elsewhere";

/// The unit whose credential a file is, by systemd's `LoadCredential=`.
fn credential_of(path: &Path) -> Option<&str> {
    let unit = path.strip_prefix("/run/credentials").ok()?.iter().next()?;
    unit.to_str()
}

fn credential_help(unit: &str) -> String {
    format!(
        "systemd has it there only while {unit} runs, by LoadCredential=: start that, and check then; before, \
         `spoolway check --no-environment` checks all but the values from elsewhere"
    )
}
