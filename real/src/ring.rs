//! One ring: entries go in raw, completions come out raw.

use std::collections::VecDeque;
use std::io;
use std::mem::{align_of, size_of, transmute};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Timespec};
use io_uring::{IoUring, cqueue, squeue};
use uringspec_model::abi::{op, setup};
use uringspec_model::cqe::Cqe;
use uringspec_model::program::{Iovec, RingSetup};
use uringspec_model::sqe::Sqe;

use crate::sys;
use crate::tally::Tally;

/// `IORING_ENTER_GETEVENTS`.
const ENTER_GETEVENTS: u32 = 1;
/// `IORING_ENTER_EXT_ARG`.
const ENTER_EXT_ARG: u32 = 8;

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

/// The 64 bytes of an entry, aligned as the crate's type is.
#[repr(C, align(8))]
struct RawEntry([u8; 64]);

const _: () = assert!(size_of::<RawEntry>() == size_of::<squeue::Entry>());
const _: () = assert!(align_of::<RawEntry>() == align_of::<squeue::Entry>());
const _: () = assert!(size_of::<WaitArg>() == 24);

/// Writes an entry.
pub(crate) fn encode(sqe: &Sqe) -> squeue::Entry {
    // SAFETY: both types are 64 bytes with the same alignment (asserted above), and an entry is plain
    // integers, for which every bit pattern is a value.
    unsafe { transmute::<RawEntry, squeue::Entry>(RawEntry(sqe.to_bytes())) }
}

/// Reads a completion.
pub(crate) fn decode(entry: &cqueue::Entry) -> Cqe {
    Cqe { user_data: entry.user_data(), res: entry.result(), flags: entry.flags() }
}

