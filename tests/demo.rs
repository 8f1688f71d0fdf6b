//! `spoolway demo` as anyone runs it: the agent is proven, the control is caught, nothing stays behind.

#![expect(clippy::unwrap_used, reason = "test code")]

use assert_cmd::Command;

fn demo(folder: &std::path::Path) -> Command {
    let mut command = Command::cargo_bin("spoolway").unwrap();
    command.env("TMPDIR", folder).arg("demo");
    command
}

#[test]
fn the_demo_proves_the_agent_catches_the_control_and_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path()).arg("--json").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |path: &str| report.pointer(path).and_then(serde_json::Value::as_u64).unwrap();
    assert_eq!(report.pointer("/proven"), Some(&true.into()), "{text}");
    assert_eq!(report.pointer("/control_caught"), Some(&true.into()), "{text}");
    assert!(number("/agent/accepted") > 10_000, "{text}");
    assert_eq!(number("/agent/delivered"), number("/agent/accepted"), "{text}");
    assert_eq!(number("/agent/missing") + number("/agent/reordered"), 0, "{text}");
    assert_eq!(number("/agent/doubled"), 0, "{text}");
    assert!(number("/control/missing") > 0, "{text}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the demo left something behind");
}

#[test]
fn a_cluster_that_is_not_there_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path()).args(["--bootstrap-server", "127.0.0.1:1"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("connecting to a broker at 127.0.0.1:1"), "{text}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the demo left something behind");
}

#[test]
fn the_sabotaged_agent_serves_the_demo_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spoolway.toml");
    let text = format!(
        "[relay]\ndata_dir = \"{}\"\n[[source]]\ntype = \"stdin\"\nstream = \"x\"\n[[destination]]\nname = \"a\"\n\
         bootstrap = [\"127.0.0.1:1\"]\n",
        folder.path().display()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::cargo_bin("spoolway").unwrap();
    let output = command.args(["demo-part", "sabotaged", "-c"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("serves `spoolway demo` alone"));
}
