//! The engine against a log and a cluster that are models, with everything at random: order of answers,
//! refusals, missing topics, kills, power cuts, brokers that forget.

mod behind;
mod cluster;
mod controls;
mod copies;
mod cost;
mod days;
mod gate;
mod letters;
mod log;
mod moves;
mod parking;
mod partitioners;
mod partitions;
mod rerouting;
mod shrinking;
mod silent;
mod strays;
mod world;

use proptest::prelude::*;

use self::controls::assert_caught;
pub(in crate::deliver) use self::world::settings;
use self::world::{SPOOL, World};
use super::{Group, Now, Wake};
use crate::config::model::KafkaCompression;
use crate::ids::Seq;

fn run(seed: u64, steps: usize, kills: bool, losses: bool) {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step(kills, losses);
    }
    world.drain();
    world.check(kills);
}

fn run_exactly(seed: u64, steps: usize, losses: bool) {
    play(exact(seed), steps, losses);
}

fn play(mut world: World, steps: usize, losses: bool) {
    for _ in 0..steps {
        world.step(true, losses);
    }
    world.drain();
    world.check(true);
}

/// Some windows that are due, of three partitions, with what has to be written down of them.
pub(in crate::deliver) fn due() -> Group {
    let mut world = World::exact(7, None);
    for _ in 0..9 {
        world.log.append("a", &[Some(0), Some(1), Some(2), Some(3), Some(4)]);
    }
    for _ in 0..3 {
        world.engine.pump(world.now());
        if world.engine.wants_durable_positions() {
            world.engine.note_durable_positions();
        }
        world.tell_topology();
    }
    world.engine.take_departing()
}

/// Every other one has its windows written down while the engine goes on.
fn exact(seed: u64) -> World {
    let mut world = World::exact(seed, None);
    world.beside = seed % 2 == 1;
    world
}

fn compressing(seed: u64) -> World {
    let mut world = exact(seed);
    world.compression = KafkaCompression::Lz4;
    world.start(seed);
    world
}

/// So many stories of each kind, or as many as `SPOOLWAY_CASES` says.
fn cases(usual: u32) -> ProptestConfig {
    let asked_for = std::env::var("SPOOLWAY_CASES").map(|n| n.parse().expect("a number of stories"));
    ProptestConfig::with_cases(asked_for.unwrap_or(usual))
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn while_the_process_lives_every_event_arrives_once_and_in_order(seed: u64) {
        run(seed, 300, false, false);
    }

    #[test]
    fn after_kills_nothing_is_missing_and_only_what_was_in_flight_is_doubled(seed: u64) {
        run(seed, 300, true, false);
    }

    #[test]
    fn with_a_journal_every_event_arrives_once_through_kills_power_cuts_and_brokers_that_forget(seed: u64) {
        run_exactly(seed, 300, false);
    }

    #[test]
    fn windows_that_grow_by_how_they_are_compressed_and_turn_out_too_large_arrive_once_in_smaller_ones(seed: u64) {
        let mut world = compressing(seed);
        world.cluster.max_bytes = 300 + usize::try_from(seed % 600).unwrap();
        play(world, 300, false);
    }

    #[test]
    fn events_without_a_key_keep_their_order_in_a_partition_through_kills_and_refusals(seed: u64) {
        let mut world = World::exact(seed, None);
        world.swift = true;
        play(world, 300, false);
    }

    #[test]
    fn with_a_journal_an_identity_names_one_window_though_topics_are_made_anew(seed: u64) {
        let mut world = exact(seed);
        world.book.as_mut().unwrap().flips = true;
        play(world, 300, false);
    }

    #[test]
    fn with_a_journal_what_can_not_be_read_is_counted_and_the_rest_arrives(seed: u64) {
        run_exactly(seed, 300, true);
    }

    #[test]
    fn routes_that_change_between_processes_lose_and_double_nothing_of_what_waits(seed: u64) {
        let mut world = exact(seed);
        world.begin_rerouting();
        play(world, 300, false);
    }

    #[test]
    fn what_is_in_doubt_and_given_up_is_sent_anew_in_order_and_nothing_else_is_doubled(seed: u64) {
        let mut world = exact(seed);
        world.abandoned = Some(0);
        play(world, 300, false);
    }

    #[test]
    fn streams_that_move_between_clusters_and_back_through_kills_at_every_step_arrive_once_and_in_order(seed: u64) {
        moves::play(seed, moves::Story::default());
    }

    #[test]
    fn streams_that_move_while_what_is_in_doubt_is_given_up_are_lost_nowhere(seed: u64) {
        moves::play(seed, moves::Story { gives_up: true, ..moves::Story::default() });
    }

    #[test]
    fn streams_that_go_to_two_clusters_and_to_one_of_them_are_lost_at_none(seed: u64) {
        moves::play(seed, moves::Story { both: true, gives_up: true });
    }

    #[test]
    fn what_is_refused_becomes_a_dead_letter_once_and_the_rest_arrives(seed: u64) {
        let mut world = exact(seed);
        world.cluster.poison = 7;
        world.missing_topic_after = std::time::Duration::from_secs(12);
        play(world, 300, false);
    }

    #[test]
    fn what_is_parked_and_forgotten_by_the_log_arrives_once_and_in_order_through_kills(seed: u64) {
        let mut world = exact(seed);
        world.parks = true;
        play(world, 400, false);
    }

    #[test]
    fn what_is_parked_goes_the_new_way_after_routes_have_changed(seed: u64) {
        let mut world = exact(seed);
        world.parks = true;
        world.begin_rerouting();
        play(world, 400, false);
    }

    #[test]
    fn what_can_not_be_read_is_counted_and_the_rest_arrives(seed: u64) {
        run(seed, 300, true, true);
    }
}

