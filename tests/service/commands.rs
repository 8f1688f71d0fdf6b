//! Commands that need no cluster, as a person or a package runs them.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::lonely;
use super::support::agent::spoolway;

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
