//! A table inside of a section, written in one line: `tls = { ca = "ca.pem" }`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::{Section, quoted};
use crate::config::reading::Environment;
use crate::config::scalar::{self, Wrong};
use crate::config::tree::Data;
use crate::secret::{Secret, SecretSource, open_private};

/// What stands where a table may stand.
pub(in crate::config) enum Inner<'a> {
    /// Nothing, or something that has been reported.
    Nothing,
    /// `true` or `false`.
    Flag(bool),
    /// A table: a section of its own, whose [`Section::close`] gives what it is for [`Section::show_inner`].
    Table(Section<'a>),
}

impl<'a> Section<'a> {
    /// A table, or, where `flag` says so, true or false. `name` is the table's for messages: `destination.tls`.
    pub(in crate::config) fn inner(&self, key: &'static str, name: &'static str, flag: bool) -> Inner<'a> {
        let Some(value) = self.ask(key) else { return Inner::Nothing };
        match &value.data {
            Data::Boolean(on) if flag => Inner::Flag(*on),
            Data::Table(table) => Inner::Table(Section {
                reading: self.reading,
                name,
                table: Some(table),
                place: value.place.clone(),
                asked: RefCell::default(),
                reported: RefCell::default(),
                inline: Some(RefCell::default()),
            }),
            other => {
                let what = format!("must be a table, not {}", other.kind());
                let or_true = if flag { "true, or " } else { "" };
                self.wrong(key, &value.place, (what, format!("write {key} = {or_true}{{ … }}")));
                Inner::Nothing
            }
        }
    }

    /// Shows what a table inside has come to.
    pub(in crate::config) fn show_inner(&self, key: &'static str, toml: String) {
        self.show(key, toml);
    }

    /// Ends a table inside: reports the keys nobody asked for, and gives the others as TOML.
    pub(in crate::config) fn close(mut self) -> String {
        let shown = self.inline.take().map(RefCell::into_inner).unwrap_or_default();
        self.finish();
        let pairs: Vec<String> = shown.into_iter().map(|(key, toml)| format!("{key} = {toml}")).collect();
        format!("{{ {} }}", pairs.join(", "))
    }

    /// A secret, from the environment or a file; never from the configuration itself, and shown nowhere.
    pub(in crate::config) fn secret(&self, key: &'static str) -> Option<SecretSource> {
        let value = self.ask(key)?;
        let Data::Table(table) = &value.data else {
            let help = "write { file = \"PATH\" } or { env = \"NAME\" }, so that it is in no file that is copied around";
            self.wrong(
                key,
                &value.place,
                ("is a secret and must not stand here".to_owned(), help.to_owned()),
            );
            return None;
        };
        if let Some(default) = table.get("default") {
            let what = "is a secret and can't have a default here".to_owned();
            self.wrong(key, &default.key_place, (what, "remove the default".to_owned()));
            return None;
        }
        self.reference(key).inspect(|shown| self.show(key, shown.clone()));
        if matches!(self.reading.environment, Environment::Absent) {
            self.reading.resolve(&self.full_name(key), value)?;
            return Some(SecretSource::Known(Secret::new(String::new())));
        }
        let text = self.parse(key, scalar::text)?;
        let Some(path) = self.file_of(key) else { return Some(SecretSource::Known(Secret::new(text))) };
        self.check_private(key, &path).then_some(SecretSource::File(path))
    }

    /// The file that a value comes from, if it is written as `{ file = … }`.
    pub(in crate::config) fn file_of(&self, key: &str) -> Option<PathBuf> {
        let Data::Table(table) = &self.entry(key)?.value.data else { return None };
        let file = &table.get("file")?.value;
        let Data::Text(path) = &file.data else { return None };
        Some(self.reading.path(&file.place, path))
    }

    /// Whether a file with a secret is for its owner alone; if not, that is reported.
    pub(in crate::config) fn check_private(&self, key: &str, path: &Path) -> bool {
        let wrong = open_private(path).err();
        if let Some(cause) = &wrong {
            let help = "let nobody but the agent's own user read it".to_owned();
            self.refuse(key, (format!("comes from a file that can't be used: {cause}"), help));
        }
        wrong.is_none()
    }

    /// A value from elsewhere as it stands here, `{ env = "X" }`: what is shown instead of a secret.
    pub(in crate::config) fn reference(&self, key: &str) -> Option<String> {
        let Data::Table(table) = &self.entry(key)?.value.data else { return None };
        let shown = table.0.iter().find_map(|entry| match &entry.value.data {
            Data::Text(text) if entry.key != "default" => Some(format!("{} = {}", entry.key, quoted(text))),
            _ => None,
        });
        shown.map(|shown| format!("{{ {shown} }}"))
    }

    /// Reports a value of this key as wrong.
    pub(in crate::config) fn refuse(&self, key: &str, wrong: Wrong) {
        self.wrong(key, &self.place_of(key), wrong);
    }

    /// Whether the key's value is written here, not `{ env = … }` or `{ file = … }`.
    pub(in crate::config) fn is_literal(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|entry| !matches!(entry.value.data, Data::Table(_)))
    }

    /// Whether values were not looked up, so that nothing can be said about them.
    pub(in crate::config) fn is_blind(&self) -> bool {
        matches!(self.reading.environment, Environment::Absent)
    }
}
