//! From a response to the bytes on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::Encodable;

use crate::target::request::Header;

/// The codec could not write a response: a defect of this room.
#[derive(Debug, thiserror::Error)]
#[error("the answer to {api:?} version {version} can't be encoded: {cause}")]
pub(in crate::target) struct EncodeError {
    api: kafka_protocol::messages::ApiKey,
    version: i16,
    cause: String,
}

/// Length, header and body.
pub(super) fn frame(header: &Header, body: &impl Encodable) -> Result<Bytes, EncodeError> {
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    let response = ResponseHeader::default().with_correlation_id(header.correlation);
    response
        .encode(&mut bytes, header.served.key.response_header_version(header.version))
        .and_then(|()| body.encode(&mut bytes, header.version))
        .map_err(|cause| EncodeError {
            api: header.served.key,
            version: header.version,
            cause: cause.to_string(),
        })?;
    Ok(with_length(bytes))
}

/// A frame whose body is as given, for clients that must survive it.
pub(in crate::target) fn raw(header: &Header, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 + body.len());
    bytes.put_i32(0);
    bytes.put_i32(header.correlation);
    bytes.put_slice(body);
    with_length(bytes)
}

fn with_length(mut bytes: BytesMut) -> Bytes {
    let length = i32::try_from(bytes.len().saturating_sub(4)).unwrap_or(i32::MAX);
    if let Some(prefix) = bytes.get_mut(..4) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
    bytes.freeze()
}
