//! What of a positions file goes on in a salvaged spool, whose events have kept their numbers.
//!
//! INVARIANT: nothing that may not have been delivered is passed over. Where that can't be known, it is sent again.
//!
//! Counters and tallies are left behind. A counter begins anew under a new epoch, since the old directory may be an
//! older copy, whose next numbers others have by now; a tally speaks of segments that are no more.

use super::record::Positions;
use super::store::{Restored, Unusable};
use crate::ids::{Seq, SpoolId};

/// A lane as it was salvaged.
#[derive(Debug, Clone, Copy)]
pub struct NewLane {
    /// Its lowest event.
    pub first: Seq,
    /// Everything below was deleted on purpose, partly while it was being read.
    pub gone: Seq,
    /// The number after the last that the old lane had when it was read.
    pub end: Seq,
    /// Events that the old lane had lost stand in it at their own numbers.
    pub found: bool,
}

/// What goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// No file: a destination begins with the first event, as it would have before.
    Nothing,
    /// It goes on where it was.
    AsItWas(Positions),
    /// All that is left is sent again, and counts begin anew.
    Anew(Positions),
}

/// Whether an event that was lost may stand at its own number again, though this destination has been reading on:
/// only if it has not counted anything as lost, for then it can only be past what it has delivered.
#[must_use]
pub fn may_keep(restored: &Restored, seq: Seq) -> bool {
    match restored {
        Restored::Positions(p) => seq >= p.position || (seq >= p.since && p.totals.lost == 0),
        _ => true,
    }
}

/// What of `before`, read before the lane was, and `after`, read when it was copied, goes on. They differ beside a
/// running agent, which may by then have delivered, and even deleted, what was not read yet.
#[must_use]
pub fn carry(spool: SpoolId, before: &Restored, after: &Restored, lane: NewLane) -> Carried {
    let before = match before {
        Restored::Nothing | Restored::Unusable(Unusable::Foreign(_)) => return Carried::Nothing,
        Restored::Unusable(_) => return Carried::Anew(Positions::fresh(spool, lane.first)),
        Restored::Positions(before) => before,
    };
    let fits = |after: &&Positions| {
        after.highest() <= lane.end && (!lane.found || after.totals.lost == before.totals.lost)
    };
    let after = match after {
        Restored::Positions(after) => Some(&**after).filter(fits),
        _ => None,
    };
    match after {
        Some(after) => Carried::AsItWas(stripped(after)),
        None if before.needed_from() >= lane.gone => Carried::AsItWas(stripped(before)),
        None => Carried::Anew(Positions::fresh(spool, lane.gone.min(lane.end))),
    }
}

