//! One region of memory for all that is sent: slots for headers, and leases for data.
//!
//! Being one region it is registered as one buffer, so one `buf_index` covers headers and data.

use std::io;
use std::ops::{Deref, DerefMut};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use offset_allocator::{Allocation, Allocator};

use super::memory::{Memory, PAGE_BYTES};
use super::returns::Returns;

/// Bytes of a header slot: a cache line.
pub const SLOT_BYTES: usize = 64;
/// From so many bytes on a lease begins on a page of its own: fewer fragments.
const PAGED_FROM_BYTES: usize = 2048;

/// How large an arena is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaSize {
    /// Slots of `SLOT_BYTES` for headers that are copied.
    pub header_slots: u32,
    /// Bytes for leases below 2048 bytes, and for longer headers.
    pub small_bytes: u32,
    /// Bytes for the other leases; each takes whole pages.
    pub paged_bytes: u32,
    /// How many leases there may be at a time.
    pub leases_max: u32,
}

impl Default for ArenaSize {
    fn default() -> ArenaSize {
        ArenaSize { header_slots: 4096, small_bytes: 1 << 20, paged_bytes: 16 << 20, leases_max: 4096 }
    }
}

impl ArenaSize {
    /// Bytes of the whole region: one page more for what `adopt` may find misaligned.
    pub fn total_bytes(&self) -> usize {
        self.paged_at() + round_up(self.paged_bytes as usize, PAGE_BYTES) + PAGE_BYTES
    }

    fn small_at(&self) -> usize {
        round_up(self.header_slots as usize * SLOT_BYTES, PAGE_BYTES)
    }

    fn paged_at(&self) -> usize {
        self.small_at() + round_up(self.small_bytes as usize, PAGE_BYTES)
    }
}

/// Leases out its memory. One thread owns it; leases may go to others and come back from there.
pub struct Arena {
    core: Arc<Core>,
    /// What the first page-aligned byte is.
    aligned: usize,
    slots: Vec<u32>,
    small: Pool,
    paged: Pool,
    /// By the number of a lease what it occupies.
    leased: Vec<Option<Leased>>,
    free_numbers: Vec<u32>,
}

/// What leases and their arena share.
pub(super) struct Core {
    pub(super) memory: Memory,
    returns: Returns,
}

/// Part of the region in pieces of one size.
struct Pool {
    allocator: Allocator,
    granule_bytes: usize,
    at: usize,
}

#[derive(Clone, Copy)]
struct Leased {
    allocation: Allocation,
    paged: bool,
}

impl Arena {
    /// Maps a new arena.
    pub fn map(size: ArenaSize) -> io::Result<Arena> {
        Ok(Arena::over(Memory::map(size.total_bytes())?, size))
    }

    /// Makes an arena of the caller's bytes, at least `size.total_bytes()`; otherwise they come back.
    ///
    /// If they are still lent when everything that refers to them is gone, they are leaked.
    /// After a fork a parent that writes there on Linux before 5.12 writes to pages that the kernel does not
    /// send from: map an arena instead, if the process forks.
    pub fn adopt(bytes: Vec<u8>, size: ArenaSize) -> Result<Arena, Vec<u8>> {
        if bytes.len() < size.total_bytes() {
            return Err(bytes);
        }
        Ok(Arena::over(Memory::adopt(bytes), size))
    }

    fn over(memory: Memory, size: ArenaSize) -> Arena {
        let start = memory.base().addr().get();
        let aligned = round_up(start, PAGE_BYTES) - start;
        let pool = |granule_bytes: usize, at: usize, len_bytes: u32| {
            let granules = round_up(len_bytes as usize, PAGE_BYTES) / granule_bytes;
            let allocator = Allocator::with_max_allocs(granules as u32, size.leases_max.max(1) + 1);
            Pool { allocator, granule_bytes, at: aligned + at }
        };
        Arena {
            aligned,
            slots: (0..size.header_slots).rev().collect(),
            small: pool(SLOT_BYTES, size.small_at(), size.small_bytes),
            paged: pool(PAGE_BYTES, size.paged_at(), size.paged_bytes),
            leased: vec![None; size.leases_max as usize],
            free_numbers: (0..size.leases_max).rev().collect(),
            core: Arc::new(Core { memory, returns: Returns::new(size.leases_max) }),
        }
    }

