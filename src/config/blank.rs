//! Secrets that stand in a configuration though they must not are shown in no excerpt of it: what is said of it goes to logs.

use std::ops::Range;

use super::nearest::nearest;

/// Keys that name a secret end so. What is nearly one of these is one that was mistyped, or another program's.
const SECRETS: [&str; 5] = ["password", "passphrase", "secret", "token", "tokens"];
const FOREIGN: [&str; 5] = ["pass", "passwd", "pwd", "credential", "credentials"];

/// The text with every byte of a secret made `*`: values of keys that name one, or that were meant to, what stands before the `@` of an
/// address, and keys in PEM.
/// Everything else stays where it is. The text need not be TOML: what is wrong with it may be just that.
pub(super) fn blank_secrets(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let found = logins(text).chain(values(text)).chain(keys(text));
    for range in found.collect::<Vec<_>>() {
        for byte in bytes.get_mut(range).unwrap_or_default().iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b'*';
        }
    }
    // Whole characters are made as many stars as they have bytes.
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_secret(key: &str) -> bool {
    let last = key.rsplit(['_', '-']).next().unwrap_or(key);
    SECRETS.iter().any(|end| key.ends_with(end))
        || nearest(last, SECRETS.into_iter().chain(FOREIGN)).is_some()
}

/// Name and password before an address: behind a scheme whatever stands there, else what has a colon.
fn logins(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices('@').filter_map(|(at, _)| {
        let before = text.get(..at)?;
        let word =
            before.rfind(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).map_or(0, |end| end + 1);
        let login = before.get(word..)?;
        match login.find("://") {
            Some(scheme) => Some(word + scheme + "://".len()..at),
            None => login.contains(':').then_some(word..at),
        }
    })
}

fn values(text: &str) -> impl Iterator<Item = Range<usize>> {
    let sections = sections(text);
    text.match_indices(['=', ':']).flat_map(move |(at, sign)| {
        let key = text.get(..at).unwrap_or_default();
        let before = key.trim_end().trim_end_matches(['"', '\'']);
        let last = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-')).next();
        let last = last.unwrap_or_default().to_ascii_lowercase();
        let is_within = || {
            let key = key.rsplit(['\n', '{', ',']).next().unwrap_or_default();
            let section = sections.partition_point(|(from, _)| *from <= at).checked_sub(1);
            sign == "="
                && !is_place(&last)
                && (has_secret(key)
                    || section.and_then(|i| sections.get(i)).is_some_and(|(_, secret)| *secret))
        };
        if is_secret(&last) || is_within() { value(text, at + 1) } else { vec![] }
    })
}

/// Where each section begins, and whether its name has a secret's in it.
fn sections(text: &str) -> Vec<(usize, bool)> {
    let mut from = 0;
    let lines = text.split_inclusive('\n').filter_map(|line| {
        from += line.len();
        let name = line.trim_start().strip_prefix('[')?.trim_start_matches('[').split(']').next()?;
        Some((from, has_secret(name)))
    });
    lines.collect()
}

/// Whether a part of a dotted key names a secret.
fn has_secret(key: &str) -> bool {
    let part = |part: &str| part.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    key.split('.').map(part).any(|part| is_secret(&part))
}

/// Where a secret is from is none.
fn is_place(key: &str) -> bool {
    matches!(key, "file" | "env")
}

/// What stands in PEM where the name of a file should.
fn keys(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("-----BEGIN ").map(|(at, _)| {
        let rest = text.get(at..).unwrap_or_default();
        let start = rest.find('\n').map_or(rest.len(), |end| end + 1);
        at + start..at + rest.find("-----END ").unwrap_or(rest.len()).max(start)
    })
}

/// Where what is secret of the value that begins there stands.
fn value(text: &str, from: usize) -> Vec<Range<usize>> {
    let rest = text.get(from..).unwrap_or_default();
    let start = from + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
    let rest = text.get(start..).unwrap_or_default();
    match rest.starts_with('{') {
        true => elsewhere(text, start, rest.get(..bracketed(rest)).unwrap_or_default()),
        false => vec![written(text, start)],
    }
}

/// How long what is in brackets there is, up to the one that closes it.
fn bracketed(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at + c.len_utf8()..).unwrap_or_default();
        let line = rest.find('\n').unwrap_or(rest.len());
        at += c.len_utf8();
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' if depth <= 1 => return at,
            ']' | '}' => depth -= 1,
            '#' => at += line,
            '"' | '\'' => {
                at += match rest.strip_prefix(&c.to_string().repeat(2)) {
                    Some(inner) => {
                        2 + inner.find(&c.to_string().repeat(3)).map_or(inner.len(), |end| end + 3)
                    }
                    None => closing(rest.get(..line).unwrap_or_default(), c).map_or(line, |end| end + 1),
                };
            }
            _ => {}
        }
    }
    text.len()
}

/// Where it is from says nothing: what `file` and `env` are. All else in there would be the secret again.
fn elsewhere(text: &str, start: usize, inner: &str) -> Vec<Range<usize>> {
    let said = inner.match_indices('=').filter(|(at, _)| {
        let key = inner.get(1..*at).unwrap_or_default().trim_end().trim_end_matches(['"', '\'']);
        let key = key.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        !is_place(key)
    });
    let said = said.filter_map(|(at, _)| {
        let from = start + at + 1;
        let rest = text.get(from..)?;
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        // What is in a table within this one is looked at for itself.
        (!rest.get(blank..)?.starts_with('{')).then(|| written(text, from + blank))
    });
    said.collect()
}

