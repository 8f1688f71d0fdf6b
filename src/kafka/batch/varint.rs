//! Zigzag varints, as records use them.

use super::reader::BatchError;

/// Appends a signed number.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, value: i64) {
    put_raw(out, zigzag(value));
}

/// Appends a length (or count), which is never negative.
#[inline]
pub(super) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_raw(out, (len as u64) << 1);
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "masked to seven bits")]
fn put_raw(out: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        out.push((raw & 0x7f) as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Encoded size of a signed number.
#[inline]
pub(super) const fn size(value: i64) -> usize {
    raw_size(zigzag(value))
}

/// Encoded size of a length.
#[inline]
pub(super) const fn size_len(len: usize) -> usize {
    raw_size((len as u64) << 1)
}

#[inline]
const fn raw_size(raw: u64) -> usize {
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Takes a signed number off the front.
pub(super) fn take(rest: &mut &[u8]) -> Result<i64, BatchError> {
    let mut raw = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(BatchError::Truncated)?;
        *rest = tail;
        raw |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
        if byte & 0x80 == 0 {
            return Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed());
        }
    }
    Err(BatchError::Truncated)
}

/// Takes a length off the front and that many bytes; `None` when the length is -1.
pub(super) fn take_nullable<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BatchError> {
    match take(rest)? {
        -1 => Ok(None),
        len => take_bytes(rest, len).map(Some),
    }
}

/// Takes `len` bytes off the front.
pub(super) fn take_bytes<'a>(rest: &mut &'a [u8], len: i64) -> Result<&'a [u8], BatchError> {
    let len = usize::try_from(len).map_err(|_| BatchError::Truncated)?;
    let (head, tail) = rest.split_at_checked(len).ok_or(BatchError::Truncated)?;
    *rest = tail;
    Ok(head)
}
