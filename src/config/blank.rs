//! Secrets that stand in a configuration though they must not are shown in no excerpt of it: what is said of it goes to logs.

use std::ops::Range;

/// The text with every byte of a secret made `*`: values of keys that name one, and what stands before the `@` of an address.
/// Everything else stays where it is. The text need not be TOML: what is wrong with it may be just that.
pub(super) fn blank_secrets(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let found = logins(text).chain(values(text));
    for range in found.collect::<Vec<_>>() {
        for byte in bytes.get_mut(range).unwrap_or_default().iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b'*';
        }
    }
    // Whole characters are made as many stars as they have bytes.
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_secret(key: &str) -> bool {
    ["password", "passphrase", "secret", "token", "tokens"].iter().any(|end| key.ends_with(end))
}

fn logins(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").filter_map(|(at, scheme)| {
        let start = at + scheme.len();
        let rest = text.get(start..)?;
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(rest.len());
        Some(start..start + rest.get(..end)?.rfind('@')?)
    })
}

fn values(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices('=').filter_map(|(at, _)| {
        let before = text.get(..at)?.trim_end().trim_end_matches(['"', '\'']);
        let key = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-')).next()?;
        is_secret(&key.to_ascii_lowercase()).then(|| value(text, at + 1))
    })
}

/// Where the value that begins behind a `=` stands.
fn value(text: &str, from: usize) -> Range<usize> {
    let rest = text.get(from..).unwrap_or_default();
    let start = from + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
    let rest = text.get(start..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    for quote in ["\"\"\"", "'''"] {
        if let Some(inner) = rest.strip_prefix(quote) {
            let start = start + quote.len();
            return start..start + inner.find(quote).unwrap_or(inner.len());
        }
    }
    // Where else it is says nothing, but a default would be the secret again.
    if line.starts_with('{') {
        let default = line.find("default").and_then(|at| Some(at + line.get(at..)?.find('=')? + 1));
        return default.map_or(start..start, |at| value(text, start + at));
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
        ] {
            assert_eq!(blank_secrets(text), shown);
            assert_eq!(blank_secrets(text).len(), text.len(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_keeps_its_length_and_its_lines(text in "(password|token| |=|\"|'|\\{|\\}|default|a|ü|\n|://|@){0,40}") {
            let shown = blank_secrets(&text);
            proptest::prop_assert_eq!(shown.len(), text.len());
            proptest::prop_assert_eq!(shown.lines().count(), text.lines().count());
        }
    }
}
