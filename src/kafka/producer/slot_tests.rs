//! Slots against a model of a broker that loses answers, forgets, and errs.

#![expect(clippy::cast_possible_wrap, reason = "small numbers in tests")]

use proptest::prelude::*;

use super::link::Way;
use super::look::Looked;
use super::slot::*;
use crate::config::model::KafkaCompression;
use crate::ids::TopicName;
use crate::kafka::batch::{Identity, RecordsBuilder, Stamp};
use crate::kafka::errors::meaning;
use crate::kafka::window::{Journaled, Outcome, Window};
use crate::kafka::wire::{PartitionResult, RecordError};
use std::time::Duration;
use tokio::time::Instant;

pub(super) const WAY: Way = Way { broker: 1, suspects: false };

fn window(id: u64, stamp: Stamp) -> Window {
    let mut builder = RecordsBuilder::new(stamp);
    for _ in 0..=id % 3 {
        builder.push(None, Some(b"v"), [], 1);
    }
    let batch = builder.seal(KafkaCompression::None);
    Window { id, topic: TopicName::new("t").unwrap(), partition: 0, batch, journaled: None }
}

fn slot() -> Slot {
    Slot::new(TopicName::new("t").unwrap(), 0, 1)
}

fn result(code: i16) -> PartitionResult {
    PartitionResult { topic: "t".into(), index: 0, code, offset: 5, record_errors: vec![], message: None }
}

/// One thing that happens to a send.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Never left.
    NotSent,
    /// Left, and was lost on the way.
    LostBefore,
    /// Appended, the answer was lost.
    LostAfter,
    /// The broker restarts with no memory of producers, then answers.
    Forgets,
    /// Answered with this code without looking at the batch.
    Error(i16),
    /// Appended, but answered with this (ambiguous) code.
    AppendedWith(i16),
    /// Goes well.
    Well,
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::NotSent),
        Just(Fate::LostBefore),
        Just(Fate::LostAfter),
        (-1i16..=132)
            .prop_filter("0 and 46 mean that it is there", |c| ![0, 46].contains(c))
            .prop_map(Fate::Error),
        prop::sample::select(vec![-1i16, 6, 7, 20, 56, 13]).prop_map(Fate::AppendedWith),
        Just(Fate::Well),
    ]
}

/// A partition leader's memory, by Kafka's rules for one batch in flight.
#[derive(Default)]
struct Broker {
    last: Option<(Identity, u32)>,
    log: Vec<u64>,
}

impl Broker {
    fn append(&mut self, id: u64, me: Identity, count: u32) -> i16 {
        if let Some((before, before_count)) = self.last {
            let next = before.base_sequence + before_count as i32;
            if me.producer_id == before.producer_id {
                if me == before && count == before_count {
                    return 0;
                }
                if me.epoch < before.epoch {
                    return 47;
                }
                let expected = if me.epoch > before.epoch { 0 } else { next };
                if me.base_sequence != expected {
                    return 45;
                }
            }
        }
        self.last = Some((me, count));
        self.log.push(id);
        0
    }
}

/// Sends windows 0 to 4 through the fates; when those are used up, all goes well.
fn play(fates: &[Fate]) -> (Broker, Vec<(u64, Outcome)>) {
    let (mut broker, mut slot, mut outcomes) = (Broker::default(), slot(), Vec::new());
    (0..5).for_each(|id| {
        slot.push(window(id, Stamp::Event));
    });
    let mut fates = fates.iter().copied();
    let mut now = Instant::now();
    while slot.phase != Phase::Idle {
        let front = slot.front().unwrap().clone();
        let me = slot.send(WAY, (77, 0));
        let mut append = || broker.append(front.id, me, front.batch.count());
        let code = match fates.next().unwrap_or(Fate::Well) {
            Fate::NotSent => {
                slot.not_sent();
                continue;
            }
            Fate::LostBefore => {
                slot.unanswered(now);
                continue;
            }
            Fate::LostAfter => {
                append();
                slot.unanswered(now);
                continue;
            }
            Fate::Forgets => {
                broker.last = None;
                broker.append(front.id, me, front.batch.count())
            }
            Fate::Error(code) => code,
            Fate::AppendedWith(code) => {
                append();
                code
            }
            Fate::Well => append(),
        };
        match slot.answered(&result(code), now) {
            Step::Settled(id, outcome) => outcomes.push((id, outcome)),
            Step::Again { at, .. } | Step::LookAgain { at } => now = at,
        }
    }
    (broker, outcomes)
}

