//! Asking a disk again, where asking again can do no harm.

use std::io;

use rustix::io::Errno;

use super::aside::is_rot;
use crate::sabotage::{self, Bug};

/// How often.
pub(crate) const TRIES: u32 = 3;

/// Opens, lists or reads, and tries again when the error is one that may pass: a path that was switched over, an
/// interrupted call. What a start reads decides what counts as lost, and one bad moment must not decide that.
///
/// Never for writes and syncs: a failed one is believed.
///
/// # Errors
/// The last error.
pub fn insist<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let may_pass = |e: &io::Error| {
        is_rot(e) || [Errno::INTR, Errno::AGAIN].iter().any(|n| e.raw_os_error() == Some(n.raw_os_error()))
    };
    let mut left = TRIES;
    loop {
        left -= 1;
        match attempt() {
            Err(e) if left > 0 && may_pass(&e) && !sabotage::commits(Bug::ErrorIsDamage) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_may_pass_is_tried_again_and_others_are_not() {
        let mut calls = 0;
        let passes = insist(|| {
            calls += 1;
            if calls < 3 { Err(io::Error::from_raw_os_error(Errno::IO.raw_os_error())) } else { Ok(calls) }
        });
        assert_eq!(passes.unwrap(), 3);
        for (errno, expected) in [
            (Errno::IO, 3),
            (Errno::NODATA, 3),
            (Errno::REMOTEIO, 3),
            (Errno::INTR, 3),
            (Errno::AGAIN, 3),
            (Errno::ACCESS, 1),
            (Errno::NOENT, 1),
            (Errno::MFILE, 1),
        ] {
            let mut calls = 0;
            let fails = insist(|| {
                calls += 1;
                Err::<(), _>(io::Error::from_raw_os_error(errno.raw_os_error()))
            });
            assert!(fails.is_err());
            assert_eq!(calls, expected, "{errno:?}");
        }
    }
}
