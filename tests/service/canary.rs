//! Secrets of every kind, and everything that could repeat one.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use super::SOON;
use super::support::agent::{Setup, spoolway};
use super::support::certificates::{Authority, put};
use super::support::http;
use super::support::ports::free_port;
use super::support::process::{Process, Signal};

const PASSWORD: &str = "canary-password-3f9a";
const PROXY: &str = "canary-proxy-71cc";
const CLIENT: &str = "canary-client-secret-5d02";
const TOKEN: &str = "canary-token-8b14-0123456789";
const SCRAM: &str = "canary-scram-password-c7e1";
const COMMAND: &str = "canary-command-password-40ab";
const LITERAL: &str = "canary-literal-password-96d3";
const ADMIN: &str = "canary-admin-token-e26f-0123456789";
const MISTYPED: &str = "canary-mistyped-password-1d4b";
const WRONG: &str = "canary-wrong-token-0123456789";

/// Answers whatever comes with an error that repeats all of it.
fn parrot() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut heard = vec![0; 64 * 1024];
            let Ok(len) = stream.read(&mut heard) else { continue };
            let heard = String::from_utf8_lossy(&heard[..len]).replace(['\r', '\n'], " ");
            let body = format!(
                "{{\"error\":\"invalid_client\",\"error_description\":\"{}\"}}",
                heard.replace('"', "'")
            );
            let answer = format!(
                "HTTP/1.1 407 {heard}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    port
}

/// Each secret, as it is and as it is sent.
fn canaries(key: &str) -> Vec<String> {
    use base64::Engine;
    let coded = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let key = key.lines().nth(1).expect("a line of the key").to_owned();
    let sent = [coded(format!("u:{PROXY}")), coded(format!("relay:{CLIENT}"))];
    [PASSWORD, PROXY, CLIENT, TOKEN, SCRAM, COMMAND, LITERAL, ADMIN, MISTYPED, WRONG]
        .map(str::to_owned)
        .into_iter()
        .chain(sent)
        .chain([key])
        .collect()
}

/// Panics if one of them is in what was said there.
#[track_caller]
fn search(place: &str, said: &[u8], canaries: &[String]) {
    let text = String::from_utf8_lossy(said);
    for canary in canaries {
        assert!(!text.contains(canary), "{canary} is in {place}:\n{text}");
    }
}

fn search_files(dir: &Path, canaries: &[String]) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => search_files(&path, canaries),
            false => search(&path.display().to_string(), &fs::read(&path).expect("a file"), canaries),
        }
    }
}

