//! Bytes of an [`Intent`]: little-endian, a length before what varies. The group around it has the checksum;
//! decoding still bounds everything.
//!
//! The events of a block are written in the shortest of three ways: all of them, one stretch, or a bit each.

use super::intent::{Before, Intent, Share};
use crate::ids::{RunId, Seq, TopicName};
use crate::state::positions::{Bits, Counter};

const ALL: u8 = 0;
const STRETCH: u8 = 1;
const BITS: u8 = 2;
/// A block holds no more: its numbers are counted in 32 bits and its bytes bounded far below.
const MAX_BLOCK: u32 = 1 << 24;
/// Dense counters begin a new epoch there.
const MAX_COUNTER: u64 = 1 << 40;

/// Appends an intent.
pub(super) fn put(out: &mut Vec<u8>, intent: &Intent) {
    put_text(out, &intent.cluster_id);
    put_text(out, intent.topic.as_str());
    out.extend(intent.topic_id);
    out.extend(intent.partition.to_le_bytes());
    out.extend(intent.producer_id.to_le_bytes());
    out.extend(intent.epoch.to_le_bytes());
    out.extend(intent.base_sequence.to_le_bytes());
    out.push(match intent.before {
        Before::Nothing => 0,
        Before::Appended => 1,
        Before::Withdrawn => 2,
    });
    out.extend(intent.acked_offset.to_le_bytes());
    out.extend(intent.counter.epoch.to_le_bytes());
    out.extend(intent.counter.next.to_le_bytes());
    out.push(intent.by_time_of_sending.into());
    out.extend(intent.sent_at.to_le_bytes());
    out.extend(u32::try_from(intent.shares.len()).unwrap_or(u32::MAX).to_le_bytes());
    intent.shares.iter().for_each(|share| put_share(out, share));
}

/// Topics have at most 249 bytes; of a cluster id, which has 22, what is longer is cut off.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = text.get(..text.floor_char_boundary(255)).unwrap_or_default();
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend(text.as_bytes());
}

fn put_share(out: &mut Vec<u8>, share: &Share) {
    out.extend(share.block.0.to_le_bytes());
    out.extend(share.run.0.to_le_bytes());
    out.extend(share.events.len().to_le_bytes());
    let ones = share.events.ones();
    let (first, last, count) = (ones.clone().next(), ones.last(), share.events.count());
    match (first, last) {
        _ if share.events.is_full() => out.push(ALL),
        (Some(first), Some(last)) if last - first + 1 == count => {
            out.push(STRETCH);
            out.extend(first.to_le_bytes());
            out.extend(count.to_le_bytes());
        }
        _ => {
            out.push(BITS);
            let bytes = share.events.words().iter().flat_map(|w| w.to_le_bytes());
            out.extend(bytes.take(share.events.len().div_ceil(8) as usize));
        }
    }
}

/// Reads every intent of a group. `None` when they are not whole, to the last byte.
pub(super) fn take_all(mut bytes: &[u8]) -> Option<Vec<Intent>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(take(&mut bytes)?);
    }
    Some(found)
}

/// Whether an intent could begin here: a cluster's id, a topic and a partition.
pub(super) fn may_begin(mut bytes: &[u8]) -> bool {
    let rest = &mut bytes;
    let topic = take_text(rest).and_then(|_| TopicName::new(take_text(rest)?).ok());
    topic.is_some() && array::<16>(rest).is_some() && array(rest).is_some_and(|p| i32::from_le_bytes(p) >= 0)
}

fn take(rest: &mut &[u8]) -> Option<Intent> {
    let cluster_id = take_text(rest)?.to_owned();
    let topic = TopicName::new(take_text(rest)?).ok()?;
    let topic_id = array(rest)?;
    let partition = Some(i32::from_le_bytes(array(rest)?)).filter(|p| *p >= 0)?;
    let producer_id = i64::from_le_bytes(array(rest)?);
    let epoch = i16::from_le_bytes(array(rest)?);
    let base_sequence = i32::from_le_bytes(array(rest)?);
    let before = match u8::from_le_bytes(array(rest)?) {
        0 => Before::Nothing,
        1 => Before::Appended,
        2 => Before::Withdrawn,
        _ => return None,
    };
    let acked_offset = i64::from_le_bytes(array(rest)?);
    let counter = Counter { epoch: u16::from_le_bytes(array(rest)?), next: u64::from_le_bytes(array(rest)?) };
    if counter.next > MAX_COUNTER {
        return None;
    }
    let by_time_of_sending = u8::from_le_bytes(array(rest)?) != 0;
    let sent_at = i64::from_le_bytes(array(rest)?);
    let count = u32::from_le_bytes(array(rest)?);
    // Grows as shares are read, so that a hostile count allocates nothing.
    let mut shares = Vec::new();
    for _ in 0..count {
        shares.push(take_share(rest)?);
    }
    Some(Intent {
        cluster_id,
        topic,
        topic_id,
        partition,
        producer_id,
        epoch,
        base_sequence,
        before,
        acked_offset,
        counter,
        by_time_of_sending,
        sent_at,
        shares,
    })
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let len = u8::from_le_bytes(array(rest)?);
    std::str::from_utf8(slice(rest, usize::from(len))?).ok()
}

fn take_share(rest: &mut &[u8]) -> Option<Share> {
    let block = Seq(u64::from_le_bytes(array(rest)?));
    let run = RunId(u64::from_le_bytes(array(rest)?));
    let len = u32::from_le_bytes(array(rest)?);
    if len > MAX_BLOCK || block.0.checked_add(u64::from(len)).is_none() {
        return None;
    }
    let mut events = Bits::new(len);
    match u8::from_le_bytes(array(rest)?) {
        ALL => events = Bits::full(len),
        STRETCH => {
            let (first, count) = (u32::from_le_bytes(array(rest)?), u32::from_le_bytes(array(rest)?));
            let end = first.checked_add(count).filter(|end| *end <= len)?;
            events.set_all(first..end);
        }
        BITS => {
            let words = slice(rest, len.div_ceil(8) as usize)?
                .chunks(8)
                .map(|chunk| chunk.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte)));
            events = Bits::from_words(len, words);
        }
        _ => return None,
    }
    Some(Share { block, run, events })
}

fn slice<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    slice(rest, N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::intent;
    use super::*;

    fn bytes(intent: &Intent) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, intent);
        bytes
    }

    #[test]
    fn counters_and_lengths_of_blocks_are_believed_up_to_what_there_can_be() {
        let counted = |next| {
            let counter = Counter { epoch: 9, next };
            take_all(&bytes(&Intent { counter, ..intent(0, 1, &[true]) })).is_some()
        };
        assert_eq!([MAX_COUNTER - 1, MAX_COUNTER, MAX_COUNTER + 1].map(counted), [true, true, false]);
        let long = |block: u64, len: u32| {
            let mut of_one = intent(0, 1, &[true]);
            of_one.shares[0].block = Seq(block);
            let mut bytes = bytes(&of_one);
            // The last byte says that it is all of them.
            let at = bytes.len() - 5;
            bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
            take_all(&bytes).is_some()
        };
        assert_eq!([1, MAX_BLOCK, MAX_BLOCK + 1].map(|len| long(7, len)), [true, true, false]);
        assert_eq!([1, 2].map(|len| long(u64::MAX - 1, len)), [true, false]);
    }

    #[test]
    fn all_of_a_block_takes_one_byte_however_long_it_is() {
        assert_eq!(bytes(&intent(0, 1, &[true; 1000])).len(), bytes(&intent(0, 1, &[true])).len());
    }
}
