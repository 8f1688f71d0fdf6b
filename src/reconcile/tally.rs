//! What one side has and the other has not, by hash.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::event::UnixMillis;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first that was named.
    Left,
    /// The second.
    Right,
}

/// 128 bits that stand for a key and a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(u128);

impl Hash {
    /// Of a record. `None` and empty are different; without `keys` the key does not count.
    #[must_use]
    pub fn of(key: Option<&[u8]>, value: Option<&[u8]>, keys: bool) -> Self {
        let key = key.filter(|_| keys);
        let len = |part: Option<&[u8]>| part.map_or(0, |p| p.len() as u64 + 1).to_le_bytes();
        let digest = Sha256::new()
            .chain_update(len(key))
            .chain_update(key.unwrap_or_default())
            .chain_update(len(value))
            .chain_update(value.unwrap_or_default());
        let bytes: [u8; 32] = digest.finalize().into();
        Self(bytes.first_chunk().map_or(0, |first| u128::from_le_bytes(*first)))
    }

    /// Whether a pass of `passes` looks at it.
    #[must_use]
    pub fn is_of_pass(self, pass: u64, passes: u64) -> bool {
        self.0 % u128::from(passes.max(1)) == u128::from(pass)
    }
}

/// Where a record stands: partition (0 of a file) and offset (line of a file).
pub type At = (i32, i64);

/// What is more on one side than on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surplus {
    /// Which side has more.
    pub side: Side,
    /// How many more.
    pub count: u64,
    /// Where the first of them stands.
    pub at: At,
    time: UnixMillis,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Tally {
    surplus: HashMap<Hash, Surplus>,
    matched: u64,
}

impl Tally {
    /// Takes a record in. When the other side had one like it that was not matched yet, its time stamp is given back.
    pub fn take(&mut self, side: Side, hash: Hash, at: At, time: UnixMillis) -> Option<UnixMillis> {
        use std::collections::hash_map::Entry;
        match self.surplus.entry(hash) {
            Entry::Vacant(place) => {
                place.insert(Surplus { side, count: 1, at, time });
                None
            }
            Entry::Occupied(mut place) if place.get().side == side => {
                place.get_mut().count += 1;
                None
            }
            Entry::Occupied(mut place) => {
                self.matched += 1;
                let other = place.get().time;
                place.get_mut().count -= 1;
                if place.get().count == 0 {
                    place.remove();
                }
                Some(other)
            }
        }
    }

    /// How many different records wait for their match.
    #[must_use]
    pub fn len(&self) -> usize {
        self.surplus.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.surplus.is_empty()
    }

    /// Pairs found.
    #[must_use]
    pub fn matched(&self) -> u64 {
        self.matched
    }

    /// What is only on one side.
    pub fn surplus(&self) -> impl Iterator<Item = Surplus> {
        self.surplus.values().copied()
    }
}
