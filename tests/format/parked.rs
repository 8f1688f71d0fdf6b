//! Spools whose lane has deleted what is parked.

use std::collections::BTreeMap;
use std::path::Path;

use spoolway::disk::RealFs;
use spoolway::event::{Event, EventBatch};
use spoolway::ids::{DestinationName, LaneName, RunId, SegmentId, Seq, SeqRange, StreamName, TopicName};
use spoolway::spool::inspect::Snapshot;
use spoolway::state::park::{Park, Parked, Whose};

use crate::live::lonely;
use crate::readers::{Said, program, second};
use crate::support::load::{Load, Plan};

fn block(first: u64, count: u64) -> Parked {
    let mut batch = EventBatch::new();
    (0..count)
        .for_each(|n| batch.push(&Event::of_value(format!("parked {first} {n} {first} {first}").as_bytes())));
    Parked {
        range: SeqRange::new(Seq(first), Seq(first + count)),
        stream: StreamName::new("s").expect("a name"),
        time: 1_700_000_000_000,
        run: RunId(7),
        segment: SegmentId(1),
        payload: batch.as_bytes().to_vec().into(),
    }
}

fn keep(data: &Path, topic: &str, covers: (u64, u64), blocks: &[Parked]) {
    let spool = Snapshot::take(&RealFs, data).expect("a spool").spool;
    let (lane, home) =
        (LaneName::new("main").expect("a name"), DestinationName::new("home").expect("a name"));
    let whose = Whose { spool, lane: &lane, destination: &home };
    let park = Park::open(&RealFs, data, whose).expect("a park").bounded(1 << 20, 0);
    let covers = SeqRange::new(Seq(covers.0), Seq(covers.1));
    park.keep(&TopicName::new(topic).expect("a name"), covers, blocks).expect("it is kept");
}

/// How often each number is shown.
fn numbers(said: &Said) -> BTreeMap<u64, u32> {
    let mut numbers = BTreeMap::new();
    for line in said.events.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        *numbers.entry(row["seq"].as_u64().expect("a number")).or_default() += 1;
    }
    numbers
}

#[test]
fn both_readers_show_what_is_parked_once_and_only_where_the_lane_has_it_no_more() {
    let setup = lonely("parked").spool("compression = \"none\"");
    let agent = setup.start();
    Load::http(Plan::new(setup.http, "a", 1).limit(20_000)).finish();
    agent.kill();
    let data = setup.data_dir();
    let whole = program(&data);
    keep(&data, "t", (1, 90), &[block(3, 4), block(20, 30)]);
    keep(&data, "u", (1, 80), &[block(3, 4), block(60, 2)]);
    keep(&data, "t", (90, 30_000), &[block(95, 1), block(19_000, 5)]);
    assert_eq!(program(&data), whole, "the lane has everything itself");
    assert_eq!(second(&data), whole);

    std::fs::remove_file(data.join("lanes/main/00000000000000000001.seg")).expect("the first segment");
    let said = program(&data);
    assert_eq!(second(&data), said);
    let (before, after) = (numbers(&whole), numbers(&said));
    assert!(after.values().all(|times| *times == 1), "each once");
    let gone: Vec<u64> = before.keys().filter(|n| !after.contains_key(*n)).copied().collect();
    assert!(gone.len() > 1_000 && gone.iter().all(|n| *n < 19_000), "the rest of the first segment");
    let mut parked = (3..7).chain(20..50).chain(60..62).chain([95]);
    assert!(parked.all(|n| after.contains_key(&n)) && !after.contains_key(&1), "{gone:?}");
    assert!(said.events.lines().next().expect("a row").contains("parked 3 0"), "in order");
}
