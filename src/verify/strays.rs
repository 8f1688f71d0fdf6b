//! Copies that came into another partition than their original.
//!
//! A counter belongs to one partition. Records of it that somebody copied into another one, with their
//! headers, would look there like a counter of which nearly everything is missing; and which of the two is called the
//! copy would depend on which partition was read first. So what was found in a second partition under the same
//! counter is compared with the first when everything is read: if all its numbers are in the first, and as many
//! records were doubled as it has, they are copies and nothing else.

use std::collections::HashMap;

use super::counts::Counts;
use super::follow::{Key, Partition};

/// Counts the copies where they stand.
pub(super) fn settle(partitions: &mut [Partition]) {
    for (key, places) in shared(partitions) {
        for &stray in &places {
            let home = places.iter().copied().find(|&home| is_copy(partitions, key, stray, home));
            if let Some(home) = home {
                mark(partitions, key, stray, home);
            }
        }
    }
}

/// Counters that were seen in several partitions: a copy, or once in 65,536 pairs the same draw.
fn shared(partitions: &[Partition]) -> Vec<(Key, Vec<usize>)> {
    let mut places: HashMap<Key, Vec<usize>> = HashMap::new();
    for (number, partition) in partitions.iter().enumerate() {
        partition.lines.keys().for_each(|key| places.entry(*key).or_default().push(number));
    }
    let mut shared: Vec<_> = places.into_iter().filter(|(_, places)| places.len() > 1).collect();
    shared.sort();
    shared
}

fn is_copy(partitions: &[Partition], key: Key, stray: usize, home: usize) -> bool {
    let line = |at: usize| partitions.get(at).and_then(|p| p.lines.get(&key));
    let (Some(copy), Some(original)) = (line(stray), line(home)) else { return false };
    let (here, there) = (copy.series.seen(), original.series.seen());
    let smaller = here < there || here == there && stray > home;
    smaller
        && copy.series.is_within(&original.series)
        && copy.counts.doubled + original.counts.doubled >= copy.counts.records
}

/// Whatever was read first: the copies are doubled, the originals are the events.
fn mark(partitions: &mut [Partition], key: Key, stray: usize, home: usize) {
    let Some(copy) = partitions.get_mut(stray).and_then(|p| p.lines.get_mut(&key)) else { return };
    let Counts { records, events, .. } = copy.counts;
    copy.counts = Counts { records, doubled: records, ..Counts::default() };
    if let Some(original) = partitions.get_mut(home).and_then(|p| p.lines.get_mut(&key)) {
        original.counts.doubled = original.counts.doubled.saturating_sub(events);
        original.counts.events += events;
    }
}
