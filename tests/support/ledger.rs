//! The outside ledger: what a generator offered, and what it was told of each event.

/// What the sender knows of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing: the connection broke before the answer. It may be there or not, once.
    Nothing,
    /// Accepted: it must be there, once.
    Accepted,
    /// Refused: it must not be there.
    Refused,
}

/// One generator's events, by number.
#[derive(Debug, Clone)]
pub struct Book {
    /// Whose.
    pub generator: u32,
    entries: Vec<(Told, u64)>,
}

impl Book {
    /// An empty one.
    pub fn new(generator: u32) -> Self {
        Self { generator, entries: Vec::new() }
    }

    /// Writes down the next event before it is offered, with the hash of its payload. Returns its number.
    pub fn offer(&mut self, hash: u64) -> u64 {
        self.entries.push((Told::Nothing, hash));
        self.entries.len() as u64 - 1
    }

    /// What the next event's number will be.
    pub fn next(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Writes down what was said of events `from..`, all that were offered since.
    pub fn told(&mut self, from: u64, told: Told) {
        for entry in &mut self.entries[from as usize..] {
            entry.0 = told;
        }
    }

    /// What was said of event `number` and its hash, if it was ever offered.
    pub fn get(&self, number: u64) -> Option<(Told, u64)> {
        self.entries.get(usize::try_from(number).ok()?).copied()
    }

    /// How many events there are of a kind.
    pub fn count(&self, told: Told) -> u64 {
        self.entries.iter().filter(|(t, _)| *t == told).count() as u64
    }
}
