//! Events whose every byte follows from their identity, so that a reader can tell a changed event from a
//! right one without keeping them all.

/// Who made an event, and its number there, from 0 without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// The generator.
    pub generator: u32,
    /// Its number there.
    pub number: u64,
}

/// The shortest event that can be made.
pub const MIN_SIZE: usize = 48;

/// Writes the event `id` of exactly `size` bytes: one line of JSON, `{"g":1,"n":2,"pad":"…"}`, with padding
/// drawn from the id. Returns a hash of its bytes.
pub fn write(id: Id, size: usize, out: &mut Vec<u8>) -> u64 {
    use std::io::Write;
    let start = out.len();
    write!(out, r#"{{"g":{},"n":{},"pad":""#, id.generator, id.number).expect("a Vec takes all");
    let end = start + size.max(MIN_SIZE) - 2;
    let mut state = u64::from(id.generator) << 40 ^ id.number ^ 0x9e37_79b9_7f4a_7c15;
    while out.len() < end {
        // SplitMix64: ten letters a draw, so padding is neither constant nor incompressible.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits ^= bits >> 27;
        for _ in 0..10.min(end - out.len()) {
            out.push(b'a' + (bits % 26) as u8);
            bits >>= 6;
        }
    }
    out.extend_from_slice(b"\"}");
    hash(&out[start..])
}

/// Whose event these bytes are, if they are any generator's.
pub fn id_of(value: &[u8]) -> Option<Id> {
    let text = std::str::from_utf8(value).ok()?;
    let (generator, rest) = text.strip_prefix(r#"{"g":"#)?.split_once(r#","n":"#)?;
    let (number, _) = rest.split_once(',')?;
    Some(Id { generator: generator.parse().ok()?, number: number.parse().ok()? })
}

/// FNV-1a, folded eight bytes at a time: enough to tell a damaged payload, and quick without optimization.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
    hash
}
