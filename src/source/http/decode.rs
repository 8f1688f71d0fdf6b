//! Decompression: away from the async threads, few at a time, and a piece at a time: what comes out is within the limit and
//! covered by the budget before more does.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use structured_zstd::decoding::{ContentChecksum, FrameDecoder, StreamingDecoder};
use tokio::sync::Semaphore;

use super::answer::Refusal;
use super::head::Coding;

/// Pieces unpacked at a time, over all connections of a source. Nobody waits for anything else with one of these.
const DECODERS: usize = 2;
/// Largest zstd window: RFC 8878's recommendation for a decoder.
const MAX_WINDOW: usize = 8 * 1024 * 1024;
/// The first piece, which with a small body is within what nobody asks the budget for.
const FIRST_PIECE: usize = 8 * 1024;
const PIECE: usize = 64 * 1024;

/// Leave to unpack.
pub(in crate::source) fn decoders() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(DECODERS))
}

/// A body that is being unpacked.
pub(super) struct Unpacking {
    reader: Box<dyn Read + Send>,
    packed: usize,
    /// Bytes that have come out.
    total: usize,
    /// Bytes of them that the decoder may keep.
    window: usize,
    limit: usize,
    ended: bool,
}

impl Unpacking {
    pub(super) fn new(body: Bytes, coding: Coding, limit: usize) -> Result<Self, Refusal> {
        let packed = body.len();
        let window = if coding == Coding::Zstd { MAX_WINDOW } else { 0 };
        let reader = reader(body.reader(), coding).map_err(|error| undecodable(&error))?;
        Ok(Self { reader, packed, total: 0, window, limit, ended: false })
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.packed + self.total.min(self.window)
    }

    /// Whether all of it has come out.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of the next piece, at most.
    pub(super) fn piece(&self) -> usize {
        if self.total == 0 { FIRST_PIECE } else { PIECE }
    }

    /// The next piece of what is unpacked.
    pub(super) async fn next(mut self, decoders: &Arc<Semaphore>) -> Result<(Self, Vec<u8>), Refusal> {
        let permit = Arc::clone(decoders).acquire_owned().await.ok();
        let work = move || {
            let piece = self.read()?;
            drop(permit);
            Ok((self, piece))
        };
        // A panic of a decoder on a crafted body is that body's fault.
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(undecodable(&error)))
    }

    fn read(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut piece = vec![0; self.piece()];
        let mut len = 0;
        while let Some(room) = piece.get_mut(len..).filter(|room| !room.is_empty()) {
            match self.reader.read(room).map_err(|error| undecodable(&error))? {
                0 => {
                    self.ended = true;
                    break;
                }
                more => len += more,
            }
        }
        piece.truncate(len);
        self.total += len;
        if self.total > self.limit { Err(Refusal::body_too_large(self.limit)) } else { Ok(piece) }
    }
}

fn reader(body: impl BufRead + Send + 'static, coding: Coding) -> io::Result<Box<dyn Read + Send>> {
    Ok(match coding {
        Coding::Identity => Box::new(body),
        Coding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(body)),
        Coding::Zstd => {
            let mut decoder = FrameDecoder::new();
            decoder
                .set_max_window_size(MAX_WINDOW as u64)
                .map_err(|error| io::Error::other(error.to_string()))?;
            decoder.set_content_checksum(ContentChecksum::Verify);
            Box::new(StreamingDecoder::new_with_decoder(body, decoder))
        }
    })
}

fn undecodable(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::bad_request("undecodable_body", format!("the body can't be decompressed: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn no_more_comes_out_at_a_time_than_was_said_and_nothing_beyond_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![b'x'; 10 << 20]).unwrap();
        let bomb = Bytes::from(encoder.finish().unwrap());
        let (packed, decoders) = (bomb.len(), decoders());
        let mut unpacking = Unpacking::new(bomb, Coding::Gzip, 1 << 20).unwrap();
        let mut total = 0;
        let refused = loop {
            let room = unpacking.piece();
            assert_eq!(unpacking.held(), packed, "gzip keeps nothing");
            assert!(room <= if total == 0 { FIRST_PIECE } else { PIECE });
            match unpacking.next(&decoders).await {
                Err(refused) => break refused,
                Ok((rest, piece)) => {
                    assert_eq!(piece.len(), room);
                    (unpacking, total) = (rest, total + room);
                }
            }
        };
        assert_eq!((refused.word(), total > 900_000), ("body_too_large", true));
        assert_eq!(decoders.available_permits(), DECODERS, "nobody keeps a turn");
    }
}
