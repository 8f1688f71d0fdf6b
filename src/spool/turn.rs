//! Whether the disk answers at all: how long the writer has been at what it does.
//!
//! A call to a disk that hangs (a dying card, a network drive whose server is gone) may not come back for hours, and whoever made
//! it can't say so. Others ask here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What the writer does in one turn takes less than this on any disk that works, and senders wait longer (`block_timeout`).
pub(super) const HUNG_AFTER: Duration = Duration::from_secs(15);

/// The present turn of the writer, as others may see it. Times are of the host's monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Nanoseconds; 0 while it waits for work.
    since: AtomicU64,
    told: AtomicBool,
}

impl Turn {
    /// The writer begins to work.
    pub(super) fn begin(&self, now: Duration) {
        self.since.store(nanos(now), Ordering::Relaxed);
    }

    /// It is done. How long that took, if it was said that the disk does not answer.
    pub(super) fn end(&self, now: Duration) -> Option<Duration> {
        let since = self.since.swap(0, Ordering::Relaxed);
        self.told
            .swap(false, Ordering::Relaxed)
            .then(|| Duration::from_nanos(nanos(now).saturating_sub(since)))
    }

    /// How long the disk has not answered, if that is too long; and whether nobody has been told yet.
    pub(super) fn hung(&self, now: impl FnOnce() -> Duration) -> Option<(Duration, bool)> {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 {
            return None;
        }
        let hung = Duration::from_nanos(nanos(now()).saturating_sub(since));
        (hung >= HUNG_AFTER).then(|| (hung, !self.told.swap(true, Ordering::Relaxed)))
    }
}

/// Never 0, which means something else.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_hangs_when_the_writer_has_been_at_it_for_too_long_and_that_is_told_once() {
        let (turn, second) = (Turn::default(), Duration::from_secs(1));
        assert_eq!(turn.hung(|| unreachable!("nothing is done, so nobody asks for the time")), None);
        turn.begin(second);
        assert_eq!(turn.hung(|| HUNG_AFTER), None);
        assert_eq!(turn.hung(|| second + HUNG_AFTER), Some((HUNG_AFTER, true)));
        assert_eq!(turn.hung(|| 2 * second + HUNG_AFTER), Some((second + HUNG_AFTER, false)));
        assert_eq!(turn.end(3 * second + HUNG_AFTER), Some(2 * second + HUNG_AFTER));
        assert_eq!(turn.hung(|| 3 * second + HUNG_AFTER), None);
        turn.begin(second);
        assert_eq!(turn.end(2 * second), None, "nobody was told of it");
    }
}
