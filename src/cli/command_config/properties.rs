//! Java's `.properties`: `key = value`, `key: value` or `key value`; comments; escapes; lines that go on.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// The pairs of a file; of a key given twice, the last.
pub(super) struct Properties(BTreeMap<String, Zeroizing<String>>);

impl Properties {
    pub(super) fn parse(text: &str) -> Self {
        Self(logical_lines(text).iter().map(|line| pair(line)).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str())
    }
}

/// Lines without comments, those that end with a backslash joined with what follows.
fn logical_lines(text: &str) -> Vec<Zeroizing<String>> {
    let mut lines = vec![];
    let mut natural = text.lines();
    while let Some(first) = natural.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut line = Zeroizing::new(first.to_owned());
        while goes_on(&line) {
            line.pop();
            let Some(next) = natural.next() else { break };
            line.push_str(next.trim_start());
        }
        lines.push(line);
    }
    lines
}

/// Whether it ends with an odd number of backslashes.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn pair(line: &str) -> (String, Zeroizing<String>) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        escaped = !escaped && *c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.map_or(line.len(), |(at, _)| at));
    let rest = rest.trim_start();
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    (unescaped(key).to_string(), unescaped(rest))
}

fn unescaped(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                out.push(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_java_reads_them() {
        let text = "# a comment\n! another = one\n\n a=1\nb : 2\nc 3\n d\\=e = x\\ty\\u0041 \n\
                    long = one, \\\n    two\\\\\nempty=\npem=-----A-----\\n\\\n  B\\n\nlast=1\nlast=2";
        let read = Properties::parse(text);
        for (key, value) in [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d=e", "x\tyA "),
            ("long", "one, two\\"),
            ("empty", ""),
            ("pem", "-----A-----\nB\n"),
            ("last", "2"),
        ] {
            assert_eq!(read.get(key), Some(value), "{key}");
        }
        assert_eq!(read.get("another"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_panic(text in "[a=:#!\\\\ nu\n]{0,60}") {
            let _ = Properties::parse(&text);
        }
    }
}
