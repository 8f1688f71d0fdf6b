//! Prints what it costs to write records and to seal batches, for events of 200 bytes.
//!
//! `cargo bench --bench batch`

#![expect(clippy::print_stdout, clippy::indexing_slicing, reason = "a bench prints, and stops at a surprise")]

use std::time::{Duration, Instant};

use spoolway::config::model::KafkaCompression;
use spoolway::kafka::batch::Identity;
use spoolway::kafka::{RecordsBuilder, Stamp};

const WINDOW: usize = 900 * 1024;

/// JSON-like events of about 200 bytes, no two alike.
fn events() -> Vec<Vec<u8>> {
    let mut state = 42u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..20_000)
        .map(|n| {
            let (a, b, level) = (random(), random() % 100_000, ["info", "debug", "warn"][n % 3]);
            format!(
                "{{\"ts\":\"2026-11-21T06:{:02}:{:02}Z\",\"level\":\"{level}\",\"service\":\"checkout\",\"trace\":\"{a:016x}\",\"user\":{b},\"msg\":\"order placed and payment taken\",\"path\":\"/v1/orders/{n}\",\"ms\":{}}}",
                n / 60 % 60, n % 60, b % 977
            )
            .into_bytes()
        })
        .collect()
}

fn best(mut work: impl FnMut() -> Duration) -> Duration {
    (0..15).map(|_| work()).min().unwrap_or_default()
}

fn fill(builder: &mut RecordsBuilder, events: &[Vec<u8>], from: usize, header: &[u8]) -> usize {
    let mut n = from;
    while builder.bytes() < WINDOW {
        builder.push(None, Some(&events[n % events.len()]), [("spoolway", Some(header))], 1_700_000_000_000);
        n += 1;
    }
    n
}

fn main() {
    let events = events();
    let header = [7u8; 28];
    let mut builder = RecordsBuilder::new(Stamp::Event);
    let mut count = 0;
    let push = best(|| {
        builder.restart(Stamp::Event);
        let began = Instant::now();
        count = fill(&mut builder, &events, 0, &header);
        began.elapsed()
    });
    let ns = push.as_nanos() as f64 / count as f64;
    println!(
        "push: {ns:.1} ns/record, {:.0} MB/s, {count} records a window",
        WINDOW as f64 / push.as_secs_f64() / 1e6
    );
    for compression in [
        KafkaCompression::None,
        KafkaCompression::Gzip,
        KafkaCompression::Snappy,
        KafkaCompression::Lz4,
        KafkaCompression::Zstd,
    ] {
        let (mut before, mut after) = (0, 0);
        let mut from = 0;
        let seal = best(|| {
            from = fill(&mut builder, &events, from, &header);
            before = builder.bytes();
            let began = Instant::now();
            let batch = builder.seal(compression);
            let took = began.elapsed();
            after = batch.encoded_len();
            took
        });
        println!(
            "seal {compression:?}: {:.0} MB/s, ratio {:.2}",
            before as f64 / seal.as_secs_f64() / 1e6,
            before as f64 / after as f64
        );
    }
    fill(&mut builder, &events, 0, &header);
    let batch = builder.seal(KafkaCompression::None);
    let mut out = Vec::with_capacity(batch.encoded_len());
    let encode = best(|| {
        out.clear();
        let began = Instant::now();
        batch.encode(Identity { producer_id: 1, epoch: 0, base_sequence: 0 }, 0, &mut out);
        began.elapsed()
    });
    println!("encode for a send: {:.0} MB/s", batch.encoded_len() as f64 / encode.as_secs_f64() / 1e6);
}
