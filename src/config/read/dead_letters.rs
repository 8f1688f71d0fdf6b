//! `[dead_letters]`

use crate::config::model::DeadLetters;
use crate::config::scalar::{self, Scalar, Wrong, quoted};
use crate::config::section::{Section, bounds};
use crate::ids::TopicName;

pub(in crate::config) fn dead_letters(section: Section<'_>) -> DeadLetters {
    let default = DeadLetters::default();
    let range = bounds(1 << 20..=1 << 40, "when it is used up, what is refused holds back its topic");
    let dead_letters = DeadLetters {
        max_size: section.size("max_size", default.max_size, &range),
        topic: section.optional("topic", read_topic, |topic| quoted(topic.as_str())),
    };
    section.finish();
    dead_letters
}

fn read_topic(scalar: &Scalar) -> Result<TopicName, Wrong> {
    let text = scalar::text(scalar)?;
    TopicName::new(&text).map_err(|e| (format!("can't be {}", quoted(&text)), e.to_string()))
}
