//! The configuration as a person meets it: what `spoolway check` says, and what the reference says.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes only the test functions for tests, not what they call"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[path = "support/certificates.rs"]
#[expect(dead_code, reason = "others use the rest")]
#[expect(clippy::expect_used, reason = "a test stops at the first surprise")]
mod certificates;

use assert_cmd::Command;
use spoolway::config::{Effective, Environment, load_text};
use tempfile::TempDir;

/// A configuration with nothing wrong and nothing to note.
const GOOD: &str = r#"
[relay]
data_dir = "data"
[[source]]
type = "http"
listen = "127.0.0.1:8080"
[[destination]]
name = "home"
bootstrap = ["127.0.0.1:9092"]
delivery = "at-least-once"
"#;

/// What a run of `spoolway check` gave.
struct Checked {
    code: i32,
    out: String,
    err: String,
}

impl Checked {
    #[track_caller]
    fn says(&self, what: &str) -> &Self {
        assert!(self.err.contains(what), "not said: {what}\n{}", self.err);
        self
    }

    #[track_caller]
    fn count(&self, count: usize) -> &Self {
        let found =
            self.err.lines().filter(|l| l.starts_with("error: `") || l.starts_with("error: ")).count();
        assert_eq!(found, count + 1, "findings and the closing line\n{}", self.err);
        assert_eq!(self.code, 2);
        self
    }
}

