//! A data directory in which one of everything stands, at two moments, and trials on copies of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::world::{Agent, LIMIT, TOPIC, Topic, World, config, copy};
use crate::config::model::{Config, Lane, Stream};
use crate::disk::{Fs as _, RealFs};
use crate::event::{Event, EventBatch};
use crate::ids::{LaneName, SpoolId, StreamName, TopicName};
use crate::intake::Patience;
use crate::spool::salvage::Old;
use crate::state::letters;
use crate::state::overrides::{Override, Overrides};

/// A topic that is missing while the directory lives, so that its events are parked.
const UNMADE: &str = "unmade";
/// A topic that refuses all of them.
const REFUSED: &str = "refused";
/// Where letters are copied to.
const GRAVEYARD: &str = "graveyard";
const TOO_LARGE: i16 = 10;

type Numbers = BTreeSet<u64>;

/// See the module.
pub(super) struct Full {
    pub(super) world: World,
    pub(super) early: PathBuf,
    pub(super) late: PathBuf,
    /// What was accepted, by the first moment and by the second.
    pub(super) known: [Numbers; 2],
    /// Of that, what waits for the missing topic, and what was refused.
    pub(super) parked: Numbers,
    pub(super) refused: Numbers,
    /// What the destination had by the second moment, and what of it the agent had heard nothing of.
    pub(super) delivered: Numbers,
    pub(super) in_doubt: Numbers,
}

/// What a trial found.
#[derive(Debug)]
pub(super) struct Found {
    /// Accepted, and neither arrived nor a dead letter.
    pub(super) missing: Numbers,
    /// Counted as lost by the agent.
    pub(super) counted: u64,
    /// Sent again, though it counted as delivered.
    pub(super) again: Numbers,
}

fn configured(data: &Path, topic: &Topic, moved: bool) -> Config {
    let route = |stream: &str, topic: &str| {
        format!("[[route]]\nstreams = [\"{stream}\"]\nto = \"home\"\ntopic = \"{topic}\"\n")
    };
    let mut config = config(data, topic, &(route("q", UNMADE) + &route("d", REFUSED)));
    // A segment an event, so that there is a catalogue; and they stay.
    config.spool.segment_size = 1 << 10;
    config.spool.retain_delivered = Duration::from_secs(3600);
    config.dead_letters.topic = Some(TopicName::new(GRAVEYARD).unwrap());
    let name = LaneName::new("side").unwrap();
    let mut side = Lane { name: name.clone(), spool: config.spool.clone(), first: false };
    side.spool.segment_size = 32 << 10;
    side.spool.max_size = Some(256 << 10);
    side.spool.park_size = Some(16 << 20);
    side.spool.retain_delivered = Duration::ZERO;
    config.lanes = vec![side];
    let streams = if moved { &["q", "m"][..] } else { &["q"] };
    config.streams = streams.iter().map(|s| Stream { name: (*s).to_owned(), lane: name.clone() }).collect();
    let overrides = Overrides::read(data, "");
    overrides.applied(&config)
}