    /// Leases `len_bytes`, to be written by whoever holds the lease; `None` while there is no room. What an
    /// earlier lease left there is still there.
    pub fn lease(&mut self, len_bytes: usize) -> Option<Lease> {
        self.lease_behind(0, len_bytes)
    }

    /// As `lease`, with room for a header of `header_bytes` in front.
    pub fn lease_behind(&mut self, header_bytes: usize, len_bytes: usize) -> Option<Lease> {
        if self.free_numbers.is_empty() || !self.core.returns.is_empty() {
            self.take_back();
        }
        let headroom = header_bytes.checked_next_multiple_of(SLOT_BYTES)?;
        let total = headroom.checked_add(len_bytes)?;
        let mut lease = self.try_lease(total)?;
        // on a page of its own, where that takes no page more: a fragment less where the header lies elsewhere
        let aligned = round_up(headroom, PAGE_BYTES);
        let has_pages = total >= PAGED_FROM_BYTES && aligned + len_bytes <= round_up(total, PAGE_BYTES);
        let headroom = if has_pages { aligned } else { headroom };
        (lease.headroom, lease.at) = (headroom as u32, lease.at + headroom);
        lease.len_bytes = len_bytes as u32;
        Some(lease)
    }

    fn try_lease(&mut self, len_bytes: usize) -> Option<Lease> {
        let number = *self.free_numbers.last()?;
        let paged = len_bytes >= PAGED_FROM_BYTES;
        let pool = if paged { &mut self.paged } else { &mut self.small };
        let granules = len_bytes.max(1).div_ceil(pool.granule_bytes);
        let allocation = pool.allocator.allocate(u32::try_from(granules).ok()?)?;
        let at = pool.at + allocation.offset as usize * pool.granule_bytes;
        self.free_numbers.pop();
        self.leased[number as usize] = Some(Leased { allocation, paged });
        let core = Arc::clone(&self.core);
        let len_bytes = u32::try_from(len_bytes).ok()?;
        Some(Lease { core, at, number, len_bytes, headroom: 0, fate: Fate::GoesBack })
    }

    /// Takes back what was dropped since.
    fn take_back(&mut self) {
        let (leased, free) = (&mut self.leased, &mut self.free_numbers);
        let (small, paged) = (&mut self.small, &mut self.paged);
        self.core.returns.take(|number| {
            if let Some(lease) = leased[number as usize].take() {
                let pool = if lease.paged { &mut *paged } else { &mut *small };
                pool.allocator.free(lease.allocation);
                free.push(number);
            }
        });
    }

    /// Copies up to `SLOT_BYTES` into a header slot; `None` while there is none.
    #[inline]
    pub(super) fn stage(&mut self, bytes: &[u8]) -> Option<Slot> {
        debug_assert!(bytes.len() <= SLOT_BYTES, "longer headers are leased");
        let number = self.slots.pop()?;
        let at = self.aligned + number as usize * SLOT_BYTES;
        // SAFETY: slots lie inside the region, do not overlap each other or any lease, and this one was
        // free: nobody refers to it. `bytes` is no longer than a slot, and lies elsewhere: no reference to
        // a slot is ever given out.
        let addr = unsafe {
            let to = self.core.memory.base().add(at);
            to.copy_from_nonoverlapping(std::ptr::NonNull::from(bytes).cast(), bytes.len().min(SLOT_BYTES));
            to
        };
        Some(Slot { number, addr: addr.as_ptr() })
    }

    /// What was staged in a slot.
    pub(super) fn staged(&self, slot: u32, len_bytes: usize) -> &[u8] {
        let at = self.aligned + slot as usize * SLOT_BYTES;
        // SAFETY: slots lie inside the region and are initialised, and only `stage` writes them, with the
        // arena borrowed exclusively. The kernel only reads.
        unsafe { slice::from_raw_parts(self.core.memory.base().as_ptr().add(at), len_bytes.min(SLOT_BYTES)) }
    }

