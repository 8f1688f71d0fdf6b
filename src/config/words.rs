//! Words that are not keys of this version: those of later versions, those of other tools, and those that
//! belong somewhere else. Each is an error that says what to write instead.

/// What stands in the contract and is not built in yet. (section, key)
const LATER: &[(&str, &str)] = &[
    ("", "heartbeat"),
    ("source", "max_rate"),
    ("source", "limits"),
    ("stream", "key"),
    ("stream", "filter"),
    ("stream", "mask"),
    ("stream", "require"),
    ("stream", "limits"),
    ("stream", "max_rate"),
    ("destination", "create_topics"),
];

/// Source types of the contract that are not built in yet.
pub(super) const LATER_SOURCES: &[&str] = &["file", "syslog", "kafka_listener"];

/// What other tools call it, and what to do. (section, word, help)
const OTHERS: &[(&str, &str, &str)] = &[
    ("", "sources", "write `[[source]]`, once for each"),
    ("", "inputs", "write `[[source]]`, once for each"),
    ("", "input", "write `[[source]]`, once for each"),
    ("", "destinations", "write `[[destination]]`, once for each"),
    ("", "sinks", "write `[[destination]]`, once for each"),
    ("", "outputs", "write `[[destination]]`, once for each"),
    ("", "output", "write `[[destination]]`, once for each"),
    ("", "kafka", "write `[[destination]]`, once for each cluster"),
    ("", "routes", "write `[[route]]`, once for each"),
    ("", "streams", "write `[[stream]]`, once for each"),
    ("", "transforms", "the contract's `[[stream]]` settings come with a later version"),
    ("", "buffer", "the section is `[spool]`"),
    ("", "queue", "the section is `[spool]`"),
    ("", "storage", "the section is `[spool]`"),
    ("", "api", "the section is `[admin]`"),
    ("", "metrics", "metrics are served by `[admin]`; `metrics_listen` gives them an address of their own"),
    ("", "agent", "the section is `[relay]`"),
    ("", "global", "the section is `[relay]`"),
    ("", "data_dir", "it belongs to `[relay]`"),
    ("", "log", "logs are set with --log-level and --log-format, or $SPOOLWAY_LOG and $SPOOLWAY_LOG_FORMAT"),
    (
        "",
        "logging",
        "logs are set with --log-level and --log-format, or $SPOOLWAY_LOG and $SPOOLWAY_LOG_FORMAT",
    ),
    ("relay", "name", "the key is `id`"),
    ("relay", "hostname", "the key is `id`"),
    ("relay", "path", "the key is `data_dir`"),
    ("relay", "directory", "the key is `data_dir`"),
    ("relay", "storage.path", "the key is `data_dir`"),
    ("spool", "path", "the spool is in `data_dir` of `[relay]`"),
    ("spool", "dir", "the spool is in `data_dir` of `[relay]`"),
    ("spool", "data_dir", "it belongs to `[relay]`"),
    ("spool", "directory", "the spool is in `data_dir` of `[relay]`"),
    ("spool", "size", "the key is `max_size`"),
    ("spool", "limit", "the key is `max_size`"),
    ("spool", "quota", "the key is `max_size`"),
    ("spool", "max_bytes", "the key is `max_size`"),
    ("spool", "segment_bytes", "the key is `segment_size`"),
    ("spool", "segment.bytes", "the key is `segment_size`"),
    ("spool", "max_message_size", "the key is `max_event_size`"),
    ("spool", "fsync", "the key is `sync`"),
    ("spool", "overflow", "the key is `when_full`"),
    ("spool", "on_full", "the key is `when_full`"),
    ("spool", "retention", "the key is `retain_delivered`"),
    ("source", "kind", "the key is `type`"),
    ("source", "address", "the key is `listen`"),
    ("source", "addr", "the key is `listen`"),
    ("source", "bind", "the key is `listen`"),
    ("source", "host", "the key is `listen`, address and port together"),
    ("source", "port", "the key is `listen`, address and port together"),
    ("source", "socket", "the key is `path`"),
    ("source", "socket_path", "the key is `path`"),
    ("source", "topic", "the key is `stream`; a `[[route]]` gives streams their topics"),
    ("source", "tag", "the key is `stream`"),
    ("source", "ssl", "the key is `tls`"),
    ("source", "tokens", "the key is `token`: { file = \"PATH\" }, with one token a line"),
    ("source", "auth", "the keys are `token`, and `client_ca` of `tls`"),
    ("source.tls", "cert", "the key is `certificate`"),
    ("source.tls", "crt_file", "the key is `certificate`"),
    ("source.tls", "key_file", "the key is `key`"),
    ("source.tls", "ca", "the key is `client_ca`: clients have to show a certificate that it has signed"),
    (
        "source.tls",
        "ca_file",
        "the key is `client_ca`: clients have to show a certificate that it has signed",
    ),
    ("source.tls", "verify_certificate", "name `client_ca`, and clients have to show a certificate"),
    ("source.tls", "enabled", "leave `tls` away to go without"),
    ("admin.tls", "cert", "the key is `certificate`"),
    ("admin.tls", "ca", "the key is `client_ca`: clients have to show a certificate that it has signed"),
    ("destination", "brokers", "the key is `bootstrap`"),
    ("destination", "broker", "the key is `bootstrap`"),
    ("destination", "servers", "the key is `bootstrap`"),
    ("destination", "hosts", "the key is `bootstrap`"),
    ("destination", "seed_brokers", "the key is `bootstrap`"),
    ("destination", "bootstrap_server", "the key is `bootstrap`"),
    ("destination", "bootstrap_servers", "the key is `bootstrap`"),
    ("destination", "bootstrap.servers", "the key is `bootstrap`"),
    ("destination", "metadata.broker.list", "the key is `bootstrap`"),
    ("destination", "topic", "topics are given by a `[[route]]`: to = \"this destination\", topic = \"…\""),
    ("destination", "topics", "topics are given by a `[[route]]`: to = \"this destination\", topic = \"…\""),
    ("destination", "acks", "remove it: every send waits for all in-sync replicas (acks=all), always"),
    (
        "destination",
        "required_acks",
        "remove it: every send waits for all in-sync replicas (acks=all), always",
    ),
    ("destination", "request.required.acks", "remove it: every send waits for all in-sync replicas, always"),
    ("destination", "enable.idempotence", "remove it: sends are idempotent, always"),
    ("destination", "enable_idempotence", "remove it: sends are idempotent, always"),
    ("destination", "retries", "remove it: an event is sent until it is delivered"),
    (
        "destination",
        "max_in_flight",
        "remove it: one window is in flight for each partition, which keeps order",
    ),
    ("destination", "client.id", "the key is `client_id`"),
    ("destination", "client", "the key is `client_id`"),
    ("destination", "codec", "the key is `compression`"),
    ("destination", "compression_type", "the key is `compression`"),
    ("destination", "compression.type", "the key is `compression`"),
    ("destination", "compression.codec", "the key is `compression`"),
    ("destination", "linger.ms", "the key is `linger`, with a unit: \"5ms\""),
    ("destination", "linger_ms", "the key is `linger`, with a unit: \"5ms\""),
    ("destination", "queue.buffering.max.ms", "the key is `linger`, with a unit: \"5ms\""),
    ("destination", "batch.size", "the key is `batch_size`"),
    ("destination", "batch", "the key is `batch_size`"),
    ("destination", "batch_bytes", "the key is `batch_size`"),
    ("destination", "max_request_size", "the key is `batch_size`"),
    ("destination", "request.timeout.ms", "the key is `request_timeout`, with a unit: \"15s\""),
    ("destination", "request_timeout_ms", "the key is `request_timeout`, with a unit: \"15s\""),
    ("destination", "timeout", "the keys are `request_timeout` and `connect_timeout`"),
    ("destination", "security.protocol", "the keys are `tls` and `sasl`"),
    ("destination", "security_protocol", "the keys are `tls` and `sasl`"),
    ("destination", "ssl", "the key is `tls`"),
    ("destination", "ssl.ca.location", "the key is `ca` of `tls`: tls = { ca = \"FILE.pem\" }"),
    (
        "destination",
        "ssl.truststore.location",
        "the key is `ca` of `tls`, in PEM: tls = { ca = \"FILE.pem\" }",
    ),
    (
        "destination",
        "sasl.mechanism",
        "the key is `mechanism` of `sasl`: sasl = { mechanism = \"PLAIN\", … }",
    ),
    ("destination", "username", "the key is `username` of `sasl`"),
    ("destination", "password", "the key is `password` of `sasl`"),
    ("destination.tls", "ca_file", "the key is `ca`"),
    ("destination.tls", "ca_cert", "the key is `ca`"),
    ("destination.tls", "crt_file", "the key is `certificate`"),
    ("destination.tls", "cert", "the key is `certificate`"),
    ("destination.tls", "key_file", "the key is `key`"),
    ("destination.tls", "enabled", "write tls = true, or leave `tls` away"),
    (
        "destination.tls",
        "verify_certificate",
        "certificates are always verified; trust your own authority with `ca`",
    ),
    (
        "destination.tls",
        "verify_hostname",
        "names are always verified; `server_name` says for which name a certificate must be",
    ),
    (
        "destination.tls",
        "insecure_skip_verify",
        "certificates are always verified; trust your own authority with `ca`",
    ),
    ("destination.sasl", "user", "the key is `username`"),
    ("destination.sasl", "mechanisms", "the key is `mechanism`"),
    ("destination.sasl", "enabled", "leave `sasl` away to go without"),
    ("destination", "key_field", "`key` of `[[stream]]`, which is not in this version"),
    ("destination", "guarantee", "the key is `delivery`"),
    ("route", "stream", "the key is `streams`, an array: streams = [\"orders\"]"),
    ("route", "match", "the key is `streams`, an array: streams = [\"orders\"]"),
    ("route", "from", "the key is `streams`, an array: streams = [\"orders\"]"),
    ("route", "inputs", "the key is `streams`, an array: streams = [\"orders\"]"),
    ("route", "destination", "the key is `to`"),
    ("route", "output", "the key is `to`"),
    ("admin", "address", "the key is `listen`"),
    ("admin", "bind", "the key is `listen`"),
    ("admin", "port", "the key is `listen`, address and port together"),
    ("admin", "metrics", "the key is `metrics_listen`"),
    ("admin", "enabled", "write listen = \"off\" to turn it off"),
];

