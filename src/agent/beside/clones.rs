//! A data directory that is not what it was: what is recognised, what is not, and that no new event is ever taken
//! for an old one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::world::{Agent, Base, Record, World, config, copy};
use crate::agent::older::OlderCopy;
use crate::disk::RealFs;
use crate::ids::{Incarnation, RunId, Seq};
use crate::kafka::{Counter, RecordHeader};
use crate::metrics::Metrics;
use crate::sabotage::{Bug, Sabotage};
use crate::spool::{Cause, DataDir, Host, Life, Stamp, SystemHost};

/// Opens and closes a directory, on a machine of that name.
fn opened(dir: &Path, machine: Option<&str>) -> Life {
    let host = Machine(machine.map(str::to_owned));
    DataDir::open_on(RealFs, dir, Arc::new(host)).unwrap().life()
}

#[derive(Debug)]
struct Machine(Option<String>);

impl Host for Machine {
    fn now(&self) -> Stamp {
        // A boot of its own each time, as after a reboot.
        Stamp { boot: getrandom::u64().unwrap(), ..SystemHost::new().now() }
    }
    fn random(&self) -> std::io::Result<u64> {
        SystemHost::new().random()
    }
    fn machine(&self) -> Option<String> {
        self.0.clone()
    }
}

#[test]
fn a_restart_a_reboot_a_new_name_and_a_container_made_anew_give_no_alarm() {
    let world = World::new();
    let dir = world.place();
    let first = opened(&dir, Some("a"));
    assert_eq!(first.cause, Cause::New);
    assert_eq!(opened(&dir, Some("a")), first, "a restart, a reboot");
    let renamed = world.place();
    std::fs::rename(&dir, &renamed).unwrap();
    assert_eq!(opened(&renamed, Some("a")), first);
    assert_eq!(opened(&renamed, None), first, "a container: its machine's id means nothing");
    assert_eq!(opened(&renamed, None), first);
    assert_eq!(opened(&renamed, Some("b")).cause, Cause::OtherHost, "what it was before is not forgotten");
}

#[test]
fn a_directory_of_a_version_without_the_file_goes_on_under_its_identity() {
    let world = World::new();
    let dir = world.place();
    opened(&dir, Some("a"));
    std::fs::remove_file(dir.join("incarnation")).unwrap();
    let format = "spoolway data directory\nspool 0123456789abcdef\ncompat 0000000000000000\n\
                  read-only 0000000000000000\nincompat 0000000000000000\ncrc 1d887261\n";
    std::fs::write(dir.join("FORMAT"), format).unwrap();
    let life = opened(&dir, Some("a"));
    assert_eq!((life.incarnation.to_string().as_str(), life.cause), ("0123456789abcdef", Cause::New));
    assert_eq!(opened(&dir, Some("a")), life);
    std::fs::remove_file(dir.join("incarnation")).unwrap();
    let lost = opened(&dir, Some("a"));
    assert_eq!(lost.cause, Cause::Unmarked, "from then on it is missed");
    assert_ne!(lost.incarnation, life.incarnation);
    assert_eq!(opened(&dir, Some("a")), lost, "said once");
}

#[test]
fn a_copy_is_recognised_beside_the_original_in_its_place_and_on_another_machine() {
    let world = World::new();
    let dir = world.place();
    let life = opened(&dir, Some("a"));
    let (beside, backup) = (world.copy(&dir), world.copy(&dir));
    let cloned = opened(&beside, Some("a"));
    assert_eq!(cloned.cause, Cause::Copied);
    assert_ne!(cloned.incarnation, life.incarnation);
    assert_eq!(opened(&beside, Some("a")), cloned, "the clone goes on as itself");
    assert_eq!(opened(&dir, Some("a")), life, "and so does the original");
    assert_eq!(opened(&world.copy(&backup), Some("b")).cause, Cause::Copied);
    std::fs::remove_dir_all(&dir).unwrap();
    copy(&backup, &dir);
    let restored = opened(&dir, Some("a"));
    assert_eq!(restored.cause, Cause::Copied, "an older copy in place of the newer");
    assert!(restored.incarnation != life.incarnation && restored.incarnation != cloned.incarnation);
}

