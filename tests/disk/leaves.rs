//! The stories of what leaves its lane: parked events, dead letters, streams that move.

use std::time::Duration;

use crate::cycle::small_segments;
use crate::outside::{Outside, letters};
use crate::script::{Scene, Script, poll};
use crate::site::{ASIDE, STREAM, Site};
use crate::support::agent::{Agent, Setup, spoolway};
use crate::support::ledger::Book;
use crate::support::load::{Load, Plan};

const SOON: Duration = Duration::from_secs(20);

/// Where the configuration has the stream of a script that moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Before,
    After,
}

impl Script {
    /// Whether a part of its events is for a topic that does not take them.
    pub fn is_apart(self) -> bool {
        matches!(self, Script::Park | Script::Bury)
    }

    /// Whether its stream gets another lane or destination.
    pub fn moves(self) -> bool {
        matches!(self, Script::Relane | Script::HandOver)
    }

    /// Whether it is told here.
    pub fn leaves_the_lane(self) -> bool {
        self.is_apart() || self.moves() || self == Script::Replay
    }

    /// `setup` as this script has it.
    pub fn configured(self, site: &Site, setup: Setup, home: Home) -> Setup {
        match (self, home) {
            // What waits for the topic is more than half of it.
            (Script::Park, _) => site.of(setup.spool("max_size = \"4MiB\"\npark_size = \"16MiB\""), ""),
            // An event a batch: one that is refused is not looked for by halves, which waits longer each time.
            (Script::Bury | Script::Replay, _) => site.of(setup, "batch_size = \"1KiB\""),
            (Script::Relane, Home::After) => {
                let lines =
                    format!("[[lane]]\nname = \"side\"\n[[stream]]\nname = \"{STREAM}\"\nlane = \"side\"");
                site.of(setup, "").section(&lines)
            }
            (Script::HandOver, _) => {
                let to = if home == Home::Before { "home" } else { "away" };
                let setup = site.named("away", site.of(setup, ""), "");
                ["home", "away"].into_iter().fold(setup.route(STREAM, to, STREAM), |setup, name| {
                    setup.route(&format!("{name}-only"), name, STREAM)
                })
            }
            _ => site.of(setup, ""),
        }
    }
}

impl Scene {
    /// What comes before anybody is struck.
    pub fn before(&self, agent: &Agent<'_>, book: &mut Book) {
        if matches!(self.script, Script::Bury | Script::Replay) {
            self.site.make(ASIDE);
            self.site.refuse(ASIDE);
        }
        if self.script == Script::Replay {
            self.site.resume();
            self.send(book, &[(4, 2_000), (3, 20_000), (5, 2_000)]);
            let buried = || (self.sum("accounts", "dead_lettered")? == 12).then_some(());
            let buried = poll("all are refused", agent, buried);
            assert!(buried.is_some(), "nothing strikes yet: {}", agent.process.output().tail());
        }
    }

    /// Waits until events for the missing topic are parked, and the others delivered; makes the topic, and waits until
    /// nothing is left.
    pub fn park(&self, agent: &Agent<'_>, book: &mut Book) {
        self.site.resume();
        let parked = || (self.sum("destinations", "parked_bytes")? > 0).then_some(());
        poll("something is parked", agent, parked);
        let left = || (self.sum("accounts", "pending")? == 80 && self.has_few_segments()?).then_some(());
        poll("the lane forgets what is parked", agent, left);
        self.send(book, &[(1, 200); 2]);
        self.site.make(ASIDE);
        poll("what was parked arrives", agent, || self.is_clear());
    }

    /// At most so much is in the lane that it would hold without anything for the missing topic.
    fn has_few_segments(&self) -> Option<bool> {
        Some(self.sum("lanes", "segments")? <= 2)
    }

    /// Nothing is pending and nothing parked.
    fn is_clear(&self) -> Option<()> {
        let parked = self.sum("destinations", "parked_bytes")?;
        (self.pending()? == 0 && parked == 0).then_some(())
    }

    pub fn bury(&self, agent: &Agent<'_>) {
        self.site.resume();
        let settled = || (self.pending()? == 0 && self.has_one_segment()?).then_some(());
        poll("all is delivered or a dead letter", agent, settled);
    }

    pub fn replay(&self, agent: &Agent<'_>) {
        self.site.take_all();
        // Its agent may be dead by now.
        let _said = self.dlq_replay();
        poll("all letters are delivered", agent, || self.is_replayed());
    }

    fn dlq_replay(&self) -> std::process::Output {
        let config = self.setup.dir.join("spoolway.toml");
        let mut command = spoolway();
        command.args(["dlq", "replay", "--all", "-c"]).arg(config).output().expect("it runs")
    }

    fn is_replayed(&self) -> Option<()> {
        let left = self.sum("accounts", "dead_lettered")? + self.pending()?;
        (left == 0 && letters(&self.setup.data_dir()).is_empty()).then_some(())
    }

    /// What comes to the stream's new place waits for what is in its old one.
    pub fn moved(&self, agent: &Agent<'_>, book: &mut Book) {
        self.send(book, &[(3, 200), (2, 20_000)]);
        self.site.resume();
        poll("all is delivered", agent, || (self.pending()? == 0).then_some(()));
    }

    /// An honest agent ends the story that was struck; every accepted event is then in a topic once and in order, or a
    /// dead letter.
    pub fn settle(&mut self, point: usize, outside: &mut Outside) {
        if self.script == Script::Relane && point % 2 == 1 {
            // Back to the lane it came from, before what it has in the other has gone.
            self.setup = self.script.configured(&self.site, small_segments(self.setup.anew()), Home::Before);
        }
        // Of a window in doubt a refusal says nothing: it waits for five minutes, and only then becomes dead letters
        // (`kafka::producer::slot`). Somebody raises the limit before that.
        if matches!(self.script, Script::Replay | Script::Bury) {
            self.site.take_all();
        }
        if self.script == Script::Park {
            self.site.make(ASIDE);
        }
        self.site.resume();
        let agent = self.setup.start();
        let load = Load::http(Plan::new(self.setup.http, STREAM, 90).limit(1));
        load.wait_accepted(1, SOON);
        outside.add(load.finish());
        let settled = poll("everything is settled", &agent, || self.is_clear());
        if self.script == Script::Replay && settled.is_some() {
            let said = self.dlq_replay();
            let left = letters(&self.setup.data_dir()).len();
            assert!(said.status.success() || left == 0, "{}", String::from_utf8_lossy(&said.stderr));
            poll("all letters are delivered", &agent, || self.is_replayed());
        }
        // What a position claims wrongly is lost when its segment is deleted.
        self.wait_tidied(&agent);
        agent.kill();
    }
}
