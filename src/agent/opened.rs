//! A lane and a destination, before anything is delivered: what is known of the pair, and where it goes on.

use std::cell::OnceCell;

use crate::config::model::{self as config, Begin, Destination};
use crate::disk::{Fs, RealFs};
use crate::ids::{DestinationName, LaneName, Seq};
use crate::sabotage::{self, Bug};
use crate::spool::{DataDir, Lane};
use crate::state::journal::{self, Found, Intent, Journal, JournalError, Share};
use crate::state::park::{Park, Whose};
use crate::state::positions::{Footing, Partial, Positions, Restored, Store, StoreError, Unusable};

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
    /// See [`Opened::is_of_another_past`].
    of_another_past: OnceCell<bool>,
    /// What it says of another past could not be written over.
    still_says_so: bool,
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
        let (of_another_past, still_says_so) = (OnceCell::new(), false);
        Ok(Self { store, restored, journal, park, intents, was_here, of_another_past, still_says_so })
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
        self.highest().is_some_and(|highest| lane.was_behind(highest))
    }

    /// Whether it speaks of another past of this log, of which it proves nothing: it is ahead of it, or what it stands on has its
    /// number here from another run (see [`Footing`]).
    pub(super) fn is_of_another_past(&self, lane: &Lane<F>) -> bool {
        let judge = || {
            let footing = match &self.restored {
                Restored::Positions(positions) => positions.footing,
                _ => None,
            };
            self.is_ahead_of(lane)
                || footing.is_some_and(|footing| lane.has_under_another_run(footing.seq, footing.run))
        };
        !sabotage::commits(Bug::PositionBeyondTheLog) && *self.of_another_past.get_or_init(judge)
    }

    /// What shows that positions are of another past, or their journal.
    fn why_not(&self, positions: &Positions, lane: &Lane<F>) -> &'static str {
        if lane.was_behind(positions.highest()) {
            "the positions file is ahead of the log"
        } else if self.is_ahead_of(lane) {
            "the journal names events beyond the log's end, so the positions file beside it is not believed either"
        } else {
            "the positions file speaks of another past of this log, which has other events under its numbers"
        }
    }

    /// Nothing that its files say is to be believed at a later start either.
    ///
    /// DURABILITY: before anything new comes, for by what is accepted then nothing may tell any more that they are of another past. What
    /// recognises them goes last. That they are ahead of the log the new positions say, too, so they come first; what they stand on those
    /// don't say, and the journal would be asked about them.
    fn forget_its_past(&mut self, positions: &Positions, lane: &Lane<F>) {
        let forgotten = if self.is_ahead_of(lane) {
            self.replace_positions(positions).and_then(|()| self.forget_intents())
        } else {
            self.forget_intents().and_then(|()| self.replace_positions(positions))
        };
        if let Err(error) = forgotten {
            self.still_says_so = true;
            tracing::error!(%error, "positions of another past of the log can't be written over yet; it is tried again with the next save");
        }
    }

    /// Whether the journal alone speaks of another past: the last event that it names, other than dead letters that are sent again, has its
    /// number here from another run. Whoever wrote (run, number) went on from the log as it was then, as with a [`Footing`]. What the log
    /// has no more may be parked: then the last that is. What is parked is not asked where the log answers: it may be older than that.
    fn has_journal_of_another_past(&self, lane: &Lane<F>) -> bool {
        let is_letter = |share: &Share| match &self.restored {
            Restored::Positions(positions) => {
                positions.replaying.iter().any(|letter| (letter.seq, letter.run) == (share.block, share.run))
            }
            _ => false,
        };
        let shares = self.intents.iter().flat_map(|intent| &intent.shares);
        let mut shares: Vec<&Share> = shares.filter(|share| !is_letter(share)).collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.end()));
        let in_log = |share: &Share| Some((share.run, lane.found_run(share.block, share.run)?));
        let parked = || shares.iter().find_map(|share| Some((share.run, self.park.run_of(share.block)?)));
        let last = shares.first().and_then(|last| in_log(last)).or_else(parked);
        last.is_some_and(|(named, found)| named != found)
    }

    /// A journal of another past, beside positions of this one, says nothing: neither now nor, once what it names is gone, later.
    fn forget_foreign_journal(&mut self, lane: &Lane<F>) {
        if self.is_of_another_past(lane) || !self.has_journal_of_another_past(lane) {
            return;
        }
        tracing::error!(
            lane = %lane.name(),
            "a journal speaks of another past of this log, which has other events under its numbers: what was in flight may arrive twice"
        );
        if let Err(error) = self.forget_intents() {
            self.still_says_so = true;
            tracing::error!(%error, "the journal of another past of the log can't be written over yet; it is begun anew before anything is sent");
        }
        self.intents.clear();
    }

    fn replace_positions(&mut self, positions: &Positions) -> Result<(), GoOnError> {
        Ok(self.store.replace(positions)?)
    }

    fn forget_intents(&mut self) -> Result<(), GoOnError> {
        if self.intents.is_empty() { Ok(()) } else { Ok(self.journal.forget()?) }
    }

    /// Which numbers have been given beyond the log's end, for positions that say nothing else of them: until the log itself goes on
    /// above, nothing but these files says so. Of the last one: it is in a block of which nothing is settled.
    fn given(&self, lane: &Lane<F>) -> Option<Partial> {
        let beyond = self.highest().filter(|highest| lane.was_behind(*highest));
        beyond.map(|highest| Partial::new(highest.prev(), 1))
    }

    /// Whether what its files say of another past may be taken for true at a later start.
    pub(super) fn still_says_so(&self) -> bool {
        self.still_says_so
    }

    /// Where it goes on, and what it has to settle first.
    ///
    /// DURABILITY: that a destination which wants what is new was seen is on disk before anything new comes: begun again after
    /// a kill, it would begin later. Of any other it is written down, too, so that one with a journal and without positions has lost them.
    pub(super) fn positions(
        &mut self,
        data: &DataDir<F>,
        lane: &Lane<F>,
        destination: &Destination,
    ) -> Result<(Positions, Vec<Intent>), StoreError> {
        self.forget_foreign_journal(lane);
        let mut positions = self.restored_positions(data, lane, destination);
        if self.restored == Restored::Nothing {
            let kept = self.store.save(&positions).and_then(|()| self.store.sync());
            // One that wants all there is can begin again.
            if destination.from == Begin::Now {
                kept?;
            }
        }
        if self.is_of_another_past(lane) {
            positions.partial.extend(self.given(lane));
            self.forget_its_past(&positions, lane);
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
            Restored::Positions(positions) if self.is_of_another_past(lane) => {
                tracing::error!(
                    lane = %lane.name(),
                    destination = name,
                    position = positions.position.0,
                    "{}: everything on disk is sent again, and its counts start anew",
                    self.why_not(positions, lane)
                );
                Positions::fresh(data.spool_id(), self.first_in(lane))
            }
            Restored::Positions(positions) => (**positions).clone(),
            // Its positions are on disk before it has a journal.
            Restored::Nothing if self.was_here => {
                tracing::error!(
                    lane = %lane.name(),
                    destination = name,
                    "the positions file is lost, and this destination is not new: everything on disk is sent again, and its counts start anew"
                );
                Positions::fresh(data.spool_id(), self.first_in(lane))
            }
            Restored::Nothing => match destination.from {
                Begin::Oldest => Positions::fresh(data.spool_id(), self.first_in(lane)),
                Begin::Now => {
                    let seq = lane.durable();
                    let run = lane.run_of(seq, lane.run()).ok().flatten();
                    let footing = run.map(|run| Footing { seq, run });
                    Positions { footing, ..Positions::fresh(data.spool_id(), seq.next()) }
                }
            },
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
    pub(super) fn as_stranger(&mut self, data: &DataDir<F>, lane: &Lane<F>) -> (Positions, Vec<Intent>) {
        self.forget_foreign_journal(lane);
        let fresh = Positions::fresh(data.spool_id(), self.first_in(lane));
        match &self.restored {
            // Whatever its positions say, and if they say nothing: its journal must not be asked later, either.
            _ if self.is_of_another_past(lane) => {
                let anew = Positions { partial: self.given(lane).into_iter().collect(), ..fresh };
                self.forget_its_past(&anew, lane);
                (anew, Vec::new())
            }
            Restored::Positions(positions) => {
                let mut positions = (**positions).clone();
                let in_doubt = journal::fold(&mut positions, self.intents.clone());
                (positions, in_doubt)
            }
            _ => (fresh, Vec::new()),
        }
    }

    /// Whether it goes on from where its positions file says.
    pub(super) fn goes_on(&self, lane: &Lane<F>) -> bool {
        matches!(self.restored, Restored::Positions(_)) && !self.is_of_another_past(lane)
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
            Restored::Positions(positions) if !self.is_of_another_past(lane) => positions.needed_from(),
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
mod tests;
