//! Routes that were set while running: `<data_dir>/overrides`, a file of slots.
//!
//! They stand above those of the configuration's files. When these change, or the agent is told to read them again, only what was
//! pinned stays.
//!
//! ```text
//! value = JSON: {"files": sum, "set": [{"stream": text, "to": text, "topic": text, "pinned": bool, "at": milliseconds} …]}
//! ```
//! Where the file is lost, routes are those of the files.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::model::{Config, Route, TopicTemplate};
use crate::disk::{DiskError, Fs, RealFs, Slots, look_at_slots};
use crate::event::UnixMillis;
use crate::ids::DestinationName;

const CAPACITY: usize = 32 << 10;

/// A route that was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// A stream's name or a glob.
    pub stream: String,
    /// The destination.
    pub to: String,
    /// The topic's name or template.
    pub topic: String,
    /// It stays when the files change.
    pub pinned: bool,
    /// When it was set.
    pub at: UnixMillis,
}

/// All that are set, the newest first, which counts first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// A sum over the configuration of the files that they stand above.
    pub files: u32,
    /// Which.
    pub set: Vec<Override>,
}

impl Overrides {
    /// What is set in a data directory above files of this content; what they have changed since is theirs.
    #[must_use]
    pub fn read(data_dir: &Path, effective: &str) -> Self {
        let mut found = read_file(&RealFs, data_dir).unwrap_or_default();
        let files = crc32fast::hash(effective.as_bytes());
        if found.files != files {
            found.set.retain(|set| set.pinned);
            found.files = files;
        }
        found
    }

    /// Files of this content are to stand above all but what is pinned.
    pub fn rebase(&mut self, effective: &str) {
        self.set.retain(|set| set.pinned);
        self.files = crc32fast::hash(effective.as_bytes());
    }

    /// Writes them down, durably.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep<F: Fs>(&self, fs: &F, data_dir: &Path) -> Result<(), DiskError> {
        let path = data_dir.join("overrides");
        let value = serde_json::to_vec(self).unwrap_or_default();
        let (mut slots, _) = Slots::open(fs, &path, CAPACITY.max(value.len()))?;
        slots.save(&value)?;
        slots.sync()
    }

    /// The configuration by them. One whose destination is configured no more says nothing.
    #[must_use]
    pub fn applied(&self, config: &Config) -> Config {
        let routes: Vec<Route> = self.set.iter().filter_map(|set| set.route(config)).collect();
        if routes.is_empty() {
            return config.clone();
        }
        Config { routes: routes.into_iter().chain(config.all_routes()).collect(), ..config.clone() }
    }
}

impl Override {
    fn route(&self, config: &Config) -> Option<Route> {
        let to = DestinationName::new(&self.to).ok()?;
        let topic = TopicTemplate::parse(&self.topic).ok()?;
        let known = config.destinations.iter().any(|d| d.name == to);
        if !known {
            tracing::warn!(
                stream = self.stream,
                destination = self.to,
                "a route that was set leads to a destination that is configured no more: it says nothing"
            );
        }
        known.then(|| Route { streams: vec![self.stream.clone()], to, topic, only: true })
    }
}

