//! A small Kafka, data directories that lived against it, and trials on copies of them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::agent::AgentError;
use crate::agent::stand::Stand;
use crate::config::model::{Config, SpoolCompression};
use crate::config::{Environment, RouteTable, load_text};
use crate::deliver::Delivery;
use crate::event::{Event, EventBatch};
use crate::ids::{LaneName, SegmentId, Seq, StreamName};
use crate::intake::Patience;
use crate::kafka::{BatchReader, RecordHeader, header};
use crate::metrics::Metrics;
use crate::spool::Lane;
use crate::state::ledger::{Key, Ledger, LedgerError, Page, Query, Row};
use crate::status::Account;
use crate::target::{Target, TargetOptions};

/// How long anything may take.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
pub(super) const TOPIC: &str = "events";

/// A record of a topic: the event's number in the test's ledger, and what its header says.
pub(super) type Record = (u64, RecordHeader);

/// A small Kafka of its own with a place for data directories.
pub(super) struct World {
    pub(super) runtime: Runtime,
    home: tempfile::TempDir,
    next: Cell<u64>,
}

/// A topic on a cluster of its own: what one agent delivers.
pub(super) struct Topic {
    pub(super) target: Target,
}

/// An agent without sources and admin server.
pub(super) struct Agent<'a> {
    pub(super) world: &'a World,
    pub(super) stand: Stand,
}

impl World {
    pub(super) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { runtime, home: tempfile::tempdir().unwrap(), next: Cell::new(0) }
    }

    /// A name in the world's place that nothing has.
    pub(super) fn place(&self) -> PathBuf {
        self.next.set(self.next.get() + 1);
        self.home.path().join(format!("data-{}", self.next.get()))
    }

    pub(super) fn copy(&self, of: &Path) -> PathBuf {
        let to = self.place();
        copy(of, &to);
        to
    }

    pub(super) fn topic(&self) -> Topic {
        self.topics(&[TOPIC])
    }

    /// A cluster with these topics, of one partition each.
    pub(super) fn topics(&self, names: &[&str]) -> Topic {
        let topics = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
        let options = TargetOptions { topics, ..TargetOptions::default() };
        Topic { target: self.runtime.block_on(Target::start(options)).unwrap() }
    }

    /// Starts an agent on `data` that delivers to `topic`.
    pub(super) fn start(&self, data: &Path, topic: &Topic) -> Result<Agent<'_>, AgentError> {
        self.start_by(&config(data, topic, ""))
    }

    pub(super) fn start_by(&self, config: &Config) -> Result<Agent<'_>, AgentError> {
        let _runtime = self.runtime.enter();
        let routes = Arc::new(RouteTable::new(config).unwrap());
        let stand = Stand::build(config, &routes, &Metrics::new(), self.runtime.handle())?;
        stand.go();
        Ok(Agent { world: self, stand })
    }
}

/// With more lines before the route that takes all.
pub(super) fn config(data: &Path, topic: &Topic, more: &str) -> Config {
    let bootstrap = topic.target.bootstrap();
    let text = format!(
        "[relay]\nid = \"test\"\ndata_dir = \"{}\"\n[[source]]\ntype = \"http\"\nlisten = \"127.0.0.1:1\"\n\
         [[destination]]\nname = \"home\"\nbootstrap = [\"{bootstrap}\"]\nlinger = \"0ms\"\n\
         {more}[[route]]\nstreams = [\"*\"]\nto = \"home\"\ntopic = \"{TOPIC}\"\n[admin]\nlisten = \"off\"\n",
        data.display()
    );
    let mut config = match load_text("test.toml", &text, &Environment::Absent) {
        Ok(loaded) => loaded.config,
        Err(report) => panic!("{report:?}"),
    };
    config.spool.segment_size = 64 << 10;
    config.spool.max_size = Some(64 << 20);
    config.spool.reserve = 0;
    config.spool.compression = SpoolCompression::None;
    config
}

