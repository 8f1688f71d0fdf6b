//! A request's frame, complete but for its correlation id.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request as Message, StrBytes};

/// A frame, ready to be sent on a connection. Its `Debug` shows no content: that may be credentials.
#[derive(Clone)]
pub struct Request {
    frame: BytesMut,
    /// The answer's header ends with tagged fields.
    pub(crate) flexible_answer: bool,
}

/// Where the correlation id stands: after the frame's length, the request's key and version.
const CORRELATION: std::ops::Range<usize> = 8..12;

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("len", &self.frame.len()).finish_non_exhaustive()
    }
}

impl Request {
    /// Encodes `message` in `version`.
    ///
    /// # Panics
    /// Never for messages this crate builds: encoding fails only for fields that `version` does not have.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a field that the version does not have is a bug that tests find")]
    pub fn new<M>(client_id: &str, version: i16, message: &M) -> Self
    where
        M: Message + Encodable + HeaderVersion,
    {
        let mut frame = Self::header(client_id, M::KEY, version, M::header_version(version));
        message.encode(&mut frame, version).expect("a message that fits its version");
        let flexible_answer = M::Response::header_version(version) > 0;
        Self::closed(frame, flexible_answer)
    }

    /// A frame's beginning: a placeholder for its length, and the header.
    #[expect(clippy::expect_used, reason = "the header's fields are of its first version")]
    pub(super) fn header(client_id: &str, key: i16, version: i16, header_version: i16) -> BytesMut {
        let mut frame = BytesMut::with_capacity(256);
        frame.put_i32(0);
        RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_string(client_id.to_owned())))
            .encode(&mut frame, header_version)
            .expect("a request header");
        frame
    }

    /// Puts the length in front.
    pub(super) fn closed(mut frame: BytesMut, flexible_answer: bool) -> Self {
        let len = u32::try_from(frame.len().saturating_sub(4)).unwrap_or(u32::MAX);
        if let Some(head) = frame.get_mut(..4) {
            head.copy_from_slice(&len.to_be_bytes());
        }
        Self { frame, flexible_answer }
    }

    /// The bytes to send.
    #[must_use]
    pub fn into_frame(mut self, correlation: i32) -> BytesMut {
        if let Some(field) = self.frame.get_mut(CORRELATION) {
            field.copy_from_slice(&correlation.to_be_bytes());
        }
        self.frame
    }
}
