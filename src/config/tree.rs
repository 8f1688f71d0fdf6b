//! The files' TOML, merged, each part knowing where it stands.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Problem;
use super::text::{Place, Text};

/// A table: its keys in the order they stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Table(pub(super) Vec<Entry>);

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) value: Value,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) place: Place,
    pub(super) data: Data,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Data {
    Text(String),
    /// `None` when it does not fit.
    Integer(Option<i64>),
    Boolean(bool),
    Float,
    Datetime,
    Array(Vec<Value>),
    Table(Table),
}

impl Data {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Data::Text(_) => "text",
            Data::Integer(_) => "a number",
            Data::Boolean(_) => "true or false",
            Data::Float => "a number with a point",
            Data::Datetime => "a date or time",
            Data::Array(_) => "an array",
            Data::Table(_) => "a table",
        }
    }
}

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }
}

/// Parses all files and merges them: arrays at the top level append, tables at the top level join, and
/// whatever else is said twice is a problem that names both places.
pub(super) fn parse(files: &[Text], problems: &mut Vec<Problem>) -> Table {
    let mut root = Table::default();
    for (file, text) in files.iter().enumerate() {
        let (parsed, errors) = DeTable::parse_recoverable(&text.text);
        problems.extend(errors.iter().map(|e| {
            let span = e.span().unwrap_or(0..0);
            Problem::syntax(&Place { file, span }, format!("this is not TOML: {}", e.message()))
        }));
        merge(&mut root, table(file, parsed.get_ref()), problems);
    }
    root
}

fn merge(root: &mut Table, table: Table, problems: &mut Vec<Problem>) {
    for entry in table.0 {
        let Some(known) = root.0.iter_mut().find(|known| known.key == entry.key) else {
            root.0.push(entry);
            continue;
        };
        match (&mut known.value.data, entry.value.data) {
            (Data::Array(known), Data::Array(more)) => known.extend(more),
            (Data::Table(known), Data::Table(more)) => join(known, more, &entry.key, problems),
            _ => problems.push(twice(&entry.key, &entry.key_place, &known.key_place)),
        }
    }
}

fn join(known: &mut Table, more: Table, section: &str, problems: &mut Vec<Problem>) {
    for entry in more.0 {
        match known.get(&entry.key) {
            Some(first) => {
                problems.push(twice(&format!("{section}.{}", entry.key), &entry.key_place, &first.key_place));
            }
            None => known.0.push(entry),
        }
    }
}

fn twice(name: &str, place: &Place, first: &Place) -> Problem {
    Problem::at(place, format!("`{name}` is set twice"))
        .label("here again")
        .other(first, "first here")
        .help("remove one of the two")
}

fn table(file: usize, parsed: &DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = parsed
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_place: Place { file, span: key.span() },
            value: self::value(file, value),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_place.span.start);
    Table(entries)
}

fn value(file: usize, parsed: &Spanned<DeValue<'_>>) -> Value {
    let data = match parsed.get_ref() {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(n) => Data::Integer(i64::from_str_radix(n.as_str(), n.radix()).ok()),
        DeValue::Boolean(value) => Data::Boolean(*value),
        DeValue::Float(_) => Data::Float,
        DeValue::Datetime(_) => Data::Datetime,
        DeValue::Array(values) => Data::Array(values.iter().map(|v| value(file, v)).collect()),
        DeValue::Table(parsed) => Data::Table(table(file, parsed)),
    };
    Value { place: Place { file, span: parsed.span() }, data }
}
