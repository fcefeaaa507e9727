//! A ring as the kernel makes it: its memory, its words, and the two calls that it takes.
//!
//! What the `io-uring` crate hides is here as it is: the parameters of setup, the words of the queues, every
//! byte of an entry, and the array of indices.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use uringspec_model::abi::setup;
use uringspec_model::cqe::Cqe;
use uringspec_model::program::RingSetup;
use uringspec_model::sqe::Sqe;

use crate::shared_ring::{Completions, Orders, Submissions};

/// `IORING_OFF_SQ_RING`: both queues, where there is `FEATURE_SINGLE_MMAP`.
const OFF_RINGS: libc::off_t = 0;
/// `IORING_OFF_SQES`.
const OFF_ENTRIES: libc::off_t = 0x1000_0000;
/// `IORING_REGISTER_IOWQ_MAX_WORKERS`.
const IORING_REGISTER_IOWQ_MAX_WORKERS: libc::c_uint = 19;
/// As many as a program has requests that wait.
const THREADS: u32 = 256;
/// How long a thread that takes entries looks for some before it sleeps, in milliseconds.
const IDLE_MS: u32 = 1;
/// What stands in the second half of a large entry, which no request of ours has.
const BEHIND_ENTRY: u8 = 0xa5;
/// `IORING_FEAT_SINGLE_MMAP`, which kernels have since 5.4.
const FEATURE_SINGLE_MMAP: u32 = 1;

/// `struct io_sqring_offsets`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct SqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    resv1: u32,
    user_addr: u64,
}

/// `struct io_cqring_offsets`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct CqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
    resv1: u32,
    user_addr: u64,
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    resv: [u32; 3],
    sq_off: SqOffsets,
    cq_off: CqOffsets,
}
const _: () = assert!(size_of::<Params>() == 120);

impl Params {
    fn of(asked: &RingSetup) -> Params {
        let cq_entries = asked.cq_entries.unwrap_or(0);
        let sq_thread_idle = if asked.flags & setup::SQPOLL == 0 { 0 } else { IDLE_MS };
        Params { flags: asked.all_flags(), cq_entries, sq_thread_idle, ..Params::default() }
    }
}

/// `struct io_uring_cqe`, without what follows in a large one.
#[repr(C)]
struct RawCqe {
    user_data: u64,
    res: i32,
    flags: u32,
}

/// Pages that are shared with the kernel.
#[derive(Debug)]
struct Shared {
    at: NonNull<u8>,
    len_bytes: usize,
}

