//! Deliberate bugs, for negative controls: each fault harness runs once against one of them and has to fail.
//!
//! They exist in test builds and with the feature `simulation` alone. A release has none of this: there
//! [`commits`] is a constant, and the sites are compiled away.
//!
//! A test switches one on for its own thread with [`Sabotage::begin`]. The binary `spoolway-sabotaged`, which
//! only exists with the feature, takes one by its name from `SPOOLWAY_SABOTAGE`.

/// One bug that a relay of this kind can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Senders are answered when their events are written, and the sync comes later.
    AnswerBeforeSync,
    /// The name of a new segment is never made durable.
    NoDirectorySync,
    /// What was sent counts as delivered.
    PositionBeforeAcknowledgement,
    /// A segment is deleted before the position and the floor that allow it are durable.
    DeleteBeforePosition,
    /// A failed sync is tried again, and the second answer is believed.
    RetryAfterFailedSync,
    /// Readers are shown what is written and not yet durable.
    WatermarkTooHigh,
    /// After a failed write the numbers are given again under the same run.
    NumbersTwiceUnderOneRun,
    /// What a reader gets is not compared with its checksum.
    PayloadUnchecked,
    /// The header of a block is not compared with its checksum.
    HeaderUnchecked,
    /// A position ahead of the log is believed, and new events are given numbers below it.
    PositionBeyondTheLog,
    /// Senders are answered as if their events had been taken while nothing can be written.
    AcceptedUnwritten,
    /// New windows go on under the producer id, epoch and sequence number that the journal ends with.
    NextSequenceFromDisk,
    /// What is lost is passed over, and counted by nobody.
    LossUncounted,
    /// A read that fails once is taken for damage.
    ErrorIsDamage,
    /// What the page cache holds of a killed process's last segment is taken for durable.
    LeftoversBelieved,
    /// What stands in a slot is not compared with its checksum.
    SlotUnchecked,
    /// With `sync = <interval>`, what was accepted is never synced for its own sake.
    IntervalForgotten,
    /// A file of parked events has its name before anything is in it.
    ParkedUnderItsName,
    /// Positions say of events that they are dead letters before their letters are on disk.
    PositionBeforeLetter,
    /// A letter is gone from the store once it is being sent again, and not once it has arrived.
    LetterForgottenEarly,
    /// What comes to a stream's new lane does not wait for what is left of it in the old one.
    MovedWithoutWaiting,
    /// What is about to be sent counts as noted in the journal before it is synced.
    JournalUnsynced,
    /// A dead letter counts as kept before it is synced.
    LetterUnsynced,
    /// A start goes on from where the log can be read to, though the disk does not give what stands behind.
    BlindStart,
    /// It panics over the text of the configuration, with all of it in the message.
    PanicOverConfiguration,
    /// It panics over a file with a secret, in the same way.
    PanicOverSecret,
    /// It panics over a password whose proof it computes.
    PanicOverProof,
    /// It panics over a token that a sender shows.
    PanicOverToken,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 28] = [
        Bug::AnswerBeforeSync,
        Bug::NoDirectorySync,
        Bug::PositionBeforeAcknowledgement,
        Bug::DeleteBeforePosition,
        Bug::RetryAfterFailedSync,
        Bug::WatermarkTooHigh,
        Bug::NumbersTwiceUnderOneRun,
        Bug::PayloadUnchecked,
        Bug::HeaderUnchecked,
        Bug::PositionBeyondTheLog,
        Bug::AcceptedUnwritten,
        Bug::NextSequenceFromDisk,
        Bug::LossUncounted,
        Bug::ErrorIsDamage,
        Bug::LeftoversBelieved,
        Bug::SlotUnchecked,
        Bug::IntervalForgotten,
        Bug::ParkedUnderItsName,
        Bug::PositionBeforeLetter,
        Bug::LetterForgottenEarly,
        Bug::MovedWithoutWaiting,
        Bug::JournalUnsynced,
        Bug::LetterUnsynced,
        Bug::BlindStart,
        Bug::PanicOverConfiguration,
        Bug::PanicOverSecret,
        Bug::PanicOverProof,
        Bug::PanicOverToken,
    ];

    /// Its name, as `SPOOLWAY_SABOTAGE` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Bug::AnswerBeforeSync => "answer-before-sync",
            Bug::NoDirectorySync => "no-directory-sync",
            Bug::PositionBeforeAcknowledgement => "position-before-acknowledgement",
            Bug::DeleteBeforePosition => "delete-before-position",
            Bug::RetryAfterFailedSync => "retry-after-failed-sync",
            Bug::WatermarkTooHigh => "watermark-too-high",
            Bug::NumbersTwiceUnderOneRun => "numbers-twice-under-one-run",
            Bug::PayloadUnchecked => "payload-unchecked",
            Bug::HeaderUnchecked => "header-unchecked",
            Bug::PositionBeyondTheLog => "position-beyond-the-log",
            Bug::AcceptedUnwritten => "accepted-unwritten",
            Bug::NextSequenceFromDisk => "next-sequence-from-disk",
            Bug::LossUncounted => "loss-uncounted",
            Bug::ErrorIsDamage => "error-is-damage",
            Bug::LeftoversBelieved => "leftovers-believed",
            Bug::SlotUnchecked => "slot-unchecked",
            Bug::IntervalForgotten => "interval-forgotten",
            Bug::ParkedUnderItsName => "parked-under-its-name",
            Bug::PositionBeforeLetter => "position-before-letter",
            Bug::LetterForgottenEarly => "letter-forgotten-early",
            Bug::MovedWithoutWaiting => "moved-without-waiting",
            Bug::JournalUnsynced => "journal-unsynced",
            Bug::LetterUnsynced => "letter-unsynced",
            Bug::BlindStart => "blind-start",
            Bug::PanicOverConfiguration => "panic-over-configuration",
            Bug::PanicOverSecret => "panic-over-secret",
            Bug::PanicOverProof => "panic-over-proof",
            Bug::PanicOverToken => "panic-over-token",
        }
    }

    /// The bug of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

