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
