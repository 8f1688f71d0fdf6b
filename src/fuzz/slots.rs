//! Files of slots: `floor`, positions.

use std::path::Path;

use super::settings;
use crate::disk::sim::SimFs;
use crate::disk::{Fs, Slots, look_at_slots};
use crate::ids::{DestinationName, LaneName, Seq, SpoolId};
use crate::metrics::Metrics;
use crate::spool::DataDir;
use crate::spool::stepped::{SteppedHost, SteppedLane};
use crate::state::positions::{Positions, Restored, Store};

const FILE: &str = "/slots";
/// Room for positions; those of an agent have much more, which would only cost time.
const ROOM: usize = 32 << 10;

/// The bytes are a file of slots; then the value of a slot whose checksum holds, in a positions file and in `floor`.
pub fn slots(bytes: &[u8]) {
    file(bytes);
    positions(bytes);
    floor(bytes);
}

/// It opens whatever it is, and what is saved then is found again.
fn file(bytes: &[u8]) {
    let fs = SimFs::default();
    // Slots are whole pages: the input says what stands at the start of each.
    let mut pages = Vec::new();
    for part in bytes.chunks(bytes.len().div_ceil(3).max(1)) {
        pages.extend_from_slice(part);
        pages.resize(pages.len().next_multiple_of(4096), 0);
    }
    fs.tamper(|world| world.rot(Path::new(FILE), pages.clone())).expect("a directory");
    let looked = look_at_slots(&fs, Path::new(FILE)).ok().flatten();
    let (mut slots, found) =
        Slots::open(&fs, Path::new(FILE), 100).expect("damage does not keep it from opening");
    assert!(found.is_none() || found == looked, "a tool reads the same value");
    if let Some(value) = looked.as_ref().or(found.as_ref()) {
        assert!(is_sealed(&pages, value), "a value without a checksum that holds is believed");
    }
    slots.save(b"new").expect("there is room");
    assert_eq!(reopened(&fs), Some(b"new".to_vec()), "what was saved is found");
    slots.sync().expect("the disk answers");
    let cut = SimFs::of(fs.world().after_power_cut(&[]));
    assert_eq!(reopened(&cut), Some(b"new".to_vec()), "what was synced is found after a power cut");
}

/// Whether some slot holds that value and its checksum.
fn is_sealed(pages: &[u8], value: &[u8]) -> bool {
    (0..pages.len()).step_by(4096).any(|at| {
        let slot = &pages[at..];
        let covered = slot.get(8..24 + value.len()).filter(|covered| covered.ends_with(value));
        covered.is_some_and(|covered| slot[4..8] == crc32fast::hash(covered).to_le_bytes())
    })
}

fn reopened(fs: &SimFs) -> Option<Vec<u8>> {
    Slots::open(fs, Path::new(FILE), 100).expect("it opens").1
}

/// A file with `value` in a slot whose checksum holds.
fn filled(fs: &SimFs, path: &Path, room: usize, value: &[u8]) {
    let parent = path.parent().expect("a directory");
    fs.create_dir(parent).expect("an empty disk");
    let (mut slots, _) = Slots::open(fs, path, room).expect("an empty disk");
    slots.save(value).expect("there is room");
}

fn positions(value: &[u8]) {
    let fs = SimFs::default();
    let (data, spool) = (Path::new("/data"), SpoolId(7));
    let (lane, home) =
        (LaneName::new("main").expect("a name"), DestinationName::new("home").expect("a name"));
    filled(&fs, &data.join("readers/main/home"), ROOM, value.get(..ROOM / 2).unwrap_or(value));
    let open = || {
        let opened = Store::open_sized(&fs, data, spool, &lane, &home, ROOM);
        opened.expect("damage does not keep it from opening")
    };
    let (mut store, found) = open();
    let found = match found {
        Restored::Positions(found) => *found,
        _ => Positions::fresh(spool, Seq::FIRST),
    };
    assert!(found.needed_from() <= found.position);
    store.save(&found).expect("there is room");
    assert_eq!(open().1, Restored::Positions(Box::new(found)), "what was read is written and read the same");
}

/// A lane opens above whatever its floor says, and goes on.
fn floor(value: &[u8]) {
    let fs = SimFs::default();
    filled(&fs, Path::new("/data/lanes/main/floor"), 24, value.get(..4000).unwrap_or(value));
    let host = std::sync::Arc::new(SteppedHost::new(1));
    let data = DataDir::open_on(fs, Path::new("/data"), host).expect("it opens");
    let lane = LaneName::new("main").expect("a name");
    let lane = SteppedLane::open(&data, lane, &settings(), Seq::NONE, &Metrics::new()).expect("it opens");
    let mut reader = lane.lane().reader(Seq::FIRST);
    while reader.next().expect("the disk answers").is_some() {}
}
