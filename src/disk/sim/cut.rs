//! Power cuts: which of the unsynced changes reached the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::world::{Change, Directory, FileId, FileState, NameChange, Node, SECTOR, World, put};

/// One unsynced change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// A write that touches so many sectors.
    Write(usize),
    /// A change of a file's size, or of a name: all of it or nothing.
    Whole,
}

/// What became of an unsynced change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Choice {
    /// Nothing of it.
    Lost,
    /// All of it.
    Kept,
    /// The sectors before the given one.
    Head(usize),
    /// The sectors from the given one on.
    Tail(usize),
    /// Every second sector, beginning with the first.
    Even,
}

impl Choice {
    fn keeps(self, sector: usize) -> bool {
        match self {
            Choice::Lost => false,
            Choice::Kept => true,
            Choice::Head(n) => sector < n,
            Choice::Tail(n) => sector >= n,
            Choice::Even => sector.is_multiple_of(2),
        }
    }
}

impl Pending {
    /// Everything that can become of it. Writes of up to four sectors are torn at every sector in both
    /// directions, larger ones at the first, the middle and the last.
    fn choices(&self) -> Vec<Choice> {
        let mut choices = vec![Choice::Lost, Choice::Kept];
        let Pending::Write(sectors) = *self else { return choices };
        let cuts: BTreeSet<usize> =
            if sectors <= 4 { (1..sectors).collect() } else { [1, sectors / 2, sectors - 1].into() };
        for at in cuts {
            choices.extend([Choice::Head(at), Choice::Tail(at)]);
        }
        if sectors > 2 {
            choices.push(Choice::Even);
        }
        choices
    }
}

/// Where an unsynced change stands.
#[derive(Debug, Clone)]
enum Place {
    Data(FileId, usize),
    Name(PathBuf, usize),
}

/// Every way in which a power cut can end: the product of what can become of each unsynced change; where that is
/// more than the limit, each change by itself against all others lost and all others kept, and combinations
/// drawn from a seed up to the limit.
#[derive(Debug)]
pub struct Cuts {
    options: Vec<Vec<Choice>>,
    product: u64,
    limit: u64,
    next: u64,
    random: u64,
}

