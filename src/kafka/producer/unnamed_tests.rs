//! Slots of a cluster that gives no producer ids.

use std::time::Duration;

use tokio::time::Instant;

use super::look::Looked;
use super::slot::*;
use super::slot_tests::WAY;
use crate::config::model::KafkaCompression;
use crate::ids::TopicName;
use crate::kafka::batch::{Batch, Identity, RecordsBuilder, Stamp};
use crate::kafka::window::{Journaled, Outcome, Window};
use crate::kafka::wire::PartitionResult;

const NOBODY: (i64, i16) = (-1, -1);

fn slot() -> Slot {
    Slot::new(TopicName::new("t").unwrap(), 0, 1)
}

fn window(id: u64) -> Window {
    let mut builder = RecordsBuilder::new(Stamp::Send);
    builder.push(None, Some(b"v"), [], 1);
    let batch = builder.seal(KafkaCompression::None);
    Window { id, topic: TopicName::new("t").unwrap(), partition: 0, batch, journaled: None }
}

fn result(code: i16) -> PartitionResult {
    PartitionResult { topic: "t".into(), index: 0, code, offset: 5, record_errors: vec![], message: None }
}

/// As the journal has it where the cluster gives no producer ids.
fn unnamed(id: u64, doubtful: bool) -> Window {
    let journaled = Journaled {
        identity: Identity::NONE,
        doubtful,
        cluster_id: String::new(),
        topic_id: [0; 16],
        acked_offset: -1,
        sent_at: 0,
        may_be_doubled: false,
        unreadable: false,
    };
    Window { journaled: Some(journaled), ..window(id) }
}

#[tokio::test(start_paused = true)]
async fn a_window_without_an_identity_is_looked_for_after_each_lost_answer_and_goes_back_after_a_while() {
    let second = Duration::from_secs(1);
    for restarted in [false, true] {
        let (mut slot, mut now) = (slot(), Instant::now());
        slot.push(unnamed(1, restarted));
        if !restarted {
            assert_eq!(slot.send(WAY, NOBODY), Identity::NONE);
            slot.unanswered(now);
        }
        let began = now;
        let outcome = loop {
            assert!(slot.wants_look(now).is_some(), "it is never sent again before it was looked for");
            match slot.looked(&Looked::Absent, now) {
                Some(Step::LookAgain { at }) => now = at,
                Some(Step::Settled(1, outcome)) => break outcome,
                other => panic!("{other:?}"),
            }
        };
        assert!(now >= began + 10 * second && now < began + 11 * second, "the request may be on its way");
        assert!(matches!(outcome, Outcome::Forgotten { may_be_doubled: true, .. }), "{outcome:?}");
    }
    let (mut slot, now) = (slot(), Instant::now());
    slot.push(unnamed(1, false));
    slot.send(WAY, NOBODY);
    let step = slot.answered(&result(7), now);
    assert!(matches!(step, Step::Again { .. }), "{step:?}");
    assert!(slot.wants_look(now).is_some(), "it may have been appended");
    let found = slot.looked(&Looked::Found(9), now);
    let whole = Outcome::Acked { offset: 9, doubtful: true, may_be_doubled: false };
    assert!(matches!(&found, Some(Step::Settled(1, outcome)) if *outcome == whole), "{found:?}");
    slot.push(unnamed(2, true));
    assert!(slot.wants_look(now).is_some());
    let unknown = slot.looked(&Looked::Unknown("forbidden".into()), now);
    assert!(
        matches!(&unknown, Some(Step::Settled(2, Outcome::Forgotten { may_be_doubled: true, .. }))),
        "{unknown:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_window_that_can_not_be_read_any_more_is_only_looked_for() {
    let identity = Identity { producer_id: 500, epoch: 3, base_sequence: 40 };
    let unreadable = |id| {
        let window = unnamed(id, true);
        let journaled = window.journaled.map(|j| Journaled { identity, unreadable: true, ..j });
        Window { batch: Batch::unreadable(Stamp::Event, 3), journaled, ..window }
    };
    let (mut slot, mut now) = (slot(), Instant::now());
    slot.push(unreadable(1));
    slot.wants_look(now).unwrap();
    let found = slot.looked(&Looked::Found(9), now);
    assert!(matches!(found, Some(Step::Settled(1, Outcome::Acked { offset: 9, .. }))), "{found:?}");
    slot.push(unreadable(2));
    slot.wants_look(now).unwrap();
    let unknown = slot.looked(&Looked::Unknown("deleted".into()), now);
    assert!(matches!(unknown, Some(Step::Settled(2, Outcome::NotFound))), "{unknown:?}");
    slot.push(unreadable(3));
    let began = now;
    loop {
        assert!(slot.wants_look(now).is_some(), "it is never sent");
        match slot.looked(&Looked::Absent, now) {
            Some(Step::LookAgain { at }) => now = at,
            Some(Step::Settled(3, Outcome::NotFound)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(now >= began + Duration::from_secs(10), "the request may be on its way");
    slot.push(unreadable(4));
    let foreign = slot.is_foreign();
    assert!(matches!(foreign, Step::Settled(4, Outcome::NotFound)), "{foreign:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_what_has_no_identity_is_sent_again_at_once_counted_and_numbered_once_it_has_one() {
    let (mut slot, now) = (slot(), Instant::now());
    for id in 1..=3 {
        slot.push(window(id));
    }
    assert_eq!(slot.send(WAY, NOBODY), Identity::NONE);
    let step = slot.answered(&result(0), now);
    assert!(matches!(step, Step::Settled(1, Outcome::Acked { may_be_doubled: false, .. })), "{step:?}");
    slot.send(WAY, NOBODY);
    slot.unanswered(now);
    assert!(slot.wants_look(now).is_none() && !slot.needs_producer());
    assert_eq!(slot.send(WAY, NOBODY), Identity::NONE);
    let step = slot.answered(&result(0), now);
    assert!(matches!(step, Step::Settled(2, Outcome::Acked { may_be_doubled: true, .. })), "{step:?}");
    assert_eq!(slot.send(WAY, (5, 0)), Identity::first(5, 0), "nothing was numbered before");
    let step = slot.answered(&result(0), now);
    assert!(matches!(step, Step::Settled(3, Outcome::Acked { may_be_doubled: false, .. })), "{step:?}");
}
