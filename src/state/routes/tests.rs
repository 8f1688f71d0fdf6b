use super::*;
use crate::disk::RealFs;
use crate::ids::SeqRange;

fn route(streams: &[&str], to: &str, topic: &str) -> Route {
    let topic = TopicTemplate::parse(topic).unwrap();
    Route {
        streams: streams.iter().map(|s| (*s).to_owned()).collect(),
        to: DestinationName::new(to).unwrap(),
        topic,
        only: false,
    }
}

fn main_lane() -> LaneName {
    LaneName::new("main").unwrap()
}

fn begin(dir: &Path, routes: &[Route], end: u64, past: u64) -> RouteHistory {
    let ends = [(main_lane(), Seq(end))].into();
    let (mut file, mut history) = RoutesFile::open(&RealFs, dir, SpoolId(5)).unwrap();
    history.begin(routes, &ends, |_, until| until.0 <= past);
    file.keep(&history).unwrap();
    history
}

fn ways(history: &RouteHistory, stream: &str, to: &str) -> Vec<(u64, String)> {
    let (stream, to) = (StreamName::new(stream).unwrap(), DestinationName::new(to).unwrap());
    let ways = history.ways(&main_lane(), &stream, &to);
    ways.into_iter().map(|(until, topic)| (until.0, topic.to_string())).collect()
}

/// The numbers of stream `s` that are a destination's; the end of what is to come is 0.
fn own(history: &RouteHistory, to: &str) -> Vec<(u64, u64)> {
    let share =
        history.share(&main_lane(), &StreamName::new("s").unwrap(), &DestinationName::new(to).unwrap());
    let own = share.own.unwrap_or_else(|| vec![SeqRange::new(Seq(0), Seq(u64::MAX))]);
    own.iter().map(|r| (r.first.0, if r.end.0 == u64::MAX { 0 } else { r.end.0 })).collect()
}

/// Histories of stream `s`, by the destinations that it goes to at each start; each is ten events after the one before.
fn told(steps: &[&[&str]]) -> RouteHistory {
    let mut history = RouteHistory::default();
    for (step, to) in (0..).zip(steps) {
        let routes: Vec<Route> = to.iter().map(|to| route(&["s"], to, "{stream}")).collect();
        history.begin(&routes, &[(main_lane(), Seq(10 * step))].into(), |_, _| false);
        history.note_done();
    }
    history
}

#[test]
fn routes_that_are_taken_away_hold_for_what_was_accepted_before_until_all_from_before_the_last_change_is_settled()
 {
    let dir = tempfile::tempdir().unwrap();
    let first = [route(&["a", "b.*"], "home", "t-{stream}")];
    assert_eq!(ways(&begin(dir.path(), &first, 1, 0), "a", "home"), []);
    assert_eq!(ways(&begin(dir.path(), &first, 50, 0), "a", "home"), [], "nothing has changed");
    let second = [route(&["a", "b.*"], "away", "{stream}")];
    let history = begin(dir.path(), &second, 100, 0);
    assert_eq!(ways(&history, "b.x", "home"), [(100, "t-b.x".to_owned())]);
    assert_eq!((ways(&history, "c", "home"), ways(&history, "a", "away")), (vec![], vec![]));
    let history = begin(dir.path(), &[], 200, 0);
    assert_eq!(ways(&history, "a", "home"), [(100, "t-a".to_owned())]);
    assert_eq!(ways(&history, "a", "away"), [(200, "a".to_owned())]);
    assert_eq!(ways(&begin(dir.path(), &[], 300, 150), "a", "home").len(), 1);
    let history = begin(dir.path(), &[], 300, 300);
    assert_eq!((ways(&history, "a", "home"), ways(&history, "a", "away")), (vec![], vec![]));
}

#[test]
fn many_routes_take_a_larger_file() {
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<Route> = (0..2000).map(|i| route(&[&format!("stream-{i}")], "home", "{stream}")).collect();
    begin(dir.path(), &many, 1, 0);
    assert_eq!(ways(&begin(dir.path(), &[], 9, 0), "stream-1999", "home"), [(9, "stream-1999".to_owned())]);
}

#[test]
fn what_has_not_changed_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let routes = [route(&["a"], "home", "{stream}")];
    begin(dir.path(), &routes, 1, 0);
    let before = std::fs::read(dir.path().join("routes")).unwrap();
    begin(dir.path(), &routes, 9, 0);
    assert!(std::fs::read(dir.path().join("routes")).unwrap() == before);
}

