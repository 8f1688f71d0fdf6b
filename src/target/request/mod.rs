//! Requests, as far as the target looks at them, and their bounded decoders: one file a message.
//!
//! Fields that do not matter to a single-copy broker without sessions or transactions are read and dropped.

mod create_topics;
mod describe_configs;
mod fetch;
mod header;
mod init_producer_id;
mod list_offsets;
mod metadata;
mod produce;
mod sasl;
#[cfg(test)]
mod tests;

pub(super) use create_topics::{CreateTopics, NewTopic};
pub(super) use describe_configs::{DescribeConfigs, Described};
pub(super) use fetch::{Fetch, FetchPartition};
pub(super) use header::{Header, Request, read};
pub(super) use init_producer_id::InitProducerId;
pub(super) use list_offsets::{ListOffsets, OffsetOf};
pub(super) use metadata::{Metadata, TopicAsked};
pub(super) use produce::{PartitionData, Produce};
pub(super) use sasl::Sasl;