/// What is in the directory beside segments, and beside what segments are in; relative to it.
pub(super) fn beside(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_owned();
            if path.is_dir() {
                left.push(path);
            }
            let is_log = name == Path::new("lanes")
                || name.parent() == Some(Path::new("lanes"))
                || name.extension().is_some_and(|e| e == "seg");
            if !is_log {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

impl Agent<'_> {
    fn lane_of(&self, name: &str) -> &crate::spool::Lane {
        &self.stand.lanes.iter().find(|open| open.lane.name().as_str() == name).unwrap().lane
    }

    /// Accepts events with these numbers, each by itself.
    fn take(&self, (lane, stream): (&str, &str), numbers: std::ops::Range<u64>) {
        let stream = StreamName::new(stream).unwrap();
        for number in numbers {
            let mut batch = EventBatch::new();
            batch.push(&Event::of_value(format!("{number:0>1000}").as_bytes()));
            let appended = self.lane_of(lane).append(stream.clone(), batch, Patience::For(LIMIT));
            self.world.runtime.block_on(appended).unwrap();
        }
    }

    /// Events pending and lost, of all lanes.
    fn sums(&self) -> (u64, u64) {
        let lanes = self.stand.lanes.iter();
        let rows = lanes.flat_map(|open| {
            let durable = open.lane.durable();
            open.deliveries.iter().map(move |delivery| delivery.board().account_row(durable))
        });
        rows.fold((0, 0), |(pending, lost), row| (pending + row.pending, lost + row.lost_to_damage))
    }

    /// Waits until so many are pending, and the side lane has parked what fills it.
    fn wait_pending(&self, pending: u64, harm: &str) -> u64 {
        let deadline = Instant::now() + LIMIT;
        loop {
            let (left, lost) = self.sums();
            if left == pending && !self.lane_of("side").is_half_full() {
                return lost;
            }
            assert!(Instant::now() < deadline, "{harm}: {left} are pending instead of {pending}");
            std::thread::sleep(Duration::from_millis(1)); // threads of its own count
        }
    }
}

impl Full {
    /// Lives through it.
    pub(super) fn live() -> Self {
        let world = World::new();
        let (data, topic) = (world.place(), world.topics(&[TOPIC, REFUSED, GRAVEYARD]));
        topic.target.faults().refuse_produce(REFUSED, 0, TOO_LARGE, u32::MAX);
        std::fs::create_dir(&data).unwrap();
        let route = Override {
            stream: "set".to_owned(),
            to: "home".to_owned(),
            topic: TOPIC.to_owned(),
            pinned: true,
            at: 7,
        };
        let set = Overrides { files: 0, set: vec![route] };
        set.keep(&RealFs, &data).unwrap();
        let agent = world.start_by(&configured(&data, &topic, false)).unwrap();
        agent.take(("main", "s"), 0..270);
        agent.take(("main", "d"), 300..304);
        agent.take(("side", "q"), 400..600);
        agent.take(("main", "m"), 700..710);
        agent.wait_pending(200, "");
        agent.use_ledger();
        agent.stop();
        let early = world.copy(&data);
        let agent = world.start_by(&configured(&data, &topic, true)).unwrap();
        agent.take(("side", "m"), 710..720);
        agent.take(("main", "s"), 800..820);
        agent.take(("main", "d"), 304..306);
        agent.take(("side", "q"), 600..620);
        agent.wait_pending(220, "");
        agent.use_ledger();
        // Of some it does not hear that they have arrived, of others it does not know whether they have left.
        topic.target.faults().hold_answers();
        agent.take(("main", "s"), 820..830);
        let mut counts = topic.target.counts();
        let held = counts.wait_for(|counts| counts.unanswered > 0);
        world.runtime.block_on(async { tokio::time::timeout(LIMIT, held).await.unwrap().unwrap() });
        world.runtime.block_on(topic.target.faults().cut());
        agent.take(("main", "s"), 830..850);
        agent.stop_within(Duration::ZERO);
        let (parked, refused): (Numbers, Numbers) = ((400..620).collect(), (300..306).collect());
        let early_on = (0..270).chain(300..304).chain(400..600).chain(700..710);
        let later = (304..306).chain(600..620).chain(710..720).chain(800..850);
        let delivered: Numbers = topic.copies().keys().copied().collect();
        let in_doubt = delivered.iter().copied().filter(|n| (820..830).contains(n)).collect();
        let known = [early_on.clone().collect(), early_on.chain(later).collect()];
        let base = Self { world, early, late: data, known, parked, refused, delivered, in_doubt };
        assert_eq!(base.letters(&base.late), base.refused, "each was refused");
        base
    }

    /// Runs an agent on a copy of `data` to which `harm` was done.
    pub(super) fn trial(&self, data: &Path, harm: &str, does: impl FnOnce(&Path)) -> Found {
        let dir = self.world.copy(data);
        refit(&dir);
        does(&dir);
        let found = self.run(&dir, usize::from(data == self.late), harm);
        std::fs::remove_dir_all(&dir).unwrap();
        found
    }

    fn run(&self, dir: &Path, moment: usize, harm: &str) -> Found {
        let topic = self.world.topics(&[TOPIC, UNMADE, REFUSED, GRAVEYARD]);
        let agent = self.world.start_by(&configured(dir, &topic, true));
        let agent = agent.unwrap_or_else(|e| panic!("{harm}: does not start: {e}"));
        agent.wait_pending(0, harm);
        for (lane, stream, from) in [("main", "s", 9000), ("side", "q", 9010), ("side", "m", 9020)] {
            agent.take((lane, stream), from..from + 5);
        }
        let counted = agent.wait_pending(0, harm);
        agent.use_ledger_after(harm);
        agent.stop();
        let mut there = Numbers::new();
        for name in [TOPIC, UNMADE, REFUSED] {
            there.extend(topic.records_of(name).into_iter().map(|(number, _)| number));
        }
        let again =
            there.intersection(&self.delivered).filter(|n| !self.in_doubt.contains(n)).copied().collect();
        there.extend(self.letters(dir));
        let fresh = [9000, 9010, 9020].into_iter().flat_map(|from| from..from + 5);
        let accepted = self.known[moment].iter().copied().chain(fresh);
        let missing = accepted.filter(|n| !there.contains(n) && !self.delivered.contains(n)).collect();
        Found { missing, counted, again }
    }

    /// The numbers of the dead letters in a directory.
    pub(super) fn letters(&self, dir: &Path) -> Numbers {
        let spool: SpoolId = Old::identify(&RealFs, dir).unwrap();
        let found = letters::look(&RealFs, dir, spool, usize::MAX, |_| true).unwrap();
        let number = |stored: &letters::Stored| {
            std::str::from_utf8(stored.letter.event().unwrap().value.unwrap()).unwrap().parse().unwrap()
        };
        found.letters.iter().map(number).collect()
    }
}

/// A catalogue knows files by their inodes and when they were changed; those of a copy are others.
pub(super) fn refit(dir: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let (version, head, entry) = (2, 24, 72);
    for lane in ["main", "side"] {
        let lane = dir.join("lanes").join(lane);
        let Ok(mut bytes) = std::fs::read(lane.join("catalogue")) else { continue };
        if bytes[8] != version {
            continue;
        }
        for row in bytes[head..].chunks_exact_mut(entry) {
            let segment = u64::from_le_bytes(row[..8].try_into().unwrap());
            let path = lane.join(format!("{segment:020}.seg"));
            let inode = std::fs::metadata(&path).map_or(0, |m| m.ino());
            let changed = RealFs.version(&path).map_or(0, |version| version.changed);
            row[8..16].copy_from_slice(&inode.to_le_bytes());
            row[24..32].copy_from_slice(&changed.to_le_bytes());
        }
        let sum = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        std::fs::write(lane.join("catalogue"), bytes).unwrap();
    }
}

/// Puts `part` of one directory in the place of that of the other.
pub(super) fn put(from: &Path, into: &Path) {
    super::files::make(into, "nothing");
    if from.is_dir() {
        copy(from, into);
    } else {
        std::fs::copy(from, into).unwrap();
    }
}
