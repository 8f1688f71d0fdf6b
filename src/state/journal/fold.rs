//! What the journal says of positions that are older than it.

use std::collections::BTreeMap;

use super::intent::{Before, Intent, Share};
use crate::ids::{Seq, TopicName};
use crate::state::positions::{Apart, Partial, Positions, Replaying, TopicCounters};

/// The highest number that intents name: each was durable in the log, so no new event must be given one below.
#[must_use]
pub fn highest(intents: &[Intent]) -> Seq {
    intents.iter().flat_map(|i| &i.shares).map(Share::end).max().unwrap_or(Seq::NONE)
}

/// Brings `positions` up to what `intents` prove, and returns those that are in doubt, at most one a partition.
///
/// Each intent says what became of the one before it in its partition. The last of a partition is in doubt, unless the
/// positions have all of its events as settled.
#[must_use]
pub fn fold(positions: &mut Positions, intents: Vec<Intent>) -> Vec<Intent> {
    let mut settled: BTreeMap<Seq, Partial> =
        std::mem::take(&mut positions.partial).into_iter().map(|p| (p.first, p)).collect();
    let mut last: BTreeMap<(TopicName, i32), Intent> = BTreeMap::new();
    for intent in intents {
        let key = (intent.topic.clone(), intent.partition);
        let before = intent.before;
        let previous = last.remove(&key);
        if let Some(previous) =
            previous.filter(|previous| before == Before::Appended && !intent.repeats(previous))
        {
            settle(positions, &mut settled, &previous);
        }
        last.insert(key, intent);
    }
    let (mut doubtful, mut done) = (Vec::new(), Vec::new());
    for intent in last.into_values() {
        // A withdrawal has no events, and says nothing of the counter.
        if intent.shares.is_empty() {
            continue;
        }
        if is_known(positions, &settled, &intent) { done.push(intent) } else { doubtful.push(intent) }
    }
    done.iter().for_each(|intent| count_on(positions, intent, false));
    positions.partial = settled.into_values().collect();
    doubtful
}

fn settle(positions: &mut Positions, settled: &mut BTreeMap<Seq, Partial>, intent: &Intent) {
    let is_news = !is_known(positions, settled, intent);
    for share in intent.shares.iter().filter(|share| !is_passed(positions, intent, share)).collect::<Vec<_>>()
    {
        if is_replayed(positions, share) {
            positions.replaying.retain(|r| !names(r, share));
            positions.totals.delivered += u64::from(share.block >= positions.since);
            continue;
        }
        let block =
            settled.entry(share.block).or_insert_with(|| Partial::new(share.block, share.events.len()));
        block.settled.add(&share.events);
    }
    settle_apart(positions, intent);
    count_on(positions, intent, is_news);
}

/// The counter goes on behind a window that is in the log. Where the positions knew of the window already, so do their
/// counters, and they may have begun a new epoch since.
fn count_on(positions: &mut Positions, intent: &Intent, is_news: bool) {
    let known = positions.counters.iter().position(|c| c.topic == intent.topic);
    let fresh = || TopicCounters::none(intent.topic.clone(), intent.topic_id);
    let mut counters = known.map_or_else(fresh, |at| positions.counters.swap_remove(at));
    if is_news && counters.id != intent.topic_id && intent.topic_id != [0; 16] {
        counters = fresh();
    }
    let mut next = intent.counter;
    next.next += u64::from(intent.count());
    let saved = counters.partitions.entry(intent.partition).or_insert(next);
    if is_news && saved.epoch != next.epoch || saved.epoch == next.epoch && saved.next < next.next {
        *saved = next;
    }
    // A letter that was sent again is older than what went before it.
    let newest = intent.shares.iter().filter_map(Share::newest).max();
    let known = counters.newest.get(&intent.partition).copied();
    if let Some(newest) = newest.max(known) {
        counters.newest.insert(intent.partition, newest);
    }
    positions.counters.push(counters);
}

