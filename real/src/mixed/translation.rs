//! A sender's entries as those of a program: every range of memory gets an address of its own there, never
//! used again, so that received bytes name the message that they are of.

use std::collections::BTreeMap;
use std::ptr;
use std::slice;

use uringspec_model::abi::{op, send_flag};
use uringspec_model::memory::{Contents, HexBytes, Protection, Region, RegionId, WINDOW_BASE};
use uringspec_model::program::Iovec;
use uringspec_model::sqe::Sqe;

/// Message headers and iovecs, as they were written.
pub(super) const HEADERS: RegionId = RegionId(0);
/// What stands for the sender's registered memory.
pub(super) const REGISTERED: RegionId = RegionId(1);
/// What stands for all other memory.
pub(super) const PLAIN: RegionId = RegionId(2);

/// The most bytes that one registered buffer has.
const REGION_BYTES: u64 = 1 << 30;
const PAGE: u64 = 4096;

/// The regions of a program for a sender.
pub(super) fn regions() -> Vec<Region> {
    let stamped = |name: &str, index: u64| Region {
        name: name.into(),
        addr: WINDOW_BASE + (index << 31),
        len_bytes: REGION_BYTES,
        protection: Protection::ReadWrite,
        contents: Contents::Stamped,
    };
    let headers = Contents::Bytes(HexBytes::default());
    let headers = Region { len_bytes: 0, contents: headers, ..stamped("headers", 0) };
    vec![headers, stamped("registered", 1), stamped("plain", 2)]
}

/// The registered memory, as the program registers it.
pub(super) fn registered() -> Iovec {
    Iovec { addr: WINDOW_BASE + (1 << 31), len_bytes: REGION_BYTES }
}

/// Bytes that a request names.
struct Area {
    /// What the request was given; compared when it is over.
    given: Box<[u8]>,
    /// Where they are; null once the request is over.
    at: *const u8,
}

/// A range of a program's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) region: RegionId,
    pub(super) offset: u64,
    pub(super) len_bytes: u64,
}

/// The address of a range in the program.
fn address(range: Range) -> u64 {
    WINDOW_BASE + (u64::from(range.region.0) << 31) + range.offset
}

/// What stands for what.
#[derive(Default)]
pub(super) struct Translation {
    areas: BTreeMap<(RegionId, u64), Area>,
    /// The first free byte of each stamped region.
    free: [u64; 3],
    /// By user data, the areas of requests that are not over.
    requests: BTreeMap<u64, Vec<Range>>,
    /// Lent memory that was changed.
    pub(super) changed: Vec<String>,
}

impl Translation {
    /// Translates an entry of a sender; `append` writes bytes into `HEADERS` and says where.
    ///
    /// # Safety
    ///
    /// What the entry names stays readable, and lent bytes as they are, until `over` was called for it, or
    /// `end`.
    pub(super) unsafe fn entry(&mut self, sqe: &Sqe, mut append: impl FnMut(&[u8]) -> u64) -> Sqe {
        let fixed = sqe.is_zero_copy() && sqe.ioprio & send_flag::FIXED_BUF != 0;
        let vectorized = sqe.opcode == op::SEND_ZC && sqe.ioprio & send_flag::VECTORIZED != 0;
        let region = if fixed { REGISTERED } else { PLAIN };
        let at = sqe.addr as usize;
        let (iovecs, count) = match sqe.opcode {
            op::SENDMSG | op::SENDMSG_ZC => {
                // SAFETY: the address is that of a message header, which the caller keeps readable.
                let header = unsafe { ptr::with_exposed_provenance::<libc::msghdr>(at).read() };
                (header.msg_iov.cast_const(), header.msg_iovlen)
            }
            op::SEND_ZC if vectorized => (ptr::with_exposed_provenance(at), sqe.len as usize),
            op::SEND | op::SEND_ZC => {
                let base = ptr::with_exposed_provenance::<u8>(at);
                // SAFETY: the caller keeps the bytes that the entry names readable.
                let given = unsafe { slice::from_raw_parts(base, sqe.len as usize) };
                let range = self.place(region, base, given);
                self.requests.insert(sqe.user_data, vec![range]);
                return Sqe { addr: address(range), ..*sqe };
            }
            _ => return *sqe,
        };
        let mut words = Vec::new();
        let mut ranges = Vec::new();
        for index in 0..count {
            // SAFETY: the iovecs that the entry or its header names are readable as well.
            let iovec = unsafe { iovecs.add(index).read() };
            // SAFETY: so are the bytes that they name.
            let given = unsafe { slice::from_raw_parts(iovec.iov_base.cast::<u8>(), iovec.iov_len) };
            let range = self.place(region, iovec.iov_base.cast_const().cast(), given);
            words.extend([address(range), range.len_bytes]);
            ranges.push(range);
        }
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let iovecs = append(&bytes(&words));
        let addr = if vectorized { iovecs } else { append(&bytes(&[0, 0, iovecs, count as u64, 0, 0, 0])) };
        self.requests.insert(sqe.user_data, ranges);
        Sqe { addr, ..*sqe }
    }

    /// Finds room for bytes, at the same place in a page.
    fn place(&mut self, region: RegionId, at: *const u8, given: &[u8]) -> Range {
        let free = &mut self.free[usize::from(region.0)];
        let offset = free.next_multiple_of(PAGE) + at.addr() as u64 % PAGE;
        *free = offset + given.len() as u64;
        self.areas.insert((region, offset), Area { given: given.into(), at });
        Range { region, offset, len_bytes: given.len() as u64 }
    }

    /// The ranges of a request that is not over, in order.
    pub(super) fn ranges(&self, user_data: u64) -> &[Range] {
        self.requests.get(&user_data).map_or(&[], Vec::as_slice)
    }

    /// The kernel is gone: from now on every request counts as having been left alone.
    pub(super) fn end(&mut self) {
        self.areas.values_mut().for_each(|area| area.at = ptr::null());
    }

    /// A request has posted its last completion: its memory is its caller's again.
    pub(super) fn over(&mut self, user_data: u64) {
        for range in self.requests.remove(&user_data).unwrap_or_default() {
            let now = self.bytes(range); // after `end` what was given
            let Some(area) = self.areas.get_mut(&(range.region, range.offset)) else { continue };
            area.at = ptr::null();
            if *now != *area.given {
                self.changed.push(format!("request {user_data:#x} at {range:?}"));
            }
        }
    }

    /// What the kernel finds in a range now: the memory itself as long as its request is not over.
    pub(super) fn bytes(&self, range: Range) -> Vec<u8> {
        let below = self.areas.range(..=(range.region, range.offset)).next_back();
        let Some(((region, offset), area)) = below else { return Vec::new() };
        let skip = (range.offset - offset) as usize;
        let end = (skip + range.len_bytes as usize).min(area.given.len());
        if *region != range.region || skip >= end {
            return Vec::new();
        }
        if area.at.is_null() {
            return area.given[skip..end].to_vec();
        }
        // SAFETY: the request that names these bytes is not over, so its caller keeps them readable.
        unsafe { slice::from_raw_parts(area.at.add(skip), end - skip) }.to_vec()
    }
}
