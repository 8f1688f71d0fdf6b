//! Holds `docs/operations.md` to the program.

use std::collections::BTreeSet;

const DOC: &str = include_str!("../../docs/operations.md");
const METRICS: &str = include_str!("../metrics.rs");

/// Every name of a metric in `text`, as far as it reaches.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let ends = |rest: &str| rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
    let starts = text.match_indices("spoolway_").map(|(at, _)| &text[at..]);
    starts.map(|rest| &rest[..ends(rest)]).collect()
}

#[test]
fn every_metric_is_explained_and_every_explained_metric_exists() {
    // The doc comments of metrics.rs carry the names as they are scraped.
    let comments: String = METRICS.lines().filter(|l| l.trim_start().starts_with("/// `spoolway_")).collect();
    let mut real = metric_names(&comments);
    real.insert("spoolway_build_info");
    assert!(real.len() > 15, "{real:?}");
    assert_eq!(metric_names(DOC), real);
}

#[test]
fn the_names_in_the_comments_are_those_that_are_registered() {
    let registered =
        METRICS.lines().filter_map(|l| l.trim_start().strip_prefix("\"spoolway_")?.split_once('"'));
    let registered: BTreeSet<String> = registered.map(|(name, _)| format!("spoolway_{name}")).collect();
    let comments: String = METRICS.lines().filter(|l| l.trim_start().starts_with("/// `spoolway_")).collect();
    let said: BTreeSet<String> =
        metric_names(&comments).iter().map(|name| name.trim_end_matches("_total").to_owned()).collect();
    assert_eq!(said, registered);
}

/// Every key of objects in `json`, however deep.
fn keys(json: &serde_json::Value, found: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                found.insert(name.clone());
                keys(value, found);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_field_of_status_readyz_and_ledger_is_explained() {
    let run = super::tests::running_with_everything();
    let mut found = BTreeSet::new();
    for path in ["/status", "/readyz", "/ledger"] {
        keys(&run.get(path).await.json(), &mut found);
    }
    assert!(found.len() > 45, "{found:?}");
    let lacking: Vec<_> = found
        .iter()
        .filter(|name| !DOC.contains(&format!("`{name}`")) && !DOC.contains(&format!("\"{name}\"")))
        .collect();
    assert!(lacking.is_empty(), "not in docs/operations.md: {lacking:?}");
}
