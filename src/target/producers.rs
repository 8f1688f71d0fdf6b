//! What a partition remembers of its producers, and what that says of a new batch.
//!
//! The rules are a real broker's (`ProducerStateEntry`, `ProducerAppendInfo`; seen on Kafka 3.9 to 4.4):
//! the last five batches of a (producer id, partition) are known, the same numbers again are a duplicate and
//! answered with the first copy's offset whatever the bytes are, a gap is 45, an older epoch 47, a newer
//! epoch begins at 0. Without any state everything is taken. After a restart only the *last* batch is known.

use std::collections::{HashMap, VecDeque};

use super::batch::BatchHeader;
use super::code::{self, Code};

/// How many batches are known while the broker lives.
const REMEMBERED: usize = 5;

/// One appended batch of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    first: i32,
    last: i32,
    base_offset: i64,
}

#[derive(Debug, Clone, Default)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Known>,
}

/// What is to be done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Append it.
    New,
    /// It was appended before, at this offset.
    Duplicate(i64),
    /// Refuse it.
    Refused(Code),
}

/// Every producer of one partition. Bounded: the ids of at most [`MAX_PRODUCERS`] producers, then the state
/// is dropped as a whole, which a producer notices no more than an expiry.
#[derive(Debug, Clone, Default)]
pub(super) struct Producers {
    known: HashMap<i64, Producer>,
}

/// More than any test or demonstration has.
const MAX_PRODUCERS: usize = 10_000;

impl Producers {
    /// Judges a checked batch. Changes nothing.
    pub(super) fn judge(&self, batch: &BatchHeader) -> Verdict {
        if !batch.is_idempotent() {
            return Verdict::New;
        }
        let Some(producer) = self.known.get(&batch.producer_id) else { return Verdict::New };
        if batch.producer_epoch < producer.epoch {
            return Verdict::Refused(code::INVALID_PRODUCER_EPOCH);
        }
        if batch.producer_epoch > producer.epoch {
            let at_start = batch.base_sequence == 0;
            return if at_start { Verdict::New } else { Verdict::Refused(code::OUT_OF_ORDER_SEQUENCE) };
        }
        producer.judge(batch)
    }

    /// Remembers an appended batch, whose base offset is the one given by the log.
    pub(super) fn remember(&mut self, batch: &BatchHeader) {
        if !batch.is_idempotent() {
            return;
        }
        if self.known.len() >= MAX_PRODUCERS && !self.known.contains_key(&batch.producer_id) {
            self.known.clear();
        }
        let producer = self.known.entry(batch.producer_id).or_default();
        if producer.epoch != batch.producer_epoch {
            *producer = Producer { epoch: batch.producer_epoch, batches: VecDeque::new() };
        }
        if producer.batches.len() == REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Known {
            first: batch.base_sequence,
            last: batch.last_sequence(),
            base_offset: batch.base_offset,
        });
    }

    /// What a restart does: only the last batch of each producer is in the snapshot.
    pub(super) fn keep_last(&mut self) {
        for producer in self.known.values_mut() {
            let last = producer.batches.pop_back();
            producer.batches = last.into_iter().collect();
        }
    }

    /// What expiry does: no producer is known.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}

impl Producer {
    fn judge(&self, batch: &BatchHeader) -> Verdict {
        let same = |k: &&Known| k.first == batch.base_sequence && k.last == batch.last_sequence();
        if let Some(known) = self.batches.iter().find(same) {
            return Verdict::Duplicate(known.base_offset);
        }
        let in_order = self.batches.back().is_none_or(|k| follows(k.last, batch.base_sequence));
        if in_order { Verdict::New } else { Verdict::Refused(code::OUT_OF_ORDER_SEQUENCE) }
    }
}

/// After 2^31-1 comes 0.
fn follows(last: i32, next: i32) -> bool {
    last.checked_add(1).unwrap_or(0) == next
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(id: i64, epoch: i16, first: i32, count: i32, offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset: offset,
            size: 61,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            max_timestamp: 0,
            producer_id: id,
            producer_epoch: epoch,
            base_sequence: first,
            count,
        }
    }

    fn six() -> Producers {
        let mut producers = Producers::default();
        (0..6).for_each(|n| producers.remember(&batch(7, 0, n * 10, 10, i64::from(n) * 10)));
        producers
    }

    #[test]
    fn the_last_five_batches_are_duplicates_and_the_sixth_is_out_of_order() {
        let producers = six();
        for n in 1..6 {
            assert_eq!(producers.judge(&batch(7, 0, n * 10, 10, 0)), Verdict::Duplicate(i64::from(n) * 10));
        }
        assert_eq!(producers.judge(&batch(7, 0, 0, 10, 0)), Verdict::Refused(45));
        assert_eq!(producers.judge(&batch(7, 0, 60, 10, 0)), Verdict::New);
    }

    #[test]
    fn after_a_restart_only_the_last_batch_is_known() {
        let mut producers = six();
        producers.keep_last();
        assert_eq!(producers.judge(&batch(7, 0, 50, 10, 0)), Verdict::Duplicate(50));
        assert_eq!(producers.judge(&batch(7, 0, 40, 10, 0)), Verdict::Refused(45));
        assert_eq!(producers.judge(&batch(7, 0, 60, 1, 0)), Verdict::New);
    }

    #[test]
    fn gaps_merged_and_split_batches_are_out_of_order() {
        let producers = six();
        for (first, count) in [(61, 1), (50, 5), (40, 20), (55, 10)] {
            assert_eq!(
                producers.judge(&batch(7, 0, first, count, 0)),
                Verdict::Refused(45),
                "{first}+{count}"
            );
        }
    }

    #[test]
    fn an_old_epoch_is_fenced_and_a_new_one_begins_at_zero() {
        let mut producers = six();
        assert_eq!(producers.judge(&batch(7, 1, 60, 1, 0)), Verdict::Refused(45));
        assert_eq!(producers.judge(&batch(7, 1, 0, 1, 0)), Verdict::New);
        producers.remember(&batch(7, 1, 0, 1, 60));
        assert_eq!(producers.judge(&batch(7, 0, 60, 1, 0)), Verdict::Refused(47));
        assert_eq!(producers.judge(&batch(7, 1, 1, 1, 0)), Verdict::New);
    }

    #[test]
    fn without_state_or_producer_id_everything_is_taken() {
        let mut producers = six();
        assert_eq!(producers.judge(&batch(8, 3, 99, 1, 0)), Verdict::New);
        assert_eq!(producers.judge(&batch(-1, -1, -1, 1, 0)), Verdict::New);
        producers.clear();
        assert_eq!(producers.judge(&batch(7, 0, 10, 10, 0)), Verdict::New);
    }

    proptest! {
        #[test]
        fn sequences_wrap_to_zero_also_inside_a_batch(back in 0i32..50, count in 1i32..50, next in 1i32..50) {
            let mut producers = Producers::default();
            let first = batch(1, 0, i32::MAX - back, count, 0);
            producers.remember(&first);
            prop_assert_eq!(producers.judge(&first), Verdict::Duplicate(0));
            let expected = i32::try_from((i64::from(i32::MAX - back) + i64::from(count)) % (1 << 31)).unwrap();
            prop_assert_eq!(producers.judge(&batch(1, 0, expected, next, 0)), Verdict::New);
            let gap = expected.checked_add(1).unwrap_or(0);
            prop_assert_eq!(producers.judge(&batch(1, 0, gap, next, 0)), Verdict::Refused(45));
        }
    }
}
