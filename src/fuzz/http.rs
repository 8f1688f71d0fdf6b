//! What comes over a connection of an HTTP source.

use std::io::Write;

use super::script::steps;
use crate::source::trial::{MAX_BODY, MAX_EVENT, Outcome, serve};

/// Arbitrary bytes as requests, at once and in pieces of 1 to 32 bytes: each request that is accepted is answered with the number of
/// its events, no event is larger than allowed, and how the bytes were cut makes no difference.
pub fn http(bytes: &[u8]) {
    let whole = serve(&[bytes]);
    checked(&whole);
    let size = bytes.first().map_or(1, |byte| usize::from(byte % 32) + 1);
    let cut = serve(&bytes.chunks(size).collect::<Vec<_>>());
    checked(&cut);
    assert_eq!(cut.batches, whole.batches, "in pieces of {size} bytes");
}

/// A body under each coding: the first byte says how it is cut into events, the next how large it is packed and whether that is
/// damaged. What comes whole is taken as if it had not been packed.
pub fn unpack(bytes: &[u8]) {
    let [format, how, body @ ..] = bytes else { return };
    let format =
        ["application/x-ndjson", "application/json", "application/octet-stream"][usize::from(format % 3)];
    let plain = serve(&[&request(format, "identity", body)]);
    checked(&plain);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body).expect("into memory");
    let gzip = gzip.finish().expect("into memory");
    let zstd = structured_zstd::encoding::compress_slice_to_vec(
        body,
        structured_zstd::encoding::CompressionLevel::Fastest,
    );
    for (coding, packed) in [("gzip", gzip), ("zstd", zstd)] {
        let unpacked = serve(&[&request(format, coding, &packed)]);
        checked(&unpacked);
        if body.len() <= MAX_BODY && packed.len() <= MAX_BODY {
            assert_eq!(unpacked.batches, plain.batches, "{coding}");
        }
        // And the raw bytes as if they were packed, and packed ones with damage.
        checked(&serve(&[&request(format, coding, body)]));
        let mut damaged = packed;
        steps(body, 8, |at, script| {
            let at = at * damaged.len() / 256;
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= u8::try_from(script.next()).expect("a byte") ^ how;
            }
        });
        checked(&serve(&[&request(format, coding, &damaged)]));
    }
}

fn request(format: &str, coding: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /v1/events/s HTTP/1.1\r\nhost: x\r\ncontent-type: {format}\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// What must be so whatever came.
fn checked(outcome: &Outcome) {
    for event in outcome.batches.iter().flatten() {
        assert!(event.0.len() + event.1.len() <= MAX_EVENT, "an event over the limit");
    }
    let accepted: Vec<usize> = outcome.batches.iter().map(Vec::len).collect();
    assert_eq!(answered(&outcome.answers), accepted, "what is answered is what was accepted");
}

/// The number of events in each answer that accepts some.
fn answered(answers: &[u8]) -> Vec<usize> {
    const SIGN: &[u8] = b"\"accepted\":";
    let numbers = memchr::memmem::find_iter(answers, SIGN).map(|at| {
        let digits = answers[at + SIGN.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
    });
    numbers.filter(|number| *number > 0).collect()
}
