//! The follower against topics that were made, and broken, by a model that knows what it broke.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::ids::{Incarnation, RunId, Seq};
use crate::kafka::Counter;

/// One record of the model: which relay, run, event, and which counter of which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Made {
    relay: u8,
    run: u8,
    seq: u64,
    counter: u64,
}

type Log = Vec<Option<Made>>;

fn header(made: Made, partition: usize) -> RecordHeader {
    RecordHeader::new(
        Incarnation(u64::from(made.relay) << 32),
        RunId((u64::from(made.relay) << 8 | u64::from(made.run)) << 32),
        Seq(made.seq),
        1_000 + made.seq as i64,
        Counter { epoch: 100 * u16::from(made.relay) + partition as u16, value: made.counter },
    )
}

fn seen(offset: usize, made: Option<Made>, home: usize) -> Seen {
    let mark = made.map_or(Mark::Foreign, |made| Mark::Relay(header(made, home)));
    Seen::Record { offset: offset as i64, mark, hash: 0 }
}

/// Relays that send their events in order to partitions of their choice; `None` is somebody else's record.
fn healthy(partitions: usize, choices: &[(u8, u8, u8)]) -> Vec<Log> {
    let mut logs = vec![Log::new(); partitions];
    let mut seqs: BTreeMap<u8, (u8, u64)> = BTreeMap::new();
    let mut counters: BTreeMap<(u8, usize), u64> = BTreeMap::new();
    for &(relay, to, odd) in choices {
        let partition = usize::from(to) % partitions;
        if odd == 0 {
            logs[partition].push(None);
            continue;
        }
        let (run, seq) = seqs.entry(relay).or_insert((1, 0));
        *run += u8::from(odd == 1 && *run < 200);
        *seq += 1;
        let counter = counters.entry((relay, partition)).or_default();
        logs[partition].push(Some(Made { relay, run: *run, seq: *seq, counter: *counter }));
        *counter += 1;
    }
    logs
}

/// What is done to a log by hand.
#[derive(Debug, Clone)]
enum Harm {
    Drop { at: usize },
    Copy { from: usize, to: usize },
    Swap { at: usize },
}

fn harm() -> impl Strategy<Value = (usize, Harm)> {
    let index = 0usize..200;
    let harm = prop_oneof![
        index.clone().prop_map(|at| Harm::Drop { at }),
        (index.clone(), index.clone()).prop_map(|(from, to)| Harm::Copy { from, to }),
        index.prop_map(|at| Harm::Swap { at }),
    ];
    (0usize..4, harm)
}

fn apply(logs: &mut [Log], harms: &[(usize, Harm)]) {
    let count = logs.len();
    for (partition, harm) in harms {
        let log = &mut logs[partition % count];
        if log.is_empty() {
            continue;
        }
        let len = log.len();
        match *harm {
            Harm::Drop { at } => _ = log.remove(at % len),
            Harm::Copy { from, to } => {
                let record = log[from % len];
                log.insert(to % (len + 1), record);
            }
            Harm::Swap { at } if len > 1 => log.swap(at % (len - 1), at % (len - 1) + 1),
            Harm::Swap { .. } => {}
        }
    }
}

/// What a log has, found with sets of everything: slow, and easy to believe.
fn judge(logs: &[Log]) -> Counts {
    let mut counts = Counts::default();
    let mut events = BTreeSet::new();
    for log in logs {
        let mut counters: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
        let mut highest: BTreeMap<(u8, u8), u64> = BTreeMap::new();
        for made in log.iter().flatten() {
            counts.records += 1;
            let numbers = counters.entry(made.relay).or_default();
            let high = highest.entry((made.relay, made.run)).or_default();
            if events.insert((made.relay, made.run, made.seq)) {
                let late = numbers.last().is_some_and(|last| made.counter < *last) || made.seq < *high;
                counts.events += 1;
                counts.reordered += u64::from(late);
            } else {
                counts.doubled += 1;
            }
            numbers.insert(made.counter);
            *high = made.seq.max(*high);
        }
        for numbers in counters.values() {
            counts.missing += numbers.last().unwrap() + 1 - numbers.len() as u64;
        }
    }
    counts
}

