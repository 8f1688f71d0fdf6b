//! One entry of JAAS: `org.….PlainLoginModule required username="relay" password="…";`

use zeroize::Zeroizing;

/// A login module and its options.
pub(super) struct Login {
    pub(super) module: String,
    options: Vec<(String, Zeroizing<String>)>,
}

impl Login {
    /// `None` for what is no entry.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().strip_suffix(';')?;
        let (module, rest) = text.trim().split_once(char::is_whitespace)?;
        let rest = rest.trim_start();
        let (flag, mut rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if !matches!(flag, "required" | "requisite" | "sufficient" | "optional") {
            return None;
        }
        let mut options = vec![];
        while !rest.trim_start().is_empty() {
            let (name, after) = rest.trim_start().split_once('=')?;
            let (value, left) = value(after)?;
            options.push((name.trim_end().to_owned(), value));
            rest = left;
        }
        Some(Self { module: module.to_owned(), options })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A value, between quotes or up to the next space, and what follows it.
fn value(text: &str) -> Option<(Zeroizing<String>, &str)> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((Zeroizing::new(value.to_owned()), rest));
    };
    let mut out = Zeroizing::new(String::new());
    let mut chars = text.chars();
    chars.next();
    loop {
        match chars.next()? {
            '\\' => out.push(chars.next()?),
            c if c == quote => return Some((out, chars.as_str())),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_with_quotes_escapes_and_without() {
        let text = "org.apache.kafka.common.security.scram.ScramLoginModule required \
                    username=\"re lay\" password = 'a\"b\\'=;c' tokenauth=true;";
        let login = Login::parse(text).unwrap();
        assert!(login.module.ends_with("ScramLoginModule"));
        assert_eq!(login.get("username"), Some("re lay"));
        assert_eq!(login.get("password"), Some("a\"b'=;c"));
        assert_eq!(login.get("tokenauth"), Some("true"));
        assert_eq!(login.get("else"), None);
        for bad in
            ["", ";", "X;", "X required username", "X required a=\"b;", "X maybe a=b;", "X required a=b"]
        {
            assert!(Login::parse(bad).is_none(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_panic(text in "X required [a=\"'\\\\ ;b]{0,40}") {
            let _ = Login::parse(&text);
        }
    }
}
