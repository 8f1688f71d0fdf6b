//! Configuration files as read, and places in them.

use std::ops::Range;
use std::path::PathBuf;

/// One configuration file.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// As it was named or found.
    pub(super) path: PathBuf,
    /// All of it.
    pub(super) text: String,
}

/// A stretch of one of the files that were read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Which file, counted in the order of reading.
    pub(super) file: usize,
    /// Bytes of its text.
    pub(super) span: Range<usize>,
}

impl Text {
    /// Line and column of a byte, both counted from 1, the column in characters.
    pub(super) fn line_column(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }

    /// Puts stars in the place of what stands there, byte for byte, so that every other place stays where it is.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        let Some(secret) = self.text.get(span.clone()) else { return };
        let stars: String = secret.bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }).collect();
        self.text.replace_range(span, &stars);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = Text { path: "x".into(), text: "a = 1\nü = \"ö\" # x".into() };
        assert_eq!(text.line_column(0), (1, 1));
        assert_eq!(text.line_column(6), (2, 1));
        assert_eq!(text.line_column(text.text.find('#').unwrap()), (2, 9));
        assert_eq!(text.line_column(9999), (2, 12));
    }

    #[test]
    fn what_is_hidden_takes_as_many_bytes_and_lines_as_before() {
        let mut text = Text { path: "x".into(), text: "a = \"ö\nx\" # b".into() };
        text.hide(4..10);
        assert_eq!(text.text, "a = ***\n** # b");
        text.hide(90..100);
    }
}