impl Shared {
    fn map(ring: &OwnedFd, offset: libc::off_t, len_bytes: usize) -> io::Result<Shared> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: the kernel chooses an address at which nothing is mapped.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), len_bytes, prot, flags, ring.as_raw_fd(), offset) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).expect("a mapping without a wish is never at zero");
        Ok(Shared { at, len_bytes })
    }

    /// Where `len_bytes` bytes are, so many bytes behind the start.
    fn place(&self, offset: usize, len_bytes: usize) -> NonNull<u8> {
        assert!(offset + len_bytes <= self.len_bytes, "the kernel's offsets lie in what it mapped");
        // SAFETY: it lies in the mapping (asserted above).
        unsafe { self.at.add(offset) }
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        let at = self.place(offset as usize, size_of::<AtomicU32>()).cast::<AtomicU32>();
        assert!(at.is_aligned(), "the kernel aligns its words");
        // SAFETY: four mapped bytes, aligned, which both sides only use as an atomic word, and which live as
        // long as the mapping.
        unsafe { at.as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map`, and nothing borrowed from it is left.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len_bytes) };
    }
}

/// A ring and its mapped memory.
#[derive(Debug)]
pub(crate) struct RawRing {
    // unmapped before the descriptor is closed
    rings: Shared,
    entries: Shared,
    params: Params,
    fd: OwnedFd,
}

impl RawRing {
    /// Sets a ring up with exactly these parameters.
    ///
    /// # Errors
    /// What `io_uring_setup` or `mmap` reports; `Unsupported` before 5.4.
    pub(crate) fn new(asked: &RingSetup) -> io::Result<RawRing> {
        RawRing::with(asked.entries, Params::of(asked))
    }

    /// Sets a ring up and closes it again, without mapping it.
    ///
    /// # Errors
    /// What `io_uring_setup` reports.
    pub(crate) fn attempt(asked: &RingSetup) -> io::Result<()> {
        make(asked.entries, &mut Params::of(asked)).map(drop)
    }

    fn with(entries: u32, mut params: Params) -> io::Result<RawRing> {
        let fd = make(entries, &mut params)?;
        if params.features & FEATURE_SINGLE_MMAP == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let cqes = params.cq_off.cqes as usize + params.cq_entries as usize * cqe_bytes(&params);
        let array = if has_array(&params) {
            params.sq_off.array as usize + params.sq_entries as usize * size_of::<u32>()
        } else {
            0
        };
        let rings = Shared::map(&fd, OFF_RINGS, cqes.max(array))?;
        let entries = Shared::map(&fd, OFF_ENTRIES, params.sq_entries as usize * sqe_bytes(&params))?;
        Ok(RawRing { rings, entries, params, fd })
    }

    /// Our side of the submissions.
    fn submissions(&self) -> Submissions<'_, AtomicU32> {
        Submissions {
            head: self.rings.word(self.params.sq_off.head),
            tail: self.rings.word(self.params.sq_off.tail),
            flags: self.rings.word(self.params.sq_off.flags),
            slots: self.params.sq_entries,
            orders: Orders::NEEDED,
        }
    }

    /// Our side of the completions.
    fn completions(&self) -> Completions<'_, AtomicU32> {
        Completions {
            head: self.rings.word(self.params.cq_off.head),
            tail: self.rings.word(self.params.cq_off.tail),
            slots: self.params.cq_entries,
            orders: Orders::NEEDED,
        }
    }

    /// Puts an entry on the queue; false if it is full.
    ///
    /// # Safety
    /// What the entry refers to must stay valid for the kernel until its last completion.
    pub(crate) unsafe fn push(&mut self, sqe: &Sqe) -> bool {
        self.submissions().push(|slot| {
            self.write_entry(slot, sqe);
            self.write_index(slot, slot);
        })
    }

    /// Puts entries on the queue, all of them or none, and into the array of indices what `array` says, counted
    /// from the slot of the first; nothing: the entries in their order. A number that no slot has stays as it is.
    ///
    /// # Safety
    /// As `push`.
    pub(crate) unsafe fn push_all(&mut self, sqes: &[Sqe], array: &[u32]) -> bool {
        let slots = self.params.sq_entries;
        let count = if array.is_empty() { sqes.len() } else { array.len() };
        self.submissions().push_all(count.max(sqes.len()) as u32, |first| {
            let place = |n: u32| first.wrapping_add(n) & (slots - 1);
            for (n, sqe) in (0..).zip(sqes) {
                self.write_entry(place(n), sqe);
                self.write_index(place(n), place(n));
            }
            for (n, index) in (0..).zip(array) {
                self.write_index(place(n), if *index < slots { place(*index) } else { *index });
            }
        })
    }

    fn write_entry(&self, slot: u32, sqe: &Sqe) {
        let bytes = sqe_bytes(&self.params);
        let at = self.entries.place(slot as usize * bytes, bytes);
        // SAFETY: the slot is ours until the tail moves, and as long as `bytes`, of which an entry fills the
        // first 64.
        unsafe {
            at.write_bytes(BEHIND_ENTRY, bytes);
            at.cast::<[u8; 64]>().write(sqe.to_bytes());
        }
    }

    fn write_index(&self, slot: u32, index: u32) {
        if has_array(&self.params) {
            let at = self.rings.word(self.params.sq_off.array + slot * size_of::<u32>() as u32);
            // made visible by the tail
            at.store(index, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// How much of the queue the kernel has not consumed.
    pub(crate) fn queued(&self) -> u32 {
        self.submissions().len()
    }

    /// How many indices the kernel has passed over, since they name no slot.
    pub(crate) fn dropped(&self) -> u32 {
        self.rings.word(self.params.sq_off.dropped).load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Takes the next completion.
    pub(crate) fn take(&mut self) -> Option<Cqe> {
        self.completions().take(|slot| {
            let bytes = cqe_bytes(&self.params);
            let at = self.rings.place(self.params.cq_off.cqes as usize + slot as usize * bytes, bytes);
            // SAFETY: the slot is ours until the head moves; a completion begins with these sixteen bytes,
            // aligned to eight.
            let RawCqe { user_data, res, flags } = unsafe { at.cast::<RawCqe>().read() };
            Cqe { user_data, res, flags }
        })
    }

    /// What the kernel says of the ring, `shared_ring::SQ_*` bits.
    pub(crate) fn flags(&self) -> u32 {
        self.submissions().flags()
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// `io_uring_enter`: its return value, or a negated errno.
    ///
    /// # Safety
    /// `argument` is what `flags` make of it: null, or that many bytes of `struct io_uring_getevents_arg`.
    pub(crate) unsafe fn enter(
        &self,
        to_submit: u32,
        wanted: u32,
        flags: u32,
        argument: *const libc::c_void,
        bytes: usize,
    ) -> i64 {
        // SAFETY: the caller's promise.
        unsafe { enter(self.fd(), to_submit, wanted, flags, argument, bytes) }
    }

    /// `io_uring_register`: its return value, or a negated errno.
    ///
    /// # Safety
    /// `argument` and `count` are what the operation expects.
    pub(crate) unsafe fn register(
        &self,
        operation: libc::c_uint,
        argument: *const libc::c_void,
        count: u32,
    ) -> i64 {
        // SAFETY: the caller's promise.
        let returned = unsafe {
            libc::syscall(libc::SYS_io_uring_register, self.fd.as_raw_fd(), operation, argument, count)
        };
        sys_result(returned)
    }
}

/// Lets the kernel have more threads for the requests of this one. They are as many as the first ring has entries
/// if nobody says otherwise, and a request for which there is none waits for one that may itself wait for ever.
/// Before 5.15 nobody can.
pub(crate) fn ask_for_threads() {
    let mut counts = [THREADS, 0];
    if let Ok(ring) = RawRing::new(&RingSetup { entries: 1, ..RingSetup::default() }) {
        // SAFETY: the operation reads and writes two numbers, for which there is room.
        unsafe {
            ring.register(IORING_REGISTER_IOWQ_MAX_WORKERS, counts.as_mut_ptr().cast_const().cast(), 2)
        };
    }
}

/// `io_uring_enter` on a ring of which only the descriptor is at hand.
///
/// # Safety
/// As `RawRing::enter`.
pub(crate) unsafe fn enter(
    ring: BorrowedFd<'_>,
    to_submit: u32,
    wanted: u32,
    flags: u32,
    argument: *const libc::c_void,
    bytes: usize,
) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { enter_on(ring.as_raw_fd(), to_submit, wanted, flags, argument, bytes) }
}

/// `io_uring_enter` on any descriptor.
///
/// # Safety
/// As `RawRing::enter`.
pub(crate) unsafe fn enter_on(
    fd: libc::c_int,
    to_submit: u32,
    wanted: u32,
    flags: u32,
    argument: *const libc::c_void,
    bytes: usize,
) -> i64 {
    // SAFETY: the argument is the caller's promise; entries are covered where they are pushed.
    let returned =
        unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, to_submit, wanted, flags, argument, bytes) };
    sys_result(returned)
}

/// `io_uring_setup`.
fn make(entries: u32, params: &mut Params) -> io::Result<OwnedFd> {
    // SAFETY: `params` has the kernel's layout (its size is asserted above) and lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, std::ptr::from_mut(params)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

fn sys_result(returned: libc::c_long) -> i64 {
    if returned >= 0 {
        return returned;
    }
    -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

fn has_array(params: &Params) -> bool {
    params.flags & setup::NO_SQARRAY == 0
}

fn sqe_bytes(params: &Params) -> usize {
    if params.flags & setup::SQE128 == 0 { 64 } else { 128 }
}

fn cqe_bytes(params: &Params) -> usize {
    if params.flags & setup::CQE32 == 0 { 16 } else { 32 }
}

#[cfg(test)]
mod tests {
    use uringspec_model::abi::op;

    use super::*;
    use crate::shared_ring::SQ_NEED_WAKEUP;

    /// `IORING_ENTER_GETEVENTS`.
    const GETEVENTS: u32 = 1;
    /// `IORING_ENTER_SQ_WAKEUP`.
    const SQ_WAKEUP: u32 = 2;

    fn ring(entries: u32, params: Params) -> Option<RawRing> {
        RawRing::with(entries, params).map_err(|error| eprintln!("skipped: {error}")).ok()
    }

    fn push_nop(ring: &mut RawRing, user_data: u64) -> bool {
        // SAFETY: a nop refers to no memory.
        unsafe { ring.push(&Sqe { opcode: op::NOP, user_data, ..Sqe::default() }) }
    }

    fn enter(ring: &RawRing, to_submit: u32, wanted: u32, flags: u32) -> i64 {
        // SAFETY: no argument goes with these flags.
        unsafe { ring.enter(to_submit, wanted, flags, std::ptr::null(), 0) }
    }

    #[test]
    fn slots_go_round_whatever_their_size() {
        for flags in [0, setup::SQE128, setup::CQE32, setup::SQE128 | setup::CQE32, setup::NO_SQARRAY] {
            let Some(mut ring) = ring(4, Params { flags, ..Params::default() }) else { continue };
            for round in 0..5 {
                let numbers = round * 4..round * 4 + 4;
                for number in numbers.clone() {
                    assert!(push_nop(&mut ring, number));
                }
                assert!(!push_nop(&mut ring, 0), "the queue is full");
                assert_eq!(enter(&ring, 4, 4, GETEVENTS), 4);
                let seen: Vec<_> = std::iter::from_fn(|| ring.take()).collect();
                assert!(seen.iter().map(|cqe| cqe.user_data).eq(numbers), "{flags:#x}: {seen:?}");
            }
        }
    }

    #[test]
    fn a_kernel_thread_that_sleeps_is_woken() {
        let params = Params { flags: setup::SQPOLL, sq_thread_idle: 1, ..Params::default() };
        let Some(mut ring) = ring(4, params) else { return };
        for round in 0..10 {
            // it says so some milliseconds after it was last of use
            while ring.flags() & SQ_NEED_WAKEUP == 0 {
                std::thread::yield_now();
            }
            assert!(push_nop(&mut ring, round));
            assert!(ring.submissions().needs_wakeup());
            assert!(enter(&ring, 1, 1, GETEVENTS | SQ_WAKEUP) >= 0);
            assert_eq!(ring.take().map(|cqe| cqe.user_data), Some(round));
        }
    }
}