/// The partition of a window may have a reader of its own: then the window's events are that one's, and no other's, as far as its
/// blocks go.
fn apart<'a>(positions: &'a Positions, intent: &Intent, share: &Share) -> Option<&'a Apart> {
    let mut aparts =
        positions.sides.iter().filter(|side| side.topic == intent.topic).flat_map(|side| &side.apart);
    aparts.find(|apart| apart.keys.partition == intent.partition && apart.has(share.block))
}

/// Also where another partition's reader has its events: a process that had no such reader any more may have counted otherwise.
/// What is not a reader's own it passes over anyway.
fn settle_apart(positions: &mut Positions, intent: &Intent) {
    let of_topic = positions.sides.iter_mut().filter(|side| side.topic == intent.topic);
    for apart in of_topic.flat_map(|side| &mut side.apart) {
        for share in &intent.shares {
            if !apart.has(share.block) || share.end() <= apart.position {
                continue;
            }
            match apart.partial.iter_mut().find(|block| block.first == share.block) {
                Some(block) => block.settled.add(&share.events),
                None => apart
                    .partial
                    .push(Partial { settled: share.events.clone(), ..Partial::new(share.block, 0) }),
            }
        }
        apart.partial.sort_by_key(|block| block.first);
    }
}

/// Whether the positions know that a window has arrived, or what else became of its events.
fn is_known(positions: &Positions, settled: &BTreeMap<Seq, Partial>, intent: &Intent) -> bool {
    is_counted(positions, intent)
        || intent.shares.iter().all(|share| is_settled(positions, settled, intent, share))
}

/// Whether the counter of its partition is past a window. Of one that went before its partition had a reader of its own it may not
/// be known whose events it has.
fn is_counted(positions: &Positions, intent: &Intent) -> bool {
    // A topic that was made anew counts anew, now and then in an epoch that the one before had.
    let is_another = |id: [u8; 16]| id != intent.topic_id && id != [0; 16] && intent.topic_id != [0; 16];
    let saved = positions.counters.iter().find(|c| c.topic == intent.topic && !is_another(c.id));
    let saved = saved.and_then(|counters| counters.partitions.get(&intent.partition));
    let end = intent.counter.next + u64::from(intent.count());
    saved.is_some_and(|saved| saved.epoch == intent.counter.epoch && saved.next >= end)
        && !intent.shares.iter().any(|share| is_replayed(positions, share))
}

/// Whether the reader that has a block is past it: then all of it is settled.
fn is_passed(positions: &Positions, intent: &Intent, share: &Share) -> bool {
    let owns = |from: Seq, end: Option<Seq>| from <= share.block && end.is_none_or(|end| share.block < end);
    let side = positions.sides.iter().find(|s| s.topic == intent.topic && owns(s.from, s.end));
    if has_arrived(positions, share) {
        return true;
    }
    !is_replayed(positions, share) && share.end() <= side.map_or(positions.position, |s| s.position)
}

/// Whether it is a dead letter that is being sent again: the readers are past it, and it is not settled all the same.
fn is_replayed(positions: &Positions, share: &Share) -> bool {
    positions.replaying.iter().any(|r| !r.has_arrived() && names(r, share))
}

/// Whether it is a dead letter that was sent again and arrived, whatever the readers are past.
fn has_arrived(positions: &Positions, share: &Share) -> bool {
    positions.replaying.iter().any(|r| r.has_arrived() && names(r, share))
}

fn names(replaying: &Replaying, share: &Share) -> bool {
    share.events.len() == 1 && replaying.seq == share.block && replaying.run == share.run
}

fn is_settled(
    positions: &Positions,
    settled: &BTreeMap<Seq, Partial>,
    intent: &Intent,
    share: &Share,
) -> bool {
    let has_all = |block: &Partial| share.events.ones().all(|i| block.settled.get(i));
    if let Some(apart) = apart(positions, intent, share) {
        let known = apart.partial.iter().find(|block| block.first == share.block);
        let of_topic = settled.get(&share.block);
        let has = |i| [known, of_topic].into_iter().flatten().any(|block| block.settled.get(i));
        return !is_replayed(positions, share)
            && (share.end() <= apart.position || share.events.ones().all(has));
    }
    is_passed(positions, intent, share) || settled.get(&share.block).is_some_and(has_all)
}

#[cfg(test)]
mod tests;
