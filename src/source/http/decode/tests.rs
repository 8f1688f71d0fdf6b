use std::io::Write;

use super::*;
use crate::source::budget::Budget;

fn held() -> Held {
    Budget::new(0).holder()
}

/// By a reviewer: a decoder of megabytes behind a body of half a kilobyte, counted with tens of kilobytes.
#[tokio::test]
async fn a_zstd_frame_that_gives_more_than_it_says_is_refused_when_it_does_and_not_at_its_end() {
    // 127 blocks of 128 KiB, each a byte repeated; first in a frame with a window of 8 MiB that says one byte of content, then in
    // one without a window that says 128 KiB.
    for (header, most) in [
        (&[0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x68, 1, 0, 0, 0][..], FIRST_PIECE),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 2, 0], 128 * 1024 + PIECE),
    ] {
        let mut body = header.to_vec();
        (0..127).for_each(|_| body.extend([0x02, 0x00, 0x10, b'\n']));
        let (decoders, mut total) = (decoders(), 0);
        let mut unpacking =
            Unpacking::new(body.into(), Coding::Zstd, 16 << 20, &decoders, &mut held()).await.unwrap();
        let refused = loop {
            match unpacking.next(&decoders, &mut held(), true).await {
                Err(refused) => break refused,
                Ok((rest, piece)) => (unpacking, total) = (rest, total + piece.len()),
            }
        };
        assert_eq!(refused.word(), "undecodable_body");
        assert!(total <= most, "{total}");
    }
}

#[tokio::test]
async fn frames_that_say_their_sizes_are_unpacked_one_after_the_other() {
    let frame = |byte: u8| {
        // A byte repeated so often; no window, two bytes of content size (less 256).
        [&[0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x2c, 0x01][..], &[0x63, 0x11, 0, byte]].concat()
    };
    let body: Bytes = [frame(b'a'), frame(b'b')].concat().into();
    for stays in [false, true] {
        let told = all(body.clone(), Coding::Zstd, stays).await;
        assert_eq!(told, [vec![b'a'; 556], vec![b'b'; 556]].concat());
    }
}

async fn all(body: Bytes, coding: Coding, stays: bool) -> Vec<u8> {
    let decoders = decoders();
    let mut unpacking = Unpacking::new(body, coding, 1 << 20, &decoders, &mut held()).await.unwrap();
    let mut all = Vec::new();
    while !unpacking.has_ended() {
        let piece;
        (unpacking, piece) = unpacking.next(&decoders, &mut held(), stays).await.unwrap();
        assert_eq!(unpacking.decoder.is_some(), stays && !unpacking.has_ended());
        all.extend(piece);
    }
    all
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    Bytes::from(encoder.finish().unwrap())
}

fn zstd(bytes: &[u8]) -> Bytes {
    use structured_zstd::encoding::{CompressionLevel, compress_to_vec};
    Bytes::from(compress_to_vec(bytes, CompressionLevel::Fastest))
}

#[tokio::test]
async fn what_comes_out_is_the_same_whether_the_decoder_stays_or_is_made_anew() {
    let body: Vec<u8> = (0..60_000_u32).flat_map(u32::to_le_bytes).collect();
    let frames = Bytes::from([zstd(&body[..10]), zstd(&body[10..9000]), zstd(&body[9000..])].concat());
    for stays in [true, false] {
        assert_eq!(all(gzip(&body), Coding::Gzip, stays).await, body);
        assert_eq!(all(frames.clone(), Coding::Zstd, stays).await, body);
    }
}

#[test]
fn a_decoder_is_counted_with_the_largest_window_that_a_frame_asks_for() {
    let size = zstd_size;
    let small = zstd(b"small");
    assert!((TABLES..TABLES + 1024).contains(&size(&small)), "{}", size(&small));
    // No content size, and a window of 8 MiB; a block that is the last and empty.
    let large = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68, 1, 0, 0];
    let most = size(&large);
    assert!(most > 8 << 20 && most < 9 << 20, "{most}");
    assert_eq!(size(&[&small, &large[..], &small].concat()), most);
    assert_eq!(size(&large[..6]), most, "the header alone is enough");
    assert!(size(&small.repeat(MAX_FRAMES + 1)) >= most, "nobody looks at all of them");
    assert_eq!(size(b"no frame"), TABLES);
}

/// Five million empty blocks took an async thread 10 ms and more before anything else of its connections went on.
#[tokio::test(start_paused = true)]
async fn a_large_body_of_nothing_but_block_headers_is_measured_in_its_turn() {
    let blocks = |count: usize| {
        let mut body = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
        body.resize(body.len() + 3 * count, 0);
        Bytes::from([&body[..], &[1, 0, 0]].concat())
    };
    let (decoders, mut held) = (decoders(), held());
    let all = Arc::clone(&decoders).acquire_many_owned(2).await.unwrap();
    let small = Unpacking::new(blocks(1_000), Coding::Zstd, 1, &decoders, &mut held);
    assert!(tokio::time::timeout(std::time::Duration::from_secs(1), small).await.is_ok());
    let large = Unpacking::new(blocks(1 << 20), Coding::Zstd, 1, &decoders, &mut held);
    assert!(tokio::time::timeout(std::time::Duration::from_secs(1), large).await.is_err(), "it waits");
    drop(all);
    let large = Unpacking::new(blocks(1 << 20), Coding::Zstd, 1, &decoders, &mut held);
    let size = large.await.unwrap().decoder_size;
    assert!((500_000..1_000_000).contains(&size), "{size}");
}

#[tokio::test]
async fn no_more_comes_out_at_a_time_than_was_said_and_nothing_beyond_the_limit() {
    let bomb = gzip(&vec![b'x'; 10 << 20]);
    let (packed, decoders) = (bomb.len(), decoders());
    let mut unpacking = Unpacking::new(bomb, Coding::Gzip, 1 << 20, &decoders, &mut held()).await.unwrap();
    let mut total = 0;
    let refused = loop {
        let room = if total == 0 { FIRST_PIECE } else { PIECE };
        let turn = unpacking.next_turn(5);
        assert_eq!(turn.with_decoder, packed + INFLATER + packed + room + 5);
        assert_eq!(turn.without, (total == 0).then_some(packed + room + 5));
        let decoder = if total == 0 { 0 } else { INFLATER + packed };
        assert_eq!(unpacking.held(), packed + decoder);
        match unpacking.next(&decoders, &mut held(), true).await {
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
