//! Answers that are merged.

use super::*;
use crate::kafka::wire::{BrokerRow, PartitionRow};

fn host_at(host: &str, port: u16) -> HostPort {
    HostPort { host: host.into(), port }
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(&[host_at("boot", 1)], &[(host_at("k1", 9092), host_at("gate", 19092))]);
    cluster.track(&TopicName::new("t").unwrap());
    cluster
}

fn answer(id: u8, leaders: &[(i32, i32)]) -> MetadataAnswer {
    let broker = |id: i32| BrokerRow { id, host: format!("k{id}"), port: 9092 };
    let rows = leaders.iter().zip(0..);
    let partition = |(&(leader, leader_epoch), index)| PartitionRow { code: 0, index, leader, leader_epoch };
    MetadataAnswer {
        brokers: vec![broker(1), broker(2)],
        cluster_id: Some("c".into()),
        topics: vec![TopicRow {
            code: 0,
            name: "t".into(),
            id: [id; 16],
            partitions: rows.map(partition).collect(),
            rights: None,
        }],
        ..MetadataAnswer::default()
    }
}

#[test]
fn a_window_of_another_cluster_or_of_an_earlier_topic_of_the_name_is_told_apart() {
    use crate::kafka::batch::Identity;
    let mut cluster = cluster();
    merge(&mut cluster, &answer(7, &[(1, 5)]));
    let topic = TopicName::new("t").unwrap();
    let is_made_anew = |id: u8| {
        let identity = Identity { producer_id: 1, epoch: 0, base_sequence: 0 };
        let sent = Journaled {
            identity,
            doubtful: true,
            cluster_id: "c".into(),
            topic_id: [id; 16],
            acked_offset: -1,
            sent_at: 0,
            may_be_doubled: false,
            unreadable: false,
        };
        cluster.is_made_anew(&topic, &sent)
    };
    assert!(!cluster.is_other("c") && cluster.is_other("d"));
    assert!(!is_made_anew(7) && is_made_anew(8));
    assert!(!cluster.is_other("") && !is_made_anew(0), "what was not known tells nothing apart");
}

/// What was in doubt in the newer topic was given up after half a minute, as if that were gone.
#[test]
fn a_broker_that_lags_behind_does_not_replace_a_topic_by_the_one_before_it() {
    let (mut cluster, now, t) = (cluster(), Instant::now(), TopicName::new("t").unwrap());
    let at = |seconds| now + Duration::from_secs(seconds);
    cluster.merge(&answer(1, &[(1, 5)]), None, at(0));
    assert!(
        cluster.is_replaced(&t, [2; 16], at(1)) && cluster.merge(&answer(2, &[(1, 0), (2, 0)]), None, at(1))
    );
    for second in (10..300).step_by(10) {
        assert!(!cluster.is_replaced(&t, [1; 16], at(second)));
        assert!(!cluster.merge(&answer(1, &[(2, 9)]), None, at(second)), "{second}");
    }
    assert_eq!((place(&cluster, 0), place(&cluster, 1)), (Place::Leader(1), Place::Leader(2)));
    let mut gone = answer(2, &[]);
    gone.topics[0].code = 3;
    assert!(cluster.merge(&gone, None, at(300)));
    assert!(!cluster.merge(&answer(1, &[(2, 9)]), None, at(301)), "nor when the newer one is gone");
    assert_eq!(place(&cluster, 0), Place::Nowhere(3));
    assert!(cluster.merge(&answer(3, &[(1, 0)]), None, at(302)));
    assert!(!cluster.merge(&answer(1, &[(2, 9)]), None, at(303)));
    assert!(!cluster.merge(&answer(1, &[(2, 9)]), None, at(603)));
    assert!(cluster.is_replaced(&t, [1; 16], at(904)) && cluster.merge(&answer(1, &[(2, 9)]), None, at(904)));
    cluster.forget_names();
    assert!(cluster.merge(&answer(3, &[(1, 0)]), None, at(905)), "the cluster is another one");
}

fn merge(cluster: &mut Cluster, answer: &MetadataAnswer) -> bool {
    cluster.merge(answer, None, Instant::now())
}

fn place(cluster: &Cluster, partition: i32) -> Place {
    cluster.place(&TopicName::new("t").unwrap(), partition)
}

#[test]
fn leaders_are_followed_and_changes_are_told_once() {
    let mut cluster = cluster();
    assert_eq!(place(&cluster, 0), Place::Unknown);
    assert!(merge(&mut cluster, &answer(1, &[(1, 0), (-1, 3), (7, 0)])));
    assert!(!merge(&mut cluster, &answer(1, &[(1, 0), (-1, 3), (7, 0)])));
    assert_eq!(place(&cluster, 0), Place::Leader(1));
    assert_eq!(place(&cluster, 1), Place::Nowhere(5));
    assert_eq!(place(&cluster, 2), Place::Nowhere(5), "led by a broker that is not there");
    assert_eq!(place(&cluster, 3), Place::Nowhere(3));
    assert!(cluster.is_unsettled());
}

