//! One ring: entries go in raw, completions come out raw.

mod register;

use std::collections::VecDeque;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::ptr::null;
use std::time::{Duration, Instant};

use uringspec_model::abi::{enter, op, setup};
use uringspec_model::cqe::Cqe;
use uringspec_model::enter::{Argument, Enter, On};
use uringspec_model::program::RingSetup;
use uringspec_model::sqe::Sqe;

use crate::raw_ring::{self, RawRing};
use crate::shared_ring::{SQ_CQ_OVERFLOW, SQ_NEED_WAKEUP};
use crate::sys;
use crate::tally::Tally;

/// `IORING_ENTER_GETEVENTS`.
const ENTER_GETEVENTS: u32 = 1;
/// `IORING_ENTER_EXT_ARG`.
const ENTER_EXT_ARG: u32 = 8;

/// How often it is looked whether a thread sleeps.
const LOOKS_EVERY: Duration = Duration::from_micros(200);
/// How long a thread that was woken may take; a step's patience is longer.
const WAKES: Duration = Duration::from_secs(1);

/// An address at which nothing is mapped: in the first page.
const NOWHERE: u64 = 8;

/// What may never come is waited for this part of what is waited for what must. It comes with the result
/// that raised the doubt, or with the next call.
const DOUBT: u32 = 8;

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct WaitArg {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timespec: u64,
}

const _: () = assert!(size_of::<WaitArg>() == 24);

/// A ring of a program.
pub(crate) struct Ring {
    raw: RawRing,
    /// On the queue, but not consumed by the kernel: what follows an entry whose preparation failed, or indices of
    /// none.
    queued: VecDeque<Option<Sqe>>,
    /// User data of the fence's nop, which no entry of the program has.
    fence: u64,
    tally: Tally,
    has_buffers: bool,
    /// A thread of the kernel's takes what is on the queue (`SQPOLL`).
    has_thread: bool,
}

/// Whether a wait came to its end, or to the end of patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// What was waited for is there.
    Enough,
    /// Patience ran out.
    GaveUp,
}

impl Ring {
    /// Sets a ring up as asked.
    pub(crate) fn new(asked: &RingSetup, fence: u64) -> io::Result<Ring> {
        let raw = RawRing::new(asked)?;
        let has_thread = asked.flags & setup::SQPOLL != 0;
        let (queued, tally) = (VecDeque::new(), Tally::default());
        Ok(Ring { raw, queued, fence, tally, has_buffers: false, has_thread })
    }

    /// Puts the entries on the queue, as many as have room there, and enters with their number.
    pub(crate) fn submit(&mut self, sqes: &[Sqe]) -> i64 {
        for sqe in sqes {
            // SAFETY: addresses in the entry lie in the window, which lives as long as the process and to
            // which no Rust reference exists, or nowhere; `admit` has seen to that. The probe's are statics.
            if !unsafe { self.raw.push(sqe) } {
                break;
            }
            self.queued.push_back(Some(*sqe));
        }
        self.consume(sqes.len() as u32)
    }

    fn consume(&mut self, to_submit: u32) -> i64 {
        let returned = self.enter(to_submit, 0, 0, None);
        self.note_consumed();
        returned
    }

    /// Whether a thread takes the entries.
    pub(crate) fn has_thread(&self) -> bool {
        self.has_thread
    }

    /// Puts the entries on the queue, wakes the thread that takes them, and waits until it has.
    pub(crate) fn hand_to_thread(&mut self, sqes: &[Sqe], patience: Duration) -> (i64, Waited) {
        // one that is awake may take what it finds at any time, so all of it comes at once
        if !self.queue(sqes, &[]) {
            return (0, Waited::GaveUp);
        }
        let returned = self.enter(sqes.len() as u32, 0, enter::SQ_WAKEUP, None);
        (returned, if returned < 0 { Waited::Enough } else { self.wait_for_thread(patience) })
    }

    fn wait_for_thread(&mut self, patience: Duration) -> Waited {
        let deadline = Instant::now() + patience;
        while self.raw.queued() > 0 {
            if sys::left(deadline).is_zero() {
                return Waited::GaveUp;
            }
            std::thread::yield_now();
        }
        self.note_consumed();
        Waited::Enough
    }

