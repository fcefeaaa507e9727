//! Trying a request: what it may come to.
//!
//! Source: `io_send`, `io_sendmsg`, `io_send_zc` in `io_uring/net.c`; `tcp_sendmsg_locked` in
//! `net/ipv4/tcp.c`, 6.18.

use super::{Socket, World};
use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::may::{Counts, May};
use crate::mutation::Fault;
use crate::net::{Around, Connection, Room, SocketSend, Stream, Timing};
use crate::notice::{Event as NoticeEvent, Used};
use crate::prepare::{Plan, Retry, SendPlan};
use crate::program::{End, SocketId, socket_of};
use crate::request::{Event, Phase, RequestId};
use crate::rules::Rule;
use crate::space::{Segment, UserMemory};

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
            Plan::Seek(seek) => self.try_seek(id, &seek),
        };
        let request = self.request_mut(id);
        if may.waiting && may.bytes.is_none() && may.errors.is_empty() {
            request.phase = request.phase.after(Event::Arm).unwrap_or(Phase::Armed);
        }
        request.waited |= may.waiting;
        request.may = may;
        self.note_unseen_behind(id);
        if self.request(id).silent {
            self.finish_silently(id);
        }
    }

    /// A request whose success posts nothing is done once it surely succeeded.
    fn finish_silently(&mut self, id: RequestId) {
        let request = self.request(id);
        let counts = request.may.bytes;
        let defers = self.state.rings[usize::from(request.ring.0)].defers && !request.is_async;
        if defers && request.late && request.socket.is_some() && request.len_bytes > 0 {
            // deferred work comes to it in an enter that nobody has a reason to make
            self.give_up("CQE_SKIP_SUCCESS on a send that deferred work comes to");
        } else if request.surely_succeeds() && counts.is_some_and(|c| c.least == c.most) {
            self.hit(Rule::SkipSuccessIsSilent);
            self.conclude(id, Res::Bytes(counts.map_or(0, |c| c.least)));
        } else if request.may.bytes.is_some() || request.may.waiting {
            self.give_up("CQE_SKIP_SUCCESS on a request that may succeed later");
        } else if request.is_async {
            self.give_up("CQE_SKIP_SUCCESS on a request whose failure nobody knows to wait for");
        }
    }

    /// The socket that a send goes to, or how it fails for want of one; `None` if nothing can be said.
    pub(super) fn find_socket(&mut self, id: RequestId, plan: &SendPlan) -> Option<Result<SocketId, May>> {
        let known = self.request(id).socket;
        let socket = if known.is_some() {
            known
        } else if plan.fixed_file {
            let mut files: Vec<_> = self.tables_of(id).filter_map(|tables| tables.file(plan.fd)).collect();
            files.dedup();
            if files.len() > 1 {
                self.give_up("a registered file that may be either of two sockets");
                return None;
            }
            files.first().copied()
        } else {
            self.open_socket(plan.fd)
        };
        let once_open = socket_of(plan.fd)
            .filter(|(s, end)| !plan.fixed_file && *end == End::Near && self.has_socket(*s))
            .map(|(socket, _)| socket)
            .filter(|socket| self.ended_since(id, *socket).0);
        let far_end = socket_of(plan.fd).is_some_and(|(s, end)| end == End::Far && self.has_socket(s));
        if socket.is_none() && far_end && !plan.fixed_file {
            self.give_up("a send from the far end");
            return None;
        }
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
            Socket::Stream(_) | Socket::Datagrams(_) if plan.refused.is_some() => {
                Err(plan.refused.map_or_else(May::default, |(error, rule)| May::fail(error.0, rule)))
            }
            Socket::Stream(_) | Socket::Datagrams(_) => match plan.beyond {
                None => Ok(socket),
                Some(beyond) => self.go_beyond(socket, beyond, plan.long_control)?,
            },
        })
    }

    /// What the first try of a send may come to.
    pub(super) fn try_send(&mut self, id: RequestId, plan: &SendPlan) -> May {
        if self.sends_sink(&plan.ranges) {
            self.give_up("a send of what reads have put into memory");
            return May::default();
        }
        let (is_async, late) = (self.request(id).is_async, self.request(id).late);
        if (plan.is_fixed() || plan.fixed_file) && (is_async || late || plan.poll_first) {
            self.request_mut(id).looks_up = Some(Box::new(plan.clone()));
        }
        let mut faults = self.check_registered(id, plan);
        // what was or will be found in one table is what may come of it
        let found = faults.is_empty() || faults.iter().any(Option::is_none);
        faults.sort_unstable();
        faults.dedup();
        let mut faults = faults.into_iter().flatten();
        let fault = if found { None } else { faults.next() };
        let socket = match self.find_socket(id, plan) {
            Some(Ok(socket)) => socket,
            Some(Err(mut may)) => {
                let request = self.request(id);
                let unseen = request.is_async || request.late || request.is_deferred;
                let looked_up = plan.imports_first && !request.is_async && !request.is_deferred;
                if unseen && !plan.fixed_file {
                    let named = socket_of(plan.fd).map(|(socket, _)| socket);
                    self.request_mut(id).socket = named.filter(|socket| self.has_socket(*socket));
                }
                let found = may.errors.iter().all(|(error, _)| error.0 != errno::EBADF);
                self.request_mut(id).imported |= looked_up && found;
                // before the socket is asked, as `io_init_rw_fixed` in `io_uring/rw.c` does it for writes
                let asked = [Rule::SendFastOpenConnected, Rule::MsgControlLength];
                let imports_first = plan.imports_first || plan.is_write;
                if found && (imports_first || may.errors.iter().any(|(_, rule)| asked.contains(rule))) {
                    may.errors = fault.map_or(may.errors, |fault| vec![fault]);
                    may.add_errors(faults);
                }
                let lacks_file = found && self.may_lack_file(id, plan);
                may.add_errors(lacks_file.then_some((Errno(errno::EBADF), Rule::SendBadDescriptor)));
                let closed = socket_of(plan.fd).is_some_and(|(socket, _)| self.ended_since(id, socket).0);
                if closed && !plan.fixed_file && found {
                    may.errors.push((Errno(errno::EBADF), Rule::SendBadDescriptor));
                }
                return may;
            }
            None => return May::default(),
        };
        let lacks_file = self.may_lack_file(id, plan);
        if is_async || late {
            self.request_mut(id).socket = Some(socket);
        }
        let mut may = self.try_on(id, socket, plan, fault);
        if plan.imports_first && !is_async && !self.request(id).is_deferred {
            self.request_mut(id).imported = true;
        }
        may.add_errors(faults);
        may.add_errors(lacks_file.then_some((Errno(errno::EBADF), Rule::SendBadDescriptor)));
        if late {
            may.add_errors(self.errors_since(id, socket));
            let broken = self.ended_since(id, socket).1;
            may.waiting &= !broken || self.polls_shut(id, socket, plan);
            if let Some(counts) = may.bytes.as_mut().filter(|_| broken && plan.retry == Retry::UntilAll) {
                // what was taken before the end is what it reports
                *counts = Counts { least: counts.most.min(1), rule: Rule::SendPartialOnFailure, ..*counts };
            }
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
            let unseen = self.unseen_on(socket, id);
            let full = self.stream(socket).is_some_and(|stream| !stream.is_surely_writable(unseen));
            let polls = plan.poll_first && !plan.imports_first && full;
            return May { waiting: polls, ..May::fail(error.0, rule) };
        }
        if plan.long_control {
            let unseen = self.unseen_on(socket, id);
            let full = self.stream(socket).is_some_and(|stream| !stream.is_surely_writable(unseen));
            let polls = plan.poll_first && full;
            return May { waiting: polls, ..May::fail(errno::ENOBUFS, Rule::MsgControlLength) };
        }
        self.request_mut(id).socket = Some(socket);
        match self.state.sockets[usize::from(socket.0)] {
            Socket::Datagrams(_) => self.try_datagram(id, socket, plan),
            _ => self.try_stream(id, socket, plan),
        }
    }

    /// The error of a request that names registered memory which is not there, for each of the tables in which it may
    /// have been looked up; of none if it names none.
    pub(super) fn check_registered(&self, id: RequestId, plan: &SendPlan) -> Vec<Option<(Errno, Rule)>> {
        if !plan.is_fixed() || self.request(id).imported {
            return Vec::new();
        }
        let unchecked = self.has_fault(Fault::BoundsUnchecked);
        let bounds = |fault: &(Errno, Rule)| unchecked && fault.1 == Rule::BufRangeInside;
        self.tables_of(id).map(|tables| tables.judge(plan).filter(|fault| !bounds(fault))).collect()
    }

    fn has_socket(&self, socket: SocketId) -> bool {
        usize::from(socket.0) < self.state.sockets.len()
    }

    /// Whether the socket was closed, and whether its connection ended, since the request may have been
    /// tried.
    pub(super) fn ended_since(&self, id: RequestId, socket: SocketId) -> (bool, bool) {
        let request = self.request(id);
        let ends = self.state.ends.get(usize::from(socket.0)).copied().unwrap_or_default();
        // a datagram socket goes on without its peer
        let broken = if self.datagrams(socket).is_some() { ends.shut } else { ends.shut.max(ends.reset) };
        (request.late && ends.closed > request.born_at, request.late && broken > request.born_at)
    }

    /// Errors of a socket that changed since the request may have been tried.
    fn errors_since(&self, id: RequestId, socket: SocketId) -> Vec<(Errno, Rule)> {
        let mut errors = Vec::new();
        let (closed, broken) = self.ended_since(id, socket);
        let is_reset = self.stream(socket).is_some_and(Stream::connection_is_reset);
        if closed {
            errors.push((Errno(errno::EBADF), Rule::SendBadDescriptor));
        }
        if broken && is_reset {
            errors.extend(after_reset().errors);
        } else if broken {
            errors.push((Errno(errno::EPIPE), Rule::SendBrokenPipe));
            // a thread may have been in the middle of it
            let lost = self.state.ends[usize::from(socket.0)].lost > self.request(id).born_at;
            let told = (lost && self.request(id).is_async)
                .then_some((Errno(errno::ECONNRESET), Rule::SendResetOnce));
            errors.extend(told);
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
            Connection::Broken => {
                let waiting = self.polls_shut(id, socket, plan);
                return May { waiting, ..May::fail(errno::EPIPE, Rule::SendBrokenPipe) };
            }
            Connection::Reset(_) => return after_reset(),
        }
        let unseen = self.unseen_on(socket, id);
        if len == 0 {
            let polls = plan.poll_first && !stream.is_surely_writable(unseen);
            return May { waiting: polls, ..May::exactly(0, Rule::SendZeroIsZero) };
        }
        let mapped = if plan.fixed.is_some() { len } else { self.readable(&plan.ranges) };
        let (room, comes_to_room) = self.room_at_try(id, socket, plan, mapped, unseen);
        if room == Room::Unknown && !comes_to_room {
            self.take_room(socket);
        }
        if mapped < len {
            self.began_packet(id);
        }
        let mut may = if mapped < len {
            fault(mapped, room, plan)
        } else {
            first_try(len, room, plan, self.has_fault(Fault::OneByteShort))
        };
        // it may have been tried, and may have waited with a part of it taken, before what ended the connection
        let needs = |stream: &Stream| unseen.saturating_add(mapped).saturating_add(stream.purged_bytes);
        let roomy = || self.stream(socket).is_some_and(|s| s.room_for(needs(s)) == Room::Enough);
        let may_have_waited = plan.retry == Retry::UntilAll && self.ended_since(id, socket).1 && !roomy();
        if let Some(counts) = may.bytes.as_mut().filter(|_| may_have_waited) {
            (counts.least, counts.rule) = (1, Rule::SendPartialOnFailure);
        }
        may.waiting &= !comes_to_room;
        let full = |stream: &Stream| !stream.is_surely_writable(unseen);
        let polls = plan.poll_first && self.stream(socket).is_some_and(full);
        may.waiting |= polls;
        if mapped > 0 {
            let (is_async, late) = (self.request(id).is_async, self.request(id).late);
            let segments = self.segments_of(id, plan);
            let send = SocketSend {
                socket,
                segments,
                len_bytes: mapped,
                // another thread waits for room in the middle of a send
                retries: plan.retry == Retry::UntilAll || (is_async && room != Room::Enough),
                zero_copy: plan.notice.is_some(),
                corks: plan.corks,
            };
            let ended = self.stream(socket).is_some_and(|s| s.connection != Connection::Open);
            // what was taken before a reset is gone
            let purged = self.stream(socket).is_some_and(|stream| stream.purged);
            // a full socket takes nothing, however the send may end
            let is_known = room == Room::None || may.errors.is_empty() && !ended;
            let room = if is_known { room } else { Room::Unknown };
            if purged {
                self.began_packet(id);
            }
            if (may.bytes.is_some() || may.waiting) && !purged {
                let timing = match is_async {
                    true => Timing::Threaded,
                    false if late || polls => Timing::Unknown,
                    false => Timing::Now,
                };
                let mut beside = std::mem::take(&mut self.state.beside);
                if late {
                    beside = self.outside_chain(id, socket);
                }
                // those of its chain that surely took something took it before
                let took = |before: &RequestId| self.request(*before).may.errors.is_empty();
                let ahead: Vec<_> = self.chain_before(id).filter(took).collect();
                let stream = self.stream_mut(socket).expect("looked up above");
                let around = Around { beside: &beside, ahead: &ahead, unseen };
                stream.enqueue(id, send, room, timing, around);
                if !late {
                    self.state.beside = beside;
                }
                self.note_joined_unseen(id, socket);
            }
            if room == Room::Enough && plan.notice.is_some() {
                self.attach(id);
            }
        }
        may
    }

    /// The bytes of a send: where it may have been tried before now, with what memory held since its
    /// submission.
    pub(super) fn segments_of(&self, id: RequestId, plan: &SendPlan) -> Vec<Segment> {
        let mut segments = plan.segments(self.space());
        let request = self.request(id);
        for segment in segments.iter_mut().filter(|_| request.late) {
            let born = segment.region.and_then(|r| request.born.as_ref()?.get(usize::from(r.0)));
            segment.oldest = born.copied().unwrap_or(segment.oldest);
        }
        segments
    }

    /// What has become of a packet that was begun for the request is not known.
    pub(super) fn began_packet(&mut self, id: RequestId) {
        if let Some(notice) = &mut self.request_mut(id).notice {
            notice.used = Used::Unknown;
        }
    }

    fn attach(&mut self, id: RequestId) {
        if let Some(notice) = &mut self.request_mut(id).notice {
            notice.stage = notice.stage.after(NoticeEvent::Attach).unwrap_or(notice.stage);
        }
    }

    /// How many bytes of the ranges can be read before the first that cannot.
    pub(super) fn readable(&self, ranges: &[(u64, u64)]) -> u64 {
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
            refused: None,
            beyond: None,
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