    /// The slot's bytes are of no use any more, neither here nor to the kernel.
    #[inline]
    pub(super) fn unstage(&mut self, slot: u32) {
        self.slots.push(slot);
    }

    /// The region, to be registered as one buffer.
    pub fn region(&self) -> (*const u8, usize) {
        (self.core.memory.base().as_ptr(), self.core.memory.len_bytes())
    }

    /// Whether a lease is of this arena.
    #[inline]
    pub(super) fn owns(&self, lease: &Lease) -> bool {
        Arc::ptr_eq(&self.core, &lease.core)
    }

    /// From now on the kernel may refer to the region longer than anything here lives; how many bytes that
    /// leaks.
    pub(super) fn keep_from_others(&self, armed: bool) -> u64 {
        self.core.memory.keep_from_others(armed)
    }
}

/// A header in its slot.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: u32,
    pub(super) addr: *const u8,
}

/// Memory of an arena that one holder may write; dropped, it goes back, from any thread.
///
/// It is moved with every message that it is sent with, so it is kept small.
pub struct Lease {
    core: Arc<Core>,
    at: usize,
    number: u32,
    len_bytes: u32,
    /// Bytes before `at` that are its own.
    headroom: u32,
    fate: Fate,
}

/// What becomes of a lease that is dropped. As wide as the field beside it: around a byte the compiler moves a
/// lease in odd parts, and reading them back together waits for each to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Fate {
    GoesBack,
    /// It never goes back.
    Lost,
}

impl Lease {
    /// Cuts it to its first `len_bytes`, if it is longer: what was leased too large.
    pub fn truncate(&mut self, len_bytes: usize) {
        self.len_bytes = self.len_bytes.min(u32::try_from(len_bytes).unwrap_or(u32::MAX));
    }

    /// Ends writing: from now on it can be read and sent by many at a time.
    pub fn share(self) -> Shared {
        Shared(Arc::new(SharedLease { lease: self, lost: AtomicBool::new(false) }))
    }

    /// How many bytes it has.
    #[inline]
    pub(super) fn len_bytes(&self) -> usize {
        self.len_bytes as usize
    }

    /// Copies bytes to right before its own: where they begin. `None` if there is no room.
    #[inline]
    pub(super) fn put_before(&mut self, bytes: &[u8]) -> Option<*const u8> {
        if bytes.len() > self.headroom as usize {
            return None;
        }
        let at = self.at - bytes.len();
        // SAFETY: the headroom lies inside the region and is this lease's, which is held exclusively and not
        // lent. `bytes` lies elsewhere: no reference to headroom is ever given out.
        let to = unsafe {
            let to = self.core.memory.base().add(at);
            to.copy_from_nonoverlapping(std::ptr::NonNull::from(bytes).cast(), bytes.len());
            to
        };
        Some(to.as_ptr())
    }

    /// Nobody knows when the kernel lets go of it: it is never leased again.
    pub(super) fn lose(mut self) {
        self.fate = Fate::Lost;
    }