    /// Waits until the ring says that its thread sleeps.
    pub(crate) fn wait_for_sleep(&self, patience: Duration) -> Waited {
        let deadline = Instant::now() + patience;
        while self.raw.flags() & SQ_NEED_WAKEUP == 0 {
            if sys::left(deadline).is_zero() {
                return Waited::GaveUp;
            }
            std::thread::sleep(LOOKS_EVERY);
        }
        Waited::Enough
    }

    /// What the kernel has consumed is on its way.
    fn note_consumed(&mut self) {
        let passed = self.queued.len().saturating_sub(self.raw.queued() as usize);
        let consumed: Vec<Sqe> = self.queued.drain(..passed).flatten().collect();
        self.tally.submitted(&consumed);
    }

    /// Puts entries on the queue without a call; false if they have no room there.
    pub(crate) fn queue(&mut self, sqes: &[Sqe], array: &[u32]) -> bool {
        // SAFETY: as in `submit`.
        let put = unsafe { self.raw.push_all(sqes, array) };
        if put && array.is_empty() {
            self.queued.extend(sqes.iter().copied().map(Some));
        } else if put {
            self.queued.extend(array.iter().map(|index| sqes.get(*index as usize).copied()));
        }
        put
    }

    /// One call with any arguments: its return value, or a negated errno.
    pub(crate) fn call(&mut self, call: &Enter) -> i64 {
        let timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let timespec = match call.argument {
            Argument::BadTime => NOWHERE,
            _ => (&raw const timespec).expose_provenance() as u64,
        };
        let wait = WaitArg { sigmask: 0, sigmask_bytes: 8, min_wait_us: 0, timespec };
        let bytes = size_of::<WaitArg>();
        let (at, bytes) = match call.argument {
            Argument::None => (null(), 0),
            Argument::NoTime | Argument::BadTime => ((&raw const wait).cast(), bytes),
            Argument::Short => ((&raw const wait).cast(), bytes - 1),
            Argument::Unreadable => (std::ptr::without_provenance(NOWHERE as usize), bytes),
        };
        let no_ring = io::stdin();
        let fd = match call.on {
            On::Ring => self.raw.fd().as_raw_fd(),
            On::Closed => -1,
            On::NoRing => no_ring.as_raw_fd(),
        };
        let flags = call.all_flags();
        // SAFETY: `wait` and the time live until the call returns, and the size is not beyond that of the kernel's
        // structure (asserted above); where nothing can be read the kernel says so.
        let returned = unsafe { raw_ring::enter_on(fd, call.to_submit, call.wanted, flags, at, bytes) };
        if self.has_thread && returned >= 0 && flags & enter::SQ_WAKEUP != 0 {
            // what it has not taken in that time is seen by whoever looks
            self.wait_for_thread(WAKES);
        } else {
            self.note_consumed();
        }
        returned
    }

    /// What the kernel says in the words that both share: flags, indices passed over, entries not consumed.
    pub(crate) fn words(&self) -> (u32, u32, u32) {
        (self.raw.flags(), self.raw.dropped(), self.raw.queued())
    }

    /// Enters with `GETEVENTS` and takes completions until `enough` says so.
    pub(crate) fn reap(
        &mut self,
        enough: &dyn Fn(&Tally) -> bool,
        patience: Duration,
        see: &mut dyn FnMut(Cqe),
    ) -> Waited {
        let deadline = Instant::now() + patience;
        let mut wanted = u32::from(!enough(&self.tally));
        loop {
            let returned = self.enter(0, wanted, ENTER_GETEVENTS, Some(sys::left(deadline)));
            self.take(see);
            if enough(&self.tally) {
                return Waited::Enough;
            }
            if sys::left(deadline).is_zero() || is_final(returned) {
                return Waited::GaveUp;
            }
            wanted = 1;
        }
    }

    /// Reaps until nothing is owed. What may never come is waited for only a little, and a failure whose
    /// success would be silent not at all, once the work that leads to it was done.
    pub(crate) fn settle(&mut self, patience: Duration, see: &mut dyn FnMut(Cqe)) -> Waited {
        loop {
            let waited = self.reap(&Tally::settled_but_for_doubts, patience, see);
            if waited != Waited::Enough {
                return waited;
            }
            for _ in 0..self.tally.rounds() {
                self.enter(0, 0, ENTER_GETEVENTS, None);
                self.take(see);
            }
            if !self.tally.settled() {
                self.reap(&Tally::settled, patience / DOUBT, see);
            }
            // a result that came in spite of the doubt may owe its notification
            if self.tally.settled_but_for_doubts() {
                return waited;
            }
        }
    }

