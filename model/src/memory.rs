//! User memory: regions of one window of addresses, and what their bytes are.
//!
//! A stamped byte says which region, which generation (how often the region was rewritten) and
//! which offset it is from, so bytes that arrive at a peer name the memory that they left.
//! Nothing is stored: a stamp is computed.

use serde::{Deserialize, Serialize};

/// The first address of the window in which a program's regions lie.
pub const WINDOW_BASE: u64 = 0x1000_0000_0000;

/// Bytes of the window. What no region covers is a hole.
pub const WINDOW_BYTES: u64 = 1 << 33;

/// An index into `Program::regions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionId(pub u16);

/// How often a region was rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u16);

/// Part of the window that is mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The name that cases and reports use.
    pub name: String,
    /// First address; the mapping covers the pages that `addr..addr + len_bytes` touches.
    pub addr: u64,
    /// Bytes.
    pub len_bytes: u64,
    /// What the caller may do with it.
    #[serde(default, skip_serializing_if = "Protection::is_read_write")]
    pub protection: Protection,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Contents::is_stamped")]
    pub contents: Contents,
}

/// Page protection of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// `PROT_READ | PROT_WRITE`.
    #[default]
    ReadWrite,
    /// `PROT_READ`.
    ReadOnly,
    /// `PROT_NONE`.
    None,
}

/// Contents of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contents {
    /// Every byte is `stamp(region, generation, offset)`.
    #[default]
    Stamped,
    /// Bytes as written, zero behind them: message headers, iovec arrays, addresses.
    Bytes(HexBytes),
    /// Zeros, and then what reads put there. Nothing of it is ever sent.
    Sink,
}

/// Bytes, as hexadecimal digits in text formats.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HexBytes(pub Vec<u8>);

impl Protection {
    /// Whether this is the default.
    pub fn is_read_write(&self) -> bool {
        *self == Protection::ReadWrite
    }
}

impl Contents {
    /// Whether this is the default.
    pub fn is_stamped(&self) -> bool {
        *self == Contents::Stamped
    }
}

impl Region {
    /// The address behind the last byte; saturates, since a region may come from a lying file.
    pub fn end(&self) -> u64 {
        self.addr.saturating_add(self.len_bytes)
    }

    /// Writes bytes behind its last one: their address. `None` if its contents are computed.
    pub fn append(&mut self, bytes: &[u8]) -> Option<u64> {
        let Contents::Bytes(written) = &mut self.contents else { return None };
        let addr = self.addr.saturating_add(self.len_bytes);
        written.0.resize(usize::try_from(self.len_bytes).ok()?, 0);
        written.0.extend_from_slice(bytes);
        self.len_bytes = written.0.len() as u64;
        Some(addr)
    }

    /// Whether all of `addr..addr + len` lies inside.
    pub fn covers(&self, addr: u64, len: u64) -> bool {
        addr >= self.addr && addr.checked_add(len).is_some_and(|end| end <= self.end())
    }

    /// Fills `into` with the bytes from address `at` on, which are zero outside of the region.
    pub(crate) fn read(&self, id: RegionId, generation: Generation, at: u64, into: &mut [u8]) {
        if let (Contents::Bytes(bytes), Some(offset)) = (&self.contents, at.checked_sub(self.addr)) {
            let inside = &bytes.0[..bytes.0.len().min(self.len_bytes as usize)];
            let known = inside.get(offset as usize..).unwrap_or_default();
            let (copied, zero) = into.split_at_mut(known.len().min(into.len()));
            copied.copy_from_slice(&known[..copied.len()]);
            return zero.fill(0);
        }
        for (at, byte) in (at..).zip(into) {
            let inside = at >= self.addr && at < self.end();
            *byte = if inside { self.byte(id, generation, at - self.addr) } else { 0 };
        }
    }

    /// The byte at `offset` in the given generation of region `id`.
    pub fn byte(&self, id: RegionId, generation: Generation, offset: u64) -> u8 {
        match &self.contents {
            Contents::Stamped => stamp(id, generation, offset),
            Contents::Sink => 0,
            Contents::Bytes(bytes) => {
                usize::try_from(offset).ok().and_then(|i| bytes.0.get(i)).copied().unwrap_or(0)
            }
        }
    }
}

