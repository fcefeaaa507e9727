//! What else is on a socket: requests that may have been tried unseen, before a request or after it.
//!
//! Source: `io_wq_submit_work` in `io_uring/io_uring.c`, 6.18: what another thread runs comes at a time of
//! its own.

use super::{Socket, World};
use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::may::{Counts, May};
use crate::net::{REQUEST_OVERHEAD_BYTES, Room, Stream};
use crate::prepare::{Beyond, Retry, SendPlan};
use crate::program::{SocketId, SocketKind, SocketState};
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;

impl World<'_> {
    /// What requests count for on a socket that are queued behind others and may have been tried unseen, before this
    /// one was: not those behind it in its own chain.
    pub(super) fn unseen_on(&self, socket: SocketId, id: RequestId) -> u64 {
        let is_behind = |other: RequestId| self.chain_before(other).any(|before| before == id);
        let others = self.queued_on(socket).filter(|(other, _)| *other != id && !is_behind(*other));
        let beside = self.ready_beside(id, socket).filter(|request| !self.may_have_begun(request));
        let charge = |request: &Request| request.len_bytes.saturating_add(REQUEST_OVERHEAD_BYTES);
        others.map(|(_, request)| request).chain(beside).map(charge).fold(0, u64::saturating_add)
    }

    /// The requests for a socket that are queued behind others or poll first, and may have been tried
    /// unseen.
    pub(crate) fn queued_on(&self, socket: SocketId) -> impl Iterator<Item = (RequestId, &Request)> {
        self.state.requests.iter().filter_map(move |(id, request)| {
            let here = || request.socket == Some(socket) || self.plan_socket(request) == Some(socket);
            (request.phase == Phase::Queued && here() && self.may_have_begun(request))
                .then_some((*id, request))
        })
    }

    /// Whether what becomes of a request may be done without being seen: by another thread, in any call, or with its
    /// completion where nobody has taken it.
    pub(super) fn runs_unseen(&self, request: &Request) -> bool {
        let ring = &self.state.rings[usize::from(request.ring.0)];
        request.is_async || !ring.defers || ring.queue.may_hold_unseen()
    }

    /// Whether a queued request may have been tried unseen: one that polls first, or one behind others that may have
    /// ended so that it went on.
    pub(super) fn may_have_begun(&self, request: &Request) -> bool {
        let before = request.before.and_then(|before| self.state.requests.get(&before));
        // behind what the submitter runs, it is the submitter that hands it to a thread
        let by_submitter = before.is_some_and(|before| !before.is_async);
        let ring = &self.state.rings[usize::from(request.ring.0)];
        let runs =
            self.runs_unseen(request) && !(by_submitter && ring.defers && !ring.queue.may_hold_unseen());
        let goes_on = |b: &Request| match b.phase {
            Phase::Queued => self.may_have_begun(b),
            _ => b.may.bytes.is_some() || b.hard,
        };
        runs && before.map_or(request.polls_first, goes_on)
    }

    /// Whether a request of the batch that is being submitted is handed on only behind the batch: what is before it in
    /// its chain is run by the submitter (`io_submit_flush_completions` in `io_uring/io_uring.c`).
    pub(super) fn comes_behind_batch(&self, request: &Request) -> bool {
        let before = request.before.and_then(|before| self.state.requests.get(&before));
        let in_batch = request.born_call == self.state.calls && self.state.beside.is_empty();
        in_batch && before.is_some_and(|before| !before.is_async)
    }

    /// Whether a member of a chain is behind one that may have gone well in an earlier call, so that deferred work which
    /// runs now comes to it.
    pub(super) fn may_come_together(&self, request: &Request) -> bool {
        let before = request.before.and_then(|before| self.state.requests.get(&before));
        let goes_on = |b: &Request| b.phase == Phase::Issued && (b.may.bytes.is_some() || b.hard);
        !self.state.beside.is_empty() && request.phase == Phase::Queued && before.is_some_and(goes_on)
    }

    /// Whether a member of a chain is handed on only behind the work that runs now: that comes to one before it, whose
    /// completion is posted when all of this work is done (`io_handle_tw_list` in `io_uring/io_uring.c`).
    pub(super) fn comes_behind_round(&self, id: RequestId) -> bool {
        let runs_now = |before: &Request| !before.is_async && !before.late;
        let mut before = self.chain_before(id).filter(|before| self.state.round.contains(before));
        self.request(id).phase == Phase::Queued && before.any(|before| runs_now(self.request(before)))
    }

    /// Whether a datagram to a closed port was, or may have been, sent before the request was tried, so that it may
    /// report the refusal (`sock_alloc_send_pskb` in `net/core/sock.c`).
    pub(super) fn may_be_refused(&self, id: RequestId) -> bool {
        let socket = self.request(id).socket;
        let Some(queue) = socket.and_then(|socket| self.datagrams(socket)).filter(|q| q.is_refused) else {
            return false;
        };
        let unseen = |socket| self.queued_on(socket).any(|(other, _)| other != id);
        let others = |socket| {
            self.is_unknown(socket) || unseen(socket) || self.ready_beside(id, socket).next().is_some()
        };
        queue.may_report_refusal(id) || socket.is_some_and(others)
    }

    /// The sends on the socket that run together with this request, and may come before it.
    fn ready_beside(&self, id: RequestId, socket: SocketId) -> impl Iterator<Item = &Request> {
        let together = (!self.state.beside.is_empty()).then(|| self.ready(self.request(id).ring));
        together
            .into_iter()
            .flatten()
            .map(|other| self.request(other))
            .filter(move |request| request.before != Some(id) && self.plan_socket(request) == Some(socket))
    }

    /// Whether a request that another thread may have tried at any time reports what came of another datagram.
    pub(super) fn is_refused_late(&self, id: RequestId, request: &Request, res: Res) -> bool {
        let is_late = request.is_async || request.late || request.may.waiting;
        let ended = request.has_ended && request.may.bytes.is_some();
        is_late && !ended && res == Res::Err(Errno(errno::ECONNREFUSED)) && self.may_be_refused(id)
    }

    /// A send takes the room that was promised to requests of another thread that come to it later.
    pub(super) fn take_room(&mut self, socket: SocketId) {
        let untried = self.stream_mut(socket).map(Stream::lose_room).unwrap_or_default();
        for id in untried {
            let Some(request) = self.state.requests.get_mut(&id).filter(|r| r.phase == Phase::Issued) else {
                continue;
            };
            let waits = request.may.errors.is_empty();
            if let Some(counts) = request.may.bytes.as_mut().filter(|_| !request.retries) {
                *counts = Counts { least: counts.most.min(1), rule: Rule::SendSomeWhenRoom, ..*counts };
            }
            if request.never_waits {
                request.may.errors.push((Errno(errno::EAGAIN), Rule::SendDontwait));
            } else {
                request.may.waiting |= waits;
                request.waited |= waits;
            }
        }
    }

    /// The members of the request's chain before it that owe something.
    pub(super) fn chain_before(&self, id: RequestId) -> impl Iterator<Item = RequestId> {
        let before = |id: &RequestId| self.state.requests.get(id).and_then(|request| request.before);
        std::iter::successors(before(&id), before)
    }

    /// The writers of a socket that are not members of the request's chain before it.
    pub(super) fn outside_chain(&self, id: RequestId, socket: SocketId) -> Vec<RequestId> {
        let chain = self.request(id).first..id;
        let writers = self.stream(socket).map_or(&[][..], |stream| &stream.writers);
        writers.iter().map(|w| w.request).filter(|w| !chain.contains(w)).collect()
    }

    /// How the room looked to the first try of a send whose first `mapped` bytes can be read, with `unseen` bytes of
    /// others that may be there, and whether it finds enough by now, whatever it found then.
    pub(super) fn room_at_try(
        &self,
        id: RequestId,
        socket: SocketId,
        plan: &SendPlan,
        mapped: u64,
        unseen: u64,
    ) -> (Room, bool) {
        let Some(stream) = self.stream(socket) else { return (Room::Unknown, false) };
        let request = self.request(id);
        let tried_later =
            request.is_async || (request.late && self.state.rings[usize::from(request.ring.0)].defers);
        match stream.room_for(mapped.saturating_add(unseen)) {
            Room::Enough if self.ended_since(id, socket).1 => (Room::Unknown, false),
            Room::Enough if (request.waited || request.late) && self.read_since(id, socket) => {
                (Room::Unknown, true)
            }
            // another thread, or a later enter, comes to it when there may be room
            Room::None if tried_later && plan.retry == Retry::Never => (Room::Unknown, false),
            Room::Part if tried_later || request.late || plan.poll_first => (Room::Unknown, false),
            Room::Part if unseen > 0 || mapped < plan.len_bytes() => (Room::Unknown, false),
            Room::Part if !self.state.beside.is_empty() => (Room::Unknown, false),
            room => (room, false),
        }
    }

    /// Whether a send that polls first may wait on a socket whose own end was shut down: a Unix socket counts as
    /// writable only with room (`unix_poll` in `net/unix/af_unix.c`).
    pub(super) fn polls_shut(&self, id: RequestId, socket: SocketId, plan: &SendPlan) -> bool {
        let unseen = self.unseen_on(socket, id);
        let full = |s: &Stream| s.is_unix && s.was_connected && !s.purged && !s.is_surely_writable(unseen);
        plan.poll_first && self.stream(socket).is_some_and(full)
    }

    /// What a socket makes of what only some sockets are known to look at; `None` if nothing can be said.
    pub(super) fn go_beyond(
        &mut self,
        socket: SocketId,
        beyond: Beyond,
        long_control: bool,
    ) -> Option<Result<SocketId, May>> {
        let ends = self.state.ends[usize::from(socket.0)];
        let setup = &self.law.program.sockets[usize::from(socket.0)];
        let is_tcp = matches!(setup.kind, SocketKind::Tcp4 | SocketKind::Tcp6);
        let is_whole =
            setup.state == SocketState::Connected && ends.closed.max(ends.shut).max(ends.reset) == 0;
        match (beyond, &self.state.sockets[usize::from(socket.0)]) {
            (Beyond::Flags, _) if is_tcp => Some(Ok(socket)),
            (Beyond::FastOpen, _) if is_tcp && is_whole => {
                // what the message says is looked at before TCP is asked
                let long = long_control.then(|| May::fail(errno::ENOBUFS, Rule::MsgControlLength));
                Some(Err(long.unwrap_or_else(|| May::fail(errno::EISCONN, Rule::SendFastOpenConnected))))
            }
            (Beyond::EmptyName, Socket::Stream(_)) => Some(Ok(socket)),
            (Beyond::EmptyName, _) => {
                self.give_up("a datagram with an empty destination");
                None
            }
            (Beyond::Flags | Beyond::FastOpen, _) => {
                self.give_up("flags of sends that only TCP is known to make nothing of");
                None
            }
        }
    }

    /// Whether the peer has read since the request was submitted.
    fn read_since(&self, id: RequestId, socket: SocketId) -> bool {
        let ends = self.state.ends.get(usize::from(socket.0)).copied().unwrap_or_default();
        ends.read > self.request(id).born_at
    }
}