/// It never drained: nobody gave another, so nothing that came after was judged.
#[test]
fn a_story_whose_producer_id_is_forgotten_is_told_to_its_end() {
    let mut world = World::exact(7, None);
    for id in ["one", "another"] {
        world.log.append("a", &[Some(1); 5]);
        world.cluster.cluster_id = Some(id.to_owned());
        world.pump();
        world.tell_topology();
    }
    assert!(world.engine.producer.is_none());
    world.drain();
    world.check(true);
}

#[test]
fn a_missing_topic_holds_back_only_itself() {
    let mut world = World::new(7);
    for i in 0..200 {
        world.log.append(if i % 2 == 0 { "late" } else { "a" }, &[None; 5]);
    }
    for _ in 0..500 {
        world.pump();
        world.tell_topology();
        world.answer(false);
    }
    let delivered: usize = world.cluster.logs.values().map(Vec::len).sum();
    assert_eq!(delivered, 500, "everything of the other topic arrives");
    let view = world.engine.view();
    assert_eq!(view.parked, 500);
    assert_eq!(view.waiting, [("late".to_owned(), "missing".to_owned())]);
    let positions = world.engine.positions(SPOOL);
    assert_eq!(positions.position, Seq(1001), "the main reader is not held back");
    assert_eq!(positions.needed_from(), Seq(1), "and nothing of the missing topic may be deleted");
    world.drain();
    world.check(false);
}

#[test]
fn the_stories_of_parking_park_and_a_log_that_forgets_what_is_not_parked_is_caught() {
    let story = |seed: u64, forgets: bool| {
        let mut world = World::exact(seed, None);
        world.parks = true;
        for step in 0..400 {
            world.step(true, false);
            let position = world.book.as_ref().unwrap().positions.position;
            if forgets && step % 100 == 0 {
                world.log.delete(position);
            }
        }
        world.drain();
        world.check(true);
        world.parked
    };
    let parked: Vec<u64> = (0..50).map(|seed| story(seed, false)).collect();
    assert!(parked.iter().filter(|n| **n > 0).count() > 5, "{parked:?}");
    assert_caught("a log that forgets what is not parked", &["lost"], 0..20, |seed| {
        story(seed, true);
    });
}