/// Without a lock: it is read before the data directory is.
fn read_file<F: Fs>(fs: &F, data_dir: &Path) -> Option<Overrides> {
    let value = look_at_slots(fs, &data_dir.join("overrides")).ok()??;
    serde_json::from_slice(&value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::said;

    fn set(stream: &str, pinned: bool) -> Override {
        let (stream, to, topic) = (stream.to_owned(), "away".to_owned(), "{stream}".to_owned());
        Override { stream, to, topic, pinned, at: 7 }
    }

    #[test]
    fn what_is_pinned_stays_when_the_files_change_and_what_is_not_stays_until_then() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Overrides::read(dir.path(), "old").set, []);
        let files = crc32fast::hash(b"old");
        let both = Overrides { files, set: vec![set("a.*", true), set("b", false)] };
        both.keep(&RealFs, dir.path()).unwrap();
        assert_eq!(Overrides::read(dir.path(), "old"), both);
        assert_eq!(Overrides::read(dir.path(), "new").set, [set("a.*", true)]);
        std::fs::write(dir.path().join("overrides"), b"damaged").unwrap();
        assert_eq!(Overrides::read(dir.path(), "old").set, []);
    }

    #[test]
    fn what_is_read_again_leaves_only_what_is_pinned() {
        let mut both = Overrides { files: 1, set: vec![set("a.*", true), set("b", false)] };
        both.rebase("new");
        assert_eq!(both, Overrides { files: crc32fast::hash(b"new"), set: vec![set("a.*", true)] });
    }

    fn config(routes: &str) -> Config {
        let text = format!(
            "[[source]]\ntype = \"stdin\"\nstream = \"orders\"\n\
             [[destination]]\nname = \"home\"\nbootstrap = \"127.0.0.1:1\"\n\
             [[destination]]\nname = \"away\"\nbootstrap = \"127.0.0.1:2\"\n{routes}"
        );
        let loaded = crate::config::load_text("x.toml", &text, &crate::config::Environment::Absent);
        loaded.unwrap_or_else(|r| panic!("{r}")).config
    }

    fn ways(config: &Config) -> Vec<(String, String, String, bool)> {
        let way = |r: Route| (r.streams.concat(), r.to.to_string(), r.topic.to_string(), r.only);
        config.all_routes().into_iter().map(way).collect()
    }

    #[test]
    fn what_is_set_stands_above_the_routes_of_the_files_and_they_go_on() {
        let files = config("[[route]]\nstreams = [\"orders\"]\nto = \"home\"\n");
        let way = |stream: &str, to: &str, topic: &str, only| {
            (stream.to_owned(), to.to_owned(), topic.to_owned(), only)
        };
        let of_files = way("orders", "home", "{stream}", false);
        let applied = |set| ways(&Overrides { files: 1, set }.applied(&files));
        assert_eq!(applied(vec![]), std::slice::from_ref(&of_files));
        assert_eq!(
            applied(vec![set("a.*", true), set("b", false)]),
            [way("a.*", "away", "{stream}", true), way("b", "away", "{stream}", true), of_files.clone()]
        );
        // What says nothing.
        let gone = Override { to: "gone".to_owned(), ..set("b", true) };
        let no_name = Override { to: "no name".to_owned(), ..set("b", true) };
        let no_topic = Override { topic: "{".to_owned(), ..set("b", true) };
        assert_eq!(applied(vec![gone.clone(), no_name, no_topic]), std::slice::from_ref(&of_files));
        assert_eq!(applied(vec![gone, set("b", true)]), [way("b", "away", "{stream}", true), of_files]);
    }

    #[test]
    fn more_than_the_file_has_room_for_takes_a_larger_one() {
        let dir = tempfile::tempdir().unwrap();
        let many: Vec<_> = (0..2_000).map(|n| set(&format!("{n:0>100}"), true)).collect();
        for set in [many.clone(), many[..1].to_vec(), many] {
            let kept = Overrides { files: crc32fast::hash(b"files"), set };
            kept.keep(&RealFs, dir.path()).unwrap();
            assert_eq!(Overrides::read(dir.path(), "files"), kept);
        }
    }

    #[test]
    fn what_is_set_and_says_nothing_is_told() {
        let files = config("[[route]]\nstreams = [\"orders\"]\nto = \"home\"\n");
        let told = |set| said(|| Overrides { files: 1, set: vec![set] }.applied(&files)).1;
        assert_eq!(told(set("b", true)), Vec::<String>::new());
        let lines = told(Override { to: "gone".to_owned(), ..set("b", true) });
        assert!(matches!(&lines[..], [line] if line.contains("gone")), "{lines:?}");
    }
}