/// Shows logs to a follower, partitions interleaved as `order` says.
fn follow(logs: &[Log], order: &[u8]) -> TopicReport {
    let extents: Vec<_> = logs.iter().map(|log| (0, log.len() as i64)).collect();
    let mut follower = Follower::new("t", &extents, &[]);
    let mut at = vec![0; logs.len()];
    let mut turn = order.iter().cycle();
    while at.iter().zip(logs).any(|(at, log)| *at < log.len()) {
        let turn = usize::from(*turn.next().unwrap());
        let partition = (turn..turn + logs.len()).map(|p| p % logs.len()).find(|p| at[*p] < logs[*p].len());
        let partition = partition.unwrap();
        let upto = (at[partition] + 1 + turn).min(logs[partition].len());
        let piece: Vec<_> =
            (at[partition]..upto).map(|offset| seen(offset, logs[partition][offset], partition)).collect();
        follower.see(partition, &piece, None);
        at[partition] = upto;
    }
    follower.finish()
}

type Story = (usize, Vec<(u8, u8, u8)>, Vec<(usize, Harm)>, Vec<u8>);

fn stories() -> impl Strategy<Value = Story> {
    (
        1usize..4,
        proptest::collection::vec((1u8..4, any::<u8>(), 0u8..20), 0..150),
        proptest::collection::vec(harm(), 0..6),
        proptest::collection::vec(0u8..10, 1..20),
    )
}

/// Whether a follower counts what was made and broken.
fn is_exact(story: &Story, follower: impl Fn(&[Log], &[u8]) -> TopicReport) -> Result<(), TestCaseError> {
    let (partitions, choices, harms, order) = story;
    let mut logs = healthy(*partitions, choices);
    apply(&mut logs, harms);
    let report = follower(&logs, order);
    prop_assert_eq!(report.counts, judge(&logs));
    let foreign = logs.iter().flatten().filter(|made| made.is_none()).count() as u64;
    prop_assert_eq!((report.foreign, report.exact), (foreign, true));
    if harms.is_empty() {
        prop_assert!(!report.counts.is_damaged());
    }
    let mut relays = Counts::default();
    report.relays.iter().for_each(|relay| relays.add(&relay.counts));
    prop_assert_eq!(relays, report.counts);
    Ok(())
}

#[test]
fn whatever_relays_send_and_whatever_is_broken_is_counted_exactly() {
    let mut runner = TestRunner::new(Config::with_cases(1500));
    runner.run(&stories(), |story| is_exact(&story, follow)).unwrap();
}

/// What is asked to judge.
type Judge<'a> = &'a dyn Fn(&[Log], &[u8]) -> TopicReport;

/// The control: each is a follower with one error, and the same trial must find it.
#[test]
fn a_follower_with_an_error_is_caught() {
    let last_dropped = |logs: &[Log], order: &[u8]| {
        let mut logs = logs.to_vec();
        logs[0].pop();
        follow(&logs, order)
    };
    let blind_to_order = |logs: &[Log], order: &[u8]| {
        let mut logs = logs.to_vec();
        logs.iter_mut().for_each(|log| log.sort_by_key(|made| made.map(|m| (m.relay, m.counter))));
        follow(&logs, order)
    };
    let blind_to_doubles = |logs: &[Log], order: &[u8]| {
        let mut logs = logs.to_vec();
        let mut known = BTreeSet::new();
        logs.iter_mut().for_each(|log| log.retain(|made| made.is_none_or(|m| known.insert(m))));
        follow(&logs, order)
    };
    let one_relay_for_all = |logs: &[Log], order: &[u8]| {
        let mut logs = logs.to_vec();
        logs.iter_mut().flatten().flatten().for_each(|made| made.relay = 1);
        follow(&logs, order)
    };
    let followers: [(&str, Judge<'_>); 4] = [
        ("the last record is not read", &last_dropped),
        ("order is not looked at", &blind_to_order),
        ("doubles are not looked at", &blind_to_doubles),
        ("relays are not told apart", &one_relay_for_all),
    ];
    for (error, follower) in followers {
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(500) });
        assert!(runner.run(&stories(), |story| is_exact(&story, follower)).is_err(), "{error}: not caught");
    }
}