/// Whether this program has `bug`. Always false in a release.
#[cfg(not(any(test, feature = "simulation")))]
#[inline]
#[must_use]
pub const fn commits(_bug: Bug) -> bool {
    false
}

/// Panics over what is in hand, if this program has `bug`. Never in a release.
#[cfg(not(any(test, feature = "simulation")))]
#[inline]
pub const fn stumble(_bug: Bug, _in_hand: &[u8]) {}

#[cfg(any(test, feature = "simulation"))]
pub use switched::{Sabotage, commits, of_environment, stumble};

#[cfg(any(test, feature = "simulation"))]
mod switched {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::Bug;

    thread_local! {
        static OF_THREAD: Cell<Option<Bug>> = const { Cell::new(None) };
    }
    static OF_PROCESS: OnceLock<Bug> = OnceLock::new();

    /// Whether this program has `bug`: on this thread, or as a whole.
    #[must_use]
    pub fn commits(bug: Bug) -> bool {
        OF_THREAD.get() == Some(bug) || OF_PROCESS.get() == Some(&bug)
    }

    /// Panics over what is in hand, if this program has `bug`: the worst that a panic can do is to say all of it.
    #[expect(clippy::panic, reason = "on purpose")]
    pub fn stumble(bug: Bug, in_hand: &[u8]) {
        if commits(bug) {
            panic!("stumbled over {}", String::from_utf8_lossy(in_hand));
        }
    }

    /// A bug of this thread, until it is dropped.
    #[derive(Debug)]
    pub struct Sabotage(());

    impl Sabotage {
        /// Switches `bug` on for this thread.
        #[must_use]
        pub fn begin(bug: Bug) -> Self {
            OF_THREAD.set(Some(bug));
            Self(())
        }
    }

    impl Drop for Sabotage {
        fn drop(&mut self) {
            OF_THREAD.set(None);
        }
    }

    /// Switches the bug that `SPOOLWAY_SABOTAGE` names on for the whole process.
    ///
    /// # Errors
    /// When it names none.
    pub fn of_environment() -> Result<Bug, String> {
        let name = std::env::var("SPOOLWAY_SABOTAGE").unwrap_or_default();
        let bug = Bug::named(&name).ok_or_else(|| {
            let names: Vec<_> = Bug::ALL.into_iter().map(Bug::name).collect();
            format!("SPOOLWAY_SABOTAGE is {name:?}; it has to be one of {}", names.join(", "))
        })?;
        Ok(*OF_PROCESS.get_or_init(|| bug))
    }
}
