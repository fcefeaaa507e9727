//! The memory that all ways send from: the sender's arena, so that pages are the same for all.
//!
//! The sender leases its payloads with room for the header in front, as a server would that cares. What has
//! come back is sent again: the last one first if payloads are to stay in the cache, else the first.

use std::collections::VecDeque;

use std::io;

use super::{Cell, HEADER_BYTES, Source};
use crate::mixed::{Arena, ArenaSize, Lease, LocalRing, SLOT_BYTES, Sender};

/// Bytes of the payloads that stay in the cache, and of those that do not.
const CACHED_BYTES: u64 = 256 << 10;
const BEYOND_BYTES: u64 = 32 << 20;
/// More would be small payloads whose owners, not whose bytes, leave the cache.
const SLOTS_MAX: usize = 16_384;
/// Headers that a request may still refer to.
pub(super) const HEADERS: usize = 4096;
/// More bytes, or messages, of the sender's are seldom under way: the peer has what came before, but not all of
/// that was told yet.
const UNDER_WAY_BYTES: usize = 3 << 20;
const UNDER_WAY_MAX: usize = 2048;
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
    slots: Vec<Slot>,
    /// Keeps the slots where they are.
    _leases: Vec<Lease>,
    /// Where headers are kept, or staged.
    headers: Lease,
    /// Messages that lie one behind the other, each header before its payload.
    run: Lease,
    /// Where a message of the run begins; its end is the last.
    run_at: Vec<usize>,
}

impl Cell {
    /// How many slots there are: a power of two, and a multiple of the lengths. A flush has a payload for each
    /// of its messages, as it has with the sender; otherwise the other ways would read less memory. So no flush
    /// goes over the end of the run.
    fn slots(&self) -> usize {
        let budget = match self.source {
            Source::Cached => CACHED_BYTES,
            Source::Beyond => BEYOND_BYTES,
        };
        let cycle: u64 = self.lens.iter().map(|len| stride(*len as usize) as u64).sum();
        let times = (budget / cycle.max(1)).clamp(1, (SLOTS_MAX / self.lens.len()).max(1) as u64);
        (self.lens.len() * (1 << times.ilog2())).max(self.batch)
    }

    /// Payloads of each length that the sender has: as many as may be under way.
    fn pooled(&self, len: usize) -> usize {
        let share = self.lens.iter().filter(|other| **other as usize == len).count();
        let slots = self.slots() / self.lens.len() * share;
        let under_way = UNDER_WAY_BYTES / len.max(UNDER_WAY_BYTES / UNDER_WAY_MAX);
        slots.max(under_way + self.batch)
    }

    /// The lengths of payloads, each once.
    fn distinct(&self) -> Vec<usize> {
        let mut lens: Vec<usize> = self.lens.iter().map(|len| *len as usize).filter(|len| *len > 0).collect();
        lens.sort_unstable();
        lens.dedup();
        lens
    }

    fn len_of(&self, slot: usize) -> usize {
        self.lens[slot % self.lens.len()] as usize
    }

    /// An arena in which all of it has room.
    pub(super) fn arena(&self) -> io::Result<Arena> {
        let slots = (0..self.slots()).map(|slot| stride(self.len_of(slot)));
        let pools = self.distinct().into_iter().map(|len| (len, self.pooled(len)));
        let run: usize = (0..self.slots()).map(|slot| HEADER_BYTES + self.len_of(slot)).sum();
        let all = slots.sum::<usize>() + stride(run) + HEADERS * SLOT_BYTES;
        let (mut bytes, mut leases) = (all, self.slots() + 16);
        for (len, count) in pools {
            bytes += count * stride(len + SLOT_BYTES);
            leases += count;
        }
        // the allocator rounds up what it looks for; which pool a lease is of is the arena's affair
        let roomy = (bytes + bytes / 4 + (1 << 20)) as u32;
        let is_small = self.lens.iter().all(|len| (*len as usize) < PAGED_FROM_BYTES);
        Arena::map(ArenaSize {
            header_slots: 2 * HEADERS as u32,
            small_bytes: if is_small { roomy } else { 4 << 20 },
            paged_bytes: roomy,
            leases_max: leases as u32,
        })
    }
}

/// The sender's payloads that are not under way, by their lengths.
pub(super) struct Pool {
    free: Vec<(usize, Free)>,
}

/// Payloads of one length: the last one that came back is taken first, or the first.
enum Free {
    Last(Vec<Lease>),
    First(VecDeque<Lease>),
}

impl Pool {
    /// Leases them.
    pub(super) fn lease(cell: &Cell, sender: &mut Sender<LocalRing>) -> io::Result<Pool> {
        let mut free = Vec::new();
        for len in cell.distinct() {
            let leases = (0..cell.pooled(len)).map(|_| {
                let mut lease = sender.lease_behind(HEADER_BYTES, len).ok_or_else(no_room)?;
                lease.fill(len as u8);
                Ok(lease)
            });
            free.push((
                len,
                match cell.source {
                    Source::Cached => Free::Last(leases.collect::<io::Result<_>>()?),
                    Source::Beyond => Free::First(leases.collect::<io::Result<_>>()?),
                },
            ));
        }
        Ok(Pool { free })
    }

    /// A payload of so many bytes, if one is not under way.
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Option<Lease> {
        let (_, leases) = self.free.iter_mut().find(|(known, _)| *known == len)?;
        match leases {
            Free::Last(leases) => leases.pop(),
            Free::First(leases) => leases.pop_front(),
        }
    }

    /// It came back.
    pub(super) fn give(&mut self, lease: Lease) {
        let len = lease.len();
        match self.free.iter_mut().find(|(known, _)| *known == len) {
            Some((_, Free::Last(leases))) => leases.push(lease),
            Some((_, Free::First(leases))) => leases.push_back(lease),
            None => {}
        }
    }
}

fn no_room() -> io::Error {
    io::Error::other("an arena has too little room for what it was made for")
}

impl Payloads {
    /// Leases it all.
    pub(super) fn lease(cell: &Cell, sender: &mut Sender<LocalRing>) -> io::Result<Payloads> {
        let mut lease = |len: usize| -> io::Result<Lease> {
            let mut lease = sender.lease(len).ok_or_else(no_room)?;
            lease.fill(len as u8);
            Ok(lease)
        };
        let (mut slots, mut leases) = (Vec::new(), Vec::new());
        for slot in 0..cell.slots() {
            let len = cell.len_of(slot);
            let mut addr = std::ptr::null();
            if len > 0 {
                let owner = lease(len)?;
                addr = owner.as_ptr();
                leases.push(owner);
            }
            slots.push(Slot { addr, len: len as u32 });
        }
        let mut run_at = vec![0];
        for slot in 0..cell.slots() {
            run_at.push(run_at[slot] + HEADER_BYTES + cell.len_of(slot));
        }
        let run = lease(run_at[run_at.len() - 1])?;
        Ok(Payloads { slots, _leases: leases, headers: lease(HEADERS * SLOT_BYTES)?, run, run_at })
    }

    /// The slot of a message.
    pub(super) fn slot(&self, number: u64) -> Slot {
        self.slots[number as usize & (self.slots.len() - 1)]
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
