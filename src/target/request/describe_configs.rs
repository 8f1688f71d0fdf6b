//! DescribeConfigs, versions 1 to 3.

use crate::target::wire::{Reader, WireError};

/// A request for configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct DescribeConfigs {
    pub(in crate::target) resources: Vec<Described>,
}

/// One thing whose configuration is asked for; without keys, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct Described {
    pub(in crate::target) kind: i8,
    pub(in crate::target) name: String,
    pub(in crate::target) keys: Option<Vec<String>>,
}

impl DescribeConfigs {
    pub(super) fn read(r: &mut Reader, version: i16) -> Result<Self, WireError> {
        let resources = r.array(|r| {
            let (kind, name) = (r.i8()?, r.string()?);
            Ok(Described { kind, name, keys: r.nullable_array(Reader::string)? })
        })?;
        let _synonyms = r.bool()?;
        if version >= 3 {
            let _documentation = r.bool()?;
        }
        Ok(Self { resources })
    }
}
