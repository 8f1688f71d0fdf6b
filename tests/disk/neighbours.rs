//! Other accounts of the host.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use super::support::agent::Setup;
use super::support::http;
use super::support::ports::free_port;

const SOON: Duration = Duration::from_secs(20);
/// An account without rights, on every system.
const NOBODY: u32 = 65534;

/// What an account hears that sends a request to the admin address: through bash, which reaches a port by itself.
fn ask_as(uid: u32, port: u16, head: &str, body: &str) -> String {
    let request = format!(
        "{head} HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\nconnection: close\\r\\ncontent-type: application/json\\r\\ncontent-length: {}\\r\\n\\r\\n{body}",
        body.len()
    );
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{request}' >&3; cat <&3");
    let output =
        Command::new("bash").args(["-c", &script]).current_dir("/").uid(uid).output().expect("bash runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn another_account_may_look_and_change_nothing() {
    let setup = Setup::new("neighbours").destination("home", free_port(), "");
    let agent = setup.spawn();
    agent.wait_ready("/readyz?for=accept", SOON);
    let (purge, set) = (r#"{"ids": [1]}"#, r#"{"stream": "*", "to": "home", "topic": "junk"}"#);
    let seen = ask_as(NOBODY, setup.admin, "GET /status", "");
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
    for (path, body) in [("POST /dead-letters/purge", purge), ("POST /routes/set", set)] {
        let refused = ask_as(NOBODY, setup.admin, path, body);
        assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("uid 65534"), "{refused}");
    }
    let status = http::get(setup.admin, "/status").expect("an answer");
    assert!(!status.text().contains("junk"), "{}", status.text());
    // The control: the same from root.
    let done = ask_as(0, setup.admin, "POST /routes/set", set);
    assert!(done.starts_with("HTTP/1.1 200"), "{done}");
    agent.stop();
}