impl Cuts {
    fn new(pending: &[Pending], limit: u64) -> Self {
        let options: Vec<_> = pending.iter().map(Pending::choices).collect();
        let product = options.iter().fold(1u64, |product, o| product.saturating_mul(o.len() as u64));
        Self { options, product, limit, next: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Whether every combination is tried.
    #[must_use]
    pub fn is_exhaustive(&self) -> bool {
        self.product <= self.limit
    }

    /// The combination with that number, counting as numbers with a different base in each place do.
    fn combination(&self, mut number: u64) -> Vec<Choice> {
        let mut digit = |options: &Vec<Choice>| {
            let base = options.len() as u64;
            let at = usize::try_from(number % base).unwrap_or(0);
            number /= base;
            options.get(at).copied().unwrap_or(Choice::Lost)
        };
        self.options.iter().map(&mut digit).collect()
    }

    /// One change by itself against all others, else a draw.
    fn sample(&mut self, number: u64) -> Vec<Choice> {
        let mut number = number;
        for rest in [Choice::Lost, Choice::Kept] {
            for (place, options) in self.options.iter().enumerate() {
                for choice in options {
                    if number == 0 {
                        let mut all = vec![rest; self.options.len()];
                        all.iter_mut().skip(place).take(1).for_each(|c| *c = *choice);
                        return all;
                    }
                    number -= 1;
                }
            }
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.combination(self.random % self.product.max(1))
    }
}

impl Iterator for Cuts {
    type Item = Vec<Choice>;

    fn next(&mut self) -> Option<Vec<Choice>> {
        let number = self.next;
        if number >= self.product.min(self.limit) {
            return None;
        }
        self.next += 1;
        Some(if self.is_exhaustive() { self.combination(number) } else { self.sample(number) })
    }
}

impl World {
    /// Unsynced changes that can make a difference, in a fixed order.
    fn places(&self) -> Vec<(Place, Pending)> {
        let mut places = Vec::new();
        let mut reachable = BTreeSet::new();
        for (path, directory) in &self.directories {
            for (index, _) in directory.pending.iter().enumerate() {
                places.push((Place::Name(path.clone(), index), Pending::Whole));
            }
            reachable.extend(files_of(directory));
        }
        for id in reachable {
            let pending = self.files.get(&id).map(|f| f.pending.as_slice()).unwrap_or_default();
            for (index, change) in pending.iter().enumerate() {
                let kind = match change {
                    Change::Resize(_) => Pending::Whole,
                    Change::Write { offset, data } => Pending::Write(sectors(*offset, data.len())),
                };
                places.push((Place::Data(id, index), kind));
            }
        }
        places
    }

    /// What a power cut can do to it, in at most `limit` ways; see [`Cuts`].
    #[must_use]
    pub fn cuts(&self, limit: u64) -> Cuts {
        let pending: Vec<_> = self.places().into_iter().map(|(_, pending)| pending).collect();
        Cuts::new(&pending, limit)
    }

    /// One way in which a power cut can end.
    #[must_use]
    pub fn drawn_cut(&self, draw: u64) -> Vec<Choice> {
        let cuts = self.cuts(u64::MAX);
        cuts.combination(draw % cuts.product.max(1))
    }

    /// The disk after a power cut in which each unsynced change came out as chosen.
    #[must_use]
    pub fn after_power_cut(&self, choices: &[Choice]) -> World {
        let mut data: BTreeMap<FileId, BTreeMap<usize, Choice>> = BTreeMap::new();
        let mut names: BTreeMap<PathBuf, BTreeSet<usize>> = BTreeMap::new();
        for ((place, _), choice) in self.places().into_iter().zip(choices) {
            match place {
                Place::Data(id, index) => {
                    data.entry(id).or_default().insert(index, *choice);
                }
                Place::Name(path, index) if *choice == Choice::Kept => {
                    names.entry(path).or_default().insert(index);
                }
                Place::Name(..) => {}
            }
        }
        let mut after = World {
            next_file: self.next_file,
            capacity: self.capacity,
            unreadable: self.without_cache(),
            shut: self.shut.clone(),
            ..World::default()
        };
        self.keep_directory(&PathBuf::from("/"), &names, &mut after);
        let kept: BTreeSet<FileId> = after.directories.values().flat_map(files_of).collect();
        for id in kept {
            let Some(file) = self.files.get(&id) else { continue };
            after.files.insert(id, after_cut(file, data.get(&id)));
        }
        after
    }

    /// What can't be read once nothing is in memory any more.
    fn without_cache(&self) -> BTreeMap<FileId, BTreeSet<usize>> {
        let mut unreadable = self.unreadable.clone();
        for (id, sectors) in &self.cached {
            unreadable.entry(*id).or_default().extend(sectors);
        }
        unreadable
    }

    fn keep_directory(&self, path: &PathBuf, names: &BTreeMap<PathBuf, BTreeSet<usize>>, after: &mut World) {
        let Some(before) = self.directories.get(path) else {
            // Its name was kept, and it has been removed or renamed since: empty.
            after.directories.insert(path.clone(), Directory::default());
            return;
        };
        let mut durable = before.durable.clone();
        for (index, change) in before.pending.iter().enumerate() {
            if names.get(path).is_some_and(|kept| kept.contains(&index)) {
                change.apply(&mut durable);
            }
        }
        for (name, node) in &durable {
            if *node == Node::Directory {
                self.keep_directory(&path.join(name), names, after);
            }
        }
        let directory = Directory { id: before.id, live: durable.clone(), durable, pending: Vec::new() };
        after.directories.insert(path.clone(), directory);
    }
}

fn sectors(offset: usize, len: usize) -> usize {
    (offset + len).div_ceil(SECTOR) - offset / SECTOR
}

fn files_of(directory: &Directory) -> Vec<FileId> {
    let of = |node: &Node| match node {
        Node::File(id) => Some(*id),
        _ => None,
    };
    let changed = directory.pending.iter().filter_map(|change| match change {
        NameChange::Set(_, node) | NameChange::Rename { node, .. } => of(node),
        NameChange::Remove(_) => None,
    });
    directory.durable.values().filter_map(of).chain(changed).collect()
}

fn after_cut(file: &FileState, choices: Option<&BTreeMap<usize, Choice>>) -> FileState {
    if file.pending.is_empty() {
        let durable = Arc::clone(&file.durable);
        return FileState { live: Arc::clone(&durable), durable, pending: Vec::new() };
    }
    let mut bytes = file.durable.as_ref().clone();
    for (index, change) in file.pending.iter().enumerate() {
        let choice = choices.and_then(|c| c.get(&index)).copied().unwrap_or(Choice::Lost);
        match change {
            Change::Resize(_) if choice == Choice::Kept => change.apply(&mut bytes),
            Change::Resize(_) => {}
            Change::Write { offset, data } => put_torn(&mut bytes, *offset, data, choice),
        }
    }
    let durable = Arc::new(bytes);
    FileState { live: Arc::clone(&durable), durable, pending: Vec::new() }
}

/// Writes those sectors of `data` that the choice keeps.
fn put_torn(bytes: &mut Vec<u8>, offset: usize, data: &[u8], choice: Choice) {
    if choice == Choice::Kept {
        return put(bytes, offset, data);
    }
    let first = offset / SECTOR;
    for sector in 0..sectors(offset, data.len()) {
        if !choice.keeps(sector) {
            continue;
        }
        let begin = ((first + sector) * SECTOR).max(offset);
        let end = ((first + sector + 1) * SECTOR).min(offset + data.len());
        if let Some(part) = data.get(begin - offset..end - offset) {
            put(bytes, begin, part);
        }
    }
}
