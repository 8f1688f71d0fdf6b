//! What Kafka's error codes mean for a window: a pure table.
//!
//! Complete for Produce, Metadata, InitProducerId, Fetch and ListOffsets. A code that is not in the table is
//! taken for the worst: it may have been appended ([`Meaning::ambiguous`]), so the window is sent again under
//! the same identity.
//!
//! A verdict is about a *first* send. INVARIANT: after a send with an unknown outcome, only [`Verdict::Done`]
//! and [`Verdict::Duplicate`] settle the window; a broker checks size, time stamps, permissions and in-sync
//! replicas before it looks for duplicates, so every other answer says nothing about the earlier send.

use kafka_protocol::ResponseError;

use super::window::LinkError;

/// What to do about a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the log.
    Done,
    /// It is in the log since an earlier send. Without an earlier send: see [`Verdict::Reset`].
    Duplicate,
    /// Send it again, after a while.
    Retry,
    /// Ask for metadata, then send it again, perhaps to another broker.
    Refresh,
    /// The same bytes will be refused again.
    Refuse,
    /// The topic or partition will not have it for now.
    Defer,
    /// The broker's memory of this producer and ours differ: renew the partition's identity.
    Reset,
    /// Nothing will pass until a person has changed something: try again at the slowest pace.
    Hold,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The code.
    pub code: i16,
    /// Kafka's name for it.
    pub name: &'static str,
    /// What to do.
    pub verdict: Verdict,
    /// The broker may have appended the batch all the same.
    pub ambiguous: bool,
    /// What it means.
    pub message: &'static str,
    /// What a person can do about it.
    pub hint: &'static str,
}

impl Meaning {
    /// As told to people; `what` says which thing it happened to.
    #[must_use]
    pub fn link_error(&self, what: &str) -> LinkError {
        LinkError {
            code: Some(self.code),
            message: format!("{what}: {} ({}, code {})", self.message, self.name, self.code),
            hint: self.hint.to_owned(),
        }
    }
}

/// What a code means.
#[must_use]
pub fn meaning(code: i16) -> Meaning {
    TABLE.iter().find(|row| row.code == code).copied().unwrap_or_else(|| unknown(code))
}

fn unknown(code: i16) -> Meaning {
    let name = match ResponseError::try_from_code(code) {
        None | Some(ResponseError::Unknown(_)) => "unknown to this version",
        Some(_) => "not an answer to this request",
    };
    Meaning {
        code,
        name,
        verdict: Verdict::Retry,
        ambiguous: true,
        message: "the broker gave an error code that has no place here",
        hint: "look into the broker's log; the same window is sent again until it succeeds",
    }
}

const WAIT: &str = "nothing, if it passes by itself; else look into the broker's log";
const MOVING: &str = "nothing: the new leader is looked up";

const fn row(
    code: i16,
    name: &'static str,
    verdict: Verdict,
    ambiguous: bool,
    message: &'static str,
    hint: &'static str,
) -> Meaning {
    Meaning { code, name, verdict, ambiguous, message, hint }
}

use Verdict::{Defer, Done, Duplicate, Hold, Refresh, Refuse, Reset, Retry};

