//! `[[stream]]`: in this version, no more than a name.

use crate::config::model::MAIN_LANE;
use crate::config::reading::StandIn;
use crate::config::routes::Pattern;
use crate::config::scalar::{self, Scalar, Wrong, quoted};
use crate::config::section::Section;
use crate::config::text::Place;

/// The name or glob, and where it stands.
pub(in crate::config) fn stream(section: Section<'_>) -> Option<(String, Place)> {
    let name = section.required("name", "\"orders\"", StandIn::Name, read_pattern, |n| quoted(n));
    section.value("lane", MAIN_LANE.to_owned(), main_lane, |lane| quoted(lane));
    let place = section.place_of("name");
    section.finish();
    name.map(|name| (name, place))
}

pub(in crate::config) fn read_pattern(scalar: &Scalar) -> Result<String, Wrong> {
    let text = scalar::text(scalar)?;
    match Pattern::parse(&text) {
        Ok(_) => Ok(text),
        Err(e) => Err((format!("can't be {}", quoted(&text)), e.to_string())),
    }
}

fn main_lane(scalar: &Scalar) -> Result<String, Wrong> {
    let text = scalar::text(scalar)?;
    if text == MAIN_LANE {
        return Ok(text);
    }
    let what =
        format!("can't be {}: lanes other than \"{MAIN_LANE}\" are not in this version", quoted(&text));
    Err((what, "remove it; it comes with a later version".to_owned()))
}