fn spoolway(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Checked {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoolway"));
    command.current_dir(dir).env_remove("SPOOLWAY_CONFIG").args(args).envs(env.iter().copied());
    let output = command.output().unwrap();
    Checked {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        let mode = if SECRETS.contains(name) { 0o600 } else { 0o644 };
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    dir
}

/// Files that are for their owner alone.
const SECRETS: [&str; 3] = ["secret", "proxy", "token"];

/// Runs `spoolway check` on one text.
fn check(text: &str) -> Checked {
    let dir = folder(&[("x.toml", text)]);
    spoolway(dir.path(), &["check", "-c", "x.toml"], &[])
}

/// [`GOOD`] with something put in place of something else.
fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

#[test]
fn a_good_configuration_is_summed_up_and_nothing_else_is_said() {
    let checked = check(GOOD);
    assert_eq!((checked.code, checked.err.as_str()), (0, ""));
    assert!(checked.out.starts_with("OK: x.toml\n"), "{}", checked.out);
    assert!(checked.out.contains("sources       http-127.0.0.1:8080\n"), "{}", checked.out);
}

#[test]
fn a_mistyped_key_is_shown_where_it_stands_with_the_nearest_known_one() {
    let checked = check(&changed("data_dir", "data_dri"));
    checked.count(1).says("`relay.data_dri` is not a known key").says("--> x.toml:3:1");
    checked.says("did you mean `data_dir`?").says("the configuration can't be used: 1 problem");
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    let text = changed("listen = \"127.0.0.1:8080\"", "listen = \"0.0.0.0:8080\"\nidle_timeout = 5")
        .replace("delivery = \"at-least-once\"", "compresion = \"lz5\"\nlinger = \"1h\"")
        .replace("[relay]", "[spool]\nmax_streams = \"many\"\n[relay]");
    let checked = check(&text);
    checked.count(5);
    let told: Vec<usize> =
        ["spool.max_streams", "source.listen", "source.idle_timeout", "compresion", "linger"]
            .iter()
            .map(|what| checked.err.find(what).unwrap_or_else(|| panic!("{what}: {}", checked.err)))
            .collect();
    assert!(told.is_sorted(), "{}", checked.err);
}

#[test]
fn words_of_other_tools_are_translated() {
    for (word, help) in [
        ("brokers", "the key is `bootstrap`"),
        ("bootstrap_servers", "the key is `bootstrap`"),
        ("\"bootstrap.servers\"", "the key is `bootstrap`"),
        ("bootstrap.servers", "the key is `bootstrap`"),
    ] {
        check(&changed("bootstrap =", &format!("{word} ="))).count(1).says(help);
    }
    let with = |line: &str| check(&format!("{GOOD}{line}\n"));
    with("acks = \"all\"").count(1).says("acks=all");
    with("topic = \"x\"").count(1).says("[[route]]");
    with("linger_ms = 5").count(1).says("`linger`, with a unit");
    check(&changed("[relay]", "[relay]\npath = \"/x\"")).count(1).says("the key is `data_dir`");
    // Without its type nothing else of a source is read.
    check(&changed("type = \"http\"", "kind = \"http\"")).count(1).says("the key is `type`");
    check(&changed("type = \"http\"", "type = \"http\"\nstream = \"x\""))
        .count(1)
        .says("takes the stream from the URL");
}

#[test]
fn what_only_a_later_version_has_is_refused_as_such() {
    let with = |line: &str| check(&format!("{GOOD}{line}\n"));
    for line in [
        "[[stream]]\nname = \"x\"\nkey = \".id\"",
        "[[route]]\nstreams = [\"*\"]\nto = \"home\"\ntopic = \"{.service}\"",
    ] {
        with(line).count(1).says("not in this version");
    }
    for kind in ["file", "syslog", "kafka_listener"] {
        check(&changed("\"http\"", &format!("\"{kind}\""))).count(1).says("is not in this version");
    }
}

#[test]
fn lanes_take_what_spool_says_and_streams_name_lanes_that_are_there() {
    let with = |lines: &str| check(&format!("{GOOD}{lines}\n"));
    let fast =
        "[[lane]]\nname = \"fast\"\nmax_size = \"1GiB\"\n[[stream]]\nname = \"orders\"\nlane = \"fast\"";
    assert_eq!(with(fast).code, 0);
    with(&fast.replace("lane = \"fast\"", "lane = \"fats\"")).count(1).says("did you mean \"fast\"?");
    with(&format!("{fast}\n[[lane]]\nname = \"fast\"")).count(1).says("two lanes have the name \"fast\"");
    with(&fast.replace("1GiB", "100MiB")).count(1).says("`lane.max_size` is less than two segments");
    with("[[lane]]\nname = \"idle\"").says("no stream is kept in lane \"idle\"");
    with("[[lane]]\nname = \"main\"\nfirst = 5").count(1).says("`lane.first`");
    with("[[lane]]\nname = \"main\"\nmax_streams = 5").count(1).says("`lane.max_streams` is not a known key");
    let dir = folder(&[("x.toml", &format!("[spool]\nsync = \"50ms\"\n{GOOD}{fast}\n"))]);
    let printed = spoolway(dir.path(), &["check", "-c", "x.toml", "--print-effective"], &[]).out;
    let lane = printed.split("[[lane]]\n").nth(1).unwrap_or_else(|| panic!("{printed}"));
    assert!(lane.starts_with("name = \"fast\"\nmax_size = \"1GiB\"\n"), "{lane}");
    assert!(lane.split("\n\n").next().unwrap().contains("sync = \"50ms\""), "{lane}");
}

#[test]
fn a_destination_was_renamed_from_one_that_is_not_there_and_only_once() {
    let more = |name: &str, old: &str| {
        format!("[[destination]]\nname = \"{name}\"\nbootstrap = [\"a:1\"]\nrenamed_from = \"{old}\"\n")
    };
    let routes = "[[route]]\nstreams = [\"*\"]\nto = \"home\"\n";
    check(&format!("{GOOD}{}{routes}", more("b", "home"))).count(1).says("it can't have been renamed");
    let twice = format!("{GOOD}{}{}{routes}", more("b", "old"), more("c", "old"));
    check(&twice).count(1).says("two destinations were renamed from \"old\"");
}

#[test]
fn values_of_the_wrong_kind_say_what_would_be_right() {
    let spool = |line: &str| check(&changed("[relay]", &format!("[spool]\n{line}\n[relay]")));
    spool("segment_size = true").count(1).says("must be a size, not true or false").says("\"64MiB\"");
    spool("segment_size = \"64 potatoes\"").count(1).says("sizes are written");
    spool("segment_size = \"2GiB\"").count(1).says("is 2GiB, which is not within 1MiB to 1GiB");
    spool("commit_delay = 5").count(1).says("5 has no unit");
    spool("when_full = \"dropoldest\"").count(1).says("did you mean \"drop_oldest\"?");
    spool("max_event_size = \"8MiB\"\nsegment_size = \"8MiB\"")
        .count(1)
        .says("half of spool.segment_size is 4MiB");
    spool("max_size = \"64MiB\"").count(1).says("less than two segments");
    check(&changed("[\"127.0.0.1:9092\"]", "[\"kafka\"]")).count(1).says("add the port: \"kafka:9092\"");
    check(&changed("[\"127.0.0.1:9092\"]", "[]")).count(1).says("is empty");
    check(&changed("[\"127.0.0.1:9092\"]", "7")).count(1).says("must be an array, not a number");
    check(&changed("\"127.0.0.1:8080\"", "\":8080\""))
        .count(1)
        .says("\"127.0.0.1:8080\" for this host alone");
    check(&changed("[[source]]", "[source]")).count(1).says("must be written as [[source]]");
    check(&changed("[relay]", "[[relay]]")).count(1).says("must be written as [relay]");
}

#[test]
fn what_is_not_toml_is_shown_where_it_breaks() {
    let checked = check(&changed("type = \"http\"", "type = \"http"));
    checked.says("this is not TOML").says("--> x.toml:5:");
    assert_eq!(checked.code, 2);
}

#[test]
fn what_is_missing_is_named_with_an_example() {
    check("").count(2).says("there is no source").says("there is no destination");
    check(&changed("name = \"home\"\n", ""))
        .count(1)
        .says("`destination.name` is missing")
        .says("name = \"home\"");
    check(&changed("listen = \"127.0.0.1:8080\"\n", "")).count(1).says("`source.listen` is missing");
    check(&changed("type = \"http\"\n", "")).count(1).says("`source.type` is missing");
}

#[test]
fn several_destinations_need_routes_and_routes_need_destinations() {
    let two = format!(
        "{GOOD}[[destination]]\nname = \"away\"\nbootstrap = [\"a:1\"]\ndelivery = \"at-least-once\"\n"
    );
    check(&two).count(1).says("routes must say which stream goes where").says("to = \"away\"");
    let route = "[[route]]\nstreams = [\"*\"]\n";
    check(&format!("{GOOD}{route}to = \"hom\"\n"))
        .count(1)
        .says("no destination \"hom\"")
        .says("did you mean \"home\"?");
    let unreached = check(&format!("{two}{route}to = \"home\"\n"));
    assert_eq!(unreached.code, 0);
    unreached.says("note: no route goes to destination \"away\"");
}

#[test]
fn a_source_whose_stream_no_route_takes_is_reported() {
    let text =
        changed("type = \"http\"\nlisten = \"127.0.0.1:8080\"", "type = \"stdin\"\nstream = \"order\"");
    let text = format!("{text}[[route]]\nstreams = [\"orders\"]\nto = \"home\"\n");
    check(&text).count(1).says("no route takes stream \"order\"").says("did you mean \"orders\"?");
}

#[test]
fn the_streams_that_an_http_source_takes_are_read_and_have_to_go_somewhere() {
    let with = |streams: &str| {
        let listen = "listen = \"127.0.0.1:8080\"";
        changed(listen, &format!("{listen}\nstreams = {streams}"))
    };
    let both = "[\"orders\", \"audit.*\"]";
    assert_eq!(check(&with(both)).code, 0);
    assert!(effective(&with(both)).to_string().contains(&format!("\nstreams = {both}\n")));
    check(&with("[]")).count(1).says("`source.streams` is empty");
    check(&with("[\"a b\"]")).count(1).says("`source.streams` can't be \"a b\"");
    let routed =
        format!("{}[[route]]\nstreams = [\"orders\"]\nto = \"home\"\n", with("[\"order\", \"audit.*\"]"));
    check(&routed).count(1).says("no route takes stream \"order\"").says("did you mean \"orders\"?");
    let stdin = with(both).replace("\"http\"\nlisten = \"127.0.0.1:8080\"", "\"stdin\"\nstream = \"x\"");
    check(&stdin).count(1).says("only http has it, where senders name the stream");
}

#[test]
fn two_of_what_can_only_be_once_are_shown_both() {
    let more = |text: &str| check(&format!("{GOOD}{text}\n"));
    more("[[source]]\ntype = \"tcp\"\nlisten = \"127.0.0.1:8080\"\nstream = \"x\"")
        .count(1)
        .says("two listeners want 127.0.0.1:8080")
        .says("is taken here");
    more("[admin]\nlisten = \"127.0.0.1:8080\"").count(1).says("two listeners want");
    check(&changed("127.0.0.1:8080", "127.0.0.1:9674")).count(1).says("`admin.listen` is 127.0.0.1:9674");
    more("[[source]]\ntype = \"stdin\"\nstream = \"x\"\n[[source]]\ntype = \"stdin\"\nstream = \"y\"\nname = \"z\"")
        .count(1)
        .says("standard input can't be read by two sources");
    more("[[destination]]\nname = \"home\"\nbootstrap = [\"a:1\"]\n[[route]]\nstreams = [\"*\"]\nto = \"home\"")
        .count(1)
        .says("two destinations have the name \"home\"")
        .says("first here");
}

#[test]
fn an_address_open_to_other_hosts_must_be_meant() {
    let open = changed("127.0.0.1:8080", "0.0.0.0:8080");
    check(&open).count(1).says("add insecure = true");
    assert_eq!(check(&open.replace("type = \"http\"", "type = \"http\"\ninsecure = true")).code, 0);
    check(&format!("{GOOD}[admin]\nlisten = \"[::]:9674\"")).count(1).says("`admin.listen` would be open");
    assert_eq!(check(&format!("{GOOD}[admin]\nmetrics_listen = \"0.0.0.0:9675\"")).code, 0);
}

/// [`GOOD`] with its source open to other hosts, and lines for it; `check`ed beside files.
fn check_open(lines: &str, files: &[(&str, &str)]) -> Checked {
    let text = changed("127.0.0.1:8080\"", &format!("0.0.0.0:8080\"\n{lines}"));
    let dir = folder(&[files, &[("x.toml", text.as_str())]].concat());
    spoolway(dir.path(), &["check", "-c", "x.toml", "--print-effective"], &[("BEARER", BEARER)])
}

const BEARER: &str = "hunter2-hunter2-hunter2";

#[test]
fn an_address_open_to_other_hosts_is_right_with_tls_and_a_token_or_a_certificate() {
    let authority = certificates::Authority::new("ours");
    let (signed, other) = (authority.sign(&["edge"]), authority.sign(&["x"]));
    let files = [
        ("c.pem", signed.certificate.as_str()),
        ("secret", signed.key.as_str()),
        ("ca.pem", authority.pem()),
        ("token", BEARER),
        ("other.pem", other.certificate.as_str()),
    ];
    let tls = |more: &str| format!("tls = {{ certificate = \"c.pem\", key = \"secret\"{more} }}\n");
    let run = |lines: &str| check_open(lines, &files);
    for good in [
        format!("{}token = {{ file = \"token\" }}", tls("")),
        format!("{}token = {{ env = \"BEARER\" }}", tls("")),
        tls(", client_ca = \"ca.pem\""),
        format!("{}insecure = true", tls("")),
    ] {
        let checked = run(&good);
        assert_eq!((checked.code, checked.err.as_str()), (0, ""), "{good}");
        assert!(!checked.out.contains("hunter2"), "{}", checked.out);
    }
    run(&tls("")).count(1).says("without authentication").says("client_ca").says("insecure = true");
    run("token = { file = \"token\" }").count(1).says("without encryption").says("add tls = {");
    run(&tls(", client_ca = \"nowhere.pem\"")).count(1).says("nowhere.pem: No such file");
    run("tls = { certificate = \"c.pem\" }").count(1).says("`source.tls.key` is missing");
    run("tls = { certificate = \"other.pem\", key = \"secret\" }")
        .count(1)
        .says("`source.tls` can't be used");
    run("tls = { certificate = \"c.pem\", key = \"c.pem\" }").count(1).says("chmod 600");
    run("tls = { cert = \"c.pem\", key = \"secret\" }").count(1).says("the key is `certificate`");
    run(&format!("{}token = \"{BEARER}\"", tls(""))).count(1).says("`source.token` is a secret");
    let short = check_open(
        &format!("{}token = {{ file = \"proxy\" }}", tls("")),
        &[&files[..], &[("proxy", "hunter2")]].concat(),
    );
    short.count(1).says("the token in line 1 has 7 characters");
    assert!(!short.err.contains("hunter2"), "{}", short.err);
    // Lines have no place for a token.
    let tcp = |lines: &str| {
        let text = changed(
            "type = \"http\"\nlisten = \"127.0.0.1:8080\"",
            &format!("type = \"tcp\"\nstream = \"x\"\nlisten = \"0.0.0.0:5170\"\n{lines}"),
        );
        let dir = folder(&[&files[..], &[("x.toml", text.as_str())]].concat());
        spoolway(dir.path(), &["check", "-c", "x.toml"], &[])
    };
    assert_eq!(tcp(&tls(", client_ca = \"ca.pem\"")).code, 0);
    tcp(&tls("")).count(1).says("add client_ca");
    tcp(&format!("{}token = {{ file = \"token\" }}", tls(", client_ca = \"ca.pem\"")))
        .count(1)
        .says("only http has it");
    // Nobody but this host reaches a loopback address.
    let text = format!("{GOOD}[admin]\ntoken = {{ env = \"BEARER\" }}\n");
    let dir = folder(&[("x.toml", text.as_str())]);
    spoolway(dir.path(), &["check", "-c", "x.toml"], &[("BEARER", BEARER)])
        .count(1)
        .says("none reaches admin.listen");
}

#[test]
fn files_are_merged_and_what_is_said_twice_names_both_places() {
    let dir = folder(&[
        ("x.toml", GOOD),
        ("conf.d/10.toml", "[relay]\nid = \"edge\"\n[[source]]\ntype = \"stdin\"\nstream = \"x\"\n"),
        ("conf.d/20.toml", "[spool]\nreserve = \"1MiB\"\n"),
        ("conf.d/20.toml~", "this is no TOML"),
    ]);
    let checked = spoolway(dir.path(), &["check", "-c", "x.toml"], &[]);
    assert_eq!(checked.code, 0, "{}", checked.err);
    assert!(checked.out.starts_with("OK: x.toml, conf.d/10.toml, conf.d/20.toml\n"), "{}", checked.out);
    assert!(checked.out.contains("http-127.0.0.1:8080, stdin"), "{}", checked.out);

    fs::write(dir.path().join("conf.d/30.toml"), "[relay]\nid = \"other\"\n").unwrap();
    let twice = spoolway(dir.path(), &["check", "-c", "x.toml"], &[]);
    twice.count(1).says("`relay.id` is set twice").says("conf.d/10.toml:2:1").says("conf.d/30.toml:2:1");
}

#[test]
fn the_configuration_is_found_by_option_then_variable() {
    let dir = folder(&[("a.toml", GOOD), ("b.toml", "")]);
    assert_eq!(spoolway(dir.path(), &["check"], &[("SPOOLWAY_CONFIG", "a.toml")]).code, 0);
    assert_eq!(spoolway(dir.path(), &["check", "-c", "b.toml"], &[("SPOOLWAY_CONFIG", "a.toml")]).code, 2);
    let absent = spoolway(dir.path(), &["check", "-c", "c.toml"], &[]);
    absent.count(1).says("c.toml can't be read: No such file or directory");
    if !Path::new("/etc/spoolway/spoolway.toml").exists() {
        let nothing = spoolway(dir.path(), &["check"], &[]);
        nothing.count(1).says("/etc/spoolway/spoolway.toml does not exist").says("$SPOOLWAY_CONFIG");
    }
}

#[test]
fn values_come_from_variables_and_files_when_asked_for() {
    let text = changed("\"127.0.0.1:8080\"", "{ env = \"LISTEN\" }\nmax_connections = { file = \"n\" }")
        .replace("[\"127.0.0.1:9092\"]", "{ env = \"BROKERS\", default = \"d:1\" }");
    let dir = folder(&[("x.toml", text.as_str()), ("n", "7\n")]);
    let args = ["check", "-c", "x.toml", "--print-effective"];

    let set = spoolway(dir.path(), &args, &[("LISTEN", "127.0.0.1:1"), ("BROKERS", "a:1, b:2")]);
    assert_eq!(set.code, 0, "{}", set.err);
    for line in ["listen = \"127.0.0.1:1\"", "max_connections = 7", "bootstrap = [\"a:1\", \"b:2\"]"] {
        assert!(set.out.contains(line), "{line}\n{}", set.out);
    }
    let missing = spoolway(dir.path(), &args, &[]);
    missing.count(1).says("the environment variable LISTEN of `source.listen` is not set").says("x.toml:6:");
    let wrong = spoolway(dir.path(), &args, &[("LISTEN", "nowhere")]);
    wrong.count(1).says("`source.listen` must be an IP address and a port, not \"nowhere\"");
    fs::remove_file(dir.path().join("n")).unwrap();
    let wrong = spoolway(dir.path(), &args, &[("LISTEN", "127.0.0.1:1")]);
    wrong.count(1).says("of `source.max_connections` can't be read: No such file");

    let absent = spoolway(dir.path(), &["check", "-c", "x.toml", "--no-environment"], &[]);
    assert_eq!(absent.code, 0, "{}", absent.err);
}

#[test]
fn values_that_were_not_looked_up_are_not_taken_for_said_twice() {
    let part = |i: u8| {
        format!(
            "[[source]]\ntype = \"tcp\"\nlisten = {{ env = \"L{i}\" }}\nstream = {{ env = \"S{i}\" }}\n\
             [[source]]\ntype = \"unix\"\npath = {{ file = \"P{i}\" }}\nstream = \"app\"\n\
             [[destination]]\nname = {{ env = \"D{i}\" }}\nbootstrap = {{ env = \"B{i}\" }}\ndelivery = \"at-least-once\"\n\
             [[route]]\nstreams = [{{ env = \"R{i}\" }}]\nto = {{ env = \"D{i}\" }}\n"
        )
    };
    let dir = folder(&[("x.toml", &(part(1) + &part(2)))]);
    let checked = spoolway(dir.path(), &["check", "-c", "x.toml", "--no-environment"], &[]);
    assert_eq!((checked.code, checked.err.as_str()), (0, ""));
    assert_eq!(spoolway(dir.path(), &["check", "-c", "x.toml"], &[]).code, 2);
}

#[test]
fn findings_are_there_for_programs_too() {
    let dir = folder(&[("x.toml", &changed("data_dir", "data_dri"))]);
    let checked = spoolway(dir.path(), &["check", "-c", "x.toml", "--json"], &[]);
    assert_eq!(checked.code, 2);
    let json: serde_json::Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!(json["ok"], false);
    let finding = &json["findings"][0];
    assert_eq!((finding["line"].as_u64(), finding["column"].as_u64()), (Some(3), Some(1)));
    assert_eq!(finding["file"], "x.toml");
    assert_eq!(finding["severity"], "error");
}

#[test]
fn an_interval_instead_of_a_sync_says_what_it_risks() {
    let checked = check(&changed("[relay]", "[spool]\nsync = \"100ms\"\n[relay]"));
    assert_eq!(checked.code, 0);
    checked.says("note: a power cut may take what was accepted in the last 100ms").says("x.toml:3:8");
}

/// [`GOOD`] with lines for its destination, run in a folder with some files.
fn check_link(lines: &str, files: &[(&str, &str)]) -> Checked {
    let text = format!("{GOOD}{lines}\n");
    let dir = folder(&[files, &[("x.toml", text.as_str())]].concat());
    spoolway(dir.path(), &["check", "-c", "x.toml", "--print-effective"], &[("SECRET", "hunter2")])
}

#[test]
fn a_secret_comes_from_a_file_or_the_environment_and_is_never_printed() {
    let sasl = |password: &str| {
        format!("sasl = {{ mechanism = \"SCRAM-SHA-512\", username = \"u\", password = {password} }}")
    };
    for password in ["{ env = \"SECRET\" }", "{ file = \"secret\" }"] {
        let checked = check_link(&sasl(password), &[("secret", "hunter2\n")]);
        assert_eq!(checked.code, 0, "{}", checked.err);
        assert!(checked.out.contains(&format!("password = {password}")), "{}", checked.out);
        assert!(!checked.out.contains("hunter2"), "{}", checked.out);
    }
    let literal = check_link(&sasl("\"hunter2\""), &[]);
    assert!(literal.err.contains("x.toml:11:") && !literal.err.contains("hunter2"), "{}", literal.err);
    literal
        .count(1)
        .says("`destination.sasl.password` is a secret and must not stand here")
        .says("{ file = \"PATH\" }");
    check_link(&sasl("{ env = \"SECRET\", default = \"x\" }"), &[]).count(1).says("can't have a default");
    check_link(&sasl("{ file = \"nowhere\" }"), &[]).count(1).says("can't be read: No such file");
    // As docs/install.md has it, and before the first start.
    check_link(&sasl("{ file = \"/run/credentials/absent.service/kafka-password\" }"), &[])
        .count(1)
        .says("can't be read: No such file")
        .says("only while absent.service runs, by LoadCredential=")
        .says("spoolway check --no-environment");
    check_link(&sasl("{ env = \"UNSET\" }"), &[])
        .count(1)
        .says("UNSET of `destination.sasl.password` is not set");
    check_link(&sasl("{ file = \"open\" }"), &[("open", "hunter2")])
        .count(1)
        .says("open has mode 644")
        .says("chmod 600");
    check_link("proxy = { file = \"open\" }", &[("open", "socks5://u:hunter2@p:1")])
        .count(1)
        .says("chmod 600");
    assert_eq!(
        check_link("proxy = { file = \"open\" }", &[("open", "socks5://p:1")]).code,
        0,
        "no secret in it"
    );
    for line in [
        "proxy = \"http://u:hunter3@p:1\"",
        "proxy = \"htp://u:hunter3@p:1\"",
        "sasl = { mechanism = \"PLANE\", username = \"u\", password = \"hunter3\" }",
        "sasl = { mechanism = \"PLAIN\", user = \"u\", username = \"u\", password = { env = \"SECRET\", default = \"hunter3\" } }",
    ] {
        let checked = check_link(line, &[]);
        assert!(checked.code == 2 && !checked.err.contains("hunter3"), "{}", checked.err);
    }
    check_link("proxy = \"http://u:hunter3@p:1\"", &[]).count(1).says("must not stand here");
    let proxy = check_link("proxy = { file = \"proxy\" }", &[("proxy", "socks5://u:hunter2@p:1")]);
    assert!(
        proxy.out.contains("proxy = { file = \"proxy\" }") && !proxy.out.contains("hunter2"),
        "{}",
        proxy.out
    );
}

#[test]
fn tls_and_sasl_say_what_is_wrong_with_them() {
    check_link("tls = \"yes\"", &[]).count(1).says("must be a table, not text").says("tls = true");
    check_link("tls = { ca_file = \"x\" }", &[]).count(1).says("the key is `ca`");
    check_link("tls = { insecure_skip_verify = true }", &[]).count(1).says("always verified");
    check_link("tls = { ca = \"nowhere.pem\" }", &[])
        .count(1)
        .says("nowhere.pem: No such file")
        .says("x.toml:11:");
    check_link("tls = { certificate = \"c\" }", &[("c", "")]).count(1).says("needs `key` beside it");
    check_link("tls = { certificate = \"c\", key = \"k\" }", &[("c", ""), ("k", "")])
        .count(1)
        .says("chmod 600");
    check_link("tls = { server_name = \"a b\" }", &[]).count(1).says("must be a host name");
    check_link("sasl = { mechanism = \"SCRAM\" }", &[]).count(1).says("SCRAM-SHA-512");
    check_link("sasl = { mechanism = \"PLAIN\" }", &[])
        .count(2)
        .says("sasl.username` is missing")
        .says("sasl.password`");
    check_link("sasl = true", &[]).count(1).says("must be a table");
    check_link("max_rate = \"2MiB\"", &[]).count(1).says("\"2MiB/s\"");
    check_link("max_rate = \"1B/s\"", &[]).count(1).says("is 1B/s, which is not within 1KiB/s");
    check_link("proxy = \"gateway:1080\"", &[]).count(1).says("socks5://");
    let on = check_link("tls = true\nmax_rate = \"2MiB/s\"", &[]);
    assert!(on.out.contains("tls = true\n") && on.out.contains("max_rate = \"2MiB/s\""), "{}", on.out);
}

#[test]
fn a_password_that_would_cross_a_network_in_the_clear_is_noted() {
    let far = |lines: &str| check_link(lines, &[]);
    let plain = "sasl = { mechanism = \"PLAIN\", username = \"u\", password = { env = \"SECRET\" } }";
    assert_eq!(far(plain).err, "", "on loopback nobody listens");
    let text = format!("{}{plain}\n", changed("127.0.0.1:9092", "kafka:9092"));
    let run = |text: &str| {
        let dir = folder(&[("x.toml", text)]);
        spoolway(dir.path(), &["check", "-c", "x.toml"], &[("SECRET", "hunter2")])
    };
    let noted = run(&text);
    assert_eq!(noted.code, 0, "{}", noted.err);
    noted.says("note: PLAIN without TLS shows the secret");
    assert_eq!(run(&format!("{text}tls = true\n")).err, "");
    assert_eq!(run(&text.replace("PLAIN", "SCRAM-SHA-256")).err, "");
}

// The reference.

fn reference() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap()
}

/// The rows of the reference by section header (`[spool]`), as cells.
fn tables() -> BTreeMap<String, Vec<Vec<String>>> {
    let mut tables: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let mut section = String::new();
    for line in reference().lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim_matches('`').to_owned();
        } else if line.starts_with("| `") {
            let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
            tables.entry(section.clone()).or_default().push(cells);
        }
    }
    tables
}

