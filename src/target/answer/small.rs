//! The answers that need no more than a few lines.

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::{
    FindCoordinatorResponse, InitProducerIdResponse, SaslAuthenticateResponse, SaslHandshakeResponse,
};

use super::frame::{EncodeError, frame};
use super::text;
use crate::target::api::SERVED;
use crate::target::cluster::Cluster;
use crate::target::code;
use crate::target::plan::Plan;
use crate::target::request::{Header, InitProducerId, Sasl};

pub(super) fn api_versions(known: bool) -> ApiVersionsResponse {
    let keys = SERVED.map(|s| {
        ApiVersion::default().with_api_key(s.key as i16).with_min_version(s.min).with_max_version(s.max)
    });
    ApiVersionsResponse::default()
        .with_error_code(if known { code::NONE } else { code::UNSUPPORTED_VERSION })
        .with_api_keys(keys.to_vec())
}

/// A fresh producer id each time; without a transactional id a real broker looks at nothing else.
pub(super) fn init_producer_id(cluster: &Cluster, init: &InitProducerId) -> InitProducerIdResponse {
    let planned = cluster.plan(Plan::strike_producer_id);
    let error = if init.transactional { code::TRANSACTIONAL_ID_DENIED } else { planned };
    if error != code::NONE {
        return InitProducerIdResponse::default()
            .with_error_code(error)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
    }
    InitProducerIdResponse::default()
        .with_producer_id(cluster.next_producer_id().into())
        .with_producer_epoch(0)
}

/// Everybody is let in.
pub(super) fn sasl(header: &Header, step: Sasl) -> Result<Bytes, EncodeError> {
    match step {
        Sasl::Handshake => {
            frame(header, &SaslHandshakeResponse::default().with_mechanisms(vec![text("PLAIN")]))
        }
        Sasl::Authenticate => frame(header, &SaslAuthenticateResponse::default()),
    }
}

/// There are no groups: clients that ask keep asking, and those that assign partitions by hand don't care.
pub(super) fn find_coordinator(version: i16) -> FindCoordinatorResponse {
    let answer = FindCoordinatorResponse::default()
        .with_error_code(code::COORDINATOR_NOT_AVAILABLE)
        .with_node_id((-1).into())
        .with_port(-1);
    if version >= 1 { answer.with_error_message(Some(text("no groups are served here"))) } else { answer }
}