proptest! {
    #[test]
    fn every_window_is_settled_in_order_and_truthfully(fates in proptest::collection::vec(any_fate(), 0..40)) {
        let (broker, outcomes) = play(&fates);
        let ids: Vec<_> = outcomes.iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(ids, (0..5).collect::<Vec<u64>>());
        for (id, outcome) in &outcomes {
            let times = broker.log.iter().filter(|logged| *logged == id).count();
            match outcome {
                Outcome::Acked { may_be_doubled: false, .. } => prop_assert_eq!(times, 1, "{}", id),
                Outcome::Acked { .. } => prop_assert!(times >= 1, "{}", id),
                // Refused for minutes after an answer was lost: whoever sends it again is told.
                Outcome::Forgotten { may_be_doubled: true, .. } => {}
                Outcome::Refused { .. }
                | Outcome::Deferred { .. }
                | Outcome::Forgotten { .. }
                | Outcome::Stale { .. } => prop_assert_eq!(times, 0, "{}", id),
                Outcome::Returned { .. } | Outcome::NotFound => prop_assert!(false, "{} was not asked back", id),
            }
        }
        prop_assert!(broker.log.is_sorted(), "reordered: {:?}", broker.log);
    }
}

#[test]
fn lost_answers_never_double_anything() {
    let fates = [Fate::LostAfter, Fate::LostAfter, Fate::LostBefore, Fate::Well, Fate::LostAfter];
    let (broker, outcomes) = play(&fates);
    assert_eq!(broker.log, [0, 1, 2, 3, 4]);
    assert_eq!(outcomes[0].1, Outcome::Acked { offset: 5, doubtful: true, may_be_doubled: false });
    assert_eq!(outcomes[4].1, Outcome::Acked { offset: 5, doubtful: false, may_be_doubled: false });
}

#[test]
fn what_the_model_can_see_it_sees() {
    // Negative control: a broker that forgets the producer does double a batch whose answer was lost.
    let (broker, _) = play(&[Fate::LostAfter, Fate::Forgets]);
    assert_eq!(broker.log, [0, 0, 1, 2, 3, 4]);
}

#[test]
fn too_large_is_refused_unless_an_earlier_send_is_in_doubt() {
    let mut slot = slot();
    slot.push(window(0, Stamp::Event));
    slot.send(WAY, (7, 0));
    slot.unanswered(Instant::now());
    slot.send(WAY, (7, 0));
    assert!(matches!(slot.answered(&result(10), Instant::now()), Step::Again { .. }));
    slot.send(WAY, (7, 0));
    let Step::Settled(0, Outcome::Acked { doubtful: true, .. }) = slot.answered(&result(0), Instant::now())
    else {
        panic!()
    };
    slot.push(window(1, Stamp::Event));
    let before = slot.send(WAY, (7, 0));
    let settled = slot.answered(&result(10), Instant::now());
    assert!(matches!(settled, Step::Settled(1, Outcome::Refused { code: 10, .. })), "{settled:?}");
    slot.push(window(2, Stamp::Event));
    assert_eq!(slot.send(WAY, (7, 0)), before, "a refused window uses no sequence number");
}

#[test]
fn the_record_at_fault_is_told() {
    let mut slot = slot();
    slot.push(window(2, Stamp::Event));
    slot.send(WAY, (7, 0));
    let mut bad = result(87);
    bad.record_errors = vec![RecordError { index: 1, message: Some("no key".into()) }];
    let Step::Settled(2, Outcome::Refused { code: 87, message, records }) =
        slot.answered(&bad, Instant::now())
    else {
        panic!()
    };
    assert!(message.contains("no key") && records == [1], "{message}, {records:?}");
}

#[test]
fn a_bad_time_stamp_under_the_time_of_sending_is_our_clocks_fault() {
    let mut slot = slot();
    slot.push(window(0, Stamp::Send));
    slot.send(WAY, (7, 0));
    let now = Instant::now();
    let Step::Again { at, .. } = slot.answered(&result(32), now) else { panic!() };
    assert!(at - now >= std::time::Duration::from_secs(5), "held at a slow pace");
}

