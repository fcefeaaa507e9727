//! Reads: what one takes from its socket, and that this is what its memory holds afterwards.
//!
//! Of a completed read the bytes are looked at as soon as its completion is taken, and are explained like
//! those that a peer reads by itself: until they were, nothing else is seen. It errs on the side of saying
//! nothing: where two read one socket at a time, or where it is not known what was accepted.
//!
//! Source: `io_read` in `io_uring/rw.c`; `tcp_recvmsg_locked` in `net/ipv4/tcp.c`; `udp_recvmsg` in
//! `net/ipv4/udp.c`; `unix_stream_read_generic` in `net/unix/af_unix.c`, 6.18.

use super::{Decision, Socket, World};
use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::may::{Counts, May};
use crate::net::{Connection, Datagrams, Holds, Pending, Stream};
use crate::prepare::ReadPlan;
use crate::program::{End, Lane, SocketId, SocketState, Step, socket_of};
use crate::request::{Phase, Read, Request, RequestId};
use crate::rules::Rule;

/// What a completed read has put into its memory and what was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fill {
    /// Where it read.
    pub(crate) socket: SocketId,
    /// Bytes still to be looked at.
    pub(crate) left: u64,
    /// The most bytes that it could take; a longer datagram was cut off there.
    pub(crate) most: u64,
}

