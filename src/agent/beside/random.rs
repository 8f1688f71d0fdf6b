//! Random harm to everything beside the log, by the thousand.

#![expect(clippy::print_stdout, reason = "the seed and the sums are what a person wants of a long run")]

use std::path::{Path, PathBuf};

use super::world::{Base, Found};

/// Trials of a push, and of the long version.
const SLICE: u64 = 300;
const LONG: u64 = 10_000;
const WORKERS: u64 = 4;

/// SplitMix64: the same seed does the same harm.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end.max(1) as u64) as usize
    }
}

/// Every file beside the log.
fn files(dir: &Path) -> Vec<PathBuf> {
    let named = ["FORMAT", "incarnation", "readers/main/home", "lanes/main/floor"];
    // An earlier harm of the same trial may have deleted it.
    let mut found: Vec<PathBuf> = named.iter().map(|n| dir.join(n)).filter(|p| p.exists()).collect();
    let ledger = std::fs::read_dir(dir.join("ledger")).unwrap().map(|e| e.unwrap().path());
    let mut ledger: Vec<_> = ledger.filter(|p| p.is_file()).collect();
    ledger.sort();
    found.append(&mut ledger);
    found
}

/// A place in a file; more often where something stands.
fn place(dice: &mut Dice, bytes: &[u8]) -> usize {
    let at = dice.below(bytes.len());
    let near = bytes.iter().skip(at).position(|b| *b != 0).map_or(at, |n| at + n);
    if dice.below(4) == 0 { at } else { near }
}

/// Does one thing to one file; says what.
fn harm(dice: &mut Dice, dir: &Path) -> String {
    let files = files(dir);
    let path = &files[dice.below(files.len())];
    let name = path.strip_prefix(dir).unwrap().display().to_string();
    let mut bytes = std::fs::read(path).unwrap();
    if bytes.is_empty() {
        bytes.push(0);
    }
    let at = place(dice, &bytes);
    let end = (at + 1 + dice.below(4096)).min(bytes.len());
    let what = match dice.below(9) {
        0 => {
            std::fs::remove_file(path).unwrap();
            return format!("{name} deleted");
        }
        1 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        2 => {
            bytes[at] ^= 1 << dice.below(8);
            format!("bit at {at}")
        }
        3 => {
            bytes[at] = dice.roll() as u8;
            format!("byte at {at}")
        }
        4 => {
            bytes[at..end].fill(0);
            format!("zeros at {at}..{end}")
        }
        5 => {
            bytes[at..end].fill_with(|| dice.roll() as u8);
            format!("garbage at {at}..{end}")
        }
        6 => {
            let page = at / 4096 * 4096;
            let len = 4096.min(bytes.len() - page);
            bytes[page..page + len].fill(0);
            format!("a zeroed page at {page}")
        }
        7 => {
            let from = dice.below(bytes.len() - (end - at) + 1);
            bytes.copy_within(from..from + (end - at), at);
            format!("{}..{} over {at}..{end}", from, from + (end - at))
        }
        _ => {
            let more = dice.below(10_000);
            bytes.resize_with(bytes.len() + more, || dice.roll() as u8);
            format!("{more} bytes more")
        }
    };
    std::fs::write(path, bytes).unwrap();
    format!("{name}: {what}")
}

fn trial(base: &Base, dice: &mut Dice) -> (String, Found) {
    let mut said = Vec::new();
    let (data, known) = if dice.below(3) == 0 { (&base.early, 200) } else { (&base.late, 500) };
    let found = base.trial(data, known, |dir| {
        for _ in 0..1 + dice.below(3) {
            said.push(harm(dice, dir));
        }
        if dice.below(5) == 0 {
            std::fs::write(dir.join("ledger/snap.0000000000000FFF.generating"), b"torn").unwrap();
            said.push("a torn snapshot".to_owned());
        }
    });
    let harm = said.join("; ");
    // Counts go on from the first event, or begin anew and say from where.
    let Found { account, .. } = &found;
    let settled = account.delivered + account.lost_to_damage;
    assert!(account.since_seq.0 == 1 || settled < known + 10, "{harm}: {found:?}");
    assert!(account.since_seq.0 > 1 || settled == known + 10, "{harm}: {found:?}");
    (harm, found)
}

/// Harms, doubled events, accounts that began anew.
fn trials(seed: u64, count: u64) -> (u64, u64) {
    let base = Base::live();
    let mut dice = Dice(seed);
    let (mut doubled, mut anew) = (0, 0);
    for n in 0..count {
        let (harm, found) = trial(&base, &mut dice);
        found.assert_lossless(&format!("SPOOLWAY_SEED={seed}, trial {n}: {harm}"));
        doubled += found.doubled;
        anew += u64::from(found.account.since_seq.0 > 1);
    }
    (doubled, anew)
}

#[test]
fn after_random_harm_beside_the_log_the_agent_starts_and_loses_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seed = number("SPOOLWAY_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    let count = if std::env::var_os("SPOOLWAY_SOAK").is_some() { LONG } else { SLICE };
    println!("SPOOLWAY_SEED={seed} trials={count}");
    // Most of a trial is waiting for the disk. The first worker has the seed that was asked for.
    let share = count / WORKERS;
    let (doubled, anew) = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..WORKERS).map(|n| scope.spawn(move || trials(seed.wrapping_add(n), share))).collect();
        let sums = workers.into_iter().map(|w| w.join().unwrap());
        sums.fold((0, 0), |(d, a), (doubled, anew)| (d + doubled, a + anew))
    });
    println!("{count} trials: nothing lost, {doubled} doubled, accounts begun anew {anew} times");
}
