//! Asking a disk again, where asking again can do no harm.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::aside::is_rot;
use crate::sabotage::{self, Bug};

/// How often without a pause.
pub(crate) const TRIES: u32 = 3;
/// Pauses grow from one to the other.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Of this process, for its start.
static PATIENCE: Patience = Patience(Mutex::new(None));

/// Until when there are further tries, with pauses.
struct Patience(Mutex<Option<Instant>>);

impl Patience {
    fn set(&self, end: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    /// Waits, if there is time; says whether there was.
    fn wait(&self, pause: Duration) -> bool {
        let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = end.is_some_and(|end| Instant::now() < end);
        if is_time {
            thread::sleep(pause);
        }
        is_time
    }
}

/// While it lives, a disk that can't be read is asked again and again, until the time is over.
#[must_use = "it ends with its life"]
pub struct Patient(());

impl Patient {
    /// For a start: what it can't read counts as damaged for good, or ends the start, and a disk that is slow to come back, or a link to it, may need
    /// longer than three tries take.
    pub fn at_most(time: Duration) -> Self {
        PATIENCE.set(Some(Instant::now() + time));
        Self(())
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        PATIENCE.set(None);
    }
}

/// Opens, lists or reads, and tries again when the error is one that may pass: a path that was switched over, an
/// interrupted call. What a start reads decides what counts as lost, and one bad moment must not decide that.
///
/// Never for writes and syncs: a failed one is believed.
///
/// # Errors
/// The last error.
pub fn insist<T>(attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    insist_with(&PATIENCE, attempt)
}

/// [`insist`] for what was not asked for yet. What the disk has refused that often before is asked for once: each try of a bad sector may take
/// a disk many seconds.
///
/// # Errors
/// The last error.
pub fn insist_unless<T>(refused: bool, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    if refused { attempt() } else { insist(attempt) }
}

fn insist_with<T>(patience: &Patience, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let may_pass = |e: &io::Error| {
        is_rot(e) || [Errno::INTR, Errno::AGAIN].iter().any(|n| e.raw_os_error() == Some(n.raw_os_error()))
    };
    let (mut tries, mut pause) = (1, PAUSES.0);
    loop {
        match attempt() {
            Err(e) if may_pass(&e) && !sabotage::commits(Bug::ErrorIsDamage) => {
                if tries >= TRIES {
                    if !patience.wait(pause) {
                        return Err(e);
                    }
                    if tries == TRIES {
                        tracing::warn!(error = %e, "the disk can't be read at the start; it is asked again");
                    }
                    pause = PAUSES.1.min(pause * 2);
                }
                tries += 1;
            }
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

    #[test]
    fn a_start_that_is_patient_reads_what_a_disk_refused_for_a_while_and_then_gives_it_up() {
        let patience = Patience(Mutex::new(None));
        let refused = || io::Error::from_raw_os_error(Errno::IO.raw_os_error());
        patience.set(Some(Instant::now() + Duration::from_secs(60)));
        let mut calls = 0;
        let read = insist_with(&patience, || {
            calls += 1;
            if calls <= TRIES + 2 { Err(refused()) } else { Ok(calls) }
        });
        assert_eq!(read.unwrap(), TRIES + 3);

        let began = Instant::now();
        patience.set(Some(began + Duration::from_millis(200)));
        assert!(insist_with(&patience, || Err::<(), _>(refused())).is_err());
        assert!(began.elapsed() >= Duration::from_millis(200));
        // What a patient start does not wait for.
        patience.set(Some(Instant::now() + Duration::from_secs(60)));
        let mut calls = 0;
        let denied = insist_with(&patience, || {
            calls += 1;
            Err::<(), _>(io::Error::from_raw_os_error(Errno::ACCESS.raw_os_error()))
        });
        assert_eq!((denied.is_err(), calls), (true, 1));
    }

    #[test]
    fn a_patient_start_says_once_that_it_asks_again_and_its_pauses_grow() {
        use crate::logs::testing::said;
        let patience = Patience(Mutex::new(None));
        patience.set(Some(Instant::now() + Duration::from_secs(60)));
        for (refusals, pauses, lines) in [(TRIES - 1, 0, 0), (TRIES, 50, 1), (TRIES + 2, 50 + 100 + 200, 1)] {
            let (mut calls, began) = (0, Instant::now());
            let (read, said) = said(|| {
                insist_with(&patience, || {
                    calls += 1;
                    if calls > refusals {
                        Ok(())
                    } else {
                        Err(io::Error::from_raw_os_error(Errno::IO.raw_os_error()))
                    }
                })
            });
            read.unwrap();
            assert_eq!(said.len(), lines, "{said:?}");
            assert!(began.elapsed() >= Duration::from_millis(pauses));
        }
    }

    #[test]
    fn a_start_is_patient_as_long_as_it_was_told_and_no_longer_than_it_lasts() {
        let start = Patient::at_most(Duration::from_secs(60));
        assert!(PATIENCE.wait(Duration::ZERO));
        drop(start);
        assert!(!PATIENCE.wait(Duration::ZERO));
    }
}
