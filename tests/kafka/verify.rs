//! `spoolway verify` on topics of a real Kafka.

use std::time::Duration;

use crate::broker::Broker;
use crate::java;
use crate::support::agent::Setup;
use crate::support::ledger::Told;
use crate::support::load::{Load, Plan};
use crate::support::records::{Hands, foreign};
use crate::support::verify::{sums, verify};
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);

fn deliver(setup: &Setup, topic: &Topic<'_>, generator: u32, events: u64) -> String {
    let agent = setup.start();
    let book = Load::http(Plan::new(setup.http, &topic.name, generator).limit(events)).finish();
    assert_eq!(book.count(Told::Accepted), events);
    let status = agent.wait_drained(None, DRAIN);
    agent.stop();
    status["relay"]["incarnation"].as_str().expect("an incarnation").to_owned()
}

pub fn a_run_is_whole_and_a_record_copied_by_hand_is_counted_exactly() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "verify-copy", 3);
    let setup = Setup::new("verify-copy").destination("home", broker.port, "compression = \"gzip\"");
    deliver(&setup, &topic, 1, 10_000);
    let address = broker.address();
    let args = ["-b", &address, "--topic", "verify-copy", "--json"];
    let whole = verify(0, &args).json();
    assert_eq!((&whole["verdict"], sums(&whole["totals"])), (&"whole".into(), [10_000, 0, 0, 0, 0]));
    let hands = Hands::at(&address);
    let partition = (0..3).find(|p| !hands.read("verify-copy", *p).is_empty()).expect("records");
    let record = hands.read("verify-copy", partition).swap_remove(5);
    hands.append("verify-copy", partition, &[record]);
    let doubled = verify(3, &args).json();
    assert_eq!(sums(&doubled["totals"]), [10_000, 0, 1, 0, 0]);
    let row = &doubled["topics"][0]["partitions"][usize::try_from(partition).expect("small")];
    assert_eq!(row["doubled"], 1, "{row}");
}

pub fn what_was_deleted_from_the_start_of_the_log_is_expired_for_headers_and_ledger() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "verify-expired", 1);
    let setup = Setup::new("verify-expired")
        .spool("segment_size = \"1MiB\"\nmax_event_size = \"64KiB\"\ncompression = \"none\"")
        .destination("home", broker.port, "");
    deliver(&setup, &topic, 1, 20_000);
    let (address, dir) = (broker.address(), setup.data_dir());
    let args = ["-b", &address, "--topic", "verify-expired", "--json", "--ledger"];
    let args = [&args[..], &[dir.to_str().expect("text")]].concat();
    let whole = verify(0, &args).json();
    assert!(whole["ledger"]["holds"].as_u64() >= Some(3), "{whole}");
    assert_eq!(whole["ledger"]["holds"], whole["ledger"]["segments"]);
    Hands::at(&address).delete_before("verify-expired", 0, 6_000);
    let found = verify(0, &args).json();
    let row = &found["topics"][0]["partitions"][0];
    assert_eq!(
        (&row["start"], &row["expired"], sums(row)[..2].to_vec()),
        (&6_000.into(), &6_000.into(), vec![14_000, 0])
    );
    let (expired, holds) = (&found["ledger"]["expired"], &found["ledger"]["holds"]);
    assert!(expired.as_u64() >= Some(1) && holds.as_u64() >= Some(1), "{found}");
    assert_eq!((&found["ledger"]["missing"], &found["verdict"]), (&0.into(), &"whole".into()));
    Hands::at(&address).delete_before("verify-expired", 0, 20_000);
    let nothing = verify(1, &args[..5]);
    assert!(nothing.err.contains("deleted by its retention"), "{}", nothing.err);
}

pub fn two_relays_and_producers_with_transactions_share_a_topic() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "verify-shared", 2);
    let relay = |n: u32, codec: &str| {
        let name = format!("verify-shared-{n}");
        let codec = format!("compression = \"{codec}\"");
        deliver(&Setup::new(&name).destination("home", broker.port, &codec), &topic, n, 2_000)
    };
    let address = broker.address();
    let one = relay(1, "zstd");
    // Its commits put markers between the records, which take offsets and are none.
    java::tool(
        "org.apache.kafka.tools.ProducerPerformance",
        &[
            "--topic",
            "verify-shared",
            "--num-records",
            "60",
            "--record-size",
            "20",
            "--throughput",
            "-1",
            "--transactional-id",
            "verify-shared",
            "--transaction-duration-ms",
            "1",
            "--producer-props",
            &format!("bootstrap.servers={address}"),
        ],
    );
    let two = relay(2, "lz4");
    Hands::at(&address).append("verify-shared", 1, &[foreign("somebody's")]);
    let markers = topic.len() - 4_061;
    assert!(markers > 0, "no transaction marker, so nothing is tested");
    let found = verify(0, &["-b", &address, "--topic", "verify-shared", "--json"]).json();
    assert_eq!((sums(&found["totals"]), &found["totals"]["relays"]), ([4_000, 0, 0, 0, 61], &2.into()));
    assert_eq!((&found["totals"]["removed"], &found["totals"]["expired"]), (&0.into(), &0.into()));
    for incarnation in [&one, &two] {
        let args = ["-b", &address, "--topic", "verify-shared", "--json", "--relay", incarnation];
        let found = verify(0, &args).json();
        assert_eq!((sums(&found["totals"])[0], &found["totals"]["other_relays"]), (2_000, &2_000.into()));
    }
}
