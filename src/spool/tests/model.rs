//! Random workloads against a model: everything accepted is read back, through rotation, reopening, crashes.

use proptest::prelude::*;

use super::*;
use crate::disk::RealFs;

#[derive(Debug, Clone)]
enum Step {
    Append(bool, Vec<usize>),
    Reopen,
    /// A process that dies: its directory is copied as it is, and the copy opened.
    Crash,
    AtLeast(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), proptest::collection::vec(prop_oneof![0usize..400, 3000usize..9000], 1..12))
            .prop_map(|(s, sizes)| Step::Append(s, sizes)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => (0u64..3).prop_map(Step::AtLeast),
    ]
}

/// Bytes that tell one event from another, half of them compressible.
fn value(n: u64, size: usize) -> Vec<u8> {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as u8
    };
    (0..size).map(|i| if n.is_multiple_of(2) { next() } else { (i / 50) as u8 }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn everything_accepted_is_read_back(steps in proptest::collection::vec(step(), 1..25), lz4 in any::<bool>()) {
        let compression = if lz4 { SpoolCompression::Lz4 } else { SpoolCompression::None };
        let settings = Spool { compression, segment_size: 24 << 10, ..settings() };
        let root = tempfile::tempdir().unwrap();
        let mut dir = root.path().join("0");
        let mut lane = open(&RealFs, &dir, &settings, Seq::NONE);
        let (mut model, mut missing, mut next, mut made) = (Found::new(), 0, 1u64, 0);
        let mut at_least = 0;
        let runtime = runtime();
        for (i, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(s, sizes) => {
                    let name = if s { "a" } else { "b" };
                    let values: Vec<_> = sizes.iter().map(|size| { made += 1; value(made, *size) }).collect();
                    let done = runtime.block_on(lane.append(stream(name), batch(&values), Patience::Forever)).unwrap();
                    prop_assert_eq!(done.first.0, next);
                    for value in values {
                        model.insert(next, (name.to_owned(), value));
                        next += 1;
                    }
                }
                Step::Reopen => {
                    lane.close();
                    drop(lane);
                    lane = open(&RealFs, &dir, &settings, Seq(at_least));
                }
                Step::Crash => {
                    let copy = root.path().join((i + 1).to_string());
                    copy_dir(&dir, &copy);
                    lane.close();
                    dir = copy;
                    lane = open(&RealFs, &dir, &settings, Seq(at_least));
                }
                Step::AtLeast(more) => {
                    lane.close();
                    drop(lane);
                    at_least = next + more;
                    lane = open(&RealFs, &dir, &settings, Seq(at_least));
                    // A lane that never held anything has nothing to miss.
                    missing += more;
                    next += more;
                    if model.is_empty() && missing > 0 {
                        missing = next - 1;
                    }
                }
            }
        }
        let (events, holes) = read_all(&lane, 1);
        prop_assert_eq!(events, model);
        prop_assert_eq!(holes.iter().map(|h| h.range.len()).sum::<u64>(), missing);
        lane.close();
    }
}
