//! Which events are a partition's.

use std::collections::{BTreeMap, BTreeSet};

use super::super::fill::keyed_partition;
use crate::config::model::Partitioner;
use crate::event::EventIter;
use crate::ids::{Seq, SeqRange};
use crate::state::ledger::EventSum;
use crate::state::positions::{Bits, Keys};

pub(in super::super) fn code(partitioner: Partitioner) -> u8 {
    match partitioner {
        Partitioner::Java => 0,
        Partitioner::ConsistentRandom => 1,
    }
}

/// The events of a block that are `keys`'s own, wherever it stands.
pub(in super::super) fn own_events(keys: &Keys, range: SeqRange, payload: &[u8]) -> Bits {
    let partitioner = partitioner(keys);
    let mut own = Bits::new(u32::try_from(range.len()).unwrap_or(u32::MAX));
    for (index, event) in (0u32..).zip(EventIter::new(payload).flatten()) {
        if keyed_partition(partitioner, event.key, keys.count) == Some(keys.partition) {
            own.set(index);
        }
    }
    keys.extras_of(range.first).into_iter().for_each(|extras| own.add(extras));
    own
}

/// The same for the partitions of a topic that are apart, those that have any: each key is looked at once, however many they are.
pub(in super::super) fn own_events_of_all<'a>(
    all: impl Iterator<Item = &'a Keys>,
    range: SeqRange,
    payload: &[u8],
) -> Vec<(i32, Bits)> {
    let len = u32::try_from(range.len()).unwrap_or(u32::MAX);
    let mut own: BTreeMap<i32, (&Keys, Bits)> = all.map(|k| (k.partition, (k, Bits::new(len)))).collect();
    let ways: BTreeSet<(u8, u32)> = own.values().map(|(keys, _)| (keys.by, keys.count)).collect();
    for (by, count) in ways {
        for (index, event) in (0u32..).zip(EventIter::new(payload).flatten()) {
            let leads_to = keyed_partition(partitioner_of(by), event.key, count);
            let own = leads_to.and_then(|partition| own.get_mut(&partition));
            if let Some((_, events)) = own.filter(|(keys, _)| (keys.by, keys.count) == (by, count)) {
                events.set(index);
            }
        }
    }
    let with_extras = own.into_iter().map(|(partition, (keys, mut events))| {
        keys.extras_of(range.first).into_iter().for_each(|extras| events.add(extras));
        (partition, events)
    });
    with_extras.filter(|(_, events)| events.count() > 0).collect()
}

/// Whether some of a block's extras have keys that lead to another partition.
pub(super) fn is_foreign_to(keys: &Keys, range: SeqRange, payload: &[u8]) -> bool {
    let Some(extras) = keys.extras_of(range.first) else { return false };
    let mut events = (0u32..).zip(EventIter::new(payload).flatten());
    events.any(|(index, event)| {
        let leads_to = keyed_partition(partitioner(keys), event.key, keys.count);
        extras.get(index) && leads_to.is_some_and(|partition| partition != keys.partition)
    })
}

fn partitioner(keys: &Keys) -> Partitioner {
    partitioner_of(keys.by)
}

fn partitioner_of(by: u8) -> Partitioner {
    if by == code(Partitioner::Java) { Partitioner::Java } else { Partitioner::ConsistentRandom }
}

/// Sum (wrapping) of the hashes of those events of a block that `counts` takes.
pub(in super::super) fn sum(range: SeqRange, payload: &[u8], counts: impl Fn(u32) -> bool) -> u64 {
    let mut sum = EventSum::new();
    let numbered = (0u32..).zip((range.first.0..).zip(EventIter::new(payload).flatten()));
    for (index, (seq, event)) in numbered {
        if counts(index) {
            sum.add(Seq(seq), event.key, event.value);
        }
    }
    sum.get()
}
