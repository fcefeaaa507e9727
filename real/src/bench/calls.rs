//! The ways of system calls: `sendmsg`, and the same with `MSG_ZEROCOPY`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::lane::Road;
use super::ring::BATCH_MAX;
use super::source::{HEADERS, Payloads};
use super::{Counts, GATHER_BYTES_MAX, HEADER_BYTES, header};
use crate::sys;

/// After so many calls notifications are waited for; the kernel takes only some before it refuses more.
const NOTICES_MAX: u64 = 64;
/// `SO_EE_ORIGIN_ZEROCOPY`, and its code for what was copied.
const ORIGIN_ZEROCOPY: u8 = 5;
const CODE_COPIED: u8 = 1;

/// What the calls point to, and what they are owed.
pub(super) struct Calls {
    pieces: Box<[libc::iovec]>,
    /// Zero-copy calls without a notification.
    notices_owed: u64,
    /// Messages since nothing was owed.
    lent: usize,
    pub(super) counts: Counts,
}

impl Calls {
    pub(super) fn new() -> Calls {
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let pieces = vec![nothing; 2 * BATCH_MAX].into();
        Calls { pieces, notices_owed: 0, lent: 0, counts: Counts::default() }
    }

    /// Sends so many messages from `first` on.
    pub(super) fn flush(
        &mut self,
        zero_copy: bool,
        road: &mut Road,
        payloads: &mut Payloads,
        first: u64,
        batch: usize,
    ) -> io::Result<()> {
        if zero_copy {
            sys::set_option(road.near.as_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1)?;
        }
        if self.lent + batch > HEADERS || self.notices_owed >= NOTICES_MAX {
            self.settle(road)?;
        }
        let mut at = 0;
        while at < batch {
            let number = first + at as u64;
            let (count, bytes) = match road.is_stream() {
                true => payloads.gathered(number, batch - at, GATHER_BYTES_MAX),
                false => payloads.gathered(number, 1, 0),
            };
            self.send(zero_copy, road, payloads, number, count, bytes)?;
            road.sent(bytes, count as u64)?;
            at += count;
        }
        self.counts.messages += batch as u64;
        self.lent += if zero_copy { batch } else { 0 };
        Ok(())
    }

    fn send(
        &mut self,
        zero_copy: bool,
        road: &mut Road,
        payloads: &mut Payloads,
        number: u64,
        count: usize,
        bytes: u64,
    ) -> io::Result<()> {
        let mut end = 0;
        for number in number..number + count as u64 {
            let slot = payloads.slot(number);
            let at = payloads.write_header(number, &header(number));
            for (at, len) in [(at, HEADER_BYTES), (slot.addr, slot.len as usize)] {
                if len > 0 {
                    self.pieces[end] = libc::iovec { iov_base: at.cast_mut().cast(), iov_len: len };
                    end += 1;
                }
            }
        }
        // SAFETY: a message header is integers and pointers, for which zeros are a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = self.pieces.as_mut_ptr();
        message.msg_iovlen = end;
        self.counts.copied_bytes += if zero_copy { (count * HEADER_BYTES) as u64 } else { bytes };
        let flags = libc::MSG_NOSIGNAL | if zero_copy { libc::MSG_ZEROCOPY } else { 0 };
        loop {
            self.counts.enters += 1;
            // SAFETY: the pieces are leases of an arena, which nobody writes or drops before `settle`, and
            // headers there, written again only after it.
            let got = unsafe { libc::sendmsg(road.near.as_raw_fd(), &raw const message, flags) };
            if got as u64 == bytes {
                self.notices_owed += u64::from(zero_copy);
                return Ok(());
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                _ if got >= 0 => return Err(io::Error::other("a call that waits came back short")),
                Some(libc::EINTR) => {}
                Some(libc::ENOBUFS) if self.notices_owed > 0 => self.settle(road)?,
                _ => return Err(error),
            }
        }
    }

    /// Waits until nothing is owed.
    pub(super) fn settle(&mut self, road: &mut Road) -> io::Result<()> {
        if self.notices_owed > 0 {
            road.drain()?;
        }
        while self.notices_owed > 0 {
            self.read_notices(road)?;
        }
        self.lent = 0;
        Ok(())
    }

    /// Reads one message of the error queue; it stands for one call or for many.
    fn read_notices(&mut self, road: &Road) -> io::Result<()> {
        let mut control = [0_u64; 16];
        // SAFETY: as in `send`.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        self.counts.enters += 1;
        // SAFETY: the control buffer is writable for its length during the call.
        let got = unsafe { libc::recvmsg(road.near.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) };
        if got < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) };
        }
        // SAFETY: the kernel has filled the buffer with whole control messages, and its length stands there.
        let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        if first.is_null() {
            return Err(io::Error::other("a message of the error queue says nothing"));
        }
        // SAFETY: the control message begins with this structure, unaligned for all that is known.
        let said = unsafe { libc::CMSG_DATA(first).cast::<libc::sock_extended_err>().read_unaligned() };
        if said.ee_origin != ORIGIN_ZEROCOPY {
            return Err(io::Error::from_raw_os_error(said.ee_errno as i32));
        }
        let calls = u64::from(said.ee_data.wrapping_sub(said.ee_info)) + 1;
        self.notices_owed = self.notices_owed.saturating_sub(calls);
        self.counts.notifications += calls;
        self.counts.copied_notifications += if said.ee_code == CODE_COPIED { calls } else { 0 };
        Ok(())
    }
}
