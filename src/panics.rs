//! What is said of a panic: always where it was, and what it said only where that can hold nothing of anybody's.
//!
//! What this promises: no secret and no event is in a panic's line, whatever was in hand. A message that was put together while the
//! program ran may repeat it: cutting a `str` amid a character alone quotes all of the text. So what is shown is messages that stand
//! in the source, and those of the language that have nothing but numbers in them. Of others their place is shown, which is what
//! whoever mends it has to know; `SPOOLWAY_PANICS=full` shows them, to be read before they are handed on.
//!
//! How: a hook takes the place of the standard library's, and writes one log line; with `RUST_BACKTRACE` the way to it
//! follows, which has names of functions and files alone. What others make of a panic, such as tokio's [`JoinError`], repeats its
//! message too, so it is never shown as it is: [`of_task`].

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::PanicHookInfo;

use tokio::task::JoinError;

/// Shows all that a panic says.
const VARIABLE: &str = "SPOOLWAY_PANICS";
/// Instead of what may be anybody's.
const KEPT_BACK: &str =
    "(its message is kept back: it may hold a secret or an event; SPOOLWAY_PANICS=full shows it)";
/// Messages of the language, with `#` for each number.
const NUMBERS_ALONE: [&str; 5] = [
    "index out of bounds: the len is # but the index is #",
    "range start index # out of range for slice of length #",
    "range end index # out of range for slice of length #",
    "slice index starts at # but ends at #",
    "copy_from_slice: source slice length (#) does not match destination slice length (#)",
];

/// From now on panics of this process are told so.
pub fn install() {
    let full = std::env::var_os(VARIABLE).is_some_and(|value| value == "full");
    std::panic::set_hook(Box::new(move |info| tell(info, full)));
}

/// Why a task did not come to its end: without what its panic said.
pub(crate) fn of_task(error: &JoinError) -> &'static str {
    if error.is_panic() { "it panicked, as the log says" } else { "it was cut off" }
}

fn tell(info: &PanicHookInfo<'_>, full: bool) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let said = shown(info.payload(), full);
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("thread '{name}' panicked at {place}: {said}");
    } else {
        write(format_args!("thread '{name}' panicked at {place}: {}\n", said.escape_debug()));
    }
    let way = Backtrace::capture();
    if way.status() == BacktraceStatus::Captured {
        write(format_args!("stack backtrace:\n{way}\n"));
    }
}

/// A standard error that takes nothing (a file on a full disk) must not make a second panic of the first, which would end the process.
fn write(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

/// What is shown of what a panic said.
pub(crate) fn shown(said: &(dyn Any + Send), full: bool) -> &str {
    if let Some(fixed) = said.downcast_ref::<&'static str>() {
        return fixed;
    }
    let made = said.downcast_ref::<String>().map_or("", String::as_str);
    if full || NUMBERS_ALONE.contains(&without_numbers(made).as_str()) { made } else { KEPT_BACK }
}

/// Every number is `#`.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_made(text: &str) -> String {
        shown(&text.to_owned(), false).to_owned()
    }

    #[test]
    fn what_a_panic_says_is_shown_where_it_stands_in_the_source_or_is_numbers() {
        assert_eq!(shown(&"attempt to divide by zero", false), "attempt to divide by zero");
        let index = "index out of bounds: the len is 3 but the index is 17";
        assert_eq!(of_made(index), index);
        assert_eq!(of_made("index out of bounds: the len is 3 but the index is x"), KEPT_BACK);
        assert_eq!(of_made("hunter2"), KEPT_BACK);
        assert_eq!(of_made("4711"), KEPT_BACK, "a number may be a secret");
        assert_eq!(shown(&"hunter2".to_owned(), true), "hunter2", "unless a person asks");
        assert_eq!(shown(&17, false), KEPT_BACK, "what is no text");
    }

    /// Each of them as it is said by the language of today: one that is worded otherwise would be kept back.
    #[test]
    fn the_messages_of_the_language_are_known_as_they_are() {
        let said = |work: fn(usize) -> usize| {
            let caught = std::panic::catch_unwind(|| work(std::hint::black_box(9))).unwrap_err();
            shown(&*caught, false).to_owned()
        };
        let works: [fn(usize) -> usize; 4] = [
            |at| std::hint::black_box(vec![1usize])[at],
            |at| std::hint::black_box(vec![1u8])[at..].len(),
            |at| std::hint::black_box(vec![1u8])[..at].len(),
            |at| std::hint::black_box(vec![1u8; 20])[at..3].len(),
        ];
        for (work, known) in works.into_iter().zip(NUMBERS_ALONE) {
            assert_eq!(without_numbers(&said(work)), known);
        }
    }

    #[test]
    fn cutting_a_text_amid_a_character_tells_nothing_of_it() {
        let cut = std::panic::catch_unwind(|| "hunt\u{e9}r2"[..std::hint::black_box(5)].len()).unwrap_err();
        assert!(cut.downcast_ref::<String>().is_some_and(|said| said.contains("hunt")), "it would");
        assert_eq!(shown(&*cut, false), KEPT_BACK);
    }

    #[tokio::test]
    async fn a_task_that_panicked_is_told_of_without_what_it_said() {
        let secret = std::hint::black_box("hunter2").to_owned();
        let panics = move || -> () { panic!("{secret}") };
        let error = tokio::task::spawn_blocking(panics).await.unwrap_err();
        assert!(error.to_string().contains("hunter2"), "tokio repeats it");
        assert!(!of_task(&error).contains("hunter2"));
    }
}