#[rustfmt::skip]
const TABLE: &[Meaning] = &[
    row(-1, "UNKNOWN_SERVER_ERROR", Retry, true, "the broker failed in an unexpected way", "look into the broker's log"),
    row(0, "NONE", Done, false, "no error", ""),
    row(1, "OFFSET_OUT_OF_RANGE", Retry, false, "the offset is not in the log", "the records may have expired"),
    row(2, "CORRUPT_MESSAGE", Retry, false, "the batch arrived damaged", "if it persists, something on the way changes bytes"),
    row(3, "UNKNOWN_TOPIC_OR_PARTITION", Defer, false, "the topic or partition does not exist", "create the topic, or correct the route"),
    row(5, "LEADER_NOT_AVAILABLE", Defer, false, "the partition has no leader", "bring back the brokers that hold its replicas"),
    // Also given to a request that was appended and then waited for replicas when the leader changed
    // (`DelayedProduce`), hence ambiguous.
    row(6, "NOT_LEADER_OR_FOLLOWER", Refresh, true, "the broker no longer leads the partition", MOVING),
    row(7, "REQUEST_TIMED_OUT", Retry, true, "the replicas did not confirm in time", "see why the partition's followers lag"),
    row(8, "BROKER_NOT_AVAILABLE", Refresh, false, "the broker is not available", MOVING),
    row(9, "REPLICA_NOT_AVAILABLE", Refresh, false, "the replica is not available", MOVING),
    row(10, "MESSAGE_TOO_LARGE", Refuse, false, "the batch is larger than the topic's max.message.bytes", "raise max.message.bytes, or lower batch_size and max_event_size"),
    row(13, "NETWORK_EXCEPTION", Refresh, true, "the broker was disconnected", WAIT),
    row(14, "COORDINATOR_LOAD_IN_PROGRESS", Retry, false, "the broker is still starting", WAIT),
    row(15, "COORDINATOR_NOT_AVAILABLE", Retry, false, "the broker is still starting", WAIT),
    row(16, "NOT_COORDINATOR", Retry, false, "another broker is the coordinator", WAIT),
    row(17, "INVALID_TOPIC_EXCEPTION", Defer, false, "Kafka does not allow the topic's name, or writing to it", "correct the route"),
    row(18, "RECORD_LIST_TOO_LARGE", Refuse, false, "the batch is larger than the topic's segment.bytes", "raise segment.bytes, or lower batch_size"),
    // Looked at before anything is appended (`Partition.appendRecordsToLeader`), so it says of a first send that it is not there.
    row(19, "NOT_ENOUGH_REPLICAS", Defer, false, "fewer replicas are in sync than min.insync.replicas demands", "bring back the brokers that hold the partition's replicas"),
    row(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retry, true, "appended, but fewer replicas are in sync than min.insync.replicas demands", "bring back the brokers that hold the partition's replicas"),
    row(21, "INVALID_REQUIRED_ACKS", Hold, false, "the broker does not accept acks=all", "use a cluster that does"),
    row(29, "TOPIC_AUTHORIZATION_FAILED", Defer, false, "writing to the topic is forbidden", "allow WRITE and DESCRIBE on the topic to this principal"),
    row(31, "CLUSTER_AUTHORIZATION_FAILED", Hold, false, "idempotent writing is forbidden", "allow WRITE on any topic, or IDEMPOTENT_WRITE on the cluster, to this principal"),
    row(32, "INVALID_TIMESTAMP", Refuse, false, "a time stamp is outside of what the topic allows (message.timestamp.before/after.max.ms)", "check this host's clock; use timestamp = \"auto\" or \"send\", or widen the topic's limits"),
    row(33, "UNSUPPORTED_SASL_MECHANISM", Hold, false, "the broker does not offer this SASL mechanism", "choose one that the listener offers"),
    row(34, "ILLEGAL_SASL_STATE", Hold, false, "the broker expected authentication", "configure sasl, or use another listener"),
    row(35, "UNSUPPORTED_VERSION", Hold, false, "the broker does not know this version of the request", "use a broker of Kafka 2.8 or later"),
    row(41, "NOT_CONTROLLER", Refresh, false, "the broker is not the controller", MOVING),
    row(42, "INVALID_REQUEST", Hold, false, "the broker calls the request malformed", "report this as a bug, with the broker's log"),
    row(43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Hold, false, "the topic has an old message format", "raise the topic's message.format.version"),
    row(44, "POLICY_VIOLATION", Refuse, false, "a policy of the broker refuses the records", "see the broker's policy"),
    row(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Reset, false, "the broker has lost its memory of this producer", WAIT),
    row(46, "DUPLICATE_SEQUENCE_NUMBER", Duplicate, false, "the broker has seen this batch before", ""),
    row(47, "INVALID_PRODUCER_EPOCH", Reset, false, "the broker knows a newer identity of this producer", WAIT),
    row(48, "INVALID_TXN_STATE", Hold, false, "the broker takes this for part of a transaction", "report this as a bug"),
    row(49, "INVALID_PRODUCER_ID_MAPPING", Reset, false, "the broker does not know this producer id", WAIT),
    row(51, "CONCURRENT_TRANSACTIONS", Retry, false, "the broker is still ending a transaction", WAIT),
    row(53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Hold, false, "the transactional id is forbidden", "allow WRITE on it to this principal"),
    row(54, "SECURITY_DISABLED", Hold, false, "the broker has no security configured", WAIT),
    row(55, "OPERATION_NOT_ATTEMPTED", Retry, false, "the broker did not attempt it", WAIT),
    row(56, "KAFKA_STORAGE_ERROR", Refresh, true, "the broker's disk failed", "look after the broker's disk"),
    row(57, "LOG_DIR_NOT_FOUND", Refresh, false, "the broker's log directory is gone", "look after the broker's disk"),
    row(58, "SASL_AUTHENTICATION_FAILED", Hold, false, "the credentials are wrong", "correct them"),
    row(59, "UNKNOWN_PRODUCER_ID", Reset, false, "the broker has forgotten this producer", WAIT),
    row(60, "REASSIGNMENT_IN_PROGRESS", Retry, false, "the partition is being moved", WAIT),
    row(72, "LISTENER_NOT_FOUND", Defer, false, "the partition's leader has no listener like this one", "give every broker the same listeners"),
    row(74, "FENCED_LEADER_EPOCH", Refresh, false, "our knowledge of the partition is old", MOVING),
    row(75, "UNKNOWN_LEADER_EPOCH", Refresh, false, "the broker's knowledge of the partition is old", MOVING),
    row(76, "UNSUPPORTED_COMPRESSION_TYPE", Hold, false, "the broker does not know this compression", "choose another compression for the destination"),
    row(78, "OFFSET_NOT_AVAILABLE", Retry, false, "the new leader does not know the end of the log yet", WAIT),
    row(80, "PREFERRED_LEADER_NOT_AVAILABLE", Refresh, false, "the preferred leader is not available", MOVING),
    row(87, "INVALID_RECORD", Refuse, false, "the broker refuses a record (a compacted topic takes none without a key)", "see the broker's log for its reason"),
    row(89, "THROTTLING_QUOTA_EXCEEDED", Retry, false, "a quota is used up", "raise the quota of this principal"),
    row(90, "PRODUCER_FENCED", Reset, false, "a newer producer has taken this identity", WAIT),
    row(100, "UNKNOWN_TOPIC_ID", Refresh, false, "the broker does not know the topic's id", MOVING),
    row(103, "INCONSISTENT_TOPIC_ID", Refresh, false, "the topic has been created anew", MOVING),
    row(106, "FETCH_SESSION_TOPIC_ID_ERROR", Refresh, false, "the topic has been created anew", MOVING),
    row(129, "REBOOTSTRAP_REQUIRED", Refresh, false, "the cluster asks clients to begin anew", MOVING),
];

