//! One section while it is read: gives out its keys, checks their values, and at the end reports the keys
//! nobody asked for. So the reading code is the list of known keys, and there is no second one to forget.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::nearest::nearest;
use super::reading::{Reading, StandIn};
use super::report::Problem;
use super::scalar::{self, Scalar, Wrong, quoted, show_duration, show_size};
use super::text::Place;
use super::tree::{Data, Entry, Table, Value};
use super::words;

mod inner;

pub(super) use inner::Inner;

pub(super) struct Section<'a> {
    pub(super) reading: &'a Reading<'a>,
    /// `spool` for `[spool]`, `source` for `[[source]]`.
    name: &'static str,
    /// `None` for a section that no file has.
    table: Option<&'a Table>,
    /// Where it begins.
    place: Place,
    asked: RefCell<Vec<&'static str>>,
    /// Keys that nobody knows and that have been reported already.
    reported: RefCell<Vec<String>>,
    /// Of a table inside of a section: its effective values, in order.
    inline: Option<RefCell<Vec<(&'static str, String)>>>,
}

/// What a number may be, and why.
pub(super) struct Bounds<T> {
    pub(super) range: RangeInclusive<T>,
    pub(super) why: &'static str,
}

pub(super) fn bounds<T>(range: RangeInclusive<T>, why: &'static str) -> Bounds<T> {
    Bounds { range, why }
}

impl<'a> Section<'a> {
    pub(super) fn new(
        reading: &'a Reading<'a>,
        name: &'static str,
        header: &str,
        table: Option<&'a Table>,
        place: Place,
    ) -> Self {
        reading.effective.borrow_mut().begin(header);
        Self {
            reading,
            name,
            table,
            place,
            asked: RefCell::default(),
            reported: RefCell::default(),
            inline: None,
        }
    }

