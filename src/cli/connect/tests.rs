use super::*;
use crate::config::{Environment, load_text};
use crate::target::{Target, TargetOptions};

fn config(bootstrap: &str, more: &str) -> Config {
    let text = format!(
        "[[source]]\ntype = \"stdin\"\nstream = \"orders\"\n\
         [[destination]]\nname = \"home\"\nbootstrap = \"{bootstrap}\"\nconnect_timeout = \"5s\"\n{more}\n\
         [[route]]\nstreams = [\"*\"]\nto = \"home\"\n\
         [[route]]\nstreams = [\"audit\"]\nto = \"home\"\ntopic = \"never\"\n"
    );
    load_text("x.toml", &text, &Environment::Absent).unwrap_or_else(|r| panic!("{r}")).config
}

fn target(advertise: Vec<HostPort>) -> TargetOptions {
    let topics = vec![("orders".to_owned(), 3), ("never".to_owned(), 1)];
    TargetOptions { topics, advertise, ..TargetOptions::default() }
}

/// An address of this host that nothing listens on.
fn closed_port() -> HostPort {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    HostPort { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() }
}

#[tokio::test]
async fn a_cluster_that_is_there_is_reached_with_its_topics_and_what_is_missing_is_told() {
    let target = Target::start(target(vec![])).await.unwrap();
    let reached = reach_all(&config(&target.bootstrap(), "")).await.remove(0);
    let text = reached.tell();
    assert_eq!(reached.brokers, 1, "{text}");
    assert!(text.contains("topic orders (3 partitions)"), "{text}");
    assert!(text.contains("topic audit: ") && text.contains("code 3"), "{text}");
    assert_eq!(reached.problems.len(), 1, "{text}");
}

/// It said "reached" and nothing of the topics, as if there were nothing to say.
#[tokio::test]
async fn what_was_not_looked_at_is_said_and_the_topic_of_dead_letters_is_asked_for() {
    let target = Target::start(target(vec![])).await.unwrap();
    let asked = async |source: &str, more: &str| {
        let text = format!(
            "[[source]]\n{source}\n[[destination]]\nname = \"home\"\nbootstrap = \"{}\"\n{more}",
            target.bootstrap()
        );
        let loaded = load_text("x.toml", &text, &Environment::Absent);
        reach_all(&loaded.unwrap_or_else(|r| panic!("{r}")).config).await.remove(0)
    };
    let http = "type = \"http\"\nlisten = \"127.0.0.1:1\"";
    let unknown = asked(http, "").await;
    assert!(unknown.tell().contains("note: no topic is known before events come"), "{}", unknown.tell());
    assert!(unknown.problems.is_empty());
    let fixed = asked("type = \"stdin\"\nstream = \"orders\"", "").await;
    assert!(!fixed.tell().contains("note: "), "{}", fixed.tell());
    let route = "[[route]]\nstreams = [\"orders\", \"audit.*\"]\nto = \"home\"\n";
    let glob = asked(http, route).await;
    assert!(glob.tell().contains("topic orders") && glob.tell().contains("other topics"), "{}", glob.tell());
    let all_in_one = asked(http, &format!("{route}topic = \"orders\"\n")).await;
    assert!(!all_in_one.tell().contains("note: "), "{}", all_in_one.tell());
    let letters = asked(http, "[dead_letters]\ntopic = \"graves\"\n").await;
    assert!(letters.tell().contains("topic graves: ") && letters.problems.len() == 1, "{}", letters.tell());
    assert!(letters.tell().contains("note: no topic is known"), "{}", letters.tell());
}

#[tokio::test]
async fn an_advertised_address_that_can_not_be_reached_is_told_and_may_be_mapped() {
    let nowhere = closed_port();
    let target = Target::start(target(vec![nowhere.clone()])).await.unwrap();
    let reached = reach_all(&config(&target.bootstrap(), "")).await.remove(0);
    let text = reached.tell();
    assert_eq!(reached.brokers, 0, "{text}");
    assert!(text.contains(&format!("{nowhere}, which the cluster advertises")), "{text}");
    assert!(text.contains("advertised.listeners"), "{text}");

    let map = format!("address_map = {{ \"{nowhere}\" = \"{}\" }}", target.bootstrap());
    let reached = reach_all(&config(&target.bootstrap(), &map)).await.remove(0);
    assert_eq!(reached.brokers, 1, "{}", reached.tell());
}

#[test]
fn what_is_not_permitted_is_told_with_what_it_costs() {
    let (read, write, describe) = (1 << 3, 1 << 4, 1 << 8);
    let judged = |bits: i32, reads: bool| {
        let mut reached = Reached::default();
        let rights = Rights::told(bits).unwrap();
        let topic =
            TopicRow { code: 0, name: "t".to_owned(), id: [0; 16], partitions: vec![], rights: Some(rights) };
        judge_topic(&topic, reads, &mut reached);
        reached.tell()
    };
    assert!(judged(describe | read, false).contains("writing to topic t is not permitted"));
    assert!(judged(describe | write, true).contains("reading topic t is not permitted"));
    assert!(!judged(describe | write, false).contains("problem"));
    assert!(!judged(describe | write | read, true).contains("problem"));
}

#[tokio::test]
async fn what_a_broker_says_commands_no_terminal_and_no_proxy() {
    let host = "evil\r\nX: \u{1b}[2J".to_owned();
    let target = Target::start(target(vec![HostPort { host, port: 9 }])).await.unwrap();
    let reached = reach_all(&config(&target.bootstrap(), "")).await.remove(0);
    let text = reached.tell();
    assert!(text.contains("advertises a host that is none"), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named_with_a_remedy() {
    let nowhere = closed_port();
    let reached = reach_all(&config(&nowhere.to_string(), "")).await.remove(0);
    let text = reached.tell();
    assert!(text.contains(&format!("can't connect to {nowhere} (bootstrap)")), "{text}");
    assert!(text.contains("remedy: check that the broker runs"), "{text}");
}
