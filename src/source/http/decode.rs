//! Decompression: away from the async threads, few at a time, and a piece at a time: what comes out is within the limit and
//! covered by the budget before more does, and so is the decoder, but for those that have their turn. Long JSON has to wait for
//! such a turn, too. What is held for a body goes along with what is done to it, so that a sender that leaves meanwhile does not free
//! memory that is still in use.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use structured_zstd::decoding::{
    ContentChecksum, FrameContentSize, FrameDecoder, StreamingDecoder, find_frame_compressed_size,
    min_decoding_buffer_size, read_frame_header_info,
};
use tokio::sync::Semaphore;

use super::answer::Refusal;
use super::head::Coding;
use crate::panics;
use crate::source::budget::Held;

/// Pieces unpacked at a time, over all connections of a source. Nobody waits for anything else with one of these.
const DECODERS: usize = 2;
/// Largest zstd window: RFC 8878's recommendation for a decoder.
const MAX_WINDOW: u64 = 8 * 1024 * 1024;
/// Frames whose headers are looked at; in a body of more each may have the largest window.
const MAX_FRAMES: usize = 1000;
/// Largest zstd block.
const MAX_BLOCK: usize = 128 * 1024;
/// The tables of a zstd decoder.
const TABLES: usize = 32 * 1024;
/// A gzip decoder: a window of 32 KiB and tables.
const INFLATER: usize = 64 * 1024;
/// A gzip header's three fields of any length, which its decoder keeps, at most.
const GZIP_FIELDS: usize = 3 * 64 * 1024;
/// The first piece, which with a small body is within what nobody asks the budget for.
const FIRST_PIECE: usize = 8 * 1024;
const PIECE: usize = 64 * 1024;
/// A larger body of zstd is measured by turns too: each three bytes of it may be a block, and all their headers are read for that.
const MEASURED_AT_ONCE: usize = 64 * 1024;

/// Leave to unpack, or to read long JSON.
pub(in crate::source) fn decoders() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(DECODERS))
}

/// A body that is being unpacked.
///
/// Its decoder is many times larger than a small body, and stays between two pieces only if it is paid for: else it is gone before
/// its turn is over, and made anew where the rest is wanted. So small bodies cost the budget nothing, and whoever waits has none.
pub(super) struct Unpacking {
    body: Bytes,
    coding: Coding,
    decoder: Option<Box<dyn Read + Send>>,
    /// Bytes that the decoder takes, at most.
    decoder_size: usize,
    /// Bytes that have come out.
    total: usize,
    limit: usize,
    ended: bool,
}

/// What is to be held before the next piece is unpacked.
pub(super) struct Turn {
    /// So that the decoder may stay afterwards.
    pub(super) with_decoder: usize,
    /// If it may not; only the first piece is had so, which may be all.
    pub(super) without: Option<usize>,
}

impl Unpacking {
    pub(super) async fn new(
        body: Bytes,
        coding: Coding,
        limit: usize,
        decoders: &Arc<Semaphore>,
        held: &mut Held,
    ) -> Result<Self, Refusal> {
        let decoder_size = match coding {
            Coding::Identity => 0,
            Coding::Gzip => INFLATER + body.len().min(GZIP_FIELDS),
            Coding::Zstd if body.len() <= MEASURED_AT_ONCE => zstd_size(&body),
            Coding::Zstd => {
                let body = body.clone();
                in_turn(decoders, held, move || Ok(zstd_size(&body))).await?
            }
        };
        Ok(Self { body, coding, decoder: None, decoder_size, total: 0, limit, ended: false })
    }

    /// Bytes that it holds until the next piece is asked for.
    pub(super) fn held(&self) -> usize {
        self.body.len() + if self.decoder.is_some() { self.decoder_size } else { 0 }
    }

    /// What the next piece takes, with `more` bytes besides.
    pub(super) fn next_turn(&self, more: usize) -> Turn {
        let (body, piece) = (self.body.len(), if self.total == 0 { FIRST_PIECE } else { PIECE });
        Turn {
            with_decoder: body + self.decoder_size + piece + more,
            without: (self.total == 0).then_some(body + piece + more),
        }
    }

    /// Whether all of it has come out.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next piece of what is unpacked. `stays` says that the decoder is paid for, and may stay.
    pub(super) async fn next(
        mut self,
        decoders: &Arc<Semaphore>,
        held: &mut Held,
        stays: bool,
    ) -> Result<(Self, Vec<u8>), Refusal> {
        let work = move || {
            let piece = self.read()?;
            if self.ended || !stays {
                self.decoder = None;
            }
            Ok((self, piece))
        };
        in_turn(decoders, held, work).await
    }

