//! `[spool]`, and the same for one lane: `[[lane]]`

use std::time::Duration;

use crate::config::model::{Lane, Spool, SpoolCompression, Sync, WhenFull};
use crate::config::reading::StandIn;
use crate::config::report::Problem;
use crate::config::scalar::{self, Scalar, Wrong, quoted, show_duration, show_size};
use crate::config::section::{Section, bounds};
use crate::config::text::Place;
use crate::ids::LaneName;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

pub(in crate::config) fn spool(section: Section<'_>) -> Spool {
    let default = Spool::default();
    let of_lanes = of_lane(&section, &default);
    let spool = Spool {
        max_event_size: section.memory(
            "max_event_size",
            default.max_event_size,
            &bounds(
                KIB..=16 * MIB,
                "an event is held in memory, and Kafka's own limit is 1 MiB unless raised",
            ),
        ),
        max_streams: section.count(
            "max_streams",
            default.max_streams,
            &bounds(1..=100_000, "what is kept for each stream is held in memory"),
        ),
        ..of_lanes
    };
    check_sizes(&section, &spool);
    tell_risk(&section, spool.sync);
    section.finish();
    spool
}

/// `[[lane]]`: what `[spool]` says is its default.
pub(in crate::config) fn lane(section: Section<'_>, spool: &Spool) -> Option<(Lane, Place)> {
    let name = section.required("name", "\"fast\"", StandIn::Name, read_lane, |n| quoted(n.as_str()));
    let spool = of_lane(&section, spool);
    // What is wrong with `[spool]` has been said there.
    if section.has("segment_size") || section.has("max_size") {
        check_sizes(&section, &spool);
    }
    if section.has("sync") {
        tell_risk(&section, spool.sync);
    }
    let first = section.flag("first", false);
    let place = section.place_of("name");
    section.finish();
    name.map(|name| (Lane { name, spool, first }, place))
}

pub(in crate::config) fn read_lane(scalar: &Scalar) -> Result<LaneName, Wrong> {
    let text = scalar::text(scalar)?;
    LaneName::new(&text).map_err(|e| (format!("can't be {}", quoted(&text)), e.to_string()))
}

/// The keys that a lane may have of its own.
fn of_lane(section: &Section<'_>, default: &Spool) -> Spool {
    let segment =
        bounds(MIB..=GIB, "smaller ones cost a file every moment, larger ones keep delivered events long");
    let size = |s: &Scalar| scalar::size(s).map(Some);
    let max_size =
        section.optional("max_size", size, |n| quoted(&show_size(n.unwrap_or_default()))).flatten();
    let size = |s: &Scalar| scalar::size(s).map(Some);
    let park_size =
        section.optional("park_size", size, |n| quoted(&show_size(n.unwrap_or_default()))).flatten();
    Spool {
        segment_size: section.size("segment_size", default.segment_size, &segment),
        max_size: max_size.or(default.max_size),
        reserve: section.size(
            "reserve",
            default.reserve,
            &bounds(0..=1 << 50, "what is left free on the file system"),
        ),
        park_size: park_size.or(default.park_size),
        when_full: section.choice("when_full", &WHEN_FULL, default.when_full),
        sync: section.value("sync", default.sync, sync, show_sync),
        commit_delay: section.duration(
            "commit_delay",
            default.commit_delay,
            &bounds(Duration::ZERO..=Duration::from_secs(1), "senders wait this long for their answer"),
        ),
        compression: section.choice("compression", &COMPRESSION, default.compression),
        retain_delivered: section.duration(
            "retain_delivered",
            default.retain_delivered,
            &bounds(Duration::ZERO..=Duration::from_hours(24 * 3650), "ten years should do"),
        ),
        max_event_size: default.max_event_size,
        max_streams: default.max_streams,
    }
}

const WHEN_FULL: [(&str, WhenFull); 3] =
    [("block", WhenFull::Block), ("reject", WhenFull::Reject), ("drop_oldest", WhenFull::DropOldest)];

const COMPRESSION: [(&str, SpoolCompression); 2] =
    [("lz4", SpoolCompression::Lz4), ("none", SpoolCompression::None)];

fn sync(scalar: &Scalar) -> Result<Sync, Wrong> {
    let help = "\"always\", or an interval from \"10ms\" to \"1m\"".to_owned();
    match scalar.as_text().map(str::trim) {
        Some("always") => return Ok(Sync::Always),
        Some(word) if word.starts_with(char::is_alphabetic) => {
            return Err((format!("can't be {}", quoted(word)), help));
        }
        _ => {}
    }
    let interval = scalar::duration(scalar)?;
    if interval < Duration::from_millis(10) || interval > Duration::from_mins(1) {
        return Err((format!("is {}, which is not within 10ms to 1m", show_duration(interval)), help));
    }
    Ok(Sync::Interval(interval))
}

/// What holds of `[spool]` where a key is left away whose default is told by the file system: `limit`, if it is known.
pub(in crate::config) fn told_by_the_disk(spool: &Spool, limit: Option<u64>) -> Vec<String> {
    let known =
        |bytes: Option<u64>| bytes.map_or(String::new(), |bytes| format!(" = {}", quoted(&show_size(bytes))));
    let max_size = format!(
        "max_size{}: by default the smaller of 10 GiB and half of the file system of relay.data_dir",
        known(limit)
    );
    let quota = spool.max_size.or(limit);
    let park_size =
        format!("park_size{}: by default a quarter of max_size", known(quota.map(|limit| limit / 4)));
    let left_away = [(spool.max_size, max_size), (spool.park_size, park_size)];
    left_away.into_iter().filter(|(set, _)| set.is_none()).map(|(_, comment)| comment).collect()
}

fn show_sync(sync: &Sync) -> String {
    match sync {
        Sync::Always => quoted("always"),
        Sync::Interval(interval) => quoted(&show_duration(*interval)),
    }
}

fn tell_risk(section: &Section<'_>, sync: Sync) {
    let Sync::Interval(interval) = sync else { return };
    let title = format!("a power cut may take what was accepted in the last {}", show_duration(interval));
    let help = "sync = \"always\" makes every event durable before it is accepted";
    section.reading.problem(Problem::at(&section.place_of("sync"), title).note().help(help));
}

/// An event must fit a segment with room to spare, and a lane must hold a segment beside the one that is
/// being written, else nothing could ever be deleted.
fn check_sizes(section: &Section<'_>, spool: &Spool) {
    let half = spool.segment_size / 2;
    if spool.max_event_size as u64 > half {
        let key = if section.has("max_event_size") { "max_event_size" } else { "segment_size" };
        let what = format!(
            "does not fit: spool.max_event_size is {}, and half of {}.segment_size is {}",
            show_size(spool.max_event_size as u64),
            section.name(),
            show_size(half)
        );
        let help = "make segments larger or the largest event smaller".to_owned();
        section.wrong(key, &section.place_of(key), (what, help));
    }
    let least = spool.segment_size.saturating_mul(2);
    if spool.max_size.is_some_and(|max| max < least) {
        let what = format!("is less than two segments, which are {}", show_size(least));
        let help = format!("make it larger, or {}.segment_size smaller", section.name());
        section.wrong("max_size", &section.place_of("max_size"), (what, help));
    }
}
