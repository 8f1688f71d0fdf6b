//! The journal on a disk that loses power at every moment, fails at every call, and rots.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use rustix::io::Errno;

use super::*;
use crate::disk::faulty::{Faulty, Op};
use crate::disk::sim::{Fault, Lasting, SimFs};
use crate::ids::{DestinationName, LaneName, RunId, Seq, SpoolId, TopicName};
use crate::sabotage::{Bug, Sabotage};
use crate::state::positions::{Apart, Bits, Counter, Keys, Partial, Positions, Side, TopicCounters};

mod rot;

const SPOOL: SpoolId = SpoolId(7);
/// Small files: two or three windows fill one.
const SIZE: usize = 4096;
/// Power cuts tried at one moment.
const CUTS: u64 = 64;

pub(in super::super) fn intent(partition: i32, block: u64, bits: &[bool]) -> Intent {
    let mut events = Bits::new(u32::try_from(bits.len()).unwrap());
    (0u32..).zip(bits).filter(|(_, set)| **set).for_each(|(i, _)| events.set_all(i..i + 1));
    Intent {
        cluster_id: "fThFZjHRTJmzRTXqaAoMdA".to_owned(),
        topic: TopicName::new("orders").unwrap(),
        topic_id: [3; 16],
        partition,
        producer_id: 4000,
        epoch: 1,
        base_sequence: 77,
        before: Before::Appended,
        acked_offset: 12,
        counter: Counter { epoch: 9, next: block },
        by_time_of_sending: false,
        sent_at: 1_700_000_000_000,
        shares: vec![Share { block: Seq(block), run: RunId(5), events }],
    }
}

/// With a data directory.
fn disk() -> SimFs {
    let fs = SimFs::default();
    crate::disk::Fs::create_dir(&fs, Path::new("/data")).unwrap();
    fs
}

fn open(fs: &SimFs) -> (Journal<SimFs>, Found) {
    let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    Journal::open_sized(fs, Path::new("/data"), SPOOL, &lane, &home, SIZE)
}

/// What a worker does: appends one intent after the other, and begins anew where there is no room. Returns, by the
/// number of calls the disk had seen when it was promised, the block of the last intent that is durable.
fn work(fs: &SimFs, count: u64) -> Vec<(u64, u64)> {
    let (mut journal, found) = open(fs);
    let mut last = found.intents.last().map_or(0, |i| i.shares[0].block.0);
    let mut promised = Vec::new();
    for _ in 0..count {
        let every_other: Vec<bool> = (0..3000).map(|i| i % 2 == last % 2).collect();
        let next = intent(0, last + 1, &every_other);
        let done = match journal.append([&next]) {
            Err(_) => journal.begin([&next]),
            done => done,
        };
        if done.is_ok() {
            last += 1;
            promised.push((fs.calls(), last));
        }
    }
    promised
}

fn last_found(fs: &SimFs) -> (u64, bool) {
    let (_, found) = open(fs);
    (found.intents.last().map_or(0, |i| i.shares[0].block.0), found.damaged)
}

/// Power cuts at every moment: how many, or what was promised and is not there.
fn power_cuts() -> Result<u32, String> {
    let fs = disk();
    fs.record();
    let promised = work(&fs, 40);
    assert_eq!(promised.len(), 40);
    let mut tried = 0;
    for moment in fs.moments() {
        let due =
            promised.iter().rev().find(|(calls, _)| *calls <= moment.calls).map_or(0, |(_, last)| *last);
        for choices in moment.world.cuts(CUTS) {
            let (found, damaged) = last_found(&SimFs::of(moment.world.after_power_cut(&choices)));
            if found != due && found != due + 1 {
                return Err(format!("{found} instead of {due} before {:?}", moment.before));
            }
            assert!(!damaged, "a power cut is no damage, before {:?}", moment.before);
            tried += 1;
        }
    }
    Ok(tried)
}

#[test]
fn what_was_promised_is_there_after_a_power_cut_at_any_moment() {
    let tried = power_cuts().unwrap();
    assert!(tried > 200, "{tried}");
}

#[test]
fn control_a_journal_that_is_not_synced_is_caught_by_a_power_cut() {
    let _wrong = Sabotage::begin(Bug::JournalUnsynced);
    let caught = power_cuts().unwrap_err();
    assert!(caught.contains(" instead of "), "{caught}");
}

