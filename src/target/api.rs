//! Which requests are served, in which versions.

use kafka_protocol::messages::ApiKey;

/// A range of versions of one API, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) key: ApiKey,
    pub(super) min: i16,
    pub(super) max: i16,
    /// The first version in the compact encoding of KIP-482.
    pub(super) flexible: i16,
}

const fn served(key: ApiKey, min: i16, max: i16, flexible: i16) -> Served {
    Served { key, min, max, flexible }
}

/// What ApiVersions offers. The floors are those of the codec crate (Kafka 4.1's); the ceilings stay below
/// topic ids in Produce (13) and implicit transactions (12), and where rskafka, librdkafka and the Java
/// client all still speak. librdkafka needs FindCoordinator and Fetch to be offered at all before it uses
/// lz4, zstd and message format 2.
pub(super) const SERVED: [Served; 11] = [
    served(ApiKey::Produce, 3, 9, 9),
    served(ApiKey::Fetch, 4, 11, 12),
    served(ApiKey::ListOffsets, 1, 5, 6),
    served(ApiKey::Metadata, 0, 12, 9),
    served(ApiKey::FindCoordinator, 0, 2, 3),
    served(ApiKey::ApiVersions, 0, 3, 3),
    served(ApiKey::CreateTopics, 2, 5, 5),
    served(ApiKey::InitProducerId, 0, 4, 2),
    served(ApiKey::DescribeConfigs, 1, 3, 4),
    served(ApiKey::SaslHandshake, 1, 1, i16::MAX),
    served(ApiKey::SaslAuthenticate, 0, 1, 2),
];

/// The entry of an API, whatever the version.
pub(super) fn find(key: i16) -> Option<Served> {
    SERVED.into_iter().find(|s| s.key as i16 == key)
}

impl Served {
    pub(super) fn takes(self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    pub(super) fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible
    }
}
