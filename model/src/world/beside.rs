//! What else is on a socket: requests that may have been tried unseen, before a request or after it.
//!
//! Source: `io_wq_submit_work` in `io_uring/io_uring.c`, 6.18: what another thread runs comes at a time of
//! its own.

use super::World;
use crate::abi::errno;
use crate::cqe::Errno;
use crate::may::Counts;
use crate::net::{REQUEST_OVERHEAD_BYTES, Room, Stream};
use crate::prepare::{Retry, SendPlan};
use crate::program::SocketId;
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;

impl World<'_> {
    /// What requests count for on a socket that are queued behind others and may have been tried unseen.
    pub(super) fn unseen_on(&self, socket: SocketId, id: RequestId) -> u64 {
        let others = self.queued_on(socket).filter(|(other, _)| *other != id);
        let charge = others.map(|(_, request)| request.len_bytes.saturating_add(REQUEST_OVERHEAD_BYTES));
        charge.fold(0, u64::saturating_add)
    }

    /// The requests for a socket that are queued behind others or poll first, and may have been tried
    /// unseen.
    pub(super) fn queued_on(&self, socket: SocketId) -> impl Iterator<Item = (RequestId, &Request)> {
        self.state.requests.iter().filter_map(move |(id, request)| {
            let before = request.before.and_then(|before| self.state.requests.get(&before));
            let goes_on = |b: &Request| b.phase == Phase::Queued || b.may.bytes.is_some() || b.hard;
            let may_run = before.map_or(request.polls_first, goes_on);
            let runs = request.is_async || !self.state.rings[usize::from(request.ring.0)].defers;
            let here = request.socket == Some(socket) || self.plan_socket(request) == Some(socket);
            (request.phase == Phase::Queued && may_run && runs && here).then_some((*id, request))
        })
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
            }
        }
    }

    /// The members of the request's chain before it that owe something.
    pub(super) fn chain_before(&self, id: RequestId) -> Vec<RequestId> {
        let mut chain = Vec::new();
        let mut ahead = self.request(id).before;
        while let Some(before) = ahead {
            chain.push(before);
            ahead = self.state.requests.get(&before).and_then(|request| request.before);
        }
        chain
    }

    /// The writers of a socket that are not members of the request's chain before it.
    pub(super) fn outside_chain(&self, id: RequestId, socket: SocketId) -> Vec<RequestId> {
        let chain = self.chain_before(id);
        let writers = self.stream(socket).map_or(&[][..], |stream| &stream.writers);
        writers.iter().map(|w| w.request).filter(|w| !chain.contains(w)).collect()
    }

    /// How the room looked to the first try of a send whose first `mapped` bytes can be read, and whether it
    /// finds enough by now, whatever it found then.
    pub(super) fn room_at_try(
        &self,
        id: RequestId,
        socket: SocketId,
        plan: &SendPlan,
        mapped: u64,
    ) -> (Room, bool) {
        let Some(stream) = self.stream(socket) else { return (Room::Unknown, false) };
        let request = self.request(id);
        let tried_later =
            request.is_async || (request.late && self.state.rings[usize::from(request.ring.0)].defers);
        let unseen = self.unseen_on(socket, id);
        match stream.room_for(mapped.saturating_add(unseen)) {
            Room::Enough if self.ended_since(id, socket).1 => (Room::Unknown, false),
            Room::Enough if request.waited && self.read_since(id, socket) => (Room::Unknown, true),
            // another thread, or a later enter, comes to it when there may be room
            Room::None if tried_later && plan.retry == Retry::Never => (Room::Unknown, false),
            Room::Part if tried_later || request.late || plan.poll_first => (Room::Unknown, false),
            Room::Part if unseen > 0 || mapped < plan.len_bytes() => (Room::Unknown, false),
            Room::Part if !self.state.beside.is_empty() => (Room::Unknown, false),
            room => (room, false),
        }
    }

    /// Whether the peer has read since the request was submitted.
    fn read_since(&self, id: RequestId, socket: SocketId) -> bool {
        let ends = self.state.ends.get(usize::from(socket.0)).copied().unwrap_or_default();
        ends.read > self.request(id).born_at
    }
}