#[test]
fn a_stream_that_goes_to_another_destination_takes_along_what_waits() {
    let history = told(&[&["home"], &["away"]]);
    assert_eq!(own(&history, "away"), [(0, 10), (10, 0)]);
    assert_eq!(own(&history, "home"), []);
    let history = told(&[&["home"], &["away"], &["home"]]);
    assert_eq!((own(&history, "home"), own(&history, "away")), (vec![(0, 10), (10, 20), (20, 0)], vec![]));
}

#[test]
fn a_stream_that_goes_nowhere_more_leaves_what_was_accepted_where_it_was_to_go() {
    let history = told(&[&["home"], &[]]);
    assert_eq!(own(&history, "home"), [(0, 10)]);
}

#[test]
fn one_that_gets_a_stream_in_addition_gets_what_is_there_unless_it_had_it_before() {
    let history = told(&[&["home"], &["home", "away"]]);
    assert_eq!((own(&history, "home"), own(&history, "away")), (vec![(0, 0)], vec![(0, 0)]));
    let history = told(&[&["home", "away"], &["home"], &["home", "away"]]);
    assert_eq!(own(&history, "away"), [(0, 10), (20, 0)]);
}

#[test]
fn where_two_lost_a_stream_or_the_new_one_has_some_of_it_nothing_is_handed_over() {
    let history = told(&[&["home", "second"], &["away"]]);
    assert_eq!((own(&history, "home"), own(&history, "away")), (vec![(0, 10)], vec![(10, 0)]));
    let history = told(&[&["away"], &[], &["home"], &["away"]]);
    assert_eq!((own(&history, "home"), own(&history, "away")), (vec![(0, 30)], vec![(0, 10), (30, 0)]));
}

#[test]
fn what_is_not_handed_over_stays_and_the_new_one_begins_behind_it() {
    let mut history = told(&[&["home"]]);
    history.begin(&[route(&["s"], "away", "{stream}")], &[(main_lane(), Seq(30))].into(), |_, _| false);
    let (change, pairs) = history.open_change().unwrap();
    assert_eq!((change, pairs.len()), (1, 1));
    history.forgo();
    assert_eq!(history.open_change(), None);
    assert_eq!((own(&history, "home"), own(&history, "away")), (vec![(0, 30)], vec![(30, 0)]));
}

#[test]
fn a_route_set_above_the_others_moves_the_streams_that_it_names() {
    let mut history = RouteHistory::default();
    let files = [route(&["*"], "home", "{stream}")];
    history.begin(&files, &[(main_lane(), Seq(1))].into(), |_, _| false);
    let only = Route { only: true, ..route(&["s"], "away", "{stream}") };
    let both = [only, files[0].clone()];
    history.begin(&both, &[(main_lane(), Seq(10))].into(), |_, _| false);
    let pair = |from: &str, to: &str| {
        let name = |name: &str| DestinationName::new(name).unwrap();
        Pair { from: name(from), to: name(to) }
    };
    assert_eq!(history.open_change().unwrap().1, [pair("home", "away")].into());
    assert_eq!((own(&history, "home"), own(&history, "away")), (vec![], vec![(0, 10), (10, 0)]));
    history.note_done();
    history.begin(&files, &[(main_lane(), Seq(20))].into(), |_, _| false);
    assert_eq!(history.open_change().unwrap().1, [pair("away", "home")].into());
    assert_eq!(own(&history, "home"), [(0, 10), (10, 20), (20, 0)]);
}

#[test]
fn a_number_that_somebody_knows_is_not_given_to_another_change() {
    let mut history = told(&[&["home"]]);
    history.count_from(7);
    history.begin(&[route(&["s"], "away", "{stream}")], &[(main_lane(), Seq(30))].into(), |_, _| false);
    assert_eq!(history.open_change().unwrap().0, 8);
    let away = DestinationName::new("away").unwrap();
    assert_eq!(history.last_taken(&away), 0, "it is not done");
    history.note_done();
    assert_eq!(history.last_taken(&away), 8);
    assert_eq!(history.last_taken(&DestinationName::new("home").unwrap()), 0);
}

#[test]
fn a_destination_with_another_name_has_what_the_old_name_had() {
    let mut history = told(&[&["home"], &["home", "away"]]);
    let name = |name| DestinationName::new(name).unwrap();
    history.rename(&name("home"), &name("house"));
    let routes = ["house", "away"].map(|to| route(&["s"], to, "{stream}"));
    assert!(!history.begin(&routes, &[(main_lane(), Seq(50))].into(), |_, _| false), "nothing has changed");
    assert_eq!((own(&history, "house"), own(&history, "home")), (vec![(0, 0)], vec![(0, 0)]));
}

