//! Metadata, versions 0 to 12.

use crate::target::wire::{Reader, WireError};

/// A metadata request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct Metadata {
    /// `None`: all topics.
    pub(in crate::target) topics: Option<Vec<TopicAsked>>,
    pub(in crate::target) auto_create: bool,
}

/// A topic by name or, from version 12 on, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) enum TopicAsked {
    Name(String),
    Id([u8; 16]),
}

impl Metadata {
    pub(super) fn read(r: &mut Reader, version: i16) -> Result<Self, WireError> {
        let mut topics = r.nullable_array(|r| TopicAsked::read(r, version))?;
        if version == 0 && topics.as_ref().is_some_and(Vec::is_empty) {
            topics = None;
        }
        let auto_create = version < 4 || r.bool()?;
        if (8..=10).contains(&version) {
            let _cluster_operations = r.bool()?;
        }
        if version >= 8 {
            let _topic_operations = r.bool()?;
        }
        r.tags()?;
        Ok(Self { topics, auto_create })
    }
}

impl TopicAsked {
    fn read(r: &mut Reader, version: i16) -> Result<Self, WireError> {
        let id = if version >= 10 { r.uuid()? } else { [0; 16] };
        let name = if version >= 10 { r.nullable_string()? } else { Some(r.string()?) };
        r.tags()?;
        Ok(name.map_or(Self::Id(id), Self::Name))
    }
}
