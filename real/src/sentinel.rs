//! When datagrams that were sent have arrived.
//!
//! Loopback hands datagrams over from a queue of the CPU, usually before the send returns, but under load
//! only when a thread of the kernel gets to run. A send queue does not show them. So a datagram of our own
//! is sent after them: once it has arrived, so have they. What was sent from another CPU may still be late.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::sockets::udp_pair;
use crate::sys::{self, Moved};

/// How long a datagram may be on its way over loopback.
const PATIENCE: Duration = Duration::from_secs(1);

/// A pair of datagram sockets of the worker's own.
#[derive(Debug)]
pub(crate) struct Sentinel {
    near: OwnedFd,
    far: OwnedFd,
}

impl Sentinel {
    /// Makes the pair.
    pub(crate) fn new() -> io::Result<Sentinel> {
        let (near, far) = udp_pair()?;
        Ok(Sentinel { near, far })
    }

    /// Waits until what was sent so far has arrived.
    pub(crate) fn pass(&self) {
        if matches!(sys::send(self.near.as_fd(), &[0]), Moved::Bytes(1)) {
            while let Moved::WouldBlock = sys::receive(self.far.as_fd(), &mut [0]) {
                if !sys::wait(self.far.as_fd(), libc::POLLIN, PATIENCE) {
                    return;
                }
            }
        }
    }
}
