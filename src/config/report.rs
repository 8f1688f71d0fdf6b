//! What is wrong with a configuration, told to a person or a program.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::blank::blank_secrets;
use super::text::{Place, Text};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration can't be used.
    Error,
    /// It can, and this is worth knowing.
    Note,
}

/// One finding.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    severity: Severity,
    title: String,
    place: Option<Place>,
    label: Option<String>,
    other: Option<(Place, String)>,
    help: Option<String>,
    syntax: bool,
}

impl Problem {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            title: title.into(),
            place: None,
            label: None,
            other: None,
            help: None,
            syntax: false,
        }
    }

    pub(super) fn at(place: &Place, title: impl Into<String>) -> Self {
        Self { place: Some(place.clone()), ..Self::new(title) }
    }

    /// A file that is not TOML.
    pub(super) fn syntax(place: &Place, title: impl Into<String>) -> Self {
        Self { syntax: true, ..Self::at(place, title) }
    }

    pub(super) fn is_syntax(&self) -> bool {
        self.syntax
    }

    /// Makes it a note.
    pub(super) fn note(self) -> Self {
        Self { severity: Severity::Note, ..self }
    }

    /// Words beside the marked text.
    pub(super) fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// A second place that matters.
    pub(super) fn other(self, place: &Place, label: impl Into<String>) -> Self {
        Self { other: Some((place.clone(), label.into())), ..self }
    }

    /// What would be right.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(super) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn key(&self) -> (bool, Option<(usize, usize)>) {
        (!self.is_error(), self.place.as_ref().map(|place| (place.file, place.span.start)))
    }
}

/// Everything that was found in a configuration, errors first, then in the order of the files.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Without secrets.
    files: Vec<Text>,
    problems: Vec<Problem>,
}

/// A finding as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// How much it matters.
    pub severity: Severity,
    /// File it is in, if it is in one.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl Report {
    pub(super) fn new(files: Vec<Text>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::key);
        let blank = |file: Text| Text { text: blank_secrets(&file.text), ..file };
        Self { files: files.into_iter().map(blank).collect(), problems }
    }

    /// How many findings are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|p| p.is_error()).count()
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// For people: each finding with its place, an excerpt and what would be right. With colours, which
    /// whoever prints it removes where there is no terminal.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_with(&Renderer::styled())
    }

    fn render_with(&self, renderer: &Renderer) -> String {
        let texts: Vec<String> = self.problems.iter().map(|p| self.render_one(p, renderer)).collect();
        texts.join("\n\n")
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let level = if problem.is_error() { Level::ERROR } else { Level::NOTE };
        let mut group = Group::with_title(level.primary_title(problem.title.as_str()));
        let first = problem.place.as_ref().map(|place| (place, problem.label.as_deref(), true));
        let other = problem.other.as_ref().map(|(place, label)| (place, Some(label.as_str()), false));
        let marks: Vec<_> = first.into_iter().chain(other).collect();
        for mark in excerpts(&marks) {
            group = self.excerpt(group, &mark);
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }

    fn excerpt<'a>(&'a self, group: Group<'a>, marks: &[Mark<'a>]) -> Group<'a> {
        let Some((place, _, _)) = marks.first() else { return group };
        let Some(file) = self.files.get(place.file) else { return group };
        let path = file.path.to_string_lossy();
        if file.text.trim().is_empty() {
            return group.element(Origin::path(path));
        }
        let annotations = marks.iter().map(|(place, label, primary)| {
            let kind = if *primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let end = place.span.end.min(file.text.len());
            kind.span(place.span.start.min(end)..end).label(*label)
        });
        group.element(Snippet::source(file.text.as_str()).path(path).annotations(annotations))
    }

    /// For programs.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.problems.iter().map(|p| self.row(p)).collect()
    }

    fn row(&self, problem: &Problem) -> Row {
        let file = problem.place.as_ref().and_then(|p| Some((self.files.get(p.file)?, p.span.start)));
        let position = file.map(|(file, at)| file.line_column(at));
        Row {
            severity: problem.severity,
            file: file.map(|(file, _)| file.path.to_string_lossy().into_owned()),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            message: problem.title.clone(),
            help: problem.help.clone(),
        }
    }
}

/// A marked place, its label, and whether it is what the finding is about.
type Mark<'a> = (&'a Place, Option<&'a str>, bool);

/// Marks of one file share an excerpt.
fn excerpts<'a>(marks: &[Mark<'a>]) -> Vec<Vec<Mark<'a>>> {
    let mut excerpts: Vec<Vec<Mark<'a>>> = vec![];
    for mark in marks {
        match excerpts.last_mut() {
            Some(last) if last.iter().any(|(place, _, _)| place.file == mark.0.file) => last.push(*mark),
            _ => excerpts.push(vec![*mark]),
        }
    }
    excerpts
}

impl std::fmt::Display for Report {
    /// As [`Report::render`], without colours.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render_with(&Renderer::plain()))
    }
}

impl std::error::Error for Report {}
