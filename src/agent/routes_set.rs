//! The routes that hold, and those that a person sets above them while the agent runs.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::process::Configured;
use crate::admin::{CommandError, SetRoute};
use crate::config::model::{Config, TopicTemplate};
use crate::config::{Pattern, nearest};
use crate::deliver::unix_now;
use crate::disk::RealFs;
use crate::state::overrides::{Override, Overrides};
use crate::status;

/// What may be set above the routes of the files. A change is durable before it is answered; the agent goes on with it by a stop
/// and a start.
#[derive(Debug)]
pub(super) struct RoutesSet {
    data_dir: PathBuf,
    destinations: Vec<String>,
    /// Standard input can't be handed on to another life.
    is_fixed: bool,
    rows: Vec<status::Route>,
    overrides: Mutex<Overrides>,
    bell: Notify,
}

impl RoutesSet {
    /// `config` is the configuration of the files with `overrides` above.
    pub(super) fn new(configured: &Configured, config: &Config, overrides: Overrides) -> Self {
        let pinned =
            |stream: &[String]| overrides.set.iter().any(|set| set.pinned && stream == [set.stream.clone()]);
        let rows = config.all_routes().into_iter().map(|route| status::Route {
            pinned: route.only && pinned(&route.streams),
            streams: route.streams,
            to: route.to,
            topic: route.topic.to_string(),
            origin: if route.only { "set" } else { "file" },
        });
        Self {
            data_dir: config.relay.data_dir.clone(),
            destinations: config.destinations.iter().map(|d| d.name.to_string()).collect(),
            is_fixed: configured.reads_input(),
            rows: rows.collect(),
            overrides: Mutex::new(overrides),
            bell: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Overrides> {
        self.overrides.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows of `/status`.
    pub(super) fn rows(&self) -> Vec<status::Route> {
        self.rows.clone()
    }

    /// What is set by now.
    pub(super) fn overrides(&self) -> Overrides {
        self.lock().clone()
    }

    /// Resolves when something was set, with all that is.
    pub(super) async fn changed(&self) -> Overrides {
        self.bell.notified().await;
        self.overrides()
    }

    /// Sets a route. Blocking.
    pub(super) fn set(&self, route: &SetRoute) -> Result<serde_json::Value, CommandError> {
        let SetRoute { stream, to, topic, pin } = route;
        let wrong = |message: String| Err(CommandError::Wrong(message));
        if let Err(error) = Pattern::parse(stream) {
            return wrong(format!("{stream:?} is neither a stream's name nor a glob: {error}"));
        }
        if !self.destinations.contains(to) {
            let known = self.destinations.iter().map(String::as_str);
            let meant = nearest(to, known.clone()).map(|name| format!(" (did you mean {name}?)"));
            let known: Vec<_> = known.collect();
            return wrong(format!(
                "there is no destination {to}{}; configured are {}",
                meant.unwrap_or_default(),
                known.join(", ")
            ));
        }
        let topic = topic.clone().unwrap_or_else(|| TopicTemplate::stream().to_string());
        if let Err(error) = TopicTemplate::parse(&topic) {
            return wrong(format!("{topic:?} is no topic: {error}"));
        }
        let (stream, to, pinned) = (stream.clone(), to.clone(), *pin);
        self.change(|overrides| {
            overrides.set.retain(|set| set.stream != stream);
            overrides.set.insert(0, Override { stream, to, topic, pinned, at: unix_now() });
            true
        })?;
        Ok(serde_json::json!({ "set": true }))
    }

    /// Takes back a route that was set. Blocking.
    pub(super) fn unset(&self, stream: &str) -> Result<serde_json::Value, CommandError> {
        let there = self.change(|overrides| {
            let before = overrides.set.len();
            overrides.set.retain(|set| set.stream != stream);
            overrides.set.len() < before
        })?;
        match there {
            true => Ok(serde_json::json!({ "unset": true })),
            false => Err(CommandError::Wrong(format!(
                "no route was set for {stream}; `spoolway route list` says what is"
            ))),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Overrides) -> bool) -> Result<bool, CommandError> {
        if self.is_fixed {
            return Err(CommandError::Wrong(
                "the agent reads standard input, which can't be handed on: change its configuration and start it again"
                    .to_owned(),
            ));
        }
        let mut overrides = self.lock();
        let mut new = overrides.clone();
        if !change(&mut new) {
            return Ok(false);
        }
        new.keep(&RealFs, &self.data_dir)
            .map_err(|e| CommandError::Failed(format!("nothing is changed: {e}")))?;
        *overrides = new;
        self.bell.notify_one();
        Ok(true)
    }
}
