//! What a relay noted down as delivered (its delivery ledger), against what the topics hold.
//!
//! A claim is one finished segment: a run, a range of numbers, how many of its events the destination holds, and the
//! sum of their hashes. Each event that is seen for the first time is added to its claim. Whatever became of the
//! relay since, the claim stands.

use std::collections::HashMap;

use serde::Serialize;

use crate::ids::{DestinationName, LaneName, SegmentId, Seq};
use crate::kafka::RecordHeader;
use crate::state::ledger::Row;

/// What a relay says of one finished segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its lane.
    pub lane: LaneName,
    /// Where it was delivered.
    pub destination: DestinationName,
    /// Its number.
    pub segment: SegmentId,
    /// High half of the run that wrote it; `None` where the ledger does not say.
    pub run: Option<u32>,
    /// Its first event.
    pub first: Seq,
    /// Its last event.
    pub last: Seq,
    /// How many of its events the destination holds.
    pub delivered: u64,
    /// How many of its events it may hold all the same: dead letters that were sent again, and what was given up
    /// while it was in doubt.
    pub beyond: u64,
    /// Sum of their hashes; `None` where it does not cover them all.
    pub hash: Option<u64>,
}

impl Claim {
    /// What a row says.
    #[must_use]
    pub fn of(row: &Row) -> Self {
        // The hash of a block of which some events were given up is not in the sum.
        let beyond = row.dead_lettered + row.dropped + row.lost_to_damage;
        Self {
            lane: row.key.lane.clone(),
            destination: row.key.destination.clone(),
            segment: row.key.segment,
            run: row.run.map(|run| u32::try_from(run.0 >> 32).unwrap_or_default()),
            first: row.first_seq,
            last: row.last_seq,
            delivered: row.delivered,
            beyond,
            hash: (beyond == 0).then_some(row.hash),
        }
    }
}

/// What is found out about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Every event is there, with the content it had.
    Holds,
    /// Events are not there that may have been deleted by the topic's retention.
    Expired,
    /// Events are not there.
    Missing,
    /// As many events are there as were delivered or more, and they are not those.
    Differs,
    /// The ledger does not say which run wrote the segment, so its events can't be told from others.
    Unknown,
}

/// A claim and what is found out about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClaimReport {
    /// The segment's lane.
    pub lane: LaneName,
    /// Its destination.
    pub destination: DestinationName,
    /// Its number.
    pub segment: SegmentId,
    /// Its first event.
    pub first_seq: Seq,
    /// Its last event.
    pub last_seq: Seq,
    /// Events that the relay says were delivered.
    pub delivered: u64,
    /// Events of them that were found.
    pub found: u64,
    /// What follows.
    pub finding: Finding,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    found: u64,
    hash: u64,
}

/// A partition: number of the topic, and its own.
pub(super) type At = (usize, usize);

/// Claims, and what was seen of them.
#[derive(Debug, Default)]
pub struct Expected {
    claims: Vec<(Claim, Sum)>,
    /// The claims of each run, by their first event.
    of_run: HashMap<u32, Vec<usize>>,
    /// Where each of these runs begins in each partition.
    begins: HashMap<u32, HashMap<At, u64>>,
}

