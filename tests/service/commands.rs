//! Commands that need no cluster, as a person or a package runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use super::support::agent::spoolway;
use super::support::process::{Process, Signal, scratch};
use super::{SOON, lonely};

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

/// A configuration that was changed for the worse is rejected by the agents that run, which go on by the one before; where their
/// probes failed by it, a cluster killed them all.
#[test]
fn healthcheck_and_status_find_an_agent_whose_configuration_has_been_broken_since() {
    let setup = lonely("healthcheck-broken").http("body_timeout = \"30s\"");
    let path = setup.dir.join("spoolway.toml");
    let watched = setup.config().replace("[relay]", "[relay]\nwatch = true");
    fs::write(&path, &watched).expect("a file");
    let mut command = spoolway();
    command.arg("run").arg("-c").arg(&path);
    let agent = Process::spawn("the agent", command);
    assert!(agent.output().wait_for("ready", SOON), "{}", agent.output().tail());
    let ask = |args: &[&str]| run(&setup.dir, &[args, &["-c", "spoolway.toml"][..]].concat());
    let broken = [
        ("a misspelt key", watched.replace("body_timeout", "body_timout")),
        ("a value that is none", watched.replace("\"30s\"", "\"soon\"")),
        ("no TOML", watched.replace("body_timeout = ", "body_timeout \" = ")),
    ];
    for (what, text) in broken {
        fs::write(&path, text).expect("a file");
        assert_eq!(ask(&["check"]).0, Some(2), "{what}");
        let (code, said, error) = ask(&["healthcheck", "--ready", "accept"]);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{what}: {said}");
        assert!(said.starts_with("healthy and ready; the configuration can't be used"), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
        let (code, said, error) = ask(&["status"]);
        assert!(code == Some(0) && error.contains("spoolway check"), "{what}: {said}{error}");
    }
    agent.signal(Signal::TERM);
    assert!(agent.wait(SOON).success());
    let (code, _, said) = ask(&["healthcheck"]);
    assert!(code == Some(1) && said.contains("no agent answers"), "{said}");
}

/// A mistyped `-c` was answered by whichever agent the default address or `$SPOOLWAY_ADMIN` belongs to.
#[test]
fn a_named_configuration_that_is_not_there_is_answered_by_no_other_agent() {
    let setup = lonely("named-and-absent");
    let agent = setup.start();
    let address = format!("127.0.0.1:{}", setup.admin);
    let ask = |variable: &str, args: &[&str]| {
        let mut command = spoolway();
        command.current_dir(&setup.dir).env("SPOOLWAY_ADMIN", variable).args(args);
        let output = command.output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout) + &text(output.stderr))
    };
    let absent = ["-c", "nope.toml"];
    for (code, args) in
        [(2, &["status"][..]), (3, &["status", "--nagios"]), (1, &["healthcheck"]), (2, &["route", "list"])]
    {
        let (ended, said) = ask(&address, &[args, &absent].concat());
        assert_eq!(ended, Some(code), "{args:?}: {said}");
        assert!(
            said.contains("nope.toml, which -c names, can't be opened: No such file"),
            "{args:?}: {said}"
        );
        assert!(said.contains("--admin HOST:PORT"), "{args:?}: {said}");
    }
    // A probe that is told the address asks no file, whatever has become of those that the environment names.
    for args in [&["status"][..], &["healthcheck"]] {
        assert_eq!(ask(&address, args).0, Some(0), "{args:?}");
    }
    let (code, said, error) = run(&setup.dir, &["status", "-c", "nope.toml"]);
    assert!(code == Some(2) && said.is_empty() && error.contains("nope.toml"), "{code:?}: {said}{error}");
    let (code, said) = ask("garbage", &["status"]);
    assert!(code == Some(2) && said.contains("garbage:9674"), "{said}");
    agent.kill();
}

#[test]
fn what_ends_a_command_comes_with_what_to_do() {
    let setup = lonely("remedies");
    let twice = format!("{}\n[[destination]]\nname = \"home\"\nbootstrap = [\"a:1\"]\n", setup.config());
    fs::write(setup.dir.join("twice.toml"), twice).expect("a file");
    let secret = setup.config().replace("[admin]\n", "[admin]\ntoken = { file = \"absent\" }\n");
    fs::write(setup.dir.join("secret.toml"), secret).expect("a file");
    let closed = format!("127.0.0.1:{}", super::free_port());
    let says = |code: i32, args: &[&str], words: &str| {
        let (ended, _, said) = run(&setup.dir, args);
        assert!(
            ended == Some(code) && said.contains(words),
            "{args:?}: no {words:?} with {ended:?} in {said}"
        );
    };
    says(2, &["status", "--admin", "nonsense"], "add the port: \"nonsense:9674\"");
    says(2, &["check", "-c", "nope.toml"], "check its path");
    says(2, &["check", "-c", "twice.toml"], "give one of them another name");
    says(2, &["check", "-c", "secret.toml"], "check its path, which begins at the configuration's folder");
    says(1, &["init", "-o", "no/where.toml"], "make its folder first");
    let topic = format!("{closed}/orders");
    let refused: [&[&str]; 3] = [
        &["verify", "-b", &closed, "-t", "orders"],
        &["reconcile", "--left", &topic, "--right", "twice.toml"],
        &["demo", "-b", &closed],
    ];
    refused.iter().for_each(|args| says(1, args, "check that the broker runs and listens at this address"));
    // Where a configuration is installed, these read that.
    if !Path::new("/etc/spoolway/spoolway.toml").exists() {
        says(2, &["verify", "-t", "orders"], "name the cluster's brokers with -b HOST:PORT");
        says(2, &["spool", "replay", "twice.toml"], "name the cluster's brokers with -b HOST:PORT");
        says(2, &["dlq", "list"], "name the data directory with --data-dir DIR");
    }
    let mut pipe = spoolway();
    pipe.args(["pipe", "-b", &closed, "-t", "orders"]).env("XDG_STATE_HOME", setup.dir.join("twice.toml"));
    let output = pipe.stdin(std::process::Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--data-dir of `pipe`"), "{said}");
}

/// What was wrong with a configuration stood between the lines, as for people.
#[test]
fn a_log_of_json_is_json_line_by_line_also_where_a_reload_is_rejected() {
    let setup = lonely("json-log");
    let path = setup.dir.join("spoolway.toml");
    fs::write(&path, setup.config()).expect("a file");
    let mut command = spoolway();
    command.env("SPOOLWAY_LOG_FORMAT", "json").arg("run").arg("-c").arg(&path);
    let agent = Process::spawn("the agent", command);
    assert!(agent.output().wait_for("ready", SOON), "{}", agent.output().tail());
    fs::write(&path, setup.config().replace("[relay]", "[relay]\nmistyped = 1")).expect("a file");
    agent.signal(Signal::HUP);
    assert!(agent.output().wait_for("the configuration is wrong", SOON), "{}", agent.output().tail());
    agent.signal(Signal::TERM);
    assert!(agent.wait(SOON).success());
    let log = agent.output().all(SOON);
    let rows = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    let rows: Vec<serde_json::Value> = rows.collect();
    let report = rows.iter().find_map(|row| row["report"].as_str().or(row["fields"]["report"].as_str()));
    let report = report.unwrap_or_else(|| panic!("no report in {log}"));
    assert!(report.contains("`relay.mistyped` is not a known key") && report.contains("-->"), "{report}");
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
