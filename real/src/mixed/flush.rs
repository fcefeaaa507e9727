//! Handing over: what is queued on each socket becomes one request.

use std::io;

use uringspec_model::abi::errno;
use uringspec_model::cqe::Errno;
use uringspec_model::sqe::Sqe;

use super::batch::{Batch, Bounds};
use super::kernel::Kernel;
use super::requests::Request;
use super::sender::Sender;
use super::ways::{Way, Ways};

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
        // each in turn; a stream has one request at a time, a datagram socket goes to the end of the line
        while let Some(index) = self.ready.pop_front() {
            match self.hand_over(index as usize) {
                Ok(Handed::Something) => handed = true,
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
        let Some(connection) = self.connections[index].as_mut().filter(|c| c.can_flush()) else {
            return Ok(Handed::Nothing);
        };
        let Some(socket) = &connection.socket else { return Ok(Handed::Nothing) };
        let fd = self.kernel.descriptor(socket);
        let (is_stream, zero_copy) = (!connection.traits.keeps_messages, connection.traits.zero_copy);
        let (begins_alone, copies) = (connection.is_quiet(), connection.copies_left > 0);
        let parts = self.requests.parts();
        parts.iovecs.clear();
        let (policy, has_buffer) = (&self.policy, self.buffer.is_some());
        let lends_ranges_only = zero_copy && !copies && self.ways.lends_ranges_only();
        let is_alone = |in_arena: bool, bytes: u64| {
            let from = if in_arena && has_buffer { &policy.fixed } else { &policy.plain };
            from.allow(1, bytes)
        };
        let bounds = Bounds {
            iovecs_max: policy.iovecs_max.clamp(1, 1024),
            bytes_max: policy.gather_bytes_max,
            segment_bytes_max: policy.segment_bytes_max,
            is_alone: lends_ranges_only.then_some(&is_alone as &dyn Fn(bool, u64) -> bool),
        };
        let batch = connection.gather(&bounds, &mut parts.iovecs);
        if batch.messages == 0 {
            return Ok(Handed::Nothing);
        }
        let lends = zero_copy && !copies && (is_stream || batch.iovecs < DATAGRAM_IOVECS_MAX);
        let way = match self.ways.choose(&batch, policy, self.buffer, self.copies_left == 0) {
            way if lends => way,
            _ => Ways::copy(&batch),
        };
        let mut at = parts.targets();
        if way.has_header() {
            let to = if batch.has_address { connection.address(batch.first) } else { None };
            at.header = parts.write_header(to, batch.segment_bytes);
        }
        let parts = if way.is_range() { None } else { self.requests.take_parts() };
        let request = Request {
            connection: index as u32,
            messages: batch.messages as u32,
            first: batch.first,
            span: batch.span,
            len_bytes: batch.len_bytes,
            is_zero_copy: way.is_zero_copy(),
            begins_alone,
            has_result: false,
            since: self.now,
            parts,
        };
        let user_data = self.requests.add(request);
        let sqe = Sqe { fd, user_data, ..self.ways.entry(way, &batch, is_stream, &at) };
        if !self.push(&sqe)? {
            self.requests.free(user_data as u32);
            return Ok(Handed::NoRoom);
        }
        self.owed += 1;
        self.count(&batch, way);
        if let Some(connection) = self.connection_mut(index) {
            connection.hand_over(&batch);
            connection.copies_left = connection.copies_left.saturating_sub(1);
            // a stream has its one request now, datagrams may have more to hand over
            connection.is_ready = connection.can_flush();
            if connection.is_ready {
                self.ready.push_back(index as u32);
            }
        }
        Ok(Handed::Something)
    }

    #[inline]
    fn count(&mut self, batch: &Batch, way: Way) {
        self.counters.gathered += batch.messages as u64;
        self.counters.segmented_requests += u64::from(batch.segment_bytes.is_some());
        self.counters.fixed_requests += u64::from(way.is_fixed());
        if way.is_zero_copy() {
            self.counters.zero_copy_requests += 1;
        } else {
            self.counters.copy_requests += 1;
            self.copies_left = self.copies_left.saturating_sub(1);
        }
    }

    /// Pushes an entry, calling the kernel once if the queue is full.
    pub(super) fn push(&mut self, sqe: &Sqe) -> io::Result<bool> {
        if self.is_fork() {
            // the queue is shared with the process that made the ring
            return Ok(false);
        }
        for attempt in 0..2 {
            // SAFETY: the entry points to its place among the requests, written only while no request is there, and
            // to pieces of messages, freed only once no request holds their message: both after the last
            // completion. A drop before that leaks or reserves what is still referred to.
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

/// Whether a call may simply be made again.
fn is_passing(error: &io::Error) -> bool {
    let passing = [errno::EINTR, errno::EAGAIN, errno::EBUSY, errno::ETIME];
    error.raw_os_error().is_some_and(|raw| passing.iter().any(|e| i32::from(*e) == raw))
}

/// The errno of an I/O error.
pub(super) fn errno_of(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().and_then(|raw| u16::try_from(raw).ok()).unwrap_or(errno::EIO))
}
