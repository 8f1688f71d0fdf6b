//! Comparisons of files and of topics of the embedded target, against sets of everything.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;

use super::compare::compare_within;
use super::*;

fn file(dir: &Path, name: &str, lines: &[u8]) -> Source {
    let path = dir.join(name);
    let mut out = std::fs::File::create(&path).unwrap();
    lines.iter().for_each(|line| writeln!(out, "event {line}").unwrap());
    Source::File { path, rows: false }
}

fn run(left: Source, right: Source, waiting: usize) -> Comparison {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let sides = Sides { left, right, keys: false, examples: 3 };
    runtime.block_on(compare_within(&sides, waiting, |_, _| {})).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn what_only_one_side_has_is_counted_exactly_in_however_many_passes(
        left in proptest::collection::vec(0u8..40, 0..80),
        right in proptest::collection::vec(0u8..40, 0..80),
        waiting in 5usize..60,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut surplus: BTreeMap<u8, i64> = BTreeMap::new();
        left.iter().for_each(|n| *surplus.entry(*n).or_default() += 1);
        right.iter().for_each(|n| *surplus.entry(*n).or_default() -= 1);
        let only = |sign: i64| surplus.values().map(|n| (n * sign).max(0) as u64).sum::<u64>();
        let found = run(file(dir.path(), "left", &left), file(dir.path(), "right", &right), waiting);
        prop_assert_eq!((found.left.only_here, found.right.only_here), (only(1), only(-1)));
        prop_assert_eq!(found.matched, left.len() as u64 - only(1));
        prop_assert_eq!((found.left.pace.records, found.right.pace.records), (left.len() as u64, right.len() as u64));
        prop_assert_eq!(found.is_same(), surplus.values().all(|n| *n == 0));
        let kinds = |sign: i64| surplus.values().filter(|n| **n * sign > 0).count();
        prop_assert_eq!((found.left.examples.len(), found.right.examples.len()), (kinds(1).min(3), kinds(-1).min(3)));
    }
}

#[test]
fn an_example_says_where_it_stands_and_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let found = run(file(dir.path(), "left", &[1, 2, 2, 3]), file(dir.path(), "right", &[3, 1]), 100);
    let example = &found.left.examples[0];
    assert_eq!((example.offset, example.count, example.value.as_deref()), (2, 2, Some("event 2")));
    assert_eq!(found.passes, 1);
}

#[test]
fn more_than_fits_is_read_in_passes() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<u8> = (0..200).collect();
    let found = run(file(dir.path(), "left", &all), file(dir.path(), "right", &all[50..]), 20);
    assert_eq!((found.left.only_here, found.right.only_here, found.matched), (50, 0, 150));
    assert!(found.passes > 1);
    assert_eq!(found.right_behind_left_ms.quantile(500), None, "lines of a file have no time stamps");
}

#[test]
fn rows_of_a_dump_are_compared_with_keys_and_whatever_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump");
    let rows = "{\"lane\":\"main\",\"seq\":1,\"time\":5,\"key\":\"k\",\"value\":\"v\"}\n\
                {\"lane\":\"main\",\"seq\":2,\"time\":6,\"value_base64\":\"/w==\"}\n\
                {\"lane\":\"main\",\"seq\":3,\"time\":7,\"value\":null}\n";
    std::fs::write(&path, rows).unwrap();
    assert!(file::has_rows(&path).unwrap());
    let source = Source::File { path: path.clone(), rows: true };
    let found = run(source.clone(), source, 100);
    assert_eq!((found.matched, found.is_same()), (3, true));
    assert_eq!((found.left.pace.first_at, found.left.pace.last_at), (Some(5), Some(7)));
    assert_eq!(found.right_behind_left_ms.quantile(500), Some(0), "those of a dump have some");
    let hashes = [(Some("k"), Some("v")), (None, Some("v")), (None, None), (Some(""), Some("v"))];
    let bytes = |text: Option<&'static str>| text.map(str::as_bytes);
    let hashes: std::collections::HashSet<_> =
        hashes.iter().map(|(key, value)| Hash::of(bytes(*key), bytes(*value), true)).collect();
    assert_eq!(hashes.len(), 4);
    assert_eq!(Hash::of(Some(b"k"), Some(b"v"), false), Hash::of(None, Some(b"v"), false));
    std::fs::write(&path, format!("{rows}nonsense\n")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let source = Source::File { path, rows: true };
    let sides = Sides { left: source.clone(), right: source, keys: true, examples: 0 };
    let error = runtime.block_on(compare(&sides, |_, _| {})).unwrap_err();
    assert!(error.to_string().contains("line 4"), "{error}");
}