#[test]
fn a_journal_that_is_written_after_the_promise_is_caught() {
    // The control of the test above: promised one call early, it does not hold.
    let fs = disk();
    fs.record();
    let promised = work(&fs, 10);
    let early =
        |calls: u64| promised.iter().rev().find(|(at, _)| at - 1 <= calls).map_or(0, |(_, last)| *last);
    let broken = fs.moments().iter().any(|moment| {
        let mut cuts = moment.world.cuts(CUTS);
        cuts.any(|cut| last_found(&SimFs::of(moment.world.after_power_cut(&cut))).0 < early(moment.calls))
    });
    assert!(broken);
}

#[test]
fn a_disk_that_fails_at_any_call_costs_no_promise_and_the_journal_goes_on() {
    let (first, calls) = {
        let fs = disk();
        let first = fs.calls() + 1;
        work(&fs, 12);
        (first, fs.calls())
    };
    for at in first..=calls {
        for (errno, lasting) in
            [(Errno::IO, Lasting::Once), (Errno::NOSPC, Lasting::Once), (Errno::IO, Lasting::UntilRepaired)]
        {
            let fs = disk();
            fs.break_at(Fault { at, errno, lasting });
            let promised = work(&fs, 12).last().map_or(0, |(_, last)| *last);
            fs.repair();
            let world = fs.world();
            for choices in world.cuts(CUTS) {
                let fs = SimFs::of(world.after_power_cut(&choices));
                let (found, _) = last_found(&fs);
                assert!(
                    found >= promised,
                    "{found} instead of {promised}: {errno:?} {lasting:?} at call {at}"
                );
                let more = work(&fs, 3);
                assert_eq!(more.len(), 3, "it goes on: {errno:?} {lasting:?} at call {at}");
            }
        }
    }
}

#[test]
fn no_flipped_bit_and_no_length_makes_it_give_what_was_not_written() {
    let fs = disk();
    work(&fs, 5);
    let path = Path::new("/data/journal/main/home.1");
    let bytes = fs.world().read(path).unwrap();
    let whole = open(&fs).1.intents;
    let used = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    for bit in 0..used * 8 {
        let mut rotten = bytes.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        let fs = SimFs::of(fs.world());
        fs.tamper(|world| world.rot(path, rotten)).unwrap();
        let found = open(&fs).1;
        assert!(rot::are_some_of(&found.intents, &whole), "bit {bit}");
        assert_eq!(work(&fs, 1).len(), 1);
    }
    for len in 0..used {
        let fs = SimFs::of(fs.world());
        fs.tamper(|world| world.rot(path, bytes[..len].to_vec())).unwrap();
        assert!(whole.starts_with(&open(&fs).1.intents), "cut at {len}");
    }
}

#[test]
fn a_journal_of_another_spool_is_not_read() {
    let fs = disk();
    // Both files are in use.
    work(&fs, 30);
    let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    let (_, found) = Journal::open_sized(&fs, Path::new("/data"), SpoolId(8), &lane, &home, SIZE);
    assert_eq!(found, Found { damaged: true, was_here: true, ..Found::default() });
}

#[test]
fn what_does_not_fit_is_refused_and_the_journal_stands() {
    let fs = disk();
    let (mut journal, _) = open(&fs);
    let small = intent(0, 1, &[true]);
    journal.begin([&small]).unwrap();
    let many: Vec<Intent> = (0..200).map(|p| intent(p, 5, &[true])).collect();
    assert!(matches!(journal.append(&many), Err(JournalError::Full)));
    assert!(matches!(journal.begin(&many), Err(JournalError::TooLarge { .. })));
    assert_eq!(open(&fs).1.intents, [small]);
}

