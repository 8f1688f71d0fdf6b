//! A copy of everything that is durable, restored after its original has run on, or run beside it. What both hold may arrive
//! twice. What only one of them has accepted arrives once: it is never taken for something else, though it has the
//! same number.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::splitmix;
use super::exact;
use super::world::{SPOOL, World, check_order_of_keys};
use crate::ids::Seq;
use crate::sabotage::{Bug, Sabotage};
use crate::state::letters::Stored;

/// An event: its run as records have it, and its number.
type Identity = (u32, Seq);

/// Who goes on after the copy was made.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Story {
    /// The original runs on, and ends before the copy starts.
    Restored,
    /// Both run.
    Cloned,
}

impl World {
    /// What waits has arrived, and something new is on its way: what comes next will be others' in the copy.
    fn catch_up(&mut self) {
        for _ in 0..300 {
            self.tell_topology();
            self.pump();
            self.answer(false);
        }
        (0..3).for_each(|_| self.append());
        self.pump();
    }

    /// Another agent on what is durable of this one. It has not started.
    fn copied(&mut self) -> Self {
        if self.random(2) == 0 && self.book.as_ref().is_some_and(|book| book.begun) {
            let positions = self.engine.positions(SPOOL);
            self.book.as_mut().unwrap().positions = positions;
            self.letters.saved(self.engine.take_redone());
        }
        let mut copy = Self::new(splitmix(&mut self.random));
        copy.log = self.log.copied();
        copy.book.clone_from(&self.book);
        copy.letters = self.letters.clone();
        copy.condemned.clone_from(&self.condemned);
        (copy.start, copy.elapsed, copy.beside) = (self.start, self.elapsed, self.beside);
        // What is being written may be there already.
        if let Some(group) = self.away.as_ref().filter(|_| copy.random(2) == 0) {
            copy.book.as_mut().unwrap().intents.extend(group.intents().cloned());
        }
        copy
    }
}

fn run(world: &mut World, most: usize, kills: bool) {
    (0..world.random(most)).for_each(|_| world.step(kills, false));
}

/// The original and its copy, and the cluster with one of them, whose turn it is.
struct Pair {
    worlds: [World; 2],
    turn: usize,
}

impl Pair {
    /// An original that has run for a while, has been copied, and has run on.
    fn new(seed: u64) -> Self {
        let mut original = exact(seed);
        run(&mut original, 250, true);
        if original.random(2) == 0 {
            original.catch_up();
        }
        let copy = original.copied();
        // A process that lives goes on under the numbers that the copy ends with.
        let kills = original.random(2) == 0;
        run(&mut original, 100, kills);
        Self { worlds: [original, copy], turn: 0 }
    }

    fn of(&mut self, turn: usize) -> &mut World {
        let [original, copy] = &mut self.worlds;
        if turn != self.turn {
            std::mem::swap(&mut original.cluster, &mut copy.cluster);
            self.turn = turn;
        }
        if turn == 0 { original } else { copy }
    }

    fn tell(&mut self, story: Story) {
        if story == Story::Restored {
            self.of(0).kill();
        }
        let copy = self.of(1);
        let seed = splitmix(&mut copy.random);
        copy.start(seed);
        copy.tell_topology();
        let calm = copy.random(100);
        for step in 0..250 {
            let original = story == Story::Cloned && self.worlds[1].random(2) == 0;
            self.of(usize::from(!original)).step(step > calm, false);
        }
        self.of(1).drain();
        if story == Story::Cloned {
            self.of(0).drain();
        }
    }

    /// Those that have run to the end.
    fn living(&self, story: Story) -> &[World] {
        if story == Story::Restored { &self.worlds[1..] } else { &self.worlds }
    }

