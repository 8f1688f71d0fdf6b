//! A fixed number of bits: which events of a block are settled.

/// Bits `0..len`, all clear at first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bits {
    words: Vec<u64>,
    len: u32,
}

fn place(index: u32) -> (usize, u64) {
    ((index / 64) as usize, 1 << (index % 64))
}

impl Bits {
    /// `len` clear bits.
    #[must_use]
    pub fn new(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len }
    }

    /// `len` set bits.
    #[must_use]
    pub fn full(len: u32) -> Self {
        Self::from_words(len, std::iter::repeat(u64::MAX))
    }

    /// Takes words as [`Bits::words`] gave them; missing words are clear, bits beyond `len` are dropped.
    #[must_use]
    pub fn from_words(len: u32, words: impl IntoIterator<Item = u64>) -> Self {
        let mut bits = Self::new(len);
        bits.words.iter_mut().zip(words).for_each(|(word, given)| *word = given);
        let used = len % 64;
        if used != 0 {
            bits.words.iter_mut().last().into_iter().for_each(|last| *last &= (1 << used) - 1);
        }
        bits
    }

    /// The bits, 64 a word, the first in the lowest bit of the first word.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// How many bits there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Which bits are set, in order.
    pub fn ones(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        let words = (0u32..).step_by(64).zip(&self.words).filter(|(_, word)| **word != 0);
        words.flat_map(|(first, word)| {
            (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| first + bit)
        })
    }

    /// Sets every bit that is set in `other`.
    pub fn add(&mut self, other: &Bits) {
        other.ones().for_each(|index| self.set_all(index..index + 1));
    }

    /// Sets the bits of a range.
    pub fn set_all(&mut self, range: std::ops::Range<u32>) {
        for index in range {
            self.set(index);
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether bit `index` is set; beyond the end nothing is.
    #[must_use]
    pub fn get(&self, index: u32) -> bool {
        let (word, mask) = place(index);
        self.words.get(word).is_some_and(|w| w & mask != 0)
    }

    /// Sets bit `index`; returns whether that changed it. Beyond the end there is nothing to set.
    pub fn set(&mut self, index: u32) -> bool {
        if index >= self.len {
            return false;
        }
        let (word, mask) = place(index);
        self.words.get_mut(word).is_some_and(|w| {
            let was_clear = *w & mask == 0;
            *w |= mask;
            was_clear
        })
    }

    /// Clears bit `index`.
    pub fn clear(&mut self, index: u32) {
        let (word, mask) = place(index);
        self.words.get_mut(word).into_iter().for_each(|w| *w &= !mask);
    }

    /// How many bits are set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.iter().map(|w| w.count_ones()).sum()
    }

    /// Whether every bit is set.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count() == self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_end_do_not_exist() {
        let mut bits = Bits::from_words(3, [u64::MAX, u64::MAX]);
        assert_eq!(bits.count(), 3);
        assert!(bits.is_full());
        assert!(!bits.set(3));
        assert!(!bits.get(64));
    }

    #[test]
    fn every_bit_is_its_own() {
        for len in [1, 63, 64, 65, 128, 130] {
            for index in 0..len {
                let mut bits = Bits::new(len);
                assert!(bits.set(index));
                let set: Vec<_> = (0..len + 70).filter(|i| bits.get(*i)).collect();
                assert_eq!((set, bits.count()), (vec![index], 1), "of {len}");
                assert_eq!(Bits::from_words(len, bits.words().iter().copied()), bits);
                assert_eq!(bits.is_full(), len == 1);
                bits.clear(index);
                assert_eq!(bits, Bits::new(len));
            }
            let all = Bits::from_words(len, [u64::MAX; 3]);
            assert_eq!((all.len(), all.count(), all.is_full(), all.is_empty()), (len, len, true, false));
            let mut all_but_the_first = all.clone();
            all_but_the_first.clear(0);
            all_but_the_first.clear(len + 1);
            assert_eq!((all_but_the_first.count(), all_but_the_first.get(0)), (len - 1, false));
        }
        assert!(Bits::new(0).is_empty() && Bits::new(0).is_full());
    }

    #[test]
    fn setting_twice_counts_once() {
        let mut bits = Bits::new(130);
        assert!(bits.set(129));
        assert!(!bits.set(129));
        assert_eq!(bits.count(), 1);
        bits.clear(129);
        assert_eq!(bits, Bits::new(130));
    }
}
