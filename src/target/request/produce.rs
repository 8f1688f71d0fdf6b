//! Produce, versions 3 to 9.

use bytes::Bytes;

use crate::target::wire::{Reader, WireError};

/// A produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct Produce {
    pub(in crate::target) transactional: bool,
    pub(in crate::target) acks: i16,
    pub(in crate::target) topics: Vec<(String, Vec<PartitionData>)>,
}

/// What is to be appended to one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct PartitionData {
    pub(in crate::target) index: i32,
    pub(in crate::target) records: Bytes,
}

impl Produce {
    pub(super) fn read(r: &mut Reader) -> Result<Self, WireError> {
        let transactional = r.nullable_string()?.is_some();
        let acks = r.i16()?;
        let _timeout = r.i32()?;
        let topics = r.array(|r| {
            let name = r.string()?;
            let partitions = r.array(|r| {
                let data =
                    PartitionData { index: r.i32()?, records: r.nullable_bytes()?.unwrap_or_default() };
                r.tags()?;
                Ok(data)
            })?;
            r.tags()?;
            Ok((name, partitions))
        })?;
        r.tags()?;
        Ok(Self { transactional, acks, topics })
    }
}
