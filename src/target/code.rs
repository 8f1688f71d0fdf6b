//! The error codes the target answers with (the Kafka protocol guide, "Error Codes").

/// An error code; 0 is success.
pub type Code = i16;

pub(super) const NONE: Code = 0;
pub(super) const OFFSET_OUT_OF_RANGE: Code = 1;
pub(super) const CORRUPT_MESSAGE: Code = 2;
pub(super) const UNKNOWN_TOPIC_OR_PARTITION: Code = 3;
pub(super) const LEADER_NOT_AVAILABLE: Code = 5;
pub(super) const NOT_LEADER_OR_FOLLOWER: Code = 6;
pub(super) const MESSAGE_TOO_LARGE: Code = 10;
pub(super) const COORDINATOR_NOT_AVAILABLE: Code = 15;
pub(super) const INVALID_TOPIC: Code = 17;
pub(super) const INVALID_REQUIRED_ACKS: Code = 21;
pub(super) const UNSUPPORTED_VERSION: Code = 35;
pub(super) const TOPIC_ALREADY_EXISTS: Code = 36;
pub(super) const INVALID_PARTITIONS: Code = 37;
pub(super) const INVALID_REPLICATION_FACTOR: Code = 38;
pub(super) const OUT_OF_ORDER_SEQUENCE: Code = 45;
pub(super) const INVALID_PRODUCER_EPOCH: Code = 47;
pub(super) const TRANSACTIONAL_ID_DENIED: Code = 53;
pub(super) const STORAGE_ERROR: Code = 56;
pub(super) const FETCH_SESSION_NOT_FOUND: Code = 70;
pub(super) const INVALID_RECORD: Code = 87;
pub(super) const UNKNOWN_TOPIC_ID: Code = 100;
