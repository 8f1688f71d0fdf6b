//! Fetch, versions 4 to 11.

use crate::target::wire::{Reader, WireError};

/// A fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct Fetch {
    pub(in crate::target) max_wait_ms: i32,
    pub(in crate::target) min_bytes: i32,
    pub(in crate::target) max_bytes: i32,
    pub(in crate::target) session_id: i32,
    pub(in crate::target) topics: Vec<(String, Vec<FetchPartition>)>,
}

/// Where to read in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct FetchPartition {
    pub(in crate::target) index: i32,
    pub(in crate::target) offset: i64,
    pub(in crate::target) max_bytes: i32,
}

impl Fetch {
    pub(super) fn read(r: &mut Reader, version: i16) -> Result<Self, WireError> {
        let _replica_id = r.i32()?;
        let (max_wait_ms, min_bytes, max_bytes) = (r.i32()?, r.i32()?, r.i32()?);
        let _isolation_level = r.i8()?;
        let mut session_id = 0;
        if version >= 7 {
            session_id = r.i32()?;
            let _session_epoch = r.i32()?;
        }
        let topics = r.array(|r| Ok((r.string()?, r.array(|r| FetchPartition::read(r, version))?)))?;
        if version >= 7 {
            let _forgotten = r.array(|r| Ok((r.string()?, r.array(Reader::i32)?)))?;
        }
        if version >= 11 {
            let _rack = r.string()?;
        }
        Ok(Self { max_wait_ms, min_bytes, max_bytes, session_id, topics })
    }
}

impl FetchPartition {
    fn read(r: &mut Reader, version: i16) -> Result<Self, WireError> {
        let index = r.i32()?;
        if version >= 9 {
            let _current_leader_epoch = r.i32()?;
        }
        let offset = r.i64()?;
        if version >= 5 {
            let _log_start_offset = r.i64()?;
        }
        Ok(Self { index, offset, max_bytes: r.i32()? })
    }
}
