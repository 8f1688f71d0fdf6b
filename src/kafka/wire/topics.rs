//! CreateTopics, version 4, and DeleteTopics, versions 1 to 3, each for one topic.

use std::time::Duration;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest};
use kafka_protocol::protocol::StrBytes;

use super::{Cursor, Request, WireError};

/// Asks for a topic with as many copies as the cluster makes by default, which version 4 can ask for first (KIP-464). The broker
/// answers when it is there, or after `wait`.
#[must_use]
pub fn create_topic_request(
    client_id: &str,
    version: i16,
    topic: &str,
    partitions: i32,
    wait: Duration,
) -> Request {
    let name = StrBytes::from_string(topic.to_owned());
    let topic = CreatableTopic::default().with_name(name.into()).with_num_partitions(partitions);
    let topic = topic.with_replication_factor(-1);
    let message = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(millis(wait));
    Request::new(client_id, version, &message)
}

/// Asks for a topic to be deleted.
#[must_use]
pub fn delete_topic_request(client_id: &str, version: i16, topic: &str, wait: Duration) -> Request {
    let name = StrBytes::from_string(topic.to_owned());
    let message = DeleteTopicsRequest::default().with_topic_names(vec![name.into()]);
    Request::new(client_id, version, &message.with_timeout_ms(millis(wait)))
}

fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}

/// What a broker says of the topic that it was to make or delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicAnswer {
    /// 0, or why not.
    pub code: i16,
    /// In the broker's own words, if it has any.
    pub message: Option<String>,
}

impl TopicAnswer {
    /// Reads the answer to [`create_topic_request`].
    ///
    /// # Errors
    /// [`WireError`]; null when it names no topic.
    pub fn created(bytes: &[u8]) -> Result<Self, WireError> {
        Self::last(bytes, |c| c.nullable_string(false).map(|said| said.map(str::to_owned)))
    }

    /// Reads the answer to [`delete_topic_request`].
    ///
    /// # Errors
    /// As [`TopicAnswer::created`].
    pub fn deleted(bytes: &[u8]) -> Result<Self, WireError> {
        Self::last(bytes, |_| Ok(None))
    }

    /// Of the last topic, which is the only one.
    fn last(
        bytes: &[u8],
        words: impl Fn(&mut Cursor<'_>) -> Result<Option<String>, WireError>,
    ) -> Result<Self, WireError> {
        let mut c = Cursor::new(bytes);
        c.i32()?;
        let mut found = None;
        for _ in 0..c.array(false, 4)? {
            c.string(false)?;
            let code = c.i16()?;
            found = Some(Self { code, message: words(&mut c)? });
        }
        found.ok_or(WireError::Null)
    }
}