    #[inline]
    pub(super) fn addr(&self) -> *const u8 {
        // SAFETY: `at` lies inside the region, as `lease` computed it.
        unsafe { self.core.memory.base().as_ptr().add(self.at) }
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes lie inside the region, which lives as long as `core`; they are initialised,
        // being mapped or a vector's; no other lease or slot overlaps them, and who writes holds `self`
        // exclusively. The kernel, to which they may be lent, only reads.
        unsafe { slice::from_raw_parts(self.addr(), self.len_bytes()) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `self` is borrowed exclusively, and a lease that is lent to the kernel is
        // not in anybody's hands.
        unsafe { slice::from_raw_parts_mut(self.addr().cast_mut(), self.len_bytes()) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.fate == Fate::GoesBack {
            self.core.returns.give(self.number);
        }
    }
}

/// A lease that is no longer written: many may read and send it at a time.
#[derive(Clone)]
pub struct Shared(Arc<SharedLease>);

/// What the holders of a shared lease have in common.
struct SharedLease {
    lease: Lease,
    /// The lease never goes back, as one of its holders could not tell when the kernel lets go of it.
    lost: AtomicBool,
}

impl Shared {
    pub(super) fn lease(&self) -> &Lease {
        &self.0.lease
    }

    /// As `Lease::lose`, whoever else has it.
    pub(super) fn lose(&self) {
        self.0.lost.store(true, Ordering::Relaxed);
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.lease()
    }
}

impl Drop for SharedLease {
    fn drop(&mut self) {
        if *self.lost.get_mut() {
            self.lease.fate = Fate::Lost;
        }
    }
}

fn round_up(n: usize, to: usize) -> usize {
    n.div_ceil(to) * to
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ArenaSize =
        ArenaSize { header_slots: 2, small_bytes: 4096, paged_bytes: 16384, leases_max: 8 };

    #[test]
    fn leases_do_not_overlap_and_come_back() {
        for mut arena in [
            Arena::map(SIZE).expect("a few pages can be mapped"),
            Arena::adopt(vec![0; SIZE.total_bytes()], SIZE).expect("it is large enough"),
        ] {
            for _ in 0..100 {
                let mut leases: Vec<Lease> =
                    [1, 64, 4096, 5000].map(|n| arena.lease(n)).into_iter().flatten().collect();
                assert_eq!(leases.len(), 4);
                assert!(arena.lease(8192).is_none(), "three of four pages are taken");
                for (i, lease) in leases.iter_mut().enumerate() {
                    lease.fill(i as u8);
                }
                assert!(leases.iter().enumerate().all(|(i, lease)| lease.iter().all(|b| *b == i as u8)));
                assert_eq!(leases[2].addr().addr() % PAGE_BYTES, 0);
                std::thread::spawn(move || drop(leases)).join().expect("dropping does not panic");
            }
        }
    }

    #[test]
    fn payloads_begin_on_pages_where_that_takes_none_more() {
        let size = ArenaSize { paged_bytes: 1 << 20, ..SIZE };
        let mut arena = Arena::map(size).expect("a few pages can be mapped");
        let before = [0, 1, 24, 64, 65, 5000];
        for (header, len) in before.into_iter().flat_map(|h| [2048, 4000, 4096, 5000, 8192].map(|n| (h, n))) {
            let room = round_up(header, SLOT_BYTES);
            let pages = |bytes: usize| bytes.div_ceil(PAGE_BYTES);
            let mut lease = arena.lease_behind(header, len).expect("all of it is free");
            let offset = lease.addr().addr() % PAGE_BYTES;
            let is_free = pages(round_up(room, PAGE_BYTES) + len) == pages(room + len);
            assert_eq!(offset, if is_free { 0 } else { room % PAGE_BYTES }, "{len} behind {header}");
            assert_eq!(lease.len(), len);
            lease.fill(1);
            let put = lease.put_before(&vec![2; header]).expect("so much room was asked for");
            assert_eq!(lease.addr().addr() - put.addr(), header);
            // whatever lies beside it is another's
            let granules = arena.leased[lease.number as usize].expect("it is leased").allocation;
            let begin = arena.paged.at + granules.offset as usize * PAGE_BYTES;
            let end = begin + pages(room + len) * PAGE_BYTES;
            assert!(lease.at - room >= begin && lease.at + len <= end, "{len} behind {header}");
        }
    }

    #[test]
    fn what_is_forgotten_is_not_leased_again() {
        let mut arena = Arena::map(SIZE).expect("a few pages can be mapped");
        let lease = arena.lease(16384).expect("all of it is free");
        std::mem::forget(lease);
        assert!(arena.lease(2048).is_none());
        assert!(arena.lease(64).is_some());
    }

    #[test]
    fn slots_are_used_again_only_when_given_back() {
        let mut arena = Arena::map(SIZE).expect("a few pages can be mapped");
        let first = arena.stage(b"one").expect("two slots are free");
        let second = arena.stage(b"two").expect("one slot is free");
        assert!(arena.stage(b"three").is_none());
        assert_ne!(first.addr, second.addr);
        arena.unstage(first.number);
        assert!(arena.stage(b"three").is_some());
    }

    #[test]
    fn too_little_memory_comes_back() {
        let bytes = Arena::adopt(vec![7; 100], SIZE).err().expect("it is too small");
        assert_eq!(bytes, vec![7; 100]);
    }
}
