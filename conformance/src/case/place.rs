//! Places the memory of a case in the window: buffers first, then one region for headers.
//!
//! Every buffer begins in its own page, with an unmapped page before the next, so a send that runs
//! over its buffer's end meets nothing. Message headers and iovec arrays share the last region.

use std::collections::BTreeMap;

use uringspec_model::abi::PAGE_BYTES;
use uringspec_model::memory::{Contents, HexBytes, Protection, Region, RegionId, WINDOW_BASE, WINDOW_BYTES};
use uringspec_model::program::Iovec;
use winnow::Result;

use super::error::{Refusal, near_or};
use super::text::At;
use super::{Buffer, Name, Noted, Place, RawField, Segment};

/// The largest buffer: enough for every length that a case is about, little enough for a laptop.
pub const REGION_MAX_BYTES: u64 = 64 << 20;

/// The most buffers of a case.
pub const BUFFERS_MAX: usize = 64;

/// The most bytes of all buffers: what may be pinned on a laptop without anybody noticing.
pub const TOTAL_MAX_BYTES: u64 = 128 << 20;

/// An address in the window at which no case has memory: its last MiB.
pub const HOLE: u64 = WINDOW_BASE + WINDOW_BYTES - (1 << 20);

/// An address in the half that belongs to the kernel (`PAGE_OFFSET` on x86-64).
pub const KERNEL: u64 = 0xffff_8880_0000_0000;

/// The first address of the last page.
pub const WRAP: u64 = u64::MAX - (PAGE_BYTES - 1);

/// The name of the region with headers and arrays.
pub const HEADERS: &str = "headers";

/// `sizeof(struct msghdr)` on x86-64, with room behind it so that arrays are aligned to 64 bytes.
pub const MSGHDR_BYTES: u64 = 64;

/// Memory that is being placed.
pub(super) struct Memory {
    regions: Vec<Region>,
    by_name: BTreeMap<String, RegionId>,
    headers: Vec<u8>,
    headers_addr: u64,
}

impl Memory {
    pub(super) fn of(buffers: &[Noted<Buffer>]) -> Result<Memory, Refusal> {
        let mut memory = Memory {
            regions: Vec::new(),
            by_name: BTreeMap::new(),
            headers: Vec::new(),
            headers_addr: WINDOW_BASE,
        };
        if let Some(extra) = buffers.get(BUFFERS_MAX) {
            return Err(Refusal::new(extra.at, format!("a case has at most {BUFFERS_MAX} buffers")));
        }
        for buffer in buffers {
            memory.place(&buffer.what)?;
        }
        Ok(memory)
    }

    fn place(&mut self, buffer: &Buffer) -> Result<(), Refusal> {
        let bytes = buffer.len_bytes;
        if !(1..=REGION_MAX_BYTES).contains(&bytes) {
            return Err(Refusal::new(buffer.at, format!("a buffer of {bytes} bytes is not possible"))
                .expecting([format!("1 to {REGION_MAX_BYTES} bytes (64 MiB)")]));
        }
        let addr = match &buffer.after {
            None => self.headers_addr + buffer.at_bytes,
            Some(after) => {
                let id = self.region(after)?;
                let end = self.regions[usize::from(id.0)].end();
                let taken = self.regions.iter().any(|r| r.addr == end);
                if !end.is_multiple_of(PAGE_BYTES) || buffer.at_bytes != 0 || taken {
                    return Err(Refusal::new(after.at, "there is no room directly behind this buffer")
                        .expecting([
                            "a buffer that ends with a page and has nothing behind it, and no `at=`",
                        ]));
                }
                end
            }
        };
        let overlaps = |r: &Region| r.addr < addr + bytes && addr < r.end();
        if self.regions.iter().any(overlaps) {
            return Err(Refusal::new(buffer.at, "another buffer stands in the way")
                .expecting(["a buffer that follows the one it is placed behind"]));
        }
        if self.regions.iter().map(|r| r.len_bytes).sum::<u64>() + bytes > TOTAL_MAX_BYTES {
            return Err(Refusal::new(buffer.at, "the buffers are too many bytes together")
                .expecting([format!("at most {TOTAL_MAX_BYTES} bytes (128 MiB)")]));
        }
        let id = RegionId(self.regions.len() as u16);
        if buffer.name.text == HEADERS || self.by_name.insert(buffer.name.text.clone(), id).is_some() {
            return Err(Refusal::new(buffer.name.at, format!("`{}` is taken", buffer.name.text))
                .expecting(["another name for the buffer"]));
        }
        self.regions.push(Region {
            name: buffer.name.text.clone(),
            addr,
            len_bytes: bytes,
            protection: buffer.protection,
            contents: if buffer.sink { Contents::Sink } else { Contents::Stamped },
        });
        // One whole page stays unmapped behind each buffer.
        let next = (addr + bytes).next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
        self.headers_addr = self.headers_addr.max(next);
        Ok(())
    }

