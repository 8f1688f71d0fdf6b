//! The configuration as it takes effect: every key with its value, defaults filled in.

use std::fmt;

/// Sections in the order they were read, each with its keys. Prints as TOML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective {
    sections: Vec<(String, Vec<(&'static str, String)>)>,
}

impl Effective {
    pub(super) fn begin(&mut self, header: &str) {
        self.sections.push((header.to_owned(), vec![]));
    }

    pub(super) fn set(&mut self, key: &'static str, toml: String) {
        if let Some((_, keys)) = self.sections.last_mut() {
            keys.push((key, toml));
        }
    }

    /// As it prints, with lines of comment at the end of the first section of this header: of what is found out where the agent runs,
    /// and stands in no configuration.
    #[must_use]
    pub fn commented(&self, header: &str, comments: &[String]) -> String {
        let mut text = String::new();
        let section = self.sections.iter().position(|(name, _)| name == header);
        // Writing to a String does not fail.
        let _ = self.write(&mut text, |index| if Some(index) == section { comments } else { &[] });
        text
    }

    fn write<'a>(&self, f: &mut impl fmt::Write, comments: impl Fn(usize) -> &'a [String]) -> fmt::Result {
        for (index, (header, keys)) in self.sections.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{header}")?;
            for (key, toml) in keys {
                writeln!(f, "{key} = {toml}")?;
            }
            for comment in comments(index) {
                writeln!(f, "# {comment}")?;
            }
        }
        Ok(())
    }

    /// Header (`[spool]`, `[[source]]`) and key of everything that was read or filled in.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.sections
            .iter()
            .flat_map(|(header, keys)| keys.iter().map(move |(key, _)| (header.as_str(), *key)))
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |_| &[])
    }
}
