//! Every metric of the contract, in one registry.
//!
//! INVARIANT: counters are exact since the process started; nothing is sampled. Hot paths take a handle
//! once ([`Counter`] is an `Arc` around an atomic) and never look up labels per event.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Labels `{source,stream}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceStream {
    /// Name of the source.
    pub source: String,
    /// Name of the stream.
    pub stream: String,
}

/// Labels `{source,reason}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceReason {
    /// Name of the source.
    pub source: String,
    /// A stable word.
    pub reason: String,
}

/// Labels `{lane}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Lane {
    /// Name of the lane.
    pub lane: String,
}

/// Labels `{destination}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Destination {
    /// Name of the destination.
    pub destination: String,
}

/// Labels `{destination,certificate}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DestinationCertificate {
    /// Name of the destination.
    pub destination: String,
    /// `client` for ours, `broker` for theirs.
    pub certificate: String,
}

/// Labels `{lane,destination}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneDestination {
    /// Name of the lane.
    pub lane: String,
    /// Name of the destination.
    pub destination: String,
}

/// Labels `{lane,destination,topic}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneDestinationTopic {
    /// Name of the lane.
    pub lane: String,
    /// Name of the destination.
    pub destination: String,
    /// Name of the topic.
    pub topic: String,
}

/// Labels `{lane,destination,reason}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneDestinationReason {
    /// Name of the lane.
    pub lane: String,
    /// Name of the destination.
    pub destination: String,
    /// A stable word.
    pub reason: String,
}

/// Bucket bounds in seconds, 100 µs to 1 h: an fsync on flash, a day offline and everything between.
const SECONDS: [f64; 19] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    60.0, 600.0, 3600.0,
];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $make:expr, $name:literal, $help:literal;)*) => {
        /// Handles to every metric.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[$doc])* pub $field: $kind,)*
        }

        impl Metrics {
    /// What is shown of lanes and destinations as they are at the moment; those that are there are shown again.
    pub fn forget_places(&self) {
        self.spool_bytes.clear();
        self.spool_limit_bytes.clear();
        self.spool_full.clear();
        self.spool_failing.clear();
        self.destination_up.clear();
        self.lag_events.clear();
        self.lag_seconds.clear();
        self.oldest_undelivered.clear();
    }

            /// A fresh registry with everything at zero.
            #[must_use]
            pub fn new() -> Arc<Self> {
                let mut registry = Registry::default();
                registry.register("spoolway_build", "Version of the running binary",
                    Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
                $(
                    let $field: $kind = $make;
                    registry.register($name, $help, $field.clone());
                )*
                Arc::new(Self { registry, $($field,)* })
            }
        }
    };
}

