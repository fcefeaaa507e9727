//! The ways of a ring: each always does the same, whatever the size.

use std::io;
use std::os::fd::AsRawFd;

use uringspec_model::abi::{msg, op, send_flag, sqe_flag};
use uringspec_model::cqe::{Completion, Res, Usage};
use uringspec_model::sqe::Sqe;

use super::lane::Road;
use super::source::{HEADERS, Payloads};
use super::{Counts, GATHER_BYTES_MAX, HEADER_BYTES, Strategy, header};
use crate::mixed::{Kernel, LocalRing};

/// The most messages of a flush, and so of requests that have no result.
pub(super) const BATCH_MAX: usize = 64;

/// A ring, and what its entries point to.
pub(super) struct Ring {
    ring: LocalRing,
    /// Of each request that a flush makes: its message header, and two pieces for every message.
    messages: Box<[libc::msghdr]>,
    pieces: Box<[libc::iovec]>,
    /// Results and notifications that are to come.
    results_owed: u32,
    notices_owed: u32,
    /// Messages whose header the kernel may still read.
    lent: usize,
    /// Bytes that the last results took.
    taken: u64,
    pub(super) counts: Counts,
}

/// Messages that one request carries.
struct Part {
    /// Whose message header and pieces it uses.
    place: usize,
    count: usize,
    /// Bytes of them that were sent before.
    skip: u64,
    /// More messages of the flush follow in other requests.
    goes_on: bool,
}

impl Ring {
    /// A ring with the arena of `region` as its registered buffer.
    ///
    /// # Safety
    ///
    /// The region stays mapped as long as the ring lives.
    pub(super) unsafe fn new((base, len_bytes): (*const u8, usize)) -> io::Result<Ring> {
        let mut ring = LocalRing::new(256, HEADERS as u32)?;
        // SAFETY: the caller's promise is the same.
        let buffer = unsafe { ring.register(base, len_bytes) }?;
        assert_eq!(buffer, 0, "the only buffer of a ring is its first");
        // SAFETY: both are integers and pointers, for which zeros are a value.
        let (message, piece) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Ok(Ring {
            ring,
            messages: vec![message; BATCH_MAX].into(),
            pieces: vec![piece; 2 * BATCH_MAX].into(),
            results_owed: 0,
            notices_owed: 0,
            lent: 0,
            taken: 0,
            counts: Counts::default(),
        })
    }

    /// Sends so many messages from `first` on.
    pub(super) fn flush(
        &mut self,
        strategy: Strategy,
        road: &mut Road,
        payloads: &mut Payloads,
        first: u64,
        batch: usize,
    ) -> io::Result<()> {
        while self.lent + batch > HEADERS {
            road.drain()?;
            self.turn(u32::from(self.notices_owed > 0))?;
        }
        let mut at = 0;
        while at < batch {
            let number = first + at as u64;
            if road.is_stream() {
                let (count, bytes) = payloads.gathered(number, batch - at, GATHER_BYTES_MAX);
                self.stream(strategy, road, payloads, number, count, bytes)?;
                road.sent(bytes, count as u64)?;
                at += count;
            } else {
                let last = at + 1 == batch;
                let part = Part { place: at, count: 1, skip: 0, goes_on: !last };
                self.request(strategy, road, payloads, number, part)?;
                at += 1;
                if last {
                    self.turn(0)?;
                    self.settle_results()?;
                    self.taken = 0;
                }
            }
        }
        self.counts.messages += batch as u64;
        Ok(())
    }

    /// Waits until nothing is owed.
    pub(super) fn settle(&mut self, road: &mut Road) -> io::Result<()> {
        road.drain()?;
        while self.results_owed + self.notices_owed > 0 {
            self.turn(1)?;
        }
        Ok(())
    }

    /// One request on a stream, and the rest of it where it comes back short.
    fn stream(
        &mut self,
        strategy: Strategy,
        road: &mut Road,
        payloads: &mut Payloads,
        number: u64,
        count: usize,
        bytes: u64,
    ) -> io::Result<()> {
        let mut taken = 0;
        while taken < bytes {
            if taken > 0 && matches!(strategy, Strategy::Linked | Strategy::Contiguous) {
                return Err(io::Error::other("a send that waits for all of it came back short"));
            }
            self.taken = 0;
            let part = Part { place: 0, count, skip: taken, goes_on: false };
            self.request(strategy, road, payloads, number, part)?;
            self.turn(0)?;
            self.settle_results()?;
            taken += self.taken;
        }
        Ok(())
    }

    fn settle_results(&mut self) -> io::Result<()> {
        while self.results_owed > 0 {
            self.turn(1)?;
        }
        Ok(())
    }

