//! What a `Sender` needs of a kernel. A ring is one; the model, as a simulated kernel, is another; a
//! caller's own ring is a third.

use std::io;

use uringspec_model::cqe::Cqe;
use uringspec_model::profile::Profile;
use uringspec_model::sqe::Sqe;

/// How a socket sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketTraits {
    /// Whether what is sent together stays together: each message is a request of its own.
    pub keeps_messages: bool,
    /// Whether zero-copy sends are known there: Internet sockets, not `AF_UNIX`.
    pub zero_copy: bool,
    /// Whether the kernel cuts a request into datagrams of one length (`UDP_SEGMENT`).
    pub segments: bool,
    /// The most bytes of a message: what a datagram has room for; of a stream `u64::MAX`.
    pub bytes_max: u64,
}

/// The most bytes of a UDP datagram: what is left of 65535 bytes behind the headers, which version 6 does not
/// count.
pub(super) const UDP4_BYTES_MAX: u64 = 65_535 - 20 - 8;
pub(super) const UDP6_BYTES_MAX: u64 = 65_535 - 8;

/// Takes entries and posts completions.
///
/// # Safety
///
/// The sender gives memory away on the strength of completions. So an implementation hands out only
/// completions that the kernel posted, each once: of a request its result, and if that has `MORE` its
/// notification, when the kernel refers to the memory of the entry no more.
pub unsafe trait Kernel {
    /// What is sent on. It keeps its descriptor open.
    type Socket;

    /// What this kernel can do.
    fn profile(&self) -> &Profile;

    /// The descriptor of a socket, as entries name it.
    fn descriptor(&self, socket: &Self::Socket) -> i32;

    /// How a socket sends.
    fn traits(&self, socket: &Self::Socket) -> io::Result<SocketTraits>;

    /// Ends a connection at once, so that the kernel lets go of what it was lent for it.
    fn reset(&mut self, socket: &Self::Socket) -> io::Result<()>;

    /// Registers memory as one buffer: the index that entries name it by.
    ///
    /// # Safety
    ///
    /// The memory stays mapped as long as `self` lives.
    unsafe fn register(&mut self, base: *const u8, len_bytes: usize) -> io::Result<u16>;

    /// Puts an entry on the queue; false if that is full.
    ///
    /// # Safety
    ///
    /// Memory that the entry names, and that this memory names in turn (message header, iovecs, address,
    /// data), stays as it is until the last completion of the request was handed out or `self` was dropped.
    /// In the latter case nothing else comes to lie there as long as a request may be under way.
    unsafe fn push(&mut self, sqe: &Sqe) -> bool;

    /// Hands over what is on the queue, and waits until `wanted` completions are there.
    fn enter(&mut self, wanted: u32) -> io::Result<()>;

    /// The next completion that is there.
    fn next(&mut self) -> Option<Cqe>;
}