metrics! {
    /// `spoolway_events_accepted_total`
    accepted: Family<SourceStream, Counter> = Family::default(),
        "spoolway_events_accepted", "Events durable on this host and acknowledged to their senders";
    /// `spoolway_events_rejected_total`
    rejected: Family<SourceReason, Counter> = Family::default(),
        "spoolway_events_rejected", "Events or requests refused at the door";
    /// `spoolway_events_delivered_total`
    delivered: Family<LaneDestinationTopic, Counter> = Family::default(),
        "spoolway_events_delivered", "Events acknowledged by the destination with acks=all";
    /// `spoolway_events_dead_lettered_total`
    dead_lettered: Family<LaneDestinationReason, Counter> = Family::default(),
        "spoolway_events_dead_lettered", "Events set aside for good";
    /// `spoolway_dead_letters_copied_total`
    letters_copied: Family<Destination, Counter> = Family::default(),
        "spoolway_dead_letters_copied", "Dead letters copied to the topic of dead_letters.topic";
    /// `spoolway_events_dropped_total`
    dropped: Family<LaneDestinationReason, Counter> = Family::default(),
        "spoolway_events_dropped", "Events given up undelivered because the spool was full";
    /// `spoolway_events_possibly_doubled_total`
    possibly_doubled: Family<LaneDestination, Counter> = Family::default(),
        "spoolway_events_possibly_doubled", "Events sent again though it could not be found out whether they had arrived";
    /// `spoolway_events_restamped_total`
    restamped: Family<Destination, Counter> = Family::default(),
        "spoolway_events_restamped", "Events sent with the time of sending instead of their own";
    /// `spoolway_events_expired_on_arrival_total`
    expired: Family<LaneDestination, Counter> = Family::default(),
        "spoolway_events_expired_on_arrival", "Events sent with times older than their topic keeps, which Kafka deletes when they come";
    /// `spoolway_spool_bytes`
    spool_bytes: Family<Lane, Gauge> = Family::default(),
        "spoolway_spool_bytes", "Bytes of the lane's segments on disk";
    /// `spoolway_spool_limit_bytes`
    spool_limit_bytes: Family<Lane, Gauge> = Family::default(),
        "spoolway_spool_limit_bytes", "The lane's quota";
    /// `spoolway_spool_full`
    spool_full: Family<Lane, Gauge> = Family::default(),
        "spoolway_spool_full", "1 while the lane takes no events for lack of room";
    /// `spoolway_spool_failing`
    spool_failing: Family<Lane, Gauge> = Family::default(),
        "spoolway_spool_failing", "1 while the lane takes no events because writing fails";
    /// `spoolway_spool_quarantined_events_total`
    quarantined: Family<Lane, Counter> = Family::default(),
        "spoolway_spool_quarantined_events", "Events lost to damaged bytes on disk";
    /// `spoolway_fsync_errors_total`
    fsync_errors: Family<Lane, Counter> = Family::default(),
        "spoolway_fsync_errors", "Failed fsyncs of the lane";
    /// `spoolway_lag_events`
    lag_events: Family<LaneDestination, Gauge> = Family::default(),
        "spoolway_lag_events", "Events accepted and not yet settled at the destination";
    /// `spoolway_lag_seconds`
    lag_seconds: Family<LaneDestination, Gauge<f64, std::sync::atomic::AtomicU64>> = Family::default(),
        "spoolway_lag_seconds", "Age of the oldest event that is not yet settled";
    /// `spoolway_oldest_undelivered_timestamp_seconds`
    oldest_undelivered: Family<LaneDestination, Gauge<f64, std::sync::atomic::AtomicU64>> = Family::default(),
        "spoolway_oldest_undelivered_timestamp_seconds", "When the oldest unsettled event was accepted, 0 if none";
    /// `spoolway_destination_up`
    destination_up: Family<Destination, Gauge> = Family::default(),
        "spoolway_destination_up", "1 while the destination answers";
    /// `spoolway_destination_throttled_seconds_total`
    throttled: Family<Destination, Counter<f64, std::sync::atomic::AtomicU64>> = Family::default(),
        "spoolway_destination_throttled_seconds", "Seconds for which brokers have asked for silence: quotas of the cluster";
    /// `spoolway_network_sent_bytes_total`
    sent_bytes: Family<Destination, Counter> = Family::default(),
        "spoolway_network_sent_bytes", "Bytes written to the destination's brokers";
    /// `spoolway_tls_certificate_expiry_timestamp_seconds`
    certificate_expiry: Family<DestinationCertificate, Gauge> = Family::default(),
        "spoolway_tls_certificate_expiry_timestamp_seconds",
        "When a certificate expires: ours (client), or of the brokers' the one that does so first (broker)";
    /// `spoolway_incarnation_changed_timestamp_seconds`
    incarnation_changed: Gauge = Gauge::default(),
        "spoolway_incarnation_changed_timestamp_seconds",
        "When the spool was last found to be a copy, rolled back or unmarked, 0 if never";
    /// `spoolway_config_last_reload_successful`
    config_ok: Gauge = Gauge::default(),
        "spoolway_config_last_reload_successful", "1 unless the last reload failed";
    /// `spoolway_commit_seconds`
    commit_seconds: Family<Lane, Histogram> = Family::new_with_constructor(seconds),
        "spoolway_commit_seconds", "From append to durable";
    /// `spoolway_delivery_seconds`
    delivery_seconds: Family<LaneDestination, Histogram> = Family::new_with_constructor(seconds),
        "spoolway_delivery_seconds", "From accepted to delivered";
}

impl Metrics {
    /// The registry in OpenMetrics text.
    ///
    /// # Errors
    /// None in practice: writing to a `String` does not fail.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let metrics = Metrics::new();
        metrics.accepted.get_or_create(&SourceStream { source: "s".into(), stream: "x".into() }).inc();
        let text = metrics.encode().unwrap();
        assert!(text.contains("spoolway_events_accepted_total{source=\"s\",stream=\"x\"} 1"), "{text}");
        assert!(text.contains("spoolway_build_info{version="), "{text}");
        assert!(text.contains("spoolway_config_last_reload_successful 0"), "{text}");
    }
}
