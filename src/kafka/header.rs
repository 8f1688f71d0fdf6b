//! The `spoolway` record header: what makes every event on a topic provable without asking the relay.
//!
//! Header name [`NAME`], value [`LEN`] bytes, big-endian:
//!
//! ```text
//! offset  size  field
//!      0     1  version         1
//!      1     4  incarnation     high 32 bits of it: which life of which data directory
//!      5     4  run             high 32 bits of the run id: which opening of the lane
//!      9     2  counter epoch   drawn at random; renewed when the counter's state was lost
//!     11     6  time            the event's own time, milliseconds since 1970, two's complement
//!     17     6  seq             the event's number in its lane
//!     23     5  counter         dense per (lane, destination, topic, partition) within a counter epoch
//! ```
//! (run, seq) is the event's identity. The counter has no gaps and never goes back within an epoch, so a
//! reader of one partition sees a missing, repeated or reordered event from the headers alone.
//!
//! The time holds 47 bits and a sign (4,460 years either way); what lies outside is stored as the nearest
//! value. Sequence and counter wrap at 2^48 and 2^40: a million events a second fill them in 8.9 years of one
//! run and 12.7 days of one counter epoch, so a reader compares counters modulo 2^40.

use crate::event::UnixMillis;
use crate::ids::{Incarnation, RunId, Seq};

/// Name of the record header.
pub const NAME: &str = "spoolway";
/// Length of the header's value in bytes.
pub const LEN: usize = 28;
/// The only version there is.
pub const VERSION: u8 = 1;

const TIME_MIN: i64 = -(1 << 47);
const TIME_MAX: i64 = (1 << 47) - 1;
const SEQ_MASK: u64 = (1 << 48) - 1;
const COUNTER_MASK: u64 = (1 << 40) - 1;

/// The dense counter of a (lane, destination, topic, partition).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Counter {
    /// Which series: a reader compares only counters of one epoch.
    pub epoch: u16,
    /// Number in the series; 40 bits.
    pub value: u64,
}

/// The header's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordHeader {
    /// High 32 bits of the [`Incarnation`].
    pub incarnation: u32,
    /// High 32 bits of the [`RunId`].
    pub run: u32,
    /// The dense counter.
    pub counter: Counter,
    /// The event's time.
    pub time: UnixMillis,
    /// The event's number in its lane.
    pub seq: Seq,
}

impl RecordHeader {
    /// The header of an event.
    #[must_use]
    pub const fn new(life: Incarnation, run: RunId, seq: Seq, time: UnixMillis, counter: Counter) -> Self {
        Self { incarnation: high(life.0), run: high(run.0), counter, time, seq }
    }

    /// The header's value.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        let (version, rest) = out.split_at_mut(1);
        version.copy_from_slice(&[VERSION]);
        let (incarnation, rest) = rest.split_at_mut(4);
        incarnation.copy_from_slice(&self.incarnation.to_be_bytes());
        let (run, rest) = rest.split_at_mut(4);
        run.copy_from_slice(&self.run.to_be_bytes());
        let (epoch, rest) = rest.split_at_mut(2);
        epoch.copy_from_slice(&self.counter.epoch.to_be_bytes());
        let (time, rest) = rest.split_at_mut(6);
        put_low(time, self.time.clamp(TIME_MIN, TIME_MAX).cast_unsigned());
        let (seq, counter) = rest.split_at_mut(6);
        put_low(seq, self.seq.0);
        put_low(counter, self.counter.value);
        out
    }

    /// Reads a header's value. `None` when it is not one of version 1.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        let value: &[u8; LEN] = value.try_into().ok()?;
        let (&version, rest) = value.split_first()?;
        if version != VERSION {
            return None;
        }
        let (incarnation, rest) = rest.split_first_chunk::<4>()?;
        let (run, rest) = rest.split_first_chunk::<4>()?;
        let (epoch, rest) = rest.split_first_chunk::<2>()?;
        let (time, rest) = rest.split_at(6);
        let (seq, counter) = rest.split_at(6);
        Some(Self {
            incarnation: u32::from_be_bytes(*incarnation),
            run: u32::from_be_bytes(*run),
            counter: Counter { epoch: u16::from_be_bytes(*epoch), value: low(counter) },
            time: (low(time) << 16).cast_signed() >> 16,
            seq: Seq(low(seq)),
        })
    }

    /// Whether this header can be that of an event sent under `life`.
    #[must_use]
    pub const fn is_of_life(&self, life: Incarnation) -> bool {
        self.incarnation == high(life.0)
    }

    /// Whether this header can be that of event (`run`, `seq`) of `life`.
    #[must_use]
    pub const fn is_of(&self, life: Incarnation, run: RunId, seq: Seq) -> bool {
        self.is_of_life(life) && self.run == high(run.0) && self.seq.0 == seq.0 & SEQ_MASK
    }
}

impl Counter {
    /// The counter of the next event.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { epoch: self.epoch, value: self.value.wrapping_add(1) & COUNTER_MASK }
    }
}

const fn high(id: u64) -> u32 {
    (id >> 32) as u32
}

/// The low bytes of `value`, as many as `out` takes, big-endian.
fn put_low(out: &mut [u8], value: u64) {
    let bytes = value.to_be_bytes();
    let skip = bytes.len().saturating_sub(out.len());
    out.copy_from_slice(bytes.get(skip..).unwrap_or_default());
}

fn low(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            incarnation: u32, run: u32, epoch: u16, value in 0..=COUNTER_MASK,
            time in TIME_MIN..=TIME_MAX, seq in 0..=SEQ_MASK,
        ) {
            let header = RecordHeader {
                incarnation, run, counter: Counter { epoch, value }, time, seq: Seq(seq),
            };
            prop_assert_eq!(RecordHeader::decode(&header.encode()), Some(header));
        }

        #[test]
        fn any_28_bytes_of_version_1_are_a_header_that_encodes_to_themselves(mut bytes: [u8; LEN]) {
            bytes[0] = VERSION;
            prop_assert_eq!(RecordHeader::decode(&bytes).unwrap().encode(), bytes);
        }

        #[test]
        fn other_lengths_and_versions_are_not_headers(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if bytes.len() != LEN || bytes[0] != VERSION {
                prop_assert_eq!(RecordHeader::decode(&bytes), None);
            }
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let header = RecordHeader::new(
            Incarnation(0x0102_0304_ffff_ffff),
            RunId(0x0506_0708_ffff_ffff),
            Seq(0x1112_1314_1516),
            -2,
            Counter { epoch: 0x090a, value: 0x21_2223_2425 },
        );
        assert_eq!(
            header.encode(),
            [
                1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0x11, 0x12, 0x13, 0x14,
                0x15, 0x16, 0x21, 0x22, 0x23, 0x24, 0x25
            ]
        );
        assert!(header.is_of(Incarnation(0x0102_0304_0000_0000), RunId(0x0506_0708_0000_0000), header.seq));
    }

    #[test]
    fn a_time_beyond_48_bits_is_stored_as_the_nearest() {
        let header = RecordHeader::new(Incarnation(0), RunId(0), Seq(1), i64::MAX, Counter::default());
        assert_eq!(RecordHeader::decode(&header.encode()).unwrap().time, TIME_MAX);
    }

    #[test]
    fn the_counter_wraps_at_40_bits() {
        assert_eq!(Counter { epoch: 3, value: COUNTER_MASK }.next(), Counter { epoch: 3, value: 0 });
    }
}
