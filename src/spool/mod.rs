//! The durable log: lanes of segments of self-standing blocks.