impl World<'_> {
    /// Tries a read for the first time.
    pub(super) fn try_read(&mut self, id: RequestId, plan: &ReadPlan) -> May {
        let request = self.request(id);
        if request.silent || request.is_led_away {
            self.give_up("a read that posts nothing, or of a chain that another thread runs");
            return May::default();
        }
        let Some((socket, end)) = self.open_end(id, plan) else {
            return May::fail(errno::EBADF, Rule::SendBadDescriptor);
        };
        let setup = &self.law.program.sockets[usize::from(socket.0)];
        let ends = self.state.ends[usize::from(socket.0)];
        let ended_since = ends.closed.max(ends.shut).max(ends.reset) > self.request(id).born_at;
        if setup.lane != Lane::Loopback || (self.request(id).late && ended_since) {
            self.give_up("a read on a gate, or queued while its socket ended");
            return May::default();
        }
        let connected = setup.state == SocketState::Connected;
        match &self.state.sockets[usize::from(socket.0)] {
            Socket::File { .. } => {
                self.give_up("a read of something else than a socket");
                return May::default();
            }
            _ if plan.refused.is_some() => {
                return plan.refused.map_or_else(May::default, |(error, rule)| May::fail(error.0, rule));
            }
            _ if plan.len_bytes() == 0 => return May::exactly(0, Rule::ReadNothingIsZero),
            Socket::Stream(stream) if !connected => {
                let number = if stream.is_unix { errno::EINVAL } else { errno::ENOTCONN };
                return May::fail(number, Rule::ReadNotConnected);
            }
            Socket::Stream(_) | Socket::Datagrams(_) => {}
        }
        let Some(room_bytes) = self.sinks(id, socket, plan) else { return May::default() };
        let read = Read { socket, end, len_bytes: plan.len_bytes(), room_bytes, cancelled: false };
        let request = self.request_mut(id);
        request.reads = Some(read);
        request.fills.clone_from(&plan.ranges);
        self.state.readers.insert(id);
        self.read_may(&read).unwrap_or_else(|why| {
            self.give_up(why);
            May::default()
        })
    }

    /// The open end of a socket that the descriptor names.
    fn open_end(&self, id: RequestId, plan: &ReadPlan) -> Option<(SocketId, End)> {
        if plan.fixed_file {
            let files = self.state.rings[usize::from(self.request(id).ring.0)].tables.files.as_ref()?;
            return Some((files.get(usize::try_from(plan.fd).ok()?).copied().flatten()?, End::Near));
        }
        let (socket, end) = socket_of(plan.fd)?;
        let setup = self.law.program.sockets.get(usize::from(socket.0))?;
        let has_far = setup.state == SocketState::Connected
            && setup.kind != crate::program::SocketKind::NotASocket
            && self.state.ends[usize::from(socket.0)].reset == 0;
        let open = if end == End::Near { self.is_open(socket) } else { has_far };
        open.then_some((socket, end))
    }

    /// How many bytes of the ranges can be written before the first that cannot, if all of them are memory for
    /// reads that nothing else uses.
    fn sinks(&mut self, id: RequestId, socket: SocketId, plan: &ReadPlan) -> Option<u64> {
        let mut others: Vec<(u64, u64)> = Vec::new();
        for reader in self.state.readers.iter().filter(|reader| **reader != id) {
            let request = self.request(*reader);
            if request.reads.is_some_and(|read| read.socket == socket) {
                self.give_up("two reads of one socket at a time");
                return None;
            }
            others.extend(&request.fills);
        }
        let (mut room, mut cut) = (0, false);
        for (addr, len) in &plan.ranges {
            let overlaps =
                |(a, n): &(u64, u64)| *a < addr.saturating_add(*len) && *addr < a.saturating_add(*n);
            if others.iter().any(overlaps) {
                self.give_up("two reads into the same memory");
                return None;
            }
            others.push((*addr, *len));
            match self.space().sink_prefix(*addr, *len) {
                Some(prefix) if !cut => {
                    room += prefix;
                    cut = prefix < *len;
                }
                Some(_) => {}
                None => {
                    self.give_up("a read into memory that is sent");
                    return None;
                }
            }
        }
        Some(room)
    }

    /// What a read may come to as things are, or why nothing can be said.
    fn read_may(&self, read: &Read) -> Result<May, &'static str> {
        match (&self.state.sockets[usize::from(read.socket.0)], read.end) {
            (Socket::Stream(stream), End::Far) => far_of_stream(stream, read),
            (Socket::Stream(stream), End::Near) => self.near_of_stream(stream, read),
            (Socket::Datagrams(queue), End::Far) => far_of_datagrams(queue, read),
            (Socket::Datagrams(queue), End::Near) if queue.is_refused => Err("a read of a refused port"),
            _ => Ok(May { waiting: true, ..May::default() }),
        }
    }

    /// Nobody sends to the near end; it is told of the peer's reset.
    fn near_of_stream(&self, stream: &Stream, read: &Read) -> Result<May, &'static str> {
        let ended = May::exactly(0, Rule::ReadEndIsZero);
        let reset = (Errno(errno::ECONNRESET), Rule::SendResetOnce);
        match stream.connection {
            _ if stream.is_unix && self.state.ends[usize::from(read.socket.0)].reset > 0 => {
                Err("a read of a Unix socket whose peer is gone")
            }
            Connection::Reset(Pending::No) => Ok(ended),
            Connection::Reset(Pending::Maybe) => Ok(May { errors: vec![reset], ..ended }),
            Connection::Reset(Pending::Yes) => {
                // a send that looks first takes the error along
                let others = self.unsettled_on(read.socket).next().is_some();
                Ok(May { errors: vec![reset], bytes: ended.bytes.filter(|_| others), waiting: false })
            }
            Connection::Open | Connection::Broken => Ok(May { waiting: true, ..May::default() }),
        }
    }

    /// What has come, or ended, may end reads.
    pub(super) fn wake_reads(&mut self) {
        if self.state.readers.is_empty() {
            return;
        }
        for id in self.state.readers.clone() {
            let Some(read) = self.request(id).reads.filter(|read| !read.cancelled) else { continue };
            match self.read_may(&read) {
                Ok(may) => {
                    let waits = may.waiting && may.bytes.is_none() && may.errors.is_empty();
                    let request = self.request_mut(id);
                    request.phase = if waits { Phase::Armed } else { Phase::Issued };
                    request.may = may;
                }
                Err(why) => self.give_up(why),
            }
        }
    }

    /// Nothing is said where a peer reads, or an end is closed, beside a read.
    pub(super) fn check_reads(&mut self, step: &Step) {
        let disturbs = |read: &Read| match step {
            Step::Drain { socket, .. } | Step::ResetPeer { socket } => {
                (*socket, End::Far) == (read.socket, read.end)
            }
            Step::CloseOwn { socket } => (*socket, End::Near) == (read.socket, read.end),
            Step::Settle => true,
            _ => false,
        };
        let mut reads = self.state.readers.iter().filter_map(|id| self.request(*id).reads);
        if reads.any(|read| disturbs(&read)) {
            self.give_up("a peer that reads, or an end that is closed, beside a read of a ring");
        }
    }

    /// The rule that a result of a read breaks, where it is not among those that are allowed.
    pub(super) fn rule_of_read(&self, id: RequestId, rule: Rule) -> Rule {
        match rule {
            _ if self.request(id).reads.is_none() => rule,
            Rule::SendWaitsForRoom | Rule::SendErrorNeedsCause => Rule::ReadWaits,
            Rule::SendShortNeverLong => Rule::ReadSome,
            rule => rule,
        }
    }

    /// Whether a datagram that may be the next has so many bytes for the read.
    pub(super) fn judge_read_count(&self, request: &Request, res: Res) -> Result<(), Rule> {
        let (Some(read), Res::Bytes(n)) = (request.reads, res) else { return Ok(()) };
        let Some(queue) = self.datagrams(read.socket) else { return Ok(()) };
        let fits = queue.front().any(|(_, datagram)| datagram.len_bytes.min(read.len_bytes) == n);
        self.hold_to(fits, Rule::ReadDatagram)
    }

    /// The result of a read was seen: its memory is looked at next.
    pub(super) fn read_ended(&mut self, id: RequestId, res: Res) {
        self.state.readers.remove(&id);
        let Some(read) = self.request(id).reads else { return };
        let datagram = self.datagrams(read.socket).is_some();
        match res {
            Res::Bytes(left) if left > 0 || datagram => {
                self.state.fill = Some(Fill { socket: read.socket, left, most: read.len_bytes });
            }
            Res::Err(Errno(errno::ECONNRESET)) => {
                if let Some(Connection::Reset(pending)) =
                    self.stream_mut(read.socket).map(|s| &mut s.connection)
                {
                    *pending = Pending::No;
                }
            }
            _ => {}
        }
    }

    /// Whether a decision fits what a read has put into its memory and what was not looked at.
    pub(super) fn judge_fill(&self, decision: Decision) -> Result<(), Rule> {
        let Some(fill) = self.state.fill else {
            let is_read = matches!(decision, Decision::Deliver { .. } | Decision::Datagram { .. });
            let nobody_reads =
                matches!(self.step(), Some(Step::Reap { .. } | Step::Fence { .. } | Step::Peek { .. }));
            return if is_read && nobody_reads && !self.law.partial {
                self.refuse(Rule::ReadFills)
            } else {
                Ok(())
            };
        };
        let fits = match decision {
            Decision::Deliver { request, len_bytes, .. } => {
                self.writer(request).is_some_and(|w| w.send.socket == fill.socket) && len_bytes <= fill.left
            }
            Decision::Datagram { socket, index } => {
                let datagram = self.datagrams(socket).and_then(|queue| queue.queue.get(index));
                socket == fill.socket && datagram.is_some_and(|d| d.len_bytes.min(fill.most) == fill.left)
            }
            Decision::Proceed { .. } => true,
            _ => false,
        };
        self.hold_to(fits, Rule::ReadFills)
    }

    /// What a decision has shown of a read's memory was looked at.
    pub(super) fn looked_at(&mut self, decision: Decision) {
        let Some(fill) = &mut self.state.fill else { return };
        let left = match decision {
            Decision::Deliver { len_bytes, .. } => fill.left.saturating_sub(len_bytes),
            Decision::Datagram { .. } => 0,
            _ => return,
        };
        fill.left = left;
        if left == 0 {
            self.state.fill = None;
        }
    }

    /// The socket of a read whose memory must be looked at now.
    pub(crate) fn fill(&self) -> Option<Fill> {
        self.state.fill
    }

    /// Whether some of the ranges is memory that reads may have filled.
    pub(super) fn sends_sink(&self, ranges: &[(u64, u64)]) -> bool {
        self.has_sinks && ranges.iter().any(|(addr, len)| self.space().touches_sink(*addr, *len))
    }
}