proptest! {
    #[test]
    fn copies_in_another_partition_are_doubled_and_nothing_else(
        choices in proptest::collection::vec((1u8..3, any::<u8>(), 2u8..20), 10..100),
        copies in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..5),
        first in any::<bool>(),
    ) {
        // Partition 3 is nobody's; the copies lie there, and are read before or after their originals.
        let logs = healthy(3, &choices);
        let mut stray: BTreeMap<(usize, Made), Seen> = BTreeMap::new();
        for (partition, at, _) in copies {
            let partition = usize::from(partition) % 3;
            let Some(Some(made)) = logs[partition].get(usize::from(at) % logs[partition].len().max(1)) else { continue };
            let offset = stray.len();
            stray.entry((partition, *made)).or_insert_with(|| seen(offset, Some(*made), partition));
        }
        let strays: Vec<_> = stray.into_values().enumerate().map(|(offset, piece)| match piece {
            Seen::Record { mark, hash, .. } => Seen::Record { offset: offset as i64, mark, hash },
            other => other,
        }).collect();
        let mut extents: Vec<_> = logs.iter().map(|log| (0, log.len() as i64)).collect();
        extents.push((0, strays.len() as i64));
        let mut follower = Follower::new("t", &extents, &[]);
        if first {
            follower.see(3, &strays, None);
        }
        for (partition, log) in logs.iter().enumerate() {
            let pieces: Vec<_> = log.iter().enumerate().map(|(o, made)| seen(o, *made, partition)).collect();
            follower.see(partition, &pieces, None);
        }
        if !first {
            follower.see(3, &strays, None);
        }
        let report = follower.finish();
        let copied = strays.len() as u64;
        prop_assert_eq!(report.partitions[3].counts.doubled, copied);
        let healthy = judge(&logs);
        prop_assert_eq!(
            report.counts,
            Counts { records: healthy.records + copied, doubled: copied, ..healthy }
        );
    }
}

fn relay(run: u8, seq: u64, counter: u64) -> Option<Made> {
    Some(Made { relay: 1, run, seq, counter })
}

fn pieces(from: i64, made: &[Option<Made>]) -> Vec<Seen> {
    (from..).zip(made).map(|(offset, made)| seen(offset as usize, *made, 0)).collect()
}

fn one_partition(start: i64, pieces: &[Seen]) -> Counts {
    let mut follower = Follower::new("t", &[(start, 1 << 30)], &[]);
    follower.see(0, pieces, None);
    follower.finish().counts
}

#[test]
fn an_empty_topic_has_nothing_of_a_relay_in_it() {
    let report = Follower::new("t", &[(0, 0), (7, 7)], &[]).finish();
    assert_eq!((report.counts, report.relays.len(), report.partitions.len()), (Counts::default(), 0, 2));
}

#[test]
fn what_lies_before_the_start_of_the_log_is_expired_and_what_lies_behind_it_missing() {
    let counts = one_partition(40, &pieces(40, &[relay(1, 41, 40), relay(1, 43, 42)]));
    assert_eq!((counts.expired, counts.missing, counts.events), (40, 1, 2));
}

#[test]
fn what_expires_while_it_is_read_is_not_missing() {
    let mut all = pieces(0, &[relay(1, 1, 0)]);
    all.push(Seen::Cut { start: 10 });
    all.extend(pieces(10, &[relay(1, 11, 10), relay(1, 13, 12)]));
    let counts = one_partition(0, &all);
    assert_eq!((counts.expired, counts.missing, counts.removed), (9, 1, 0));
}

#[test]
fn what_compaction_took_away_left_a_hole_in_the_offsets_and_is_not_missing() {
    let mut all = pieces(0, &[relay(1, 1, 0)]);
    // Offsets 1 and 2 are gone, and the numbers 1 to 3.
    all.extend(pieces(3, &[relay(1, 5, 4)]));
    // A batch whose last two records are gone.
    all.push(Seen::End { at: 6 });
    all.extend(pieces(6, &[relay(1, 8, 7)]));
    let counts = one_partition(0, &all);
    assert_eq!((counts.removed, counts.missing, counts.events), (4, 1, 3));
}