fn word(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

fn effective(text: &str) -> Effective {
    load_text("x.toml", text, &Environment::Absent).unwrap_or_else(|report| panic!("{report}")).effective
}

/// Keys of a section of the effective configuration, sorted.
fn keys(effective: &Effective, section: &str) -> Vec<String> {
    let mut keys: Vec<String> =
        effective.keys().filter(|(header, _)| *header == section).map(|(_, key)| key.to_owned()).collect();
    keys.sort();
    keys
}

const SOURCES: [(&str, &str); 4] = [
    (
        "http",
        "listen = \"127.0.0.1:1\"\ntls = { certificate = \"c\", key = \"k\", client_ca = \"a\" }\ntoken = { env = \"T\" }",
    ),
    (
        "tcp",
        "listen = \"127.0.0.1:1\"\nstream = \"x\"\ntls = { certificate = \"c\", key = \"k\", client_ca = \"a\" }",
    ),
    ("unix", "path = \"s\"\nstream = \"x\""),
    ("stdin", "stream = \"x\""),
];

fn with_source(kind: &str, keys: &str) -> String {
    let source = format!("type = \"{kind}\"\n{keys}");
    changed("type = \"http\"\nlisten = \"127.0.0.1:8080\"", &source)
}

#[test]
fn the_reference_has_every_key_the_program_reads_and_no_other() {
    let more = "[spool]\nmax_size = \"1GiB\"\npark_size = \"1GiB\"\n[dead_letters]\ntopic = \"letters\"\n[[lane]]\nname = \"main\"\nmax_size = \"1GiB\"\npark_size = \"1GiB\"\n[[stream]]\nname = \"x\"\n[[route]]\nstreams = [\"*\"]\nto = \"home\"\n[admin]\nlisten = \"0.0.0.0:9674\"\ntls = { certificate = \"c\", key = \"k\" }\ntoken = { env = \"T\" }\n";
    let link = format!("{PASSWORD}proxy = \"http://p:1\"\nmax_rate = \"1MB/s\"\n");
    let read = effective(&format!("{GOOD}renamed_from = \"old\"\n{link}{more}"));
    for (section, rows) in tables().into_iter().filter(|(section, _)| section.starts_with('[')) {
        if section == "[[source]]" {
            continue;
        }
        let mut listed: Vec<&str> = rows.iter().map(|row| word(&row[0]).unwrap()).collect();
        listed.sort_unstable();
        assert_eq!(listed, keys(&read, &section), "{section}");
    }
    let sections: Vec<String> = tables().into_keys().collect();
    assert!(read.keys().all(|(header, _)| sections.iter().any(|s| s == header)), "{sections:?}");
    for (kind, required) in SOURCES {
        let rows = &tables()["[[source]]"];
        let of_kind = rows.iter().filter(|row| row[1].split(", ").any(|k| k == kind));
        let mut listed: Vec<&str> = of_kind.map(|row| word(&row[0]).unwrap()).collect();
        listed.sort_unstable();
        assert_eq!(listed, keys(&effective(&with_source(kind, required)), "[[source]]"), "{kind}");
    }
}

const TLS: &str = "tls = { ca = \"c\", certificate = \"c\", key = \"k\", server_name = \"n\" }\n";
const PASSWORD: &str = "sasl = { mechanism = \"PLAIN\", username = \"u\", password = { env = \"P\" } }\n";
const TOKEN: &str = "sasl = { mechanism = \"OAUTHBEARER\", token_url = \"https://t\", client_id = \"c\", \
                     client_secret = { env = \"P\" }, scope = \"s\", token_ca = \"c\" }\n";

/// Keys of a table within a destination, over several texts, sorted.
fn inner_keys(table: &str, texts: &[&str]) -> Vec<String> {
    let mut keys = vec![];
    for text in texts {
        let printed = effective(&format!("{GOOD}{text}")).to_string();
        let printed: toml::Table = printed.parse().unwrap();
        let destination = printed.get("destination").and_then(|d| d.get(0)).unwrap();
        keys.extend(destination.get(table).and_then(|t| t.as_table()).unwrap().keys().cloned());
    }
    keys.sort();
    keys.dedup();
    keys
}

#[test]
fn the_reference_has_every_key_of_tls_and_sasl_and_no_other() {
    for (table, texts) in [("tls", &[TLS][..]), ("sasl", &[PASSWORD, TOKEN])] {
        let mut listed: Vec<String> =
            tables()[table].iter().map(|row| word(&row[0]).unwrap().to_owned()).collect();
        listed.sort();
        assert_eq!(listed, inner_keys(table, texts), "{table}");
    }
}

#[test]
fn the_reference_has_every_key_of_a_listeners_tls_and_no_other() {
    let printed: toml::Table =
        effective(&with_source(SOURCES[0].0, SOURCES[0].1)).to_string().parse().unwrap();
    let tls =
        printed.get("source").and_then(|s| s.get(0)).and_then(|s| s.get("tls")).and_then(|t| t.as_table());
    let mut read: Vec<&str> = tls.unwrap().keys().map(String::as_str).collect();
    read.sort_unstable();
    let rows = &tables()["Listening: `tls` and `token"];
    let mut listed: Vec<&str> = rows.iter().map(|row| word(&row[0]).unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, read);
}

#[test]
fn the_references_defaults_are_the_programs() {
    // Whatever the reference gives as a literal default must stand in the effective configuration of a
    // text that sets nothing but what is required.
    let bare = GOOD.replace("data_dir = \"data\"\n", "").replace("delivery = \"at-least-once\"\n", "");
    let more =
        "[[lane]]\nname = \"main\"\n[[stream]]\nname = \"x\"\n[[route]]\nstreams = [\"*\"]\nto = \"home\"\n";
    let printed = effective(&format!("{bare}{more}")).to_string();
    let mut compared = 0;
    for (section, rows) in tables().into_iter().filter(|(section, _)| section.starts_with('[')) {
        let block = printed.split("\n\n").find(|block| block.starts_with(&section)).unwrap();
        for row in &rows {
            let default = &row[row.len() - 3];
            let (Some(key), Some(default)) = (word(&row[0]), word(default)) else { continue };
            assert!(
                block.lines().any(|line| line == format!("{key} = {default}")),
                "{section} {key}\n{block}"
            );
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn the_references_example_passes() {
    let reference = reference();
    let example = reference.split("## Example").nth(1).unwrap().split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let checked = check(example);
    assert_eq!(checked.code, 0, "{}", checked.err);
}

#[test]
fn the_effective_configuration_is_a_configuration_with_the_same_effect() {
    for (kind, required) in SOURCES {
        let once = effective(&with_source(kind, required));
        assert_eq!(once, effective(&once.to_string()), "{once}");
    }
}

/// They are the defaults that matter most on an edge host, and stood nowhere.
#[test]
fn what_the_file_system_tells_is_printed_beside_the_effective_configuration() {
    let printed = |text: &str, more: &[&str]| {
        let dir = folder(&[("x.toml", text)]);
        let args = [&["check", "-c", "x.toml", "--print-effective"], more].concat();
        let printed = spoolway(dir.path(), &args, &[]);
        assert_eq!(printed.code, 0, "{}", printed.err);
        assert_eq!(effective(&printed.out), effective(text), "{}", printed.out);
        let comments = printed.out.lines().filter(|line| line.starts_with('#'));
        comments.map(str::to_owned).collect::<Vec<_>>()
    };
    let unset = printed(GOOD, &[]);
    assert!(unset[0].starts_with("# max_size = \"") && unset[0].contains("iB\": by default"), "{unset:?}");
    assert!(unset[1].starts_with("# park_size = \"") && unset.len() == 2, "{unset:?}");
    let quota = printed(&format!("{GOOD}[spool]\nmax_size = \"1GiB\"\n"), &[]);
    assert_eq!(quota, ["# park_size = \"256MiB\": by default a quarter of max_size"]);
    let both = "[spool]\nmax_size = \"1GiB\"\npark_size = \"1MiB\"\n";
    assert!(printed(&format!("{GOOD}{both}"), &[]).is_empty());
    // Where nothing is looked up, the disk of another machine says nothing.
    assert!(printed(GOOD, &["--no-environment"])[0].starts_with("# max_size: by default the smaller"));
}

#[test]
fn a_data_directory_that_can_not_be_written_is_noted_and_is_no_error() {
    let dir = folder(&[("x.toml", &GOOD.replace("\"data\"", "\"x.toml/data\""))]);
    let told = spoolway(dir.path(), &["check", "-c", "x.toml"], &[]);
    assert!(told.code == 0 && told.out.starts_with("OK"), "{}{}", told.out, told.err);
    assert!(told.err.contains("can't be written by the user who runs this check"), "{}", told.err);
    let rows = spoolway(dir.path(), &["check", "-c", "x.toml", "--json"], &[]);
    assert!(rows.code == 0 && rows.out.contains("can't be written by the user"), "{}", rows.out);
    let unasked = spoolway(dir.path(), &["check", "-c", "x.toml", "--no-environment"], &[]);
    assert!(unasked.code == 0 && unasked.err.is_empty(), "{}", unasked.err);
}
