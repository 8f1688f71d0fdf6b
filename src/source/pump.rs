//! Newline-delimited events from a byte stream to the intake: what tcp, unix and stdin have in common.
//!
//! INVARIANT: at most one append of a stream is under way, so its events are offered in order; what is read
//! meanwhile becomes the next batch. While the intake takes nothing, reading stops: the sender is held back
//! by its full socket or pipe.
//!
//! Memory of a connection: no read buffer of its own (each worker thread has one), the line that has begun,
//! one batch under way and one being filled, the last two only as far as the [`Budget`] has room.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::{Budget, FREE, Held, Stake};
use super::lines::{Line, Lines};
use super::listen::GRACE;
use super::pace::LongLine;
use super::tally::Tally;
use crate::event::{Event, EventBatch};
use crate::ids::StreamName;
use crate::intake::{AcceptError, Intake, Patience, Refused};

/// Read at once when the budget has room for it.
const CHUNK: usize = 64 * 1024;
/// Read at once, and held by every connection, without asking the budget.
const SMALL: usize = FREE;
/// A batch is filled up to this while the one before it is under way.
const FULL_BATCH: usize = 512 * 1024;
/// Between two offers of a batch that the spool could not take.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);
/// Left of the stop's grace to count what is not kept.
const COUNTING: Duration = Duration::from_millis(500);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Why a stream is read no further.
#[derive(Debug)]
pub(super) enum End {
    /// The sender closed it.
    Eof,
    /// Nothing came for `idle_timeout`.
    Idle,
    /// Reading failed.
    Failed(io::Error),
    /// The agent stops.
    Stopped,
    /// The intake stops, and this many events that were read are not kept.
    NotAccepted(u64),
}

/// Everything a stream's events need on their way to the intake.
#[derive(Debug)]
pub(super) struct Pump<I> {
    pub(super) intake: Arc<I>,
    pub(super) tally: Arc<Tally>,
    pub(super) stream: StreamName,
    pub(super) budget: Budget,
    pub(super) max_event_size: usize,
    pub(super) idle: Option<Duration>,
    pub(super) stop: CancellationToken,
}

impl<I: Intake> Pump<I> {
    /// Reads `input` until it ends, fails, is idle, or `cut` is cancelled; returns when everything that was
    /// read in whole lines is accepted or counted as rejected.
    pub(super) async fn run(&self, mut input: impl AsyncRead + Unpin, cut: &CancellationToken) -> End {
        let mut filling = Filling::new(&self.tally, &self.budget, self.max_event_size);
        let mut under_way = None;
        let mut end = None;
        let mut quiet = pin!(Quiet::new(self.idle));
        loop {
            if under_way.is_none() && !filling.batch.is_empty() {
                let (batch, held) = filling.take();
                under_way = Some(Box::pin(self.offer(batch, held)));
            }
            if under_way.is_none()
                && let Some(end) = end
            {
                filling.discard();
                return end;
            }
            let ahead = under_way.is_some();
            // While there is no memory it is not the sender who is waited for; that has its bound in the idle time all the same.
            let paid = ahead || filling.has_memory();
            // Standard input, which has no idle time, is no stranger's, and takes nobody's memory.
            let judged = paid && !ahead && self.idle.is_some();
            let line_over =
                filling.long.as_ref().filter(|_| judged).map(|line| (line.over(), filling.held.stake()));
            tokio::select! {
                biased;
                taken = async { match &mut under_way { Some(offer) => offer.await, None => Ok(()) } }, if ahead => {
                    under_way = None;
                    quiet.as_mut().heard();
                    filling.wait_anew();
                    if let Err(lost) = taken {
                        return End::NotAccepted(lost + filling.discard());
                    }
                }
                () = cut.cancelled(), if end.is_none() => end = Some(End::Stopped),
                read = filling.read(&mut input, ahead, paid), if end.is_none() => match read {
                    Ok(None) => { filling.wait_anew(); quiet.as_mut().heard(); }
                    Ok(Some(0)) => { filling.finish(); end = Some(End::Eof); }
                    Ok(Some(_)) => quiet.as_mut().heard(),
                    Err(error) => end = Some(End::Failed(error)),
                },
                () = quiet.as_mut().over(), if end.is_none() && !ahead => end = Some(End::Idle),
                () = self.too_slow(line_over), if end.is_none() => {
                    tracing::warn!(
                        source = self.tally.name(),
                        bytes = filling.lines.held(),
                        "a long line did not end in time: its connection is closed"
                    );
                    end = Some(End::Idle);
                },
            }
        }
    }

