//! The defaults of every key: one place for the loader, for configurations made in code (`pipe`, the demo,
//! tests), and for `docs/configuration.md`, which a test compares with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::model::{
    Admin, Begin, ConnectionLimits, DeadLetters, Delivery, Destination, Guard, HostPort, HttpLimits, InDoubt,
    KafkaCompression, Partitioner, Relay, Spool, SpoolCompression, Sync, TimestampPolicy, WhenFull,
};
use crate::ids::DestinationName;

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;

impl Default for Relay {
    fn default() -> Self {
        Self { id: host_name(), data_dir: PathBuf::from("/var/lib/spoolway"), watch: false }
    }
}

/// The host's name, or `localhost` where it has none.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            segment_size: 64 * MIB,
            max_size: None,
            max_event_size: 1_000_000,
            reserve: 256 * MIB,
            park_size: None,
            when_full: WhenFull::Block,
            sync: Sync::Always,
            commit_delay: Duration::ZERO,
            compression: SpoolCompression::Lz4,
            retain_delivered: Duration::ZERO,
            max_streams: 1000,
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max_connections: 1024, idle_timeout: Duration::from_mins(5) }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_body_size: 16 * KIB * KIB,
            max_header_size: 16 * KIB,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_mins(1),
            block_timeout: Duration::from_secs(30),
            delivered_timeout: Duration::from_secs(30),
        }
    }
}

impl Destination {
    /// A destination of which everything but its name and its brokers is the default.
    #[must_use]
    pub fn new(name: DestinationName, bootstrap: Vec<HostPort>) -> Self {
        Self {
            name,
            bootstrap,
            delivery: Delivery::ExactlyOnce,
            client_id: "spoolway".to_owned(),
            compression: KafkaCompression::Lz4,
            partitioner: Partitioner::Java,
            from: Begin::Oldest,
            renamed_from: None,
            timestamp: TimestampPolicy::Auto,
            timestamp_max_age: Duration::from_hours(12),
            linger: Duration::ZERO,
            batch_size: 900 * KIB,
            request_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(10),
            header: true,
            in_doubt: InDoubt::Resend,
            missing_topic_after: Duration::from_hours(24),
            required: true,
            address_map: Vec::new(),
            tls: None,
            sasl: None,
            proxy: None,
            max_rate: None,
        }
    }
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self { max_size: 64 * MIB, topic: None }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9674)),
            guard: Guard::default(),
            ready_max_lag: Some(Duration::from_mins(5)),
            metrics_listen: None,
        }
    }
}

impl Admin {
    /// No admin address at all.
    #[must_use]
    pub fn off() -> Self {
        Self { listen: None, guard: Guard::default(), ready_max_lag: None, metrics_listen: None }
    }
}
