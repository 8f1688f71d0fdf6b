use super::*;
use crate::config::model::KafkaCompression;
use crate::ids::{Incarnation, RunId, Seq};
use crate::kafka::batch::{RecordsBuilder, Stamp};
use crate::kafka::header::Counter;

const ID: Identity = Identity { producer_id: 7, epoch: 2, base_sequence: 40 };

/// A window of the events of these numbers.
fn window(events: &[u64]) -> Batch {
    sent_under(Incarnation(1), events)
}

fn sent_under(life: Incarnation, events: &[u64]) -> Batch {
    let mut builder = RecordsBuilder::new(Stamp::Event);
    for event in events {
        let header = RecordHeader::new(life, RunId(2), Seq(*event), 0, Counter::default()).encode();
        builder.push(None, Some(b"v"), [(header::NAME, Some(&header[..]))], 5);
    }
    builder.seal(KafkaCompression::Lz4)
}

/// One without headers.
fn bare() -> Batch {
    let mut builder = RecordsBuilder::new(Stamp::Event);
    (0..4).for_each(|_| builder.push(None, Some(b"v"), [], 5));
    builder.seal(KafkaCompression::None)
}

/// A batch at offset 100 that held `sent` records when it was appended.
fn stored(events: &[u64], sent: i32, identity: Identity) -> Vec<u8> {
    as_stored(&window(events), sent, identity)
}