    /// `spool` for `[spool]`, `lane` for `[[lane]]`.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Where a key's value stands, or the section where it has none.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.entry(key).map_or_else(|| self.place.clone(), |entry| entry.value.place.clone())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.table.and_then(|table| table.get(key))
    }

    fn ask(&self, key: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().push(key);
        self.entry(key).map(|entry| &entry.value)
    }

    fn full_name(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    pub(super) fn wrong(&self, key: &str, place: &Place, (what, help): Wrong) {
        self.reading.problem(Problem::at(place, format!("`{}` {what}", self.full_name(key))).help(help));
    }

    fn show(&self, key: &'static str, toml: String) {
        match &self.inline {
            Some(inline) => inline.borrow_mut().push((key, toml)),
            None => self.reading.effective.borrow_mut().set(key, toml),
        }
    }

    /// The value of a key; `None` if it is absent, a placeholder, or wrong, which has been reported.
    fn parse<T>(&self, key: &'static str, read: impl FnOnce(&Scalar) -> Result<T, Wrong>) -> Option<T> {
        let value = self.ask(key)?;
        let scalar = self.reading.resolve(&self.full_name(key), value)?;
        if scalar == Scalar::Placeholder {
            return None;
        }
        read(&scalar).map_err(|wrong| self.wrong(key, &value.place, wrong)).ok()
    }

    /// A value with a default. `None` as default leaves the key out of the effective configuration.
    pub(super) fn value<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Scalar) -> Result<T, Wrong>,
        show: impl FnOnce(&T) -> String,
    ) -> T {
        let value = self.parse(key, read).unwrap_or(default);
        self.show(key, show(&value));
        value
    }

    /// A value without a default: absence is a problem, and so the result is `None` too where something
    /// was wrong with it. For a value that was not looked up, `stand_in` is read.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        stand_in: StandIn,
        read: impl FnOnce(&Scalar) -> Result<T, Wrong>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let Some(value) = self.ask(key) else {
            self.missing(key, example);
            return None;
        };
        let scalar = self.reading.resolve(&self.full_name(key), value)?;
        let scalar = if scalar == Scalar::Placeholder { self.reading.stand_in(stand_in) } else { scalar };
        let read = read(&scalar).map_err(|wrong| self.wrong(key, &value.place, wrong)).ok()?;
        self.show(key, show(&read));
        Some(read)
    }

    pub(super) fn missing(&self, key: &str, example: &str) {
        // Where another tool's word for it stands, one finding is enough. It is said now: what is missing may end the reading of this
        // section before the rest of its keys are known.
        let known_as = format!("the key is `{key}`");
        let other_word =
            |e: &Entry| words::instead(self.name, &e.key).is_some_and(|h| h.starts_with(&known_as));
        if let Some(entry) = self.table.and_then(|table| table.0.iter().find(|e| other_word(e))) {
            self.reading.problem(unknown(self.name, entry, &[]));
            self.reported.borrow_mut().push(entry.key.clone());
            return;
        }
        let problem = Problem::at(&self.place, format!("`{}` is missing", self.full_name(key)));
        self.reading.problem(problem.help(format!("add {key} = {example}")));
    }

    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Scalar) -> Result<T, Wrong>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let value = self.parse(key, read)?;
        self.show(key, show(&value));
        Some(value)
    }

    pub(super) fn size(&self, key: &'static str, default: u64, bounds: &Bounds<u64>) -> u64 {
        self.value(
            key,
            default,
            |s| within(scalar::size(s)?, bounds, |n| show_size(*n)),
            |n| quoted(&show_size(*n)),
        )
    }

    pub(super) fn memory(&self, key: &'static str, default: usize, bounds: &Bounds<u64>) -> usize {
        let size = self.size(key, default as u64, bounds);
        usize::try_from(size).unwrap_or(default)
    }

    pub(super) fn duration(
        &self,
        key: &'static str,
        default: Duration,
        bounds: &Bounds<Duration>,
    ) -> Duration {
        let read = |s: &Scalar| within(scalar::duration(s)?, bounds, |d| show_duration(*d));
        self.value(key, default, read, |d| quoted(&show_duration(*d)))
    }

    pub(super) fn count(&self, key: &'static str, default: usize, bounds: &Bounds<u64>) -> usize {
        let read = |s: &Scalar| within(scalar::integer(s)?, bounds, u64::to_string);
        let number = self.value(key, default as u64, read, u64::to_string);
        usize::try_from(number).unwrap_or(default)
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.value(key, default, scalar::boolean, bool::to_string)
    }

    pub(super) fn text(&self, key: &'static str, default: String) -> String {
        self.value(key, default, label, |t| quoted(t))
    }

    /// One of a few words; `default` is among them.
    pub(super) fn choice<T: Copy + PartialEq>(
        &self,
        key: &'static str,
        words: &[(&str, T)],
        default: T,
    ) -> T {
        self.value(
            key,
            default,
            |s| choose(s, words),
            |value| {
                let word = words.iter().find(|(_, v)| v == value).map_or("", |(word, _)| *word);
                quoted(word)
            },
        )
    }

    /// `listen` would be open to other hosts, and lacks something for that.
    pub(super) fn refuse_open(&self, address: SocketAddr, lacks: &str, add: &str) {
        let name = self.full_name("listen");
        let problem =
            Problem::at(&self.place_of("listen"), format!("`{name}` would be open to other hosts, {lacks}"));
        let local = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), address.port());
        self.reading.problem(problem.help(format!(
            "listen on \"{local}\"; or {add}; or add insecure = true to say that the network is trusted"
        )));
    }

    /// A list of texts, each with its place: an array, or, where `commas` says so, one text.
    pub(super) fn texts(
        &self,
        key: &'static str,
        example: &str,
        commas: bool,
    ) -> Option<Vec<(Scalar, Place)>> {
        let Some(value) = self.ask(key) else {
            self.missing(key, example);
            return None;
        };
        let name = self.full_name(key);
        let list = match &value.data {
            Data::Array(values) => values
                .iter()
                .filter_map(|v| Some((self.reading.resolve(&name, v)?, v.place.clone())))
                .collect(),
            Data::Text(_) | Data::Table(_) if commas => {
                split(self.reading.resolve(&name, value)?, &value.place)
            }
            other => {
                let what = format!("must be an array, not {}", other.kind());
                self.wrong(key, &value.place, (what, format!("write {key} = {example}")));
                return None;
            }
        };
        if list.is_empty() && !matches!(&value.data, Data::Array(values) if !values.is_empty()) {
            self.wrong(key, &value.place, ("is empty".to_owned(), format!("for example {key} = {example}")));
        }
        Some(list)
    }

    /// A list of texts that may be empty or not there.
    pub(super) fn optional_texts(&self, key: &'static str, example: &str) -> Vec<(Scalar, Place)> {
        match self.ask(key).map(|value| &value.data) {
            Some(Data::Array(values)) if values.is_empty() => vec![],
            _ => self.texts_if_any(key, example),
        }
    }

    /// As [`Section::texts`], of a key that may be absent, but not empty.
    pub(super) fn texts_if_any(&self, key: &'static str, example: &str) -> Vec<(Scalar, Place)> {
        self.ask(key).and_then(|_| self.texts(key, example, false)).unwrap_or_default()
    }

    /// A table of texts.
    pub(super) fn pairs(&self, key: &'static str) -> Vec<(&'a Entry, Scalar)> {
        let Some(value) = self.ask(key) else { return vec![] };
        let Data::Table(table) = &value.data else {
            let what = format!("must be a table, not {}", value.data.kind());
            self.wrong(
                key,
                &value.place,
                (what, format!("for example {key} = {{ \"k0:9092\" = \"gateway:19092\" }}")),
            );
            return vec![];
        };
        let name = self.full_name(key);
        table.0.iter().filter_map(|e| Some((e, self.reading.resolve(&name, &e.value)?))).collect()
    }

    pub(super) fn show_list(&self, key: &'static str, items: impl Iterator<Item = String>) {
        let items: Vec<String> = items.map(|item| quoted(&item)).collect();
        self.show(key, format!("[{}]", items.join(", ")));
    }

    pub(super) fn show_pairs(&self, key: &'static str, pairs: impl Iterator<Item = (String, String)>) {
        let pairs: Vec<String> = pairs.map(|(a, b)| format!("{} = {}", quoted(&a), quoted(&b))).collect();
        self.show(
            key,
            if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) },
        );
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.into_inner();
        let strangers =
            self.table.into_iter().flat_map(|t| &t.0).filter(|e| !asked.contains(&e.key.as_str()));
        let reported = self.reported.into_inner();
        for entry in strangers.filter(|e| !reported.contains(&e.key)) {
            self.reading.problem(unknown(self.name, entry, &asked));
        }
    }
}

