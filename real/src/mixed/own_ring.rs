//! A ring of the sender's own.

use std::io;
use std::marker::PhantomData;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use io_uring::{IoUring, squeue};
use uringspec_model::cqe::Cqe;
use uringspec_model::profile::Profile;
use uringspec_model::sqe::Sqe;

use super::encoded::{decode, encode};
use super::kernel::{Kernel, SocketTraits, UDP4_BYTES_MAX, UDP6_BYTES_MAX};
use super::sender::Sender;
use crate::probe;

/// `IORING_ENTER_GETEVENTS`: also lets deferred work run.
const ENTER_GETEVENTS: u32 = 1;
/// `IORING_REGISTER_EVENTFD`.
const REGISTER_EVENTFD: libc::c_uint = 4;

/// A ring that may move to another thread with its sender.
pub struct OwnRing {
    uring: IoUring,
    profile: Profile,
}

/// A ring of one thread: the kernel posts notifications when that thread asks, without interrupting it.
/// A sender on it stays there:
///
/// ```compile_fail,E0277
/// # use uringspec_real::mixed::{LocalRing, Sender};
/// fn send(sender: Sender<LocalRing>) {
///     std::thread::spawn(move || drop(sender));
/// }
/// ```
pub struct LocalRing {
    ring: OwnRing,
    /// The kernel lets no other thread in.
    stays: PhantomData<*mut ()>,
}

impl OwnRing {
    /// A ring for `entries` entries at a time and `requests_max` requests (`Policy::requests_max`).
    pub fn new(entries: u32, requests_max: u32) -> io::Result<OwnRing> {
        let mut builder = IoUring::builder();
        builder.setup_coop_taskrun().setup_taskrun_flag();
        OwnRing::build(&[builder, IoUring::builder()], entries, requests_max)
    }

    /// Tries the ways to set a ring up, the best first; old kernels know only the last.
    fn build(ways: &[io_uring::Builder], entries: u32, requests_max: u32) -> io::Result<OwnRing> {
        let profile = probe().map_err(io::Error::other)?;
        let cq_entries = requests_max.saturating_mul(2).max(entries).clamp(2, 65536);
        let mut refused = io::Error::from_raw_os_error(libc::ENOSYS);
        for way in ways {
            match way.clone().setup_cqsize(cq_entries).setup_clamp().build(entries) {
                Ok(uring) => return Ok(OwnRing { uring, profile }),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Acts as if the kernel were `profile`, which must not claim more than it has: for tests of old ones.
    pub fn pretend(mut self, profile: Profile) -> OwnRing {
        self.profile = profile;
        self
    }
}

impl LocalRing {
    /// As `OwnRing::new`, for the thread that calls it.
    pub fn new(entries: u32, requests_max: u32) -> io::Result<LocalRing> {
        let mut deferring = IoUring::builder();
        deferring.setup_single_issuer().setup_defer_taskrun();
        let mut cooperating = IoUring::builder();
        cooperating.setup_coop_taskrun();
        let ring = OwnRing::build(&[deferring, cooperating, IoUring::builder()], entries, requests_max)?;
        Ok(LocalRing { ring, stays: PhantomData })
    }

    /// As `OwnRing::pretend`.
    pub fn pretend(self, profile: Profile) -> LocalRing {
        LocalRing { ring: self.ring.pretend(profile), stays: PhantomData }
    }
}

// SAFETY: completions are those of the kernel's queue, which it posts as the model says: each once, the
// notification when it no longer refers to the memory. `io_uring` hands each out once.
unsafe impl Kernel for OwnRing {
    type Socket = OwnedFd;

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn descriptor(&self, socket: &OwnedFd) -> i32 {
        socket.as_raw_fd()
    }

    fn traits(&self, socket: &OwnedFd) -> io::Result<SocketTraits> {
        traits_of(socket.as_fd())
    }

    fn reset(&mut self, socket: &OwnedFd) -> io::Result<()> {
        reset(socket.as_fd())
    }

    unsafe fn register(&mut self, base: *const u8, len_bytes: usize) -> io::Result<u16> {
        let iovec = libc::iovec { iov_base: base.cast_mut().cast(), iov_len: len_bytes };
        // SAFETY: the caller keeps the memory mapped; the kernel pins its pages.
        unsafe { self.uring.submitter().register_buffers(&[iovec]) }.map(|()| 0)
    }

    unsafe fn push(&mut self, sqe: &Sqe) -> bool {
        let entry: squeue::Entry = encode(sqe);
        // SAFETY: the caller keeps what the entry names as it is until its last completion.
        unsafe { self.uring.submission().push(&entry) }.is_ok()
    }

    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        let to_submit = self.uring.submission().len() as u32;
        // SAFETY: no pointer goes with the call; entries were vouched for where they were pushed.
        let result = unsafe {
            self.uring.submitter().enter::<libc::sigset_t>(to_submit, wanted, ENTER_GETEVENTS, None)
        };
        result.map(|_| ())
    }

    fn next(&mut self) -> Option<Cqe> {
        self.uring.completion().next().map(|entry| decode(&entry))
    }
}

// SAFETY: as for `OwnRing`, which does the work.
unsafe impl Kernel for LocalRing {
    type Socket = OwnedFd;

    fn profile(&self) -> &Profile {
        self.ring.profile()
    }

    fn descriptor(&self, socket: &OwnedFd) -> i32 {
        self.ring.descriptor(socket)
    }

    fn traits(&self, socket: &OwnedFd) -> io::Result<SocketTraits> {
        self.ring.traits(socket)
    }

    fn reset(&mut self, socket: &OwnedFd) -> io::Result<()> {
        self.ring.reset(socket)
    }

    unsafe fn register(&mut self, base: *const u8, len_bytes: usize) -> io::Result<u16> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.ring.register(base, len_bytes) }
    }