    fn read(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => self.decoder_behind().map_err(|error| undecodable(&error))?,
        };
        let mut piece = vec![0; if self.total == 0 { FIRST_PIECE } else { PIECE }];
        let mut len = 0;
        while let Some(room) = piece.get_mut(len..).filter(|room| !room.is_empty()) {
            match decoder.read(room).map_err(|error| undecodable(&error))? {
                0 => {
                    self.ended = true;
                    break;
                }
                more => len += more,
            }
        }
        self.decoder = Some(decoder);
        piece.truncate(len);
        self.total += len;
        if self.total > self.limit { Err(Refusal::body_too_large(self.limit)) } else { Ok(piece) }
    }

    /// A decoder that goes on behind what has come out.
    fn decoder_behind(&self) -> io::Result<Box<dyn Read + Send>> {
        let mut decoder = decoder(self.body.clone().reader(), self.coding)?;
        let past = u64::try_from(self.total).unwrap_or(u64::MAX);
        io::copy(&mut decoder.by_ref().take(past), &mut io::sink())?;
        Ok(decoder)
    }
}

/// Unpacks when it has leave to.
async fn in_turn<T: Send + 'static>(
    decoders: &Arc<Semaphore>,
    held: &mut Held,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    away(decoders, held, work, |why| undecodable(&why)).await
}

/// Does it when it has leave to, away from the async threads. A panic over a crafted body is that body's fault: `broken` says so.
///
/// INVARIANT: `held` is with the work until that has ended. Whoever stops waiting, because its sender has left or its time is over,
/// ends neither the work nor what that takes.
pub(super) async fn away<T: Send + 'static>(
    decoders: &Arc<Semaphore>,
    held: &mut Held,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    broken: fn(&'static str) -> Refusal,
) -> Result<T, Refusal> {
    let permit = Arc::clone(decoders).acquire_owned().await.ok();
    let along = held.split_but(0);
    let work = move || {
        let done = work();
        drop(permit);
        // In this order, for when nobody takes it: what is made goes before what is held for it.
        (done, along)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok((done, along)) => {
            *held = along;
            done
        }
        Err(error) => Err(broken(panics::of_task(&error))),
    }
}

/// Bytes that the decoder of a body takes: its tables, a block as it comes and twice as it grows, and its literals, and the
/// largest window that one of the frames asks for, of which it makes all at once.
fn zstd_size(body: &[u8]) -> usize {
    let (mut rest, mut window) = (body, 0);
    for seen in 0.. {
        if seen == MAX_FRAMES {
            window = buffer_of(MAX_WINDOW, None);
            break;
        }
        window = window.max(window_of(rest));
        // What is no frame ends it, here and in the decoder.
        let end = find_frame_compressed_size(rest).ok();
        match end.and_then(|end| rest.get(end..)) {
            None | Some([]) => break,
            Some(next) => rest = next,
        }
    }
    TABLES + 4 * window.min(MAX_BLOCK) + window
}

/// Bytes that the window of the frame in front takes.
fn window_of(frames: &[u8]) -> usize {
    let Ok(header) = read_frame_header_info(frames, false) else { return 0 };
    let content = match header.content_size {
        // Nothing is what is also read of a frame that says no size, and not compared.
        FrameContentSize::Known(size) if size > 0 => Some(size),
        _ => None,
    };
    buffer_of(header.window_size.min(MAX_WINDOW), content)
}

/// Bytes of a window of at most [`MAX_WINDOW`] and of the block behind it, or of the content if it is said and less.
fn buffer_of(window: u64, content: Option<u64>) -> usize {
    min_decoding_buffer_size(window, content).unwrap_or(usize::MAX)
}

fn decoder(body: impl BufRead + Send + 'static, coding: Coding) -> io::Result<Box<dyn Read + Send>> {
    Ok(match coding {
        Coding::Identity => Box::new(body),
        Coding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(body)),
        Coding::Zstd => {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(MAX_WINDOW).map_err(|error| io::Error::other(error.to_string()))?;
            decoder.set_content_checksum(ContentChecksum::Verify);
            Box::new(Declared { frames: StreamingDecoder::new_with_decoder(body, decoder), out: 0 })
        }
    })
}

/// Frames that give no more than they say. The decoder looks only at a frame's end, and by then holds more than it was counted with.
struct Declared<R: BufRead> {
    frames: StreamingDecoder<R, FrameDecoder>,
    /// Bytes that the present frame has given.
    out: u64,
}

impl<R: BufRead> Read for Declared<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut ended = false;
        let more = self.frames.read_reporting_frames(buf, |_| ended = true)?;
        if ended {
            // What has come out since is of the next one.
            self.out = 0;
        }
        self.out += u64::try_from(more).unwrap_or(u64::MAX);
        let said = self.frames.decoder.content_size();
        if said > 0 && self.out > said {
            return Err(io::Error::other("a frame gives more than the size that it says"));
        }
        Ok(more)
    }
}

fn undecodable(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::bad_request("undecodable_body", format!("the body can't be decompressed: {error}"))
}

#[cfg(test)]
mod tests;