/// Topic "a" has a window in doubt of which the log loses the first of two blocks; it `arrived`, or did not. Then come other events.
fn part_of_a_window_in_doubt_is_lost(world: &mut World, arrived: bool) {
    for _ in 0..2 {
        world.log.append("a", &[Some(1); 5]);
    }
    wait_and_pump(world);
    wait_and_pump(world);
    let sent = world.sink.sent.lock().unwrap().clone();
    assert_eq!(sent.iter().map(|w| w.batch.count()).collect::<Vec<_>>(), [10], "a window is on its way");
    if arrived {
        let _ = world.cluster.produce(&sent[0], false);
    } else {
        world.cluster.missing.insert(sent[0].topic.clone());
    }
    world.kill();
    world.cluster.missing.clear();
    let range = world.log.lose(0, false).unwrap();
    world.lost.extend((range.first.0..range.end.0).map(Seq));
    world.log.append("a", &[Some(1); 5]);
    wait_and_pump(world);
    wait_and_pump(world);
    let asked =
        world.sink.sent.lock().unwrap().iter().map(|w| w.journaled.clone().unwrap()).collect::<Vec<_>>();
    assert!(asked.len() == 1 && asked[0].unreadable, "what follows in the partition waits: {asked:?}");
    world.answer(false);
    wait_and_pump(world);
}

fn wait_and_pump(world: &mut World) {
    world.elapsed += std::time::Duration::from_secs(4);
    world.tell_topology();
    world.pump();
}

#[test]
fn a_window_in_doubt_that_can_not_be_read_any_more_is_looked_for_first() {
    for (arrived, delivered, doubled) in [(true, 15, 0), (false, 10, 10)] {
        let mut world = World::exact(7, None);
        part_of_a_window_in_doubt_is_lost(&mut world, arrived);
        world.drain();
        world.check(true);
        let there: usize = world.cluster.logs.values().map(Vec::len).sum();
        assert_eq!((there, world.engine.take_possibly_doubled()), (delivered, doubled), "{arrived}");
    }
}

#[test]
fn what_is_held_since_it_can_not_be_read_any_more_goes_on_once_a_person_gives_it_up() {
    let mut world = World::exact(7, None);
    world.holds_in_doubt = true;
    part_of_a_window_in_doubt_is_lost(&mut world, false);
    assert!(world.sink.sent.lock().unwrap().is_empty(), "what follows in the partition is held");
    assert_eq!(world.engine.take_possibly_doubled(), 0);
    assert_eq!((world.engine.abandon_unread(), world.engine.abandon_unread()), (10, 0));
    assert_eq!(world.engine.take_possibly_doubled(), 10);
    world.drain();
    world.check(true);
    assert_eq!(world.engine.positions(SPOOL).totals.delivered, 10);
}

#[test]
fn no_more_is_collected_for_the_park_than_it_has_room_for() {
    let mut world = World::exact(7, None);
    for _ in 0..100 {
        world.log.append("late", &[None; 9]);
        world.log.append("a", &[None; 9]);
    }
    for _ in 0..500 {
        world.pump();
        world.tell_topology();
        world.answer(false);
    }
    let saved = world.engine.positions(SPOOL);
    let (side, topic) = (&saved.sides[0], crate::ids::TopicName::new("late").unwrap());
    for room in [2_000, 20_000, 200_000] {
        let park = super::tests::parking::open(&crate::disk::sim::SimFs::default()).bounded(room, 0);
        let most = park.room(100).unwrap() / 2;
        let (between, most) = ((side.position, saved.position), (most, world.now()));
        let mut parking = world.engine.begin_parking(&saved, side, between, most).unwrap();
        while !world.engine.collect(&mut parking).unwrap() {}
        assert!(!parking.blocks().is_empty());
        park.keep(&topic, parking.covers(), parking.blocks()).unwrap_or_else(|e| panic!("{room}: {e}"));
        assert!(park.room(room).is_err(), "something is parked");
    }
}

#[test]
fn what_is_parked_is_counted_once() {
    let mut world = World::exact(12_145_923_872_145_438_201, None);
    world.parks = true;
    play(world, 400, false);
}

#[test]
fn memory_does_not_depend_on_the_backlog() {
    let mut world = World::new(7);
    for _ in 0..1000 {
        world.log.append("a", &[None; 9]);
    }
    world.pump();
    world.tell_topology();
    world.pump();
    assert!(world.engine.main.tracker.len() <= 12 + 16, "{}", world.engine.main.tracker.len());
}

#[test]
fn what_is_dropped_of_a_topic_that_waits_counts_as_dropped_and_not_as_lost() {
    let mut world = World::new(7);
    for i in 0..40 {
        world.log.append(if i % 2 == 0 { "late" } else { "a" }, &[None; 5]);
    }
    for _ in 0..200 {
        world.pump();
        world.tell_topology();
        world.answer(false);
    }
    for index in 0..10 {
        world.log.lose(index, true);
    }
    world.kill();
    world.drain();
    let totals = world.engine.positions(SPOOL).totals;
    assert_eq!((totals.delivered, totals.dropped, totals.lost), (175, 25, 0));
}

