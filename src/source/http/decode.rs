//! Decompression: away from the async threads, few at a time, and never more than the limit comes out.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use structured_zstd::decoding::{ContentChecksum, FrameDecoder, StreamingDecoder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Refusal;
use super::events::Events;
use super::head::Coding;

/// At a time, over all connections of a source: what they unpack is not known to the budget before.
const DECODERS: usize = 2;
/// Largest zstd window: RFC 8878's recommendation for a decoder.
const MAX_WINDOW: u64 = 8 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// Leave to unpack.
pub(in crate::source) fn decoders() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(DECODERS))
}

/// Unpacks `body` into `events`. The permit goes back when what came out is covered.
pub(super) async fn decode(
    body: Bytes,
    coding: Coding,
    mut events: Events,
    limit: usize,
    decoders: &Arc<Semaphore>,
) -> Result<(Events, Option<OwnedSemaphorePermit>), Refusal> {
    let permit = Arc::clone(decoders).acquire_owned().await.ok();
    let work = move || {
        unpack(body, coding, &mut events, limit)?;
        events.finish()?;
        Ok((events, permit))
    };
    // A panic of a decoder on a crafted body is that body's fault.
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(undecodable(&error)))
}

fn unpack(body: Bytes, coding: Coding, events: &mut Events, limit: usize) -> Result<(), Refusal> {
    let mut reader = reader(body.reader(), coding).map_err(|error| undecodable(&error))?;
    let mut piece = vec![0; PIECE];
    let mut total = 0;
    loop {
        let len = reader.read(&mut piece).map_err(|error| undecodable(&error))?;
        if len == 0 {
            return Ok(());
        }
        total += len;
        if total > limit {
            return Err(Refusal::body_too_large(limit));
        }
        events.feed(piece.get(..len).unwrap_or_default())?;
    }
}

fn reader(body: impl BufRead + 'static, coding: Coding) -> io::Result<Box<dyn Read>> {
    Ok(match coding {
        Coding::Identity => Box::new(body),
        Coding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(body)),
        Coding::Zstd => {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(MAX_WINDOW).map_err(|error| io::Error::other(error.to_string()))?;
            decoder.set_content_checksum(ContentChecksum::Verify);
            Box::new(StreamingDecoder::new_with_decoder(body, decoder))
        }
    })
}

fn undecodable(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::bad_request("undecodable_body", format!("the body can't be decompressed: {error}"))
}
