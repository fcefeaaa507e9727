//! The one region of memory that an arena hands out, and the mark that a fork wipes.
//!
//! What the kernel was lent may be read by it after everything here is gone. So a mapping is never given to
//! an allocator: it is unmapped, and the kernel keeps the pages that it refers to. Where a request may still
//! look addresses up (its result has not come), they stay reserved without access: it finds nothing there,
//! and never other memory that came to lie there. Memory of the caller's own is leaked instead.

use std::io;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes in one piece, at one address until they are dropped.
pub(super) struct Memory {
    base: NonNull<u8>,
    len_bytes: usize,
    backing: Backing,
    /// The kernel may still read what lies there.
    lent: AtomicBool,
    /// The kernel may still look addresses of it up.
    armed: AtomicBool,
}

/// Where the bytes come from.
enum Backing {
    /// An anonymous mapping of its own.
    Mapped,
    /// The caller's; only dropped, never looked at, as its bytes are reached through `base` alone.
    Adopted(ManuallyDrop<Vec<u8>>),
}

// SAFETY: the memory belongs to no thread; who may touch which bytes is what leases say.
unsafe impl Send for Memory {}
// SAFETY: as above; `Memory` itself gives out addresses only.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps `len_bytes` of zeros. A child that is forked sees zeros there and shares no page with its
    /// parent, so that what the kernel pinned stays what the parent writes to.
    pub(super) fn map(len_bytes: usize) -> io::Result<Memory> {
        let base = map_anonymous(len_bytes)?;
        // One buffer of huge pages is dearer to send from than one of small pages; without them it is as good.
        advise(base, len_bytes, libc::MADV_NOHUGEPAGE).ok();
        let memory = Memory::of(base, len_bytes, Backing::Mapped);
        advise(base, len_bytes, libc::MADV_WIPEONFORK)?;
        Ok(memory)
    }

    /// Takes the caller's bytes.
    pub(super) fn adopt(mut bytes: Vec<u8>) -> Memory {
        let base = NonNull::new(bytes.as_mut_ptr()).expect("a vector's pointer is never null");
        let len_bytes = bytes.len();
        Memory::of(base, len_bytes, Backing::Adopted(ManuallyDrop::new(bytes)))
    }

    fn of(base: NonNull<u8>, len_bytes: usize, backing: Backing) -> Memory {
        Memory { base, len_bytes, backing, lent: AtomicBool::new(false), armed: AtomicBool::new(false) }
    }

    /// The first byte. Valid for `len_bytes` as long as `self` lives.
    #[inline]
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// From now on the kernel may read it longer than it lives; `armed`: it may look addresses up as well.
    /// How many bytes will be leaked for that.
    pub(super) fn keep_from_others(&self, armed: bool) -> u64 {
        let known = self.lent.swap(true, Ordering::Relaxed);
        self.armed.fetch_or(armed, Ordering::Relaxed);
        match self.backing {
            Backing::Adopted(_) if !known => self.len_bytes as u64,
            Backing::Adopted(_) | Backing::Mapped => 0,
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let (lent, armed) = (*self.lent.get_mut(), *self.armed.get_mut());
        match &mut self.backing {
            Backing::Mapped if armed => {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
                // SAFETY: the range is a mapping that this value made and nobody else refers to; what is
                // put there has no access. If the call fails the mapping stays, which is as good.
                unsafe {
                    libc::mmap(self.base.as_ptr().cast(), self.len_bytes, libc::PROT_NONE, flags, -1, 0);
                }
            }
            Backing::Mapped => {
                // SAFETY: the range is a mapping that this value made, and nobody refers to it any more.
                unsafe {
                    libc::munmap(self.base.as_ptr().cast(), self.len_bytes);
                }
            }
            Backing::Adopted(_) if lent => {}
            Backing::Adopted(bytes) => {
                // SAFETY: this is the only place that drops the bytes, and it runs once.
                unsafe { ManuallyDrop::drop(bytes) }
            }
        }
    }
}

/// A byte that is one in this process and zero in any that was forked from it.
pub(super) struct ForkMark(NonNull<u8>);

// SAFETY: the page belongs to no thread; it was written before the value existed and is only read.
unsafe impl Send for ForkMark {}
// SAFETY: as above.
unsafe impl Sync for ForkMark {}

impl ForkMark {
    pub(super) fn new() -> io::Result<ForkMark> {
        let page = map_anonymous(PAGE_BYTES)?;
        let mark = ForkMark(page);
        advise(page, PAGE_BYTES, libc::MADV_WIPEONFORK)?;
        // SAFETY: the page was just mapped for writing and nobody else knows of it.
        unsafe { page.as_ptr().write(1) };
        Ok(mark)
    }

    /// Whether this is a fork of the process that made the mark.
    #[inline]
    pub(super) fn is_fork(&self) -> bool {
        // SAFETY: the page is mapped as long as `self` lives and was written when it was made. Volatile,
        // since a fork changes it behind the compiler's back.
        unsafe { self.0.as_ptr().read_volatile() == 0 }
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by this value and nobody else refers to it.
        unsafe {
            libc::munmap(self.0.as_ptr().cast(), PAGE_BYTES);
        }
    }
}

/// Bytes of a page; a multiple of it does as well.
pub(super) const PAGE_BYTES: usize = 4096;

fn map_anonymous(len_bytes: usize) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: without MAP_FIXED the kernel chooses a free range, so no memory in use is mapped over.
    let got =
        unsafe { libc::mmap(ptr::null_mut(), len_bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if got == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(got.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

fn advise(base: NonNull<u8>, len_bytes: usize, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: the range was just mapped by the caller; neither advice changes what this process sees.
    let ret = unsafe { libc::madvise(base.as_ptr().cast(), len_bytes, advice) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