    fn check(&self, story: Story) {
        let mut arrived: BTreeMap<Identity, u64> = BTreeMap::new();
        let logs = &self.worlds[self.turn].cluster.logs;
        logs.values().flatten().for_each(|(h, _)| *arrived.entry((h.run, h.seq)).or_default() += 1);
        let held = self.worlds.each_ref().map(|world| world.log.identities());
        let both: BTreeSet<Identity> = held[0].intersection(&held[1]).copied().collect();
        let doubled: Vec<_> =
            arrived.iter().filter(|(event, n)| **n > 1 + u64::from(both.contains(*event))).collect();
        assert!(doubled.is_empty(), "doubled: {doubled:?}");
        for world in self.living(story) {
            world.check_copy(&arrived, &both);
            self.check_order(world);
        }
    }

    /// What was ever a dead letter has let others go before it.
    fn check_order(&self, world: &World) {
        let letters = self.worlds.iter().flat_map(|world| &world.letters.all).map(|s| s.letter.seq);
        let condemned = self.worlds.iter().flat_map(|world| world.condemned.iter().copied());
        let late: BTreeSet<Seq> = letters.chain(condemned).collect();
        let own = world.log.identities();
        for log in self.worlds[self.turn].cluster.logs.values() {
            let in_order =
                |h: &crate::kafka::RecordHeader| own.contains(&(h.run, h.seq)) && !late.contains(&h.seq);
            check_order_of_keys(log.iter().filter(|(h, _)| in_order(h)));
        }
    }
}

impl World {
    /// Everything that this one has accepted is in the topic, or one of its letters: once, if nobody else has it.
    fn check_copy(&self, arrived: &BTreeMap<Identity, u64>, both: &BTreeSet<Identity>) {
        let identity = |stored: &Stored| (super::log::high(stored.letter.run), stored.letter.seq);
        let letters: Vec<Identity> = self.letters.there().map(identity).collect();
        let times = |event: &Identity| {
            let letters = letters.iter().filter(|letter| *letter == event).count() as u64;
            letters + arrived.get(event).copied().unwrap_or_default()
        };
        let own = self.log.identities();
        let lost: Vec<_> = own.iter().filter(|event| times(event) == 0).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        let doubled: Vec<_> = own.difference(both).filter(|event| times(event) > 1).collect();
        assert!(doubled.is_empty(), "doubled, and new: {doubled:?}");
        let totals = self.engine.positions(SPOOL).totals;
        assert!(totals.sum() == own.len() as u64, "miscounted: {totals:?} of {}", own.len());
        assert!(totals.dead_lettered == letters.len() as u64, "miscounted: {totals:?}, letters {letters:?}");
    }
}

fn tell(seed: u64, story: Story) {
    let mut pair = Pair::new(seed);
    pair.tell(story);
    pair.check(story);
}

proptest! {
    #![proptest_config(super::cases(96))]

    #[test]
    fn a_copy_that_is_restored_and_run_on_takes_no_new_event_for_an_old_one(seed: u64) {
        tell(seed, Story::Restored);
    }

    #[test]
    fn a_clone_and_its_original_take_no_event_for_one_of_the_other(seed: u64) {
        tell(seed, Story::Cloned);
    }
}

/// The clone took, for a window that it had from the original, an epoch that the original took for another window: a broker answered
/// "duplicate", and that one had not arrived.
#[test]
fn a_clone_and_its_original_never_make_up_the_same_identity() {
    tell(7_963_249_434_814_243_730, Story::Cloned);
}

/// As `stories_at_length`.
#[test]
#[ignore = "as long as one wants"]
fn copies_at_length() {
    let mut failed = Vec::new();
    for seed in super::partitions::asked_for() {
        for story in [Story::Restored, Story::Cloned] {
            if std::panic::catch_unwind(|| tell(seed, story)).is_err() {
                failed.push((seed, story));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_next_sequence_that_is_taken_from_disk_is_caught_by_copies_and_by_nothing_else() {
    let _wrong = Sabotage::begin(Bug::NextSequenceFromDisk);
    (0..50).for_each(|seed| super::run_exactly(seed, 300, false));
    for story in [Story::Restored, Story::Cloned] {
        super::controls::assert_caught(&format!("{story:?}"), &["lost", "doubled"], 0..100, |seed| {
            tell(seed, story);
        });
    }
}
