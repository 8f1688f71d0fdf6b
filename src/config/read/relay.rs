//! `[relay]`

use crate::config::model::Relay;
use crate::config::scalar::{self, quoted};
use crate::config::section::Section;

pub(in crate::config) fn relay(section: Section<'_>) -> Relay {
    let default = Relay::default();
    let id = section.text("id", default.id);
    let place = section.place_of("data_dir");
    let read = |s: &scalar::Scalar| scalar::path(s).map(|written| section.reading.path(&place, &written));
    let data_dir = section.value("data_dir", default.data_dir, read, |path| quoted(&path.to_string_lossy()));
    let watch = section.flag("watch", default.watch);
    section.finish();
    Relay { id, data_dir, watch }
}
