//! The hash of a set of events that does not depend on their order.

use crc_fast::{CrcAlgorithm, Digest};

use crate::ids::Seq;

/// Wrapping sum of one CRC-64/NVME per event, over
/// `sequence u64 LE · key length + 1 u64 LE (0 = no key) · key · value length + 1 u64 LE (0 = null) · value`.
///
/// A sum, so that sets of events settled in any order, or in parts, compare; the sequence number is hashed
/// with the event, so two events that changed places are seen, and a reader of the destination, who finds
/// the number in the `spoolway` header, can compute the same sum without the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventSum(u64);

impl EventSum {
    /// The sum over no event.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Goes on from a sum that was stored.
    #[must_use]
    pub const fn resume(sum: u64) -> Self {
        Self(sum)
    }

    /// Takes one event in.
    pub fn add(&mut self, seq: Seq, key: Option<&[u8]>, value: Option<&[u8]>) {
        let len = |part: Option<&[u8]>| part.map_or(0, |p| p.len() as u64 + 1).to_le_bytes();
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        // As few updates as possible: each costs more than the bytes of a small event.
        match key.unwrap_or_default() {
            [] => digest.update([seq.0.to_le_bytes(), len(key), len(value)].as_flattened()),
            bytes => {
                digest.update([seq.0.to_le_bytes(), len(key)].as_flattened());
                digest.update(bytes);
                digest.update(&len(value));
            }
        }
        digest.update(value.unwrap_or_default());
        self.0 = self.0.wrapping_add(digest.finalize());
    }

    /// Takes in the events of another sum, none of which is in this one.
    pub fn merge(&mut self, other: EventSum) {
        self.0 = self.0.wrapping_add(other.0);
    }

    /// The sum.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Parts = (Option<Vec<u8>>, Option<Vec<u8>>);

    fn sum(events: &[(u64, Parts)]) -> EventSum {
        let mut sum = EventSum::new();
        for (seq, (key, value)) in events {
            sum.add(Seq(*seq), key.as_deref(), value.as_deref());
        }
        sum
    }

    fn parts() -> impl Strategy<Value = Parts> {
        let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20));
        (bytes(), bytes())
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(events in proptest::collection::vec((any::<u64>(), parts()), 0..9), cut: usize) {
            let cut = cut % (events.len() + 1);
            let mut merged = sum(&events[cut..]);
            merged.merge(sum(&events[..cut]));
            prop_assert_eq!(merged, sum(&events));
        }
    }

    #[test]
    fn two_events_that_changed_places_are_seen() {
        let (a, b) = ((None, Some(b"a".to_vec())), (None, Some(b"b".to_vec())));
        assert_ne!(sum(&[(1, a.clone()), (2, b.clone())]), sum(&[(2, a), (1, b)]));
    }

    #[test]
    fn no_key_an_empty_key_and_bytes_moved_from_key_to_value_all_differ() {
        let all: Vec<Parts> = vec![
            (None, Some(b"ab".to_vec())),
            (Some(vec![]), Some(b"ab".to_vec())),
            (Some(b"a".to_vec()), Some(b"b".to_vec())),
            (Some(b"ab".to_vec()), Some(vec![])),
            (Some(b"ab".to_vec()), None),
        ];
        let sums: std::collections::HashSet<u64> = all.iter().map(|p| sum(&[(7, p.clone())]).get()).collect();
        assert_eq!(sums.len(), all.len());
    }

    #[test]
    fn the_bytes_hashed_are_those_documented() {
        for (key, value) in [(None, None), (None, Some("v")), (Some(""), Some("v")), (Some("key"), None)] {
            let mut bytes = 7u64.to_le_bytes().to_vec();
            for part in [key, value] {
                bytes.extend(part.map_or(0, |p: &str| p.len() as u64 + 1).to_le_bytes());
                bytes.extend(part.unwrap_or_default().as_bytes());
            }
            let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
            digest.update(&bytes);
            let event = (7, (key.map(Into::into), value.map(Into::into)));
            assert_eq!(sum(&[event]).get(), digest.finalize(), "{key:?} {value:?}");
        }
    }

    #[test]
    fn the_polynomial_is_the_one_that_is_documented() {
        // The check value of CRC-64/NVME in the catalogue of parametrised CRCs.
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        digest.update(b"123456789");
        assert_eq!(digest.finalize(), 0xae8b_1486_0a79_9888);
    }
}
