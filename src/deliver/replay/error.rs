//! How a replay can fail.

use std::time::Duration;

use crate::ids::TopicName;

/// Why a replay has ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A topic is not there, or may not be seen.
    #[error("topic {topic} can't be written to: {message} (code {code}); make it, or see to the permissions")]
    Topic {
        /// Which.
        topic: TopicName,
        /// Kafka's error code.
        code: i16,
        /// What it means.
        message: String,
    },
    /// A broker refused a batch for good.
    #[error(
        "topic {topic}, partition {partition}: a batch was refused: {message} (code {code}){}",
        remedy(*code)
    )]
    Refused {
        /// Its topic.
        topic: TopicName,
        /// Its partition.
        partition: i32,
        /// Kafka's error code.
        code: i16,
        /// What it means.
        message: String,
    },
    /// It was told to end.
    #[error("it was stopped")]
    Stopped,
    /// Nothing was acknowledged for too long.
    #[error("nothing was acknowledged for {patience:?}: {trouble}")]
    Silent {
        /// How long.
        patience: Duration,
        /// The last thing that went wrong.
        trouble: String,
    },
}

impl ReplayError {
    pub(super) fn silent(patience: Duration, trouble: Option<String>) -> Self {
        let trouble = trouble.unwrap_or_else(|| "the cluster does not say why".to_owned());
        Self::Silent { patience, trouble }
    }
}

fn remedy(code: i16) -> &'static str {
    match code {
        10 | 18 => "; take a destination of the configuration (-c) with a smaller batch_size",
        _ => "",
    }
}
