//! `[[stream]]`

use crate::config::model::{Config, Stream};
use crate::config::reading::StandIn;
use crate::config::routes::Pattern;
use crate::config::scalar::{self, Scalar, Wrong, quoted};
use crate::config::section::Section;
use crate::config::text::Place;

use super::spool::read_lane;

/// A stream, and where its name and its lane stand.
pub(in crate::config) struct ReadStream {
    pub(in crate::config) stream: Stream,
    pub(in crate::config) place: Place,
    pub(in crate::config) lane: Place,
}

pub(in crate::config) fn stream(section: Section<'_>) -> Option<ReadStream> {
    let name = section.required("name", "\"orders\"", StandIn::Name, read_pattern, |n| quoted(n));
    let lane = section.value("lane", Config::main_lane(), read_lane, |lane| quoted(lane.as_str()));
    let (place, lane_place) = (section.place_of("name"), section.place_of("lane"));
    section.finish();
    name.map(|name| ReadStream { stream: Stream { name, lane }, place, lane: lane_place })
}

pub(in crate::config) fn read_pattern(scalar: &Scalar) -> Result<String, Wrong> {
    compiled(scalar).map(|pattern| pattern.as_str().to_owned())
}

pub(super) fn compiled(scalar: &Scalar) -> Result<Pattern, Wrong> {
    let text = scalar::text(scalar)?;
    Pattern::parse(&text).map_err(|e| (format!("can't be {}", quoted(&text)), e.to_string()))
}