/// A ring of a program.
pub(crate) struct Ring {
    uring: IoUring,
    /// On the queue, but not consumed by the kernel: what follows an entry whose preparation failed.
    queued: VecDeque<Sqe>,
    /// User data of the fence's nop, which no entry of the program has.
    fence: u64,
    tally: Tally,
    has_buffers: bool,
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
    /// Sets a ring up as asked. Flags that the crate has no word for have been refused before.
    pub(crate) fn new(asked: &RingSetup, fence: u64) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        let has = |flag: u32| asked.flags & flag != 0;
        if let Some(entries) = asked.cq_entries {
            builder.setup_cqsize(entries);
        } else if has(setup::CQSIZE) {
            builder.setup_cqsize(0);
        }
        if has(setup::IOPOLL) {
            builder.setup_iopoll();
        }
        if has(setup::CLAMP) {
            builder.setup_clamp();
        }
        if has(setup::R_DISABLED) {
            builder.setup_r_disabled();
        }
        if has(setup::SUBMIT_ALL) {
            builder.setup_submit_all();
        }
        if has(setup::COOP_TASKRUN) {
            builder.setup_coop_taskrun();
        }
        if has(setup::TASKRUN_FLAG) {
            builder.setup_taskrun_flag();
        }
        if has(setup::SINGLE_ISSUER) {
            builder.setup_single_issuer();
        }
        if has(setup::DEFER_TASKRUN) {
            builder.setup_defer_taskrun();
        }
        if has(setup::NO_SQARRAY) {
            builder.setup_no_sqarray();
        }
        let uring = builder.build(asked.entries)?;
        Ok(Ring { uring, queued: VecDeque::new(), fence, tally: Tally::default(), has_buffers: false })
    }

    /// Puts the entries on the queue, as many as have room there, and enters with their number.
    pub(crate) fn submit(&mut self, sqes: &[Sqe]) -> i64 {
        let mut queue = self.uring.submission();
        for sqe in sqes {
            // SAFETY: addresses in the entry lie in the window, which lives as long as the process and to
            // which no Rust reference exists, or nowhere; `admit` has seen to that. The probe's are statics.
            if unsafe { queue.push(&encode(sqe)) }.is_err() {
                break;
            }
            self.queued.push_back(*sqe);
        }
        drop(queue);
        self.consume(sqes.len() as u32)
    }

    fn consume(&mut self, to_submit: u32) -> i64 {
        let returned = self.enter(to_submit, 0, 0, None);
        let consumed = usize::try_from(returned).unwrap_or(0).min(self.queued.len());
        let consumed: Vec<Sqe> = self.queued.drain(..consumed).collect();
        self.tally.submitted(&consumed);
        returned
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

    /// Reaps until nothing is owed. What may never come is waited for only a little.
    pub(crate) fn settle(&mut self, patience: Duration, see: &mut dyn FnMut(Cqe)) -> Waited {
        let waited = self.reap(&Tally::settled_but_for_doubts, patience, see);
        if waited == Waited::Enough && !self.tally.settled() {
            self.reap(&Tally::settled, patience / DOUBT, see);
        }
        waited
    }

    /// Whether the kernel says that completions wait outside the queue.
    pub(crate) fn overflows(&mut self) -> bool {
        self.uring.submission().cq_overflow()
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
        while !self.queued.is_empty() {
            if self.consume(self.queued.len() as u32) <= 0 {
                return Waited::GaveUp;
            }
        }
        let deadline = Instant::now() + patience;
        let nop = Sqe { opcode: op::NOP, user_data: self.fence, ..Sqe::default() };
        // SAFETY: a nop refers to no memory.
        if unsafe { self.uring.submission().push(&encode(&nop)) }.is_err() {
            return Waited::GaveUp;
        }
        let mut to_submit = 1;
        loop {
            let returned = self.enter(to_submit, 1, ENTER_GETEVENTS, Some(sys::left(deadline)));
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
        for entry in self.uring.completion() {
            let cqe = decode(&entry);
            if cqe.user_data == self.fence {
                fenced = true;
                continue;
            }
            self.tally.seen(&cqe);
            see(cqe);
        }
        fenced
    }

    /// Registers buffers: zero, or a negated errno.
    pub(crate) fn register_buffers(&mut self, iovecs: &[Iovec]) -> i64 {
        let raw = raw_iovecs(iovecs);
        // SAFETY: the kernel pins the pages itself; they lie in the window, which outlives the ring, and a
        // later mapping over them leaves the pinned pages alone.
        let result = unsafe { self.uring.submitter().register_buffers(&raw) };
        self.has_buffers |= result.is_ok();
        returned(result.map(|()| 0))
    }

    /// Registers a table of empty entries: zero, or a negated errno.
    pub(crate) fn register_sparse(&mut self, count: u32) -> i64 {
        let result = self.uring.submitter().register_buffers_sparse(count);
        self.has_buffers |= result.is_ok();
        returned(result.map(|()| 0))
    }

    /// Replaces entries of the table: how many, or a negated errno.
    pub(crate) fn update_buffers(&mut self, offset: u32, iovecs: &[Iovec]) -> i64 {
        let raw = raw_iovecs(iovecs);
        let update = RsrcUpdate2 {
            offset,
            resv: 0,
            data: raw.as_ptr() as u64,
            tags: 0,
            nr: raw.len() as u32,
            resv2: 0,
        };
        // SAFETY: the structure has the kernel's layout (asserted below), and it and the iovecs live
        // through the call; the pages are pinned as those of `register_buffers` are.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.uring.as_raw_fd(),
                IORING_REGISTER_BUFFERS_UPDATE,
                std::ptr::from_ref(&update),
                size_of::<RsrcUpdate2>(),
            )
        };
        if result >= 0 { result } else { returned(Err(io::Error::last_os_error())) }
    }

    /// Registers files: zero, or a negated errno.
    pub(crate) fn register_files(&mut self, files: &[i32]) -> i64 {
        returned(self.uring.submitter().register_files(files).map(|()| 0))
    }

    /// Unregisters files: zero, or a negated errno.
    pub(crate) fn unregister_files(&mut self) -> i64 {
        returned(self.uring.submitter().unregister_files().map(|()| 0))
    }

    /// Unregisters buffers: zero, or a negated errno.
    pub(crate) fn unregister_buffers(&mut self) -> i64 {
        let result = self.uring.submitter().unregister_buffers();
        self.has_buffers &= result.is_err();
        returned(result.map(|()| 0))
    }

    /// Ends the ring. Requests go first: one that another thread has yet to run would look up its
    /// descriptor when that number is the next program's. Then buffers, since a closed ring gives memory
    /// back only later.
    pub(crate) fn close(mut self) {
        // before 6.0 there is no such call, and nothing else that waits
        let patience = Timespec::new().sec(1);
        let _ = self.uring.submitter().register_sync_cancel(Some(patience), CancelBuilder::any());
        if self.has_buffers {
            self.unregister_buffers();
        }
    }

    fn enter(&self, to_submit: u32, wanted: u32, flags: u32, patience: Option<Duration>) -> i64 {
        let submitter = self.uring.submitter();
        let result = match patience {
            // A wait for nothing needs no end.
            Some(patience) if wanted > 0 => {
                let timespec = libc::timespec {
                    tv_sec: patience.as_secs() as libc::time_t,
                    tv_nsec: patience.subsec_nanos().into(),
                };
                let arg = WaitArg {
                    sigmask: 0,
                    sigmask_bytes: 8,
                    min_wait_us: 0,
                    timespec: (&raw const timespec).expose_provenance() as u64,
                };
                // SAFETY: `arg` and the time it points to live until the call returns, and the size that
                // goes with it is that of the kernel's structure (asserted above).
                unsafe { submitter.enter(to_submit, wanted, flags | ENTER_EXT_ARG, Some(&arg)) }
            }
            // SAFETY: the call takes no pointers; entries on the queue are covered where they are pushed.
            _ => unsafe { submitter.enter::<libc::sigset_t>(to_submit, wanted, flags, None) },
        };
        returned(result.map(|n| n as i64))
    }
}

fn returned(result: io::Result<i64>) -> i64 {
    result.unwrap_or_else(|error| -i64::from(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// Whether waiting again after this return value would be futile.
fn is_final(returned: i64) -> bool {
    returned < 0
        && ![libc::ETIME, libc::EINTR, libc::EAGAIN, libc::EBUSY].map(|e| -i64::from(e)).contains(&returned)
}

/// `IORING_REGISTER_BUFFERS_UPDATE` of `enum io_uring_register_op`.
const IORING_REGISTER_BUFFERS_UPDATE: libc::c_uint = 16;

/// `struct io_uring_rsrc_update2`; the crate's call hides how many entries were replaced.
#[repr(C)]
struct RsrcUpdate2 {
    offset: u32,
    resv: u32,
    data: u64,
    tags: u64,
    nr: u32,
    resv2: u32,
}
const _: () = assert!(size_of::<RsrcUpdate2>() == 32);

fn raw_iovecs(iovecs: &[Iovec]) -> Vec<libc::iovec> {
    let raw = |iovec: &Iovec| libc::iovec {
        iov_base: std::ptr::without_provenance_mut(iovec.addr as usize),
        iov_len: iovec.len_bytes as usize,
    };
    iovecs.iter().map(raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_every_byte() {
        let bytes: [u8; 64] = std::array::from_fn(|i| (i as u8).wrapping_mul(89) ^ 0xc3);
        // SAFETY: the same types as in `encode`, the other way round.
        let raw = unsafe { transmute::<squeue::Entry, RawEntry>(encode(&Sqe::from_bytes(&bytes))) };
        assert_eq!(raw.0, bytes);
    }
}
