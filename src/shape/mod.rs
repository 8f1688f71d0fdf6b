//! What happens to events between source and spool: routing check, stream limits, size limits.
