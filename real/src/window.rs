//! The window of addresses in which a program's memory lies.
//!
//! The whole window, and as much again as lies below it, is reserved without access as long as the worker
//! lives, so that nothing of the worker's own is ever mapped there. A region is mapped over the reservation and covered by it again
//! afterwards. Lent memory may be read by the kernel at any time, so no reference to it is ever made:
//! it is written through raw pointers only.

use std::io;
use std::ptr;

use uringspec_model::abi::PAGE_BYTES;
use uringspec_model::memory::{
    Contents, Generation, Protection, Region, RegionId, WINDOW_BASE, WINDOW_BYTES, stamp_word,
};

use crate::skip::Skip;

/// Addresses from here on are not the user's, or have nothing mapped (x86-64, four-level tables).
pub(crate) const USER_END: u64 = 1 << 47;

/// At the end of what is reserved: `len` has 32 bits, so no range that starts before ends in other memory.
const GUARD_BYTES: u64 = 1 << 32;

/// All that is reserved: the window, and where an address of it lies after one of its bits has changed. Below
/// the first nothing can be mapped (`vm.mmap_min_addr`).
const RESERVED: [(u64, u64); 3] = [
    (1 << 16, 2 * WINDOW_BASE),
    (WINDOW_BASE ^ (1 << 45), (WINDOW_BASE ^ (1 << 45)) + WINDOW_BYTES + GUARD_BYTES),
    (WINDOW_BASE ^ (1 << 46), (WINDOW_BASE ^ (1 << 46)) + WINDOW_BYTES + GUARD_BYTES),
];

/// The reserved window. There is one in a process.
pub(crate) struct Window {
    /// Page ranges that regions cover at the moment.
    mapped: Vec<(u64, u64)>,
    /// Those of them that can be read and written.
    writable: Vec<(u64, u64)>,
}

/// The pages that a region touches, as addresses; `None` if it wraps around.
pub(crate) fn pages(region: &Region) -> Option<(u64, u64)> {
    let start = region.addr / PAGE_BYTES * PAGE_BYTES;
    let end = region.addr.checked_add(region.len_bytes)?.checked_next_multiple_of(PAGE_BYTES)?;
    Some((start, end.max(start)))
}

impl Window {
    /// Reserves the window; refused if something is already mapped there.
    pub(crate) fn reserve() -> Result<Window, Skip> {
        let flags = libc::MAP_FIXED_NOREPLACE;
        for (start, end) in RESERVED {
            map(start, end - start, libc::PROT_NONE, flags)
                .map_err(Skip::setup("reserving the window of addresses"))?;
        }
        Ok(Window { mapped: Vec::new(), writable: Vec::new() })
    }

    /// Maps the regions and fills them. `admit` has made sure that they lie in the window, share no
    /// page, and are not too large.
    pub(crate) fn map(&mut self, regions: &[Region]) -> Result<(), Skip> {
        for (index, region) in regions.iter().enumerate() {
            let Some((start, end)) = pages(region).filter(|(start, end)| start < end) else { continue };
            if !in_window(start, end) {
                return Err(Skip::NotLive(format!("region {} lies outside the window", region.name)));
            }
            let (prot, populate) = match region.protection {
                Protection::None => (libc::PROT_NONE, 0),
                _ => (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_POPULATE),
            };
            map(start, end - start, prot, libc::MAP_FIXED | populate)
                .map_err(Skip::setup("mapping a region"))?;
            self.mapped.push((start, end));
            if region.protection == Protection::ReadWrite {
                self.writable.push((start, end));
            }
            if region.protection != Protection::None {
                // SAFETY: the pages were just mapped for writing, and no request exists yet.
                unsafe { fill(region, RegionId(index as u16), Generation(0)) };
            }
            if region.protection == Protection::ReadOnly {
                protect(start, end - start, libc::PROT_READ).map_err(Skip::setup("protecting a region"))?;
            }
        }
        Ok(())
    }

    /// Writes all of a region anew.
    pub(crate) fn rewrite(&mut self, region: &Region, id: RegionId, generation: Generation) {
        let writable = region.protection == Protection::ReadWrite
            && pages(region).is_some_and(|range| self.mapped.contains(&range));
        if writable {
            // SAFETY: the pages are mapped for writing. The kernel may read them meanwhile; it sees old
            // or new bytes, as it would from any program that writes into memory it has lent.
            unsafe { fill(region, id, generation) };
        }
    }

