//! Compression of record batches, in pure Rust, both ways.
//!
//! Compressing never fails: what can't be compressed (or doesn't get smaller) is left as it is, and the
//! caller is told by [`Codec`]. Decompressing takes hostile input: it never panics and never yields more
//! than the limit it is given.

mod compress;
mod decompress;
mod snappy;
mod zstd;

pub use compress::Compressor;
pub use decompress::decompress;

use crate::config::model::KafkaCompression;

/// Bits 0 to 2 of a batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// 0
    None,
    /// 1
    Gzip,
    /// 2
    Snappy,
    /// 3
    Lz4,
    /// 4
    Zstd,
}

impl Codec {
    /// As it stands in the attributes.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    /// From the attributes; `None` for 5, 6 and 7, which Kafka has not given away.
    #[must_use]
    pub const fn of_attributes(attributes: i16) -> Option<Self> {
        Some(match attributes & 7 {
            0 => Codec::None,
            1 => Codec::Gzip,
            2 => Codec::Snappy,
            3 => Codec::Lz4,
            4 => Codec::Zstd,
            _ => return None,
        })
    }
}

impl From<KafkaCompression> for Codec {
    fn from(configured: KafkaCompression) -> Self {
        match configured {
            KafkaCompression::None => Codec::None,
            KafkaCompression::Gzip => Codec::Gzip,
            KafkaCompression::Snappy => Codec::Snappy,
            KafkaCompression::Lz4 => Codec::Lz4,
            KafkaCompression::Zstd => Codec::Zstd,
        }
    }
}

/// Why bytes could not be decompressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// More than the limit would come out.
    #[error("it decompresses to more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// They are not what the codec makes.
    #[error("{codec:?} data is damaged: {source}")]
    Damaged {
        /// Which codec.
        codec: Codec,
        /// What it said.
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests;
