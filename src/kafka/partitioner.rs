//! Which partition a key belongs to, exactly as other clients decide it.

/// The Java client's 32-bit murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`, seed 0x9747b28c).
///
/// Java reads the last block's words little-endian and works in wrapping 32-bit arithmetic; so does this.
#[must_use]
pub fn murmur2(key: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "Java lengths are 32-bit; the hash mixes in the low bits"
    )]
    let mut h = 0x9747_b28c_u32 ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let k = u32::from_le_bytes(*word).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ (k ^ k >> R).wrapping_mul(M);
    }
    if !tail.is_empty() {
        h ^= tail.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
        h = h.wrapping_mul(M);
    }
    h = (h ^ h >> 13).wrapping_mul(M);
    (h ^ h >> 15).cast_signed()
}

/// The Java client's partition of a key: `(murmur2(key) & 0x7fffffff) % partitions`, over all partitions,
/// whether or not they have a leader (`BuiltInPartitioner.partitionForKey`). An empty key is hashed like any
/// other; an event without a key has no place here. 0 when there are no partitions.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key).cast_unsigned() & 0x7fff_ffff).checked_rem(partitions).unwrap_or_default()
}

/// librdkafka's `consistent_random` partition of a key: CRC-32 (IEEE) modulo the number of partitions.
///
/// `None` when librdkafka would choose at random: it does so for an empty key as well as for none
/// (`rd_kafka_msg_partitioner_consistent_random`).
#[must_use]
pub fn consistent(key: &[u8], partitions: u32) -> Option<u32> {
    if key.is_empty() {
        return None;
    }
    crc32fast::hash(key).checked_rem(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_agrees_with_the_java_client() {
        // Vectors of `UtilsTest.testMurmur2`.
        assert_eq!(murmur2(b"21"), -973_932_308);
        assert_eq!(murmur2(b"foobar"), -790_332_482);
        assert_eq!(murmur2(b"a-little-bit-long-string"), -985_981_536);
        assert_eq!(murmur2(b"a-little-bit-longer-string"), -1_486_304_829);
        assert_eq!(murmur2(b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"), -58_897_971);
        assert_eq!(murmur2(b"abc"), 479_470_107);
    }

    #[test]
    fn a_negative_hash_loses_its_sign_not_its_bits() {
        let positive = (-973_932_308_i32).cast_unsigned() & 0x7fff_ffff;
        assert_eq!(partition_for_key(b"21", 1000), positive % 1000);
        assert_eq!(partition_for_key(b"21", 0), 0);
    }

    #[test]
    fn an_empty_key_is_hashed_by_java_and_random_for_librdkafka() {
        assert_eq!(murmur2(b""), 275_646_681);
        assert_eq!(consistent(b"", 8), None);
    }

    #[test]
    fn consistent_is_crc32_modulo_partitions() {
        // CRC-32's check value for "123456789".
        assert_eq!(consistent(b"123456789", 1000), Some(0xcbf4_3926 % 1000));
        assert_eq!(consistent(b"x", 0), None);
    }
}
