//! Byte streams over an in-memory pipe, with paused time.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{End, FULL_BATCH, Pump};
use crate::ids::StreamName;
use crate::intake::{AcceptError, Refused};
use crate::metrics::Metrics;
use crate::source::budget::Budget;
use crate::source::tally::Tally;
use crate::source::testing::FakeIntake;

const PIPE: usize = 8 * 1024;

struct Bench {
    intake: Arc<FakeIntake>,
    pump: Arc<Pump<FakeIntake>>,
}

fn bench() -> Bench {
    let intake = FakeIntake::new();
    let pump = Arc::new(Pump {
        intake: Arc::clone(&intake),
        tally: Tally::new("t", "tcp", None, 10, Metrics::new()),
        stream: StreamName::new("app").unwrap(),
        budget: Budget::new(1 << 20),
        max_event_size: 100_000,
        idle: Some(Duration::from_secs(60)),
        stop: CancellationToken::new(),
    });
    Bench { intake, pump }
}

impl Bench {
    fn connect(&self) -> (DuplexStream, JoinHandle<End>) {
        let (ours, theirs) = duplex(PIPE);
        let pump = Arc::clone(&self.pump);
        (ours, tokio::spawn(async move { pump.run(theirs, &pump.stop).await }))
    }

    fn rejected(&self) -> u64 {
        self.pump.tally.row().rejected
    }
}