#[test]
fn a_salvaged_spool_knows_the_routes_as_they_were() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    carry(&RealFs, old.path(), new.path()).unwrap();
    assert!(!new.path().join("routes").exists(), "nothing was there");
    begin(old.path(), &[route(&["a"], "home", "{stream}")], 1, 0);
    begin(old.path(), &[], 9, 0);
    carry(&RealFs, old.path(), new.path()).unwrap();
    assert_eq!(ways(&begin(new.path(), &[], 9, 0), "a", "home"), [(9, "a".to_owned())]);
}

fn name(name: &str) -> DestinationName {
    DestinationName::new(name).unwrap()
}

fn s() -> StreamName {
    StreamName::new("s").unwrap()
}

fn share(history: &RouteHistory, of: &str) -> Share {
    history.share(&main_lane(), &s(), &name(of))
}

#[test]
fn whose_a_number_is_by_a_share() {
    assert!(Share::default().has(Seq(0)) && Share::default().has(Seq(u64::MAX)), "everything is its own");
    let history = told(&[&["home"], &["away"], &["home", "away"], &["home"]]);
    let [home, away] = ["home", "away"].map(|of| share(&history, of));
    let of = |share: &Share| [0, 9, 10, 19, 20, 29, 30, u64::MAX].map(|seq| share.has(Seq(seq)));
    // Given away by the first change, and had again from the second on; what was away's stayed with it until the third.
    assert_eq!(of(&home), [false, false, false, false, true, true, true, true]);
    assert_eq!(of(&away), [true, true, true, true, true, true, false, false]);
}

#[test]
fn what_was_given_and_what_was_taken_is_told_with_the_change_and_the_numbers() {
    let history = told(&[&["home"], &["away"], &["third"]]);
    let given = |change, from: &str, to: &str, end| Given {
        change,
        from: name(from),
        to: name(to),
        ranges: match end {
            10 => vec![SeqRange::new(Seq(0), Seq(10))],
            _ => vec![SeqRange::new(Seq(0), Seq(10)), SeqRange::new(Seq(10), Seq(20))],
        },
    };
    let (first, second) = (given(1, "home", "away", 10), given(2, "away", "third", 20));
    assert_eq!(share(&history, "home").gave, std::slice::from_ref(&first));
    assert_eq!(
        (share(&history, "away").given, share(&history, "away").gave),
        (vec![first], vec![second.clone()])
    );
    assert_eq!((share(&history, "third").given, share(&history, "third").gave), (vec![second], vec![]));
    let gave = |change, by: &str, seq| history.gave_away(&main_lane(), &s(), (change, &name(by)), Seq(seq));
    assert!(gave(1, "home", 0) && gave(1, "home", 9) && gave(2, "away", 19));
    assert!(!gave(1, "home", 10) && !gave(2, "away", 20) && !gave(2, "home", 5) && !gave(1, "away", 5));
    let other = StreamName::new("other").unwrap();
    assert!(!history.gave_away(&main_lane(), &other, (1, &name("home")), Seq(5)));
}

#[test]
fn what_goes_to_a_destination_has_another_sum_after_each_change_that_concerns_it_and_no_other() {
    let table = |to: &str| RouteTable::of(&[route(&["s"], to, "{stream}")], &[]).unwrap();
    for number in 0..40 {
        let (home, away) = (format!("home-{number}"), format!("away-{number}"));
        let (home, away) = (home.as_str(), away.as_str());
        let sums: Vec<u64> = [&[&[home][..]][..], &[&[home], &[away]], &[&[home], &[away], &[home]]]
            .iter()
            .map(|steps| {
                let now = steps.last().unwrap()[0];
                told(steps).sum(&table(now), &name(home))
            })
            .collect();
        assert!(sums[0] != sums[1] && sums[1] != sums[2] && sums[0] != sums[2], "{sums:?}");
        assert!(!sums.contains(&0));
        let other = told(&[&[home], &[home, away], &[home]]);
        assert_eq!(other.sum(&table(home), &name(home)), sums[0], "only away had to do with it");
    }
    // Whatever bits the sum over its routes has.
    for topic in (0..16).map(|number| format!("topic-{number}")) {
        let now = RouteTable::of(&[route(&["s"], "home", &topic)], &[]).unwrap();
        let sums: Vec<u64> = [&[&["home"][..]][..], &[&["home"], &["away"], &["home"]]]
            .iter()
            .map(|steps| told(steps).sum(&now, &name("home")))
            .collect();
        assert_ne!(sums[0], sums[1], "{topic}");
    }
    assert_ne!(RouteHistory::default().sum(&table("home"), &name("away")), 0);
}

