//! The memory that all ways send from: the sender's arena, so that pages are the same for all.

use std::io;

use super::{Cell, HEADER_BYTES, Source};
use crate::mixed::{Arena, ArenaSize, LocalRing, SLOT_BYTES, Sender, Shared};

/// Bytes of the payloads that stay in the cache, and of those that do not.
const CACHED_BYTES: u64 = 256 << 10;
const BEYOND_BYTES: u64 = 32 << 20;
/// More would be small payloads whose owners, not whose bytes, leave the cache.
const SLOTS_MAX: usize = 16_384;
/// Headers that a request may still refer to.
pub(super) const HEADERS: usize = 4096;
/// A lease of so many bytes takes whole pages.
const PAGED_FROM_BYTES: usize = 2048;
const PAGE_BYTES: usize = 4096;

/// A payload.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) addr: *const u8,
    pub(super) len: u32,
}

/// All payloads. Their numbers are those of messages, taken modulo how many there are.
pub(super) struct Payloads {
    pub(super) slots: Vec<Slot>,
    /// Who owns a slot; nobody if it is empty.
    pub(super) leases: Vec<Option<Shared>>,
    /// Where headers are kept, or staged.
    pub(super) headers: crate::mixed::Lease,
    /// Messages that lie one behind the other, each header before its payload.
    run: Shared,
    /// Where a message of the run begins; its end is the last.
    run_at: Vec<usize>,
}

impl Cell {
    /// How many slots there are: a power of two, and a multiple of the lengths.
    fn slots(&self) -> usize {
        let budget = match self.source {
            Source::Cached => CACHED_BYTES,
            Source::Beyond => BEYOND_BYTES,
        };
        let cycle: u64 = self.lens.iter().map(|len| stride(*len as usize) as u64).sum();
        let times = (budget / cycle.max(1)).clamp(1, (SLOTS_MAX / self.lens.len()).max(1) as u64);
        self.lens.len() * (1 << times.ilog2())
    }

    /// Messages of the run: no flush goes over its end.
    fn run_messages(&self) -> usize {
        self.slots().max(self.batch.next_power_of_two())
    }

    fn len_of(&self, slot: usize) -> usize {
        self.lens[slot % self.lens.len()] as usize
    }

    /// An arena in which all of it has room.
    pub(super) fn arena(&self) -> io::Result<Arena> {
        let slots = self.slots();
        let sum = |wanted: &dyn Fn(usize) -> bool| -> usize {
            (0..slots).map(|slot| self.len_of(slot)).filter(|len| wanted(*len)).map(stride).sum()
        };
        let run: usize = (0..self.run_messages()).map(|slot| HEADER_BYTES + self.len_of(slot)).sum();
        let paged = sum(&|len| len >= PAGED_FROM_BYTES) + stride(run) + HEADERS * SLOT_BYTES;
        // the allocator rounds up what it looks for
        let roomy = |bytes: usize| (bytes + bytes / 4 + (1 << 20)) as u32;
        Arena::map(ArenaSize {
            header_slots: 2 * HEADERS as u32,
            small_bytes: roomy(sum(&|len| len < PAGED_FROM_BYTES)),
            paged_bytes: roomy(paged),
            leases_max: slots as u32 + 16,
        })
    }
}

impl Payloads {
    /// Leases it all.
    pub(super) fn lease(cell: &Cell, sender: &mut Sender<LocalRing>) -> io::Result<Payloads> {
        let no_room = || io::Error::other("an arena has too little room for what it was made for");
        let mut lease = |len: usize| -> io::Result<crate::mixed::Lease> {
            let mut lease = sender.lease(len).ok_or_else(no_room)?;
            lease.fill(len as u8);
            Ok(lease)
        };
        let (mut slots, mut leases) = (Vec::new(), Vec::new());
        for slot in 0..cell.slots() {
            let len = cell.len_of(slot);
            let owner = if len == 0 { None } else { Some(lease(len)?.share()) };
            slots.push(Slot {
                addr: owner.as_ref().map_or(std::ptr::null(), |o| o.as_ptr()),
                len: len as u32,
            });
            leases.push(owner);
        }
        let mut run_at = vec![0];
        for slot in 0..cell.run_messages() {
            run_at.push(run_at[slot] + HEADER_BYTES + cell.len_of(slot));
        }
        let run = lease(run_at[run_at.len() - 1])?.share();
        Ok(Payloads { slots, leases, headers: lease(HEADERS * SLOT_BYTES)?, run, run_at })
    }

    /// The slot of a message.
    pub(super) fn slot(&self, number: u64) -> Slot {
        self.slots[number as usize & (self.slots.len() - 1)]
    }

    /// Who owns the payload of a message.
    pub(super) fn owner(&self, number: u64) -> Option<&Shared> {
        self.leases[number as usize & (self.leases.len() - 1)].as_ref()
    }

    /// The first byte and the length of so many messages of the run; they must not go over its end.
    pub(super) fn run(&self, number: u64, messages: usize) -> (*const u8, usize) {
        let first = number as usize & (self.run_at.len() - 2);
        let (at, end) = (self.run_at[first], self.run_at[first + messages]);
        (self.run[at..end].as_ptr(), end - at)
    }

    /// Writes a header where the kernel may read it until the message is over: its address.
    pub(super) fn write_header(&mut self, number: u64, header: &[u8; HEADER_BYTES]) -> *const u8 {
        let at = number as usize % HEADERS * SLOT_BYTES;
        let to = &mut self.headers[at..at + HEADER_BYTES];
        to.copy_from_slice(header);
        to.as_ptr()
    }

    /// How many of `messages` go with one request: those that have `bytes_max` together, at least one.
    pub(super) fn gathered(&self, number: u64, messages: usize, bytes_max: u64) -> (usize, u64) {
        let mut bytes = 0;
        for at in 0..messages {
            let more = HEADER_BYTES as u64 + u64::from(self.slot(number + at as u64).len);
            if at > 0 && bytes + more > bytes_max {
                return (at, bytes);
            }
            bytes += more;
        }
        (messages, bytes)
    }
}

fn stride(len: usize) -> usize {
    let to = if len < PAGED_FROM_BYTES { SLOT_BYTES } else { PAGE_BYTES };
    len.max(1).next_multiple_of(to)
}
