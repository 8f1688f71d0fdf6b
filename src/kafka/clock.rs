//! The wall clock, which a test of days may move.

use crate::event::UnixMillis;

/// Milliseconds since 1970.
#[must_use]
pub fn unix_now() -> UnixMillis {
    #[cfg(test)]
    if let Some(now) = simulated::now() {
        return now;
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A wall clock that goes with the runtime's, on this thread.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;

    use tokio::time::Instant;

    use crate::event::UnixMillis;

    thread_local! {
        static BEGAN: Cell<Option<(Instant, UnixMillis)>> = const { Cell::new(None) };
    }

    /// From now on it is `unix`, and later as the runtime's clock says.
    pub(crate) fn begin(unix: UnixMillis) {
        BEGAN.set(Some((Instant::now(), unix)));
    }

    pub(crate) fn now() -> Option<UnixMillis> {
        let (began, unix) = BEGAN.get()?;
        Some(unix + i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}