    /// Resolves when a line has taken too long, or stood still while others waited for its memory.
    async fn too_slow(&self, over: Option<((Instant, Instant), Stake)>) {
        let Some(((ends, behind), stake)) = over else { return std::future::pending().await };
        let wanted = async {
            tokio::time::sleep_until(behind).await;
            stake.wanted().await;
        };
        tokio::select! {
            () = tokio::time::sleep_until(ends) => {}
            () = wanted => {}
        }
    }

    /// Offers a batch until it is taken, is refused for good (counted), or the intake stops (`Err` with the
    /// number of events).
    async fn offer(&self, batch: EventBatch, held: Held) -> Result<(), u64> {
        let _held = held;
        // What is offered again must not be held twice.
        let batch = batch.shared();
        let mut pause = RETRY_FIRST;
        loop {
            let answer = tokio::select! {
                biased;
                answer = self.intake.accept(self.stream.clone(), batch.clone(), Patience::Forever) => answer,
                () = self.last_call() => return Err(self.lost(&batch)),
            };
            let error = match answer {
                Ok(_) => {
                    self.tally.accepted(&self.tally.counter(&self.stream), batch.count());
                    if pause > RETRY_FIRST {
                        self.tally.goes_on();
                    }
                    return Ok(());
                }
                Err(AcceptError::Refused(Refused::ShuttingDown)) => return Err(self.lost(&batch)),
                Err(AcceptError::Refused(refused)) if !passes(&refused) => {
                    self.refused(&refused, batch.count());
                    return Ok(());
                }
                Err(error) => error,
            };
            // The sender can't be told, so it is held back: the copy here may be the only one.
            self.tally.held_back(&error);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(self.lost(&batch)),
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_LAST),
            }
        }
    }

    /// Resolves when the stop leaves no more time to wait for the intake.
    async fn last_call(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(GRACE.saturating_sub(COUNTING)).await;
    }

    fn lost(&self, batch: &EventBatch) -> u64 {
        let count = u64::from(batch.count());
        self.tally.rejected(Refused::ShuttingDown.reason(), count);
        tracing::warn!(
            source = self.tally.name(),
            count,
            "the agent stops; events that were read are not kept"
        );
        count
    }

    fn refused(&self, refused: &Refused, count: u32) {
        self.tally.rejected(refused.reason(), u64::from(count));
        tracing::error!(source = self.tally.name(), count, %refused, "events refused; their sender can't be told");
    }
}

/// Whether a refusal passes by itself, so that waiting helps.
fn passes(refused: &Refused) -> bool {
    matches!(refused, Refused::Full(_) | Refused::Failing(_))
}

/// The batch that is being filled.
struct Filling<'a> {
    tally: &'a Tally,
    lines: Lines,
    batch: EventBatch,
    held: Held,
    limit: usize,
    warned: bool,
    /// The line that has begun, if it takes more than what everybody may hold.
    long: Option<LongLine>,
}

impl<'a> Filling<'a> {
    fn new(tally: &'a Tally, budget: &Budget, limit: usize) -> Self {
        let (lines, batch) = (Lines::new(limit), EventBatch::new());
        Self { tally, lines, batch, held: budget.holder(), limit, warned: false, long: None }
    }

    fn used(&self) -> usize {
        self.batch.as_bytes().len() + self.lines.held()
    }

    fn take(&mut self) -> (EventBatch, Held) {
        let left = self.lines.held();
        (std::mem::take(&mut self.batch), self.held.split_but(left))
    }

    /// Whether what it holds is paid for.
    fn has_memory(&mut self) -> bool {
        self.held.try_cover(self.used())
    }

