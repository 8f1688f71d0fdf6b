use super::*;
use crate::disk::RealFs;

fn route(streams: &[&str], to: &str, topic: &str) -> Route {
    let topic = TopicTemplate::parse(topic).unwrap();
    Route {
        streams: streams.iter().map(|s| (*s).to_owned()).collect(),
        to: DestinationName::new(to).unwrap(),
        topic,
        only: false,
    }
}

fn begin(dir: &Path, routes: &[Route], end: u64, past: u64) -> RouteHistory {
    let ends = [(LaneName::new("main").unwrap(), Seq(end))].into();
    let (mut file, mut history) = RoutesFile::open(&RealFs, dir, SpoolId(5)).unwrap();
    history.begin(routes, &ends, |_, until| until.0 <= past);
    file.keep(&history).unwrap();
    history
}

fn ways(history: &RouteHistory, stream: &str, to: &str) -> Vec<(u64, String)> {
    let (stream, to) = (StreamName::new(stream).unwrap(), DestinationName::new(to).unwrap());
    let ways = history.ways(&LaneName::new("main").unwrap(), &stream, &to);
    ways.into_iter().map(|(until, topic)| (until.0, topic.to_string())).collect()
}

#[test]
fn routes_that_are_taken_away_hold_for_what_was_accepted_before_until_that_is_settled() {
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
    let history = begin(dir.path(), &[], 300, 150);
    assert_eq!((ways(&history, "a", "home"), ways(&history, "a", "away").len()), (vec![], 1));
    assert_eq!(ways(&begin(dir.path(), &[], 300, 300), "a", "away"), []);
}

#[test]
fn many_routes_take_a_larger_file() {
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<Route> = (0..2000).map(|i| route(&[&format!("stream-{i}")], "home", "{stream}")).collect();
    begin(dir.path(), &many, 1, 0);
    assert_eq!(ways(&begin(dir.path(), &[], 9, 0), "stream-1999", "home"), [(9, "stream-1999".to_owned())]);
}
