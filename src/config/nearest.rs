//! "Did you mean …": the known name that a mistyped one is nearest to.

/// The candidate that `word` was most likely meant to be, if any is near enough: at most a third of its
/// characters changed, swapped, missing or added.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(&word, &candidate.to_lowercase())?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edit distance, `None` when it is too far to be a typing error. Lengths are compared first, because
/// senders choose the words and the full comparison takes the product of the lengths.
fn distance(a: &str, b: &str) -> Option<usize> {
    let allowed = (a.len().max(b.len()) / 3).max(1);
    if a.len().abs_diff(b.len()) > allowed {
        return None;
    }
    Some(strsim::damerau_levenshtein(a, b)).filter(|distance| *distance <= allowed)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typing_error_finds_its_word_and_a_foreign_word_finds_none() {
        let known = ["segment_size", "max_size", "max_event_size", "sync"];
        assert_eq!(nearest("segmnet_size", known), Some("segment_size"));
        assert_eq!(nearest("MaxSize", known), Some("max_size"));
        assert_eq!(nearest("sinc", known), Some("sync"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
