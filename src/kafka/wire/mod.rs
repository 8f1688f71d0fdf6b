//! Requests and answers as bytes.
//!
//! Requests are encoded with the `kafka-protocol` crate, Produce by hand (its records stand in our buffers).
//! Answers are decoded here: the crate's decoder allocates by counts it reads, so that an answer of eight
//! bytes aborts the process.
//!
//! INVARIANT: no count from the wire is believed; [`Cursor::array`] compares it with the bytes that are left
//! before anything is done with it, and vectors grow as elements are read.

mod api_versions;
mod cursor;
mod describe_configs;
mod fetch;
mod list_offsets;
mod metadata;
mod produce;
mod producer_id;
mod request;
mod sasl;

pub use api_versions::{ApiVersions, Versions, api_versions_request};
pub use cursor::{Cursor, WireError};
pub use describe_configs::{ConfigRow, ConfigsAnswer, describe_configs_request};
pub use fetch::{FetchAnswer, FetchPartition, fetch_request};
pub use list_offsets::{EARLIEST, LATEST, OffsetAnswer, list_offsets_request};
pub use metadata::{BrokerRow, MetadataAnswer, PartitionRow, Rights, TopicRow, metadata_request};
pub use produce::{PartitionResult, ProduceAnswer, ProduceRequest, RecordError};
pub use producer_id::{ProducerIdAnswer, producer_id_request};
pub use request::Request;
pub use sasl::{
    SaslAuthenticateAnswer, SaslHandshakeAnswer, sasl_authenticate_request, sasl_handshake_request,
};

#[cfg(test)]
mod tests;
