//! The routes that hold, and those that a person sets above them while the agent runs.
//!
//! INVARIANT: what is set is durable before it holds, and the agent goes on with all that was answered as set: so while one is written down it
//! does not end for other routes or another configuration, and once it ends for these nothing more is set. A disk that hangs holds up whoever
//! sets a route, and such an end; nobody waits for it with a lock that the main loop takes.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use tokio::sync::Notify;

use super::process::Configured;
use crate::admin::{CommandError, SetRoute};
use crate::config::model::{Config, TopicTemplate};
use crate::config::{Pattern, nearest};
use crate::deliver::unix_now;
use crate::disk::{DiskError, RealFs};
use crate::state::overrides::{Override, Overrides};
use crate::status;

/// Writes them down, durably.
type Keep = Box<dyn Fn(&Overrides) -> Result<(), DiskError> + Send + Sync>;

/// What may be set above the routes of the files. A change is durable before it is answered; the agent goes on with it by a stop
/// and a start.
pub(super) struct RoutesSet {
    keep: Keep,
    destinations: Vec<String>,
    /// Standard input can't be handed on to another life.
    is_fixed: bool,
    rows: Vec<status::Route>,
    /// Never held over a write.
    overrides: Mutex<Overrides>,
    /// Held by who writes one down. Whether the agent goes on without what is set from now on.
    turn: Mutex<bool>,
    bell: Notify,
}

impl fmt::Debug for RoutesSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutesSet").field("overrides", &self.overrides).finish_non_exhaustive()
    }
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
        let data_dir = config.relay.data_dir.clone();
        Self {
            keep: Box::new(move |overrides| overrides.keep(&RealFs, &data_dir)),
            destinations: config.destinations.iter().map(|d| d.name.to_string()).collect(),
            is_fixed: configured.reads_input(),
            rows: rows.collect(),
            overrides: Mutex::new(overrides),
            turn: Mutex::new(false),
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

    /// Resolves when something was set.
    pub(super) async fn changed(&self) {
        self.bell.notified().await;
    }

    /// Whether something is being written down.
    pub(super) fn is_changing(&self) -> bool {
        matches!(self.turn.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// The agent goes on with what is set by now, and nothing more is. `None` while something is being written down: it is told by
    /// [`RoutesSet::changed`] once it is there.
    pub(super) fn leave(&self) -> Option<Overrides> {
        let mut has_left = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        *has_left = true;
        Some(self.overrides())
    }

    /// What was set before is still to be gone on with.
    pub(super) fn remind(&self) {
        self.bell.notify_one();
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
        let has_left = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if *has_left {
            let why = "nothing is changed: the agent is going on with another configuration; say it again";
            return Err(CommandError::Failed(why.to_owned()));
        }
        let mut new = self.overrides();
        if !change(&mut new) {
            return Ok(false);
        }
        (self.keep)(&new).map_err(|e| CommandError::Failed(format!("nothing is changed: {e}")))?;
        *self.lock() = new;
        // Who is told next finds nothing being written down, or another one.
        drop(has_left);
        self.bell.notify_one();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::{Environment, load_text};

    const LIMIT: Duration = Duration::from_secs(30);

    /// Who writes routes down as `keep` does.
    fn routes_set(keep: Keep) -> RoutesSet {
        let text = "[[source]]\ntype = \"http\"\nlisten = \"127.0.0.1:1\"\n\
             [[destination]]\nname = \"home\"\nbootstrap = [\"127.0.0.1:1\"]\n";
        let config = load_text("x.toml", text, &Environment::Absent).unwrap_or_else(|r| panic!("{r}")).config;
        let configured = Configured { config: config.clone(), effective: String::new() };
        RoutesSet { keep, ..RoutesSet::new(&configured, &config, Overrides::default()) }
    }

    fn route(stream: &str) -> SetRoute {
        SetRoute { stream: stream.to_owned(), to: "home".to_owned(), topic: None, pin: false }
    }

    fn set_of(overrides: &Overrides) -> Vec<&str> {
        overrides.set.iter().map(|set| set.stream.as_str()).collect()
    }

    /// Found by a review: whoever asked for the routes that hold, as a reload does in the agent's main loop, waited with it for the disk.
    #[test]
    fn while_a_disk_hangs_under_a_route_that_is_set_nobody_else_waits_and_the_agent_does_not_go_on_without_it()
     {
        let (begin, begun) = mpsc::sync_channel(1);
        let (answer, answers) = mpsc::sync_channel::<()>(1);
        let answers = Mutex::new(answers);
        let routes = routes_set(Box::new(move |_| {
            begin.send(()).unwrap();
            answers.lock().unwrap().recv_timeout(LIMIT).unwrap();
            Ok(())
        }));
        std::thread::scope(|scope| {
            let setting = scope.spawn(|| routes.set(&route("a")));
            begun.recv_timeout(LIMIT).unwrap();
            let asked = Instant::now();
            assert_eq!(set_of(&routes.overrides()), Vec::<&str>::new(), "it is not durable");
            assert!(routes.is_changing() && routes.leave().is_none());
            assert!(asked.elapsed() < LIMIT, "it was waited for");
            answer.send(()).unwrap();
            setting.join().unwrap().unwrap();
        });
        assert!(!routes.is_changing());
        assert_eq!(set_of(&routes.leave().unwrap()), ["a"]);
    }

    /// It was answered as set, and the agent that went on did not know of it.
    #[test]
    fn once_the_agent_goes_on_with_what_is_set_nothing_more_is() {
        let routes = routes_set(Box::new(|_| Ok(())));
        routes.set(&route("a")).unwrap();
        assert_eq!(set_of(&routes.leave().unwrap()), ["a"]);
        assert!(
            matches!(routes.set(&route("b")), Err(CommandError::Failed(why)) if why.contains("say it again"))
        );
        assert!(routes.unset("a").is_err());
        assert_eq!(set_of(&routes.overrides()), ["a"]);
    }
}
