//! Handing over: what is queued on each socket becomes one request.

use std::io;

use uringspec_model::abi::{errno, msg, op, send_flag};
use uringspec_model::cqe::Errno;
use uringspec_model::profile::{Feature, Profile};
use uringspec_model::sqe::Sqe;

use super::connection::Batch;
use super::kernel::Kernel;
use super::requests::Request;
use super::sender::Sender;

/// How a batch is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Copy,
    Plain,
    Fixed(u16),
}

/// Whether something was handed over.
enum Handed {
    Something,
    Nothing,
    /// There is no room now.
    NoRoom,
}

impl<K: Kernel> Sender<K> {
    /// Hands over what is queued, as far as the bounds of `Policy` let it, with one call of the kernel, and
    /// takes the completions that are there.
    ///
    /// An error says that the ring is gone; every message has ended then.
    pub fn flush(&mut self) -> io::Result<()> {
        self.turn(0)
    }

    /// As `flush`, and waits in the same call until `wanted` completions are there, or as many as are owed.
    pub fn turn(&mut self, wanted: u32) -> io::Result<()> {
        if self.is_fork() {
            return Err(io::Error::other("a sender works only in the process that made it"));
        }
        if let Some(errno) = self.gone {
            return Err(io::Error::from_raw_os_error(errno.0.into()));
        }
        let mut handed = false;
        for _ in 0..self.ready.len() {
            let Some(index) = self.ready.pop_front() else { break };
            match self.hand_over(index as usize) {
                Ok(Handed::Something) => {
                    handed = true;
                    self.set_not_ready(index);
                    self.make_ready(index as usize);
                }
                Ok(Handed::Nothing) => self.set_not_ready(index),
                Ok(Handed::NoRoom) => {
                    self.ready.push_front(index);
                    break;
                }
                Err(error) => return Err(self.lose(&error)),
            }
        }
        self.counters.flushes += u64::from(handed);
        let wanted = u64::from(wanted).min(self.owed) as u32;
        if self.has_pushed || wanted > 0 || self.owed > 0 {
            self.enter(wanted)?;
        }
        self.take_completions();
        Ok(())
    }

    fn set_not_ready(&mut self, index: u32) {
        if let Some(connection) = self.connection_mut(index as usize) {
            connection.is_ready = false;
        }
    }