/// Foreign text as it may stand in a log: one line, not too long.
pub(crate) fn printable(text: &str, most: usize) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_meaning_and_a_remedy() {
        for code in -1..=200 {
            let meaning = meaning(code);
            assert_eq!(meaning.code, code);
            assert!(!meaning.message.is_empty() && !meaning.name.is_empty(), "{code}");
            let settles = matches!(meaning.verdict, Done | Duplicate);
            assert!(settles || !meaning.hint.is_empty(), "{code}");
            assert_eq!(matches!(meaning.verdict, Done), code == 0, "only 0 means appended: {code}");
        }
    }

    #[test]
    fn codes_are_sorted_and_unique_and_kafkas_own() {
        assert!(TABLE.is_sorted_by(|a, b| a.code < b.code));
        for row in TABLE.iter().filter(|row| row.code != 0) {
            let name = format!("{:?}", ResponseError::try_from_code(row.code).unwrap());
            let ours = row.name.replace('_', "").to_lowercase();
            // The codec crate spells some of them differently.
            assert!(ours == name.to_lowercase() || [17, 57].contains(&row.code), "{} is {name}", row.name);
        }
    }

    #[test]
    fn an_unknown_code_may_have_been_appended_and_is_tried_again() {
        for code in [-2, 11, 104, 999, i16::MAX] {
            assert_eq!((meaning(code).verdict, meaning(code).ambiguous), (Retry, true), "{code}");
        }
    }

    #[test]
    fn what_is_refused_for_good_is_never_ambiguous() {
        for row in TABLE {
            assert!(!(row.ambiguous && matches!(row.verdict, Refuse | Defer | Reset | Done)), "{}", row.name);
        }
    }

    #[test]
    fn errors_that_follow_an_append_are_ambiguous() {
        for code in [-1, 6, 7, 13, 20, 56] {
            assert!(meaning(code).ambiguous, "{code}");
        }
    }
}