#[test]
fn the_change_by_which_something_was_taken_over_last_is_the_newest_that_was_handed_over() {
    let mut history = told(&[&["home"], &["away"], &["home"], &["away"]]);
    assert_eq!(["home", "away", "third"].map(|by| history.last_taken(&name(by))), [2, 3, 0]);
    assert_eq!(history.last_change(), 3);
    assert_eq!([0, 1, 2, 3, 4].map(|change| history.knows(change)), [false, true, true, true, false]);
    assert_eq!([0, 1, 2, 3, 4].map(|change| history.until(change, &main_lane()).0), [0, 10, 20, 30, 0]);
    assert_eq!(history.until(2, &LaneName::new("fast").unwrap()), Seq(0));
    assert_eq!(history.open_change(), None, "all have been handed over");
    history.begin(&[route(&["s"], "third", "{stream}")], &[(main_lane(), Seq(40))].into(), |_, _| false);
    assert_eq!(history.open_change().map(|(change, _)| change), Some(4));
    history.forgo();
    history.note_done();
    assert_eq!(["home", "away", "third"].map(|by| history.last_taken(&name(by))), [2, 3, 0]);
}

#[test]
fn between_whom_a_change_may_move_streams_is_judged_by_patterns() {
    let moved = |before: &[Route], after: &[Route]| {
        let mut history = RouteHistory::default();
        history.begin(before, &[(main_lane(), Seq(1))].into(), |_, _| false);
        history.begin(after, &[(main_lane(), Seq(9))].into(), |_, _| false);
        let pairs = history.open_change().map(|(_, pairs)| pairs).unwrap_or_default();
        pairs.iter().map(|p| format!("{}>{}", p.from, p.to)).collect::<Vec<_>>().join(" ")
    };
    let r = |streams: &[&str], to: &str| route(streams, to, "{stream}");
    let only = |streams: &[&str], to: &str| Route { only: true, ..r(streams, to) };
    assert_eq!(moved(&[r(&["a"], "home")], &[r(&["a"], "away")]), "home>away");
    assert_eq!(moved(&[r(&["a"], "home")], &[r(&["b"], "away")]), "", "two streams");
    assert_eq!(moved(&[r(&["a.*"], "home")], &[r(&["a.x"], "away")]), "home>away");
    assert_eq!(moved(&[r(&["a.x"], "home")], &[r(&["a.*"], "away")]), "home>away");
    assert_eq!(moved(&[r(&["b.x"], "home")], &[r(&["a.*"], "away")]), "");
    assert_eq!(moved(&[r(&["a.*"], "home")], &[r(&["b.x"], "away")]), "");
    assert_eq!(moved(&[r(&["abc"], "home")], &[r(&["a*d"], "away")]), "", "they begin alike");
    assert_eq!(moved(&[r(&["a*d"], "home")], &[r(&["abc"], "away")]), "", "they begin alike");
    assert_eq!(moved(&[r(&["a.*"], "home")], &[r(&["*.x"], "away")]), "home>away");
    assert_eq!(moved(&[r(&["a.*"], "home")], &[r(&["b.*"], "away")]), "");
    assert_eq!(moved(&[r(&["a", "b"], "home")], &[r(&["b"], "home"), r(&["a"], "away")]), "home>away");
    assert_eq!(moved(&[r(&["a", "b"], "home")], &[r(&["b"], "home"), r(&["c"], "away")]), "");
    assert_eq!(
        moved(&[r(&["a"], "home")], &[route(&["a"], "home", "other")]),
        "",
        "another topic is no move"
    );
    // One that stands above the others takes from them, and gives back; what it does not meet stays.
    let (files, above) = ([r(&["a", "b"], "home")], only(&["a"], "away"));
    assert_eq!(moved(&files, &[above.clone(), files[0].clone()]), "home>away");
    assert_eq!(moved(&[above.clone(), files[0].clone()], &files), "away>home");
    let other = only(&["c"], "away");
    assert_eq!(moved(&files, &[other.clone(), files[0].clone()]), "");
    assert_eq!(moved(&[above.clone(), files[0].clone()], &[above, other, files[0].clone()]), "");
    assert_eq!(moved(&[r(&["a"], "home")], &[only(&["a"], "home")]), "", "it stays where it is");
}

