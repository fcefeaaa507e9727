//! Submission: entries are prepared in order, chains are built, and heads are tried.
//!
//! Source: `io_submit_sqes`, `io_submit_fail_init`, `io_queue_sqe_fallback` in
//! `io_uring/io_uring.c`, 6.18.

use super::{Socket, World};
use crate::abi::{errno, sqe_flag};
use crate::cqe::Errno;
use crate::may::{Counts, May};
use crate::mutation::Fault;
use crate::net::{Connection, Room, SocketSend};
use crate::notice::Event as NoticeEvent;
use crate::prepare::{Plan, Prepared, SendPlan, prepare};
use crate::program::{End, RingId, SocketId, socket_of};
use crate::request::{Event, Phase, Request, RequestId};
use crate::rules::Rule;
use crate::space::UserMemory;
use crate::sqe::Sqe;

/// A chain while it is built.
#[derive(Default)]
struct Chain {
    members: Vec<RequestId>,
    failed: bool,
}

impl World<'_> {
    /// Consumes up to `to_submit` entries of the ring's queue and returns how many.
    pub(super) fn submit(&mut self, ring: RingId, to_submit: usize) -> usize {
        let index = usize::from(ring.0);
        let mut consumed = 0;
        let mut chain = Chain::default();
        while consumed < to_submit {
            let Some(sqe) = self.state.rings[index].left.pop_front() else { break };
            consumed += 1;
            let (id, refused) = self.admit(ring, &sqe);
            let joins = sqe.links() || !chain.members.is_empty();
            if joins {
                self.join(&mut chain, id, refused);
            }
            if !sqe.links() {
                if joins {
                    self.start_chain(&std::mem::take(&mut chain));
                } else if !refused {
                    self.try_first(id);
                }
            }
            if refused && !sqe.links() {
                self.state.returns_rule = Rule::RingPrepFailureStops;
                if !self.has_fault(Fault::BatchGoesOn) {
                    break;
                }
            }
        }
        // a chain that the batch leaves open ends with the batch
        self.start_chain(&chain);
        if !self.state.rings[index].defers {
            self.run_deferred(ring);
        }
        consumed
    }

    /// Makes a request of an entry; says whether preparing it failed.
    fn admit(&mut self, ring: RingId, sqe: &Sqe) -> (RequestId, bool) {
        let prepared = prepare(sqe, self.law.profile, &self.space());
        let id = RequestId(self.state.next_id);
        self.state.next_id += 1;
        let mut request = Request {
            ring,
            user_data: sqe.user_data,
            phase: Phase::Issued,
            may: May::default(),
            notice: None,
            plan: None,
            socket: None,
            before: None,
            behind: None,
            cut: false,
            hard: sqe.flags & sqe_flag::HARDLINK != 0,
            short_is_failure: false,
            waited: false,
            len_bytes: 0,
        };
        let mut refused = false;
        match prepared {
            Prepared::Refused { errors, notice } => {
                request.may.errors = errors;
                request.notice = notice.filter(|_| !self.has_fault(Fault::ErrorsForgetNotice));
                refused = true;
            }
            Prepared::Ready(plan) => {
                request.phase = Phase::Queued;
                if let Plan::Send(send) = &plan {
                    request.notice = send.notice;
                    request.short_is_failure = send.wait_all;
                    request.len_bytes = send.len_bytes();
                }
                request.plan = Some(plan);
            }
            Prepared::NotModelled(what) => self.give_up(what),
        }
        self.state.waiting.insert((ring, request.user_data, id));
        self.state.requests.insert(id, request);
        (id, refused)
    }

    fn join(&mut self, chain: &mut Chain, id: RequestId, refused: bool) {
        if let Some(last) = chain.members.last() {
            self.request_mut(*last).behind = Some(id);
            self.request_mut(id).before = Some(*last);
        }
        chain.members.push(id);
        chain.failed |= refused;
    }

    fn start_chain(&mut self, chain: &Chain) {
        let Some((head, tail)) = chain.members.split_first() else { return };
        if !chain.failed {
            self.try_first(*head);
            return;
        }
        self.hit(Rule::LinkPrepFailureCutsAll);
        if self.request(*head).phase == Phase::Queued {
            self.end_untried(*head, Rule::LinkPrepFailureCutsAll);
        }
        for id in tail {
            self.cut(*id, Rule::LinkPrepFailureCutsAll);
        }
    }

    /// Ends a request that was never tried with `ECANCELED`.
    fn end_untried(&mut self, id: RequestId, rule: Rule) {
        let request = self.request_mut(id);
        request.plan = None;
        request.phase = Phase::Issued;
        request.may = May::fail(errno::ECANCELED, rule);
    }

    /// Ends a member of a chain because another failed. One that was refused keeps its own error.
    pub(super) fn cut(&mut self, id: RequestId, rule: Rule) {
        if self.request(id).phase == Phase::Queued {
            self.end_untried(id, rule);
        }
        self.request_mut(id).cut = true;
    }

    /// Tries what is queued behind requests that surely succeeded.
    pub(super) fn run_deferred(&mut self, ring: RingId) {
        loop {
            let ready = self.state.requests.iter().find_map(|(id, request)| {
                let before = request.before.and_then(|b| self.state.requests.get(&b));
                let free = before.is_none_or(Request::surely_succeeds);
                (request.ring == ring && request.phase == Phase::Queued && free).then_some(*id)
            });
            let Some(id) = ready else { return };
            let before = self.request(id).before.and_then(|before| self.state.requests.get(&before));
            let waited = before.is_some_and(|before| before.waited);
            self.request_mut(id).waited |= waited;
            self.try_first(id);
        }
    }

    /// Tries a request for the first time.
    pub(super) fn try_first(&mut self, id: RequestId) {
        let request = self.request_mut(id);
        let Some(plan) = request.plan.take() else { return };
        request.phase = request.phase.after(Event::Issue).unwrap_or(Phase::Issued);
        let may = match plan {
            Plan::Nop => May::exactly(0, Rule::NopResultZero),
            Plan::Send(send) => self.try_send(id, &send),
        };
        let request = self.request_mut(id);
        if may.waiting && may.bytes.is_none() {
            request.phase = request.phase.after(Event::Arm).unwrap_or(Phase::Armed);
        }
        request.waited |= may.waiting;
        request.may = may;
    }

    /// What the first try of a send may come to.
    fn try_send(&mut self, id: RequestId, plan: &SendPlan) -> May {
        if plan.fixed_file {
            return May::fail(errno::EBADF, Rule::SendBadDescriptor);
        }
        let Some(socket) = self.open_socket(plan.fd) else {
            return May::fail(errno::EBADF, Rule::SendBadDescriptor);
        };
        match self.state.sockets[usize::from(socket.0)] {
            Socket::NotASocket => return May::fail(errno::ENOTSOCK, Rule::SendNotASocket),
            Socket::NotModelled => {
                self.give_up("a socket of this kind");
                return May::default();
            }
            Socket::Stream(_) => {}
        }
        if let Some(index) = plan.fixed {
            let ring = usize::from(self.request(id).ring.0);
            let buffers = &self.state.rings[ring].buffers;
            let checks = plan.ranges.iter().map(|(addr, len)| buffers.check(index, *addr, *len));
            if let Some((error, rule)) = checks.filter_map(Result::err).next()
                && !(self.has_fault(Fault::BoundsUnchecked) && rule == Rule::BufRangeInside)
            {
                let rule = if plan.ranges.len() > 1 && rule == Rule::BufRangeInside {
                    Rule::BufVectorInOne
                } else {
                    rule
                };
                return May::fail(error.0, rule);
            }
        }
        self.request_mut(id).socket = Some(socket);
        self.try_stream(id, socket, plan)
    }

    /// The socket whose open near end has this descriptor.
    fn open_socket(&self, fd: i32) -> Option<SocketId> {
        let (socket, end) = socket_of(fd)?;
        match (self.state.sockets.get(usize::from(socket.0))?, end) {
            (Socket::Stream(stream), End::Near) => stream.open.then_some(socket),
            (_, End::Near) => Some(socket),
            (_, End::Far) => None,
        }
    }

    fn try_stream(&mut self, id: RequestId, socket: SocketId, plan: &SendPlan) -> May {
        let len = plan.len_bytes();
        let Some(stream) = self.stream(socket) else { return May::default() };
        match stream.connection {
            Connection::Open => {}
            Connection::Broken => return May::fail(errno::EPIPE, Rule::SendBrokenPipe),
            Connection::Reset(_) => return after_reset(),
        }
        if len == 0 {
            return May::exactly(0, Rule::SendZeroIsZero);
        }
        let mapped = if plan.fixed.is_some() { len } else { self.readable(&plan.ranges) };
        let room = match stream.room_for(mapped) {
            Room::Enough if self.request(id).waited => Room::Unknown,
            room => room,
        };
        let may = if mapped < len {
            fault(mapped, room, plan)
        } else {
            first_try(len, room, plan, self.has_fault(Fault::OneByteShort))
        };
        if mapped > 0 {
            let mut segments = Vec::new();
            for (addr, len) in &plan.ranges {
                self.space().segments(*addr, *len, &mut segments);
            }
            let send = SocketSend {
                socket,
                segments,
                len_bytes: mapped,
                wait_all: plan.wait_all && !plan.dont_wait,
                zero_copy: plan.notice.is_some(),
            };
            let room = if may.errors.is_empty() { room } else { Room::Unknown };
            if may.bytes.is_some() || may.waiting {
                self.stream_mut(socket).expect("looked up above").enqueue(id, send, room);
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

    pub(super) fn request(&self, id: RequestId) -> &Request {
        self.state.requests.get(&id).expect("requests are named only while they live")
    }

    pub(super) fn request_mut(&mut self, id: RequestId) -> &mut Request {
        self.state.requests.get_mut(&id).expect("requests are named only while they live")
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
    if room == Room::None {
        if plan.dont_wait {
            may.errors.push((Errno(errno::EAGAIN), Rule::SendDontwait));
        } else {
            may = May { waiting: true, ..May::default() };
        }
    } else if mapped > 0 {
        may.bytes = Some(Counts { least: 1, most: mapped, rule: Rule::SendFaultKeepsPrefix });
        may.waiting = room == Room::Unknown && !plan.dont_wait;
    }
    may
}

/// A send of `len` readable bytes.
fn first_try(len: u64, room: Room, plan: &SendPlan, one_short: bool) -> May {
    let some = Counts { least: 1, most: len, rule: Rule::SendSomeWhenRoom };
    let again = (Errno(errno::EAGAIN), Rule::SendDontwait);
    match (room, plan.dont_wait, plan.wait_all) {
        (Room::Enough, ..) if one_short => May::exactly(len - 1, Rule::SendWholeWhenRoom),
        (Room::Enough, ..) => May::exactly(len, Rule::SendWholeWhenRoom),
        (Room::None, true, _) => May { errors: vec![again], ..May::default() },
        (Room::None, false, _) => May { waiting: true, ..May::default() },
        (Room::Unknown, true, _) => May { bytes: Some(some), errors: vec![again], waiting: false },
        (Room::Unknown, false, true) => {
            let whole = Counts { least: len, most: len, rule: Rule::SendWaitallWhole };
            May { bytes: Some(whole), errors: Vec::new(), waiting: true }
        }
        (Room::Unknown, false, false) => May { bytes: Some(some), errors: Vec::new(), waiting: true },
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
            wait_all: false,
            dont_wait: false,
        };
        assert_eq!(first_try(10, Room::Enough, &plan, false), May::exactly(10, Rule::SendWholeWhenRoom));
        assert!(first_try(10, Room::None, &plan, false).waiting);
        let dont_wait = SendPlan { dont_wait: true, ..plan };
        let again = May::fail(errno::EAGAIN, Rule::SendDontwait);
        assert_eq!(first_try(10, Room::None, &dont_wait, false), again);
    }
}