#[test]
fn a_disk_on_another_machine_is_recognised() {
    let world = World::new();
    let dir = world.place();
    let life = opened(&dir, Some("a"));
    let other = opened(&dir, Some("b"));
    assert_eq!(other.cause, Cause::OtherHost);
    assert_ne!(other.incarnation, life.incarnation);
    assert_eq!(opened(&dir, Some("b")), other);
}

#[test]
fn the_machines_id_is_not_kept_in_clear() {
    let world = World::new();
    let dir = world.place();
    let id = "0123456789abcdef0123456789abcdef";
    opened(&dir, Some(id));
    let kept = std::fs::read(dir.join("incarnation")).unwrap();
    let bytes = [0x01u8, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
    assert!(!kept.windows(8).any(|w| w == &id.as_bytes()[..8] || w == bytes));
}

/// Puts `part` of `from` in the place of that of `dir`, as a person does: delete, then copy.
fn put_back(dir: &Path, from: &Path, part: &str) {
    std::fs::remove_dir_all(dir.join(part)).unwrap();
    copy(&from.join(part), &dir.join(part));
}

#[test]
fn a_log_that_was_put_back_under_its_positions_is_recognised_and_said_once() {
    let base = Base::live();
    let topic = base.world.topic();
    put_back(&base.late, &base.early, "lanes");
    let agent = base.world.start(&base.late, &topic).unwrap();
    let life = agent.stand.data.life();
    assert_eq!(life.cause, Cause::RolledBack);
    assert_ne!(life.incarnation.0, agent.stand.data.spool_id().0);
    agent.accept(1000..1010);
    let account = agent.drain();
    agent.stop();
    let high = |(_, header): &Record| u64::from(header.incarnation) << 32;
    assert!(topic.records().iter().all(|r| high(r) == life.incarnation.0 >> 32 << 32), "records say so");
    assert!((1000..1010).all(|n| topic.copies()[&n] == 1));
    let agent = base.world.start(&base.late, &topic).unwrap();
    assert_eq!(agent.stand.data.life(), life);
    agent.drain();
    agent.stop();
    let on_disk = 201 - account.since_seq.0;
    let sent = topic.copies().values().map(|n| u64::from(*n)).sum::<u64>();
    assert_eq!(sent, on_disk + 10, "sent again once, not at each start");
}

#[test]
fn a_log_that_is_gone_is_recognised() {
    let base = Base::live();
    std::fs::remove_dir_all(base.late.join("lanes")).unwrap();
    let topic = base.world.topic();
    let agent = base.world.start(&base.late, &topic).unwrap();
    assert_eq!(agent.stand.data.life().cause, Cause::RolledBack);
    agent.accept(1000..1010);
    agent.drain();
    agent.stop();
    assert!((1000..1010).all(|n| topic.copies()[&n] == 1));
}

/// Event numbers by the identity that their records carry. Panics if two events have one identity.
fn identities<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeMap<(u32, Seq), u64> {
    let mut known = BTreeMap::new();
    for (number, header) in records {
        let before = known.insert((header.run, header.seq), *number);
        assert!(before.is_none_or(|b| b == *number), "events {before:?} and {number} are one");
    }
    known
}

fn works(agent: &Agent<'_>, numbers: std::ops::Range<u64>) {
    agent.accept(numbers);
    agent.drain();
}

#[test]
fn a_clone_and_its_original_give_out_the_same_numbers_under_other_runs_and_incarnations() {
    let base = Base::live();
    let clone = base.world.copy(&base.late);
    let (ours, theirs) = (base.world.topic(), base.world.topic());
    let first = base.world.start(&base.late, &ours).unwrap();
    let second = base.world.start(&clone, &theirs).unwrap();
    works(&first, 1000..1100);
    works(&second, 2000..2100);
    assert_ne!(first.stand.data.life().incarnation, second.stand.data.life().incarnation);
    assert_eq!(first.stand.data.spool_id(), second.stand.data.spool_id());
    first.stop();
    second.stop();
    let (ours, theirs) = (ours.records(), theirs.records());
    let known = identities(ours.iter().chain(&theirs));
    assert_eq!(known.len(), 100 + 2 * 100, "what was pending is the same events, what is new is not");
    let numbers = |new: std::ops::RangeInclusive<u64>| -> BTreeSet<Seq> {
        known.iter().filter(|(_, n)| new.contains(n)).map(|((_, seq), _)| *seq).collect()
    };
    assert_eq!(numbers(1000..=1099), numbers(2000..=2099), "the same numbers were given out");
    let lives: BTreeSet<u32> = ours.iter().chain(&theirs).map(|(_, h)| h.incarnation).collect();
    assert_eq!(lives.len(), 2);
    // A window that both have in doubt is the same one, numbers and all.
    let new = |of: &[Record]| of.iter().filter(|(number, _)| *number >= 1000).copied().collect::<Vec<_>>();
    let epochs = |of: &[Record]| new(of).iter().map(|(_, h)| h.counter.epoch).collect::<BTreeSet<_>>();
    assert!(epochs(&ours).is_disjoint(&epochs(&theirs)), "a clone counts for itself");
}

#[test]
fn an_older_state_that_is_not_recognised_still_gives_no_event_the_identity_of_another() {
    let known = put_back_unrecognised();
    assert_eq!(known.len(), 300);
    let seqs = |of: std::ops::Range<u64>| -> BTreeSet<Seq> {
        known.iter().filter(|(_, n)| of.contains(n)).map(|((_, seq), _)| *seq).collect()
    };
    assert_eq!(seqs(1000..1100), seqs(2000..2100), "the same numbers, under another run");
}

#[test]
#[should_panic(expected = "are one")]
fn control_runs_that_are_not_drawn_anew_are_caught() {
    let _sabotage = Sabotage::begin(Bug::NumbersTwiceUnderOneRun);
    put_back_unrecognised();
}

/// Older bytes into the files that are there, as a snapshot's come back: neither births nor machine tell.
fn roll_back(dir: &Path, backup: &Path) {
    let segments = |of: &Path| -> BTreeSet<_> {
        std::fs::read_dir(of.join("lanes/main")).unwrap().map(|e| e.unwrap().file_name()).collect()
    };
    for newer in segments(dir).difference(&segments(backup)) {
        std::fs::remove_file(dir.join("lanes/main").join(newer)).unwrap();
    }
    copy(backup, dir);
}

/// An agent that has written a window down and not saved that it arrived; it goes on or not, ends, and `put_back` is done with the directory and
/// what it was at that moment. Why the incarnation was drawn, once it was started on that twice.
fn left_in_doubt(goes_on: bool, put_back: impl Fn(&Path, &Path)) -> Cause {
    let world = World::new();
    let (dir, topic) = (world.place(), world.topic());
    let agent = world.start(&dir, &topic).unwrap();
    works(&agent, 0..100);
    let before = world.copy(&dir);
    works(&agent, 100..110);
    let snapshot = world.copy(&dir);
    // Of one moment: positions that were saved and not synced are not in it, what was written down to be sent is.
    copy(&before.join("readers"), &snapshot.join("readers"));
    if goes_on {
        works(&agent, 110..200);
    }
    agent.stop();
    put_back(&dir, &snapshot);
    let agent = world.start(&dir, &topic).unwrap();
    let life = agent.stand.data.life();
    assert_eq!(life.cause, Cause::New, "its files do not tell");
    // What is in doubt was looked for by then.
    works(&agent, 1000..1100);
    let is_said = agent.stand.older.note().is_some();
    agent.await_notes(usize::from(is_said));
    assert_eq!(agent.stand.data.life(), life, "what is sent now is counted under it");
    agent.stop();
    let agent = world.start(&dir, &topic).unwrap();
    let cause = agent.stand.data.life().cause;
    assert_eq!(is_said, cause != Cause::New);
    works(&agent, 1100..1200);
    assert_eq!((agent.stand.older.note(), agent.notes()), (None, vec![]), "once");
    agent.stop();
    let records = topic.records();
    identities(records.iter());
    let copies = topic.copies();
    let last = if goes_on { 200 } else { 110 };
    assert!((0..last).chain(1000..1200).all(|n| copies.contains_key(&n)));
    assert!((100..110).chain(1000..1200).all(|n| copies[&n] == 1), "{copies:?}");
    cause
}

#[test]
fn a_snapshot_of_a_running_agent_that_is_put_back_is_recognised_by_what_its_topic_holds() {
    assert_eq!(left_in_doubt(true, roll_back), Cause::RolledBack);
}

#[test]
fn a_snapshot_after_which_nothing_was_sent_is_what_a_kill_leaves() {
    assert_eq!(left_in_doubt(false, roll_back), Cause::New);
}

/// The log has all that was sent: the disk took neither journal nor positions for a while, and windows went without it.
#[test]
fn a_journal_that_could_not_be_written_while_events_were_sent_is_not_taken_for_an_older_copy() {
    let journal_only = |dir: &Path, snapshot: &Path| {
        for part in ["journal", "readers"] {
            copy(&snapshot.join(part), &dir.join(part));
        }
    };
    assert_eq!(left_in_doubt(true, journal_only), Cause::New);
}

#[test]
fn an_event_of_another_incarnation_or_under_a_header_that_is_not_ours_shows_nothing() {
    let world = World::new();
    let (dir, topic) = (world.place(), world.topic());
    let agent = world.start(&dir, &topic).unwrap();
    works(&agent, 0..10);
    let lane = &agent.stand.lanes.iter().next().unwrap().lane;
    let (life, own) = (agent.stand.data.life().incarnation, lane.run());
    let says = |header: bool, life, run, seq| {
        let (older, metrics) = (OlderCopy::default(), Metrics::new());
        let mut destination = config(&dir, &topic, "").destinations.remove(0);
        destination.header = header;
        let judge = older.judge(&agent.stand.data, lane, &destination, &metrics);
        let is_later = judge(&RecordHeader::new(life, run, Seq(seq), 0, Counter::default()));
        assert_eq!((older.note().is_some(), metrics.incarnation_changed.get() > 0), (is_later, is_later));
        is_later
    };
    let (other, foreign) = (Incarnation(!life.0), RunId(!own.0));
    assert!(
        says(true, life, foreign, 11) && says(true, life, foreign, 10),
        "the first process on it, which ended with none"
    );
    assert!(!says(true, life, own, 10), "its own");
    assert!(!says(true, other, foreign, 11));
    assert!(!says(false, life, foreign, 11));
    agent.stop();
}

/// What the topic holds, by identity, after the directory went back to an earlier state unseen.
fn put_back_unrecognised() -> BTreeMap<(u32, Seq), u64> {
    // Older bytes written into the files as they are: neither births nor machine tell, and all of it is of one
    // moment.
    let base = Base::live();
    let dir = base.world.place();
    std::fs::rename(&base.late, &dir).unwrap();
    let topic = base.world.topic();
    let agent = base.world.start(&dir, &topic).unwrap();
    agent.drain();
    agent.stop();
    let backup = base.world.copy(&dir);
    let agent = base.world.start(&dir, &topic).unwrap();
    works(&agent, 1000..1100);
    agent.stop();
    roll_back(&dir, &backup);
    let agent = base.world.start(&dir, &topic).unwrap();
    assert_eq!(agent.stand.data.life().cause, Cause::New, "as said: not recognised");
    assert_eq!(agent.notes(), Vec::<String>::new(), "nothing was in doubt");
    works(&agent, 2000..2100);
    agent.stop();
    let records = topic.records();
    identities(records.iter())
}
