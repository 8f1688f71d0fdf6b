//! Negative controls: what is wrong on purpose is noticed, and by a verdict.

use super::play;
use super::world::{Control, World};

/// Tells stories until the verdict of one begins with one of `verdicts`. A story that ends for another reason (a panic of the engine, a
/// model that is not ready for the mistake) has caught nothing.
pub(super) fn assert_caught(what: &str, verdicts: &[&str], seeds: std::ops::Range<u64>, story: impl Fn(u64)) {
    let mut others = Vec::new();
    for seed in seeds {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| story(seed)));
        let Err(panic) = told else { continue };
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        if verdicts.iter().any(|verdict| text.starts_with(&format!("{verdict}: "))) {
            eprintln!("{what}: caught by story {seed}: {text:.80}");
            return;
        }
        others.push(format!("{seed}: {text:.200}"));
    }
    panic!("{what} is not caught; stories that ended otherwise: {others:#?}");
}

/// In some story.
fn assert_control(control: Control, beside: bool, verdicts: &[&str]) {
    assert_caught(&format!("{control:?}"), verdicts, 0..100, |seed| {
        let mut world = World::exact(seed, Some(control));
        world.beside = beside;
        play(world, 300, false);
    });
}

#[test]
fn a_journal_that_is_written_late_a_fresh_identity_and_windows_cut_anew_are_caught() {
    for control in [Control::WrittenAfterTheSend, Control::FreshIdentity, Control::CutAnew] {
        assert_control(control, false, &["doubled"]);
    }
    for control in [Control::SentWhileWritten, Control::FreshIdentity, Control::CutAnew] {
        assert_control(control, true, &["doubled"]);
    }
}
