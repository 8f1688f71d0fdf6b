//! An agent whose data directory was damaged, or filled with what does not belong there, while it was stopped.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::agent::Setup;
use super::support::http;
use super::support::ports::free_port;
use super::support::random::Random;
use super::victim::{survives, verified};

/// Events of 20 KB, three segments of them.
const EVENTS: u64 = 150;

fn segments(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("lanes/main")).expect("a lane");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    found.sort();
    found
}

fn change(path: &Path, harm: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    harm(&mut bytes);
    fs::write(path, bytes).expect("it can be written");
}

/// Makes something else of the second segment.
fn instead(data: &Path, make: impl FnOnce(&Path)) {
    let segment = segments(data).swap_remove(1);
    fs::remove_file(&segment).expect("it can be removed");
    make(&segment);
}

/// 20 MB without sense, which must not be taken into memory as it is said to be.
fn noise(random: &mut Random) -> Vec<u8> {
    (0..20 << 17).flat_map(|_| random.number(0..u64::MAX).to_le_bytes()).collect()
}

#[test]
fn a_damaged_data_directory_costs_what_is_damaged_and_every_number_is_accounted_for() {
    let setup = Setup::new("hostile-disk")
        .destination("home", free_port(), "")
        .spool("segment_size = \"1MiB\"\nmax_event_size = \"400KiB\"\ncompression = \"none\"");
    let agent = setup.start();
    let body = [vec![b'x'; 20_000].as_slice(), b"\n"].concat();
    for _ in 0..EVENTS {
        let answer = http::post(setup.http, "/v1/events/kept", "", &body).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    agent.stop();
    let (data, kept) = (setup.data_dir(), setup.dir.join("kept"));
    fs::rename(&data, &kept).expect("it can be moved");
    assert!(segments(&kept).len() >= 3);
    let random = &mut Random::new("hostile-disk");
    let mut case = |what: &str, lost: std::ops::RangeInclusive<u64>, harm: &mut dyn FnMut(&mut Random)| {
        let copied = Command::new("cp").arg("-a").args([&kept, &data]).status().expect("cp starts");
        assert!(copied.success());
        harm(random);
        let harmed = verified(&setup, &[0, 3]);
        assert_eq!(harmed.events + harmed.lost, EVENTS, "{what}: {harmed:?}");
        assert!(lost.contains(&harmed.lost), "{what}: {harmed:?}");
        // By then a segment without a whole block is part of the log no more.
        let found = survives(&setup, what);
        assert_eq!(found.events, harmed.events + 1, "{what}: {found:?}");
        fs::remove_dir_all(&data).expect("it can be removed");
    };
    case("nothing", 0..=0, &mut |_| {});
    case("100 bits", 1..=100, &mut |random| {
        let segments = segments(&data);
        for _ in 0..100 {
            let segment = &segments[usize::try_from(random.number(0..2)).expect("small")];
            change(segment, |bytes| {
                let at = usize::try_from(random.number(0..bytes.len() as u64)).expect("small");
                bytes[at] ^= 1 << random.number(0..8);
            });
        }
    });
    case("a segment cut in half", 1..=60, &mut |_| change(&segments(&data)[0], |b| b.truncate(b.len() / 2)));
    case("lengths of u32::MAX", 1..=60, &mut |_| {
        change(&segments(&data)[0], |b| b[8192..].chunks_mut(4096).for_each(|page| page[..64].fill(0xff)));
    });
    case("a segment of noise", 1..=60, &mut |random| {
        let noise = noise(random);
        instead(&data, |path| fs::write(path, &noise).expect("it can be written"));
    });
    case("a FIFO", 1..=60, &mut |_| {
        instead(&data, |path| {
            assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo starts").success());
        });
    });
    case("a directory", 1..=60, &mut |_| instead(&data, |path| fs::create_dir(path).expect("a directory")));
    case("a link to what never ends", 1..=60, &mut |_| {
        instead(&data, |path| symlink("/dev/zero", path).expect("a link"));
    });
    for file in [
        "FORMAT",
        "incarnation",
        "readers/main/home",
        "lanes/main/floor",
        "lanes/main/catalogue",
        "ledger/db",
    ] {
        case(&format!("noise in place of {file}"), 0..=0, &mut |random| {
            let noise = noise(random);
            let path = data.join(file);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            fs::write(path, &noise).expect("it can be written");
        });
    }
}
