//! Names in a data directory. One place makes them and one reads them back.

use crate::ids::SegmentId;

/// The file that says who the directory is.
pub(super) const FORMAT: &str = "FORMAT";
/// The file that is locked.
pub(super) const LOCK: &str = "LOCK";
/// Where it is needed, room that is let go of for delivery, in the data directory.
pub(super) const BALLAST: &str = "ballast";
/// The file that says which life of the directory this is.
pub(super) const INCARNATION: &str = "incarnation";
/// The directory of lanes.
pub(super) const LANES: &str = "lanes";
/// What a lane's directory is called to a person, and what holds while it is not where it was.
pub(super) const LANE_HOME: (&str, &str) =
    ("the lane's directory", "nothing is given up for lost, nothing deleted and no new segment begun");
/// The file, in a lane, that says what was deleted and why.
pub(super) const FLOOR: &str = "floor";
/// The file, in a lane of many segments, that says what their headers say.
pub(super) const CATALOGUE: &str = "catalogue";
/// What it is called while it is written.
pub(super) const CATALOGUE_NEW: &str = "catalogue.new";
const SUFFIX: &str = ".seg";
const DAMAGED: &str = ".damaged";
const DIGITS: usize = 20;
/// From here on a number counts only where a header says it too. A name that somebody made up must not use up the numbers of
/// the segments that are to come.
pub(super) const LAST_BY_NAME: SegmentId = SegmentId(1 << 62);

/// Name of a segment's file: 20 digits, so that names sort as numbers do.
pub(super) fn segment(id: SegmentId) -> String {
    format!("{:020}{SUFFIX}", id.0)
}

/// The segment a file's name stands for, if any.
pub(super) fn parse_segment(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(SUFFIX)?;
    let all = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    let id = all.then(|| digits.parse().ok()).flatten()?;
    (id > 0).then_some(SegmentId(id))
}

/// Name that a segment gets of which something was lost; before that, of the file that says so.
pub(super) fn damaged(id: SegmentId) -> String {
    segment(id) + DAMAGED
}

/// The segment that such a name stands for, if any.
pub(super) fn parse_damaged(name: &str) -> Option<SegmentId> {
    parse_segment(name.strip_suffix(DAMAGED)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_name_reads_back_and_nothing_else_does() {
        let id = SegmentId(u64::MAX);
        assert_eq!(parse_segment(&segment(id)), Some(id));
        assert_eq!((parse_damaged(&damaged(id)), parse_segment(&damaged(id))), (Some(id), None));
        assert_eq!(parse_damaged(&segment(id)), None);
        assert_eq!(segment(SegmentId(7)), "00000000000000000007.seg");
        for name in [
            "7.seg",
            "00000000000000000000.seg",
            "99999999999999999999.seg",
            "floor",
            "0000000000000000000a.seg",
        ] {
            assert_eq!(parse_segment(name), None, "{name}");
        }
    }
}
