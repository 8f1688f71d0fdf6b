//! `[[destination]]`

use std::time::Duration;

use super::link;
use crate::config::model::{
    Begin, Delivery, Destination, HostPort, InDoubt, KafkaCompression, Partitioner, TimestampPolicy,
};
use crate::config::reading::StandIn;
use crate::config::scalar::{self, Scalar, Wrong, quoted};
use crate::config::section::{Section, bounds};
use crate::config::text::Place;
use crate::disk::owner_of_slots;
use crate::ids::DestinationName;

/// A destination, and where its name stands. The name is there even if the rest can't be used.
pub(in crate::config) struct ReadDestination {
    pub(in crate::config) name: DestinationName,
    pub(in crate::config) place: Place,
    /// Where `renamed_from` stands.
    pub(in crate::config) renamed: Place,
    pub(in crate::config) destination: Option<Destination>,
}

const DELIVERY: [(&str, Delivery); 2] =
    [("exactly-once", Delivery::ExactlyOnce), ("at-least-once", Delivery::AtLeastOnce)];

const IN_DOUBT: [(&str, InDoubt); 2] = [("resend", InDoubt::Resend), ("hold", InDoubt::Hold)];
const FROM: [(&str, Begin); 2] = [("oldest", Begin::Oldest), ("now", Begin::Now)];

const PARTITIONER: [(&str, Partitioner); 2] =
    [("java", Partitioner::Java), ("consistent_random", Partitioner::ConsistentRandom)];

const TIMESTAMP: [(&str, TimestampPolicy); 3] =
    [("event", TimestampPolicy::Event), ("send", TimestampPolicy::Send), ("auto", TimestampPolicy::Auto)];

/// `None` when not even its name can be used.
pub(in crate::config) fn destination(section: Section<'_>) -> Option<ReadDestination> {
    // Where the name is missing, the rest is read all the same, for its problems.
    let nameless = DestinationName::new("nameless").ok()?;
    let name = section.required("name", "\"home\"", StandIn::Name, read_name, |n| quoted(n.as_str()));
    let bootstrap = bootstrap(&section);
    let settings = settings(&section, Destination::new(name.clone().unwrap_or(nameless), bootstrap.clone()));
    link::warn_of_open_secrets(&section, &settings);
    let (place, renamed) = (section.place_of("name"), section.place_of("renamed_from"));
    section.finish();
    let destination = if bootstrap.is_empty() { None } else { Some(settings) };
    Some(ReadDestination { name: name?, place, renamed, destination })
}

fn read_name(scalar: &Scalar) -> Result<DestinationName, Wrong> {
    let text = scalar::text(scalar)?;
    let wrong = || format!("can't be {}", quoted(&text));
    let name = DestinationName::new(&text).map_err(|e| (wrong(), e.to_string()))?;
    if owner_of_slots(&text) != Some(&text) {
        let why = "in the data directory such names are those of files beside a destination's own: use one that does not end in \
                   \".new\", \".making\" or \".rescued\", and has no \".aside-\" in it";
        return Err((wrong(), why.to_owned()));
    }
    Ok(name)
}

/// The name it has had may be any.
fn read_former_name(scalar: &Scalar) -> Result<DestinationName, Wrong> {
    let text = scalar::text(scalar)?;
    DestinationName::new(&text).map_err(|e| (format!("can't be {}", quoted(&text)), e.to_string()))
}

fn bootstrap(section: &Section<'_>) -> Vec<HostPort> {
    let mut brokers = vec![];
    for (scalar, place) in section.texts("bootstrap", "[\"127.0.0.1:9092\"]", true).unwrap_or_default() {
        match read_broker(&scalar) {
            Ok(broker) => brokers.push(broker),
            Err(wrong) => section.wrong("bootstrap", &place, wrong),
        }
    }
    section.show_list("bootstrap", brokers.iter().map(HostPort::to_string));
    brokers
}

fn read_broker(scalar: &Scalar) -> Result<HostPort, Wrong> {
    if *scalar == Scalar::Placeholder {
        return Ok(HostPort { host: "placeholder".to_owned(), port: 9092 });
    }
    scalar::host_port(&scalar::text(scalar)?)
}

