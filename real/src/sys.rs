//! The system calls that the standard library does not have, each behind a safe signature.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use libc::{c_int, c_void};

/// Turns -1 into the error that the call left behind.
pub(crate) fn check(ret: c_int) -> io::Result<c_int> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// A new socket, closed on exec.
pub(crate) fn socket(family: c_int, kind: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just made, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A socket to which whole IPv4 packets are written, closed on exec.
pub(crate) fn raw_socket() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW)
    })?;
    // SAFETY: the descriptor was just made, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of a network device.
pub(crate) fn interface_index(name: &std::ffi::CStr) -> io::Result<u32> {
    // SAFETY: the name is terminated and readable during the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Two connected UNIX stream sockets.
pub(crate) fn unix_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: `ends` has room for the two descriptors that the call writes.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: both descriptors were just made, so nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// An `eventfd`, which is no socket.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: the descriptor was just made, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Moves `fd` to the descriptor `number`, which must be free: what was there would be closed.
pub(crate) fn place(fd: OwnedFd, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers, and the caller says that `number` is free.
    check(unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) })?;
    drop(fd);
    // SAFETY: `number` was free and now names the copy, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sets a socket option to a plain value.
pub(crate) fn set_option<T: Copy>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: T) -> io::Result<()> {
    let at = (&raw const value).cast::<c_void>();
    // SAFETY: `at` points to `size_of::<T>()` readable bytes on this frame.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, at, size_of::<T>() as u32) })?;
    Ok(())
}

/// Reads a socket option that is an array of `N` numbers; what the kernel did not write stays zero.
pub(crate) fn option<const N: usize>(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<[u32; N]> {
    let mut value = [0u32; N];
    let mut len = size_of::<[u32; N]>() as libc::socklen_t;
    let at = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: `at` points to `len` writable bytes, and any bytes are a valid `u32` array.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, at, &raw mut len) })?;
    Ok(value)
}

/// The number that an `ioctl` such as `TIOCOUTQ` writes.
pub(crate) fn queue_bytes(fd: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<u32> {
    let mut value: c_int = 0;
    // SAFETY: the queue-length requests write one `int`, for which `value` has room.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut value) })?;
    Ok(value.max(0) as u32)
}

/// What a non-blocking transfer came to.
pub(crate) enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// It would have to wait.
    WouldBlock,
    /// It failed.
    Failed,
}

fn moved(ret: isize) -> Option<Moved> {
    if let Ok(n) = usize::try_from(ret) {
        return Some(Moved::Bytes(n));
    }
    match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
        libc::EINTR => None,
        libc::EAGAIN => Some(Moved::WouldBlock),
        _ => Some(Moved::Failed),
    }
}

/// Reads what is there, at most the length of `into`.
pub(crate) fn receive(fd: BorrowedFd<'_>, into: &mut [u8]) -> Moved {
    loop {
        let at = into.as_mut_ptr().cast();
        // SAFETY: `at` points to `into.len()` writable bytes that are borrowed for the call.
        let ret = unsafe { libc::recv(fd.as_raw_fd(), at, into.len(), libc::MSG_DONTWAIT) };
        if let Some(moved) = moved(ret) {
            return moved;
        }
    }
}

/// Writes what fits, at most all of `bytes`.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> Moved {
    loop {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `bytes` is readable for its length during the call, which copies it.
        let ret = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        if let Some(moved) = moved(ret) {
            return moved;
        }
    }
}

/// Waits until `fd` has one of `events`, or something is wrong with it; false when time ran out.
/// An interruption ends the wait too, as if something had happened: callers look again anyway.
pub(crate) fn wait(fd: BorrowedFd<'_>, events: libc::c_short, patience: Duration) -> bool {
    let mut one = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let ms = c_int::try_from(patience.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
    // SAFETY: `one` is one valid `pollfd`, and the count says so.
    let ret = unsafe { libc::poll(&raw mut one, 1, ms) };
    ret != 0
}

/// Whether a number is no open descriptor of this process.
pub(crate) fn is_closed(number: RawFd) -> bool {
    // SAFETY: `F_GETFD` reads a flag of the number, whatever it is, and changes nothing.
    unsafe { libc::fcntl(number, libc::F_GETFD) == -1 }
}

/// The time left until `deadline`.
pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Names the calling thread, so that `/proc/PID/comm` and process lists show what it is doing.
pub(crate) fn set_thread_name(name: &std::ffi::CStr) {
    // SAFETY: the name is terminated by a zero; the kernel copies at most 16 bytes of it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}
