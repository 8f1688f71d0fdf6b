//! Logging: set-up and rate limits.
