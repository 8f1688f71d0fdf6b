//! ListOffsets, versions 1 to 5.

use crate::target::wire::{Reader, WireError};

/// A list-offsets request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct ListOffsets {
    pub(in crate::target) topics: Vec<(String, Vec<OffsetOf>)>,
}

/// Which offset of one partition: a time in milliseconds, -1 for the end, -2 for the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct OffsetOf {
    pub(in crate::target) index: i32,
    pub(in crate::target) timestamp: i64,
}

impl ListOffsets {
    pub(super) fn read(r: &mut Reader, version: i16) -> Result<Self, WireError> {
        let _replica_id = r.i32()?;
        if version >= 2 {
            let _isolation_level = r.i8()?;
        }
        let topics = r.array(|r| {
            let name = r.string()?;
            let partitions = r.array(|r| {
                let index = r.i32()?;
                if version >= 4 {
                    let _current_leader_epoch = r.i32()?;
                }
                Ok(OffsetOf { index, timestamp: r.i64()? })
            })?;
            Ok((name, partitions))
        })?;
        Ok(Self { topics })
    }
}
