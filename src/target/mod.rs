//! A small real Kafka-protocol server for the demo and the tests.
