//! Which cells are measured.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use uringspec_real::bench::{Cell, Lane, Source};

/// Bytes of the payloads of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// All messages have so many.
    Bytes(u32),
    /// Most messages are headers alone, some are long.
    Mixed,
}

/// The sizes that are measured.
pub const SIZES: [Size; 9] = [
    Size::Bytes(0),
    Size::Bytes(256),
    Size::Bytes(1 << 10),
    Size::Bytes(4 << 10),
    Size::Bytes(16 << 10),
    Size::Bytes(64 << 10),
    Size::Bytes(256 << 10),
    Size::Bytes(512 << 10),
    Size::Mixed,
];
/// Messages of a flush.
pub const BATCHES: [usize; 3] = [1, 8, 32];

/// The mixed workload, sixteen messages over and over: nine headers alone, two payloads of 300 bytes, three of
/// 4 KB, one of 64 KB and one of 512 KB.
const MIXED: [u32; 16] = [524_288, 0, 300, 0, 0, 4096, 0, 0, 65_536, 0, 4096, 0, 300, 0, 4096, 0];

/// A cell and what it is called.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Where.
    pub lane: Lane,
    /// What is sent.
    pub size: Size,
    /// The same for the bench.
    pub cell: Cell,
}

impl Planned {
    /// A cell, unless it is one that a lane does not have, or another one's twin.
    pub fn new(lane: Lane, size: Size, batch: usize, source: Source) -> Option<Planned> {
        let lens = match size {
            // there is no payload that could be in the cache or beyond it
            Size::Bytes(0) if source == Source::Beyond => return None,
            // a datagram that is nearly as long as it can be
            Size::Bytes(65_536) => vec![65_536.min(lane.payload_bytes_max())],
            Size::Bytes(bytes) if bytes > lane.payload_bytes_max() => return None,
            Size::Bytes(bytes) => vec![bytes],
            Size::Mixed if lane.payload_bytes_max() < 524_288 => return None,
            Size::Mixed => MIXED.to_vec(),
        };
        Some(Planned { lane, size, cell: Cell { lens, batch, source } })
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { batch, source, .. } = &self.cell;
        write!(f, "{} {} x{batch} {}", self.lane.name(), self.size, source.name())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Bytes(bytes) if bytes.is_multiple_of(1024) && *bytes > 0 => write!(f, "{}K", bytes / 1024),
            Size::Bytes(bytes) => write!(f, "{bytes}"),
            Size::Mixed => f.write_str("mixed"),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wanted = || format!("{text} is no size, expected mixed or bytes, such as 256 or 64K");
        if text == "mixed" {
            return Ok(Size::Mixed);
        }
        let (digits, unit) = match text.strip_suffix(['K', 'k']) {
            Some(digits) => (digits, 1024),
            None => (text, 1),
        };
        let number: u32 = digits.parse().map_err(|_| wanted())?;
        number.checked_mul(unit).filter(|bytes| *bytes <= 1 << 20).map(Size::Bytes).ok_or_else(wanted)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Size::Bytes(bytes) => to.serialize_u32(*bytes),
            Size::Mixed => to.serialize_str("mixed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for size in SIZES {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        for wrong in ["", "K", "-1", "2M", "99999K"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_lane_has_the_cells_that_it_can_have() {
        let count = |lane| {
            let each = |size, batch| {
                let has = |source| usize::from(Planned::new(lane, size, batch, source).is_some());
                has(Source::Cached) + has(Source::Beyond)
            };
            SIZES.iter().flat_map(|size| BATCHES.map(|batch| each(*size, batch))).sum::<usize>()
        };
        assert_eq!(Lane::ALL.map(count), [51, 33, 51]);
    }
}
