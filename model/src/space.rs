//! The address space: what the kernel finds when it reads user memory.
//!
//! Source: `access_ok` for the bound of user addresses; page granularity of mappings.

use std::cell::Cell;

use crate::abi::PAGE_BYTES;
use crate::memory::{Contents, Generation, Protection, Region, RegionId};

/// The first address that is not a user's (`TASK_SIZE_MAX` on x86-64 with four-level tables).
pub const USER_END: u64 = 0x7fff_ffff_f000;

/// Reads user memory for the model, which does not know whose memory it is.
///
/// A program's regions are one implementation; a supervisor that reads another process is another.
pub trait UserMemory {
    /// Fills `into` from `addr`, or fails where a byte is not readable (`EFAULT`).
    fn read(&self, addr: u64, into: &mut [u8]) -> Result<(), Fault>;

    /// How many of the `len` bytes from `addr` on are readable before the first that is not.
    fn readable_prefix(&self, addr: u64, len: u64) -> u64;
}

/// Memory that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// Whether `addr..addr + len` can be a user's at all (`access_ok`).
pub fn is_user_range(addr: u64, len: u64) -> bool {
    addr.checked_add(len).is_some_and(|end| end <= USER_END)
}

/// Bytes of one request that lie side by side, with their origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The region; `None` for what its last page holds behind it, which reads as zeros.
    pub region: Option<RegionId>,
    /// First byte in the region.
    pub offset: u64,
    /// Bytes.
    pub len_bytes: u64,
    /// The oldest contents that the kernel may have taken.
    pub oldest: Generation,
    /// The newest contents that the kernel may have taken.
    pub newest: Generation,
    /// A zero-copy send refers to it; only elements of a mixed send differ in this.
    pub lent: bool,
}

/// The regions of a program at one time.
#[derive(Clone, Copy)]
pub struct Space<'a> {
    /// The regions as the program has them.
    pub regions: &'a [Region],
    /// The generation of each.
    pub generations: &'a [Generation],
}

impl Space<'_> {
    /// The region in whose pages `addr` lies.
    fn region_at(&self, addr: u64) -> Option<(RegionId, &Region)> {
        self.regions.iter().enumerate().find_map(|(i, region)| {
            let mapped = page_floor(region.addr)..page_ceil(region.end());
            (mapped.contains(&addr) && region.len_bytes > 0).then_some((RegionId(i as u16), region))
        })
    }

    /// The region that holds all of the range and its index, if one does.
    pub fn region_of(&self, addr: u64, len: u64) -> Option<(RegionId, &Region)> {
        self.region_at(addr).filter(|(_, region)| region.covers(addr, len))
    }

    /// Whether every page of the range is mapped with at least read (or also write) permission.
    pub fn is_mapped(&self, addr: u64, len: u64, writable: bool) -> bool {
        let mut at = addr;
        let Some(end) = addr.checked_add(len) else { return false };
        while at < end {
            match self.region_at(at) {
                Some((_, r)) if r.protection == Protection::None => return false,
                Some((_, r)) if writable && r.protection != Protection::ReadWrite => return false,
                Some((_, r)) => at = page_ceil(r.end()),
                None => return false,
            }
        }
        true
    }

    /// How many bytes of the range can be written before the first that cannot; `None` if some of them are no
    /// memory for reads.
    pub fn sink_prefix(&self, addr: u64, len: u64) -> Option<u64> {
        let mut at = addr;
        let end = addr.saturating_add(len);
        while at < end {
            match self.region_at(at) {
                Some((_, r)) if r.protection != Protection::ReadWrite => break,
                Some((_, r)) if r.contents != Contents::Sink => return None,
                Some((_, r)) => at = page_ceil(r.end()),
                None => break,
            }
        }
        Some(at.min(end) - addr)
    }

    /// Whether some of the range is memory for reads.
    pub fn touches_sink(&self, addr: u64, len: u64) -> bool {
        let end = addr.saturating_add(len);
        let sinks = self.regions.iter().filter(|r| r.contents == Contents::Sink);
        sinks.into_iter().any(|r| page_floor(r.addr) < end && addr < page_ceil(r.end()))
    }

    /// The segments of a readable range, with the present generations.
    pub fn segments(&self, addr: u64, len: u64, into: &mut Vec<Segment>) {
        let (mut at, mut left) = (addr, len);
        while left > 0 {
            let Some((id, region)) = self.region_at(at) else { return };
            let (known, offset, here) = if at >= region.addr && at < region.end() {
                (Some(id), at - region.addr, region.end() - at)
            } else if at < region.addr {
                (None, 0, region.addr - at)
            } else {
                (None, 0, page_ceil(region.end()) - at)
            };
            let generation = self.generations.get(usize::from(id.0)).copied().unwrap_or_default();
            let take = here.min(left);
            into.push(Segment {
                region: known,
                offset,
                len_bytes: take,
                oldest: generation,
                newest: generation,
                lent: true,
            });
            at += take;
            left -= take;
        }
    }
}

impl UserMemory for Space<'_> {
    fn read(&self, addr: u64, into: &mut [u8]) -> Result<(), Fault> {
        if self.readable_prefix(addr, into.len() as u64) < into.len() as u64 {
            return Err(Fault);
        }
        let (mut at, mut rest) = (addr, into);
        while !rest.is_empty() {
            // a page is of one region
            let (id, region) = self.region_at(at).ok_or(Fault)?;
            let generation = self.generations.get(usize::from(id.0)).copied().unwrap_or_default();
            let in_page = PAGE_BYTES - at % PAGE_BYTES;
            let (piece, behind) = rest.split_at_mut(in_page.min(rest.len() as u64) as usize);
            region.read(id, generation, at, piece);
            (at, rest) = (at + piece.len() as u64, behind);
        }
        Ok(())
    }

    fn readable_prefix(&self, addr: u64, len: u64) -> u64 {
        let mut at = addr;
        let end = addr.saturating_add(len);
        while at < end {
            match self.region_at(at) {
                Some((_, r)) if r.protection != Protection::None => at = page_ceil(r.end()),
                _ => return at.min(end) - addr,
            }
        }
        len
    }
}

/// Memory that says whether what reads may have filled was looked at.
pub struct Watched<'a> {
    /// The memory.
    pub space: Space<'a>,
    /// Some of it was.
    pub sink_was_read: Cell<bool>,
}

impl UserMemory for Watched<'_> {
    fn read(&self, addr: u64, into: &mut [u8]) -> Result<(), Fault> {
        let touched = self.space.touches_sink(addr, into.len() as u64);
        self.sink_was_read.set(self.sink_was_read.get() || touched);
        self.space.read(addr, into)
    }

    fn readable_prefix(&self, addr: u64, len: u64) -> u64 {
        self.space.readable_prefix(addr, len)
    }
}

fn page_floor(addr: u64) -> u64 {
    addr & !(PAGE_BYTES - 1)
}

fn page_ceil(addr: u64) -> u64 {
    page_floor(addr.saturating_add(PAGE_BYTES - 1))
}
