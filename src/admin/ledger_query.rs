//! The parameters of `/ledger`: `lane`, `destination`, `after`, `limit`.

use crate::ids::{DestinationName, LaneName};
use crate::state::ledger::{MAX_PAGE, Query};

use super::route::parameters;

/// Reads them.
///
/// # Errors
/// A sentence that says which one is wrong and what would be right.
pub(super) fn parse(query: &str) -> Result<Query, String> {
    let mut parsed = Query::default();
    for (name, value) in parameters(query) {
        match name {
            "lane" => parsed.lane = Some(LaneName::new(value).map_err(|e| format!("lane: {e}"))?),
            "destination" => {
                parsed.destination =
                    Some(DestinationName::new(value).map_err(|e| format!("destination: {e}"))?);
            }
            "after" => parsed.after = Some(value.parse().map_err(|e| format!("after: {e}"))?),
            "limit" => parsed.limit = limit(value)?,
            other => return Err(format!("{other:?} is not known: use lane, destination, after, limit")),
        }
    }
    Ok(parsed)
}

fn limit(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(limit) if (1..=MAX_PAGE).contains(&limit) => Ok(limit),
        _ => Err(format!("limit={value:?}: give a number from 1 to {MAX_PAGE}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_read() {
        let query = parse("lane=main&destination=home&after=main/home/7&limit=5").unwrap();
        assert_eq!(query.lane.unwrap().as_str(), "main");
        assert_eq!(query.destination.unwrap().as_str(), "home");
        assert_eq!(query.after.unwrap().to_string(), "main/home/7");
        assert_eq!(query.limit, 5);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, word) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("after=x", "after"),
            ("lane=", "lane"),
            ("page=2", "page"),
        ] {
            assert!(parse(query).unwrap_err().contains(word), "{query}");
        }
    }
}
