use proptest::prelude::*;

use super::*;

const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| b"{\"level\":\"info\",\"n\":"[i % 20] ^ u8::from(i % 97 == 0)).collect()
}

fn round(codec: Codec, data: &[u8]) -> (Codec, Vec<u8>) {
    let (used, out) = Compressor::compress(codec, data);
    let out = out.unwrap_or_else(|| data.to_vec());
    (used, decompress(used, &out, data.len()).unwrap().into_owned())
}

#[test]
fn every_codec_gives_back_what_it_took() {
    for codec in ALL {
        for len in [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 700_000] {
            let data = text(len);
            let (used, back) = round(codec, &data);
            assert!(back == data, "{codec:?} of {len}");
            assert!(len < 1000 || used == codec, "{codec:?} of {len} used {used:?}");
        }
    }
}

#[test]
fn a_reused_compressor_makes_what_a_fresh_one_makes() {
    let used = |len| ALL.map(|codec| Compressor::compress(codec, &text(len)));
    for len in [70_000, 300_000, 5] {
        // Another thread has no kept buffers.
        let fresh = std::thread::spawn(move || ALL.map(|codec| Compressor::compress(codec, &text(len))));
        assert_eq!(used(len), fresh.join().unwrap());
    }
}

#[test]
fn noise_is_left_as_it_is() {
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(50_000)
    .collect();
    for codec in ALL {
        assert_eq!(Compressor::compress(codec, &noise), (Codec::None, None), "{codec:?}");
    }
}

#[test]
fn lz4_frames_have_independent_blocks_as_java_demands() {
    let (_, out) = Compressor::compress(Codec::Lz4, &text(1_000_000));
    let out = out.unwrap();
    assert_eq!(out[..4], [0x04, 0x22, 0x4d, 0x18]);
    assert_eq!(out[4] & 0xe0, 0x60, "version 1, independent blocks");
}

#[test]
fn snappy_is_framed_as_xerial_does() {
    let (_, out) = Compressor::compress(Codec::Snappy, &text(40_000));
    assert_eq!(out.unwrap()[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let bare = snap::raw::Encoder::new().compress_vec(&text(999)).unwrap();
    assert_eq!(*decompress(Codec::Snappy, &bare, 999).unwrap(), text(999));
}

#[test]
fn output_beyond_the_limit_is_refused() {
    for codec in ALL {
        let data = text(100_000);
        let (used, out) = Compressor::compress(codec, &data);
        let out = out.unwrap_or(data);
        assert!(matches!(decompress(used, &out, 99_999), Err(CodecError::TooLarge { .. })), "{codec:?}");
    }
}

#[test]
fn zstd_frames_are_read_by_a_second_decoder() {
    let data = text(600_000);
    let (_, out) = Compressor::compress(Codec::Zstd, &data);
    let out = out.unwrap();
    let mut back = Vec::new();
    std::io::Read::read_to_end(&mut ruzstd::decoding::StreamingDecoder::new(&out[..]).unwrap(), &mut back)
        .unwrap();
    assert!(back == data);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_bytes_come_back(data in proptest::collection::vec(0u8..4, 0..3000)) {
        for codec in ALL {
            prop_assert_eq!(&round(codec, &data).1, &data);
        }
    }

    #[test]
    fn damaged_data_never_panics_and_never_exceeds_the_limit(
        len in 0usize..3000, flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for codec in ALL {
            let data = text(len);
            let (used, out) = Compressor::compress(codec, &data);
            let mut out = out.unwrap_or(data);
            for (at, byte) in flips.iter().filter(|_| !out.is_empty()).collect::<Vec<_>>() {
                let at = at.index(out.len());
                out[at] = *byte;
            }
            if let Ok(back) = decompress(used, &out, 4096) {
                prop_assert!(back.len() <= 4096);
            }
        }
    }
}