    unsafe fn push(&mut self, sqe: &Sqe) -> bool {
        // SAFETY: the caller's promise is the same.
        unsafe { self.ring.push(sqe) }
    }

    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        self.ring.enter(wanted)
    }

    fn next(&mut self) -> Option<Cqe> {
        self.ring.next()
    }
}

impl AsFd for OwnRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring keeps its descriptor open as long as it lives, and it is borrowed that long.
        unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) }
    }
}

impl AsFd for LocalRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The ring's descriptor. That of an `OwnRing` becomes readable when completions are there; that of a `LocalRing` may
/// not, since they are posted only when its thread asks: `Sender::signal` is told in time.
impl<K: Kernel + AsFd> AsFd for Sender<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kernel.as_fd()
    }
}

impl<K: Kernel + AsFd> AsRawFd for Sender<K> {
    fn as_raw_fd(&self) -> i32 {
        self.as_fd().as_raw_fd()
    }
}

impl<K: Kernel + AsFd> Sender<K> {
    /// From now on the kernel counts an eventfd up whenever completions may be there, so a sender can be waited for
    /// beside other descriptors.
    pub fn signal(&self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        let fd = eventfd.as_raw_fd();
        let (ring, at) = (self.as_raw_fd(), &raw const fd);
        // SAFETY: the call reads one descriptor, which lives through it; the kernel keeps what it stands for.
        let ret = unsafe { libc::syscall(libc::SYS_io_uring_register, ring, REGISTER_EVENTFD, at, 1) };
        if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// How a socket sends, as the kernel says.
pub(super) fn traits_of(socket: BorrowedFd<'_>) -> io::Result<SocketTraits> {
    let domain = option(socket, libc::SO_DOMAIN)?;
    let kind = option(socket, libc::SO_TYPE)?;
    let is_internet = domain == libc::AF_INET || domain == libc::AF_INET6;
    let segments = is_internet && kind == libc::SOCK_DGRAM;
    let is_udp = segments && option(socket, libc::SO_PROTOCOL)? == libc::IPPROTO_UDP;
    Ok(SocketTraits {
        keeps_messages: kind != libc::SOCK_STREAM,
        zero_copy: is_internet,
        segments: segments && option_of(socket, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok(),
        bytes_max: match domain {
            libc::AF_INET if is_udp => UDP4_BYTES_MAX,
            libc::AF_INET6 if is_udp => UDP6_BYTES_MAX,
            _ => u64::MAX,
        },
    })
}

fn option(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<libc::c_int> {
    option_of(socket, libc::SOL_SOCKET, name)
}

fn option_of(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    let at = ptr::from_mut(&mut value).cast();
    // SAFETY: `value` has room for the integer that the call writes, and `len` says so.
    let ret = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, at, &raw mut len) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Ends a connection with a reset, whoever else has a descriptor of it.
pub(super) fn reset(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the structure is plain integers, for which zeros are a value.
    let mut nobody: libc::sockaddr = unsafe { zeroed() };
    nobody.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
    let len = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: the address lives through the call, and `len` is its size.
    let ret = unsafe { libc::connect(socket.as_raw_fd(), &raw const nobody, len) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
