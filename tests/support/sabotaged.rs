//! The agent with a deliberate bug, for negative controls.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The agent with the bug of that name (see `src/sabotage.rs`).
pub fn sabotaged(bug: &str) -> Command {
    let mut command = Command::new(binary());
    command.env("SPOOLWAY_SABOTAGE", bug);
    command
}

/// Built once, beside the binary under test; cargo does nothing when it is there.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let beside = Path::new(env!("CARGO_BIN_EXE_spoolway"));
        let profile = beside.parent().expect("a directory");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.args(["build", "--quiet", "--features", "simulation", "--bin", "spoolway-sabotaged"]);
        command.arg("--target-dir").arg(profile.parent().expect("a target directory"));
        if profile.ends_with("release") {
            command.arg("--release");
        }
        // What cargo says of this package while it runs its tests counts as a change for ring's build script: ring and
        // all that is made with it would be built here, and once more by whoever calls cargo next.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        let output = command.output().expect("cargo starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        profile.join("spoolway-sabotaged")
    })
}
