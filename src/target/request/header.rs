//! The head of every request, and the choice of the decoder.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

use super::{CreateTopics, DescribeConfigs, Fetch, InitProducerId, ListOffsets, Metadata, Produce, Sasl};
use crate::target::api::{self, Served};
use crate::target::wire::{Reader, WireError};

/// What every request begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) struct Header {
    pub(in crate::target) served: Served,
    pub(in crate::target) version: i16,
    pub(in crate::target) correlation: i32,
    pub(in crate::target) client_id: Option<String>,
}

/// A request that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::target) enum Request {
    /// With `known: false`, the version asked for is not served: answered with error 35 in version 0, the
    /// one answer that a client of any age can read (KIP-511).
    ApiVersions {
        known: bool,
    },
    Metadata(Metadata),
    InitProducerId(InitProducerId),
    Produce(Produce),
    Fetch(Fetch),
    ListOffsets(ListOffsets),
    FindCoordinator,
    CreateTopics(CreateTopics),
    DescribeConfigs(DescribeConfigs),
    Sasl(Sasl),
}

/// Decodes one frame (without its length prefix).
///
/// # Errors
/// [`WireError`]: like a real broker, the target closes the connection then, since nothing after it can be
/// understood.
pub(in crate::target) fn read(frame: Bytes) -> Result<(Header, Request), WireError> {
    let mut r = Reader::new(frame);
    let (key, version, correlation) = (r.i16()?, r.i16()?, r.i32()?);
    let served = api::find(key).ok_or(WireError::Unsupported { key, version })?;
    if !served.takes(version) {
        if served.key != ApiKey::ApiVersions {
            return Err(WireError::Unsupported { key, version });
        }
        let header = Header { served, version: 0, correlation, client_id: None };
        return Ok((header, Request::ApiVersions { known: false }));
    }
    // The client id keeps its old form even in flexible headers (request header version 2).
    let client_id = r.nullable_string()?;
    r.flexible = served.is_flexible(version);
    r.tags()?;
    let header = Header { served, version, correlation, client_id };
    let request = body(served.key, &mut r, version)?;
    r.end()?;
    Ok((header, request))
}

fn body(key: ApiKey, r: &mut Reader, version: i16) -> Result<Request, WireError> {
    Ok(match key {
        ApiKey::Metadata => Request::Metadata(Metadata::read(r, version)?),
        ApiKey::InitProducerId => Request::InitProducerId(InitProducerId::read(r, version)?),
        ApiKey::Produce => Request::Produce(Produce::read(r)?),
        ApiKey::Fetch => Request::Fetch(Fetch::read(r, version)?),
        ApiKey::ListOffsets => Request::ListOffsets(ListOffsets::read(r, version)?),
        ApiKey::CreateTopics => Request::CreateTopics(CreateTopics::read(r)?),
        ApiKey::DescribeConfigs => Request::DescribeConfigs(DescribeConfigs::read(r, version)?),
        ApiKey::SaslHandshake => Request::Sasl(Sasl::handshake(r)?),
        ApiKey::SaslAuthenticate => Request::Sasl(Sasl::authenticate(r)?),
        ApiKey::FindCoordinator => find_coordinator(r, version)?,
        ApiKey::ApiVersions => api_versions(r, version)?,
        _ => return Err(WireError::Unsupported { key: key as i16, version }),
    })
}

fn find_coordinator(r: &mut Reader, version: i16) -> Result<Request, WireError> {
    r.string()?;
    if version >= 1 {
        r.i8()?;
    }
    r.tags()?;
    Ok(Request::FindCoordinator)
}

fn api_versions(r: &mut Reader, version: i16) -> Result<Request, WireError> {
    if version >= 3 {
        r.string()?;
        r.string()?;
        r.tags()?;
    }
    Ok(Request::ApiVersions { known: true })
}