impl Expected {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(mut claims: Vec<Claim>) -> Self {
        claims.sort_by_key(|claim| (claim.run, claim.first));
        let mut of_run: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, claim) in claims.iter().enumerate() {
            claim.run.into_iter().for_each(|run| of_run.entry(run).or_default().push(index));
        }
        let claims = claims.into_iter().map(|claim| (claim, Sum::default())).collect();
        Self { claims, of_run, begins: HashMap::new() }
    }

    /// An event was seen for the first time.
    pub(super) fn see(&mut self, at: At, header: &RecordHeader, hash: u64) {
        let Some(claims) = self.of_run.get(&header.run) else { return };
        let seq = header.seq;
        let begin = self.begins.entry(header.run).or_default().entry(at).or_insert(seq.0);
        *begin = seq.0.min(*begin);
        let index = claims.partition_point(|i| self.claims.get(*i).is_some_and(|(c, _)| c.first <= seq));
        let claim = index.checked_sub(1).and_then(|i| claims.get(i)).and_then(|i| self.claims.get_mut(*i));
        if let Some((_, sum)) = claim.filter(|(claim, _)| seq <= claim.last) {
            sum.found += 1;
            sum.hash = sum.hash.wrapping_add(hash);
        }
    }

    /// What is found out about each claim. `cut`: the partitions whose beginning is gone, by number of the topic and
    /// their own.
    #[must_use]
    pub fn judge(&self, cut: &[(usize, usize)]) -> Vec<ClaimReport> {
        self.claims.iter().map(|(claim, sum)| self.judge_one(claim, *sum, cut)).collect()
    }

    fn judge_one(&self, claim: &Claim, sum: Sum, cut: &[At]) -> ClaimReport {
        let finding = match claim.run {
            None if claim.delivered > 0 => Finding::Unknown,
            Some(run) if sum.found < claim.delivered => {
                if self.may_be_expired(run, claim.first, cut) {
                    Finding::Expired
                } else {
                    Finding::Missing
                }
            }
            Some(_) if sum.found > claim.delivered + claim.beyond => Finding::Differs,
            Some(_) if claim.hash.is_some_and(|hash| hash != sum.hash) => Finding::Differs,
            _ => Finding::Holds,
        };
        ClaimReport {
            lane: claim.lane.clone(),
            destination: claim.destination.clone(),
            segment: claim.segment,
            first_seq: claim.first,
            last_seq: claim.last,
            delivered: claim.delivered,
            found: sum.found,
            finding,
        }
    }

    /// A partition holds the events of a run in order: what its retention deleted has lower numbers than what
    /// is left.
    fn may_be_expired(&self, run: u32, first: Seq, cut: &[At]) -> bool {
        let begins = self.begins.get(&run);
        cut.iter().any(|at| begins.and_then(|b| b.get(at)).is_none_or(|begin| *begin > first.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, RunId};
    use crate::kafka::Counter;

    fn claim(run: Option<u32>, segment: u64, range: (u64, u64), delivered: u64, hash: Option<u64>) -> Claim {
        Claim {
            lane: LaneName::new("main").unwrap(),
            destination: DestinationName::new("home").unwrap(),
            segment: SegmentId(segment),
            run,
            first: Seq(range.0),
            last: Seq(range.1),
            delivered,
            beyond: 0,
            hash,
        }
    }

    fn see(expected: &mut Expected, partition: usize, run: u32, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            let run = RunId(u64::from(run) << 32);
            let header = RecordHeader::new(Incarnation(9 << 32), run, Seq(seq), 0, Counter::default());
            expected.see((0, partition), &header, seq * seq);
        }
    }

    fn findings(expected: &Expected, cut: &[(usize, usize)]) -> Vec<(u64, u64, Finding)> {
        expected.judge(cut).iter().map(|c| (c.segment.0, c.found, c.finding)).collect()
    }

    #[test]
    fn a_claim_holds_when_every_event_is_there_with_its_content() {
        let mut expected = Expected::new(vec![
            claim(Some(2), 3, (11, 20), 10, Some((11..=20).map(|n| n * n).sum())),
            claim(Some(1), 1, (1, 5), 5, Some(55)),
            claim(Some(1), 2, (6, 10), 4, None),
            claim(Some(7), 9, (50, 60), 0, Some(0)),
        ]);
        see(&mut expected, 0, 1, 1..=8);
        see(&mut expected, 1, 1, 10..=10);
        see(&mut expected, 1, 2, 11..=25);
        see(&mut expected, 1, 3, 11..=20);
        let all =
            [(1, 5, Finding::Holds), (2, 4, Finding::Holds), (3, 10, Finding::Holds), (9, 0, Finding::Holds)];
        assert_eq!(findings(&expected, &[]), all);
    }

    #[test]
    fn what_is_not_there_is_missing_and_other_content_differs() {
        let mut expected = Expected::new(vec![
            claim(Some(1), 1, (1, 5), 5, Some(55)),
            claim(Some(1), 2, (6, 8), 3, Some(1)),
            claim(Some(1), 3, (9, 10), 1, None),
            claim(Some(1), 4, (11, 12), 2, None),
            claim(None, 5, (1, 5), 5, Some(55)),
        ]);
        see(&mut expected, 0, 1, 1..=4);
        see(&mut expected, 0, 1, 6..=10);
        let mut found = findings(&expected, &[]);
        found.sort_by_key(|(segment, ..)| *segment);
        let differs = [(2, 3, Finding::Differs), (3, 2, Finding::Differs)];
        assert_eq!(found[0], (1, 4, Finding::Missing));
        assert_eq!(found[1..3], differs);
        assert_eq!(found[3..], [(4, 0, Finding::Missing), (5, 0, Finding::Unknown)]);
    }

    #[test]
    fn dead_letters_that_were_sent_again_are_no_contradiction() {
        let dead = |delivered, beyond| Claim { beyond, ..claim(Some(1), 1, (1, 9), delivered, None) };
        for (claim, finding) in
            [(dead(7, 2), Finding::Holds), (dead(9, 0), Finding::Holds), (dead(7, 1), Finding::Differs)]
        {
            let mut expected = Expected::new(vec![claim]);
            see(&mut expected, 0, 1, 1..=9);
            assert_eq!(findings(&expected, &[]), [(1, 9, finding)]);
        }
    }

    #[test]
    fn only_what_comes_before_the_rest_of_its_run_can_have_expired() {
        let claims = || vec![claim(Some(1), 1, (1, 5), 5, None), claim(Some(1), 2, (6, 10), 5, None)];
        let mut expected = Expected::new(claims());
        see(&mut expected, 0, 1, 4..=9);
        let cut = [(0, 0)];
        assert_eq!(findings(&expected, &cut), [(1, 2, Finding::Expired), (2, 4, Finding::Missing)]);
        assert_eq!(findings(&expected, &[(0, 1)]), [(1, 2, Finding::Expired), (2, 4, Finding::Expired)]);
        assert_eq!(findings(&expected, &[]), [(1, 2, Finding::Missing), (2, 4, Finding::Missing)]);
    }
}
