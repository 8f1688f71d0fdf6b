//! Where events come from: http, tcp, unix, stdin.
