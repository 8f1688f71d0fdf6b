//! Zstandard. The encoder is young and panics on internal errors, so each output is decompressed and
//! compared before it is used, and panics are caught.

use std::io;
use std::panic::catch_unwind;

use structured_zstd::decoding::{ContentChecksum, FrameDecoder, StreamingDecoder};
use structured_zstd::encoding::{CompressionLevel, compress_slice_to_vec};

/// A frame may ask for a window of this size at most; Kafka's clients use 8 MiB at most.
const MAX_WINDOW: u64 = 16 * 1024 * 1024;

/// Level 1. `None` when the encoder panicked or its output does not decompress to the input.
pub(super) fn compress(data: &[u8]) -> Option<Vec<u8>> {
    let made = catch_unwind(|| {
        let out = compress_slice_to_vec(data, CompressionLevel::from_level(1));
        same(&out, data).then_some(out)
    });
    match made {
        Ok(Some(out)) => Some(out),
        Ok(None) => {
            tracing::error!(bytes = data.len(), "the zstd encoder made a wrong frame; this batch takes lz4");
            None
        }
        Err(_) => {
            tracing::error!(bytes = data.len(), "the zstd encoder panicked; this batch takes lz4");
            None
        }
    }
}

fn same(frame: &[u8], data: &[u8]) -> bool {
    match decompress(frame, data.len()) {
        Ok(Some(back)) => back == data,
        _ => false,
    }
}

/// Decompresses one frame; `None` when more than `limit` bytes would come out.
pub(super) fn decompress(frame: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
    catch_unwind(|| read(frame, limit)).unwrap_or_else(|_| Err(io::Error::other("the decoder panicked")))
}

fn read(frame: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW).map_err(|e| io::Error::other(e.to_string()))?;
    decoder.set_content_checksum(ContentChecksum::Verify);
    let stream = StreamingDecoder::new_with_decoder(frame, decoder);
    super::decompress::read_limited(stream, frame.len(), limit)
}