fn setup(key: &str, certificate: &str) -> Setup {
    let lines = |parrot: u16| {
        format!(
            "tls = {{ certificate = \"me.pem\", key = \"me.key\" }}\nproxy = {{ file = \"proxy\" }}\n\
             sasl = {{ mechanism = \"OAUTHBEARER\", token_url = \"http://127.0.0.1:{parrot}/token\", client_id = \"relay\", \
             client_secret = {{ env = \"CANARY_CLIENT\" }} }}\n"
        )
    };
    let plain = "sasl = { mechanism = \"PLAIN\", username = \"u\", password = { file = \"password\" } }\n";
    let scram =
        "sasl = { mechanism = \"SCRAM-SHA-512\", username = \"u\", password = { file = \"scram\" } }\n";
    let (proxy, broker) = (parrot(), parrot());
    let setup = Setup::new("canary")
        .http("token = { file = \"token\" }")
        .open_admin("insecure = true\ntoken = { file = \"admin\" }")
        .destination("home", broker, plain)
        .destination("away", free_port(), &lines(parrot()))
        .destination("proven", parrot(), scram)
        .route("*", "proven", "{stream}")
        .route("*", "home", "{stream}")
        .route("*", "away", "{stream}");
    put(&setup.dir, "me.key", key);
    put(&setup.dir, "me.pem", certificate);
    put(&setup.dir, "password", PASSWORD);
    put(&setup.dir, "scram", SCRAM);
    let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
    let jaas = format!("{module} required username=\"u\" password=\"{COMMAND}\";");
    let mechanism = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512";
    put(&setup.dir, "command.properties", &format!("{mechanism}\nsasl.jaas.config={jaas}\n"));
    // Without its last quote and semicolon, and with a key that Kafka does not have.
    let broken = jaas.trim_end_matches("\";");
    put(
        &setup.dir,
        "broken.properties",
        &format!("{mechanism}\nsasl.pasword={COMMAND}\nsasl.jaas.config={broken}\n"),
    );
    put(&setup.dir, "proxy", &format!("http://u:{PROXY}@127.0.0.1:{proxy}"));
    put(&setup.dir, "token", TOKEN);
    put(&setup.dir, "admin", ADMIN);
    setup
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

/// A command that says something, by a configuration or without one.
#[track_caller]
fn says_none_of(canaries: &[String], args: &[&str], of: Option<&Setup>) {
    let mut command = spoolway();
    command.env("CANARY_CLIENT", CLIENT).env("SPOOLWAY_LOG", "trace").args(args);
    if let Some(setup) = of {
        command.arg("-c").arg(setup.dir.join("spoolway.toml"));
    }
    let output = command.output().expect("it runs");
    assert!(output.stdout.len() + output.stderr.len() > 5, "{args:?} says something");
    // With wrong arguments it would say no more than how it is used.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("Usage:"), "{args:?}: {said}");
    search(&args.join(" "), &[output.stdout, output.stderr].concat(), canaries);
}

/// All commands that are told a secret; at once, since those that find no broker try for seconds.
fn commands_say_none_of(canaries: &[String], setup: &Setup) {
    let configured: [&[&str]; 11] = [
        &["check", "--print-effective"],
        &["check", "--json"],
        &["check", "--connect"],
        &["check", "--no-environment", "--print-effective"],
        &["status"],
        &["status", "--json"],
        &["healthcheck", "--ready", "all"],
        &["dlq", "list"],
        &["dlq", "replay", "--all"],
        &["verify", "-t", "a", "--destination", "home"],
        &["verify", "-t", "a", "--destination", "proven"],
    ];
    let broker = &format!("127.0.0.1:{}", parrot());
    let (topic, data) = (&format!("{broker}/a"), &path(&setup.dir, "data"));
    let files = ["command.properties", "broken.properties"].map(|file| path(&setup.dir, file));
    std::thread::scope(|scope| {
        for args in configured {
            scope.spawn(move || says_none_of(canaries, args, Some(setup)));
        }
        for file in &files {
            let told = ["--command-config", file];
            let verify = [&["verify", "-b", broker, "-t", "a"][..], &told].concat();
            let reconcile = ["reconcile", "--left", topic, "--right", file];
            let both = [&reconcile[..], &told].concat();
            let left = [&reconcile[..], &["--left-command-config", file]].concat();
            let piped = path(&setup.dir, &format!("piped-{}", told[1].len()));
            let pipe = [&["pipe", "-b", broker, "-t", "a", "--data-dir", &piped][..], &told].concat();
            let demo = [&["demo", "-b", broker][..], &told].concat();
            for args in [verify, both, left, demo] {
                scope.spawn(move || says_none_of(canaries, &args, None));
            }
            says_none_of(canaries, &pipe, None);
            scope.spawn(move || {
                let mut command = spoolway();
                command.args(["spool", "replay", data, "--execute", "-b", broker]).args(told);
                command.env("SPOOLWAY_LOG", "trace");
                // It tries for as long as nobody stops it.
                let replay = Process::spawn("replay", command);
                replay.output().wait_for("can't connect", SOON);
                replay.kill();
                let said = replay.output().all(SOON);
                assert!(said.len() > 5 && !said.contains("Usage:"), "{said}");
                search("spool replay", said.as_bytes(), canaries);
            });
        }
    });
}

#[test]
fn a_secret_is_in_no_log_metric_status_answer_error_file_or_printed_configuration() {
    let authority = Authority::new("ours");
    let me = authority.sign(&["edge"]);
    let canaries = canaries(&me.key);
    let setup = setup(&me.key, &me.certificate);
    let mut command = spoolway();
    command.env("CANARY_CLIENT", CLIENT).env("SPOOLWAY_LOG", "trace");
    let agent = setup.spawn_by(command);
    agent.wait_ready("/readyz?for=accept", SOON);
    // Each destination has tried, and failed by what the other side repeats.
    agent.wait_status("has not tried all", SOON, |status| {
        let rows = status["destinations"].as_array().expect("rows");
        rows.iter().all(|row| row["last_error"].is_object())
    });
    let said = |headers: &str| {
        let answer = http::post(setup.http, "/v1/events/a", headers, b"x").expect("an answer");
        search("an answer", &answer.body, &canaries);
        answer.status
    };
    assert_eq!(said(&format!("Authorization: Bearer {WRONG}\r\n")), 401);
    assert_eq!(said(&format!("Authorization: Bearer {TOKEN}\r\n")), 200);
    for path in ["/status", "/metrics", "/healthz", "/readyz", "/ledger", "/"] {
        let answer = http::get(setup.admin, path).expect("an answer");
        search(path, &answer.body, &canaries);
    }
    commands_say_none_of(&canaries, &setup);
    // The mistakes of a person in a hurry, which the agent rejects and shows.
    let right = "username = \"u\", password = { file = \"password\" }";
    for (mistake, shown) in [
        (format!("username = \"u\", password = \"{LITERAL}\""), "the configuration is wrong"),
        (format!("username = \"u\", pasword = \"{MISTYPED}\""), "sasl.pasword`"),
        (format!("username = \"of yaml\", password: {MISTYPED}"), "of yaml"),
    ] {
        let wrong = setup.config().replace(right, &mistake);
        assert!(wrong.contains(&mistake));
        fs::write(setup.dir.join("spoolway.toml"), wrong).expect("a file");
        agent.process.signal(Signal::HUP);
        assert!(agent.process.output().wait_for(shown, SOON), "{shown} is not said");
    }
    for path in ["/status", "/metrics"] {
        search(path, &http::get(setup.admin, path).expect("an answer").body, &canaries);
    }
    agent.process.signal(Signal::TERM);
    assert!(agent.process.wait(SOON).success());
    let log = agent.process.output().all(SOON);
    assert!(log.contains("DEBUG") || log.contains("TRACE"), "the log is as talkative as it can be: {log}");
    search("the log", log.as_bytes(), &canaries);
    search_files(&setup.data_dir(), &canaries);
}

#[test]
fn the_search_finds_what_is_there() {
    let canaries = [TOKEN.to_owned()];
    let found = std::panic::catch_unwind(|| search("a text", format!("x{TOKEN}y").as_bytes(), &canaries));
    assert!(found.is_err());
}
