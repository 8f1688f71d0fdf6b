//! The configuration that a newcomer begins with: `starter.toml`, which is right as it stands.

use std::path::Path;

use super::model::HostPort;
use super::scalar::quoted;

const TEXT: &str = include_str!("starter.toml");
const DATA_DIR: &str = "data_dir = \"/var/lib/spoolway\"\n";
const BOOTSTRAP: &str = "bootstrap = [\"127.0.0.1:9092\"]\n";

/// A commented configuration with these brokers and this data directory; without them, with the usual ones.
#[must_use]
pub fn starter(bootstrap: &[HostPort], data_dir: Option<&Path>) -> String {
    let mut text = TEXT.to_owned();
    if let Some(dir) = data_dir {
        text = text.replace(DATA_DIR, &format!("data_dir = {}\n", quoted(&dir.to_string_lossy())));
    }
    if !bootstrap.is_empty() {
        let brokers: Vec<String> = bootstrap.iter().map(|broker| quoted(&broker.to_string())).collect();
        text = text.replace(BOOTSTRAP, &format!("bootstrap = [{}]\n", brokers.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load_text, parse_host_port};

    fn load(text: &str) -> crate::config::Loaded {
        load_text("x.toml", text, &Environment::Absent).unwrap_or_else(|report| panic!("{report}\n{text}"))
    }

    #[test]
    fn it_is_right_as_it_stands_and_there_is_nothing_to_note_about_it() {
        let loaded = load(&starter(&[], None));
        assert!(loaded.notes.is_empty(), "{}", loaded.notes);
        assert_eq!(loaded.config.relay.data_dir, Path::new("/var/lib/spoolway"));
        assert_eq!(loaded.config.destinations[0].bootstrap[0].to_string(), "127.0.0.1:9092");
    }

    #[test]
    fn what_is_asked_for_stands_in_it() {
        let brokers = ["k1:9092", "[2001:db8::1]:9093"].map(|b| parse_host_port(b).unwrap());
        let odd = Path::new("/srv/a \"quoted\" \\ place");
        let config = load(&starter(&brokers, Some(odd))).config;
        assert_eq!(config.destinations[0].bootstrap, brokers);
        assert_eq!(config.relay.data_dir, odd);
    }

    #[test]
    fn every_example_in_it_is_right_too() {
        let example = |line: &&str| {
            line.strip_prefix('#').is_some_and(|l| l.starts_with(|c: char| c.is_alphabetic() || c == '['))
        };
        let count = TEXT.lines().filter(example).count();
        assert!(count > 15, "{count}");
        let all = TEXT.lines().map(|line| if example(&line) { &line[1..] } else { line });
        let config = load(&all.collect::<Vec<_>>().join("\n")).config;
        assert_eq!((config.sources.len(), config.routes.len()), (3, 1));
        assert!(config.destinations[0].sasl.is_some() && config.admin.metrics_listen.is_some());
    }
}
