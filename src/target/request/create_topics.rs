//! CreateTopics, versions 2 to 5.

use crate::target::wire::{Reader, WireError};

/// A request to create topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct CreateTopics {
    pub(in crate::target) topics: Vec<NewTopic>,
    pub(in crate::target) validate_only: bool,
}

/// One topic to be made; configuration entries are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct NewTopic {
    pub(in crate::target) name: String,
    /// -1: the broker's default, or as many as are assigned.
    pub(in crate::target) partitions: i32,
    /// -1: the broker's default.
    pub(in crate::target) replication: i16,
    /// How many partitions were assigned to brokers by hand.
    pub(in crate::target) assigned: usize,
}

impl CreateTopics {
    pub(super) fn read(r: &mut Reader) -> Result<Self, WireError> {
        let topics = r.array(NewTopic::read)?;
        let _timeout = r.i32()?;
        let validate_only = r.bool()?;
        r.tags()?;
        Ok(Self { topics, validate_only })
    }
}

impl NewTopic {
    fn read(r: &mut Reader) -> Result<Self, WireError> {
        let (name, partitions, replication) = (r.string()?, r.i32()?, r.i16()?);
        let assignments = r.array(|r| {
            r.i32()?;
            r.array(Reader::i32)?;
            r.tags()
        })?;
        let _configs = r.array(|r| {
            r.string()?;
            r.nullable_string()?;
            r.tags()
        })?;
        r.tags()?;
        Ok(Self { name, partitions, replication, assigned: assignments.len() })
    }
}