#[test]
fn what_a_stream_had_settled_before_its_topic_was_set_apart_is_not_sent_again_after_the_next_change() {
    // Stories in which a record of what is settled went away while a side reader still needed it.
    // And in which one that is ahead had counted what an older record still looked for.
    for seed in [11_841_881_664_005_894_821, 6_820_662_034_203_579_618, 5_692_009_466_480_279_359] {
        let mut world = World::exact(seed, None);
        world.begin_rerouting();
        play(world, 300, false);
    }
}

#[test]
fn a_letter_is_sent_again_though_another_topic_waits_for_something_older() {
    let mut world = World::exact(7, None);
    world.cluster.poison = 7;
    world.log.append("late", &[None; 5]);
    world.log.append("a", &[Some(1); 3]);
    for _ in 0..60 {
        world.pump();
        world.tell_topology();
        world.answer(false);
    }
    let stored = world.letters.all[0].clone();
    assert_eq!((world.letters.all.len(), stored.letter.seq), (1, Seq(7)));
    assert_eq!(world.engine.settled_below(), Seq(1), "the missing topic's events are not settled");
    assert!(world.engine.may_redo(&stored.letter));
    // One of the topic that waits is not past its reader.
    let early = crate::state::letters::Letter {
        stream: crate::ids::StreamName::new("late").unwrap(),
        ..stored.letter
    };
    assert!(!world.engine.may_redo(&early));
}

#[test]
fn what_is_dropped_while_nothing_can_be_sent_counts_at_once_and_once() {
    let mut world = World::new(7);
    for _ in 0..60 {
        world.log.append("a", &[None; 5]);
    }
    // Nothing is known of the topic, so the first block waits.
    world.pump();
    let drop_first = |world: &mut World, blocks: usize| {
        for index in 0..blocks {
            world.log.lose(index, true);
        }
        world.engine.drop_unread(crate::ids::SeqRange::new(Seq(1), Seq(1 + 5 * blocks as u64)))
    };
    assert!(drop_first(&mut world, 4));
    assert_eq!((world.engine.totals_with_gaps().dropped, world.engine.totals().dropped), (20, 0));
    // Now windows are full, and nobody answers.
    world.pump();
    world.tell_topology();
    world.pump();
    let read = world.engine.main.tracker.read();
    assert!(read > Seq(21) && read < Seq(200), "{read}");
    assert!(drop_first(&mut world, 50));
    let dropped = world.engine.totals_with_gaps().dropped;
    assert_eq!(dropped, 20 + 251 - read.0, "what is in windows may still arrive");
    assert!(!drop_first(&mut world, 50));
    while world.engine.settled_below() < world.log.end() {
        world.answer(false);
        world.pump();
    }
    let totals = world.engine.positions(SPOOL).totals;
    assert_eq!((totals.dropped, totals.lost, totals.sum()), (dropped, 0, 300));
    assert_eq!(world.engine.totals_with_gaps(), totals);
}

#[test]
fn what_was_dropped_before_it_could_be_parked_counts_as_dropped() {
    let mut world = World::exact(7, None);
    world.parks = true;
    for _ in 0..20 {
        world.log.append("late", &[None; 5]);
        world.log.append("a", &[None; 5]);
    }
    for _ in 0..300 {
        world.pump();
        world.tell_topology();
        world.answer(false);
    }
    assert_eq!(world.engine.view().parked, 100);
    // The second and third block of the topic that waits.
    for index in [2, 4] {
        world.log.lose(index, true).unwrap();
    }
    world.book.as_mut().unwrap().positions = world.engine.positions(SPOOL);
    for _ in 0..200 {
        world.park_some();
        world.pump();
    }
    assert!(world.parked > 0, "the log has forgotten what is parked");
    world.drain();
    let totals = world.engine.positions(SPOOL).totals;
    assert_eq!((totals.delivered, totals.dropped, totals.lost), (190, 10, 0));
}