#[test]
fn a_lost_memory_renews_the_identity_and_marks_only_what_was_in_doubt() {
    let mut slot = slot();
    slot.push(window(0, Stamp::Event));
    slot.send(WAY, (7, 3));
    slot.answered(&result(45), Instant::now());
    let me = slot.send(WAY, (7, 3));
    assert_eq!(me, Identity { producer_id: 7, epoch: 4, base_sequence: 0 });
    slot.unanswered(Instant::now());
    slot.send(WAY, (7, 3));
    slot.answered(&result(45), Instant::now());
    slot.send(WAY, (7, 3));
    let settled = slot.answered(&result(0), Instant::now());
    assert!(matches!(settled, Step::Settled(0, Outcome::Acked { may_be_doubled: true, .. })), "{settled:?}");
}

#[test]
fn a_duplicate_of_what_was_never_sent_is_not_believed() {
    let mut slot = slot();
    slot.push(window(0, Stamp::Event));
    slot.send(WAY, (7, 0));
    assert!(matches!(slot.answered(&result(46), Instant::now()), Step::Again { .. }));
    assert_eq!(slot.send(WAY, (7, 0)).epoch, 1);
    assert_eq!(meaning(46).name, "DUPLICATE_SEQUENCE_NUMBER");
}

#[test]
fn the_last_epoch_is_followed_by_a_fresh_producer_id() {
    let mut slot = slot();
    slot.push(window(0, Stamp::Event));
    slot.send(WAY, (7, i16::MAX));
    slot.answered(&result(47), Instant::now());
    assert!(slot.needs_producer());
    assert_eq!(slot.send(WAY, (8, 0)), Identity { producer_id: 8, epoch: 0, base_sequence: 0 });
}

#[test]
fn sequence_numbers_wrap_to_zero() {
    let mut slot = slot();
    slot.set_sequence(u32::try_from(i32::MAX).unwrap());
    slot.push(window(1, Stamp::Event));
    assert_eq!(slot.send(WAY, (7, 0)).base_sequence, i32::MAX);
    slot.answered(&result(0), Instant::now());
    slot.push(window(1, Stamp::Event));
    assert_eq!(slot.send(WAY, (7, 0)).base_sequence, 1, "a batch of two from the last number ends at 0");
}

#[test]
fn a_missing_topic_defers_after_two_seconds_and_never_in_doubt() {
    let mut slot = slot();
    slot.push(window(0, Stamp::Event));
    let now = Instant::now();
    assert!(slot.nowhere(3, false, now).is_none());
    let later = now + PATIENCE;
    assert!(matches!(
        slot.nowhere(3, false, later),
        Some(Step::Settled(0, Outcome::Deferred { code: 3, .. }))
    ));
    slot.push(window(1, Stamp::Event));
    slot.send(WAY, (7, 0));
    slot.unanswered(Instant::now());
    assert!(slot.nowhere(3, false, later).is_none());
    assert!(slot.nowhere(3, false, later + PATIENCE * 100).is_none(), "in doubt stays in doubt");
}

fn journaled(id: u64, doubtful: bool) -> Window {
    let identity = Identity { producer_id: 500, epoch: 3, base_sequence: 40 };
    let journaled = Journaled {
        identity,
        doubtful,
        cluster_id: "c".to_owned(),
        topic_id: [1; 16],
        acked_offset: 9,
        sent_at: 1_700_000_000_000,
        may_be_doubled: false,
        unreadable: false,
    };
    Window { journaled: Some(journaled), ..window(id, Stamp::Event) }
}

