//! What must fit together across sections.

use std::net::SocketAddr;

use super::load::Many;
use super::model::{Config, Destination, Lane, MAIN_LANE, SourceKind};
use super::nearest::nearest;
use super::read::{ReadAdmin, ReadDestination, ReadRoute, ReadSource, ReadStream, check_twice};
use super::reading::Reading;
use super::report::Problem;
use super::routes::RouteTable;
use super::text::Place;
use crate::ids::StreamName;

pub(super) fn streams(reading: &Reading<'_>, streams: &[ReadStream]) {
    for (index, ReadStream { stream, place, .. }) in streams.iter().enumerate() {
        if let Some(first) = streams.iter().take(index).find(|other| other.stream.name == stream.name) {
            let title = format!("two streams have the name {:?}", stream.name);
            reading.problem(twice(place, &first.place, title));
        }
    }
}

/// Names of lanes, and whether the lanes that streams name are there.
pub(super) fn lanes(reading: &Reading<'_>, lanes: &Many<(Lane, Place)>, streams: &[ReadStream]) {
    for (index, (lane, place)) in lanes.read.iter().enumerate() {
        if let Some((_, first)) = lanes.read.iter().take(index).find(|(other, _)| other.name == lane.name) {
            let title = format!("two lanes have the name {:?}", lane.name.as_str());
            reading.problem(twice(place, first, title));
        }
        let is_used = lane.name.as_str() == MAIN_LANE || streams.iter().any(|s| s.stream.lane == lane.name);
        if !is_used {
            let title = format!("no stream is kept in lane {:?}", lane.name.as_str());
            let help = format!("add [[stream]] with a name and lane = {:?}", lane.name.as_str());
            reading.problem(Problem::at(place, title).note().help(help));
        }
    }
    let named = lanes.read.iter().map(|(lane, _)| lane.name.as_str());
    let names: Vec<&str> = std::iter::once(MAIN_LANE).chain(named).collect();
    for ReadStream { stream, lane: place, .. } in streams {
        let lane = stream.lane.as_str();
        // A lane whose name could not be read may be the one that is meant.
        if names.contains(&lane) || lanes.read.len() < lanes.count || reading.stands_in(lane) {
            continue;
        }
        let problem = Problem::at(place, format!("there is no lane {lane:?}"));
        reading.problem(problem.help(match nearest(lane, names.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("add:\n[[lane]]\nname = {lane:?}"),
        }));
    }
}

fn twice(place: &Place, first: &Place, title: String) -> Problem {
    Problem::at(place, title)
        .label("here again")
        .other(first, "first here")
        .help("change one of the two, or remove it")
}

pub(super) fn sources(reading: &Reading<'_>, sources: &Many<ReadSource>) {
    check_twice(&sources.read, &mut |problem| reading.problem(problem));
    if sources.count == 0 {
        reading.problem(
            nothing_of(reading, "there is no source: nothing could be accepted")
                .help("add one, for example:\n[[source]]\ntype = \"http\"\nlisten = \"127.0.0.1:8080\""),
        );
    }
}

/// A finding about the whole: it stands at the end of the first file.
fn nothing_of(reading: &Reading<'_>, title: &str) -> Problem {
    let end = reading.files.first().map_or(0, |file| file.text.trim_end().len());
    Problem::at(&Place { file: 0, span: end..end }, title)
}

/// Two listeners on one port of one address: the second could not be opened.
pub(super) fn addresses(reading: &Reading<'_>, sources: &[ReadSource], admin: &ReadAdmin) {
    let listens = sources.iter().filter_map(|s| s.listen.clone());
    let of_admin = admin.admin.listen.map(|address| (address, admin.listen.clone()));
    let of_metrics = admin.admin.metrics_listen.map(|address| (address, admin.metrics_listen.clone()));
    let all: Vec<(SocketAddr, Place)> = listens.chain(of_admin).chain(of_metrics).collect();
    for (index, (address, place)) in all.iter().enumerate() {
        let Some((first, first_place)) = all.iter().take(index).find(|(other, _)| collide(*other, *address))
        else {
            continue;
        };
        let default = place.span.is_empty();
        let (place, other) = if default { (first_place, place) } else { (place, first_place) };
        let mut problem = Problem::at(place, format!("two listeners want {address}"))
            .help("give one of them another port; without a word, `admin.listen` is 127.0.0.1:9674");
        if !default {
            problem = problem.label("here again").other(other, format!("{first} is taken here"));
        }
        reading.problem(problem);
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || any)
}

pub(super) fn destinations(reading: &Reading<'_>, destinations: &Many<ReadDestination>) {
    if destinations.count == 0 {
        reading.problem(nothing_of(reading, "there is no destination: nothing could be delivered").help(
            "add one, for example:\n[[destination]]\nname = \"home\"\nbootstrap = [\"127.0.0.1:9092\"]",
        ));
    }
    for (index, destination) in destinations.read.iter().enumerate() {
        let mut before = destinations.read.iter().take(index);
        if let Some(first) = before.find(|d| d.name == destination.name) {
            let title = format!("two destinations have the name {:?}", destination.name.as_str());
            let help = "give one of them another name; brokers of one cluster go into one `bootstrap`";
            reading.problem(twice(&destination.place, &first.place, title).help(help));
        }
    }
    renamed(reading, &destinations.read);
}