#[test]
fn what_was_filtered_or_counted_ahead_before_streams_moved_is_not_counted_again() {
    // A stream that went elsewhere for good was filtered already; a reader that was ahead had counted what an older record looked for.
    for seed in [14_039_912_559_522_022_124, 8_593_602_165_752_586_619] {
        moves::play(seed, moves::Story { gives_up: true, ..moves::Story::default() });
    }
}

#[test]
fn a_letter_that_arrived_is_not_in_doubt_after_readers_have_gone_back() {
    // Its window was taken for one in doubt again, could not be built, and its partition's counter began anew.
    let mut world = exact(15_855_928_456_025_338_306);
    world.begin_rerouting();
    play(world, 300, false);
}

#[test]
fn in_a_cluster_made_anew_windows_wait_for_an_id_that_it_has_given() {
    let mut world = World::exact(7, None);
    world.cluster.cluster_id = Some("old".to_owned());
    let identities = |world: &mut World| {
        world.log.append("a", &[Some(0), Some(1), Some(2), Some(3)]);
        for _ in 0..9 {
            world.pump();
            world.tell_topology();
        }
        let sent = world.sink.sent.lock().unwrap().clone();
        let ids = sent.iter().map(|w| w.journaled.as_ref().unwrap().identity.producer_id).collect::<Vec<_>>();
        while !world.sink.sent.lock().unwrap().is_empty() {
            world.answer(false);
        }
        ids
    };
    let first = identities(&mut world);
    assert!(!first.is_empty());
    assert_eq!(identities(&mut world).first(), first.first());
    world.cluster.cluster_id = Some("new".to_owned());
    world.tell_topology();
    assert!(identities(&mut world).is_empty(), "nothing goes under the old cluster's id");
    world.engine.producer_id(99, 0);
    assert!(identities(&mut world).iter().all(|id| *id == 99));
}

#[test]
fn a_backlog_goes_in_windows_larger_than_batch_size_that_are_sent_in_smaller_ones() {
    let largest = |max_bytes| {
        let mut world = compressing(4);
        world.cluster.max_bytes = max_bytes;
        for _ in 0..200 {
            world.log.append("a", &[Some(7); 10]);
        }
        world.drain();
        world.check(true);
        (world.cluster.largest, world.cluster.too_large)
    };
    let (before, refused) = largest(settings().batch_size);
    assert!(before > settings().batch_size * 5 / 4 && refused == 0, "{before} bytes, {refused} refused");
    let (_, refused) = largest(500);
    assert!(0 < refused && refused < 10, "{refused} refused");
}

#[test]
fn nothing_is_sent_by_a_clock_that_can_not_be_right_until_it_is_set_or_two_minutes_have_passed() {
    let held = || {
        let mut world = World::new(7);
        world.engine.settings.earliest = 2_000_000;
        world.log.append("a", &[Some(1); 3]);
        let go_on = |world: &mut World, unix| {
            for _ in 0..3 {
                world.tell_topology();
                while world.engine.pump(Now { unix, ..world.now() }) == Wake::Again {
                    world.engine.depart();
                }
            }
            world.sink.sent.lock().unwrap().len()
        };
        assert_eq!(go_on(&mut world, 1_999_999), 0);
        assert!(world.engine.view().notes[0].contains("clock"), "{:?}", world.engine.view().notes);
        (world, go_on)
    };
    let (mut world, go_on) = held();
    assert_eq!(go_on(&mut world, 2_000_000), 1);
    assert!(world.engine.view().notes.is_empty());
    let (mut world, go_on) = held();
    world.elapsed += std::time::Duration::from_secs(119);
    assert_eq!(go_on(&mut world, 1_000), 0);
    world.elapsed += std::time::Duration::from_secs(1);
    assert_eq!(go_on(&mut world, 1_000), 1, "it is sent all the same");
}

#[test]
fn the_engine_comes_to_rest_though_windows_of_a_partition_that_nobody_answers_are_discarded() {
    // Stories in which the same events were discarded, and put into windows again, in every round: of a partition whose reader had
    // caught up, and of dead letters that were sent again.
    run(14_586_879_960_542_871_629, 300, false, false);
    run_exactly(10_901_481_469_571_660_711, 300, false);
    for seed in [7_672_352_371_412_356_763, 3_744_194_630_763_344_825] {
        let mut world = exact(seed);
        world.cluster.poison = 7;
        world.missing_topic_after = std::time::Duration::from_secs(12);
        play(world, 300, false);
    }
}
