//! `[[route]]`

use crate::config::model::{Route, TopicTemplate};
use crate::config::reading::StandIn;
use crate::config::scalar::{self, Scalar, Wrong, quoted};
use crate::config::section::Section;
use crate::config::text::Place;
use crate::ids::DestinationName;

use super::stream::read_pattern;

/// A route, and where it names its destination.
pub(in crate::config) struct ReadRoute {
    pub(in crate::config) route: Route,
    pub(in crate::config) to: Place,
}

/// `None` when something that has no default is missing or wrong, which has been reported.
pub(in crate::config) fn route(section: Section<'_>) -> Option<ReadRoute> {
    let streams = streams(&section);
    let to = section.required("to", "\"home\"", StandIn::Name, read_name, |n| quoted(n.as_str()));
    let topic = section.value("topic", TopicTemplate::stream(), read_topic, |t| quoted(&t.to_string()));
    let place = section.place_of("to");
    section.finish();
    Some(ReadRoute { route: Route { streams: streams?, to: to?, topic, only: false }, to: place })
}

fn streams(section: &Section<'_>) -> Option<Vec<String>> {
    let mut streams = vec![];
    for (scalar, place) in section.texts("streams", "[\"orders\", \"audit.*\"]", false)? {
        let scalar = match scalar {
            Scalar::Placeholder => section.reading.stand_in(StandIn::Name),
            scalar => scalar,
        };
        match read_pattern(&scalar) {
            Ok(pattern) => streams.push(pattern),
            Err(wrong) => section.wrong("streams", &place, wrong),
        }
    }
    section.show_list("streams", streams.iter().cloned());
    if streams.is_empty() { None } else { Some(streams) }
}

fn read_name(scalar: &Scalar) -> Result<DestinationName, Wrong> {
    let text = scalar::text(scalar)?;
    DestinationName::new(&text).map_err(|e| (format!("can't be {}", quoted(&text)), e.to_string()))
}

fn read_topic(scalar: &Scalar) -> Result<TopicTemplate, Wrong> {
    let text = scalar::text(scalar)?;
    TopicTemplate::parse(&text).map_err(|e| {
        (format!("can't be {}: {e}", quoted(&text)), "a fixed name, or text with {stream} in it".to_owned())
    })
}
