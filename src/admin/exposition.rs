//! The two text formats of `/metrics`.
//!
//! The registry writes OpenMetrics 1.0. A scraper that does not ask for it gets the older Prometheus text
//! format 0.0.4, which names a counter in `# TYPE` and `# HELP` as it stands in the samples and has no
//! `info` type: a strict reader refuses the whole scrape over that.

/// `Content-Type` of OpenMetrics.
pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// `Content-Type` of the Prometheus text format.
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether an `Accept` header asks for OpenMetrics.
pub(super) fn wants_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        name.eq_ignore_ascii_case("application/openmetrics-text") && !parts.any(|p| p == "q=0")
    })
}

/// OpenMetrics text in the Prometheus format 0.0.4.
pub(super) fn prometheus(openmetrics: &str) -> String {
    let types = openmetrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let kinds: std::collections::HashMap<&str, &str> = types.collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        if let Some(line) = translate(line, &kinds) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

fn translate<'a>(
    line: &'a str,
    kinds: &std::collections::HashMap<&str, &str>,
) -> Option<std::borrow::Cow<'a, str>> {
    let Some(comment) = line.strip_prefix("# ") else { return Some(line.into()) };
    let (word, rest) = comment.split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    let suffix = match *kinds.get(name)? {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    match word {
        "HELP" => Some(format!("# HELP {name}{suffix} {rest}").into()),
        "TYPE" => {
            let kind = match rest {
                "info" => "gauge",
                "unknown" => "untyped",
                other => other,
            };
            Some(format!("# TYPE {name}{suffix} {kind}").into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "# HELP a_build Version.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
        # HELP b Count of b.\n# TYPE b counter\n# UNIT b x\nb_total{l=\"# TYPE\"} 2\n\
        # HELP c Gauge.\n# TYPE c gauge\nc 1.5\n# EOF\n";

    #[test]
    fn counters_and_info_are_named_as_the_old_format_wants() {
        assert_eq!(
            prometheus(OPEN),
            "# HELP a_build_info Version.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
             # HELP b_total Count of b.\n# TYPE b_total counter\nb_total{l=\"# TYPE\"} 2\n\
             # HELP c Gauge.\n# TYPE c gauge\nc 1.5\n"
        );
    }

    #[test]
    fn openmetrics_goes_to_those_who_ask_for_it() {
        assert!(wants_openmetrics("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3"));
        assert!(wants_openmetrics("text/plain, Application/OpenMetrics-Text"));
        assert!(!wants_openmetrics("*/*"));
        assert!(!wants_openmetrics("application/openmetrics-text;q=0"));
    }
}