#[tokio::test(start_paused = true)]
async fn lines_are_events_and_the_last_needs_no_newline() {
    let bench = bench();
    let (mut io, pump) = bench.connect();
    io.write_all(b"one\ntwo\n\nthr").await.unwrap();
    io.write_all(b"ee").await.unwrap();
    drop(io);
    assert!(matches!(pump.await.unwrap(), End::Eof));
    assert_eq!(bench.intake.values(), vec![&b"one"[..], b"two", b"three"]);
    assert_eq!((bench.pump.tally.row().accepted, bench.rejected()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_line_over_the_limit_is_counted_and_the_connection_goes_on() {
    let bench = bench();
    let (mut io, pump) = bench.connect();
    io.write_all(b"one\n").await.unwrap();
    io.write_all(&vec![b'x'; 300_000]).await.unwrap();
    io.write_all(b"\nthree\n").await.unwrap();
    drop(io);
    assert!(matches!(pump.await.unwrap(), End::Eof));
    assert_eq!(bench.intake.values(), vec![&b"one"[..], b"three"]);
    assert_eq!(bench.rejected(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_line_that_never_ends_is_given_up_after_a_minute_and_its_memory_with_it() {
    let bench = bench();
    let (mut io, pump) = bench.connect();
    io.write_all(b"one\n").await.unwrap();
    io.write_all(&[b'x'; 50_000]).await.unwrap();
    let began = Instant::now();
    // Each byte is a sign of life, and yet nobody else may have what it holds.
    while io.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(began.elapsed() < Duration::from_secs(80), "it goes on and on");
    }
    assert!(began.elapsed() >= Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(matches!(pump.await.unwrap(), End::Idle));
    assert!(bench.pump.budget.holder().try_cover(1 << 20), "all of it is given back");
    assert_eq!((bench.intake.values(), bench.rejected()), (vec![b"one".to_vec()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_long_line_that_stands_still_gives_way_to_whoever_waits_for_its_memory() {
    let bench = bench();
    let mut stops = bench.connect();
    stops.0.write_all(b"one\n").await.unwrap();
    stops.0.write_all(&[b'x'; 50_000]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (mut overdraws, mut waits) = (bench.pump.budget.holder(), bench.pump.budget.holder());
    overdraws.cover(2 << 20).await;
    let began = Instant::now();
    waits.cover(1 << 20).await;
    assert_eq!(began.elapsed().as_secs(), 0, "it had long been behind");
    assert!(matches!(stops.1.await.unwrap(), End::Idle));
    // Whoever waits for memory is not one who stands still.
    let mut other = bench.connect();
    let line = [&[b'x'; 50_000][..], b"\n"].concat();
    let writes = tokio::spawn(async move { other.0.write_all(&line).await });
    tokio::time::sleep(Duration::from_secs(55)).await;
    drop((waits, overdraws));
    writes.await.unwrap().unwrap();
    assert!(matches!(other.1.await.unwrap(), End::Eof));
    assert_eq!((bench.intake.values().len(), bench.rejected()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_passed_the_limit_keeps_no_overdraft_and_one_that_gets_no_memory_waits_for_the_idle_time()
{
    let bench = bench();
    let mut shares = bench.pump.budget.holder();
    shares.cover((1 << 20) + 16 * 1024).await;
    let mut endless = bench.connect();
    // It gets the overdraft, passes the limit of 100,000, and goes on by a byte.
    endless.0.write_all(&[b'x'; 150_000]).await.unwrap();
    endless.0.write_all(b"x").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut overdraws = bench.pump.budget.holder();
    let got = tokio::time::timeout(Duration::from_secs(1), overdraws.cover(4 << 20)).await;
    got.expect("the line has given the overdraft back");
    let mut waits = bench.connect();
    let writes = tokio::spawn(async move { waits.0.write_all(&[b'y'; 90_000]).await });
    let end = tokio::time::timeout(Duration::from_secs(61), waits.1).await;
    assert!(matches!(end.expect("it does not wait for ever").unwrap(), End::Idle));
    assert!(writes.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn long_lines_may_come_slowly_short_ones_very_slowly_and_a_full_spool_is_no_senders_fault() {
    let bench = bench();
    let (mut io, pump) = bench.connect();
    for _ in 0..4 {
        for piece in [&[b'x'; 30_000][..], &[b'x'; 30_000], b"\n"] {
            io.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_secs(25)).await;
        }
    }
    for _ in 0..5 {
        io.write_all(b"y").await.unwrap();
        tokio::time::sleep(Duration::from_secs(50)).await;
    }
    bench.intake.block();
    io.write_all(b"\n").await.unwrap();
    io.write_all(&[b'z'; 8_000]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    bench.intake.unblock();
    io.write_all(&[b'z'; 40_000]).await.unwrap();
    io.write_all(b"\n").await.unwrap();
    drop(io);
    assert!(matches!(pump.await.unwrap(), End::Eof));
    assert_eq!((bench.intake.values().len(), bench.rejected()), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_holds_the_sender_back_and_loses_nothing() {
    let bench = bench();
    bench.intake.block();
    let (mut io, pump) = bench.connect();
    let line = [vec![b'x'; 99], vec![b'\n']].concat();
    let total = 4 * FULL_BATCH / line.len();
    let mut sent = 0;
    // What fits: one batch under way, one being filled, one read, the pipe; then the sender stands still.
    while tokio::time::timeout(Duration::from_secs(1), io.write_all(&line)).await.is_ok() {
        sent += 1;
        assert!(sent < total, "nothing held the sender back");
    }
    assert!(bench.intake.values().is_empty());
    bench.intake.unblock();
    // The write that timed out may have been cut in the middle: end that line.
    io.write_all(b"\n").await.unwrap();
    drop(io);
    assert!(matches!(pump.await.unwrap(), End::Eof));
    let kept = bench.intake.values();
    assert!(kept.len() >= sent && kept.len() <= sent + 1);
    assert!(kept[..sent].iter().all(|value| value.len() == 99));
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_an_append_is_under_way_becomes_one_batch() {
    let bench = bench();
    bench.intake.block();
    let (mut io, pump) = bench.connect();
    io.write_all(b"first\n").await.unwrap();
    bench.intake.waiting_exactly(1).await;
    for number in 0..1000 {
        io.write_all(format!("{number}\n").as_bytes()).await.unwrap();
    }
    drop(io);
    // Let the pump read everything that was written before the spool takes events again.
    tokio::time::sleep(Duration::from_millis(1)).await;
    bench.intake.unblock();
    assert!(matches!(pump.await.unwrap(), End::Eof));
    let kept = bench.intake.values();
    assert_eq!(kept[0], b"first");
    assert!((0..1000).all(|number| kept[number + 1] == number.to_string().as_bytes()));
    assert_eq!(bench.intake.batches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_fails_is_offered_the_same_events_again() {
    let bench = bench();
    bench.intake.refuse_next(Refused::Failing("fsync".into()));
    bench.intake.refuse_next(AcceptError::Unknown("fsync".into()));
    bench.intake.refuse_next(Refused::Full("full".into()));
    let (mut io, pump) = bench.connect();
    io.write_all(b"one\ntwo\n").await.unwrap();
    drop(io);
    assert!(matches!(pump.await.unwrap(), End::Eof));
    assert_eq!(bench.intake.values(), vec![b"one", b"two"]);
    assert_eq!(bench.rejected(), 0);
}

#[tokio::test(start_paused = true)]
async fn events_that_are_refused_for_good_are_counted_and_the_connection_goes_on() {
    let bench = bench();
    let (mut io, pump) = bench.connect();
    let stream = StreamName::new("app").unwrap();
    bench.intake.refuse_next(Refused::NoRoute { stream, nearest: None });
    io.write_all(b"one\ntwo\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    io.write_all(b"three\n").await.unwrap();
    drop(io);
    assert!(matches!(pump.await.unwrap(), End::Eof));
    assert_eq!(bench.intake.values(), vec![b"three"]);
    assert_eq!(bench.rejected(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_byte_is_closed_after_its_time() {
    let bench = bench();
    let start = tokio::time::Instant::now();
    let (mut io, pump) = bench.connect();
    tokio::time::sleep(Duration::from_secs(50)).await;
    io.write_all(b"one\nhalf").await.unwrap();
    assert!(matches!(pump.await.unwrap(), End::Idle));
    assert_eq!(start.elapsed().as_secs(), 110);
    assert_eq!(bench.intake.values(), vec![b"one"]);
    assert_eq!(bench.rejected(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_accepts_what_was_read_and_counts_the_line_that_was_not_whole() {
    let bench = bench();
    bench.intake.block();
    let (mut io, pump) = bench.connect();
    io.write_all(b"one\n").await.unwrap();
    bench.intake.waiting_exactly(1).await;
    io.write_all(b"two\nhal").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    bench.pump.stop.cancel();
    tokio::time::sleep(Duration::from_millis(1)).await;
    bench.intake.unblock();
    assert!(matches!(pump.await.unwrap(), End::Stopped));
    assert_eq!(bench.intake.values(), vec![b"one", b"two"]);
    assert_eq!(bench.rejected(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_an_ending_intake_does_not_take_is_counted() {
    let bench = bench();
    bench.intake.refuse_next(Refused::ShuttingDown);
    let (mut io, pump) = bench.connect();
    io.write_all(b"one\ntwo\n").await.unwrap();
    assert!(matches!(pump.await.unwrap(), End::NotAccepted(2)));
    assert_eq!(bench.rejected(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_spool_is_full_counts_what_is_not_kept() {
    let bench = bench();
    bench.intake.block();
    let (mut io, pump) = bench.connect();
    io.write_all(b"one\n").await.unwrap();
    bench.intake.waiting_exactly(1).await;
    io.write_all(b"two\nthree\nhal").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    bench.pump.stop.cancel();
    let start = tokio::time::Instant::now();
    assert!(matches!(pump.await.unwrap(), End::NotAccepted(3)));
    assert!(start.elapsed() < crate::source::listen::GRACE);
    bench.intake.waiting_exactly(0).await;
    assert_eq!(bench.rejected(), 4);
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn many_held_back_connections_stay_within_the_budget() {
    let bench = bench();
    bench.intake.block();
    let line = [vec![b'x'; 999], vec![b'\n']].concat();
    let mut all = Vec::new();
    for _ in 0..50 {
        let (mut io, pump) = bench.connect();
        let writer = {
            let line = line.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    io.write_all(&line).await.unwrap();
                }
            })
        };
        all.push((writer, pump));
    }
    bench.intake.waiting_exactly(50).await;
    bench.intake.unblock();
    for (writer, pump) in all {
        writer.await.unwrap();
        assert!(matches!(pump.await.unwrap(), End::Eof));
    }
    assert_eq!(bench.intake.values().len(), 50 * 500);
    assert!(bench.pump.budget.holder().try_cover(1 << 20), "everything was given back");
}