/// What is known under a name can go to one destination only, and not away from one that is there.
fn renamed(reading: &Reading<'_>, destinations: &[ReadDestination]) {
    let of = |d: &ReadDestination| d.destination.as_ref().and_then(|d| d.renamed_from.clone());
    for (index, destination) in destinations.iter().enumerate() {
        let Some(old) = of(destination) else { continue };
        if destinations.iter().any(|d| d.name == old) {
            let title = format!("there is a destination {:?}: it can't have been renamed", old.as_str());
            let help = "remove `renamed_from`, or the [[destination]] of that name";
            reading.problem(Problem::at(&destination.renamed, title).help(help));
        }
        if let Some(first) = destinations.iter().take(index).find(|d| of(d).as_ref() == Some(&old)) {
            let title = format!("two destinations were renamed from {:?}", old.as_str());
            reading.problem(twice(&destination.renamed, &first.renamed, title));
        }
    }
}

pub(super) fn routes(reading: &Reading<'_>, routes: &Many<ReadRoute>, destinations: &Many<ReadDestination>) {
    let names: Vec<&str> = destinations.read.iter().map(|d| d.name.as_str()).collect();
    for route in &routes.read {
        let to = route.route.to.as_str();
        // A destination whose name could not be read may be the one that is meant.
        if names.contains(&to) || names.len() < destinations.count || reading.stands_in(to) {
            continue;
        }
        let problem = Problem::at(&route.to, format!("there is no destination {to:?}"));
        reading.problem(problem.help(match nearest(to, names.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None if names.is_empty() => "add a [[destination]] of that name".to_owned(),
            None => format!("there is {}", names.join(", ")),
        }));
    }
    if routes.count == 0
        && let [first, second, ..] = destinations.read.as_slice()
    {
        let title = "with several destinations, routes must say which stream goes where";
        reading.problem(
            Problem::at(&second.place, title).label("the second").other(&first.place, "the first").help(format!(
                "for example:\n[[route]]\nstreams = [\"*\"]\nto = \"{}\"\n\n[[route]]\nstreams = [\"*\"]\nto = \"{}\"",
                first.name, second.name
            )),
        );
    }
}

/// Whether what comes in goes somewhere, and whether what is there gets something.
pub(super) fn ways(
    reading: &Reading<'_>,
    sources: &[ReadSource],
    routes: &Many<ReadRoute>,
    destinations: &Many<ReadDestination>,
) {
    // With a route or destination that could not be read or was not looked up, any stream may be the one it takes.
    if routes.read.len() < routes.count || destinations.read.len() < destinations.count.max(1) {
        return;
    }
    let mut names = routes
        .read
        .iter()
        .flat_map(|r| r.route.streams.iter().map(String::as_str).chain([r.route.to.as_str()]));
    if names.any(|name| reading.stands_in(name)) {
        return;
    }
    let compiled: Vec<_> = routes.read.iter().map(|r| r.route.clone()).collect();
    let bare: Vec<_> = destinations.read.iter().map(|d| Destination::new(d.name.clone(), vec![])).collect();
    // Patterns have been compiled once when they were read, so this does not fail.
    let Ok(table) = RouteTable::of(&compiled, &bare) else { return };
    for (stream, place) in sources.iter().flat_map(|s| &s.streams) {
        if !reading.stands_in(stream.as_str()) {
            check_way(reading, &table, stream, place);
        }
    }
    for destination in &destinations.read {
        if routes.count > 0 && !compiled.iter().any(|route| route.to == destination.name) {
            let title = format!("no route goes to destination {:?}", destination.name.as_str());
            reading.problem(Problem::at(&destination.place, title).note().help("it will get no events"));
        }
    }
}

fn check_way(reading: &Reading<'_>, table: &RouteTable, stream: &StreamName, place: &Place) {
    match table.check(stream) {
        Ok(true) => {}
        Ok(false) => {
            let title = format!("no route takes stream {:?}: every event would be refused", stream.as_str());
            reading.problem(Problem::at(place, title).help(match table.nearest(stream) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "add it to the `streams` of a [[route]]".to_owned(),
            }));
        }
        Err(e) => {
            let title = format!("stream {:?} can't have a topic by its route: {e}", stream.as_str());
            reading
                .problem(Problem::at(place, title).help("shorten the stream's name or the route's `topic`"));
        }
    }
}

/// What the configuration asks for and this version, or the setting, does not fully give.
pub(super) fn promises(reading: &Reading<'_>, config: &Config) {
    let ends = config.sources.iter().any(|s| matches!(s.kind, SourceKind::Stdin { .. }));
    if ends && config.sources.len() > 1 {
        let title = "standard input is one of several sources: at its end the agent goes on";
        reading.problem(
            Problem::new(title).note().help("it ends with its input only when that is the only source"),
        );
    }
}