#[test]
fn a_change_is_told_of_each_lane_by_itself() {
    let lane = |name: &str| LaneName::new(name).unwrap();
    let mut history = RouteHistory::default();
    let ends = |main, fast| [(lane("main"), Seq(main)), (lane("fast"), Seq(fast))].into();
    history.begin(&[route(&["s"], "home", "{stream}")], &ends(1, 1), |_, _| false);
    assert!(history.begin(&[route(&["s"], "away", "{stream}")], &ends(10, 20), |_, _| false));
    // Everybody has to be past it in every lane.
    assert!(!history.begin(&[route(&["s"], "away", "{stream}")], &ends(30, 30), |l, _| l.as_str() == "main"));
    assert!(history.knows(1));
    assert_eq!(["main", "fast", "slow"].map(|l| history.until(1, &lane(l)).0), [10, 20, 0]);
    let gave = |l: &str, seq| history.gave_away(&lane(l), &s(), (1, &name("home")), Seq(seq));
    assert!(gave("main", 9) && !gave("main", 10) && gave("fast", 19) && !gave("slow", 0));
    history.begin(&[route(&["s"], "away", "{stream}")], &ends(30, 30), |_, until| until.0 <= 20);
    assert!(!history.knows(1));
}

#[test]
fn a_name_that_changes_changes_only_what_it_named() {
    let mut history = told(&[&["home", "away"], &["away"]]);
    history.rename(&name("away"), &name("abroad"));
    assert_eq!(ways(&history, "s", "home"), [(10, "s".to_owned())]);
    assert_eq!(ways(&history, "s", "abroad"), [(10, "s".to_owned())]);
    assert_eq!(ways(&history, "s", "away"), []);
    assert!(!history.begin(
        &[route(&["s"], "abroad", "{stream}")],
        &[(main_lane(), Seq(20))].into(),
        |_, _| false
    ));
    assert!(
        history.begin(&[route(&["s"], "away", "{stream}")], &[(main_lane(), Seq(20))].into(), |_, _| false)
    );
}

#[test]
fn numbers_of_changes_and_what_was_handed_over_are_known_to_the_next_process_and_to_no_other_spool() {
    let dir = tempfile::tempdir().unwrap();
    let open = |spool| RoutesFile::open(&RealFs, dir.path(), SpoolId(spool)).unwrap();
    let (mut file, mut history) = open(5);
    for (end, to) in [(0, "home"), (10, "away"), (20, "home")] {
        history.begin(&[route(&["s"], to, "{stream}")], &[(main_lane(), Seq(end))].into(), |_, _| false);
        file.keep(&history).unwrap();
        if to == "away" {
            history.note_done();
        }
    }
    history.forgo();
    file.keep(&history).unwrap();
    let (_, read) = open(5);
    assert_eq!((read.last_change(), read.open_change()), (2, None));
    assert_eq!((read.last_taken(&name("away")), read.last_taken(&name("home"))), (1, 0));
    assert_eq!(
        (share(&read, "home"), share(&read, "away")),
        (share(&history, "home"), share(&history, "away"))
    );
    let (_, foreign) = open(6);
    assert_eq!((foreign.last_change(), foreign.knows(1)), (0, false));
}

#[test]
fn a_disk_on_which_nothing_can_be_made_keeps_nothing_from_starting_unless_earlier_routes_count_still() {
    use crate::disk::sim::{Fault, Lasting, SimFs};
    use rustix::io::Errno;
    let (once, now) = (told(&[&["home"]]), told(&[&["home"], &["away"]]));
    assert!(once.before.is_empty() && !now.before.is_empty());
    for (errno, history, starts) in [
        (Errno::NOSPC, &once, true),
        (Errno::ROFS, &once, true),
        (Errno::IO, &once, false),
        (Errno::ROFS, &now, false),
        (Errno::IO, &now, false),
    ] {
        let fs = SimFs::default();
        let (mut file, _) = RoutesFile::open(&fs, Path::new("/"), SpoolId(5)).unwrap();
        let lasting = Lasting::UntilRepaired;
        fs.break_at(Fault { at: fs.calls(), errno, lasting });
        // The bytes of a save need no room: a full disk refuses their sync.
        assert_eq!(file.keep_if_it_can_be(history).is_ok(), starts, "{errno}");
        fs.repair();
        file.keep_if_it_can_be(history).unwrap();
    }
}