/// The finding about a key that is not known in a section (`""`: the top level).
pub(super) fn unknown(section: &str, entry: &Entry, known: &[&str]) -> Problem {
    let key = entry.key.as_str();
    let name = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
    if words::is_later(section, key) {
        return Problem::at(&entry.key_place, format!("`{name}` is not in this version"))
            .help("remove it; it comes with a later version");
    }
    let problem = Problem::at(&entry.key_place, format!("`{name}` is not a known key"));
    if let Some(help) = words::instead(section, key) {
        return problem.help(help);
    }
    match nearest(key, known.iter().copied()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help(format!("known here: {}", known.join(", "))),
    }
}

pub(super) fn within<T: PartialOrd>(
    value: T,
    bounds: &Bounds<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, Wrong> {
    if bounds.range.contains(&value) {
        return Ok(value);
    }
    let (low, high) = (show(bounds.range.start()), show(bounds.range.end()));
    Err((format!("is {}, which is not within {low} to {high}", show(&value)), bounds.why.to_owned()))
}

pub(super) fn choose<T: Copy>(scalar: &Scalar, words: &[(&str, T)]) -> Result<T, Wrong> {
    let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let text = scalar::text(scalar).map_err(|(what, _)| (what, format!("one of {list}")))?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let help = match nearest(&text, words.iter().map(|(word, _)| *word)) {
        Some(near) => format!("did you mean \"{near}\"? It is one of {list}"),
        None => format!("one of {list}"),
    };
    Err((format!("can't be {}", quoted(&text)), help))
}

/// Text for people, dashboards and brokers: something to read, on one line.
pub(super) fn label(scalar: &Scalar) -> Result<String, Wrong> {
    let text = scalar::text(scalar)?;
    if text.trim().is_empty() || text.len() > 249 || text.chars().any(char::is_control) {
        let what = "must have 1 to 249 characters, none of them a control character".to_owned();
        return Err((what, "for example \"edge-042\"".to_owned()));
    }
    Ok(text)
}

fn split(scalar: Scalar, place: &Place) -> Vec<(Scalar, Place)> {
    match &scalar {
        Scalar::Text(text) | Scalar::Outside(text) => text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| (Scalar::Outside(part.to_owned()), place.clone()))
            .collect(),
        _ => vec![(scalar, place.clone())],
    }
}

#[cfg(test)]
mod tests;
