//! InitProducerId, versions 0 to 4.

use crate::target::wire::{Reader, WireError};

/// A request for a producer id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct InitProducerId {
    pub(in crate::target) transactional: bool,
}

impl InitProducerId {
    pub(super) fn read(r: &mut Reader, version: i16) -> Result<Self, WireError> {
        let transactional = r.nullable_string()?.is_some();
        let _transaction_timeout = r.i32()?;
        if version >= 3 {
            let _producer_id = r.i64()?;
            let _producer_epoch = r.i16()?;
        }
        r.tags()?;
        Ok(Self { transactional })
    }
}
