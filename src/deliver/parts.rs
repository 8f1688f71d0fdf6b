//! Which events a window holds, exactly.

use crate::ids::{RunId, Seq};
use crate::state::journal::{Intent, Share};
use crate::state::positions::Bits;

/// Consecutive events of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    block: Seq,
    start: u32,
    len: u32,
}

/// A block that events are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Number of its first event.
    pub first: Seq,
    /// The run under which it was written.
    pub run: RunId,
    /// How many events it holds.
    pub len: u32,
}

/// Events by block and index, in the order they were added; runs are stored as runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    parts: Vec<Part>,
    blocks: Vec<Block>,
    count: u32,
}

impl Parts {
    /// The events that an intent names.
    #[must_use]
    pub fn of(intent: &Intent) -> Self {
        let mut parts = Self::default();
        for share in &intent.shares {
            let block = Block { first: share.block, run: share.run, len: share.events.len() };
            share.events.ones().for_each(|index| parts.push(block, index));
        }
        parts
    }

    /// Adds event `index` of a block.
    pub fn push(&mut self, block: Block, index: u32) {
        self.count += 1;
        if let Some(last) = self.parts.last_mut()
            && last.block == block.first
            && last.start + last.len == index
        {
            last.len += 1;
            return;
        }
        self.parts.push(Part { block: block.first, start: index, len: 1 });
        if self.blocks.last() != Some(&block) {
            self.blocks.push(block);
        }
    }

    /// How many events it holds.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The event that was added last.
    #[must_use]
    pub fn last(&self) -> Option<Seq> {
        self.parts.last().map(|part| part.block.plus(u64::from(part.start + part.len - 1)))
    }

    /// Block and index of the event at a place in the window.
    #[must_use]
    pub fn nth(&self, place: u32) -> Option<(Seq, u32)> {
        let mut before = 0;
        for part in &self.parts {
            if place - before < part.len {
                return Some((part.block, part.start + (place - before)));
            }
            before += part.len;
        }
        None
    }

    /// Block and indices of every run.
    pub fn iter(&self) -> impl Iterator<Item = (Seq, std::ops::Range<u32>)> + '_ {
        self.parts.iter().map(|p| (p.block, p.start..p.start + p.len))
    }

    /// The same, block by block, as an intent names them.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let mut runs = self.parts.iter().peekable();
        let shares = self.blocks.iter().map(|block| {
            let mut events = Bits::new(block.len);
            while let Some(run) = runs.next_if(|run| run.block == block.first) {
                events.set_all(run.start..run.start + run.len);
            }
            Share { block: block.first, run: block.run, events }
        });
        shares.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_run() {
        let block = |first| Block { first: Seq(first), run: RunId(7), len: 6 };
        let mut parts = Parts::default();
        for (first, index) in [(1, 0), (1, 1), (1, 3), (9, 4), (9, 5)] {
            parts.push(block(first), index);
        }
        let runs: Vec<_> = parts.iter().collect();
        assert_eq!(runs, [(Seq(1), 0..2), (Seq(1), 3..4), (Seq(9), 4..6)]);
        assert_eq!((parts.count(), parts.last()), (5, Some(Seq(14))));
        assert_eq!(Parts::default().last(), None);
        let places: Vec<_> =
            (0..6).filter_map(|i| parts.nth(i)).map(|(block, index)| (block.0, index)).collect();
        assert_eq!(places, [(1, 0), (1, 1), (1, 3), (9, 4), (9, 5)]);
        let shares = parts.shares();
        let words = |i: usize| shares[i].events.words().to_vec();
        assert_eq!((shares.len(), words(0), words(1)), (2, vec![0b1011], vec![0b110000]));
        assert_eq!((shares[1].block, shares[1].run, shares[1].end()), (Seq(9), RunId(7), Seq(15)));
    }
}
