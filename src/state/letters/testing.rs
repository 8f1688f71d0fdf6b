//! A dead letter for tests.

use super::{Letter, Reason};
use crate::event::{Event, EventBatch};
use crate::ids::{DestinationName, LaneName, RunId, Seq, StreamName, TopicName};

/// Of lane `main` and destination `home`.
pub fn letter(seq: u64, event: &Event<'_>) -> Letter {
    let mut batch = EventBatch::new();
    batch.push(event);
    Letter {
        at: 1000,
        lane: LaneName::new("main").unwrap(),
        destination: DestinationName::new("home").unwrap(),
        seq: Seq(seq),
        run: RunId(3),
        stream: StreamName::new("s").unwrap(),
        topic: TopicName::new("t").unwrap(),
        partition: 2,
        reason: Reason::Refused,
        code: 87,
        message: "no".into(),
        time: 77,
        event: batch.as_bytes().to_vec(),
    }
}
