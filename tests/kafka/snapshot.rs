//! A snapshot of a running agent's data directory, put back into the very files that it was made of: neither births nor machine tell it from
//! what was there. What its topic holds does.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::broker::Broker;
use crate::controls::copy;
use crate::exactly::WINDOW;
use crate::support::agent::{Agent, Setup, assert_accounts_balance};
use crate::support::compare::Verdict;
use crate::support::http;
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

const SOON: Duration = Duration::from_secs(90);

/// What came of it.
struct Ending {
    /// What `/readyz` noted of the first process on what was put back.
    noted: Vec<String>,
    /// Whether the incarnation is that of the beginning: in that process, and in the one after it.
    is_the_same: [bool; 2],
    cause: Value,
    verdict: Verdict,
}

/// The broker is frozen while windows stand in its socket, and the directory is copied. The agent goes on, and delivers more; `put_back` brings
/// something of that moment back.
fn story(name: &str, put_back: impl Fn(&Path, &Path)) -> Ending {
    let broker = Broker::start(name);
    let topic = Topic::create(&broker, name, 2);
    let setup = Setup::new(name).destination("home", broker.port, WINDOW);
    let load = |generator| Load::http(Plan::new(setup.http, name, generator).limit(5_000)).finish();
    let agent = setup.start();
    let first = agent.status()["relay"]["incarnation"].clone();
    let mut books = vec![load(1)];
    agent.wait_drained(None, SOON);
    broker.freeze();
    books.push(load(2));
    agent.wait_status("sends nothing", SOON, |s| s["destinations"][0]["in_flight"].as_u64() > Some(0));
    let kept = setup.dir.join("kept");
    copy(&setup.data_dir(), &kept);
    broker.thaw();
    books.push(load(3));
    agent.wait_drained(None, SOON);
    agent.stop();
    topic.judge(&books).assert_exact();
    put_back(&setup.data_dir(), &kept);
    let agent = setup.start();
    books.push(load(4));
    assert_accounts_balance(&agent.wait_drained(None, SOON));
    let noted = notes(&setup);
    let second = incarnation(&agent);
    agent.stop();
    let agent = setup.start();
    let third = incarnation(&agent);
    let cause = agent.status()["relay"]["incarnation_cause"].clone();
    agent.stop();
    let verdict = topic.judge(&books);
    println!("{name}: {verdict}");
    assert_eq!((verdict.missing, verdict.distinct), (0, 20_000), "{verdict}");
    Ending { noted, is_the_same: [second == first, third == first], cause, verdict }
}

fn incarnation(agent: &Agent<'_>) -> Value {
    agent.status()["relay"]["incarnation"].clone()
}

fn notes(setup: &Setup) -> Vec<String> {
    let answer = http::get(setup.admin, "/readyz").expect("the admin server answers").json();
    let notes = answer["notes"].as_array().cloned().unwrap_or_default();
    notes.iter().map(ToString::to_string).collect()
}

/// Segments that are newer go, and every other file gets its older bytes, in place.
fn in_place(data: &Path, kept: &Path) {
    let lane = Path::new("lanes/main");
    for entry in std::fs::read_dir(data.join(lane)).expect("a lane") {
        let name = entry.expect("an entry").file_name();
        if !kept.join(lane).join(&name).exists() {
            std::fs::remove_file(data.join(lane).join(&name)).expect("it can be removed");
        }
    }
    copy(&kept.join("."), data);
}

pub fn a_snapshot_put_back_in_place_is_recognised_by_what_its_topic_holds() {
    let Ending { noted, is_the_same, cause, verdict } = story("snapshot", in_place);
    assert!(noted.len() == 1 && noted[0].contains("older copy"), "{noted:?}");
    assert_eq!((is_the_same, cause.as_str()), ([true, false], Some("rolled_back")));
    // What waited when it was made, but for what was in flight.
    assert!(verdict.doubled < 5_000, "{verdict}");
}

/// As if the disk had taken nothing of journal and positions while windows went without them: the log has all that was sent.
pub fn a_journal_that_was_not_written_while_events_were_sent_gives_no_alarm() {
    let beside_the_log = |data: &Path, kept: &Path| {
        ["journal", "readers"].iter().for_each(|part| copy(&kept.join(part).join("."), &data.join(part)));
    };
    let Ending { noted, is_the_same, cause, .. } = story("unwritten", beside_the_log);
    assert_eq!((noted, is_the_same, cause.as_str()), (vec![], [true, true], Some("new")));
}