/// The stamped byte at `offset` of `region` in `generation`.
///
/// Byte `offset % 8` (little-endian) of `stamp_word(region, generation, offset / 8)`.
pub fn stamp(region: RegionId, generation: Generation, offset: u64) -> u8 {
    stamp_word(region, generation, offset / 8).to_le_bytes()[(offset % 8) as usize]
}

/// Eight stamped bytes. The map from (region, generation, word) to the word is a bijection for
/// words below 2^32, so eight bytes in a row name their origin; see `stamp_origin`.
pub fn stamp_word(region: RegionId, generation: Generation, word: u64) -> u64 {
    let plain = u64::from(region.0) << 48 | u64::from(generation.0) << 32 | (word & 0xffff_ffff);
    let x = plain.wrapping_add(MIX_ADD).wrapping_mul(MIX_MUL).swap_bytes().wrapping_mul(MIX_MUL);
    x ^ (x >> 32)
}

/// The inverse of `stamp_word`: the only origin that eight aligned bytes can have. Whether such a
/// region, generation and word exist is for the caller to ask.
pub fn stamp_origin(word: u64) -> (RegionId, Generation, u64) {
    let x = (word ^ (word >> 32)).wrapping_mul(MIX_MUL_INVERSE).swap_bytes();
    let plain = x.wrapping_mul(MIX_MUL_INVERSE).wrapping_sub(MIX_ADD);
    (RegionId((plain >> 48) as u16), Generation((plain >> 32) as u16), plain & 0xffff_ffff)
}

/// An odd number, so multiplication by it can be undone.
const MIX_MUL: u64 = 0x9e37_79b9_7f4a_7c15;
/// Chosen so that the first three bytes of the first six regions differ in three generations: even a
/// send of one byte names its memory there.
const MIX_ADD: u64 = 0x442e_3d43_7204_e52d;
/// `MIX_MUL * MIX_MUL_INVERSE == 1` modulo 2^64, by Newton's iteration.
const MIX_MUL_INVERSE: u64 = {
    let mut inverse = MIX_MUL;
    let mut i = 0;
    while i < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(MIX_MUL.wrapping_mul(inverse)));
        i += 1;
    }
    inverse
};

impl TryFrom<String> for HexBytes {
    type Error = String;

    fn try_from(text: String) -> Result<HexBytes, String> {
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(2) {
            return Err("an even number of hexadecimal digits is expected".into());
        }
        let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
        digits
            .chunks(2)
            .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
            .collect::<Option<Vec<u8>>>()
            .map(HexBytes)
            .ok_or_else(|| "only the digits 0-9 and a-f are expected".into())
    }
}

impl From<HexBytes> for String {
    fn from(bytes: HexBytes) -> String {
        bytes.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_stamped_bytes_name_their_origin() {
        for region in [0, 1, 7, 300] {
            for generation in [0, 1, 9] {
                for word in [0, 1, 511, 0xffff_ffff] {
                    let origin = (RegionId(region), Generation(generation), word);
                    assert_eq!(stamp_origin(stamp_word(origin.0, origin.1, origin.2)), origin);
                }
            }
        }
    }

    #[test]
    fn first_bytes_of_few_regions_differ() {
        for offset in 0..3 {
            let mut seen = std::collections::BTreeSet::new();
            for (region, generation) in (0..6).flat_map(|r| (0..3).map(move |g| (r, g))) {
                assert!(seen.insert(stamp(RegionId(region), Generation(generation), offset)));
            }
        }
    }

    #[test]
    fn hex_bytes_refuse_what_is_no_hex() {
        assert_eq!(HexBytes::try_from("00ff10".to_string()), Ok(HexBytes(vec![0, 255, 16])));
        assert!(HexBytes::try_from("0".to_string()).is_err());
        assert!(HexBytes::try_from("zz".to_string()).is_err());
    }
}