#[test]
fn transaction_markers_are_no_holes() {
    let mut all = pieces(0, &[relay(1, 1, 0)]);
    all.push(Seen::Marker { from: 1, to: 2 });
    all.extend(pieces(2, &[relay(1, 3, 2)]));
    let counts = one_partition(0, &all);
    assert_eq!((counts.removed, counts.missing), (0, 1));
}

#[test]
fn an_event_that_was_sent_again_under_a_new_number_is_doubled() {
    // At-least-once, killed: what was in flight is sent again under the numbers that follow.
    let counts =
        one_partition(0, &pieces(0, &[relay(1, 1, 0), relay(1, 2, 1), relay(1, 2, 2), relay(1, 3, 3)]));
    assert_eq!((counts.doubled, counts.events, counts.reordered, counts.missing), (1, 3, 0, 0));
}

#[test]
fn a_replay_under_another_counter_is_doubled() {
    let mut all = pieces(0, &[relay(1, 1, 0), relay(1, 2, 1)]);
    let again = header(relay(1, 2, 0).unwrap(), 77);
    all.push(Seen::Record { offset: 2, mark: Mark::Relay(again), hash: 0 });
    let counts = one_partition(0, &all);
    assert_eq!((counts.doubled, counts.events, counts.missing), (1, 2, 0));
}

#[test]
fn an_event_that_a_copy_of_the_data_directory_sent_too_is_doubled() {
    let mut all = pieces(0, &[relay(1, 1, 0), relay(1, 2, 1)]);
    let copy = RecordHeader { incarnation: 99, ..header(relay(1, 2, 0).unwrap(), 5) };
    all.push(Seen::Record { offset: 2, mark: Mark::Relay(copy), hash: 0 });
    let counts = one_partition(0, &all);
    assert_eq!((counts.doubled, counts.events, counts.missing), (1, 2, 0));
}

#[test]
fn numbers_used_again_for_other_events_are_told() {
    // Its positions were set back: 1 and 2 name other events now.
    let set_back =
        [relay(1, 1, 0), relay(1, 2, 1), relay(1, 3, 2), relay(1, 4, 1), relay(1, 5, 2), relay(1, 6, 3)];
    let counts = one_partition(0, &pieces(0, &set_back));
    assert_eq!((counts.renumbered, counts.doubled, counts.events, counts.missing), (2, 0, 6, 0));
}

#[test]
fn an_event_that_overtook_another_of_its_lane_is_seen_though_the_counter_is_dense() {
    let counts = one_partition(0, &pieces(0, &[relay(1, 2, 0), relay(1, 1, 1), relay(1, 3, 2)]));
    assert_eq!((counts.reordered, counts.missing, counts.doubled), (1, 0, 0));
}

#[test]
fn a_number_given_twice_after_damage_is_two_events_in_order() {
    let counts =
        one_partition(0, &pieces(0, &[relay(1, 7, 0), relay(1, 8, 1), relay(2, 7, 2), relay(2, 8, 3)]));
    assert_eq!((counts.events, counts.is_damaged()), (4, false));
}

#[test]
fn of_several_relays_one_can_be_asked_for() {
    let other = Made { relay: 2, run: 1, seq: 9, counter: 9 };
    let extents = [(0, 3)];
    let mut follower = Follower::new("t", &extents, &[1]);
    follower.see(0, &pieces(0, &[relay(1, 1, 0), Some(other), None]), None);
    let report = follower.finish();
    assert_eq!((report.counts.events, report.other_relays, report.foreign), (1, 1, 1));
    assert!(!report.counts.is_damaged());
    assert_eq!(report.relays[0].incarnation, "00000001");
}

#[test]
fn an_unreadable_header_is_not_foreign() {
    let piece = Seen::Record { offset: 0, mark: Mark::Unreadable, hash: 0 };
    let mut follower = Follower::new("t", &[(0, 1)], &[]);
    follower.see(0, &[piece], None);
    let report = follower.finish();
    assert_eq!((report.unreadable, report.foreign, report.counts.records), (1, 0, 0));
}
