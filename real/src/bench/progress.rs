//! Two numbers that this process and its peer's share: how much was sent, and how much of it is gone.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

/// Far enough from each other that no cache line has both.
#[repr(C, align(128))]
struct Number(AtomicU64);

#[repr(C)]
struct Numbers {
    sent: Number,
    drained: Number,
}

/// A page that stays shared when the process forks.
#[derive(Debug)]
pub(super) struct Progress(NonNull<Numbers>);

impl Progress {
    pub(super) fn new() -> io::Result<Progress> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: without MAP_FIXED the kernel chooses a free range, so no memory in use is mapped over.
        let got = unsafe { libc::mmap(ptr::null_mut(), size_of::<Numbers>(), access, flags, -1, 0) };
        if got == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(got.cast()).map(Progress).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
    }

    fn numbers(&self) -> &Numbers {
        // SAFETY: the mapping is never unmapped, is a page and so large and aligned enough, holds zeros at
        // first, and is only ever accessed as atomics.
        unsafe { self.0.as_ref() }
    }

    /// Bytes that the kernel has taken.
    pub(super) fn sent(&self) -> u64 {
        self.numbers().sent.0.load(Ordering::Acquire)
    }

    pub(super) fn set_sent(&self, bytes: u64) {
        self.numbers().sent.0.store(bytes, Ordering::Release);
    }

    /// Bytes among them that were read, or acknowledged.
    pub(super) fn drained(&self) -> u64 {
        self.numbers().drained.0.load(Ordering::Acquire)
    }

    pub(super) fn set_drained(&self, bytes: u64) {
        self.numbers().drained.0.store(bytes, Ordering::Release);
    }
}
