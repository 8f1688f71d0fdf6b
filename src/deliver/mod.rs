//! From spool to Kafka: readers, routing, windows, positions.
