//! InitProducerId: a fresh producer id, without transactions. Versions 0 and 1.

use kafka_protocol::messages::InitProducerIdRequest;

use super::{Cursor, Request, WireError};

/// The request.
#[must_use]
pub fn producer_id_request(client_id: &str, version: i16) -> Request {
    let message =
        InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    Request::new(client_id, version, &message)
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdAnswer {
    /// Wait this long before the next request on the connection.
    pub throttle_ms: i32,
    /// 0, or why there is none.
    pub code: i16,
    /// The id; must be checked to be at least 0.
    pub producer_id: i64,
    /// The epoch to begin with.
    pub epoch: i16,
}

impl ProducerIdAnswer {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`WireError`]
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut c = Cursor::new(bytes);
        Ok(Self { throttle_ms: c.i32()?, code: c.i16()?, producer_id: c.i64()?, epoch: c.i16()? })
    }
}
