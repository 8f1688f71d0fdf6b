//! A lane and a destination, before anything is delivered: what is known of the pair, and where it goes on.

use crate::config::model::{self as config, Begin, Destination};
use crate::disk::{Fs, RealFs};
use crate::ids::{DestinationName, LaneName, Seq};
use crate::sabotage::{self, Bug};
use crate::spool::{DataDir, Lane};
use crate::state::journal::{self, Found, Intent, Journal, JournalError};
use crate::state::park::{Park, Whose};
use crate::state::positions::{Positions, Restored, Store, StoreError, Unusable};

/// Where a destination goes on after a change of routes can't be made durable.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum GoOnError {
    /// In its positions file.
    Positions(#[from] StoreError),
    /// In its journal.
    Journal(#[from] JournalError),
}

/// A positions file and a journal, opened, and what they said.
pub(super) struct Opened<F: Fs = RealFs> {
    pub(super) store: Store<F>,
    restored: Restored,
    journal: Journal<F>,
    park: Park<F>,
    /// What the journal says.
    intents: Vec<Intent>,
    /// There is a journal, or there was: it has been delivered to before.
    was_here: bool,
}

impl<F: Fs> Opened<F> {
    /// Opens what there is of `name` in `lane`; makes a positions file if there is none.
    pub(super) fn open(
        data: &DataDir<F>,
        lane: &LaneName,
        name: &DestinationName,
    ) -> Result<Self, StoreError> {
        let (store, restored) = Store::open(data.fs(), data.path(), data.spool_id(), lane, name)?;
        let (journal, Found { intents, damaged, was_here }) =
            Journal::open(data.fs(), data.path(), data.spool_id(), lane, name);
        if damaged {
            tracing::error!(
                %lane,
                destination = %name,
                "the journal is damaged: what was in flight when the agent last stopped may arrive twice"
            );
        }
        let park =
            Park::open(data.fs(), data.path(), Whose { spool: data.spool_id(), lane, destination: name })?;
        Ok(Self { store, restored, journal, park, intents, was_here })
    }

    /// The highest number it names: new events must not be given one below.
    pub(super) fn highest(&self) -> Option<Seq> {
        let positions = match &self.restored {
            Restored::Positions(positions) => Some(positions.highest()),
            _ => None,
        };
        positions.max(Some(journal::highest(&self.intents)).filter(|h| *h > Seq::NONE))
    }

    /// Number of the last dead letter it counts.
    pub(super) fn last_letter(&self) -> u64 {
        match &self.restored {
            Restored::Positions(positions) => positions.letters,
            _ => 0,
        }
    }

    /// Whether it names events that the log never had, or has no more.
    fn is_ahead_of(&self, lane: &Lane<F>) -> bool {
        let blind = sabotage::commits(Bug::PositionBeyondTheLog);
        !blind && self.highest().is_some_and(|highest| lane.was_behind(highest))
    }

    /// Where it goes on, and what it has to settle first.
    ///
    /// DURABILITY: that a destination which wants what is new was seen is on disk before anything new comes: begun again after
    /// a kill, it would begin later.
    pub(super) fn positions(
        &mut self,
        data: &DataDir<F>,
        lane: &Lane<F>,
        destination: &Destination,
    ) -> Result<(Positions, Vec<Intent>), StoreError> {
        let mut positions = self.restored_positions(data, lane, destination);
        if self.restored == Restored::Nothing && destination.from == Begin::Now {
            self.store.save(&positions)?;
            self.store.sync()?;
        }
        // Where the positions begin anew, everything is to be sent, whatever was known before.
        let usable = destination.delivery == config::Delivery::ExactlyOnce && self.goes_on(lane);
        let intents = if usable { self.intents.clone() } else { Vec::new() };
        let in_doubt = journal::fold(&mut positions, intents);
        if data.is_renewed() {
            // The other life may count on: this one begins counters of its own.
            positions.counters.clear();
        }
        Ok((positions, in_doubt))
    }

    fn restored_positions(&self, data: &DataDir<F>, lane: &Lane<F>, destination: &Destination) -> Positions {
        let name = destination.name.as_str();
        match &self.restored {
            // INVARIANT: the log is the only truth. A position that does not fit it belongs to another past of it,
            // so it proves of no event that is there that it was delivered.
            Restored::Positions(positions) if self.is_ahead_of(lane) => {
                tracing::error!(
                    lane = %lane.name(),
                    destination = name,
                    position = positions.position.0,
                    "the positions file is ahead of the log: everything on disk is sent again, and its counts start anew"
                );
                Positions::fresh(data.spool_id(), self.first_in(lane))
            }
            Restored::Positions(positions) => (**positions).clone(),
            // Its positions are on disk before it has a journal.
            Restored::Nothing if self.was_here && destination.from == Begin::Now => {
                tracing::error!(
                    lane = %lane.name(),
                    destination = name,
                    "the positions file is lost, and this destination is not new: everything on disk is sent again, and its counts start anew"
                );
                Positions::fresh(data.spool_id(), self.first_in(lane))
            }
            Restored::Nothing => {
                let since = match destination.from {
                    Begin::Oldest => self.first_in(lane),
                    Begin::Now => lane.durable().next(),
                };
                Positions::fresh(data.spool_id(), since)
            }
            Restored::Unusable(why) => {
                tracing::error!(
                    lane = %lane.name(),
                    destination = name,
                    %why,
                    "the positions file can't be used: everything on disk is sent again, and its counts start anew"
                );
                Positions::fresh(data.spool_id(), self.first_in(lane))
            }
        }
    }

    /// The oldest event that there is for it.
    fn first_in(&self, lane: &Lane<F>) -> Seq {
        self.park.first().map_or(lane.first(), |parked| parked.min(lane.first()))
    }

    /// What is known of it though it is not configured any more: where it stood, and what it has not settled yet.
    pub(super) fn as_stranger(&self, data: &DataDir<F>, lane: &Lane<F>) -> (Positions, Vec<Intent>) {
        match &self.restored {
            Restored::Positions(positions) if !self.is_ahead_of(lane) => {
                let mut positions = (**positions).clone();
                let in_doubt = journal::fold(&mut positions, self.intents.clone());
                (positions, in_doubt)
            }
            _ => (Positions::fresh(data.spool_id(), self.first_in(lane)), Vec::new()),
        }
    }

    /// Whether it goes on from where its positions file says.
    pub(super) fn goes_on(&self, lane: &Lane<F>) -> bool {
        matches!(self.restored, Restored::Positions(_)) && !self.is_ahead_of(lane)
    }

    /// Whether some of its events stand outside the lane.
    pub(super) fn parks(&self) -> bool {
        self.park.first().is_some()
    }

    /// Makes durable where it goes on after a change of routes. DURABILITY: what comes of a change may know less of what has
    /// arrived, so the journal must not ask it.
    pub(super) fn go_on(
        &mut self,
        before: &Positions,
        in_doubt: &[Intent],
        after: &Positions,
    ) -> Result<(), GoOnError> {
        self.store.save(before)?;
        self.store.sync()?;
        if !self.intents.is_empty() {
            self.journal.begin(in_doubt)?;
        }
        self.store.save(after)?;
        Ok(self.store.sync()?)
    }

    /// What it needs of `lane` though it is not configured any more.
    pub(super) fn held_for(&self, name: &DestinationName, lane: &Lane<F>) -> Option<Seq> {
        let needed = match &self.restored {
            Restored::Positions(positions) if !self.is_ahead_of(lane) => positions.needed_from(),
            // It is not known what it still needs, so all of it may be.
            Restored::Positions(_) | Restored::Unusable(Unusable::Damaged | Unusable::Content(_)) => {
                lane.first()
            }
            Restored::Nothing if self.was_here => lane.first(),
            Restored::Unusable(_) | Restored::Nothing => return None,
        };
        let waiting = lane.durable().next().0.saturating_sub(needed.0);
        tracing::warn!(
            lane = %lane.name(),
            destination = %name,
            waiting,
            "this destination is no longer configured; what it has not received stays on disk until it is configured again, or given up with `spoolway destination forget`"
        );
        Some(needed)
    }

    /// The store and, where the destination is to have one, the journal. One that is not kept any more goes away: kept
    /// again later, it would speak of windows whose events have been sent otherwise since.
    pub(super) fn into_parts(self, destination: &Destination) -> (Store<F>, Park<F>, Option<Journal<F>>) {
        let Self { store, journal, park, .. } = self;
        let name = destination.name.as_str();
        if destination.delivery == config::Delivery::AtLeastOnce {
            if let Err(error) = journal.discard() {
                tracing::warn!(destination = name, %error, "a journal that is kept no more could not be removed");
            }
            return (store, park, None);
        }
        if let Err(error) = journal.prepare() {
            tracing::error!(destination = name, %error, "the journal can't be made; it is tried again before anything is sent");
        }
        (store, park, Some(journal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load_text};
    use crate::disk::faulty::{Faulty, Op, Syncs};
    use crate::ids::{RunId, SpoolId, TopicName};
    use crate::metrics::Metrics;
    use crate::state::journal::{Before, Share};
    use crate::state::positions::{Bits, Counter};
    use std::path::Path;

    fn wants_what_is_new(dir: &Path) -> config::Config {
        let text = format!(
            "[relay]\nid = \"test\"\ndata_dir = \"{}\"\n[[source]]\ntype = \"http\"\nlisten = \"127.0.0.1:1\"\n\
             [[destination]]\nname = \"home\"\nbootstrap = [\"127.0.0.1:1\"]\nfrom = \"now\"\n\
             [[route]]\nstreams = [\"*\"]\nto = \"home\"\ntopic = \"t\"\n",
            dir.display()
        );
        load_text("test.toml", &text, &Environment::Absent).unwrap_or_else(|r| panic!("{r}")).config
    }

    #[test]
    fn that_a_destination_wants_what_is_new_is_durable_before_anything_new_comes() {
        let dir = tempfile::tempdir().unwrap();
        let config = wants_what_is_new(dir.path());
        let fs = Faulty::new();
        let data = DataDir::open(fs.clone(), dir.path()).unwrap();
        let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
        let lane = Lane::open(&data, name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
        for (op, spared, works) in
            [(Op::SyncData, 0, false), (Op::SyncDir, 0, false), (Op::SyncData, 1, true)]
        {
            // What was made by a process that was killed has a file, and nothing in it.
            let mut opened = Opened::open(&data, &name, &home.name).unwrap();
            fs.fail_later(op, spared, 1);
            assert_eq!(opened.positions(&data, &lane, home).is_ok(), works, "{op:?}");
            fs.fail_next(op, 0);
            if !works {
                std::fs::remove_file(positions_file(&data, &name, home)).unwrap();
            }
        }
        let opened = Opened::open(&data, &name, &home.name).unwrap();
        assert!(matches!(opened.restored, Restored::Positions(_)), "from now on it goes on from there");
        lane.close();
    }

    #[test]
    fn on_a_disk_where_nothing_can_be_made_what_is_missing_keeps_nothing_from_opening_and_is_made_later() {
        use crate::disk::sim::{Fault, Lasting, SimFs};
        use crate::state::letters::{Letters, Settings};
        use crate::state::routes::{RouteHistory, RoutesFile};
        use rustix::io::Errno;
        let path = Path::new("/data");
        let mut config = wants_what_is_new(path);
        config.destinations[0].from = Begin::Oldest;
        let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
            let fs = SimFs::default();
            let data = DataDir::open(fs.clone(), path).unwrap();
            let open = || Lane::open(&data, name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
            open().close();
            fs.remove(&path.join("lanes/main/floor")).unwrap();
            fs.break_at(Fault { at: fs.calls() + 1, errno, lasting: Lasting::UntilRepaired });
            let mut opened = Opened::open(&data, &name, &home.name).unwrap();
            let lane = open();
            let (positions, _) = opened.positions(&data, &lane, home).unwrap();
            let settings = Settings { max_size: 1 << 20, max_event_size: 1 << 10 };
            Letters::open(&fs, path, data.spool_id(), settings, 1).unwrap();
            let (mut routes, mut history) = RoutesFile::open(&fs, path, data.spool_id()).unwrap();
            assert!(!history.begin(&config.all_routes(), &[].into(), |_, _| true));
            routes.keep_if_it_can_be(&history).unwrap();
            assert!(opened.store.save(&positions).is_err(), "{errno}");
            fs.repair();
            opened.store.save(&positions).unwrap();
            opened.store.sync().unwrap();
            routes.keep(&history).unwrap();
            assert_eq!(
                Opened::open(&data, &name, &home.name).unwrap().restored,
                Restored::Positions(Box::new(positions)),
                "{errno}"
            );
            let (_, known): (_, RouteHistory) = RoutesFile::open(&fs, path, data.spool_id()).unwrap();
            assert_eq!(known.last_change(), history.last_change());
            lane.close();
        }
    }

    #[test]
    fn one_that_wants_what_is_new_gets_what_it_had_not_received_when_its_positions_are_lost() {
        for delivery in [config::Delivery::ExactlyOnce, config::Delivery::AtLeastOnce] {
            let dir = tempfile::tempdir().unwrap();
            let (mut config, fs) = (wants_what_is_new(dir.path()), Faulty::new());
            config.destinations[0].delivery = delivery;
            let (name, home) = (LaneName::new("main").unwrap(), &config.destinations[0]);
            let data = DataDir::open(fs.clone(), dir.path()).unwrap();
            let open = || Lane::open(&data, name.clone(), &config.spool, Seq::NONE, Metrics::new()).unwrap();
            let lane = open();
            accept_one(&lane);
            lane.close();
            let lane = open();
            let start = || {
                let mut opened = Opened::open(&data, &name, &home.name).unwrap();
                let (positions, _) = opened.positions(&data, &lane, home).unwrap();
                drop(opened.into_parts(home));
                positions.position
            };
            assert_eq!(start(), Seq(2), "a new one gets nothing of what was there before");
            accept_one(&lane);
            assert_eq!(start(), Seq(2), "{delivery:?}");
            let file = positions_file(&data, &name, home);
            let blank = vec![0; std::fs::read(&file).unwrap().len()];
            for lost in ["the file", "what was in it", "the directory"] {
                match lost {
                    "the file" => std::fs::remove_file(&file).unwrap(),
                    "what was in it" => std::fs::write(&file, &blank).unwrap(),
                    _ => std::fs::remove_dir_all(dir.path().join("readers")).unwrap(),
                }
                assert_eq!(start(), Seq(1), "{delivery:?}: doubles at most, without {lost}");
            }
            // Without all that is known of it, it is new again; and without a journal alone it goes on.
            std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
            assert_eq!(start(), Seq(1), "{delivery:?}");
            ["journal", "readers"].iter().for_each(|d| std::fs::remove_dir_all(dir.path().join(d)).unwrap());
            assert_eq!(start(), Seq(3), "{delivery:?}");
            lane.close();
        }
    }

    fn accept_one(lane: &Lane<Faulty>) {
        let (stream, mut batch) =
            (crate::ids::StreamName::new("s").unwrap(), crate::event::EventBatch::new());
        batch.push(&crate::event::Event::of_value(b"one"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(lane.append(stream, batch, crate::intake::Patience::Forever)).unwrap();
    }

    /// One event, of a window that a process before may have sent.
    fn intent() -> Intent {
        Intent {
            cluster_id: String::new(),
            topic: TopicName::new("t").unwrap(),
            topic_id: [0; 16],
            partition: 0,
            producer_id: 1,
            epoch: 0,
            base_sequence: 0,
            before: Before::Nothing,
            acked_offset: -1,
            counter: Counter { epoch: 0, next: 0 },
            by_time_of_sending: false,
            sent_at: 0,
            shares: vec![Share { block: Seq(9), run: RunId(1), events: Bits::full(1) }],
        }
    }

    #[test]
    fn where_it_goes_on_by_other_routes_is_durable_before_and_after_the_journal_forgets_what_it_said() {
        let (spool, lane) = (SpoolId(7), LaneName::new("main").unwrap());
        let name = DestinationName::new("home").unwrap();
        let at = |position| Positions { position: Seq(position), ..Positions::fresh(spool, Seq(5)) };
        let opened = |fs: &Faulty, dir: &Path, intents| {
            let (store, restored) = Store::open(fs, dir, spool, &lane, &name).unwrap();
            let (journal, _) = Journal::open(fs, dir, spool, &lane, &name);
            let park = Park::open(fs, dir, Whose { spool, lane: &lane, destination: &name }).unwrap();
            Opened { store, restored, journal, park, intents, was_here: false }
        };
        let prepare = |dir: &Path| {
            let mut opened = opened(&Faulty::new(), dir, Vec::new());
            opened.journal.prepare().unwrap();
            opened.journal.begin([&intent()]).unwrap();
        };
        for (intents, expected) in
            [(vec![intent()], Syncs::of(1 + 1 + 1, 3 + 3)), (Vec::new(), Syncs::of(1 + 1, 3))]
        {
            let gone_on = Syncs::made_by(prepare, |fs, dir| {
                opened(fs, dir, intents.clone()).go_on(&at(9), &[], &at(6))?;
                let then = opened(fs, dir, Vec::new());
                assert_eq!(then.restored, Restored::Positions(Box::new(at(6))));
                Ok::<_, GoOnError>(())
            });
            assert_eq!(gone_on, expected);
        }
    }

    fn positions_file(data: &DataDir<Faulty>, lane: &LaneName, home: &Destination) -> std::path::PathBuf {
        crate::state::positions::directory(data.path(), lane).join(home.name.as_str())
    }
}
