//! The identities everything else is told apart by: sequence numbers, runs, spools, segments, names.
//!
//! INVARIANT: an event's identity is ([`RunId`], [`Seq`]). A sequence number may be handed out twice
//! after damage or a rolled-back disk, a run id is drawn at random for every opening of a lane, so the
//! pair is never given to two events.

use std::fmt;
use std::sync::Arc;

/// Number of an event in its lane. The first event of a lane is 1; 0 stands for "none yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The number before the first event: "nothing".
    pub const NONE: Seq = Seq(0);
    /// The first event of a lane.
    pub const FIRST: Seq = Seq(1);

    /// The number after this one. Saturates, which 584,000 years at a million a second will not reach.
    #[must_use]
    pub const fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }

    /// The number `count` after this one.
    #[must_use]
    pub const fn plus(self, count: u64) -> Seq {
        Seq(self.0.saturating_add(count))
    }

    /// The number before this one; [`Seq::NONE`] stays what it is.
    #[must_use]
    pub const fn prev(self) -> Seq {
        Seq(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A half-open range of sequence numbers: `first` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeqRange {
    /// First number in the range.
    pub first: Seq,
    /// First number after the range.
    pub end: Seq,
}

impl SeqRange {
    /// The range `first..end`; empty when `end <= first`.
    #[must_use]
    pub const fn new(first: Seq, end: Seq) -> Self {
        Self { first, end }
    }

    /// How many numbers are in the range.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end.0.saturating_sub(self.first.0)
    }

    /// Whether `seq` is in the range.
    #[must_use]
    pub const fn contains(self, seq: Seq) -> bool {
        self.first.0 <= seq.0 && seq.0 < self.end.0
    }

    /// Whether no number is in the range.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for SeqRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.first, self.end.prev())
    }
}

/// Number of a segment in its lane, counted from 1, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// The next segment's number.
    #[must_use]
    pub const fn next(self) -> SegmentId {
        SegmentId(self.0.saturating_add(1))
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// Draws a new id from the operating system's random source.
            ///
            /// # Errors
            /// When the operating system has no randomness to give.
            pub fn draw() -> std::io::Result<Self> {
                getrandom::u64().map(Self).map_err(|e| std::io::Error::other(e.to_string()))
            }
        }

        impl fmt::Display for $name {
            /// 16 lower-case hex digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    };
}

random_id! {
    /// Identity of a data directory, drawn when it is made; its segments carry it.
    SpoolId
}
random_id! {
    /// One life of a data directory. The first has the number of its [`SpoolId`]; a directory that was found to be
    /// a copy, or rolled back, goes on under another.
    Incarnation
}
random_id! {
    /// One opening of one lane by one process. Half of an event's identity.
    RunId
}

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("a name must not be empty")]
    Empty,
    /// It is longer than Kafka's limit for a topic.
    #[error("the name has {0} characters, at most 249 are allowed")]
    TooLong(usize),
    /// It is `.` or `..`.
    #[error("a name must not be \".\" or \"..\"")]
    Dots,
    /// It holds something outside of `[A-Za-z0-9._-]`.
    #[error("{0:?} is not allowed in a name: use letters, digits, \".\", \"_\" and \"-\"")]
    Character(char),
}

fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(c) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        return Err(NameError::Character(c));
    }
    if name.len() > 249 {
        return Err(NameError::TooLong(name.len()));
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 249 characters of `[A-Za-z0-9._-]`, not `.` or `..`: Kafka's rule for a topic
        /// (`org.apache.kafka.common.internals.Topic`), which also makes it safe as a file name.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`NameError`] says which rule the name breaks.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check_name(name)?;
                Ok(Self(Arc::from(name)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
    };
}

name! {
    /// The logical name an event is accepted under.
    StreamName
}
name! {
    /// One independent spool with its own quota; also its directory's name.
    LaneName
}
name! {
    /// A Kafka cluster events go to; also the name of its state files, so it is durable.
    DestinationName
}
name! {
    /// A Kafka topic.
    TopicName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule_for_topics() {
        assert!(StreamName::new("audit.login-2_x").is_ok());
        assert_eq!(StreamName::new(""), Err(NameError::Empty));
        assert_eq!(StreamName::new(".."), Err(NameError::Dots));
        assert_eq!(StreamName::new("a/b"), Err(NameError::Character('/')));
        assert_eq!(StreamName::new(&"x".repeat(250)), Err(NameError::TooLong(250)));
    }

    #[test]
    fn a_range_prints_its_last_number() {
        assert_eq!(SeqRange::new(Seq(3), Seq(6)).to_string(), "3..=5");
        assert_eq!(SeqRange::new(Seq(3), Seq(6)).len(), 3);
        assert!(SeqRange::new(Seq(3), Seq(3)).is_empty());
    }
}
