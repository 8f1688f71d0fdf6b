//! The decompressing side: hostile input, bounded output.

use std::borrow::Cow;
use std::io::{self, Read};

use super::{Codec, CodecError, snappy, zstd};

/// Decompresses what `codec` made, to at most `limit` bytes.
///
/// # Errors
/// [`CodecError::TooLarge`] when more would come out, [`CodecError::Damaged`] when the bytes are wrong.
pub fn decompress(codec: Codec, data: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, CodecError> {
    let read = match codec {
        Codec::None if data.len() > limit => Ok(None),
        Codec::None => return Ok(Cow::Borrowed(data)),
        Codec::Gzip => read_limited(flate2::read::MultiGzDecoder::new(data), data.len(), limit),
        Codec::Snappy => snappy::decompress(data, limit),
        Codec::Lz4 => read_limited(lz4_flex::frame::FrameDecoder::new(data), data.len(), limit),
        Codec::Zstd => zstd::decompress(data, limit),
    };
    match read {
        Ok(Some(out)) => Ok(Cow::Owned(out)),
        Ok(None) => Err(CodecError::TooLarge { limit }),
        Err(source) => Err(CodecError::Damaged { codec, source }),
    }
}

/// Reads to the end; `None` as soon as there is more than `limit`. Allocates as bytes come, from a guess
/// bounded by the compressed length, never from a length that the data claims.
pub(super) fn read_limited(
    stream: impl Read,
    compressed: usize,
    limit: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::with_capacity(compressed.saturating_mul(4).min(limit.saturating_add(1)));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(most).read_to_end(&mut out)?;
    Ok((out.len() <= limit).then_some(out))
}
