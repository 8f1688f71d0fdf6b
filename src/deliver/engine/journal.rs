//! Windows that leave by way of the journal: under which identity, and what is written down of them first.

use std::sync::Arc;

use super::super::line::{InFlight, Line, Sealed, Trail};
use super::super::log::Log;
use super::{Engine, Sink, splitmix};
use crate::event::UnixMillis;
use crate::ids::TopicName;
use crate::kafka::batch::Identity;
use crate::kafka::{Batch, Journaled, Stamp, Window};
use crate::sabotage::{self, Bug};
use crate::state::journal::{Before, Intent};
use crate::state::positions::Counter;

/// Sequence numbers are 31 bits: after 2^31 - 1 comes 0.
const SEQUENCE_MASK: u32 = 0x7fff_ffff;

/// A window that may go as soon as its intent is durable.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) window: Window,
    pub(super) intent: Option<Arc<Intent>>,
}

/// Windows that leave together, and all that has to be durable before.
#[derive(Debug, Default)]
pub struct Group {
    withdrawals: Vec<Intent>,
    departures: Vec<Departure>,
}

impl Group {
    /// What has to be durable before [`Group::send`].
    pub fn intents(&self) -> impl Iterator<Item = &Intent> {
        self.withdrawals.iter().chain(self.departures.iter().filter_map(|d| d.intent.as_deref()))
    }

    /// Sends its windows. DURABILITY: with a journal, [`Group::intents`] are durable.
    pub fn send(self, sink: &impl Sink) {
        self.departures.into_iter().for_each(|departure| sink.send(departure.window));
    }
}

/// What the journal has to say of a window, and the window of the journal. `None` without a journal.
pub(super) fn intent(
    line: &Line,
    cluster_id: &str,
    (topic, topic_id, partition): (&TopicName, [u8; 16], i32),
    sealed: &Sealed,
    journal: Option<Option<(i64, i16)>>,
    now: UnixMillis,
) -> Option<(Arc<Intent>, Journaled)> {
    let fresh = journal?.map(|(producer_id, epoch)| Identity::first(producer_id, epoch));
    let Trail { identity, before, acked_offset } = line.trail;
    let identity = identity.or(fresh)?;
    let intent = Intent {
        cluster_id: cluster_id.to_owned(),
        topic: topic.clone(),
        topic_id,
        partition,
        producer_id: identity.producer_id,
        epoch: identity.epoch,
        base_sequence: identity.base_sequence,
        before,
        acked_offset,
        counter: Counter { epoch: line.counter.epoch(), next: sealed.counter },
        by_time_of_sending: sealed.batch.stamp() == Stamp::Send,
        sent_at: now,
        shares: sealed.parts.shares(),
    };
    let may_be_doubled = sealed.may_be_doubled;
    let journaled = Journaled { may_be_doubled, ..journaled(&intent, false) };
    Some((Arc::new(intent), journaled))
}

impl Trail {
    /// The window in flight is in the partition's log.
    pub(super) fn appended(&mut self, window: &InFlight, offset: i64) {
        let Some(intent) = &window.intent else { return };
        self.before = Before::Appended;
        if offset >= 0 {
            self.acked_offset = offset;
        }
        if identity_of(intent).is_none() {
            self.identity = None;
            return;
        }
        let base_sequence = sequence_after(intent.base_sequence, window.parts.count());
        // INVARIANT: what follows a window of an earlier process begins under an id of this one: a next sequence
        // taken from disk would name other events after a rollback, and the broker would keep the old ones.
        let next = Identity { base_sequence, ..identity_of(intent) };
        let goes_on = window.is_own || sabotage::commits(Bug::NextSequenceFromDisk);
        self.identity = goes_on.then_some(next);
    }
}

/// What goes under the identity after that of a window that is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The window itself.
    Itself,
    /// It, and somebody else has a later epoch of its producer id.
    Fenced,
    /// What follows it.
    Others,
}

/// The epoch after one that this process was given, or made up: an even one, since ids begin with 0. `None`: there is none left.
fn own_epoch_after(epoch: i16) -> Option<i16> {
    Some(epoch.checked_add(2)? & !1)
}

