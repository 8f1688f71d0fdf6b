//! What `spoolway pipe` says at its end to whoever piped something in.

use std::io::Write;
use std::process::{Output, Stdio};

use super::Cluster;
use super::support::agent::spoolway;

fn pipe(cluster: &Cluster, input: &[u8]) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = spoolway();
    command.args(["pipe", "-b", &format!("127.0.0.1:{}", cluster.port()), "-t", "x", "--data-dir"]);
    command.arg(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("it runs");
    process.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    process.wait_with_output().expect("it ends")
}

#[test]
fn pipe_ends_with_0_if_every_line_was_delivered_and_with_1_if_one_was_too_long() {
    let cluster = Cluster::start(&["x"]);
    let output = pipe(&cluster, b"a\nb\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let long = [b"c\n".as_slice(), &vec![b'y'; 1_100_000], b"\nd\n"].concat();
    let output = pipe(&cluster, &long);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("refused, and are not delivered: 1"), "{said}");
    assert_eq!(cluster.values("x"), ["a", "b", "c", "d"]);
}
