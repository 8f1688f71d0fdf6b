//! Who remembers what was promised.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::model::{Spool, Sync};
use crate::ids::{RunId, Seq, SeqRange};

/// What makes an event this event and no other: the witness gives each a number of its own.
pub(crate) type Mark = u64;

/// Calls of the disk that were done when something happened.
pub(crate) type At = u64;

#[derive(Debug, Clone, Default)]
pub(crate) struct Witness {
    /// Stream of every event that was ever sent.
    sent: BTreeMap<Mark, String>,
    /// Number and moment of every acknowledgement.
    acknowledged: BTreeMap<Mark, (Seq, At)>,
    /// Events that the destination has, and since when.
    delivered: BTreeMap<Mark, At>,
    /// Which event an identity was seen to name.
    identities: BTreeMap<(u64, Seq), Mark>,
    /// The sender heard that nothing was kept of these.
    refused: BTreeSet<Mark>,
    /// With `sync = <interval>`: since when a power cut may not take what was acknowledged. `None`: at once.
    firm: Option<BTreeMap<Mark, At>>,
    /// Where intervals come and go: what is acknowledged now is durable already.
    at_once: bool,
    /// Accepted at an interval, and the disk refused something before that was over; or a start could not read them: they may be
    /// there, or be counted as lost.
    forfeited: BTreeSet<Seq>,
}

impl Witness {
    /// Of an agent with these settings.
    pub(crate) fn of(settings: &Spool) -> Self {
        let firm = (settings.sync != Sync::Always).then(BTreeMap::new);
        Self { firm, ..Self::default() }
    }

    /// Of an agent that is given one policy after the other.
    pub(crate) fn of_many() -> Self {
        Self { firm: Some(BTreeMap::new()), at_once: true, ..Self::default() }
    }

    /// What is accepted from here on is accepted so.
    pub(crate) fn goes_on_with(&mut self, sync: Sync) {
        self.at_once = sync == Sync::Always;
    }

    /// The disk has refused a change: what was accepted at an interval and is not known to be durable is promised no more.
    pub(crate) fn forfeit(&mut self) {
        let Some(firm) = &self.firm else { return };
        let gone = self.acknowledged.extract_if(.., |mark, _| !firm.contains_key(mark));
        self.forfeited.extend(gone.map(|(_, (seq, _))| seq));
    }

    /// A start could not read these, of the last segment, however often it asked.
    pub(crate) fn give_up(&mut self, range: SeqRange) {
        self.drop_numbers(range);
        self.forfeited.extend((range.first.0..range.end.0).map(Seq));
    }

    /// How many numbers may be said to be lost.
    pub(crate) fn most_lost(&self) -> u64 {
        self.forfeited.len() as u64
    }

    /// Whether all of these may be said to be lost.
    pub(crate) fn may_be_lost(&self, range: SeqRange) -> bool {
        (range.first.0..range.end.0).all(|seq| self.forfeited.contains(&Seq(seq)))
    }

    /// An interval is over, or the agent was stopped: what was acknowledged is durable by now.
    pub(crate) fn firm(&mut self, at: At) {
        let Some(firm) = &mut self.firm else { return };
        self.acknowledged.keys().for_each(|mark| {
            firm.entry(*mark).or_insert(at);
        });
    }

    /// What holds though the power goes, of what was promised when so many calls were done.
    pub(crate) fn at_power_cut(&self, at: At) -> Self {
        let mut then = self.at(at);
        if let Some(firm) = &self.firm {
            then.acknowledged.retain(|mark, _| firm.get(mark).is_some_and(|when| *when <= at));
        }
        then
    }

    pub(crate) fn send(&mut self, stream: &str) -> Mark {
        let mark = self.sent.len() as Mark + 1;
        self.sent.insert(mark, stream.to_owned());
        mark
    }

    pub(crate) fn refuse(&mut self, mark: Mark) {
        self.refused.insert(mark);
    }

