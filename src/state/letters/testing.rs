//! A dead letter for tests and fuzzers.
#![allow(clippy::expect_used, reason = "its names are names")]

use super::{Letter, Reason};
use crate::event::{Event, EventBatch};
use crate::ids::{DestinationName, LaneName, RunId, Seq, StreamName, TopicName};

/// Of lane `main` and destination `home`.
pub fn letter(seq: u64, event: &Event<'_>) -> Letter {
    let mut batch = EventBatch::new();
    batch.push(event);
    Letter {
        at: 1000,
        lane: LaneName::new("main").expect("a name"),
        destination: DestinationName::new("home").expect("a name"),
        seq: Seq(seq),
        run: RunId(3),
        stream: StreamName::new("s").expect("a name"),
        topic: TopicName::new("t").expect("a name"),
        partition: 2,
        reason: Reason::Refused,
        code: 87,
        message: "no".into(),
        time: 77,
        event: batch.as_bytes().to_vec(),
    }
}