fn as_stored(batch: &Batch, sent: i32, identity: Identity) -> Vec<u8> {
    let mut bytes = Vec::new();
    batch.encode(identity, 0, &mut bytes);
    bytes[..8].copy_from_slice(&100i64.to_be_bytes());
    bytes[23..27].copy_from_slice(&(sent - 1).to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// One of which compaction has left nothing but what is to be remembered of its producer
/// (`DefaultRecordBatch.writeEmptyHeader`).
fn emptied(sent: i32, identity: Identity) -> Vec<u8> {
    let mut bytes = stored(&[1], sent, identity);
    bytes.truncate(61);
    bytes[8..12].copy_from_slice(&(61i32 - 12).to_be_bytes());
    bytes[57..61].copy_from_slice(&0i32.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// What is found of a window of the events 1 to 4 that was sent under `identity`.
fn find(stored: Vec<u8>, identity: Identity) -> (Sight, i64) {
    look_at(stored, identity).0
}

/// The same, and what is seen beside it.
fn look_at(stored: Vec<u8>, identity: Identity) -> ((Sight, i64), Option<RecordHeader>) {
    let (found, beside) =
        look_by(stored, identity, Some(window(&[1, 2, 3, 4])).filter(|_| identity.is_none()));
    (found, beside.event)
}

fn look_by(stored: Vec<u8>, identity: Identity, batch: Option<Batch>) -> ((Sight, i64), Beside) {
    let search = Search {
        cluster: ConsumerOptions::new(Vec::new()),
        topic: TopicName::new("t").unwrap(),
        partition: 0,
        identity,
        count: 4,
        batch,
        acked_offset: -1,
        time: 0,
        sent_at: 0,
    };
    let finder = Finder { mark: Mark::of(&search).unwrap(), count: 4 };
    finder.look_at(&Fetched::of(stored.into(), 100, 1000), 100).unwrap()
}

/// A batch of the events of these numbers.
fn sent(seqs: &[u64], identity: Identity) -> Vec<u8> {
    let mut bytes = Vec::new();
    window(seqs).encode(identity, 0, &mut bytes);
    bytes[..8].copy_from_slice(&100i64.to_be_bytes());
    bytes
}

#[test]
fn where_a_broker_stamps_records_a_window_is_looked_for_from_before_it_can_have_come_by_its_clock() {
    let (minute, hour) = (60_000, 3_600_000);
    // Ten minutes after it was sent our clock says the same as the broker's, five hours more, five less.
    for ours in [0, 5 * hour, -5 * hour] {
        let now = 100 * hour;
        let before = before_by_their_clock(now - minute, now + ours - 10 * minute, now + ours).unwrap();
        assert_eq!(before, now - 11 * minute - hour);
    }
    // It was set right meanwhile: a little, and by more than that.
    assert_eq!(before_by_their_clock(0, minute, 0), Some(-hour));
    assert_eq!(before_by_their_clock(0, minute + 1, 0), None);
    assert!(before_by_their_clock(i64::MIN, 0, i64::MAX).is_some());
}

#[test]
fn a_window_is_known_by_its_identity_however_many_of_its_records_compaction_has_taken() {
    for events in [&[1, 2, 3, 4][..], &[1, 3], &[4]] {
        assert_eq!(find(stored(events, 4, ID), ID), (Sight::Found(100), 100));
    }
    assert_eq!(find(emptied(4, ID), ID), (Sight::Found(100), 100));
    let other = Identity { base_sequence: 36, ..ID };
    for elsewhere in [stored(&[1, 2, 3, 4], 4, other), stored(&[1, 2, 3], 3, ID), emptied(3, ID)] {
        let next = if elsewhere == stored(&[1, 2, 3, 4], 4, other) { 104 } else { 103 };
        assert_eq!(find(elsewhere, ID), (Sight::Nothing, next));
    }
}

#[test]
fn of_what_its_producer_sent_besides_the_last_event_is_seen_behind_it_or_anywhere_if_it_is_not_there() {
    let window = || sent(&[1, 2, 3, 4], ID);
    let next = Identity { base_sequence: 44, ..ID };
    let seen = |parts: &[Vec<u8>], of| look_at(parts.concat(), of).1.map(|event| event.seq.0);
    assert_eq!(seen(&[window(), sent(&[7, 9, 8], next)], ID), Some(9));
    assert_eq!(seen(&[sent(&[7, 9, 8], next)], ID), Some(9), "it is not there");
    let later = Identity { epoch: 3, base_sequence: 0, ..ID };
    assert_eq!(seen(&[window(), sent(&[5], next), sent(&[6], later)], ID), Some(6), "the last of them");
    let (other, none) = (Identity { producer_id: 8, ..next }, Identity::NONE);
    assert_eq!(seen(&[window(), sent(&[5], next), sent(&[6], other)], ID), Some(5), "another's behind it");
    for others in [other, none, ID] {
        assert_eq!(seen(&[window(), sent(&[5], others)], ID), None, "{others:?}");
    }
    let before = Identity { base_sequence: 36, ..ID };
    let mut earlier = sent(&[9], before);
    earlier[..8].copy_from_slice(&90i64.to_be_bytes());
    assert_eq!(seen(&[earlier, window()], ID), None, "what was sent before is known");
    assert_eq!(seen(&[sent(&[5], next)], none), None, "without a producer id nobody is known");
    assert_eq!(seen(&[window(), as_stored(&bare(), 4, next)], ID), None, "no header of ours");
    let mut marker = sent(&[5], next);
    marker[22] |= 0x20;
    assert_eq!(seen(&[window(), marker], ID), None, "a transaction's marker");
}

#[test]
fn what_is_not_replicated_yet_or_can_not_be_read_is_not_seen_and_the_window_is_found_all_the_same() {
    let next = Identity { base_sequence: 44, ..ID };
    let mut behind = sent(&[9], next);
    let end = behind.len() - 1;
    behind[end] ^= 1;
    let ((sight, _), beside) = look_at([sent(&[1, 2, 3, 4], ID), behind.clone()].concat(), ID);
    assert_eq!((sight, beside), (Sight::Found(100), None));
    behind[16] = 1;
    let ((sight, _), beside) = look_at([sent(&[1, 2, 3, 4], ID), behind].concat(), ID);
    assert_eq!((sight, beside), (Sight::Found(100), None));
    let mut far = sent(&[9], next);
    far[..8].copy_from_slice(&1000i64.to_be_bytes());
    let ((sight, _), beside) = look_at([sent(&[1, 2, 3, 4], ID), far].concat(), ID);
    assert_eq!((sight, beside), (Sight::Found(100), None));
}

#[test]
fn of_a_window_without_an_identity_that_compaction_has_thinned_it_is_not_said_that_it_is_absent() {
    let none = Identity::NONE;
    assert_eq!(find(stored(&[1, 2, 3, 4], 4, none), none), (Sight::Found(100), 100));
    assert_eq!(
        find(as_stored(&sent_under(Incarnation(9 << 40), &[1, 2, 3, 4]), 4, none), none),
        (Sight::Found(100), 100)
    );
    for left in [&[1, 2, 4][..], &[3]] {
        assert!(matches!(find(stored(left, 4, none), none), (Sight::Unclear(_), 104)));
    }
    // Other events, in another order, another number, somebody else's.
    for other in [
        stored(&[1, 5], 4, none),
        stored(&[2, 1], 4, none),
        stored(&[1, 2], 2, none),
        stored(&[1, 2, 3], 4, ID),
        emptied(4, none),
        as_stored(&bare(), 4, none),
    ] {
        assert!(matches!(find(other, none), (Sight::Nothing, 102 | 104)));
    }
}

#[test]
fn in_a_topic_made_anew_a_batch_is_the_window_only_if_its_records_are_the_windows_too() {
    let seen = |stored, sent| look_by(stored, ID, Some(sent)).0.0;
    let ours = || window(&[1, 2, 3, 4]);
    assert_eq!(seen(stored(&[1, 2, 3, 4], 4, ID), ours()), Sight::Found(100));
    let before = sent_under(Incarnation(9 << 40), &[1, 2, 3, 4]);
    assert_eq!(
        seen(as_stored(&before, 4, ID), ours()),
        Sight::Found(100),
        "it was sent under another incarnation"
    );
    let (other, none) = (Identity { producer_id: 8, ..ID }, Identity::NONE);
    let larger = stored(&(5..300).collect::<Vec<_>>(), 4, ID);
    for (what, of) in
        [(stored(&[5, 6, 7, 8], 4, ID), ID), (larger, ID), (stored(&[1, 2, 3, 4], 4, other), other)]
    {
        assert_eq!(seen(what, ours()), Sight::Nothing, "{of:?}");
    }
    assert_eq!(seen(stored(&[1, 2, 3, 4], 4, none), ours()), Sight::Nothing);
    for nobodys in [as_stored(&bare(), 4, ID), emptied(4, ID), stored(&[1, 3], 4, ID)] {
        assert!(matches!(seen(nobodys, ours()), Sight::Unclear(_)));
    }
    // Without headers, or if its events can't be read any more.
    for unknown in [bare(), Batch::unreadable(Stamp::Event, 4)] {
        for (nobodys, identity) in
            [(window(&[1, 2, 3, 4]), ID), (bare(), ID), (bare(), other), (bare(), none)]
        {
            let sight = seen(as_stored(&nobodys, 4, identity), unknown.clone());
            assert_eq!(matches!(sight, Sight::Unclear(_)), identity == ID, "{sight:?}");
            assert!(!matches!(sight, Sight::Found(_)), "{sight:?}");
        }
    }
}

#[test]
fn how_far_an_answer_reaches_is_known_and_in_a_topic_made_anew_nothing_beside_the_window_is_looked_for() {
    let next = Identity { base_sequence: 44, ..ID };
    let bytes = || [stored(&[1, 2, 3, 4], 4, ID), sent(&[7, 9, 8, 6, 5], next)].concat();
    let (_, known) = look_by(bytes(), ID, None);
    assert_eq!((known.event.map(|event| event.seq), known.upto), (Some(Seq(9)), 105));
    let (_, anew) = look_by(bytes(), ID, Some(window(&[1, 2, 3, 4])));
    assert_eq!((anew.event, anew.upto), (None, i64::MAX));
}
