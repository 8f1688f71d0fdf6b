//! A data directory in which one of everything stands, as an earlier version wrote it: see `tests/golden/README.md`.
//!
//! `cargo test --lib -- --ignored golden::makes` makes the one of today's formats, if it is not there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::full::{Full, refit};
use super::world::World;
use crate::disk::RealFs;
use crate::ids::{DestinationName, LaneName};
use crate::spool::salvage::Old;
use crate::state::homes::HomesFile;
use crate::state::journal::Journal;
use crate::state::letters::Copied;
use crate::state::overrides::Overrides;
use crate::state::park;
use crate::state::positions::{self, Restored};
use crate::state::routes::RoutesFile;

/// The newest of them; a change of any format beside the log adds another.
const NEWEST: &str = "state-2";

/// What the outside knows of it.
#[derive(Serialize, Deserialize)]
struct Story {
    accepted: BTreeSet<u64>,
    parked: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
    in_doubt: BTreeSet<u64>,
}

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn tar(arguments: &[&str], archive: &Path, dir: &Path) {
    let mut tar = Command::new("tar");
    tar.args(arguments).arg(archive).arg("-C").arg(dir);
    if arguments.contains(&"-cf") {
        tar.arg(".");
    }
    assert!(tar.status().unwrap().success());
}

fn unpacked(name: &str) -> Full {
    let story = std::fs::read(place().join(format!("{name}.json"))).unwrap();
    let Story { accepted, parked, refused, delivered, in_doubt } = serde_json::from_slice(&story).unwrap();
    let world = World::new();
    let (early, late) = (world.place(), world.place());
    std::fs::create_dir(&late).unwrap();
    tar(&["-xzf"], &place().join(format!("{name}.tar.gz")), &late);
    Full { world, early, late, known: [BTreeSet::new(), accepted], parked, refused, delivered, in_doubt }
}

#[test]
fn everything_beside_the_log_is_read_as_every_version_wrote_it_and_nothing_is_lost_or_sent_again() {
    let entries = std::fs::read_dir(place()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = entries.filter_map(|n| n.strip_suffix(".tar.gz").map(str::to_owned)).collect();
    assert!(names.iter().any(|n| n == NEWEST), "golden directories are never taken away: {names:?}");
    for name in names {
        let base = unpacked(&name);
        assert_eq!(base.letters(&base.late), base.refused, "{name}");
        let found = base.trial(&base.late, &name, |_| ());
        assert!(
            found.missing.is_empty() && found.counted == 0 && found.again.is_empty(),
            "{name}: {found:?}"
        );
    }
}

/// Which files of today's golden directory, in a copy of it, do not say what was written.
fn unread(base: &Full, dir: &Path) -> Vec<&'static str> {
    let spool = Old::identify(&RealFs, dir).unwrap();
    let [main, side] = ["main", "side"].map(|name| LaneName::new(name).unwrap());
    let home = DestinationName::new("home").unwrap();
    let (_, homes) = HomesFile::open(&RealFs, dir, spool).unwrap();
    let (_, routes) = RoutesFile::open(&RealFs, dir, spool).unwrap();
    let has_positions = |lane| {
        let found = positions::look(&RealFs, dir, spool, lane).unwrap();
        found.iter().any(|(name, r)| *name == home && matches!(r, Restored::Positions(p) if p.position.0 > 1))
    };
    let has_intents = |lane| {
        let (_, found) = Journal::open(&RealFs, dir, spool, lane, &home);
        !found.intents.is_empty() && !found.damaged
    };
    let parked = || -> u64 {
        let files = park::files(&RealFs, dir, &side).unwrap();
        files.iter().map(|file| file.read(&RealFs, spool, |_| ()).unwrap().unwrap().events).sum()
    };
    refit(dir);
    let read = [
        ("homes", homes.highest(&main).is_some()),
        ("routes", format!("{routes:?}").contains("unmade")),
        ("overrides", Overrides::read(dir, "").set.len() == 1),
        ("readers/main/home", has_positions(&main)),
        ("readers/side/home", has_positions(&side)),
        ("journal/main", has_intents(&main)),
        ("lanes/main/catalogue", crate::spool::catalogued(&dir.join("lanes/main"), spool, "main") > 250),
        ("parked/side/home", parked() > 0),
        ("dead-letters", base.letters(dir) == base.refused),
        ("letters-copied", Copied::open(&RealFs, dir, spool).unwrap().of(&home) > 0),
    ];
    read.into_iter().filter(|(_, read)| !read).map(|(name, _)| name).collect()
}

#[test]
fn each_file_of_todays_golden_directory_says_what_was_written() {
    let base = unpacked(NEWEST);
    assert_eq!(unread(&base, &base.world.copy(&base.late)), Vec::<&str>::new());
}

#[test]
fn control_a_file_that_is_read_as_if_it_were_not_there_is_noticed() {
    let base = unpacked(NEWEST);
    for name in [
        "homes",
        "routes",
        "overrides",
        "readers/main/home",
        "readers/side/home",
        "journal/main",
        "lanes/main/catalogue",
        "parked/side/home",
        "dead-letters",
        "letters-copied",
    ] {
        let dir = base.world.copy(&base.late);
        super::files::remove(&dir.join(name));
        assert_eq!(unread(&base, &dir), [name]);
    }
}

#[test]
fn control_positions_or_parked_events_that_are_not_read_are_noticed_by_what_arrives() {
    let base = unpacked(NEWEST);
    let without = |name: &str| base.trial(&base.late, name, |dir| super::files::remove(&dir.join(name)));
    assert!(!without("readers/main/home").again.is_empty());
    assert!(!without("parked").missing.is_empty());
}

#[test]
#[ignore = "it makes what every later version reads, and is not made twice"]
fn makes_the_golden_directory_of_todays_formats() {
    let (archive, told) = (place().join(format!("{NEWEST}.tar.gz")), place().join(format!("{NEWEST}.json")));
    assert!(!archive.exists(), "a golden directory is never changed");
    let Full { late, known: [_, accepted], parked, refused, delivered, in_doubt, world: _world, .. } =
        Full::live();
    let options =
        ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-I", "gzip -9n", "-cf"];
    tar(&options, &archive, &late);
    let story = Story { accepted, parked, refused, delivered, in_doubt };
    std::fs::write(told, serde_json::to_vec(&story).unwrap()).unwrap();
}
