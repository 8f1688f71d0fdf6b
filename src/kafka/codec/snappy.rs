//! Snappy in the framing of xerial's `snappy-java`, which is what Kafka's Java client writes.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 · version 1 i32 · compatible 1 i32 · blocks × (length i32 · snappy block)
//! ```

use std::io;

const MAGIC: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Uncompressed bytes of a block, as snappy-java has it.
const BLOCK: usize = 32 * 1024;

/// Compresses block by block. `None` when the library refuses, which it does only beyond 4 GiB.
pub(super) fn compress(data: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = snap::raw::Encoder::new();
    let mut scratch = vec![0; snap::raw::max_compress_len(BLOCK)];
    let mut out = Vec::with_capacity(data.len() / 2 + 64);
    out.extend_from_slice(MAGIC);
    for block in data.chunks(BLOCK) {
        let len = encoder.compress(block, &mut scratch).ok()?;
        out.extend_from_slice(&u32::try_from(len).ok()?.to_be_bytes());
        out.extend_from_slice(scratch.get(..len)?);
    }
    Some(out)
}

/// Decompresses xerial framing, and a bare snappy block, which librdkafka and others write.
pub(super) fn decompress(data: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    let Some(mut rest) = data.strip_prefix(MAGIC.as_slice()) else {
        return Ok(append(&mut out, data, limit)?.then_some(out));
    };
    while !rest.is_empty() {
        let (len, tail) = rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(io::Error::other)?;
        let (block, tail) = tail.split_at_checked(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        if !append(&mut out, block, limit)? {
            return Ok(None);
        }
        rest = tail;
    }
    Ok(Some(out))
}

/// Appends a block's content; `false` when that would pass the limit.
fn append(out: &mut Vec<u8>, block: &[u8], limit: usize) -> io::Result<bool> {
    // INVARIANT: the length is read from hostile bytes; it is checked before anything is allocated by it.
    let len = snap::raw::decompress_len(block)?;
    let start = out.len();
    if len > limit.saturating_sub(start) {
        return Ok(false);
    }
    out.resize(start + len, 0);
    let target = out.get_mut(start..).unwrap_or_default();
    snap::raw::Decoder::new().decompress(block, target)?;
    Ok(true)
}