/// A value as it stands there: on the rest of its first line, unless it is one that goes on.
fn written(text: &str, start: usize) -> Range<usize> {
    let rest = text.get(start..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    if line.starts_with('[') {
        return start..start + bracketed(rest).max(line.len());
    }
    for quote in ["\"\"\"", "'''"] {
        if let Some(inner) = rest.strip_prefix(quote) {
            let start = start + quote.len();
            return start..start + inner.find(quote).unwrap_or(inner.len());
        }
    }
    // A quote may be missing: all of the line is taken for the value, then.
    let ends = |quote: char| line.get(1..).and_then(|inner| inner.rfind(quote));
    match line.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inner = line.get(1..).unwrap_or_default();
            let closed = closing(inner, quote).or_else(|| ends(quote)).unwrap_or(inner.len());
            start + 1..start + 1 + closed
        }
        _ => start..start + line.len(),
    }
}

fn closing(inner: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    inner.char_indices().find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && quote == '"' && !escaped;
        ends.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_blanked_wherever_it_stands_and_nothing_else_is() {
        for (text, shown) in [
            ("password = \"hunter2\" # mine", "password = \"*******\" # mine"),
            (
                "sasl = { username = \"u\", password = 'hunter2' }",
                "sasl = { username = \"u\", password = '*******' }",
            ),
            ("client_secret=\"a\\\"b\"", "client_secret=\"****\""),
            ("\"password\" = \"hunter2", "\"password\" = \"*******"),
            ("password = hunter2", "password = *******"),
            ("password = \"\"\"\nhunter2\n\"\"\"\nx = 1", "password = \"\"\"\n*******\n\"\"\"\nx = 1"),
            ("tokens = [\"hunter2\", \"b\"]", "tokens = ****************"),
            ("password = { file = \"path\" }", "password = { file = \"path\" }"),
            (
                "password = { env = \"X\", default = \"hunter2\" }",
                "password = { env = \"X\", default = \"*******\" }",
            ),
            ("proxy = \"http://u:hunter2@p:1\"", "proxy = \"http://*********@p:1\""),
            (
                "a = \"ü\"\npassword = \"ü\"\nname = \"secret\"",
                "a = \"ü\"\npassword = \"**\"\nname = \"secret\"",
            ),
            ("token_url = \"https://x/y\"", "token_url = \"https://x/y\""),
            // Keys that were mistyped, or are those of other programs: a finding shows just their lines.
            ("pasword = \"hunter2\"", "pasword = \"*******\""),
            ("client_secert = \"hunter2\"", "client_secert = \"*******\""),
            ("pass = \"hunter2\"\npath = \"x\"", "pass = \"*******\"\npath = \"x\""),
            ("topic = \"x\"\nto = \"y\"\ntls.key = \"z\"", "topic = \"x\"\nto = \"y\"\ntls.key = \"z\""),
            ("password: hunter2", "password: *******"),
            (
                "token = { value = \"hunter2\", file = \"path\" }",
                "token = { value = \"*******\", file = \"path\" }",
            ),
            // Values over several lines, and what a key or a section says further in front.
            (
                "token = [\n  \"hunter2\", # ]\n  \"]b\",\n]\nx = 1",
                "token = *\n****************\n*******\n*\nx = 1",
            ),
            ("token = [\"\"\"a]\nhunter2\"\"\", \"b\"]\nx = 1", "token = ******\n****************\nx = 1"),
            (
                "token = {\n  file = \"f\",\n  value = \"hunter2\"\n}\nx = 1",
                "token = {\n  file = \"f\",\n  value = \"*******\"\n}\nx = 1",
            ),
            (
                "password.value = \"hunter2\"\npassword.file = \"f\"",
                "password.value = \"*******\"\npassword.file = \"f\"",
            ),
            (
                "[d.h.sasl.\"password\"]\nvalue = \"hunter2\"\nenv = \"E\"\n[d.h]\nx = \"y\"",
                "[d.h.sasl.\"password\"]\nvalue = \"*******\"\nenv = \"E\"\n[d.h]\nx = \"y\"",
            ),
            ("bootstrap = [\"u:hunter2@p:1\"] # a@b", "bootstrap = [\"*********@p:1\"] # a@b"),
            (
                "key = \"\"\"\n-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n\"\"\"",
                "key = \"\"\"\n-----BEGIN PRIVATE KEY-----\n*******\n-----END PRIVATE KEY-----\n\"\"\"",
            ),
        ] {
            assert_eq!(blank_secrets(text), shown);
            assert_eq!(blank_secrets(text).len(), text.len(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_keeps_its_length_and_its_lines(text in "(password|token|env|-----BEGIN |-----END | |=|:|\"|'|\\{|\\}|default|a|ü|\n|://|@){0,40}") {
            let shown = blank_secrets(&text);
            proptest::prop_assert_eq!(shown.len(), text.len());
            proptest::prop_assert_eq!(shown.lines().count(), text.lines().count());
        }
    }
}