fn settled(step: Option<Step>) -> Outcome {
    match step {
        Some(Step::Settled(_, outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_window_of_an_earlier_process_is_looked_for_before_it_is_sent() {
    let (mut slot, now) = (slot(), Instant::now());
    assert!(slot.push(journaled(1, true)));
    assert_eq!(slot.wants_look(now).unwrap().acked_offset, 9);
    assert_eq!(slot.phase, Phase::Looking);
    let found = settled(slot.looked(&Looked::Found(12), now));
    assert_eq!(found, Outcome::Acked { offset: 12, doubtful: true, may_be_doubled: false });
    assert_eq!(slot.phase, Phase::Idle);
}

#[test]
fn what_is_not_found_is_sent_under_the_identity_that_was_written_down() {
    for (looked, may_be_doubled) in [(Looked::Absent, false), (Looked::Unknown(String::new()), true)] {
        let (mut slot, now) = (slot(), Instant::now());
        slot.push(journaled(1, true));
        slot.wants_look(now).unwrap();
        assert!(matches!(slot.looked(&Looked::Failed(String::new()), now), Some(Step::LookAgain { .. })));
        assert!(slot.wants_look(now).is_some(), "a failure answers nothing");
        assert!(slot.looked(&looked, now).is_none());
        assert!(slot.wants_look(now).is_none());
        let identity = slot.send(WAY, (77, 0));
        assert_eq!((identity.producer_id, identity.epoch, identity.base_sequence), (500, 3, 40));
        let outcome = settled(Some(slot.answered(&result(0), now)));
        assert_eq!(outcome, Outcome::Acked { offset: 5, doubtful: true, may_be_doubled });
    }
}

#[test]
fn a_window_that_the_broker_will_not_have_goes_back_and_one_in_doubt_is_looked_for_first() {
    let (mut slot, now) = (slot(), Instant::now());
    slot.push(journaled(1, false));
    assert!(slot.wants_look(now).is_none());
    slot.send(WAY, (77, 0));
    assert!(matches!(
        settled(Some(slot.answered(&result(45), now))),
        Outcome::Forgotten { may_be_doubled: false, .. }
    ));
    slot.push(journaled(2, false));
    slot.send(WAY, (77, 0));
    assert!(matches!(slot.answered(&result(45), now), Step::Again { .. }), "again, and not without a pause");
    slot.wants_look(now).unwrap();
    settled(slot.looked(&Looked::Absent, now));
    slot.push(journaled(2, false));
    slot.send(WAY, (77, 0));
    slot.unanswered(now);
    slot.send(WAY, (77, 0));
    assert!(matches!(slot.answered(&result(45), now), Step::Again { .. }));
    assert!(slot.wants_look(now).is_some());
    assert!(matches!(
        settled(slot.looked(&Looked::Absent, now)),
        Outcome::Forgotten { may_be_doubled: false, .. }
    ));
    slot.push(journaled(3, false));
    slot.send(WAY, (77, 0));
    slot.unanswered(now);
    slot.send(WAY, (77, 0));
    slot.answered(&result(59), now);
    slot.wants_look(now).unwrap();
    assert!(matches!(settled(slot.looked(&Looked::Found(3), now)), Outcome::Acked { offset: 3, .. }));
}

#[test]
fn a_long_doubt_is_looked_for_again_and_a_refusal_in_it_becomes_definite_under_a_new_identity_only() {
    let (mut slot, began) = (slot(), Instant::now());
    slot.push(journaled(1, false));
    slot.send(WAY, (77, 0));
    slot.unanswered(began);
    assert!(slot.wants_look(began + Duration::from_secs(299)).is_none());
    slot.send(WAY, (77, 0));
    assert!(matches!(slot.answered(&result(10), began), Step::Again { .. }), "it proves nothing");
    let later = began + Duration::from_secs(301);
    assert!(slot.wants_look(later).is_some());
    assert!(slot.looked(&Looked::Absent, later).is_none());
    slot.send(WAY, (77, 0));
    assert!(matches!(slot.answered(&result(10), later), Step::Again { .. }));
    assert!(slot.wants_look(later).is_some());
    assert!(matches!(settled(slot.looked(&Looked::Absent, later)), Outcome::Forgotten { .. }));
}

#[test]
fn without_a_journal_a_refusal_in_a_long_doubt_becomes_definite_under_another_identity_and_is_counted() {
    for code in [10, 29] {
        let (mut slot, began) = (slot(), Instant::now());
        let later = began + Duration::from_secs(301);
        slot.push(window(1, Stamp::Event));
        let first = slot.send(WAY, (7, 0));
        slot.unanswered(began);
        for (now, holds) in [(began, true), (later, false)] {
            assert_eq!(slot.send(WAY, (7, 0)), first);
            match slot.answered(&result(code), now) {
                Step::Again { .. } => assert!(holds, "{code}"),
                Step::Settled(1, Outcome::Forgotten { may_be_doubled: true, fenced: false, .. }) => {
                    assert!(!holds);
                }
                other => panic!("{code}: {other:?}"),
            }
        }
        slot.push(window(1, Stamp::Event));
        let next = slot.send(WAY, (7, 0));
        assert_eq!((next.producer_id, next.epoch, next.base_sequence), (7, 1, 0), "the first is fenced");
        let mut step = slot.answered(&result(code), later);
        if matches!(step, Step::Again { .. }) {
            slot.send(WAY, (7, 0));
            step = slot.answered(&result(code), later + PATIENCE);
        }
        let definite = settled(Some(step));
        let expected = matches!(definite, Outcome::Refused { .. } | Outcome::Deferred { .. });
        assert!(expected, "{definite:?}");
    }
}

#[test]
fn without_a_journal_what_is_in_doubt_in_a_topic_that_is_gone_for_long_goes_back_counted() {
    let (mut slot, began) = (slot(), Instant::now());
    slot.push(window(1, Stamp::Event));
    slot.send(WAY, (7, 0));
    slot.unanswered(began);
    assert!(slot.nowhere(3, false, began).is_none());
    let step = slot.nowhere(3, false, began + Duration::from_secs(301));
    assert_eq!(settled(step), Outcome::Returned { in_doubt: true });
    slot.push(window(2, Stamp::Event));
    assert_eq!(slot.send(WAY, (7, 0)), Identity { producer_id: 7, epoch: 1, base_sequence: 0 });
}

#[test]
fn what_is_in_doubt_when_its_topic_is_forbidden_is_looked_for_and_then_refused_for_good() {
    let (mut slot, began) = (slot(), Instant::now());
    let later = began + Duration::from_secs(301);
    slot.push(journaled(1, false));
    slot.send(WAY, (77, 0));
    slot.unanswered(began);
    slot.send(WAY, (77, 0));
    assert!(matches!(slot.answered(&result(29), began), Step::Again { .. }), "it proves nothing");
    slot.send(WAY, (77, 0));
    assert!(matches!(slot.answered(&result(5), later), Step::Again { .. }));
    assert!(slot.wants_look(later).is_some());
    assert!(slot.looked(&Looked::Absent, later).is_none());
    slot.send(WAY, (77, 0));
    assert!(matches!(slot.answered(&result(29), later), Step::Again { .. }));
    assert!(slot.wants_look(later).is_some());
    assert!(matches!(
        settled(slot.looked(&Looked::Absent, later)),
        Outcome::Forgotten { may_be_doubled: false, .. }
    ));
}

#[test]
fn what_is_in_doubt_in_a_topic_that_is_gone_or_hidden_for_long_goes_back_counted_unless_it_is_to_be_held() {
    for (code, holds, goes) in
        [(3, false, true), (3, true, true), (29, false, true), (29, true, false), (5, false, false)]
    {
        let (mut slot, began) = (slot(), Instant::now());
        slot.push(journaled(1, false));
        slot.send(WAY, (77, 0));
        slot.unanswered(began);
        assert!(slot.nowhere(code, holds, began).is_none());
        assert!(slot.nowhere(code, holds, began + Duration::from_secs(299)).is_none());
        let step = slot.nowhere(code, holds, began + Duration::from_secs(301));
        let went = step.is_some_and(|s| settled(Some(s)) == Outcome::Returned { in_doubt: true });
        assert_eq!(went, goes, "{code} {holds}");
    }
}

/// The time since when it had nowhere to go counted, for whatever reason that was at first.
#[test]
fn what_is_in_doubt_is_given_up_only_after_the_topic_was_gone_for_five_minutes_on_end() {
    for (code, holds) in [(3, false), (3, true), (29, false)] {
        let (mut slot, began) = (slot(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        slot.push(journaled(1, false));
        assert!(slot.nowhere(5, holds, began).is_none());
        slot.has_place();
        slot.send(WAY, (77, 0));
        slot.unanswered(at(1));
        assert!(slot.nowhere(code, holds, at(400)).is_none(), "{code}: one answer says so");
        assert!(slot.nowhere(5, holds, at(500)).is_none());
        assert!(slot.nowhere(code, holds, at(701)).is_none(), "{code}: in between it was there");
        slot.has_place();
        assert!(slot.nowhere(code, holds, at(1002)).is_none(), "{code}: in between it had a leader");
        assert!(slot.nowhere(code, holds, at(1301)).is_none());
        let step = slot.nowhere(code, holds, at(1302));
        assert_eq!(settled(step), Outcome::Returned { in_doubt: true }, "{code}");
    }
}

#[test]
fn what_is_in_doubt_and_too_old_by_now_keeps_its_identity_and_has_its_times_moved() {
    let (mut slot, began, unix) = (slot(), Instant::now(), 1_800_000_000_000);
    slot.push(journaled(1, false));
    let before = slot.send(WAY, (77, 0));
    slot.unanswered(began);
    assert!(matches!(slot.stale(unix, began), Some(Step::LookAgain { .. })));
    assert!(slot.wants_look(began).is_some());
    assert_ne!(slot.front().unwrap().batch.newest_time(), Some(unix));
    assert!(slot.looked(&Looked::Absent, began).is_none());
    assert_eq!(slot.front().unwrap().batch.newest_time(), Some(unix));
    assert_eq!(slot.send(WAY, (77, 0)), before, "a leader may have it that does not show it");
    assert!(matches!(settled(Some(slot.answered(&result(46), began))), Outcome::Acked { .. }));
}

#[test]
fn a_window_of_events_that_brokers_forget_at_once_is_looked_for_after_every_doubt() {
    let (mut slot, now) = (slot(), Instant::now());
    let hour = 3_600_000;
    for (age, forgets) in [(hour - 1, false), (hour, true), (48 * hour, true)] {
        slot.push(journaled(1, false));
        for _ in 0..2 {
            slot.note_age(1 + age);
            slot.send(WAY, (77, 0));
            slot.unanswered(now);
            assert_eq!(slot.wants_look(now).is_some(), forgets, "{age}");
            if forgets {
                assert!(slot.looked(&Looked::Absent, now).is_none());
                assert!(slot.wants_look(now).is_none(), "it goes out again");
            }
        }
        settled(Some(slot.answered(&result(0), now)));
    }
    // What is stamped anew at every send is remembered, and without a journal nothing is looked for.
    let restamped = Window { journaled: journaled(1, false).journaled, ..window(1, Stamp::Send) };
    for window in [restamped, window(1, Stamp::Event)] {
        slot.push(window);
        slot.note_age(48 * hour);
        slot.send(WAY, (77, 0));
        slot.unanswered(now);
        assert!(slot.wants_look(now).is_none());
        settled(Some(slot.answered(&result(0), now)));
    }
}

#[test]
fn a_window_of_another_cluster_needs_a_new_identity_and_was_not_doubled() {
    let (mut slot, now) = (slot(), Instant::now());
    slot.push(journaled(1, true));
    slot.wants_look(now).unwrap();
    assert!(matches!(settled(Some(slot.is_foreign())), Outcome::Forgotten { may_be_doubled: false, .. }));
}

#[test]
fn a_window_that_is_asked_back_comes_back_and_on_its_way_only_when_it_is_not_answered() {
    let (mut slot, now) = (slot(), Instant::now());
    assert_eq!((slot.recall(true), slot.recall(false)), (0, 0), "there is none");
    slot.push(journaled(1, false));
    assert_eq!(slot.recall(true), 0, "it was never sent");
    assert!(slot.returned().is_none());
    assert_eq!(slot.recall(false), 2);
    assert_eq!(settled(slot.returned()), Outcome::Returned { in_doubt: false });
    assert!(slot.returned().is_none());

    slot.push(journaled(2, false));
    slot.send(WAY, (77, 0));
    assert_eq!((slot.recall(true), slot.recall(false)), (0, 0), "nobody knows yet");
    slot.unanswered(now);
    slot.send(WAY, (77, 0));
    assert_eq!((slot.recall(false), slot.recall(true)), (0, 3));
    assert!(
        matches!(settled(Some(slot.answered(&result(0), now))), Outcome::Acked { .. }),
        "it was answered after all"
    );

    slot.push(window(3, Stamp::Event));
    let first = slot.send(WAY, (7, 0));
    slot.unanswered(now);
    assert_eq!(slot.recall(true), 1);
    assert_eq!(settled(slot.returned()), Outcome::Returned { in_doubt: true });
    slot.push(window(4, Stamp::Event));
    let next = slot.send(WAY, (7, 0));
    assert_eq!(
        (next.producer_id, next.epoch),
        (first.producer_id, first.epoch + 1),
        "a broker that has the first takes the next for another"
    );
}
