//! A sealed batch, and the fields that are filled in for each send.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use super::{CRC_FROM, HEADER_LEN};
use crate::event::UnixMillis;
use crate::kafka::codec::Codec;

/// Which time stamps a batch's records carry. One choice a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// Those given with the records.
    Event,
    /// The time of sending, set anew for every send.
    Send,
}

/// Who sends a batch, and as which: what a broker tells duplicates by. [`Identity::NONE`] where it gives no producer ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Given by the cluster.
    pub producer_id: i64,
    /// Counts renewals of the identity within one producer id.
    pub epoch: i16,
    /// Sequence number of the batch's first record in its partition.
    pub base_sequence: i32,
}

impl Identity {
    /// Of what is sent by nobody in particular: the broker takes it as often as it comes.
    pub const NONE: Self = Self { producer_id: -1, epoch: -1, base_sequence: -1 };

    /// The first of a series of numbers under a producer id; a negative one stands for none.
    #[must_use]
    pub const fn first(producer_id: i64, epoch: i16) -> Self {
        if producer_id < 0 { Self::NONE } else { Self { producer_id, epoch, base_sequence: 0 } }
    }

    /// Whether the broker can't tell it from any other.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.producer_id < 0
    }
}

/// Records compressed and closed, ready to be sent any number of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    codec: Codec,
    stamp: Stamp,
    count: u32,
    times: (UnixMillis, UnixMillis),
    uncompressed: usize,
    body: Bytes,
}

impl Batch {
    pub(super) fn new(
        codec: Codec,
        stamp: Stamp,
        count: u32,
        times: (UnixMillis, UnixMillis),
        uncompressed: usize,
        body: Vec<u8>,
    ) -> Self {
        Self { codec, stamp, count, times, uncompressed, body: Bytes::from(body) }
    }

    /// What is known of a batch whose records are lost. It can be looked for by its identity, and must not be sent.
    #[must_use]
    pub fn unreadable(stamp: Stamp, count: u32) -> Self {
        // The oldest of times: where it is looked for by time, it may be anywhere.
        Self { codec: Codec::None, stamp, count, times: (0, 0), uncompressed: 0, body: Bytes::new() }
    }

    /// How many records it holds.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes that are sent, header included.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.body.len()
    }

    /// Bytes of its records before compression.
    #[must_use]
    pub fn uncompressed(&self) -> usize {
        self.uncompressed
    }

    /// How it was compressed, which may differ from what was asked for.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Which time stamps it carries.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The newest time stamp of its records; `None` where that is set anew for every send.
    #[must_use]
    pub fn newest_time(&self) -> Option<UnixMillis> {
        (self.stamp == Stamp::Event).then_some(self.times.1)
    }

    /// The same batch with all times moved so that its newest is `now`. To a broker that has it, it is the same.
    #[must_use]
    pub fn moved_to(&self, now: UnixMillis) -> Self {
        let (base, newest) = self.times;
        Self { times: (base.saturating_add(now.saturating_sub(newest)), now), ..self.clone() }
    }

    /// Appends the batch as it is sent now under `identity`. With [`Stamp::Send`], `now` becomes the time
    /// stamp of every record: brokers compare sequence numbers, not content, so a re-stamped re-send is still
    /// the same batch.
    pub fn encode(&self, identity: Identity, now: UnixMillis, out: &mut Vec<u8>) {
        let (base, newest) = match self.stamp {
            Stamp::Event => self.times,
            Stamp::Send => (now, now),
        };
        let checked = self.checked_header(identity, base, newest);
        let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        crc.update(&checked);
        crc.update(&self.body);
        let length = HEADER_LEN - 12 + self.body.len();
        out.reserve(self.encoded_len());
        out.extend_from_slice(&0i64.to_be_bytes());
        out.extend_from_slice(&saturating_i32(length).to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes());
        out.push(2);
        out.extend_from_slice(&crc32(&crc).to_be_bytes());
        out.extend_from_slice(&checked);
        out.extend_from_slice(&self.body);
    }

    /// The header's bytes from the attributes to the count: those the checksum covers.
    fn checked_header(
        &self,
        identity: Identity,
        base: UnixMillis,
        newest: UnixMillis,
    ) -> [u8; HEADER_LEN - CRC_FROM] {
        let mut out = [0; HEADER_LEN - CRC_FROM];
        let count = i32::try_from(self.count).unwrap_or(i32::MAX);
        let mut rest = out.as_mut_slice();
        for field in [
            &i16::from(self.codec.bits()).to_be_bytes()[..],
            &count.saturating_sub(1).to_be_bytes(),
            &base.to_be_bytes(),
            &newest.to_be_bytes(),
            &identity.producer_id.to_be_bytes(),
            &identity.epoch.to_be_bytes(),
            &identity.base_sequence.to_be_bytes(),
            &count.to_be_bytes(),
        ] {
            let (head, tail) = rest.split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        }
        out
    }
}

fn saturating_i32(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "a 32-bit checksum in a 64-bit return value")]
pub(super) fn crc32(digest: &Digest) -> u32 {
    digest.finalize() as u32
}