    /// Reads once, or where what it holds is not `paid` for waits for memory and reads nothing (`None`). Cancel-safe: what was read is in the batch when this is ready, and
    /// nothing was read before. `ahead` means that a batch is under way, whose end will wake the task.
    async fn read(
        &mut self,
        input: &mut (impl AsyncRead + Unpin),
        ahead: bool,
        paid: bool,
    ) -> io::Result<Option<usize>> {
        if !paid {
            self.held.cover(self.used()).await;
            return Ok(None);
        }
        poll_fn(|cx| self.poll_read(cx, input, ahead)).await.map(Some)
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut (impl AsyncRead + Unpin),
        ahead: bool,
    ) -> Poll<io::Result<usize>> {
        let used = self.used();
        if ahead && self.batch.as_bytes().len() >= FULL_BATCH {
            return Poll::Pending;
        }
        let chunk = match self.held.try_cover(used + CHUNK) {
            true => CHUNK,
            false if ahead => return Poll::Pending,
            false => SMALL,
        };
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch.get_mut(..chunk).unwrap_or_default());
            ready!(Pin::new(input).poll_read(cx, &mut buffer))?;
            self.cut(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        });
        // A connection that waits for its sender holds nothing for it.
        self.held.keep(self.used());
        read
    }

    fn cut(&mut self, chunk: &[u8]) {
        let (mut too_long, batch) = (0u64, &mut self.batch);
        let mut ended = false;
        let Ok(()) = self.lines.feed(chunk, |line| {
            ended = true;
            take_line(batch, &mut too_long, line)
        });
        self.count_too_long(too_long);
        let goes_on = self.long.take().filter(|_| !ended);
        self.long = (self.lines.held() > FREE).then(|| goes_on.unwrap_or_else(LongLine::new));
        if let Some(long) = &mut self.long {
            long.heard(chunk.len());
        }
    }

    /// The sender was not read from until now.
    fn wait_anew(&mut self) {
        if let Some(long) = &mut self.long {
            long.wait_anew();
        }
    }

    fn finish(&mut self) {
        let (mut too_long, batch) = (0u64, &mut self.batch);
        let Ok(()) = self.lines.finish(|line| take_line(batch, &mut too_long, line));
        self.count_too_long(too_long);
        self.lines = Lines::new(self.limit);
    }

    fn count_too_long(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        self.tally.rejected("too_large", count);
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                source = self.tally.name(),
                limit = self.limit,
                "a line over spool.max_event_size was skipped; further ones of this connection are only counted"
            );
        }
    }

    /// Gives up what is left; returns the number of whole events among it.
    fn discard(&mut self) -> u64 {
        if self.lines.held() > 0 {
            self.tally.rejected("incomplete", 1);
            self.lines = Lines::new(self.limit);
        }
        let count = u64::from(std::mem::take(&mut self.batch).count());
        if count > 0 {
            self.tally.rejected(Refused::ShuttingDown.reason(), count);
        }
        count
    }
}

fn take_line(
    batch: &mut EventBatch,
    too_long: &mut u64,
    line: Line<'_>,
) -> Result<(), std::convert::Infallible> {
    match line {
        Line::Whole(value) => batch.push(&Event::of_value(value)),
        Line::TooLong => *too_long += 1,
    }
    Ok(())
}

/// The idle time: one timer, touched only when it fires.
struct Quiet {
    limit: Option<Duration>,
    heard: Instant,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Quiet {
    fn new(limit: Option<Duration>) -> Self {
        let timer = Box::pin(tokio::time::sleep(limit.unwrap_or_default()));
        Self { limit, heard: Instant::now(), timer }
    }

    fn heard(mut self: Pin<&mut Self>) {
        self.heard = Instant::now();
    }

    async fn over(mut self: Pin<&mut Self>) {
        let Some(limit) = self.limit else { return std::future::pending().await };
        while self.heard.elapsed() < limit {
            let until = self.heard + limit;
            self.timer.as_mut().reset(until);
            self.timer.as_mut().await;
        }
    }
}

#[cfg(test)]
mod tests;