    /// Pushes the entries of one request.
    fn request(
        &mut self,
        strategy: Strategy,
        road: &Road,
        payloads: &mut Payloads,
        number: u64,
        Part { place, count, skip, goes_on }: Part,
    ) -> io::Result<()> {
        let fd = road.near.as_raw_fd();
        let waits = if road.is_stream() { msg::WAITALL } else { 0 };
        let (op_flags, user_data) = (msg::NOSIGNAL | waits, count as u64);
        let plain = Sqe { fd, op_flags, user_data, ..Sqe::default() };
        let zc = send_flag::REPORT_USAGE;
        let fixed = zc | send_flag::FIXED_BUF;
        let sqe = match strategy {
            Strategy::Linked => return self.pairs(plain, payloads, number, count, goes_on),
            Strategy::Contiguous => {
                let (at, len) = payloads.run(number, count);
                let addr = at.expose_provenance() as u64;
                Sqe { opcode: op::SEND_ZC, ioprio: fixed, addr, len: len as u32, ..plain }
            }
            _ => {
                let (first, pieces) = self.gather(payloads, number, place, count, skip);
                let bytes: usize = self.pieces[first..first + pieces].iter().map(|piece| piece.iov_len).sum();
                let at = (&raw const self.pieces[first]).expose_provenance();
                self.messages[place].msg_iov = std::ptr::with_exposed_provenance_mut(at);
                self.messages[place].msg_iovlen = pieces;
                let header = (&raw const self.messages[place]).expose_provenance() as u64;
                let headers = (count * HEADER_BYTES) as u64;
                match strategy {
                    Strategy::Writev => {
                        self.counts.copied_bytes += bytes as u64;
                        let (addr, len) = (at as u64, pieces as u32);
                        Sqe { opcode: op::WRITEV, op_flags: 0, addr, len, ..plain }
                    }
                    Strategy::Sendmsg => {
                        self.counts.copied_bytes += bytes as u64;
                        Sqe { opcode: op::SENDMSG, addr: header, len: 1, ..plain }
                    }
                    Strategy::SendmsgZc => {
                        self.counts.copied_bytes += headers;
                        Sqe { opcode: op::SENDMSG_ZC, ioprio: zc, addr: header, len: 1, ..plain }
                    }
                    _ => {
                        self.counts.copied_bytes += headers;
                        Sqe { opcode: op::SENDMSG_ZC, ioprio: fixed, addr: header, len: 1, ..plain }
                    }
                }
            }
        };
        self.push(&sqe)
    }

    /// Writes the pieces of so many messages: the first of them, and how many.
    fn gather(
        &mut self,
        payloads: &mut Payloads,
        number: u64,
        place: usize,
        count: usize,
        mut skip: u64,
    ) -> (usize, usize) {
        let first = 2 * place;
        let mut end = first;
        let mut add = |at: *const u8, len: usize| {
            let over = skip.min(len as u64) as usize;
            skip -= over as u64;
            if over < len {
                let iov_base = at.wrapping_add(over).cast_mut().cast();
                self.pieces[end] = libc::iovec { iov_base, iov_len: len - over };
                end += 1;
            }
        };
        for number in number..number + count as u64 {
            add(payloads.write_header(number, &header(number)), HEADER_BYTES);
            let slot = payloads.slot(number);
            add(slot.addr, slot.len as usize);
        }
        (first, end - first)
    }

    /// A pair of linked entries for each message. All pairs of a flush are linked: otherwise the header of the
    /// next message would come before this one's payload, since what is linked begins when its turn comes.
    fn pairs(
        &mut self,
        plain: Sqe,
        payloads: &mut Payloads,
        number: u64,
        count: usize,
        more: bool,
    ) -> io::Result<()> {
        for at in 0..count {
            let number = number + at as u64;
            let slot = payloads.slot(number);
            let header = payloads.write_header(number, &header(number));
            let goes_on = if at + 1 < count || more { sqe_flag::LINK } else { 0 };
            let (flags, more) = if slot.len > 0 { (sqe_flag::LINK, msg::MORE) } else { (goes_on, 0) };
            let (addr, len) = (header.expose_provenance() as u64, HEADER_BYTES as u32);
            // the last entry of a message gives its header back
            let user_data = u64::from(slot.len == 0);
            let op_flags = plain.op_flags | more;
            self.push(&Sqe { opcode: op::SEND, flags, addr, len, op_flags, user_data, ..plain })?;
            self.counts.copied_bytes += HEADER_BYTES as u64;
            if slot.len > 0 {
                let (addr, len) = (slot.addr.expose_provenance() as u64, slot.len);
                let (ioprio, flags) = (send_flag::REPORT_USAGE | send_flag::FIXED_BUF, goes_on);
                self.push(&Sqe { opcode: op::SEND_ZC, flags, ioprio, addr, len, user_data: 1, ..plain })?;
            }
        }
        Ok(())
    }

    fn push(&mut self, sqe: &Sqe) -> io::Result<()> {
        // SAFETY: what the entry names are leases of an arena, which nobody writes or drops before `settle`,
        // or headers there, written again only when `lent` leaves room, or places of this ring, written
        // again only after the result; on an error the process of the bench ends.
        if !unsafe { self.ring.push(sqe) } {
            return Err(io::Error::other("the queue of a ring is too short for a flush"));
        }
        self.counts.sqes += 1;
        self.results_owed += 1;
        self.lent += sqe.user_data as usize;
        Ok(())
    }

    /// Calls the kernel, and takes what is there.
    fn turn(&mut self, wanted: u32) -> io::Result<()> {
        self.counts.enters += 1;
        match self.ring.enter(wanted) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        while let Some(cqe) = self.ring.next() {
            self.counts.cqes += 1;
            let mut is_last = true;
            match cqe.completion() {
                Some(Completion::Result { res: Res::Bytes(bytes), more }) => {
                    self.results_owed -= 1;
                    self.taken += bytes;
                    self.notices_owed += u32::from(more);
                    is_last = !more;
                }
                Some(Completion::Result { res: Res::Err(errno), .. }) => {
                    return Err(io::Error::from_raw_os_error(errno.0.into()));
                }
                Some(Completion::Notification(usage)) => {
                    self.notices_owed -= 1;
                    self.counts.notifications += 1;
                    self.counts.copied_notifications += u64::from(usage == Usage::Copied);
                }
                None => return Err(io::Error::other("a completion that no send has")),
            }
            if is_last {
                self.lent -= cqe.user_data as usize;
            }
        }
        Ok(())
    }
}
