//! A host: disk, clock, lane and a consumer that keeps its position.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::{lane_name, settings, stream};
use super::witness::{Mark, Witness};
use crate::config::model::{Spool, SpoolCompression, Sync};
use crate::disk::sim::{SimFs, World};
use crate::disk::{Slots, TRIES};
use crate::event::{Event, EventBatch};
use crate::ids::{Seq, SeqRange};
use crate::intake::AcceptError;
use crate::metrics::Metrics;
use crate::sabotage::{self, Bug};
use crate::spool::stepped::{Heard, SteppedHost, SteppedLane};
use crate::spool::{DataDir, Hole, HoleCause, Item};

/// Turns of the writer that a sender waits.
const TURNS: usize = 3;
const POSITION: &str = "position";
/// Nothing is synced here at a longer one.
pub(crate) const LONGEST_INTERVAL: Duration = Duration::from_millis(250);

/// How many changes the disk has refused.
pub(crate) fn refusals(fs: &SimFs) -> usize {
    fs.hits().iter().filter(|(_, call)| call.changes()).count()
}

/// Settings with which two events of [`Step::Large`] fill a segment.
pub(crate) fn small() -> Spool {
    Spool { segment_size: 13 << 10, compression: SpoolCompression::None, ..settings() }
}

/// What can happen at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    /// One small event.
    Small,
    /// Two senders and two streams in one commit.
    Group,
    /// An event after which there is no room for another one in the segment: rotation.
    Large,
    /// Nobody sends for a while: a mark.
    Idle,
    /// The helper does its work.
    Tidy,
    /// Everything durable is delivered, and the position saved, synced, and made known.
    Consume,
    /// The same, without the sync.
    Peek,
    /// An orderly stop and start.
    Reopen,
    /// kill -9 and start: what was written stays in the page cache.
    Kill,
}

impl Step {
    pub(crate) const ALL: [Step; 9] = [
        Step::Small,
        Step::Group,
        Step::Large,
        Step::Idle,
        Step::Tidy,
        Step::Consume,
        Step::Peek,
        Step::Reopen,
        Step::Kill,
    ];
}

pub(crate) struct Site {
    pub(crate) fs: SimFs,
    pub(crate) host: Arc<SteppedHost>,
    /// The data directory, as the configuration has it.
    pub(crate) place: &'static Path,
    settings: Spool,
    metrics: Arc<Metrics>,
    open: Option<Open>,
    seed: u64,
    /// Something was damaged: to say that events are lost is right.
    pub(crate) damaged: bool,
    /// Its data directory is complete: no room is needed to start on it.
    made: bool,
}

struct Open {
    lane: SteppedLane<SimFs>,
    slots: Slots<SimFs>,
    position: Seq,
}

impl Site {
    /// A host that is about to start its agent.
    pub(crate) fn new(fs: SimFs, seed: u64, settings: &Spool, metrics: &Arc<Metrics>) -> Self {
        let host = Arc::new(SteppedHost::new(seed));
        Self {
            fs,
            host,
            place: Path::new("/data"),
            settings: settings.clone(),
            metrics: Arc::clone(metrics),
            open: None,
            seed,
            damaged: false,
            made: false,
        }
    }