    pub(crate) fn acknowledge(&mut self, mark: Mark, seq: Seq, at: At) -> Result<(), String> {
        if let Some((other, _)) = self.acknowledged.iter().find(|(_, (s, _))| *s == seq) {
            return Err(format!("number {seq} was acknowledged for event {other} and for event {mark}"));
        }
        self.acknowledged.insert(mark, (seq, at));
        // Numbers of what a power cut took are given again.
        self.forfeited.remove(&seq);
        if let Some(firm) = self.firm.as_mut().filter(|_| self.at_once) {
            firm.insert(mark, at);
        }
        Ok(())
    }

    pub(crate) fn deliver(&mut self, mark: Mark, at: At) {
        self.delivered.entry(mark).or_insert(at);
    }

    pub(crate) fn is_delivered(&self, mark: Mark) -> bool {
        self.delivered.contains_key(&mark)
    }

    /// An event was read back: it has to be one that was sent, and its identity its own.
    pub(crate) fn see(&mut self, run: RunId, seq: Seq, stream: &str, mark: Mark) -> Result<(), String> {
        match self.sent.get(&mark) {
            Some(of) if of == stream => {}
            Some(of) => return Err(format!("event {mark} of stream {of} was read as one of {stream}")),
            None => return Err(format!("event {mark} was read and never sent")),
        }
        if self.refused.contains(&mark) {
            return Err(format!("event {mark} was refused and is there"));
        }
        if let Some((acknowledged, _)) = self.acknowledged.get(&mark)
            && *acknowledged != seq
        {
            return Err(format!("event {mark} was acknowledged as {acknowledged} and read as {seq}"));
        }
        match self.identities.insert((run.0, seq), mark) {
            Some(other) if other != mark => {
                Err(format!("run {run} number {seq} names event {other} and event {mark}"))
            }
            _ => Ok(()),
        }
    }

    /// These numbers were dropped on purpose, because the lane was full.
    pub(crate) fn drop_numbers(&mut self, range: SeqRange) {
        self.acknowledged.retain(|_, (seq, _)| !(range.first <= *seq && *seq < range.end));
    }

    /// As if nobody had been told anything: for a disk that was put back.
    pub(crate) fn without_acknowledgements(mut self) -> Self {
        self.acknowledged.clear();
        self
    }

    /// What was promised when so many calls were done.
    pub(crate) fn at(&self, at: At) -> Self {
        let mut then = self.clone();
        then.acknowledged.retain(|_, (_, when)| *when <= at);
        then.delivered.retain(|_, when| *when <= at);
        if let Some(firm) = &mut then.firm {
            firm.retain(|_, when| *when <= at);
        }
        then.forget_when();
        then
    }

    /// From here on calls are counted anew, on another disk.
    pub(crate) fn forget_when(&mut self) {
        self.acknowledged.values_mut().for_each(|(_, at)| *at = 0);
        self.delivered.values_mut().for_each(|at| *at = 0);
        self.firm.iter_mut().flat_map(BTreeMap::values_mut).for_each(|at| *at = 0);
    }

    /// Events that were acknowledged and that neither the destination has nor `found`.
    pub(crate) fn missing(&self, found: &BTreeMap<Mark, Seq>) -> Vec<Mark> {
        let kept = |mark: &Mark| self.delivered.contains_key(mark) || found.contains_key(mark);
        self.acknowledged.keys().copied().filter(|mark| !kept(mark)).collect()
    }

    /// Events of one stream are read in the order in which they were sent.
    pub(crate) fn in_order(&self, found: &BTreeMap<Mark, Seq>) -> Result<(), String> {
        let mut last: BTreeMap<&str, (Mark, Seq)> = BTreeMap::new();
        for (mark, seq) in found {
            let stream = self.sent.get(mark).map_or("", String::as_str);
            if let Some((before, earlier)) = last.insert(stream, (*mark, *seq))
                && earlier >= *seq
            {
                return Err(format!("event {mark} ({seq}) was sent after event {before} ({earlier})"));
            }
        }
        Ok(())
    }
}
