//! Whether there is room for more: the lane's quota and what is to stay free on the file system.

use std::time::Duration;

use crate::disk::{Fs, Space};

use super::host::Stamp;
use super::shared::Shared;

/// How old the file system's answer may get while nothing is reserved.
const REFRESH: Duration = Duration::from_secs(1);

/// Numbers that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Levels {
    /// Bytes of the lane's segments.
    pub(super) used: u64,
    /// Its quota.
    pub(super) limit: u64,
    /// Bytes free on the file system.
    pub(super) available: u64,
    /// Bytes to be left free.
    pub(super) reserve: u64,
    /// Bytes about to be reserved.
    pub(super) wanted: u64,
}

impl Levels {
    /// Why nothing more is taken, if so. The quota is passed by at most what one request adds.
    pub(super) fn full(&self) -> Option<String> {
        let Levels { used, limit, available, reserve, wanted } = *self;
        if used >= limit {
            return Some(format!("it holds {used} bytes, its quota is {limit} (spool.max_size)"));
        }
        if available < reserve.saturating_add(wanted) {
            return Some(format!(
                "{available} bytes are free on its file system, of which {reserve} are to stay free (spool.reserve) and {wanted} are \
                 wanted"
            ));
        }
        None
    }
}

/// The file system's answer, asked seldom.
#[derive(Debug, Default)]
pub(super) struct Room {
    seen: Option<(Space, Stamp)>,
}

impl Room {
    /// Why nothing more is taken, if so. `wanted` bytes are about to be reserved; `planned` are written or about
    /// to be, beyond what the table knows.
    pub(super) fn full<F: Fs>(&mut self, shared: &Shared<F>, planned: u64, wanted: u64) -> Option<String> {
        if wanted > 0 || self.is_stale(shared) {
            let now = shared.data.host().now();
            // A file system that cannot say how full it is gets no reserve; writing to it will tell.
            let space = shared.data.fs().space(&shared.dir);
            let space = space.unwrap_or(Space { available: u64::MAX, total: u64::MAX });
            self.seen = Some((space, now));
        }
        let available = self.seen.map_or(u64::MAX, |(space, _)| space.available);
        let used = shared.table().bytes().saturating_add(planned);
        Levels { used, limit: shared.limit, available, reserve: shared.settings.reserve, wanted }.full()
    }

    /// Whether the file system has not been asked for a while.
    pub(super) fn is_stale<F: Fs>(&self, shared: &Shared<F>) -> bool {
        let now = shared.data.host().now();
        self.seen.is_none_or(|(_, at)| now.since(at) >= REFRESH)
    }
}
