//! Commands that need no cluster, as a person or a package runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use super::lonely;
use super::support::agent::spoolway;
use super::support::process::scratch;

fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = spoolway();
    command.current_dir(dir).env_remove("SPOOLWAY_ADMIN").args(args);
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn healthcheck_is_0_for_an_agent_that_is_well_and_1_for_whatever_else() {
    let setup = lonely("healthcheck");
    let agent = setup.start();
    let ask = |more: &[&str]| run(&setup.dir, &[&["healthcheck", "-c", "spoolway.toml"][..], more].concat());
    assert_eq!(ask(&[]), (Some(0), "healthy\n".to_owned(), String::new()));
    assert_eq!(ask(&["--ready", "accept"]).0, Some(0));
    let (code, _, said) = ask(&["--ready", "deliver"]);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("not ready: destination home"), "{said}");
    agent.kill();
    let (code, _, said) = ask(&[]);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("no agent answers"), "{said}");
    fs::write(
        setup.dir.join("off.toml"),
        setup.config().replace("[admin]\nlisten = ", "[admin]\nlisten = \"off\" # "),
    )
    .expect("a file");
    let (code, _, said) = run(&setup.dir, &["healthcheck", "-c", "off.toml"]);
    assert!(code == Some(1) && said.contains("admin.listen is \"off\""), "{said}");
    assert_eq!(run(&setup.dir, &["healthcheck", "-c", "absent.toml"]).0, Some(1), "2 is reserved");
}

#[test]
fn init_writes_what_check_accepts_for_others_to_read_and_never_over_a_file() {
    let dir = scratch("init");
    let args = ["init", "-o", "spoolway.toml", "-b", "k1:9092,k2:9092", "--data-dir", "data"];
    let (code, out, said) = run(&dir, &args);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{said}");
    let path = dir.join("spoolway.toml");
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
    let plain = dir.join("plain");
    fs::write(&plain, "").expect("a file");
    assert_eq!(
        mode & 0o077,
        fs::metadata(&plain).expect("a file").permissions().mode() & 0o044,
        "by the umask alone"
    );
    let (code, out, said) = run(&dir, &["check", "-c", "spoolway.toml"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{out}");
    let written = fs::read_to_string(&path).expect("text");
    assert!(written.contains("bootstrap = [\"k1:9092\", \"k2:9092\"]"), "{written}");
    let (code, _, said) = run(&dir, &["init", "-o", "spoolway.toml"]);
    assert!(code == Some(1) && said.contains("is there already"), "{said}");
    assert_eq!(fs::read_to_string(&path).expect("text"), written);
    let (code, printed, _) = run(&dir, &["init"]);
    assert!(code == Some(0) && printed.contains("/var/lib/spoolway"), "{printed}");
}

#[test]
fn a_package_gets_its_manual_pages_and_completions() {
    let dir = scratch("package");
    assert_eq!(run(&dir, &["man", "--dir", "."]).0, Some(0));
    assert!(dir.join("spoolway.1").exists() && dir.join("spoolway-run.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(&dir, &["completions", shell]);
        assert!(code == Some(0) && script.contains("spoolway"), "{shell}");
    }
    assert_eq!(run(&dir, &["completions", "cmd"]).0, Some(2));
}
