//! What time stamps say of a side's pace.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::UnixMillis;

/// Leading bits of a difference that are kept: quantiles are right to 3 %.
const PRECISION: u32 = 5;

/// Differences in milliseconds, kept as how many there were of about each size. Bounded: some two thousand sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spread {
    counts: BTreeMap<i64, u64>,
    total: u64,
}

impl Spread {
    /// Takes a difference in.
    pub fn take(&mut self, difference: i64) {
        *self.counts.entry(rounded(difference)).or_default() += 1;
        self.total += 1;
    }

    /// Takes in what another one has.
    pub(super) fn add(&mut self, other: &Spread) {
        other.counts.iter().for_each(|(size, count)| *self.counts.entry(*size).or_default() += count);
        self.total += other.total;
    }

    /// The difference that a share of all does not exceed; `None` when there is none.
    #[must_use]
    pub fn quantile(&self, permille: u64) -> Option<i64> {
        let rank = self.total.checked_mul(permille)?.div_ceil(1000).max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|(size, count)| {
            seen += count;
            (seen >= rank).then_some(*size)
        })
    }
}

/// Towards zero, to the leading bits.
fn rounded(difference: i64) -> i64 {
    let size = difference.unsigned_abs();
    let drop = (u64::BITS - size.leading_zeros()).saturating_sub(PRECISION);
    let kept = i64::try_from(size >> drop << drop).unwrap_or(i64::MAX);
    if difference < 0 { -kept } else { kept }
}

impl Serialize for Spread {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut row = s.serialize_struct("Spread", 4)?;
        row.serialize_field("p50", &self.quantile(500))?;
        row.serialize_field("p99", &self.quantile(990))?;
        row.serialize_field("max", &self.quantile(1000))?;
        row.serialize_field("count", &self.total)?;
        row.end()
    }
}

/// The pace of one side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pace {
    /// Records.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// The oldest time stamp.
    pub first_at: Option<UnixMillis>,
    /// The newest.
    pub last_at: Option<UnixMillis>,
    /// From an event's own time to the broker's stamp, in milliseconds. Only of records that the broker stamped when it
    /// appended them and that say their event's time (header `spoolway`).
    pub latency_ms: Spread,
}

impl Pace {
    /// Takes a record in.
    pub fn take(&mut self, bytes: usize, time: UnixMillis, latency: Option<i64>) {
        self.records += 1;
        self.bytes += bytes as u64;
        self.first_at = Some(self.first_at.map_or(time, |first| first.min(time)));
        self.last_at = self.last_at.max(Some(time));
        latency.into_iter().for_each(|latency| self.latency_ms.take(latency));
    }

    /// Records a second between the oldest and the newest time stamp; `None` where that is less than a second.
    #[must_use]
    pub fn per_second(&self) -> Option<u64> {
        let span = u64::try_from(self.last_at?.saturating_sub(self.first_at?)).ok()?;
        (span >= 1000)
            .then(|| u64::try_from(u128::from(self.records) * 1000 / u128::from(span)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quantile_is_near_the_true_one(mut all in proptest::collection::vec(-1_000_000i64..1_000_000, 1..200), permille in 1u64..=1000) {
            let mut spread = Spread::default();
            all.iter().for_each(|d| spread.take(*d));
            all.sort_unstable();
            let rank = (all.len() as u64 * permille).div_ceil(1000).max(1);
            let exact = all[rank as usize - 1];
            let found = spread.quantile(permille).unwrap();
            prop_assert!((found - exact).abs() * 16 <= exact.abs(), "{} for {}", found, exact);
        }
    }

    #[test]
    fn records_a_second_are_those_between_the_oldest_and_the_newest() {
        let mut pace = Pace::default();
        assert_eq!((pace.per_second(), pace.latency_ms.quantile(500)), (None, None));
        (0..=20).for_each(|n| pace.take(10, 5_000 + n * 100, None));
        assert_eq!((pace.per_second(), pace.bytes), (Some(10), 210));
    }
}