    /// What lies in memory that no request uses any more; what is not mapped for writing is left out.
    pub(crate) fn look(&self, addr: u64, len: u64, into: &mut Vec<u8>) {
        let end = addr.saturating_add(len);
        if len == 0 || !self.writable.iter().any(|(from, to)| *from <= addr && end <= *to) {
            return;
        }
        let at = ptr::with_exposed_provenance::<u8>(addr as usize);
        let start = into.len();
        into.resize(start + len as usize, 0);
        // SAFETY: all of the range is mapped for reading and writing, no Rust object lies there, and the
        // read that has filled it has posted its result, so the kernel writes it no more.
        unsafe { ptr::copy_nonoverlapping(at, into.as_mut_ptr().add(start), len as usize) };
    }

    /// Covers all regions with the reservation again. What the kernel still holds stays alive there.
    pub(crate) fn unmap(&mut self) -> io::Result<()> {
        self.writable.clear();
        for (start, end) in self.mapped.drain(..) {
            map(start, end - start, libc::PROT_NONE, libc::MAP_FIXED)?;
        }
        Ok(())
    }
}

/// Whether an address lies in the window, or where nothing is ever mapped.
pub(crate) fn is_known(addr: u64) -> bool {
    let reserved = |(start, end): &(u64, u64)| (*start..*end - GUARD_BYTES).contains(&addr);
    RESERVED.iter().any(reserved) || !(RESERVED[0].0..USER_END).contains(&addr)
}

fn in_window(start: u64, end: u64) -> bool {
    start >= WINDOW_BASE && end <= WINDOW_BASE + WINDOW_BYTES
}

/// Writes a region's bytes.
///
/// # Safety
///
/// The region must be mapped for writing, inside the window.
unsafe fn fill(region: &Region, id: RegionId, generation: Generation) {
    let base = ptr::with_exposed_provenance_mut::<u8>(region.addr as usize);
    match &region.contents {
        Contents::Bytes(bytes) => {
            let len = bytes.0.len().min(region.len_bytes as usize);
            // SAFETY: `len` bytes from `base` are mapped for writing and overlap no Rust object.
            unsafe { ptr::copy_nonoverlapping(bytes.0.as_ptr(), base, len) };
        }
        Contents::Sink => {}
        Contents::Stamped => {
            let words = region.len_bytes / 8;
            for word in 0..words {
                let stamp = stamp_word(id, generation, word).to_le_bytes();
                // SAFETY: the word lies inside the region, which is mapped for writing.
                unsafe { base.add(word as usize * 8).cast::<[u8; 8]>().write(stamp) };
            }
            let rest = (region.len_bytes % 8) as usize;
            let stamp = stamp_word(id, generation, words).to_le_bytes();
            // SAFETY: the last `rest` bytes lie inside the region, which is mapped for writing.
            unsafe { ptr::copy_nonoverlapping(stamp.as_ptr(), base.add(words as usize * 8), rest) };
        }
    }
}

/// Maps anonymous memory at `addr`; the callers keep to the window.
fn map(addr: u64, len: u64, prot: libc::c_int, flags: libc::c_int) -> io::Result<()> {
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let at = ptr::without_provenance_mut::<libc::c_void>(addr as usize);
    // SAFETY: only addresses of the window are mapped over, and no Rust object lies there.
    let got = unsafe { libc::mmap(at, len as usize, prot, flags, -1, 0) };
    if got == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    if got.addr() as u64 != addr {
        // Kernels before 4.17 take MAP_FIXED_NOREPLACE for a hint.
        // SAFETY: the mapping was just made and nothing refers to it.
        unsafe { libc::munmap(got, len as usize) };
        return Err(io::Error::from_raw_os_error(libc::EEXIST));
    }
    got.expose_provenance();
    Ok(())
}

fn protect(addr: u64, len: u64, prot: libc::c_int) -> io::Result<()> {
    let at = ptr::without_provenance_mut::<libc::c_void>(addr as usize);
    // SAFETY: only regions of the window are protected, and no Rust object lies there.
    let ret = unsafe { libc::mprotect(at, len as usize, prot) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