/// The peer of a stream takes what is there, or is told of the end.
fn far_of_stream(stream: &Stream, read: &Read) -> Result<May, &'static str> {
    let unread = stream.writers.iter().filter(|w| w.accepted.1 > w.read);
    if unread.clone().any(|w| w.accepted.0 != w.accepted.1) {
        return Err("a read where it is not known what was accepted");
    }
    let total: u64 = unread.clone().map(|w| w.accepted.1 - w.read).fold(0, u64::saturating_add);
    let ended = !stream.open || stream.connection == Connection::Broken;
    if total == 0 {
        let end = May::exactly(0, Rule::ReadEndIsZero);
        return Ok(if ended { end } else { May { waiting: true, ..May::default() } });
    }
    let arrives = unread.clone().any(|w| w.holds == Holds::No);
    let most = total.min(read.room_bytes);
    let faults = read.room_bytes < read.len_bytes && total > read.room_bytes;
    let fault = (Errno(errno::EFAULT), Rule::ReadMemoryWritable);
    Ok(May {
        bytes: (most > 0).then_some(Counts { least: 1, most, rule: Rule::ReadSome }),
        errors: faults.then_some(fault).into_iter().collect(),
        waiting: !arrives,
    })
}

/// The peer of a datagram socket takes one datagram.
fn far_of_datagrams(queue: &Datagrams, read: &Read) -> Result<May, &'static str> {
    let counts: Vec<u64> = queue.front().map(|(_, d)| d.len_bytes.min(read.len_bytes)).collect();
    let (Some(least), Some(most)) = (counts.iter().min(), counts.iter().max()) else {
        return Ok(May { waiting: true, ..May::default() });
    };
    if *most > read.room_bytes {
        return Err("a datagram for which there is no memory");
    }
    let surely = queue.queue.iter().any(|d| !d.unsure && !d.loose);
    let counts = Counts { least: *least, most: *most, rule: Rule::ReadDatagram };
    Ok(May { bytes: Some(counts), errors: Vec::new(), waiting: !surely })
}