fn stripped(positions: &Positions) -> Positions {
    Positions { counters: Vec::new(), tallies: std::collections::BTreeMap::new(), ..positions.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::positions::{Bits, Partial, Totals};

    const SPOOL: SpoolId = SpoolId(7);

    fn at(position: u64, lost: u64) -> Restored {
        let delivered = position - 1 - lost;
        let totals = Totals { delivered, lost, ..Totals::default() };
        let position = Seq(position);
        Restored::Positions(Box::new(Positions { position, totals, ..Positions::fresh(SPOOL, Seq(1)) }))
    }

    fn lane(gone: u64, end: u64) -> NewLane {
        NewLane { first: Seq(gone), gone: Seq(gone), end: Seq(end), found: false }
    }

    fn position(carried: Carried) -> (bool, u64) {
        match carried {
            Carried::Nothing => (false, 0),
            Carried::AsItWas(p) => (true, p.position.0),
            Carried::Anew(p) => (false, p.position.0),
        }
    }

    #[test]
    fn what_was_delivered_meanwhile_is_not_sent_again_unless_it_lies_beyond_what_was_read() {
        assert_eq!(position(carry(SPOOL, &at(5, 0), &at(9, 0), lane(1, 10))), (true, 9));
        assert_eq!(position(carry(SPOOL, &at(5, 0), &at(20, 0), lane(1, 10))), (true, 5));
    }

    #[test]
    fn beside_an_agent_that_has_deleted_what_was_to_be_read_all_that_is_left_is_sent_again() {
        assert_eq!(position(carry(SPOOL, &at(5, 0), &at(20, 0), lane(8, 10))), (false, 8));
        assert_eq!(position(carry(SPOOL, &at(5, 0), &at(90, 0), lane(80, 10))), (false, 10));
    }

    #[test]
    fn positions_that_cannot_be_read_hold_everything_and_others_begin_as_they_would_have() {
        let damaged = Restored::Unusable(Unusable::Damaged);
        assert_eq!(position(carry(SPOOL, &damaged, &damaged, lane(4, 10))), (false, 4));
        let foreign = Restored::Unusable(Unusable::Foreign(SpoolId(8)));
        for nothing in [foreign, Restored::Nothing] {
            assert_eq!(carry(SPOOL, &nothing, &at(5, 0), lane(4, 10)), Carried::Nothing);
        }
    }

    #[test]
    fn an_event_that_is_found_again_keeps_its_number_only_where_nobody_can_have_passed_it_as_lost() {
        assert!(may_keep(&at(10, 0), Seq(5)) && may_keep(&at(10, 3), Seq(10)));
        assert!(!may_keep(&at(10, 3), Seq(5)));
        let anew = Restored::Positions(Box::new(Positions::fresh(SPOOL, Seq(8))));
        assert!(!may_keep(&anew, Seq(5)) && may_keep(&Restored::Nothing, Seq(5)));
        // And if it is counted as lost while it is being copied, the older positions count.
        let found = NewLane { found: true, ..lane(1, 20) };
        assert_eq!(position(carry(SPOOL, &at(5, 0), &at(9, 2), found)), (true, 5));
    }

    #[test]
    fn the_first_and_the_last_number_of_what_was_read_belong_to_it() {
        assert_eq!(position(carry(SPOOL, &at(5, 0), &at(10, 0), lane(1, 10))), (true, 10));
        assert_eq!(position(carry(SPOOL, &at(5, 0), &at(11, 0), lane(1, 10))), (true, 5));
        assert_eq!(position(carry(SPOOL, &at(5, 0), &Restored::Nothing, lane(5, 10))), (true, 5));
        assert_eq!(position(carry(SPOOL, &at(5, 0), &Restored::Nothing, lane(6, 10))), (false, 6));
        assert!(may_keep(&at(10, 0), Seq(1)), "positions count from event 1 on");
        // Nothing more was counted as lost while it was copied.
        let found = NewLane { found: true, ..lane(1, 20) };
        assert_eq!(position(carry(SPOOL, &at(5, 2), &at(9, 2), found)), (true, 9));
    }

    #[test]
    fn what_is_settled_of_a_block_goes_on_and_counters_do_not() {
        let Restored::Positions(mut positions) = at(5, 0) else { panic!() };
        positions.partial = vec![Partial { settled: Bits::from_words(3, [5]), ..Partial::new(Seq(5), 3) }];
        positions.tallies.insert(crate::ids::SegmentId(1), crate::state::positions::Tally::default());
        let restored = Restored::Positions(positions.clone());
        let Carried::AsItWas(carried) = carry(SPOOL, &restored, &restored, lane(1, 10)) else { panic!() };
        assert_eq!((carried.partial, carried.tallies.len()), (positions.partial, 0));
    }

    #[test]
    fn counters_and_tallies_are_those_of_the_log_that_is_left_behind() {
        let mut before = crate::state::positions::codec::sample();
        assert!(!before.counters.is_empty() && !before.tallies.is_empty());
        before.partial.clear();
        let left = stripped(&before);
        assert!(left.counters.is_empty() && left.tallies.is_empty());
        assert_eq!(left.position, before.position);
    }
}