#[test]
fn a_lagging_broker_does_not_turn_back_the_leader() {
    let mut cluster = cluster();
    merge(&mut cluster, &answer(1, &[(2, 6)]));
    assert!(!merge(&mut cluster, &answer(1, &[(1, 5)])));
    assert_eq!(place(&cluster, 0), Place::Leader(2));
    assert!(merge(&mut cluster, &answer(2, &[(1, 0)])), "a new topic of the same name begins at 0");
    assert_eq!(place(&cluster, 0), Place::Leader(1));
}

#[test]
fn another_broker_is_asked_about_a_leader_that_goes_back_and_believed_in_that_alone() {
    let (mut cluster, now) = (cluster(), Instant::now());
    let at = |seconds| now + Duration::from_secs(seconds);
    let (first, second) = (host_at("gate", 19092), host_at("k2", 9092));
    cluster.merge(&answer(1, &[(2, 6), (2, 6)]), Some(&first), at(0));
    assert!(!cluster.merge(&answer(1, &[(1, 5), (2, 6)]), Some(&first), at(1)));
    assert!(cluster.is_unsettled());
    assert_eq!(
        (cluster.second_opinion(at(10)), cluster.second_opinion(at(11))),
        (None, Some(second.clone()))
    );
    assert_eq!(cluster.second_opinion(at(25)), None, "it has been asked just now");
    // What else it says may be older still.
    let mut lagging = answer(1, &[(1, 5)]);
    assert!(!cluster.hear_opinion(&lagging, &second, at(12)));
    lagging.topics[0].code = 3;
    assert!(!cluster.hear_opinion(&lagging, &second, at(13)));
    assert!(!cluster.hear_opinion(&answer(2, &[(1, 5)]), &second, at(14)), "it is another topic");
    assert!(!cluster.merge(&answer(1, &[(1, 5), (2, 6)]), Some(&first), at(60)));
    assert!(cluster.merge(&answer(1, &[(1, 5), (2, 6)]), Some(&first), at(61)));
    assert_eq!((place(&cluster, 0), place(&cluster, 1)), (Place::Leader(1), Place::Leader(2)));
    assert!(!cluster.is_unsettled());
}

#[test]
fn an_answer_without_a_cluster_id_does_not_make_the_next_cluster_the_same() {
    let mut cluster = cluster();
    merge(&mut cluster, &answer(1, &[(1, 0)]));
    assert!(!merge(&mut cluster, &MetadataAnswer { cluster_id: None, ..answer(1, &[(1, 0)]) }));
    assert!(cluster.is_other("d") && !cluster.is_other("c"));
    assert_eq!(cluster.topology().cluster_id.as_deref(), Some("c"));
}

#[test]
fn addresses_are_mapped_and_the_bootstrap_list_stays() {
    let mut cluster = cluster();
    merge(&mut cluster, &answer(1, &[]));
    assert_eq!(cluster.address(1), Some(&host_at("gate", 19092)));
    let all = [host_at("gate", 19092), host_at("boot", 1), host_at("k2", 9092)];
    assert_eq!(cluster.candidates(None), all);
    assert_eq!(cluster.candidates(Some(&host_at("gate", 19092))).last(), Some(&host_at("gate", 19092)));
    let nobody = MetadataAnswer::default();
    merge(&mut cluster, &nobody);
    assert_eq!(cluster.candidates(None), all, "an answer without brokers is not believed");
}

#[test]
fn no_answer_hides_the_bootstrap_list_or_names_a_host_that_is_none() {
    let mut cluster = cluster();
    let told = |id, host: &str| BrokerRow { id, host: host.into(), port: 9092 };
    let many = (0..10_000).map(|id| told(id, &format!("10.0.{}.{}", id / 256, id % 256))).collect();
    merge(&mut cluster, &MetadataAnswer { brokers: many, ..answer(1, &[]) });
    assert_eq!(cluster.candidates(None).iter().position(|c| *c == host_at("boot", 1)), Some(1));
    let long = "h".repeat(254);
    let hosts =
        ["evil HTTP/1.1\r\n\r\n", "a b", "\u{1b}]0;x\u{7}", "", &long, "fe80::1%eth0", "k_3.example-x"];
    let rows = (0..).zip(hosts).map(|(id, host)| told(id, host)).collect();
    merge(&mut cluster, &MetadataAnswer { brokers: rows, ..answer(1, &[]) });
    let known: Vec<&str> = (0..7).filter_map(|id| Some(cluster.address(id)?.host.as_str())).collect();
    assert_eq!(known, ["fe80::1%eth0", "k_3.example-x"]);
}

#[test]
fn a_topic_that_went_missing_says_why_and_comes_back() {
    let mut cluster = cluster();
    merge(&mut cluster, &answer(1, &[(1, 0)]));
    let mut gone = answer(1, &[]);
    gone.topics[0].code = 29;
    assert!(merge(&mut cluster, &gone));
    assert_eq!(place(&cluster, 0), Place::Nowhere(29));
    merge(&mut cluster, &answer(1, &[(2, 0)]));
    assert_eq!(place(&cluster, 0), Place::Leader(2));
}

#[test]
fn an_absurd_partition_number_allocates_nothing() {
    let mut cluster = cluster();
    let mut bad = answer(1, &[(1, 0)]);
    bad.topics[0].partitions[0].index = i32::MAX;
    merge(&mut cluster, &bad);
    assert_eq!(cluster.topology().partition_count("t"), Some(1));
    assert_eq!(place(&cluster, 0), Place::Nowhere(5));
}