fn any_intent() -> impl Strategy<Value = Intent> {
    let share = (1u64..1000, prop::collection::vec(any::<bool>(), 1..200));
    let shares = prop::collection::vec(share, 0..4);
    (0i32..3, shares, any::<i64>(), 0u8..3, any::<bool>()).prop_map(
        |(partition, shares, number, before, late)| {
            let shares = shares.into_iter().flat_map(|(block, bits)| intent(partition, block, &bits).shares);
            Intent {
                producer_id: number,
                acked_offset: number.wrapping_mul(3),
                before: [Before::Nothing, Before::Appended, Before::Withdrawn][usize::from(before)],
                by_time_of_sending: late,
                shares: shares.collect(),
                ..intent(partition, 1, &[true])
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(intents in prop::collection::vec(any_intent(), 0..6)) {
        let mut bytes = Vec::new();
        for intent in &intents {
            let before = bytes.len();
            codec::put(&mut bytes, intent);
            prop_assert!(bytes.len() - before <= intent.size());
        }
        prop_assert_eq!(codec::take_all(&bytes), Some(intents));
    }

    #[test]
    fn hostile_bytes_are_no_intents_and_take_no_memory(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = codec::take_all(&bytes);
    }
}

fn positions() -> Positions {
    Positions { position: Seq(10), ..Positions::fresh(SPOOL, Seq(1)) }
}

/// What is reckoned decides whether more is sent.
#[test]
fn an_intent_takes_as_many_bytes_as_are_reckoned_where_each_event_has_its_bit() {
    let every_other: Vec<bool> = (0..100).map(|i| i % 2 == 0).collect();
    let mut many = intent(0, 1, &every_other);
    many.shares.extend(intent(0, 1000, &every_other[..67]).shares);
    let mut bytes = Vec::new();
    codec::put(&mut bytes, &many);
    assert_eq!(bytes.len(), many.size());
    // A stretch of a short block takes more than a bit for each of its events.
    let (short, mut bytes) = (intent(0, 1, &[false, true]), Vec::new());
    codec::put(&mut bytes, &short);
    assert_eq!(bytes.len(), short.size());
}

#[test]
fn an_intent_that_follows_another_says_that_it_arrived() {
    let mut positions = positions();
    let first = intent(0, 10, &[true, false, true]);
    let counter = Counter { epoch: 9, next: 12 };
    let second = Intent { counter, base_sequence: 79, ..intent(0, 10, &[false, true, false]) };
    let doubtful = fold(&mut positions, vec![first, second.clone()]);
    assert_eq!(doubtful, [second]);
    let settled = Bits::from_words(3, [0b101]);
    assert_eq!(positions.partial, [Partial { settled, ..Partial::new(Seq(10), 3) }]);
    let partitions = BTreeMap::from([(0, Counter { epoch: 9, next: 12 })]);
    let topic = TopicName::new("orders").unwrap();
    let newest = BTreeMap::from([(0, Seq(12))]);
    assert_eq!(positions.counters, [TopicCounters { topic, id: [3; 16], partitions, newest }]);
}

#[test]
fn an_intent_that_was_withdrawn_is_neither_settled_nor_in_doubt() {
    let mut positions = positions();
    let first = intent(0, 10, &[true, true]);
    let second =
        Intent { before: Before::Withdrawn, epoch: 2, base_sequence: 0, ..intent(0, 10, &[true, false]) };
    assert_eq!(fold(&mut positions, vec![first, second.clone()]), [second]);
    assert_eq!((positions.partial.len(), positions.counters.len()), (0, 0));
}

#[test]
fn what_the_positions_know_as_settled_is_not_in_doubt() {
    let mut below = positions();
    assert_eq!(fold(&mut below, vec![intent(0, 7, &[true, true, true])]), []);
    let mut partly = positions();
    partly.partial = vec![Partial { settled: Bits::from_words(3, [0b011]), ..Partial::new(Seq(10), 3) }];
    assert_eq!(fold(&mut partly.clone(), vec![intent(0, 10, &[true, true, false])]), []);
    assert_eq!(fold(&mut partly, vec![intent(0, 10, &[false, true, true])]).len(), 1);
}

fn side() -> Side {
    Side {
        topic: TopicName::new("orders").unwrap(),
        from: Seq(5),
        position: Seq(20),
        end: None,
        waiting: 1,
        since: 0,
        dropped: false,
        missing_for: 0,
        streams: Vec::new(),
        apart: Vec::new(),
    }
}

/// Positions by which partition 2 of the topic has a reader of its own.
fn with_partition_2_apart() -> Positions {
    let keys = Keys { partition: 2, count: 3, by: 0, extras: Vec::new() };
    let (from, position, end) = (Seq(5), Seq(30), None);
    let apart =
        Apart { keys, from, position, end, waiting: 0, since: 0, dropped: false, partial: Vec::new() };
    Positions { sides: vec![Side { apart: vec![apart], ..side() }], ..positions() }
}

#[test]
fn a_window_of_a_partition_that_is_set_apart_is_measured_by_that_partitions_reader() {
    let positions = with_partition_2_apart();
    assert_eq!(fold(&mut positions.clone(), vec![intent(2, 25, &[true])]), [], "it is past it");
    assert_eq!(
        fold(&mut positions.clone(), vec![intent(1, 25, &[true])]).len(),
        1,
        "it has no part in others"
    );
    assert_eq!(fold(&mut positions.clone(), vec![intent(2, 30, &[true])]).len(), 1);
    let known = Partial { settled: Bits::from_words(2, [0b01]), ..Partial::new(Seq(30), 2) };
    let of_topic = Partial { settled: Bits::from_words(2, [0b10]), ..known };
    let mut both = Positions { partial: vec![of_topic], ..positions };
    both.sides[0].apart[0].partial = vec![known];
    assert_eq!(fold(&mut both, vec![intent(2, 30, &[true, true])]), [], "some of it is the topic's");
}

#[test]
fn what_another_partition_is_proved_to_have_taken_is_told_to_the_reader_of_one_that_is_set_apart() {
    let mut positions = with_partition_2_apart();
    let first = intent(3, 40, &[true, true]);
    let counter = Counter { next: first.counter.next + 2, ..first.counter };
    let second = Intent { counter, base_sequence: 79, ..intent(3, 50, &[true]) };
    assert_eq!(fold(&mut positions, vec![first, second.clone()]), [second]);
    let known = Partial { settled: Bits::full(2), ..Partial::new(Seq(40), 2) };
    assert_eq!(positions.sides[0].apart[0].partial, [known]);
}

#[test]
fn a_topic_that_waits_is_measured_by_its_own_reader() {
    let mut positions = positions();
    positions.position = Seq(100);
    positions.sides = vec![side()];
    assert_eq!(fold(&mut positions.clone(), vec![intent(0, 10, &[true])]), [], "its reader is past it");
    assert_eq!(
        fold(&mut positions.clone(), vec![intent(0, 40, &[true])]).len(),
        1,
        "the main reader's position is not its own"
    );
    assert_eq!(
        fold(&mut positions, vec![intent(0, 4, &[true])]),
        [],
        "before its beginning the main reader counts"
    );
}

#[test]
fn a_window_that_the_counter_of_its_partition_is_past_is_not_in_doubt_whoever_reads_its_events() {
    let mut positions = positions();
    let window = intent(0, 20, &[true, true]);
    let next = Counter { next: window.counter.next + 2, ..window.counter };
    for (saved, doubtful) in
        [(next, 0), (Counter { next: next.next - 1, ..next }, 1), (Counter { epoch: 8, ..next }, 1)]
    {
        positions.counters = vec![TopicCounters {
            partitions: [(0, saved)].into(),
            ..TopicCounters::none(window.topic.clone(), [3; 16])
        }];
        assert_eq!(fold(&mut positions.clone(), vec![window.clone()]).len(), doubtful, "{saved:?}");
    }
}

#[test]
fn once_its_files_are_made_no_byte_has_to_be_free() {
    let fs = disk();
    open(&fs).0.prepare().unwrap();
    fs.tamper(|world| world.fill_up_to(0));
    assert_eq!(work(&fs, 40).len(), 40);
    assert_eq!(last_found(&fs).0, 40);
}

#[test]
fn an_intent_that_is_written_a_second_time_is_still_in_doubt() {
    let mut positions = positions();
    let intent = intent(0, 10, &[true, true]);
    assert_eq!(fold(&mut positions, vec![intent.clone(), intent.clone()]), [intent]);
    assert_eq!(positions.partial, []);
}

#[test]
fn a_journal_that_is_kept_no_more_says_nothing_later() {
    let fs = disk();
    assert_eq!(work(&fs, 30).len(), 30);
    open(&fs).0.discard().unwrap();
    let world = fs.world();
    for choices in world.cuts(CUTS) {
        let found = open(&SimFs::of(world.after_power_cut(&choices))).1;
        assert_eq!((found.intents, found.damaged), (Vec::new(), false));
    }
    assert!(open(&fs).1.was_here, "that there was one is known");
    open(&fs).0.discard().unwrap();
    assert_eq!(work(&fs, 2).len(), 2, "it can be begun again");
}

/// Found by an audit: the destination counted as new where its positions were gone too.
#[test]
fn where_what_nobody_may_believe_is_set_aside_it_is_known_that_there_was_a_journal() {
    let (dir, fs) = (tempfile::tempdir().unwrap(), Faulty::new());
    let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    let open = || Journal::open_sized(&fs, dir.path(), SPOOL, &lane, &home, SIZE);
    open().0.begin([&intent(0, 10, &[true])]).unwrap();
    let mut journal = open().0;
    fs.fail_next(Op::Write, u64::MAX);
    journal.forget().unwrap();
    assert_eq!(open().1, Found { was_here: true, ..Found::default() });
    fs.fail_next(Op::Create, u64::MAX);
    assert!(open().0.forget().is_err(), "where that can't be left");
    [Op::Create, Op::Write].iter().for_each(|op| fs.fail_next(*op, 0));
    let said = intent(0, 11, &[true]);
    journal.begin([&said]).unwrap();
    assert_eq!(open().1.intents, [said]);
}

/// Found by a mutant: without the sync of its name, what nobody may believe came back with a power cut.
#[test]
fn a_journal_that_is_forgotten_is_forgotten_for_good_or_that_is_an_error() {
    let fs = disk();
    work(&fs, 30);
    let mut journal = open(&fs).0;
    // It can't be written over.
    fs.break_at(Fault { at: fs.calls(), errno: Errno::IO, lasting: Lasting::Once });
    journal.forget().unwrap();
    assert_eq!(fs.repair().len(), 1);
    for choices in fs.world().cuts(CUTS) {
        let found = open(&SimFs::of(fs.world().after_power_cut(&choices))).1;
        assert_eq!(found.intents, [], "{choices:?}");
    }
    let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    let mut names = Vec::new();
    for fails in [false, true] {
        let (faulty, dir) = (Faulty::new(), tempfile::tempdir().unwrap());
        let open = || Journal::open_sized(&faulty, dir.path(), SPOOL, &lane, &home, SIZE);
        open().0.begin([&intent(0, 1, &[true])]).unwrap();
        let (mut journal, before) = (open().0, faulty.count(Op::SyncDir));
        faulty.fail_next(Op::Write, 1);
        if let (true, Some(last)) = (fails, names.last()) {
            faulty.fail_later(Op::SyncDir, last - 1, 1);
        }
        assert_eq!(journal.forget().is_err(), fails);
        names.push(faulty.count(Op::SyncDir) - before);
    }
    assert!(names[0] == names[1] && names[0] > 0, "{names:?}");
}

#[test]
fn what_stands_in_its_way_or_can_not_be_read_does_not_keep_it_from_opening() {
    for other in [false, true] {
        let fs = disk();
        work(&fs, 30);
        for path in ["/data/journal/main/home.0", "/data/journal/main/home.1"] {
            fs.tamper(|world| world.obstruct(Path::new(path), other)).unwrap();
        }
        assert_eq!(open(&fs).1, Found { damaged: true, was_here: true, ..Found::default() });
        assert_eq!(work(&fs, 30).len(), 30, "what stood there is set aside");
    }
}

#[test]
fn without_producer_ids_a_window_is_told_from_the_one_before_it_by_its_events() {
    let mut positions = positions();
    let unnamed =
        |bits: &[bool]| Intent { producer_id: -1, epoch: -1, base_sequence: -1, ..intent(0, 10, bits) };
    let first = unnamed(&[true, false]);
    let second = Intent { counter: Counter { epoch: 9, next: 11 }, ..unnamed(&[false, true]) };
    let written = vec![first.clone(), first, second.clone(), second.clone()];
    assert_eq!(fold(&mut positions, written), [second]);
    assert_eq!(
        positions.partial,
        [Partial { settled: Bits::from_words(2, [0b01]), ..Partial::new(Seq(10), 2) }]
    );
}

#[test]
fn windows_behind_a_header_that_can_not_be_read_are_not_those_of_the_generation_that_gets_its_number() {
    let fs = disk();
    let (mut journal, _) = open(&fs);
    journal.begin([]).unwrap();
    journal.append([&intent(0, 1, &[true])]).unwrap();
    let path = Path::new("/data/journal/main/home.1");
    let mut bytes = fs.world().read(path).unwrap();
    bytes[12] ^= 1;
    fs.tamper(|world| world.rot(path, bytes)).unwrap();
    let (mut journal, found) = open(&fs);
    assert_eq!((found.intents.len(), found.damaged), (1, true));
    journal.begin([]).unwrap();
    assert_eq!(open(&fs).1, Found { was_here: true, ..Found::default() });
}

#[test]
fn nothing_is_appended_to_a_generation_beside_which_another_may_stand_already() {
    let fs = disk();
    let (mut journal, _) = open(&fs);
    journal.prepare().unwrap();
    journal.begin([]).unwrap();
    // Its last call is the sync of what it wrote.
    let before = fs.calls();
    journal.begin([]).unwrap();
    let at = 2 * fs.calls() - before - 1;
    fs.break_at(Fault { at, errno: Errno::IO, lasting: Lasting::Once });
    assert!(matches!(journal.begin([]), Err(JournalError::Disk(_))));
    assert!(matches!(journal.append([&intent(0, 1, &[true])]), Err(JournalError::Full)));
    journal.begin([&intent(0, 1, &[true])]).unwrap();
    assert_eq!(open(&fs).1.intents.len(), 1);
}
