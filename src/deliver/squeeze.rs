//! How well a topic's windows are compressed, and so how much may be put into the next one.
//!
//! What a topic limits (`max.message.bytes`) is a batch as it is sent. On a link with a long round trip the size of a window
//! decides the speed, since one is in flight at a time; so a window takes what is expected to be compressed into
//! `batch_size`, as the Java client reckons too. A guess that was too high costs one refusal, and is forgotten.

/// A window holds at most so many times `batch_size` before compression ...
const MOST_TIMES: usize = 4;
/// ... and no more than this, unless `batch_size` itself is larger: windows are held in memory, and one thread compresses them.
const MOST: usize = 2 << 20;
/// Kept free, since windows differ: a sixteenth.
const MARGIN: usize = 16;
/// A better ratio is believed by so much each time.
const TRUST: usize = 8;
const WHOLE: usize = 1000;

/// The share that is left of a topic's windows once they are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Squeeze {
    per_mille: usize,
}

impl Default for Squeeze {
    /// Nothing is known: as if nothing were compressed.
    fn default() -> Self {
        Self { per_mille: WHOLE }
    }
}

impl Squeeze {
    /// A window of `before` bytes became one of `sent`. Those that are small beside `batch_size` say nothing of large ones. What is worse
    /// than expected is believed at once.
    pub fn note(&mut self, before: usize, sent: usize, batch_size: usize) {
        if before < batch_size / 2 || before == 0 {
            return;
        }
        let seen = sent.saturating_mul(WHOLE).div_ceil(before).clamp(1, WHOLE);
        let better = self.per_mille.saturating_sub(seen);
        self.per_mille = seen.max(self.per_mille - better.div_ceil(TRUST));
    }

    /// Bytes before compression that are expected to be sent as `batch_size` at most; never fewer than `batch_size`.
    #[must_use]
    pub fn room(&self, batch_size: usize) -> usize {
        let expected = batch_size.saturating_mul(WHOLE) / self.per_mille;
        let most = batch_size.saturating_mul(MOST_TIMES).min(MOST.max(batch_size));
        (expected - expected / MARGIN).clamp(batch_size, most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn windows_grow_with_what_compression_saves_and_are_small_again_after_one_that_could_not_be_compressed() {
        let (mut squeeze, size) = (Squeeze::default(), 900 * KIB);
        assert_eq!(squeeze.room(size), size);
        for _ in 0..40 {
            let room = squeeze.room(size);
            squeeze.note(room, room * 6 / 10, size);
        }
        assert_eq!(squeeze, Squeeze { per_mille: 600 });
        assert_eq!(squeeze.room(size), 1_440_000);
        squeeze.note(squeeze.room(size), squeeze.room(size), size);
        assert_eq!(squeeze.room(size), size);
    }

    #[test]
    fn small_windows_say_nothing_of_large_ones() {
        let mut squeeze = Squeeze { per_mille: 300 };
        squeeze.note(449, 449, 900);
        squeeze.note(0, 100, 0);
        assert_eq!(squeeze, Squeeze { per_mille: 300 });
        squeeze.note(450, 450, 900);
        assert_eq!(squeeze, Squeeze::default());
    }

    proptest! {
        #[test]
        fn a_window_is_never_smaller_than_batch_size_nor_larger_than_memory_allows(
            size in 1usize..32 << 20,
            windows in prop::collection::vec((0usize..4 << 20, 0usize..4 << 20), 0..60),
        ) {
            let mut squeeze = Squeeze::default();
            for (before, sent) in windows {
                squeeze.note(before, sent, size);
                let room = squeeze.room(size);
                prop_assert!(room >= size && room <= size * 4 && room <= size.max(2 << 20));
            }
        }

        /// The worst of the last windows bounds what the next one is expected to be.
        #[test]
        fn what_compresses_as_the_last_window_did_fits(
            size in 64 * KIB..1 << 20,
            shares in prop::collection::vec(1usize..=1000, 1..60),
        ) {
            let mut squeeze = Squeeze::default();
            for share in shares {
                let before = squeeze.room(size);
                squeeze.note(before, before * share / 1000, size);
                prop_assert!(squeeze.room(size) * share / 1000 <= size);
            }
        }
    }
}