impl Agent<'_> {
    /// Accepts the events with these numbers, ten a batch.
    pub(super) fn accept(&self, numbers: std::ops::Range<u64>) {
        let stream = StreamName::new("s").unwrap();
        for ten in numbers.collect::<Vec<_>>().chunks(10) {
            let mut batch = EventBatch::new();
            for number in ten {
                batch.push(&Event::of_value(format!("{number:0>1000}").as_bytes()));
            }
            let lane = self.lane();
            let appended =
                self.world.runtime.block_on(lane.append(stream.clone(), batch, Patience::For(LIMIT)));
            appended.unwrap();
        }
    }

    /// Its only lane.
    fn lane(&self) -> &Lane {
        &self.stand.lanes.iter().next().unwrap().lane
    }

    fn delivery(&self) -> &Delivery {
        self.stand.lanes.deliveries().next().unwrap()
    }

    pub(super) fn account(&self) -> Account {
        self.delivery().board().account_row(self.lane().durable())
    }

    /// Waits until everything accepted counts as settled.
    pub(super) fn settle(&self) {
        let settled = self.delivery().settled(self.lane().durable());
        let settled = self.world.runtime.block_on(async { tokio::time::timeout(LIMIT, settled).await });
        assert!(settled.is_ok(), "not drained: {:?}", self.account());
    }

    /// What its delivery says is worth knowing.
    pub(super) fn notes(&self) -> Vec<String> {
        self.delivery().board().destination_row(self.lane().durable(), 0).notes
    }

    /// Waits until there are so many notes.
    pub(super) fn await_notes(&self, many: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.notes().len() != many {
            assert!(Instant::now() < deadline, "{:?}", self.notes());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until everything is settled and counted; checks that the account adds up.
    pub(super) fn drain(&self) -> Account {
        self.settle();
        let last = self.lane().durable();
        let deadline = Instant::now() + LIMIT;
        loop {
            let account = self.account();
            if account.pending == 0 {
                assert_eq!(account.accepted, last.next().0 - account.since_seq.0, "{account:?}");
                return account;
            }
            assert!(Instant::now() < deadline, "{account:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Notes a row down in the ledger and lists it.
    pub(super) fn use_ledger(&self) {
        self.use_ledger_after("nothing");
    }

    /// The same, where `harm` was done.
    pub(super) fn use_ledger_after(&self, harm: &str) {
        let key = Key {
            lane: LaneName::new("main").unwrap(),
            destination: crate::ids::DestinationName::new("zz").unwrap(),
            segment: SegmentId(1),
        };
        let row = Row {
            key,
            run: None,
            first_seq: Seq(1),
            last_seq: Seq(1),
            accepted: 1,
            delivered: 1,
            filtered: 0,
            dead_lettered: 0,
            dropped: 0,
            lost_to_damage: 0,
            hash: 7,
            finished_at: 1,
        };
        let ledger = &self.stand.ledger;
        ledger.record(row.clone()).unwrap();
        // On a machine that has much to do, its thread may not get round to an answer in the time that callers wait.
        let deadline = Instant::now() + LIMIT;
        let insist = |ask: &dyn Fn() -> Result<Page, LedgerError>| loop {
            match ask() {
                Err(LedgerError::Busy(_)) if Instant::now() < deadline => {}
                answer => return answer.unwrap_or_else(|e| panic!("{harm}: {e}")),
            }
        };
        insist(&|| ledger.flush().map(|()| Page::default()));
        let page = insist(&|| ledger.page(&Query { limit: 1000, ..Query::default() }));
        assert!(page.rows.contains(&row), "{harm}: {page:?}");
    }

    /// Stops it in order.
    pub(super) fn stop(self) {
        self.stop_within(Duration::from_secs(3));
    }

    pub(super) fn stop_within(self, patience: Duration) {
        self.stand.lanes.iter().for_each(|open| open.lane.close());
        for delivery in self.stand.lanes.deliveries() {
            delivery.close(Instant::now() + patience);
            self.world.runtime.block_on(delivery.disconnect());
        }
        self.stand.copying().get().into_iter().for_each(crate::deliver::Copies::close);
        self.stand.ledger.close();
    }
}

impl Topic {
    /// Everything in it, in order.
    pub(super) fn records(&self) -> Vec<Record> {
        self.records_of(TOPIC)
    }

    pub(super) fn records_of(&self, topic: &str) -> Vec<Record> {
        let mut records = Vec::new();
        for (_, bytes) in self.target.batches(topic, 0).unwrap() {
            for batch in BatchReader::new(&bytes, 64 << 20) {
                for record in batch.unwrap().records() {
                    let record = record.unwrap();
                    let ours = record.headers.last(header::NAME).unwrap().unwrap();
                    let text = std::str::from_utf8(record.value.unwrap()).unwrap();
                    records.push((text.parse().unwrap(), RecordHeader::decode(ours).unwrap()));
                }
            }
        }
        records
    }

    /// Numbers of the events in it, with how often each is there.
    pub(super) fn copies(&self) -> BTreeMap<u64, u32> {
        let mut copies = BTreeMap::new();
        self.records().iter().for_each(|(number, _)| *copies.entry(*number).or_default() += 1);
        copies
    }
}

/// A data directory at two moments, and what the outside knows.
pub(super) struct Base {
    pub(super) world: World,
    /// After events 0..200 were delivered.
    pub(super) early: PathBuf,
    /// Later: 200..400 delivered too, 400..500 accepted and not delivered.
    pub(super) late: PathBuf,
    delivered: BTreeSet<u64>,
}

/// What a trial found.
#[derive(Debug)]
pub(super) struct Found {
    /// Accepted events that the destination does not hold.
    pub(super) missing: Vec<u64>,
    /// Copies beyond the first.
    pub(super) doubled: u64,
    pub(super) account: Account,
    pub(super) life: crate::spool::Life,
}

impl Found {
    #[track_caller]
    pub(super) fn assert_lossless(&self, harm: &str) {
        assert!(self.missing.is_empty(), "{harm}: {self:?}");
    }
}

impl Base {
    /// Lives through it.
    pub(super) fn live() -> Self {
        let world = World::new();
        let (data, topic) = (world.place(), world.topic());
        let agent = world.start(&data, &topic).unwrap();
        agent.accept(0..200);
        agent.drain();
        agent.use_ledger();
        agent.stop();
        let early = world.copy(&data);
        let agent = world.start(&data, &topic).unwrap();
        agent.accept(200..400);
        agent.drain();
        agent.use_ledger();
        // In the same segment, so that a lost position doubles something.
        world.runtime.block_on(topic.target.faults().cut());
        agent.accept(400..500);
        agent.stop_within(Duration::ZERO);
        let delivered: BTreeSet<u64> = topic.copies().keys().copied().collect();
        assert_eq!(delivered.len(), 400);
        Self { early, late: data, delivered, world }
    }

    /// Runs an agent on a copy of `data` to which `harm` was done. `known`: how many events had been accepted.
    pub(super) fn trial(&self, data: &Path, known: u64, harm: impl FnOnce(&Path)) -> Found {
        let dir = self.world.copy(data);
        harm(&dir);
        let found = self.run(&dir, known);
        std::fs::remove_dir_all(&dir).unwrap();
        found
    }

    fn run(&self, dir: &Path, known: u64) -> Found {
        let topic = self.world.topic();
        let agent = self.world.start(dir, &topic).unwrap_or_else(|e| panic!("does not start: {e}"));
        let life = agent.stand.data.life();
        agent.drain();
        agent.accept(1000..1010);
        let account = agent.drain();
        agent.use_ledger();
        agent.stop();
        let copies = topic.copies();
        let accepted = (0..known).chain(1000..1010);
        let there = |n: &u64| copies.contains_key(n) || self.delivered.contains(n);
        let missing = accepted.filter(|n| !there(n)).collect();
        let again = |(n, count): (&u64, &u32)| u64::from(*count) - u64::from(!self.delivered.contains(n));
        Found { missing, doubled: copies.iter().map(again).sum(), account, life }
    }
}

/// As `cp -a` does. Of a running agent's directory a segment that was listed may be gone by then.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            match std::fs::copy(entry.path(), target) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}
