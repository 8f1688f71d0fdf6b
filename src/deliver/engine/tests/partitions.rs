//! Single partitions that have no leader, or whose leader does not answer.

use std::time::Duration;

use proptest::prelude::*;

use super::play;
use super::world::{Control, SPOOL, World};
use crate::ids::TopicName;

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

impl World {
    /// Partitions lose their leaders or freeze, and come back; topics grow.
    pub(super) fn partitions_come_and_go(&mut self) {
        let aparts = self.engine.sides.values().map(|side| side.apart.len() as u64);
        self.apart += aparts.sum::<u64>();
        if self.random(12) != 0 {
            return;
        }
        let name = topic(["a", "b", "late"][self.random(3)]);
        let place = (name.clone(), i32::try_from(self.random(3)).unwrap());
        match self.random(8) {
            0 | 1 => {
                self.cluster.leaderless.insert(place);
            }
            2..=4 => {
                self.cluster.frozen.insert(place);
            }
            5 if self.grows => *self.cluster.grown.entry(name).or_default() += 1,
            5 => self.elapsed += Duration::from_secs(4),
            6 => self.cluster.leaderless.clear(),
            _ => self.cluster.frozen.clear(),
        }
        self.tell_topology();
    }

    pub(super) fn go_on(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.elapsed += Duration::from_millis(300);
            self.pump();
            self.tell_topology();
            for _ in 0..4 {
                self.answer(false);
            }
        }
    }

    /// Keys of the events of a topic that have arrived, by partition.
    fn arrived(&self, name: &str) -> Vec<usize> {
        let count = |p| self.cluster.logs.get(&(topic(name), p)).map_or(0, Vec::len);
        (0..3).map(count).collect()
    }
}

fn exact(seed: u64, control: Option<Control>) -> World {
    let mut world = World::exact(seed, control);
    world.partitions = true;
    world
}

/// What may happen in a story besides partitions that come and go.
#[derive(Clone, Copy, Debug)]
enum Also {
    Nothing,
    Growth,
    Parking,
    Routes,
    Poison,
    Losses,
}

fn tell(seed: u64, also: Also) {
    let mut world = exact(seed, None);
    match also {
        Also::Nothing | Also::Losses => {}
        Also::Growth => world.grows = true,
        Also::Parking => world.parks = true,
        Also::Routes => {
            world.parks = seed.is_multiple_of(2);
            world.begin_rerouting();
        }
        Also::Poison => {
            world.cluster.poison = 7;
            world.missing_topic_after = Duration::from_secs(12);
        }
    }
    play(world, 400, matches!(also, Also::Losses));
}

/// The stories that are asked for.
pub(super) fn asked_for() -> std::ops::Range<u64> {
    let range = std::env::var("SPOOLWAY_STORIES").unwrap_or_default();
    let (from, to) = range.split_once("..").unwrap_or(("0", "100"));
    from.parse().unwrap()..to.parse().unwrap()
}

