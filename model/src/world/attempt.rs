//! Trying a request: what it may come to.
//!
//! Source: `io_send`, `io_sendmsg`, `io_send_zc` in `io_uring/net.c`; `tcp_sendmsg_locked` in
//! `net/ipv4/tcp.c`, 6.18.

use super::{Socket, World};
use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::may::{Counts, May};
use crate::mutation::Fault;
use crate::net::{Connection, Room, SocketSend, Stream, UDP4_LONGEST};
use crate::notice::{Event as NoticeEvent, Used};
use crate::prepare::{Plan, Retry, SendPlan};
use crate::program::{End, SocketId, socket_of};
use crate::request::{Event, Phase, RequestId};
use crate::rules::Rule;
use crate::space::UserMemory;

impl World<'_> {
    /// Tries a request for the first time.
    pub(super) fn try_first(&mut self, id: RequestId) {
        let request = self.request_mut(id);
        let Some(plan) = request.plan.take() else { return };
        request.phase = request.phase.after(Event::Issue).unwrap_or(Phase::Issued);
        let may = match plan {
            Plan::Nop => May::exactly(0, Rule::NopResultZero),
            Plan::Send(send) => self.try_send(id, &send),
            Plan::Read(read) => self.try_read(id, &read),
            Plan::Cancel { target } => self.try_cancel(id, target),
        };
        let request = self.request_mut(id);
        if may.waiting && may.bytes.is_none() && may.errors.is_empty() {
            request.phase = request.phase.after(Event::Arm).unwrap_or(Phase::Armed);
        }
        request.waited |= may.waiting;
        request.may = may;
        if request.silent {
            self.finish_silently(id);
        }
    }

    /// A request whose success posts nothing is done once it surely succeeded.
    fn finish_silently(&mut self, id: RequestId) {
        let request = self.request(id);
        let counts = request.may.bytes;
        if request.surely_succeeds() && counts.is_some_and(|c| c.least == c.most) {
            self.hit(Rule::SkipSuccessIsSilent);
            self.conclude(id, Res::Bytes(counts.map_or(0, |c| c.least)));
        } else if request.may.bytes.is_some() || request.may.waiting {
            self.give_up("CQE_SKIP_SUCCESS on a request that may succeed later");
        }
    }

    /// The socket that a send goes to, or how it fails for want of one; `None` if nothing can be said.
    pub(super) fn find_socket(&mut self, id: RequestId, plan: &SendPlan) -> Option<Result<SocketId, May>> {
        if let Some(socket) = self.request(id).socket {
            return Some(Ok(socket));
        }
        let socket = if plan.fixed_file {
            let ring = usize::from(self.request(id).ring.0);
            let index = usize::try_from(plan.fd).ok();
            index.and_then(|index| self.state.rings[ring].files.as_ref()?.get(index).copied().flatten())
        } else {
            self.open_socket(plan.fd)
        };
        let once_open = socket_of(plan.fd)
            .filter(|(s, end)| !plan.fixed_file && *end == End::Near && self.has_socket(*s))
            .map(|(socket, _)| socket)
            .filter(|socket| self.ended_since(id, *socket).0);
        let Some(socket) = socket.or(once_open) else {
            return Some(Err(May::fail(errno::EBADF, Rule::SendBadDescriptor)));
        };
        Some(match &self.state.sockets[usize::from(socket.0)] {
            Socket::File { .. } if plan.is_write => {
                self.give_up("a write to something else than a socket");
                return None;
            }
            Socket::File { .. } => Err(May::fail(errno::ENOTSOCK, Rule::SendNotASocket)),
            Socket::Stream(stream) if stream.is_unix && plan.notice.is_some() => {
                Err(May::fail(errno::EOPNOTSUPP, Rule::ZcSocketSupported))
            }
            Socket::Stream(_) | Socket::Datagrams(_) if plan.seeks => {
                Err(May::fail(errno::ESPIPE, Rule::WriteSeeks))
            }
            Socket::Stream(_) | Socket::Datagrams(_) => Ok(socket),
        })
    }

    /// What the first try of a send may come to.
    fn try_send(&mut self, id: RequestId, plan: &SendPlan) -> May {
        if self.sends_sink(&plan.ranges) {
            self.give_up("a send of what reads have put into memory");
            return May::default();
        }
        let table_at = self.state.rings[usize::from(self.request(id).ring.0)].changed_at;
        if plan.is_fixed() && self.request(id).late && table_at > self.request(id).born_at {
            self.give_up("a table that changed while a request was queued");
            return May::default();
        }
        let fault = self.check_registered(id, plan);
        let socket = match self.find_socket(id, plan) {
            Some(Ok(socket)) => socket,
            Some(Err(mut may)) => {
                if self.request(id).is_async && !plan.fixed_file {
                    self.request_mut(id).socket = socket_of(plan.fd).map(|(socket, _)| socket);
                }
                let found = may.errors.iter().all(|(error, _)| error.0 != errno::EBADF);
                may.errors.extend(fault.filter(|_| plan.imports_first && found));
                let closed = socket_of(plan.fd).is_some_and(|(socket, _)| self.ended_since(id, socket).0);
                if closed && !plan.fixed_file && found {
                    may.errors.push((Errno(errno::EBADF), Rule::SendBadDescriptor));
                }
                return may;
            }
            None => return May::default(),
        };
        let (is_async, late) = (self.request(id).is_async, self.request(id).late);
        if is_async || late {
            self.request_mut(id).socket = Some(socket);
        }
        let mut may = self.try_on(id, socket, plan, fault);
        if late {
            may.errors.extend(self.errors_since(id, socket));
        }
        may
    }

    /// What the first try of a send on this socket may come to.
    fn try_on(
        &mut self,
        id: RequestId,
        socket: SocketId,
        plan: &SendPlan,
        fault: Option<(Errno, Rule)>,
    ) -> May {
        if plan.poll_first && plan.retry == Retry::Never {
            let mut may = May::fail(errno::EAGAIN, Rule::SendPollFirstNeverTries);
            may.errors.extend(fault);
            return may;
        }
        if let Some((error, rule)) = fault {
            return May::fail(error.0, rule);
        }
        if plan.long_control {
            return May::fail(errno::ENOBUFS, Rule::MsgControlLength);
        }
        self.request_mut(id).socket = Some(socket);
        match self.state.sockets[usize::from(socket.0)] {
            Socket::Datagrams(_) => self.try_datagram(id, socket, plan),
            _ => self.try_stream(id, socket, plan),
        }
    }

    /// The error of a request that names registered memory which is not there.
    pub(super) fn check_registered(&self, id: RequestId, plan: &SendPlan) -> Option<(Errno, Rule)> {
        let ring = usize::from(self.request(id).ring.0);
        let buffers = &self.state.rings[ring].buffers;
        if let Some(missing) = plan.missing(buffers) {
            return Some(missing);
        }
        let index = plan.fixed.filter(|_| !self.request(id).imported)?;
        if let Err(missing) = buffers.lookup(index) {
            return Some(missing);
        }
        let checks = plan.ranges.iter().map(|(addr, len)| buffers.check(index, *addr, *len, plan.is_vector));
        let (error, rule) = checks.filter_map(Result::err).next()?;
        if self.has_fault(Fault::BoundsUnchecked) && rule == Rule::BufRangeInside {
            return None;
        }
        let crosses = plan.ranges.len() > 1 && rule == Rule::BufRangeInside;
        Some((error, if crosses { Rule::BufVectorInOne } else { rule }))
    }

    fn try_datagram(&mut self, id: RequestId, socket: SocketId, plan: &SendPlan) -> May {
        let Some(Socket::Datagrams(queue)) = self.state.sockets.get(usize::from(socket.0)) else {
            return May::default();
        };
        let len = plan.len_bytes();
        // the checks in the order in which a datagram meets them
        if len > u64::from(u16::MAX) && queue.longest == UDP4_LONGEST {
            return May::fail(errno::EMSGSIZE, Rule::DatagramLength);
        }
        if !queue.is_connected {
            return May::fail(errno::EDESTADDRREQ, Rule::DatagramNeedsAddress);
        }
        if len > queue.longest {
            return May::fail(errno::EMSGSIZE, Rule::DatagramLength);
        }
        if queue.is_shut && !self.ended_since(id, socket).1 {
            return May::fail(errno::EPIPE, Rule::SendBrokenPipe);
        }
        if plan.corks {
            self.give_up("MSG_MORE on a datagram socket");
            return May::default();
        }
        let refusal_comes = queue.refusal_comes;
        let has_device = self.lane(socket).has_device();
        if let Some(torn) = self.tear(id, plan) {
            return torn;
        }
        let way = self.way_of(id, Some(socket));
        if let Some(notice) = self.request_mut(id).notice.as_mut().filter(|_| has_device) {
            // an empty one is a packet as well
            notice.used = way;
        }
        let mut may = May::exactly(len, Rule::DatagramWhole);
        if self.is_unknown(socket) {
            // its send buffer may be full
            may.waiting = plan.retry != Retry::Never;
            may.errors.extend((!may.waiting).then_some((Errno(errno::EAGAIN), Rule::SendDontwait)));
        }
        if refusal_comes {
            may.errors.push((Errno(errno::ECONNREFUSED), Rule::DatagramRefused));
        }
        let segments = plan.segments(self.space());
        let is_async = self.request(id).is_async || self.request(id).late;
        let user_data = self.request(id).user_data;
        let mut beside = self.state.beside.clone();
        if is_async {
            let chain = self.chain_before(id);
            let queued = self.datagrams(socket).map_or(&[][..], |queue| &queue.queue);
            beside = queued.iter().map(|d| d.request).filter(|other| !chain.contains(other)).collect();
        }
        if let Some(Socket::Datagrams(queue)) = self.state.sockets.get_mut(usize::from(socket.0))
            && !has_device
        {
            queue.enqueue(id, user_data, segments, len, is_async, &beside);
        }
        may
    }

    /// How a datagram fails whose packet was begun; it goes nowhere.
    fn tear(&mut self, id: RequestId, plan: &SendPlan) -> Option<May> {
        let len = plan.len_bytes();
        let mapped = if plan.fixed.is_some() { len } else { self.readable(&plan.ranges) };
        let fragmented = plan.notice.is_some() && len > 0 && plan.pages() > FRAGMENTS_MAX;
        let mut may = May::default();
        // where both are wrong, either is met first
        may.errors.extend((mapped < len).then_some((Errno(errno::EFAULT), Rule::SendMemoryReadable)));
        may.errors.extend(fragmented.then_some((Errno(errno::EMSGSIZE), Rule::DatagramFragments)));
        if may.errors.is_empty() {
            return None;
        }
        if let Some(notice) = &mut self.request_mut(id).notice {
            notice.used = Used::Untouched;
        }
        Some(may)
    }

    fn has_socket(&self, socket: SocketId) -> bool {
        usize::from(socket.0) < self.state.sockets.len()
    }

    /// Whether the socket was closed, and whether its connection ended, since the request may have been
    /// tried.
    pub(super) fn ended_since(&self, id: RequestId, socket: SocketId) -> (bool, bool) {
        let request = self.request(id);
        let ends = self.state.ends.get(usize::from(socket.0)).copied().unwrap_or_default();
        let broken = ends.shut.max(ends.reset);
        (request.late && ends.closed > request.born_at, request.late && broken > request.born_at)
    }

    /// Errors of a socket that changed since the request may have been tried.
    fn errors_since(&self, id: RequestId, socket: SocketId) -> Vec<(Errno, Rule)> {
        let mut errors = Vec::new();
        let (closed, broken) = self.ended_since(id, socket);
        let (is_reset, is_refused) = match self.state.sockets.get(usize::from(socket.0)) {
            Some(Socket::Stream(stream)) => (stream.connection_is_reset(), false),
            Some(Socket::Datagrams(queue)) => (false, queue.refusal_comes),
            Some(Socket::File { .. }) | None => (false, false),
        };
        if closed {
            errors.push((Errno(errno::EBADF), Rule::SendBadDescriptor));
        }
        if broken && is_reset {
            errors.extend(after_reset().errors);
        } else if broken {
            errors.push((Errno(errno::EPIPE), Rule::SendBrokenPipe));
        }
        if is_refused {
            errors.push((Errno(errno::ECONNREFUSED), Rule::DatagramRefused));
        }
        errors
    }

    /// The socket whose open near end has this descriptor.
    fn open_socket(&self, fd: i32) -> Option<SocketId> {
        let (socket, end) = socket_of(fd)?;
        match (self.state.sockets.get(usize::from(socket.0))?, end) {
            (Socket::Stream(stream), End::Near) => stream.open.then_some(socket),
            (Socket::Datagrams(queue), End::Near) => queue.is_open.then_some(socket),
            (Socket::File { is_open }, End::Near) => is_open.then_some(socket),
            (_, End::Far) => None,
        }
    }

    fn try_stream(&mut self, id: RequestId, socket: SocketId, plan: &SendPlan) -> May {
        let len = plan.len_bytes();
        let Some(stream) = self.stream(socket) else { return May::default() };
        match stream.connection {
            Connection::Open => {}
            _ if self.ended_since(id, socket).1 && stream.was_connected => {}
            Connection::Broken if stream.is_unix && !stream.was_connected => {
                return May::fail(errno::ENOTCONN, Rule::SendNotConnected);
            }
            Connection::Broken => return May::fail(errno::EPIPE, Rule::SendBrokenPipe),
            Connection::Reset(_) => return after_reset(),
        }
        let unseen = self.unseen_on(socket, id);
        if len == 0 {
            let polls = plan.poll_first && stream.room_for(unseen) != Room::Enough;
            return May { waiting: polls, ..May::exactly(0, Rule::SendZeroIsZero) };
        }
        let mapped = if plan.fixed.is_some() { len } else { self.readable(&plan.ranges) };
        let (room, comes_to_room) = self.room_at_try(id, socket, plan, mapped);
        if room == Room::Unknown {
            self.take_room(socket);
        }
        if mapped < len
            && let Some(notice) = &mut self.request_mut(id).notice
        {
            // a packet may have been begun before the fault
            notice.used = Used::Unknown;
        }
        let mut may = if mapped < len {
            fault(mapped, room, plan)
        } else {
            first_try(len, room, plan, self.has_fault(Fault::OneByteShort))
        };
        may.waiting &= !comes_to_room;
        if mapped > 0 {
            let mut segments = plan.segments(self.space());
            if self.request(id).late {
                let born = self.request(id).born.clone();
                for segment in &mut segments {
                    let region = segment.region.map(|r| usize::from(r.0));
                    segment.oldest = region.and_then(|r| born.get(r).copied()).unwrap_or(segment.oldest);
                }
            }
            let send = SocketSend {
                socket,
                segments,
                len_bytes: mapped,
                // another thread waits for room in the middle of a send
                retries: plan.retry == Retry::UntilAll || (self.request(id).is_async && room != Room::Enough),
                zero_copy: plan.notice.is_some(),
            };
            let ended = self.stream(socket).is_some_and(|s| s.connection != Connection::Open);
            // what was taken before a reset is gone
            let purged = self.stream(socket).is_some_and(Stream::connection_is_reset);
            let room = if may.errors.is_empty() && !ended { room } else { Room::Unknown };
            if let Some(notice) = self.request_mut(id).notice.as_mut().filter(|_| purged) {
                notice.used = Used::Unknown;
            }
            if (may.bytes.is_some() || may.waiting) && !purged {
                let loose = self.request(id).is_async || self.request(id).late;
                let mut beside = std::mem::take(&mut self.state.beside);
                if self.request(id).late {
                    beside = self.outside_chain(id, socket);
                }
                let ahead = self.chain_before(id);
                let stream = self.stream_mut(socket).expect("looked up above");
                stream.enqueue(id, send, room, loose, &beside, &ahead);
                if plan.corks {
                    stream.cork(id);
                }
                if !self.request(id).late {
                    self.state.beside = beside;
                }
            }
            if room == Room::Enough {
                self.attach(id);
            }
        }
        may
    }

    fn attach(&mut self, id: RequestId) {
        if let Some(notice) = &mut self.request_mut(id).notice {
            notice.stage = notice.stage.after(NoticeEvent::Attach).unwrap_or(notice.stage);
        }
    }

    /// How many bytes of the ranges can be read before the first that cannot.
    fn readable(&self, ranges: &[(u64, u64)]) -> u64 {
        let mut sum = 0;
        for (addr, len) in ranges {
            let prefix = self.space().readable_prefix(*addr, *len);
            sum += prefix;
            if prefix < *len {
                break;
            }
        }
        sum
    }
}

