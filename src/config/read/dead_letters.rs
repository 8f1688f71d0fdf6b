//! `[dead_letters]`

use crate::config::model::DeadLetters;
use crate::config::section::{Section, bounds};

pub(in crate::config) fn dead_letters(section: Section<'_>) -> DeadLetters {
    let default = DeadLetters::default();
    let range = bounds(1 << 20..=1 << 40, "when it is used up, what is refused holds back its topic");
    let dead_letters = DeadLetters { max_size: section.size("max_size", default.max_size, &range) };
    section.finish();
    dead_letters
}
