use super::*;
use crate::config::effective::Effective;
use crate::config::reading::Environment;
use crate::config::report::Report;
use crate::config::text::Text;
use crate::config::tree::parse;

/// Reads `[x]` of a text with `read`; gives what it made of it, the findings and the effective values.
fn section<T>(text: &str, read: impl FnOnce(&Section<'_>) -> T) -> (T, String, String) {
    let files = vec![Text { path: "x.toml".into(), text: text.to_owned() }];
    let root = parse(&files, &mut vec![]);
    let lookup = |name: &str| (name == "SET").then(|| "hunter2".to_owned());
    let reading = Reading {
        files: &files,
        environment: &Environment::Lookup(&lookup),
        problems: RefCell::default(),
        effective: RefCell::new(Effective::default()),
        stood_in: std::cell::Cell::default(),
        secrets: RefCell::default(),
    };
    let Some(Data::Table(table)) = root.get("x").map(|e| &e.value.data) else { panic!("no [x]") };
    let section = Section::new(&reading, "x", "[x]", Some(table), Place { file: 0, span: 0..3 });
    let got = read(&section);
    section.finish();
    let (problems, effective) = (reading.problems.take(), reading.effective.take());
    (got, Report::new(files, problems).to_string(), effective.to_string())
}

#[test]
fn a_secret_must_come_from_elsewhere_and_is_shown_nowhere() {
    let (got, report, effective) = section("[x]\nkey = { env = \"SET\" }", |s| s.secret("key"));
    assert_eq!(got.unwrap().read().unwrap().reveal(), "hunter2");
    assert_eq!(report, "");
    assert!(!effective.contains("hunter2") && effective.contains("key = { env = \"SET\" }"), "{effective}");

    let (got, report, effective) = section("[x]\nkey = \"hunter2\"", |s| s.secret("key"));
    assert_eq!(got, None);
    assert!(report.contains("is a secret and must not stand here"), "{report}");
    assert!(!effective.contains("hunter2"), "{effective}");
}

#[test]
fn a_key_nobody_asked_for_is_reported_and_the_wrong_value_falls_back() {
    let all = bounds(1..=10, "ten are enough");
    let (got, report, _) = section("[x]\nsize = 11\nsizes = 1", |s| s.count("size", 7, &all));
    assert_eq!(got, 7);
    assert!(report.contains("`x.size` is 11, which is not within 1 to 10"), "{report}");
    assert!(report.contains("ten are enough"), "{report}");
    assert!(report.contains("`x.sizes` is not a known key") && report.contains("`size`?"), "{report}");
}

#[test]
fn a_reference_is_a_variable_or_a_file_and_nothing_else() {
    for (value, says) in [
        ("{ env = \"UNSET\" }", "the environment variable UNSET of `x.k` is not set"),
        ("{ env = \"SET\", file = \"f\" }", "must name either a variable or a file"),
        ("{ file = \"f\", default = \"d\" }", "must name either a variable or a file"),
        ("{ env = 7 }", "must name either a variable or a file"),
        ("{ var = \"SET\" }", "unknown key `var`"),
        ("{}", "must name either a variable or a file"),
    ] {
        let (_, report, _) = section(&format!("[x]\nk = {value}"), |s| s.text("k", String::new()));
        assert!(report.contains(says), "{value}: {report}");
    }
    let (got, report, _) =
        section("[x]\nk = { env = \"UNSET\", default = \"d\" }", |s| s.text("k", String::new()));
    assert_eq!((got.as_str(), report.as_str()), ("d", ""));
}

/// The reference's example, cut into pieces that still mean something.
fn example() -> Vec<&'static str> {
    let reference = include_str!("../../../docs/configuration.md");
    let example = reference.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    example.split_inclusive(['=', '"', '\n', ' ']).collect()
}

/// Loads a text; whatever comes of it must hold together.
fn holds_together(text: &str) -> Result<(), proptest::test_runner::TestCaseError> {
    match crate::config::load_text("x.toml", text, &Environment::Absent) {
        Ok(loaded) => {
            let printed = loaded.effective.to_string();
            let again = crate::config::load_text("x.toml", &printed, &Environment::Absent);
            let again =
                again.map_err(|report| proptest::test_runner::TestCaseError::fail(report.to_string()))?;
            proptest::prop_assert_eq!(again.effective, loaded.effective);
        }
        Err(report) => {
            proptest::prop_assert!(report.errors() > 0);
            proptest::prop_assert!(!report.render().is_empty());
            proptest::prop_assert!(report.rows().iter().all(|row| row.line != Some(0)));
        }
    }
    Ok(())
}

proptest::proptest! {
    #[test]
    fn no_change_to_a_good_text_makes_the_loader_panic_or_contradict_itself(
        changes in proptest::collection::vec((0usize..200, 0usize..200, 0u8..4), 0..4),
        noise in "[\\[\\]{}=\"'.#,é\n 0-9a-z_-]{0,12}",
    ) {
        let mut pieces = example();
        for (at, from, what) in changes {
            let (at, from) = (at % pieces.len(), from % pieces.len());
            let piece = pieces[from];
            match what {
                0 => drop(pieces.remove(at)),
                1 => pieces.insert(at, piece),
                2 => pieces[at] = piece,
                _ => pieces.insert(at, &noise),
            }
        }
        holds_together(&pieces.concat())?;
    }
}