    /// The region of a buffer.
    pub(super) fn region(&self, name: &Name) -> Result<RegionId, Refusal> {
        self.by_name.get(&name.text).copied().ok_or_else(|| {
            Refusal::new(name.at, format!("there is no buffer `{}`", name.text)).expecting(near_or(
                &name.text,
                self.by_name.keys().cloned(),
                "a buffer line above",
            ))
        })
    }

    /// Bytes of a buffer.
    pub(super) fn len_bytes(&self, id: RegionId) -> u64 {
        self.regions.get(usize::from(id.0)).map_or(0, |r| r.len_bytes)
    }

    /// A range of a buffer, which must lie inside.
    pub(super) fn inside(&self, name: &Name, range: Option<(u64, u64)>, at: At) -> Result<Iovec, Refusal> {
        let region = &self.regions[usize::from(self.region(name)?.0)];
        let (from, to) = range.unwrap_or((0, region.len_bytes));
        if to > region.len_bytes {
            return Err(Refusal::new(at, format!("{} has {} bytes", name.text, region.len_bytes))
                .expecting([format!("a range in 0..{}", region.len_bytes)]));
        }
        Ok(Iovec { addr: region.addr + from, len_bytes: to - from })
    }

    /// The address and length of a segment, which may lie anywhere.
    pub(super) fn iovec(&self, segment: &Segment) -> Result<Iovec, Refusal> {
        let base = match &segment.place {
            Place::Buffer(name) => self.regions[usize::from(self.region(name)?.0)].addr,
            Place::Null => 0,
            Place::Hole => HOLE,
            Place::Kernel => KERNEL,
            Place::Wrap => WRAP,
        };
        Ok(Iovec { addr: base.wrapping_add(segment.from), len_bytes: segment.to - segment.from })
    }

    /// Stores an iovec array and returns its address.
    pub(super) fn array(&mut self, iovecs: &[Iovec]) -> u64 {
        let addr = self.headers_addr + self.headers.len() as u64;
        for iovec in iovecs {
            self.headers.extend(iovec.addr.to_le_bytes());
            self.headers.extend(iovec.len_bytes.to_le_bytes());
        }
        let padded = self.headers.len().next_multiple_of(64);
        self.headers.resize(padded, 0);
        addr
    }

    /// Stores a `struct msghdr` with its array and returns its address.
    pub(super) fn msghdr(&mut self, iovecs: &[Iovec], raw: &[(RawField, u64)]) -> u64 {
        let addr = self.headers_addr + self.headers.len() as u64;
        let mut header = [0; MSGHDR_BYTES as usize];
        header[16..24].copy_from_slice(&(addr + MSGHDR_BYTES).to_le_bytes());
        header[24..32].copy_from_slice(&(iovecs.len() as u64).to_le_bytes());
        for (field, value) in raw {
            let range = match field {
                RawField::MsgName => 0..8,
                RawField::NameLen => 8..12,
                RawField::IovLen => 24..32,
                RawField::Control => 32..40,
                RawField::ControlLen => 40..48,
                _ => continue,
            };
            let bytes = range.len();
            header[range].copy_from_slice(&value.to_le_bytes()[..bytes]);
        }
        self.headers.extend(header);
        self.array(iovecs);
        addr
    }

    /// All regions.
    pub(super) fn finish(mut self) -> Vec<Region> {
        if !self.headers.is_empty() {
            self.regions.push(Region {
                name: HEADERS.into(),
                addr: self.headers_addr,
                len_bytes: self.headers.len() as u64,
                protection: Protection::ReadWrite,
                contents: Contents::Bytes(HexBytes(self.headers)),
            });
        }
        self.regions
    }
}
