//! Answers, one file an API: a decoded request in, the codec crate's response out.
//!
//! Everything but a waiting fetch is decided without an await, so a connection that is closed by a fault
//! has either done the whole of a request or nothing of it.

mod create_topics;
mod describe_configs;
mod fetch;
mod frame;
mod list_offsets;
mod metadata;
mod produce;
mod refused;
mod small;

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use super::cluster::Cluster;
use super::request::{Header, Request};
use frame::frame;
pub(super) use frame::{EncodeError, raw};

/// What a connection does after a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Write the frame, then read nothing for so long.
    Send { frame: Bytes, mute: std::time::Duration },
    /// Nothing (acks=0).
    None,
    /// Close the connection.
    Close,
}

impl Answer {
    fn now(frame: Bytes) -> Self {
        Self::Send { frame, mute: std::time::Duration::ZERO }
    }
}

/// Answers one request that reached broker `node`.
pub(super) async fn answer(
    cluster: &Cluster,
    node: i32,
    header: &Header,
    request: &Request,
) -> Result<Answer, EncodeError> {
    if let Some(body) = cluster.plan(super::plan::Plan::strike_raw) {
        return Ok(Answer::now(raw(header, &body)));
    }
    if let Some(code) = cluster.plan(|plan| plan.strike_call(header.served.key)) {
        return refused::answer(cluster, header, request, code);
    }
    Ok(Answer::now(match request {
        Request::Produce(produce) => return produce::answer(cluster, node, header, produce).await,
        Request::ApiVersions { known } => frame(header, &small::api_versions(*known))?,
        Request::Metadata(metadata) => frame(header, &metadata::answer(cluster, header.version, metadata))?,
        Request::InitProducerId(init) => frame(header, &small::init_producer_id(cluster, init))?,
        Request::Fetch(fetch) => frame(header, &fetch::answer(cluster, node, fetch).await)?,
        Request::ListOffsets(list) => frame(header, &list_offsets::answer(cluster, node, list))?,
        Request::FindCoordinator => frame(header, &small::find_coordinator(header.version))?,
        Request::DescribeConfigs(asked) => frame(header, &describe_configs::answer(cluster, asked))?,
        Request::Sasl(step) => small::sasl(header, *step)?,
        Request::CreateTopics(create) => {
            frame(header, &create_topics::answer(cluster, header.version, create))?
        }
    }))
}

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}