fn settings(section: &Section<'_>, default: Destination) -> Destination {
    let request = bounds(
        Duration::from_millis(100)..=Duration::from_mins(10),
        "shorter ones give up on slow brokers, longer ones notice a dead one late",
    );
    Destination {
        from: section.choice("from", &FROM, default.from),
        renamed_from: section.optional("renamed_from", read_former_name, |n| quoted(n.as_str())),
        delivery: section.choice("delivery", &DELIVERY, default.delivery),
        client_id: section.text("client_id", default.client_id),
        compression: section.choice("compression", &KafkaCompression::WORDS, default.compression),
        partitioner: section.choice("partitioner", &PARTITIONER, default.partitioner),
        timestamp: section.choice("timestamp", &TIMESTAMP, default.timestamp),
        timestamp_max_age: section.duration(
            "timestamp_max_age",
            default.timestamp_max_age,
            &bounds(
                Duration::from_mins(1)..=Duration::from_hours(24 * 30),
                "brokers forget a producer after a day",
            ),
        ),
        linger: section.duration(
            "linger",
            default.linger,
            &bounds(Duration::ZERO..=Duration::from_secs(10), "every event may be this much later"),
        ),
        batch_size: section.memory(
            "batch_size",
            default.batch_size,
            &bounds(
                1 << 10..=16 << 20,
                "brokers refuse batches beyond message.max.bytes, 1 MiB unless raised",
            ),
        ),
        request_timeout: section.duration("request_timeout", default.request_timeout, &request),
        connect_timeout: section.duration("connect_timeout", default.connect_timeout, &request),
        header: section.flag("header", default.header),
        in_doubt: section.choice("in_doubt", &IN_DOUBT, default.in_doubt),
        missing_topic_after: section.duration(
            "missing_topic_after",
            default.missing_topic_after,
            &bounds(
                Duration::from_secs(1)..=Duration::from_hours(24 * 365),
                "until then its events wait, and hold their segments",
            ),
        ),
        required: section.flag("required", default.required),
        address_map: address_map(section),
        tls: link::tls(section),
        sasl: link::sasl(section),
        proxy: link::proxy(section),
        max_rate: link::max_rate(section),
        name: default.name,
        bootstrap: default.bootstrap,
    }
}

fn address_map(section: &Section<'_>) -> Vec<(HostPort, HostPort)> {
    let mut map = vec![];
    for (entry, scalar) in section.pairs("address_map") {
        let advertised = scalar::host_port(&entry.key);
        let reached = read_broker(&scalar);
        match (advertised, reached) {
            (Ok(advertised), Ok(reached)) => map.push((advertised, reached)),
            (Err(wrong), _) => section.wrong("address_map", &entry.key_place, wrong),
            (_, Err(wrong)) => section.wrong("address_map", &entry.value.place, wrong),
        }
    }
    section.show_pairs("address_map", map.iter().map(|(a, b)| (a.to_string(), b.to_string())));
    map
}

#[cfg(test)]
mod tests {
    use crate::config::load_text;
    use crate::config::reading::Environment;

    /// Why a destination can't be named so, and none can have been.
    fn refused(name: &str, was: &str) -> Option<String> {
        let text = format!(
            "[relay]\nid = \"a\"\n[[source]]\ntype = \"http\"\nlisten = \"127.0.0.1:1\"\n\
             [[destination]]\nname = \"{name}\"\nrenamed_from = \"{was}\"\nbootstrap = [\"a:1\"]\n"
        );
        load_text("x.toml", &text, &Environment::Absent).err().map(|report| report.to_string())
    }

    #[test]
    fn a_destination_can_not_be_named_like_a_file_beside_its_positions_and_may_have_been() {
        for name in ["home.new", "home.making", "home.rescued", "home.aside-1", "home.aside-x"] {
            let why = refused(name, "old").unwrap();
            assert!(why.contains(&format!("can't be \"{name}\"")) && why.contains("\".aside-\""), "{why}");
            assert_eq!(refused("home", name), None);
        }
        for name in ["new", "home.old", "rescued", "home.newer", "aside-1"] {
            assert_eq!(refused(name, "old"), None);
        }
    }
}
