//! Which events a window holds, exactly.

use crate::ids::Seq;

/// Consecutive events of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    block: Seq,
    start: u32,
    len: u32,
}

/// Events by block and index, in the order they were added; runs are stored as runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    parts: Vec<Part>,
    count: u32,
}

impl Parts {
    /// Adds event `index` of the block that begins at `block`.
    pub fn push(&mut self, block: Seq, index: u32) {
        self.count += 1;
        if let Some(last) = self.parts.last_mut()
            && last.block == block
            && last.start + last.len == index
        {
            last.len += 1;
            return;
        }
        self.parts.push(Part { block, start: index, len: 1 });
    }

    /// How many events it holds.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The first event.
    #[must_use]
    pub fn first(&self) -> Option<Seq> {
        self.parts.first().map(|p| p.block.plus(u64::from(p.start)))
    }

    /// Block and indices of every run.
    pub fn iter(&self) -> impl Iterator<Item = (Seq, std::ops::Range<u32>)> + '_ {
        self.parts.iter().map(|p| (p.block, p.start..p.start + p.len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_run() {
        let mut parts = Parts::default();
        for (block, index) in [(1, 0), (1, 1), (1, 3), (9, 4), (9, 5)] {
            parts.push(Seq(block), index);
        }
        let runs: Vec<_> = parts.iter().collect();
        assert_eq!(runs, [(Seq(1), 0..2), (Seq(1), 3..4), (Seq(9), 4..6)]);
        assert_eq!((parts.count(), parts.first()), (5, Some(Seq(1))));
    }
}
