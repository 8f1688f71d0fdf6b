//! SaslHandshake, version 1, and SaslAuthenticate, versions 0 and 1. Whoever shows credentials is let in.

use crate::target::wire::{Reader, WireError};

/// A step of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::target) enum Sasl {
    Handshake,
    Authenticate,
}

impl Sasl {
    pub(super) fn handshake(r: &mut Reader) -> Result<Self, WireError> {
        r.string()?;
        Ok(Self::Handshake)
    }

    pub(super) fn authenticate(r: &mut Reader) -> Result<Self, WireError> {
        r.nullable_bytes()?;
        Ok(Self::Authenticate)
    }
}