    /// Starts the agent.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let said = |e: &dyn std::fmt::Display| format!("it does not start: {e}");
        let host = Arc::clone(&self.host);
        let data = DataDir::open_on(self.fs.clone(), self.place, host).map_err(|e| said(&e))?;
        let (slots, value) = Slots::open(&self.fs, &self.place.join(POSITION), 64).map_err(|e| said(&e))?;
        let saved = value.and_then(|v| v.try_into().ok()).map(|v| Seq(u64::from_le_bytes(v)));
        let lane =
            SteppedLane::open(&data, lane_name(), &self.settings, saved.unwrap_or(Seq::FIRST), &self.metrics);
        let lane = lane.map_err(|e| said(&e))?;
        let position = saved.unwrap_or(Seq::FIRST);
        self.open = Some(Open { lane, slots, position });
        Ok(())
    }

    /// Starts the agent, if the disk lets it.
    pub(crate) fn try_start(&mut self, witness: &mut Witness) -> Result<(), String> {
        let (before, world, refused) = (self.fs.hits().len(), self.fs.world(), refusals(&self.fs));
        let started = self.start();
        if refusals(&self.fs) > refused {
            // What only the page cache held of the killed process may be gone.
            witness.forfeit();
        }
        let unread = self.fs.hits().iter().skip(before).filter(|(_, call)| !call.changes()).count();
        if started.is_ok() && unread >= TRIES as usize {
            witness.give_up(self.unread_of_the_end(world)?);
        }
        match started {
            Err(_) if self.fs.is_broken() || (!self.made && self.fs.is_bounded()) => Ok(()),
            started => {
                self.made |= started.is_ok();
                started
            }
        }
    }

    /// What a start would have found on that disk in the last segment, beyond the end that this one has found there: the disk did not give
    /// it all of that, and what it did not give is given up. One that does not find the segment at all has to fail.
    fn unread_of_the_end(&mut self, world: World) -> Result<SeqRange, String> {
        let mut whole =
            Self { place: self.place, ..Self::new(SimFs::of(world), 1, &self.settings, &Metrics::new()) };
        whole.start()?;
        let last = |site: &mut Self| Ok::<_, String>(site.lane()?.lane().found_last());
        let (id, base, end) = last(&mut whole)?;
        let (found, _, upto) = last(self)?;
        if found != id {
            return Err(format!(
                "it starts without segment {id:?}, the last one; {found:?} is taken for that"
            ));
        }
        Ok(SeqRange::new(upto.max(base), end))
    }

    /// The fault is over: it accepts, without a restart if it runs, and everything arrives.
    pub(crate) fn lives_on(&mut self, witness: &mut Witness) -> Result<(), String> {
        if self.open.is_none() {
            self.start()?;
        }
        let mut accepted = Vec::new();
        for _ in 0..5 {
            accepted = self.append(&[("new", &[50])], witness)?;
            if !accepted.is_empty() {
                break;
            }
            self.host.advance(Duration::from_secs(6));
            self.lane()?.turn();
        }
        let Some(mark) = accepted.first() else { return Err("no new event is accepted".to_owned()) };
        if self.settings.sync != Sync::Always {
            // It is delivered once it is durable.
            self.step(Step::Idle, witness)?;
        }
        self.step(Step::Consume, witness)?;
        self.step(Step::Tidy, witness)?;
        if !witness.is_delivered(*mark) {
            return Err("a new event was accepted and is not delivered".to_owned());
        }
        Ok(())
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.open = None;
        // Another process draws other numbers.
        self.seed = self.seed.wrapping_add(0x5bd1_e995);
        self.host = Arc::new(SteppedHost::new(self.seed));
    }

    /// Time passes, and the writer looks what is due.
    pub(crate) fn wait(&mut self, time: Duration, witness: &mut Witness) -> Result<(), String> {
        let refusals = refusals(&self.fs);
        self.host.advance(time);
        self.lane()?.turn();
        if time >= LONGEST_INTERVAL && self::refusals(&self.fs) == refusals {
            witness.firm(self.fs.calls());
        }
        Ok(())
    }

    /// An orderly stop, after which everything is durable.
    pub(crate) fn close_before(&mut self, witness: &mut Witness) {
        let refusals = refusals(&self.fs);
        // One that was killed, and could not be started since, has nobody who makes anything durable.
        let was_open = self.is_open();
        self.close();
        if was_open && self::refusals(&self.fs) == refusals {
            witness.firm(self.fs.calls());
        }
    }

    pub(crate) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.lane.close();
        }
        self.kill();
    }

    fn open(&mut self) -> Result<&mut Open, String> {
        self.open.as_mut().ok_or_else(|| "it is not open".to_owned())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn lane(&mut self) -> Result<&mut SteppedLane<SimFs>, String> {
        Ok(&mut self.open()?.lane)
    }

    /// Does a step. An error is a promise that was broken.
    pub(crate) fn step(&mut self, step: Step, witness: &mut Witness) -> Result<(), String> {
        if self.open.is_none() {
            // An earlier step could not start it. Whoever supervises it tries again.
            self.try_start(witness)?;
            if self.open.is_none() {
                return Ok(());
            }
        }
        match step {
            Step::Small => self.append(&[("a", &[200])], witness).map(|_| ()),
            Step::Group => self.append(&[("b", &[60, 90]), ("a", &[70]), ("b", &[10])], witness).map(|_| ()),
            Step::Large => self.append(&[("a", &[3000])], witness).map(|_| ()),
            Step::Idle => self.wait(LONGEST_INTERVAL, witness),
            Step::Tidy => {
                while self.lane()?.tidy() {}
                Ok(())
            }
            Step::Consume => self.consume(true, witness),
            Step::Peek => self.consume(false, witness),
            Step::Reopen => {
                self.close_before(witness);
                self.try_start(witness)
            }
            Step::Kill => {
                self.kill();
                self.try_start(witness)
            }
        }
    }

    /// Sends events at once; returns those that were acknowledged.
    pub(crate) fn append(
        &mut self,
        requests: &[(&str, &[usize])],
        witness: &mut Witness,
    ) -> Result<Vec<Mark>, String> {
        let mut marks = Vec::new();
        let mut batches = Vec::new();
        for (name, sizes) in requests {
            let of: Vec<Mark> = sizes.iter().map(|_| witness.send(name)).collect();
            let mut batch = EventBatch::new();
            of.iter().zip(*sizes).for_each(|(mark, size)| batch.push(&Event::of_value(&value(*mark, *size))));
            batches.push((stream(name), batch));
            marks.push(of);
        }
        let fs = self.fs.clone();
        let heard = self.lane()?.append(batches, TURNS, move || fs.calls());
        let mut acknowledged = Vec::new();
        for (marks, heard) in marks.into_iter().zip(heard) {
            match heard {
                Heard::Answer(Ok(appended), at) => {
                    for (seq, mark) in (appended.first.0..).zip(&marks) {
                        witness.acknowledge(*mark, Seq(seq), at)?;
                    }
                    acknowledged.extend(marks);
                }
                Heard::Answer(Err(AcceptError::Refused(_)), _) => {
                    marks.into_iter().for_each(|m| witness.refuse(m));
                }
                Heard::Answer(Err(_), _) | Heard::Nothing => {}
            }
        }
        Ok(acknowledged)
    }

    /// Reads everything durable behind the position. What is lost is a broken promise.
    pub(crate) fn read(&mut self, witness: &mut Witness) -> Result<(BTreeMap<Mark, Seq>, Seq), String> {
        let from = self.open()?.position;
        self.read_from(from, witness)
    }

    /// The same from the first number that ever was.
    pub(crate) fn read_from_the_first(&mut self, witness: &mut Witness) -> Result<(), String> {
        self.read_from(Seq::FIRST, witness).map(|_| ())
    }

    fn read_from(&mut self, from: Seq, witness: &mut Witness) -> Result<(BTreeMap<Mark, Seq>, Seq), String> {
        let (found, holes, end) = self.go_over(from, witness)?;
        for hole in holes {
            match hole.cause {
                HoleCause::Dropped => witness.drop_numbers(hole.range),
                HoleCause::Released => {}
                _ if self.damaged || witness.may_be_lost(hole.range) => {}
                _ => return Err(format!("{hole:?} is said to be lost")),
            }
        }
        Ok((found, end))
    }

    /// Everything behind the position, and what is said to be lost.
    pub(crate) fn read_with_holes(
        &mut self,
        witness: &mut Witness,
    ) -> Result<(BTreeMap<Mark, Seq>, Vec<Hole>), String> {
        let from = self.open()?.position;
        self.go_over(from, witness).map(|(found, holes, _)| (found, holes))
    }

    fn go_over(&mut self, from: Seq, witness: &mut Witness) -> Result<Read, String> {
        let mut reader = self.open()?.lane.lane().reader(from);
        let (mut found, mut holes) = (BTreeMap::new(), Vec::new());
        // What can't be read counts as damaged when it has been asked for often enough, and for long enough.
        let mut patience = if self.damaged { 1000 } else { 0 };
        loop {
            match reader.next() {
                Err(_) if patience > 0 => {
                    patience -= 1;
                    self.host.advance(Duration::from_secs(60));
                }
                // The disk does not answer for now.
                Err(_) | Ok(None) => return Ok((found, holes, reader.position())),
                Ok(Some(Item::Block(block))) => {
                    for (seq, event) in (block.first.0..).zip(block.events()) {
                        let event = event.map_err(|e| format!("event {seq} cannot be decoded: {e}"))?;
                        let mark = mark_of(event.value.unwrap_or_default())?;
                        witness.see(block.run, Seq(seq), block.stream.as_str(), mark)?;
                        if found.insert(mark, Seq(seq)).is_some() {
                            return Err(format!("event {mark} is there twice"));
                        }
                    }
                }
                Ok(Some(Item::Hole(hole))) => holes.push(hole),
                Ok(Some(Item::Skipped(..))) => return Err("skipped unasked".to_owned()),
            }
        }
    }

    /// As delivery does it: the destination has the events, then the position is durable, then segments go.
    fn consume(&mut self, sync: bool, witness: &mut Witness) -> Result<(), String> {
        let (found, position) = self.read(witness)?;
        let early = sabotage::commits(Bug::PositionBeforeAcknowledgement);
        let fs = self.fs.clone();
        let mut deliver = || found.keys().for_each(|mark| witness.deliver(*mark, fs.calls()));
        if !early {
            deliver();
        }
        let kept = self.keep(position, sync);
        if early {
            deliver();
        }
        if let (Ok(()), true) = (kept, sync) {
            self.open()?.lane.lane().release(position);
        }
        Ok(())
    }

    fn keep(&mut self, position: Seq, sync: bool) -> Result<(), String> {
        let open = self.open()?;
        open.position = position;
        let kept = open.slots.save(&position.0.to_le_bytes());
        let kept = kept.and_then(|()| if sync { open.slots.sync() } else { Ok(()) });
        kept.map_err(|e| e.to_string())
    }
}

/// Events that were read, what is said to be missing, and where reading ended.
type Read = (BTreeMap<Mark, Seq>, Vec<Hole>, Seq);

/// Bytes that say which event they are.
fn value(mark: Mark, size: usize) -> Vec<u8> {
    let mut bytes = vec![b'.'; size.max(8)];
    bytes[..8].copy_from_slice(&mark.to_le_bytes());
    bytes
}

fn mark_of(value: &[u8]) -> Result<Mark, String> {
    let (mark, rest) = value.split_first_chunk::<8>().ok_or_else(|| format!("a strange event: {value:?}"))?;
    if rest.iter().any(|b| *b != b'.') {
        return Err(format!("an event of strange bytes: {value:?}"));
    }
    Ok(u64::from_le_bytes(*mark))
}
