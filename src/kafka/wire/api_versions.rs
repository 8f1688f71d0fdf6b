//! ApiVersions: which requests a broker knows, and what we choose of them.

use std::collections::BTreeMap;

use kafka_protocol::messages::{ApiKey, ApiVersionsRequest};

use super::{Cursor, Request, WireError};

/// Error 35: the broker does not know the version of this very request. It then answers in version 0.
const UNSUPPORTED_VERSION: i16 = 35;

/// The request. Version 2, or 0 for a broker that refused that.
#[must_use]
pub fn api_versions_request(client_id: &str, version: i16) -> Request {
    Request::new(client_id, version, &ApiVersionsRequest::default())
}

/// What a broker offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiVersions {
    ranges: BTreeMap<i16, (i16, i16)>,
}

impl ApiVersions {
    /// Reads an answer of version 2 or less (they differ at the end, which is not read).
    ///
    /// # Errors
    /// [`WireError`]; `Ok(None)` says that version 0 must be asked for.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let mut cursor = Cursor::new(bytes);
        match cursor.i16()? {
            0 => {}
            UNSUPPORTED_VERSION => return Ok(None),
            code => return Err(WireError::Code(code)),
        }
        let mut ranges = BTreeMap::new();
        for _ in 0..cursor.array(false, 6)? {
            ranges.insert(cursor.i16()?, (cursor.i16()?, cursor.i16()?));
        }
        Ok(Some(Self { ranges }))
    }

    fn pick(&self, api: &'static str, key: ApiKey, ours: &[i16]) -> Result<i16, WireError> {
        let (min, max) = self.ranges.get(&(key as i16)).copied().ok_or(WireError::NotOffered { api })?;
        let fits = ours.iter().copied().find(|v| (min..=max).contains(v));
        fits.ok_or(WireError::Version { api, min, max })
    }

    fn sasl(&self) -> Result<i16, WireError> {
        self.pick("SaslHandshake", ApiKey::SaslHandshake, &[1])?;
        self.pick("SaslAuthenticate", ApiKey::SaslAuthenticate, &[1, 0])
    }

    /// Chooses versions of everything a client needs.
    ///
    /// # Errors
    /// Names the first request of which the broker offers no version that we speak.
    pub fn choose(&self) -> Result<Versions, WireError> {
        Ok(Versions {
            metadata: self.pick("Metadata", ApiKey::Metadata, &[12, 8])?,
            produce: self.pick("Produce", ApiKey::Produce, &[8, 7])?,
            producer_id: self.pick("InitProducerId", ApiKey::InitProducerId, &[1, 0]),
            fetch: self.pick("Fetch", ApiKey::Fetch, &[11, 10, 4]),
            list_offsets: self.pick("ListOffsets", ApiKey::ListOffsets, &[4, 3, 2, 1]),
            describe_configs: self.pick("DescribeConfigs", ApiKey::DescribeConfigs, &[3, 2, 1]),
            sasl_authenticate: self.sasl(),
        })
    }
}

/// The versions to use with a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// 12 tells topic ids, 8 does not.
    pub metadata: i16,
    /// 8 tells which record was refused, 7 does not.
    pub produce: i16,
    /// Of InitProducerId: some services that speak Kafka have none.
    pub producer_id: Result<i16, WireError>,
    /// Only a consumer needs it.
    pub fetch: Result<i16, WireError>,
    /// Only a consumer needs it.
    pub list_offsets: Result<i16, WireError>,
    /// Only what is better known needs it.
    pub describe_configs: Result<i16, WireError>,
    /// 1 tells how long a session lives. Only who authenticates needs it.
    pub sasl_authenticate: Result<i16, WireError>,
}
