//! Holds the code to `spool-format.md`, once that exists.
