//! The house keeps its own rules: what `deny.toml` bans is not in `Cargo.lock`, and the README's commands are
//! those that CI runs.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Commands of the README that run the project itself, each on a line of its own in a `sh` block.
fn cargo_commands(readme: &str) -> Vec<String> {
    let blocks = support::readme::blocks(readme).into_iter().filter(|b| b.language == "sh");
    let lines: Vec<_> = blocks.flat_map(|b| b.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.into_iter().filter(|line| line.starts_with("cargo ")).collect()
}

/// Commands that the script does not run to the letter.
fn not_in_ci<'a>(commands: &'a [String], ci: &str) -> Vec<&'a String> {
    commands.iter().filter(|command| !ci.lines().any(|line| line == *command)).collect()
}

#[test]
fn ci_runs_the_commands_of_the_readme_to_the_letter() {
    let commands = cargo_commands(&read("README.md"));
    assert_eq!(commands, ["cargo run -- demo", "cargo test"], "the README's two commands");
    assert_eq!(not_in_ci(&commands, &read(".ci/run")), Vec::<&String>::new());
}

#[test]
fn the_readme_check_catches_a_command_that_ci_does_not_run() {
    let commands = cargo_commands("# A\n```sh\ncargo test\ncargo run -- demo\n```\n```toml\ncargo x\n```\n");
    assert_eq!(commands, ["cargo test", "cargo run -- demo"]);
    assert_eq!(not_in_ci(&commands, "set -e\ncargo test --locked\ncargo run -- demo\n"), ["cargo test"]);
}

#[test]
fn the_configuration_of_the_readme_is_right() {
    let blocks = support::readme::blocks(&read("README.md"));
    let toml = blocks.into_iter().find(|b| b.language == "toml").expect("an example");
    let path = support::process::scratch("readme-toml").join("spoolway.toml");
    std::fs::write(&path, toml.text).expect("a file");
    let output = support::agent::spoolway().arg("check").arg("-c").arg(&path).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn locked(lock: &str) -> BTreeSet<String> {
    let lock: toml::Table = lock.parse().expect("Cargo.lock is TOML");
    let packages = lock["package"].as_array().expect("packages");
    packages.iter().map(|p| p["name"].as_str().expect("a name").to_owned()).collect()
}

fn banned(deny: &str) -> BTreeSet<String> {
    let deny: toml::Table = deny.parse().expect("deny.toml is TOML");
    let bans = deny["bans"]["deny"].as_array().expect("bans.deny");
    bans.iter().map(|b| b["name"].as_str().expect("a name").to_owned()).collect()
}

/// Bindings that are no C code: to the kernel, or for systems this crate is not built on.
const SYS_WITHOUT_C: &[&str] = &["linux-raw-sys", "windows-sys", "js-sys", "web-sys"];

/// Packages of `lock` that may not be there.
fn offenders(lock: &str, deny: &str) -> Vec<String> {
    let banned = banned(deny);
    let bad = |name: &String| {
        banned.contains(name) || (name.ends_with("-sys") && !SYS_WITHOUT_C.contains(&name.as_str()))
    };
    locked(lock).into_iter().filter(bad).collect()
}

#[test]
fn no_banned_crate_and_no_c_binding_is_in_the_lock_file() {
    assert_eq!(offenders(&read("Cargo.lock"), &read("deny.toml")), Vec::<String>::new());
}

#[test]
fn the_ban_check_catches_a_banned_crate_and_an_unlisted_c_binding() {
    let lock = "[[package]]\nname = \"openssl\"\n[[package]]\nname = \"anything-sys\"\n[[package]]\nname = \"bytes\"\n";
    assert_eq!(offenders(lock, &read("deny.toml")), ["anything-sys", "openssl"]);
}

/// Advisories that a text names.
fn advisories(text: &str) -> BTreeSet<&str> {
    let named = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    named.filter(|word| word.starts_with("RUSTSEC-")).collect()
}

#[test]
fn the_advisories_that_stay_are_those_that_people_are_told_of() {
    let (told, deny) = (read("SECURITY.md"), read("deny.toml"));
    assert_eq!(advisories(&told), advisories(&deny));
    assert_eq!(advisories("x RUSTSEC-2024-0384, `RUSTSEC-2025-0057`").len(), 2);
}