/// The errors of a connection that the peer reset; which of them is judged when one is seen.
pub(super) fn after_reset() -> May {
    May {
        errors: vec![
            (Errno(errno::ECONNRESET), Rule::SendResetOnce),
            (Errno(errno::EPIPE), Rule::SendBrokenPipe),
        ],
        ..May::default()
    }
}

/// A send whose memory ends after `mapped` bytes.
fn fault(mapped: u64, room: Room, plan: &SendPlan) -> May {
    let mut may = May::fail(errno::EFAULT, Rule::SendMemoryReadable);
    if room != Room::Enough {
        if plan.retry == Retry::Never {
            may.errors.push((Errno(errno::EAGAIN), Rule::SendDontwait));
        } else {
            may.waiting = true;
        }
    }
    if room != Room::None && mapped > 0 {
        may.bytes = Some(Counts { least: 1, most: mapped, rule: Rule::SendFaultKeepsPrefix });
        // what was taken in part is tried again for the rest
        may.waiting |= plan.retry == Retry::UntilAll;
    }
    may
}

/// A send of `len` readable bytes.
fn first_try(len: u64, room: Room, plan: &SendPlan, one_short: bool) -> May {
    let some = Counts { least: 1, most: len, rule: Rule::SendSomeWhenRoom };
    let again = (Errno(errno::EAGAIN), Rule::SendDontwait);
    match (room, plan.retry) {
        (Room::Enough, _) if one_short => May::exactly(len - 1, Rule::SendWholeWhenRoom),
        (Room::Enough, _) => May::exactly(len, Rule::SendWholeWhenRoom),
        (Room::None, Retry::Never) => May { errors: vec![again], ..May::default() },
        (Room::None, _) | (Room::Part, Retry::UntilAll) => May { waiting: true, ..May::default() },
        (Room::Part, _) => May { bytes: Some(Counts { most: len - 1, ..some }), ..May::default() },
        (Room::Unknown, Retry::Never) => May { bytes: Some(some), errors: vec![again], waiting: false },
        (Room::Unknown, Retry::UntilAll) => {
            let whole = Counts { least: len, most: len, rule: Rule::SendWaitallWhole };
            May { bytes: Some(whole), errors: Vec::new(), waiting: true }
        }
        (Room::Unknown, Retry::UntilSome) => May { bytes: Some(some), errors: Vec::new(), waiting: true },
    }
}

/// Pages that one packet can refer to (`MAX_SKB_FRAGS`).
const FRAGMENTS_MAX: u64 = 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_with_room_is_whole_and_one_without_waits() {
        let plan = SendPlan {
            fd: 600,
            fixed_file: false,
            ranges: vec![(0x1000, 10)],
            fixed: None,
            notice: None,
            retry: Retry::UntilSome,
            short_is_failure: false,
            poll_first: false,
            corks: false,
            seeks: false,
            is_write: false,
            long_control: false,
            is_vector: false,
            imports_first: false,
            elements: Vec::new(),
        };
        assert_eq!(first_try(10, Room::Enough, &plan, false), May::exactly(10, Rule::SendWholeWhenRoom));
        assert!(first_try(10, Room::None, &plan, false).waiting);
        let dont_wait = SendPlan { retry: Retry::Never, ..plan };
        let again = May::fail(errno::EAGAIN, Rule::SendDontwait);
        assert_eq!(first_try(10, Room::None, &dont_wait, false), again);
    }
}
