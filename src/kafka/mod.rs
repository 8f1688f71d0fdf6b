//! The Kafka protocol client: batches, connections, metadata, the idempotent producer, a small consumer.