    /// Calls the kernel; an interrupted call and a full queue of completions are no errors.
    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        self.counters.enters += 1;
        self.has_pushed = false;
        match self.kernel.enter(wanted) {
            Ok(()) => Ok(()),
            Err(error) if is_passing(&error) => {
                self.has_pushed = true;
                Ok(())
            }
            Err(error) => Err(self.lose(&error)),
        }
    }

    /// Makes a request of what a connection has queued.
    fn hand_over(&mut self, index: usize) -> io::Result<Handed> {
        if self.requests.len() >= self.policy.requests_max {
            return Ok(Handed::NoRoom);
        }
        let Some(connection) = self.connections[index].as_ref().filter(|c| c.can_flush()) else {
            return Ok(Handed::Nothing);
        };
        let Some(socket) = &connection.socket else { return Ok(Handed::Nothing) };
        let fd = self.kernel.descriptor(socket);
        let (is_stream, zero_copy) = (!connection.traits.keeps_messages, connection.traits.zero_copy);
        let (begins_alone, copies) = (connection.is_quiet(), connection.copies_left > 0);
        let place = self.requests.place();
        let iovecs = self.requests.iovecs(place);
        let iovecs_max = self.policy.iovecs_max.clamp(1, 1024);
        let batch = connection.gather(iovecs_max, self.policy.gather_bytes_max, |addr, len| {
            iovecs.push(libc::iovec { iov_base: addr.cast_mut().cast(), iov_len: len });
        });
        if batch.messages == 0 {
            return Ok(Handed::Nothing);
        }
        let fits = zero_copy && !copies && (is_stream || iovecs.len() < DATAGRAM_IOVECS_MAX);
        let way = if fits { self.way(&batch) } else { Way::Copy };
        let header = self.requests.write_header(place, batch.to);
        let request = Request {
            connection: index as u32,
            batch,
            is_zero_copy: way != Way::Copy,
            begins_alone,
            has_result: false,
            since: self.now,
        };
        let mut sqe = entry(way, self.kernel.profile(), is_stream);
        (sqe.fd, sqe.addr) = (fd, header);
        sqe.user_data = self.requests.fill(place, request);
        if !self.push(&sqe)? {
            self.requests.free(place);
            return Ok(Handed::NoRoom);
        }
        self.owed += 1;
        self.count(&batch, way);
        if let Some(connection) = self.connection_mut(index) {
            connection.hand_over(&batch);
            connection.copies_left = connection.copies_left.saturating_sub(1);
        }
        Ok(Handed::Something)
    }

    fn count(&mut self, batch: &Batch, way: Way) {
        self.counters.gathered += batch.messages as u64;
        match way {
            Way::Copy => {
                self.counters.copy_requests += 1;
                self.copies_left = self.copies_left.saturating_sub(1);
            }
            Way::Plain => self.counters.zero_copy_requests += 1,
            Way::Fixed(_) => {
                self.counters.zero_copy_requests += 1;
                self.counters.fixed_requests += 1;
            }
        }
    }

    /// How a batch is sent, by size and by what the kernel has.
    fn way(&self, batch: &Batch) -> Way {
        let profile = self.kernel.profile();
        let fixed = self.buffer.filter(|_| batch.in_arena && profile.has(Feature::SendmsgZcFixed));
        match fixed {
            Some(index) if self.policy.fixed.allow(batch.messages, batch.len_bytes) => Way::Fixed(index),
            None if self.copies_left > 0 || !profile.has(Feature::SendmsgZc) => Way::Copy,
            None if self.policy.plain.allow(batch.messages, batch.len_bytes) => Way::Plain,
            Some(_) | None => Way::Copy,
        }
    }

    /// Pushes an entry, calling the kernel once if the queue is full.
    pub(super) fn push(&mut self, sqe: &Sqe) -> io::Result<bool> {
        if self.is_fork() {
            // the queue is shared with the process that made the ring
            return Ok(false);
        }
        for attempt in 0..2 {
            // SAFETY: what the entry points to are parts of its place among the requests and pieces of
            // messages. Places are written only while no request is there, and pieces are freed only once
            // no request refers to their message, both after the last completion; a drop before that
            // leaks or reserves what is still referred to.
            if unsafe { self.kernel.push(sqe) } {
                self.has_pushed = true;
                self.counters.entries += 1;
                return Ok(true);
            }
            if attempt == 0 {
                self.counters.enters += 1;
                match self.kernel.enter(0) {
                    Err(error) if !is_passing(&error) => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(false)
    }
}

/// From so many iovecs on a datagram is copied: a packet refers to at most 17 fragments
/// (`MAX_SKB_FRAGS`), and a piece that crosses a page is two.
const DATAGRAM_IOVECS_MAX: usize = 8;

/// The entry of a way, without what it points to.
fn entry(way: Way, profile: &Profile, is_stream: bool) -> Sqe {
    let flags = if is_stream { msg::NOSIGNAL | msg::WAITALL } else { msg::NOSIGNAL };
    let copy = Sqe { opcode: op::SENDMSG, len: 1, op_flags: flags, ..Sqe::default() };
    let usage = if profile.has(Feature::ReportUsage) { send_flag::REPORT_USAGE } else { 0 };
    match way {
        Way::Copy => copy,
        Way::Plain => Sqe { opcode: op::SENDMSG_ZC, ioprio: usage, ..copy },
        Way::Fixed(buf_index) => {
            Sqe { opcode: op::SENDMSG_ZC, ioprio: usage | send_flag::FIXED_BUF, buf_index, ..copy }
        }
    }
}

/// Whether a call may simply be made again.
fn is_passing(error: &io::Error) -> bool {
    let passing = [errno::EINTR, errno::EAGAIN, errno::EBUSY, errno::ETIME];
    error.raw_os_error().is_some_and(|raw| passing.iter().any(|e| i32::from(*e) == raw))
}

/// The errno of an I/O error.
pub(super) fn errno_of(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().and_then(|raw| u16::try_from(raw).ok()).unwrap_or(errno::EIO))
}

#[cfg(test)]
mod tests {
    use uringspec_model::mixed::entry::Headers;
    use uringspec_model::mixed::lowering::Lowering;
    use uringspec_model::mixed::plan::lower;
    use uringspec_model::mixed::{Memory, MixedSend, Segment, Transfer};

    use super::*;

    #[test]
    fn entries_are_those_of_the_lowerings_that_are_proved() {
        let profile = Profile::v6_18();
        let ways = [
            (Way::Copy, Lowering::Copy, Memory::Plain),
            (Way::Plain, Lowering::Staged, Memory::Plain),
            (Way::Fixed(3), Lowering::StagedFixed, Memory::Registered(3)),
        ];
        for (way, lowering, memory) in ways {
            let segment = |addr, len_bytes, memory, transfer| Segment { addr, len_bytes, memory, transfer };
            let send = MixedSend {
                user_data: 5,
                fd: 9,
                msg: msg::NOSIGNAL | msg::WAITALL,
                reports: true,
                segments: vec![
                    segment(0x1000, 24, Memory::Plain, Transfer::Copy),
                    segment(0x10_000, 5000, memory, Transfer::ZeroCopy),
                ],
                ..MixedSend::default()
            };
            let staging = lowering.staging(&send, &profile, false).expect("6.18 has this lowering");
            let plan = lower(&send, lowering, staging, 0x2000, 100, &mut Headers::at(0x3000));
            let (fd, user_data, addr) = (send.fd, send.user_data, plan.sqes[0].addr);
            assert_eq!(
                plan.sqes,
                [Sqe { fd, user_data, addr, ..entry(way, &profile, true) }],
                "{lowering:?}"
            );
        }
    }
}