    /// Whether the kernel says that completions wait outside the queue.
    pub(crate) fn overflows(&self) -> bool {
        self.raw.flags() & SQ_CQ_OVERFLOW != 0
    }

    /// Takes what stands in the queue without a call.
    pub(crate) fn peek(&mut self, see: &mut dyn FnMut(Cqe)) -> Waited {
        self.take(see);
        Waited::Enough
    }

    /// What was seen, and what is owed.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Sends a nop through the ring, behind what an earlier submission left on the queue.
    pub(crate) fn fence(&mut self, patience: Duration, see: &mut dyn FnMut(Cqe)) -> Waited {
        // Each time the kernel stops at an entry that it refuses, so this ends.
        let wakes = if self.has_thread { enter::SQ_WAKEUP } else { 0 };
        if self.has_thread && !self.queued.is_empty() {
            self.enter(0, 0, wakes, None);
            if self.wait_for_thread(patience) == Waited::GaveUp {
                return Waited::GaveUp;
            }
        }
        while !self.queued.is_empty() {
            let before = self.queued.len();
            self.consume(before as u32);
            if self.queued.len() == before {
                return Waited::GaveUp;
            }
        }
        let deadline = Instant::now() + patience;
        let nop = Sqe { opcode: op::NOP, user_data: self.fence, ..Sqe::default() };
        // SAFETY: a nop refers to no memory.
        if !unsafe { self.raw.push(&nop) } {
            return Waited::GaveUp;
        }
        let mut to_submit = 1;
        loop {
            let returned = self.enter(to_submit, 1, ENTER_GETEVENTS | wakes, Some(sys::left(deadline)));
            if to_submit > 0 && returned > 0 {
                to_submit = 0;
            }
            if self.take(see) {
                return Waited::Enough;
            }
            if sys::left(deadline).is_zero() || is_final(returned) {
                return Waited::GaveUp;
            }
        }
    }

    /// Takes all completions that are in the ring; true if the fence's was among them.
    fn take(&mut self, see: &mut dyn FnMut(Cqe)) -> bool {
        let mut fenced = false;
        while let Some(cqe) = self.raw.take() {
            if cqe.user_data == self.fence {
                fenced = true;
                continue;
            }
            self.tally.seen(&cqe);
            see(cqe);
        }
        fenced
    }

    /// Ends the ring. Requests go first: one that another thread has yet to run would look up its
    /// descriptor when that number is the next program's. Then buffers, since a closed ring gives memory
    /// back only later.
    pub(crate) fn close(mut self) {
        self.cancel_all();
        if self.has_buffers {
            self.unregister_buffers();
        }
    }

    /// Enters in another thread, as if there were an entry.
    pub(crate) fn enter_elsewhere(&self) -> i64 {
        let fd = self.raw.fd();
        let enter = || {
            // SAFETY: the call takes no pointers, and there is no entry.
            unsafe { raw_ring::enter(fd, 1, 0, 0, null(), 0) }
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("the call does not panic"))
    }

    fn enter(&self, to_submit: u32, wanted: u32, flags: u32, patience: Option<Duration>) -> i64 {
        // A wait for nothing needs no end.
        let Some(patience) = patience.filter(|_| wanted > 0) else {
            // SAFETY: the call takes no pointers.
            return unsafe { self.raw.enter(to_submit, wanted, flags, null(), 0) };
        };
        let timespec = libc::timespec {
            tv_sec: patience.as_secs() as libc::time_t,
            tv_nsec: patience.subsec_nanos().into(),
        };
        let timespec = (&raw const timespec).expose_provenance() as u64;
        let wait = WaitArg { sigmask: 0, sigmask_bytes: 8, min_wait_us: 0, timespec };
        let (at, bytes) = ((&raw const wait).cast(), size_of::<WaitArg>());
        // SAFETY: `wait` and the time it points to live until the call returns, and the size that goes with
        // it is that of the kernel's structure (asserted above).
        unsafe { self.raw.enter(to_submit, wanted, flags | ENTER_EXT_ARG, at, bytes) }
    }
}

/// Whether waiting again after this return value would be futile.
fn is_final(returned: i64) -> bool {
    returned < 0
        && ![libc::ETIME, libc::EINTR, libc::EAGAIN, libc::EBUSY].map(|e| -i64::from(e)).contains(&returned)
}
