//! What has become of letters: `<data_dir>/dead-letters/marks`, a file of slots.
//!
//! ```text
//! value = version u16 (1) · 0 u16 · spool u64 · next u64 · taken count u32 · ids u64 … · gone count u32 · (first u64 · end u64) …
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::SpoolId;

const VERSION: u16 = 1;

/// The marks. Small: letters are thrown away or sent again many at a time, so ranges of numbers say it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Marks {
    /// The next letter's number is at least this.
    pub(super) next: u64,
    /// Letters that are being sent again.
    pub(super) taken: BTreeSet<u64>,
    /// Letters that are there no more: first number and the number after the last.
    gone: BTreeMap<u64, u64>,
}

impl Marks {
    /// Whether a letter is neither gone nor being sent again.
    pub(super) fn is_there(&self, id: u64) -> bool {
        !self.taken.contains(&id) && !self.is_gone(id)
    }

    pub(super) fn is_gone(&self, id: u64) -> bool {
        self.gone.range(..=id).next_back().is_some_and(|(_, end)| id < *end)
    }

    /// A letter is gone for good.
    pub(super) fn set_gone(&mut self, id: u64) {
        self.taken.remove(&id);
        if self.is_gone(id) {
            return;
        }
        let mut end = id + 1;
        if let Some(after) = self.gone.remove(&end) {
            end = after;
        }
        match self.gone.range_mut(..=id).next_back() {
            Some((_, before)) if *before == id => *before = end,
            _ => drop(self.gone.insert(id, end)),
        }
    }

    /// Numbers below `first` are in no file any more, and need no mark.
    pub(super) fn forget_below(&mut self, first: u64) {
        self.gone.retain(|_, end| *end > first);
    }

    pub(super) fn encode(&self, spool: SpoolId) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 2]);
        out.extend(spool.0.to_le_bytes());
        out.extend(self.next.to_le_bytes());
        out.extend(u32::try_from(self.taken.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.taken.iter().for_each(|id| out.extend(id.to_le_bytes()));
        out.extend(u32::try_from(self.gone.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.gone.iter().flat_map(|(first, end)| [first, end]).for_each(|n| out.extend(n.to_le_bytes()));
        out
    }

    /// `None` where it is none, or another spool's.
    pub(super) fn decode(mut bytes: &[u8], spool: SpoolId) -> Option<Self> {
        let rest = &mut bytes;
        let version = u16::from_le_bytes(array(rest)?);
        let _reserved: [u8; 2] = array(rest)?;
        if version != VERSION || u64::from_le_bytes(array(rest)?) != spool.0 {
            return None;
        }
        let mut marks = Self { next: u64::from_le_bytes(array(rest)?), ..Self::default() };
        for _ in 0..u32::from_le_bytes(array(rest)?) {
            marks.taken.insert(u64::from_le_bytes(array(rest)?));
        }
        for _ in 0..u32::from_le_bytes(array(rest)?) {
            let (first, end) = (u64::from_le_bytes(array(rest)?), u64::from_le_bytes(array(rest)?));
            marks.gone.insert(first, end);
        }
        Some(marks)
    }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn marks_say_what_a_set_would_say_and_are_read_back(ids in proptest::collection::vec(1u64..40, 0..60)) {
            let mut marks = Marks { next: 77, taken: [3, 9].into(), ..Marks::default() };
            ids.iter().for_each(|id| marks.set_gone(*id));
            for id in 1..45 {
                prop_assert_eq!(marks.is_gone(id), ids.contains(&id), "{}", id);
            }
            let mut ends: Vec<_> = marks.gone.iter().collect();
            ends.dedup_by(|b, a| a.1 >= b.0);
            prop_assert_eq!(ends.len(), marks.gone.len(), "neighbours are one range");
            let read = Marks::decode(&marks.encode(SpoolId(5)), SpoolId(5));
            prop_assert_eq!(read.as_ref(), Some(&marks));
            prop_assert_eq!(Marks::decode(&marks.encode(SpoolId(5)), SpoolId(6)), None);
        }
    }

    #[test]
    fn marks_below_the_first_letter_on_disk_are_forgotten() {
        let mut marks = Marks { next: 30, ..Marks::default() };
        [1, 2, 3, 4, 8, 9, 12].iter().for_each(|id| marks.set_gone(*id));
        let gone = |marks: &Marks| (1..15).filter(|id| marks.is_gone(*id)).collect::<Vec<_>>();
        marks.forget_below(4);
        assert_eq!(gone(&marks), [1, 2, 3, 4, 8, 9, 12], "one range");
        marks.forget_below(5);
        assert_eq!(gone(&marks), [8, 9, 12]);
        marks.forget_below(10);
        assert_eq!(gone(&marks), [12]);
    }
}