/// Keys that only some types of source have. (key, which)
const OF_SOURCES: &[(&str, &str)] = &[
    ("ack", "only http has it; tcp, unix and stdin have no acknowledgement"),
    (
        "stream",
        "only tcp, unix and stdin have it; http takes the stream from the URL, /v1/events/{stream}; `streams` says which",
    ),
    ("streams", "only http has it, where senders name the stream; tcp, unix and stdin have one `stream`"),
    ("listen", "only http and tcp have it"),
    ("insecure", "only http and tcp have it"),
    ("tls", "only http and tcp have it"),
    ("token", "only http has it; for tcp, `client_ca` of `tls` says who may come in"),
    ("path", "only unix has it; http takes events at /v1/events/{stream}"),
    ("allow_users", "only unix has it; for http and tcp there are `token` and `tls`"),
    ("max_connections", "only http, tcp and unix have it"),
    ("idle_timeout", "only http, tcp and unix have it"),
    ("max_body_size", "only http has it"),
    ("max_header_size", "only http has it"),
    ("header_timeout", "only http has it"),
    ("body_timeout", "only http has it"),
    ("block_timeout", "only http has it"),
    ("delivered_timeout", "only http has it"),
];

/// Whether a later version has this key.
pub(super) fn is_later(section: &str, key: &str) -> bool {
    LATER.contains(&(section, key))
}

/// What to write instead of another tool's word, or where a known key belongs.
pub(super) fn instead(section: &str, key: &str) -> Option<&'static str> {
    let lower = key.to_lowercase();
    let others = OTHERS.iter().find(|(s, word, _)| *s == section && *word == lower).map(|(_, _, help)| *help);
    let of_sources = || OF_SOURCES.iter().find(|(word, _)| *word == key).map(|(_, help)| *help);
    others.or_else(|| if section == "source" { of_sources() } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_listed_twice() {
        let mut seen = std::collections::BTreeSet::new();
        let words = OTHERS.iter().map(|(s, w, _)| (*s, *w)).chain(LATER.iter().copied());
        words.for_each(|word| assert!(seen.insert(word), "{word:?}"));
    }
}