/// An epoch for a window of an earlier process, after that under which it was sent: an odd one, and any of a thousand. `None`: there is
/// none left.
fn others_epoch_after(epoch: i16, random: u64) -> Option<i16> {
    let further = i16::try_from(random % 1000).ok()? * 2;
    Some(epoch.checked_add(1)?.checked_add(further)? | 1)
}

/// Sequence numbers come round to 0 (`DefaultRecordBatch.incrementSequence`).
fn sequence_after(base: i32, count: u32) -> i32 {
    (base.cast_unsigned().wrapping_add(count) & SEQUENCE_MASK).cast_signed()
}

/// What a producer has to know of an intent.
pub(super) fn journaled(intent: &Intent, doubtful: bool) -> Journaled {
    Journaled {
        identity: identity_of(intent),
        doubtful,
        cluster_id: intent.cluster_id.clone(),
        topic_id: intent.topic_id,
        acked_offset: intent.acked_offset,
        sent_at: intent.sent_at,
        may_be_doubled: false,
        unreadable: false,
    }
}

fn identity_of(intent: &Intent) -> Identity {
    let Intent { producer_id, epoch, base_sequence, .. } = *intent;
    Identity { producer_id, epoch, base_sequence }
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// The cluster has given this process a producer id; a negative one: it gives none.
    pub fn producer_id(&mut self, producer_id: i64, epoch: i16) {
        self.producer = Some((producer_id, epoch));
    }

    /// Whether the journal does not know everything yet.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.withdrawals.is_empty() || !self.departures.is_empty()
    }

    /// Whether windows wait for [`Engine::depart`].
    #[must_use]
    pub fn has_departures(&self) -> bool {
        !self.departures.is_empty()
    }

    /// What has to be durable before [`Engine::depart`].
    pub fn departing(&self) -> impl Iterator<Item = &Intent> {
        self.withdrawals.iter().chain(self.departures.iter().filter_map(|d| d.intent.as_deref()))
    }

    /// [`Engine::departing`] is durable, and nothing of it is to leave.
    pub fn note_written(&mut self) {
        if self.departures.is_empty() {
            self.withdrawals.clear();
            self.withdrawn.clear();
        }
    }

    /// A window is not in the log and will not be: its events are free to go elsewhere. Dead letters are no reader's: all are past
    /// them, and must not go back for them.
    fn withdraw(&mut self, intent: &Intent, again: bool) {
        if !again {
            let place = (intent.topic.clone(), intent.partition);
            self.withdrawn.entry(place).or_default().extend(intent.shares.iter().cloned());
        }
        self.withdrawals.push(Intent { before: Before::Withdrawn, shares: Vec::new(), ..intent.clone() });
    }

    /// Everything that is in doubt once [`Engine::departing`] has left, that included.
    pub fn in_doubt(&self) -> impl Iterator<Item = &Intent> {
        let lines = self.topics.values().flat_map(|t| t.lines.values());
        lines.filter_map(|l| l.in_flight.as_ref()?.intent.as_deref())
    }

    /// What waits, to be sent by somebody else than [`Engine::depart`] as soon as it is durable. Until then its windows are in
    /// flight like others; if it can't be written, it is put back.
    pub fn take_departing(&mut self) -> Group {
        for (place, shares) in std::mem::take(&mut self.withdrawn) {
            self.leaving.entry(place).or_default().extend(shares);
        }
        Group {
            withdrawals: std::mem::take(&mut self.withdrawals),
            departures: std::mem::take(&mut self.departures),
        }
    }

    /// A group could not be made durable, and nothing of it was sent: it leaves before what waits by now.
    pub fn put_back(&mut self, group: Group) {
        for (place, shares) in std::mem::take(&mut self.leaving) {
            self.withdrawn.entry(place).or_default().extend(shares);
        }
        self.withdrawals.splice(0..0, group.withdrawals);
        self.departures.splice(0..0, group.departures);
    }

    /// What was taken with [`Engine::take_departing`] is durable.
    pub fn note_left(&mut self) {
        self.leaving.clear();
    }

    /// Where windows go.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// Sends what waits. DURABILITY: with a journal, [`Engine::departing`] is durable.
    pub fn depart(&mut self) {
        if self.departures.is_empty() {
            return;
        }
        self.withdrawals.clear();
        self.withdrawn.clear();
        for departure in self.departures.drain(..) {
            self.sink.send(departure.window);
        }
    }

    /// A window is not in the log: it is withdrawn, and what follows it goes under another identity: a later epoch, which
    /// keeps what may still be on its way from being appended afterwards.
    ///
    /// INVARIANT: an identity that was written down names one set of events for ever. The id of an earlier process is only used for that
    /// process's windows. Should the data directory have been cloned, that process may live, and goes on to even epochs: these windows
    /// take odd ones, no two of them the same. Whoever is told of a later epoch than its own leaves the id to the other.
    pub(super) fn fence(&mut self, name: &TopicName, partition: i32, window: &InFlight, next: Next) {
        let Some(intent) = window.intent.clone() else { return };
        self.withdraw(&intent, window.again);
        // Another cluster gives out the same ids anew: nothing of the window is on its way there, and a later process may be
        // given this one.
        let elsewhere = self.is_of_another_cluster(&intent);
        // Without an identity nothing can be fenced.
        let named = !identity_of(&intent).is_none();
        let epoch = match next {
            _ if !named || elsewhere || next == Next::Fenced => None,
            _ if window.is_own => own_epoch_after(intent.epoch),
            Next::Itself => others_epoch_after(intent.epoch, splitmix(&mut self.random)),
            _ => None,
        };
        let producer_id = intent.producer_id;
        let identity = epoch.map(|epoch| Identity { producer_id, epoch, base_sequence: 0 });
        if identity.is_none() && named && window.is_own {
            // Its epochs have run out, its id is another cluster's, or somebody else has it.
            self.producer = None;
            self.sink.renew();
        }
        if let Some(line) = self.topics.get_mut(name).and_then(|t| t.lines.get_mut(&partition)) {
            (line.trail.identity, line.trail.before) = (identity, Before::Withdrawn);
        }
    }

    /// Another cluster is where the old one was: it gives the same producer ids to others, and what is sent under one of them could be
    /// taken for theirs.
    pub(super) fn forget_identities(&mut self) {
        self.producer = None;
        self.sink.renew();
        for line in self.topics.values_mut().flat_map(|topic| topic.lines.values_mut()) {
            (line.trail.identity, line.trail.acked_offset) = (None, -1);
            if let Some(window) = &mut line.in_flight {
                window.is_own = false;
            }
        }
    }

    fn is_of_another_cluster(&self, intent: &Intent) -> bool {
        let here = self.topology.as_ref().and_then(|t| t.cluster_id.as_deref());
        here.is_some_and(|here| !intent.cluster_id.is_empty() && here != intent.cluster_id)
    }

    /// Bytes that what is in flight takes in the journal.
    pub(super) fn journal_bytes(&self) -> usize {
        self.in_doubt().map(Intent::size).sum()
    }

    /// What a window held is sent again, under the identity that comes next.
    pub(super) fn again(
        &mut self,
        name: &TopicName,
        partition: i32,
        window: InFlight,
        batch: Batch,
        may_be_doubled: bool,
    ) {
        let Some(line) = self.topics.get_mut(name).and_then(|t| t.lines.get_mut(&partition)) else { return };
        let counter = window.counter.saturating_sub(u64::from(window.parts.count()));
        line.ready.push_front(Sealed {
            bytes: batch.encoded_len(),
            batch,
            parts: window.parts,
            counter,
            restamped: window.restamped,
            expired: window.expired,
            may_be_doubled,
            again: window.again,
            strides: window.strides,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_of_this_process_and_of_earlier_ones_are_never_the_same_and_end() {
        assert_eq!(
            [0, 2, 5, i16::MAX - 3].map(own_epoch_after),
            [Some(2), Some(4), Some(6), Some(i16::MAX - 1)]
        );
        assert_eq!([i16::MAX - 1, i16::MAX].map(own_epoch_after), [None; 2]);
        for (epoch, random) in [(0, 0), (1, 999), (4, 5000), (7, u64::MAX), (i16::MAX - 1, 0)] {
            let next = others_epoch_after(epoch, random).unwrap();
            assert!(next > epoch && next % 2 == 1, "{next}");
        }
        assert_eq!((others_epoch_after(i16::MAX, 0), others_epoch_after(i16::MAX - 10, 999)), (None, None));
    }

    #[test]
    fn after_the_last_sequence_number_comes_0_as_brokers_count() {
        assert_eq!([sequence_after(0, 3), sequence_after(i32::MAX - 3, 3)], [3, i32::MAX]);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    }
}