/// As many stories as are asked for: `SPOOLWAY_STORIES=from..to`, of one kind with `SPOOLWAY_ALSO=growth`.
#[test]
#[ignore = "as long as one likes"]
fn stories_at_length() {
    let kind = std::env::var("SPOOLWAY_ALSO").unwrap_or_default();
    let mut failed = Vec::new();
    for seed in asked_for() {
        for also in [Also::Nothing, Also::Growth, Also::Parking, Also::Routes, Also::Poison, Also::Losses] {
            let is_asked_for = kind.is_empty() || format!("{also:?}").eq_ignore_ascii_case(&kind);
            if is_asked_for && std::panic::catch_unwind(|| tell(seed, also)).is_err() {
                eprintln!("story {seed} with {also:?} fails");
                failed.push((seed, also));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// Stories that the engine has failed. A partition's reader ended where the topic's had not read yet, though it knew of something
/// settled there, which nobody knew of then; with all partitions that keys lead to apart, events without a key had nowhere to go; a
/// position was past a window in doubt that held another reader's events; and what another partition had taken after all were back was
/// not known to the reader of positions from before; a letter was sent again before its partition's reader had counted it;
/// what a reader was known to have sent, and had counted when routes changed, counted twice; what was left over in the account
/// was not balanced; what a partition's reader had delivered of a block that its topic's then found gone counted twice; and a letter
/// that was refused again took the saved position of its partition's reader back to its number, without what was settled behind it.
/// The engine never came to rest where a partition's reader had caught up and its last window was not answered: what the topic's
/// reader put behind that was discarded in every round.
#[test]
fn stories_that_once_failed_are_told_well() {
    for (seed, also) in [
        (71, Also::Parking),
        (52, Also::Poison),
        (67, Also::Poison),
        (43, Also::Growth),
        (159, Also::Growth),
        (189, Also::Growth),
        (1061, Also::Nothing),
        (1245, Also::Nothing),
        (1305, Also::Routes),
        (1368, Also::Growth),
        (3091, Also::Growth),
        (20410, Also::Routes),
        (20742, Also::Routes),
        (928, Also::Losses),
        (16_550_078_103_114_755_575, Also::Losses),
        (100_712, Also::Poison),
        (200_152, Also::Poison),
        (200_856, Also::Poison),
        (8_753_900_264_092_473_049, Also::Poison),
        (136, Also::Nothing),
        (6, Also::Growth),
        (133, Also::Parking),
    ] {
        tell(seed, also);
    }
}

proptest! {
    #![proptest_config(super::cases(96))]

    #[test]
    fn while_partitions_come_and_go_every_event_arrives_once_and_in_order_through_kills(seed: u64) {
        tell(seed, Also::Nothing);
    }

    #[test]
    fn without_a_journal_only_what_was_in_flight_is_doubled_when_partitions_come_and_go(seed: u64) {
        let mut world = World::new(seed);
        world.partitions = true;
        play(world, 400, false);
    }

    #[test]
    fn topics_that_grow_while_partitions_are_apart_lose_and_double_nothing(seed: u64) {
        tell(seed, Also::Growth);
    }

    #[test]
    fn what_waits_for_a_partition_is_parked_and_arrives_once_and_in_order(seed: u64) {
        tell(seed, Also::Parking);
    }

    #[test]
    fn what_waits_for_a_partition_goes_the_new_way_when_routes_have_changed(seed: u64) {
        tell(seed, Also::Routes);
    }

    #[test]
    fn what_is_refused_becomes_a_dead_letter_once_while_partitions_come_and_go(seed: u64) {
        tell(seed, Also::Poison);
    }

    #[test]
    fn what_can_not_be_read_is_counted_while_partitions_come_and_go(seed: u64) {
        tell(seed, Also::Losses);
    }
}

#[test]
fn the_stories_set_partitions_apart_and_catch_readers_that_forget_whose_an_event_is() {
    let story = |seed: u64, control: Option<Control>| {
        let mut world = exact(seed, control);
        (0..400).for_each(|_| world.step(true, false));
        world.drain();
        world.check(true);
        world.apart
    };
    let apart: Vec<u64> = (0..30).map(|seed| story(seed, None)).collect();
    assert!(apart.iter().filter(|steps| **steps > 10).count() > 10, "{apart:?}");
    for control in [Control::ForgetsWhatWasOnItsWay, Control::CountsAnew, Control::ForgetsWhatIsSettled] {
        super::controls::assert_caught(&format!("{control:?}"), &["lost", "doubled"], 0..300, |seed| {
            story(seed, Some(control));
        });
    }
}

/// Far more than fits into memory, for all three partitions of two topics.
fn with_backlog(world: &mut World) -> [usize; 3] {
    let keys: Vec<_> = (0..9).map(Some).collect();
    for i in 0..600 {
        world.log.append(if i % 4 == 0 { "b" } else { "a" }, &keys);
    }
    let count = |p| (0..9u8).filter(|key| crate::kafka::partition_for_key(&[*key], 3) == p).count();
    [0, 1, 2].map(|p| count(p) * 450)
}

#[test]
fn a_partition_without_a_leader_holds_back_only_its_own_events() {
    let mut world = World::exact(7, None);
    let all = with_backlog(&mut world);
    assert!(all.iter().all(|n| *n > 0), "{all:?}");
    world.cluster.leaderless.insert((topic("a"), 1));
    world.go_on(3000);
    assert_eq!(world.arrived("a"), [all[0], 0, all[2]]);
    let view = world.engine.view();
    assert_eq!(view.parked, all[1] as u64);
    assert_eq!(view.waiting, [("a".to_owned(), "partition 1 has no leader; the others go on".to_owned())]);
    let positions = world.engine.positions(SPOOL);
    assert_eq!((positions.position, positions.sides[0].position), (world.log.end(), world.log.end()));
    world.kill();
    world.drain();
    world.check(true);
    assert_eq!(world.arrived("a"), all);
}

#[test]
fn a_partition_that_does_not_answer_holds_back_only_its_own_events_and_those_that_were_on_their_way() {
    for seed in 0..10 {
        let mut world = World::exact(seed, None);
        let all = with_backlog(&mut world);
        world.go_on(5);
        world.cluster.frozen.insert((topic("a"), 1));
        world.go_on(3000);
        let arrived = world.arrived("a");
        assert_eq!((arrived[0], arrived[2]), (all[0], all[2]), "seed {seed}");
        assert!(arrived[1] < all[1]);
        let bytes: usize = world.engine.topics.values().map(super::super::Topic::bytes).sum();
        assert!(bytes < 2000, "{bytes} bytes are held for a partition that does not answer");
        world.kill();
        world.go_on(100);
        world.drain();
        world.check(true);
        assert_eq!(world.arrived("a"), all);
    }
}

/// All of them were set apart, for the moment between the first answer and the others.
#[test]
fn partitions_that_were_silent_together_and_answer_one_after_the_other_are_not_set_apart() {
    let mut tried = 0;
    for seed in 0..10 {
        let mut world = World::exact(seed, None);
        let all = with_backlog(&mut world);
        world.go_on(5);
        world.cluster.frozen.extend((0..3).map(|partition| (topic("a"), partition)));
        world.go_on(100);
        // One that had nothing on its way, nobody knows to be silent: the others may have been set apart for it.
        let is_apart = |world: &World| !world.engine.sides[&topic("a")].apart.is_empty();
        if !is_apart(&world) {
            tried += 1;
            for partition in 0..3 {
                world.cluster.frozen.remove(&(topic("a"), partition));
                world.go_on(2);
                assert!(!is_apart(&world), "seed {seed}");
            }
        }
        world.cluster.frozen.clear();
        world.drain();
        world.check(true);
        assert_eq!(world.arrived("a"), all);
    }
    assert!(tried >= 5, "{tried} of 10");
}

#[test]
fn a_topic_that_is_the_only_one_goes_on_without_a_partition_too() {
    let mut world = World::exact(3, None);
    let keys: Vec<_> = (0..5).map(Some).collect();
    for _ in 0..400 {
        let _appended = world.log.append("a", &keys);
    }
    world.cluster.frozen.insert((topic("a"), 2));
    world.go_on(3000);
    let arrived = world.arrived("a");
    assert_eq!(
        arrived[0] + arrived[1],
        400 * (0..5u8).filter(|k| crate::kafka::partition_for_key(&[*k], 3) != 2).count()
    );
    world.drain();
    world.check(false);
}
