//! What the peer of a declared connection does: it acknowledges, has a window, and misses bytes.

use super::{Decision, World};
use crate::cqe::Res;
use crate::may::May;
use crate::memory::Generation;
use crate::net::{Connection, Holds, SEGMENT_BYTES};
use crate::notice::Used;
use crate::prepare::Plan;
use crate::program::{Amount, Lane, RingId, SocketId};
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;
use crate::space::Segment;
use crate::verdict::Promise;

impl World<'_> {
    /// Whether somebody listens to what leaves through the device.
    pub(super) fn is_tapped(&self) -> bool {
        self.law.program.sockets.iter().any(|setup| setup.lane.is_tapped())
    }

    pub(crate) fn lane(&self, socket: SocketId) -> Lane {
        self.law.program.sockets.get(usize::from(socket.0)).map_or(Lane::Unknown, |setup| setup.lane)
    }

    /// How the bytes go that a request sends on this socket.
    pub(super) fn way_of(&self, id: RequestId, socket: Option<SocketId>) -> Used {
        let Some(socket) = socket else { return Used::Copied };
        match self.lane(socket) {
            Lane::Loopback | Lane::Gate | Lane::GateFull => Used::Copied,
            Lane::Unknown => Used::Unknown,
            lane if lane.has_device() && self.is_tapped() => Used::Tapped,
            Lane::IfbUdp | Lane::IfbUdpTap => Used::Device,
            Lane::RepairTcp | Lane::RepairTcpTap => {
                let joined = self.writer(id).is_some_and(|writer| writer.joined);
                if joined { Used::Joined } else { Used::Device }
            }
        }
    }

    /// What becomes of a request's bytes where a declared connection ends, and what its notification says.
    pub(super) fn way_at_end(&self, holds: Holds, joined: bool) -> Used {
        match (holds, joined) {
            (Holds::Surely, false) => Used::Untouched,
            (_, true) if !self.is_tapped() => Used::Joined,
            (_, false) if !self.is_tapped() => Used::Device,
            (Holds::Surely, true) => Used::Joined,
            (Holds::Maybe | Holds::No, _) => Used::Unknown,
        }
    }

    /// The peer acknowledges something, or opens its window.
    pub(super) fn peer_speaks(&mut self, socket: SocketId, change: impl FnOnce(&mut crate::net::Stream)) {
        let Some(stream) = self.stream_mut(socket).filter(|stream| stream.wire.is_some()) else {
            return self.give_up("an acknowledgement on a connection that was not declared");
        };
        if stream.connection != Connection::Open {
            return;
        }
        // what has gone on so far has left under the window that there was
        self.note_unseen(socket);
        let Some(stream) = self.stream_mut(socket) else { return };
        change(stream);
        self.ends_mut(socket).read = self.state.begun;
        self.state.drains += 1;
        for i in 0..self.state.rings.len() {
            if !self.state.rings[i].defers {
                self.run_deferred(RingId(i as u8));
            }
        }
        self.retry_on(socket);
    }

    /// The peer acknowledged `n` more bytes.
    pub(super) fn acked(&mut self, socket: SocketId, n: u64) -> Result<(), Rule> {
        if self.queued_on(socket).any(|(_, request)| request.before.is_none()) {
            self.give_up("an acknowledgement while requests that poll first may have been tried unseen");
            return Ok(());
        }
        self.note_unseen(socket);
        let Some(stream) = self.stream(socket) else { return self.refuse(Rule::StreamNothingInvented) };
        if let Err(rule) = stream.judge_ack(n) {
            self.refuse(rule)?;
        }
        self.hit(Rule::StreamWindowHolds);
        let lends = self.stream(socket).is_some_and(|s| s.writers.iter().any(|w| w.send.zero_copy));
        if lends || self.queued_on(socket).next().is_some() {
            self.ends_mut(socket).lent = self.state.begun;
        }
        self.note_joined(socket);
        self.state.drained = self.state.drained.saturating_add(n);
        if let Some(stream) = self.stream_mut(socket) {
            stream.ack(n);
        }
        self.retry_on(socket);
        Ok(())
    }

    /// What was tried unseen may have joined the packet of a request that was acknowledged and forgotten since then.
    pub(super) fn note_joined_unseen(&mut self, id: RequestId, socket: SocketId) {
        let (late, born_at) = (self.request(id).late, self.request(id).born_at);
        if late
            && self.ends_mut(socket).lent > born_at
            && let Some(stream) = self.stream_mut(socket)
        {
            stream.may_have_joined(id);
        }
    }

    /// What is behind a request may go on once it is known what that may come to.
    pub(super) fn note_unseen_behind(&mut self, id: RequestId) {
        let socket = self.request(id).socket;
        let declared = |socket: &SocketId| self.stream(*socket).is_some_and(|stream| stream.wire.is_some());
        if let Some(socket) = socket.filter(declared) {
            self.note_unseen(socket);
        }
    }

    /// Whether what peers have acknowledged may have been sent where a request has this result, whatever that means for
    /// others: it may cut what is behind it, and say what a cancel has found.
    pub(super) fn judge_acked(&self, id: RequestId, request: &Request, res: Res) -> Result<(), Rule> {
        let sockets = (0..self.state.sockets.len() as u16).map(SocketId);
        let mut declared = sockets.filter(|socket| self.lane(*socket).is_declared());
        let Some(first) = declared.next() else { return Ok(()) };
        let mut all = std::iter::once(first).chain(declared);
        if all.any(|socket| self.queued_on(socket).next().is_some()) {
            let mut next = self.clone();
            next.conclude(id, res);
            let was_sent = next.unclaimed().is_some() || next.was_acked_sent();
            return self.hold_to(was_sent, Rule::StreamPrefix);
        }
        let Some(stream) = request.socket.and_then(|socket| self.stream(socket)) else { return Ok(()) };
        let taken = match res {
            Res::Bytes(n) => n,
            Res::Err(_) => 0,
        };
        self.hold_to(taken >= stream.least_acked(id, 0), Rule::StreamPrefix)
    }

    /// Whether all that peers have acknowledged can have been sent.
    fn was_acked_sent(&self) -> bool {
        let sockets = (0..self.state.sockets.len() as u16).map(SocketId);
        sockets.filter(|socket| self.lane(*socket).is_declared()).all(|socket| {
            let unseen = || self.unseen_bytes(socket, |_| true);
            self.stream(socket).is_none_or(|stream| stream.was_sent(unseen))
        })
    }

    /// The most bytes that requests which may have been tried unseen have sent on a socket, of those that are `wanted`.
    fn unseen_bytes(&self, socket: SocketId, wanted: impl Fn(RequestId) -> bool) -> u64 {
        let cuts = |before: RequestId| {
            let request = self.request(before);
            request.cut || !request.hard && self.surely_fails(before, request)
        };
        let may_send = |id: RequestId| wanted(id) && !self.chain_before(id).any(cuts);
        let unseen = self.queued_on(socket).filter(|(id, _)| may_send(*id));
        unseen.map(|(id, request)| self.most_sent(id, request)).fold(0, u64::saturating_add)
    }

    /// The most bytes that a request can send which was not seen to be tried.
    fn most_sent(&self, id: RequestId, request: &Request) -> u64 {
        let Some(may) = self.tried_unseen(id) else { return request.len_bytes };
        if may.waiting { request.len_bytes } else { may.bytes.map_or(0, |counts| counts.most) }
    }

    /// Whether a request fails, whatever may still come of it; or whenever it is tried, where that was not seen.
    fn surely_fails(&self, id: RequestId, request: &Request) -> bool {
        // where the peer has read another's bytes behind it, it has ended
        let ended = request.socket.and_then(|socket| self.stream(socket)?.writer(id)).filter(|w| w.closed);
        let taken = ended.map_or(u64::MAX, |writer| writer.accepted.1);
        let fails = |may: &May| {
            let most = may.bytes.map(|counts| Res::Bytes(counts.most.min(taken)));
            (!may.waiting || ended.is_some()) && most.is_none_or(|most| request.fails_chain(most))
        };
        match request.phase {
            Phase::Queued => self.tried_unseen(id).is_some_and(|may| fails(&may)),
            Phase::Issued | Phase::Armed => fails(&request.may),
            // whatever failed has cut what was behind it
            Phase::Done => false,
        }
    }

    /// What a send may have come to that was tried at some time between its submission and now; `None` if nothing can
    /// be said.
    fn tried_unseen(&self, id: RequestId) -> Option<May> {
        let mut next = self.clone();
        let request = next.request_mut(id);
        request.late = true;
        let Some(Plan::Send(plan)) = request.plan.take() else { return None };
        let may = next.try_send(id, &plan);
        next.unclaimed().is_none().then_some(may)
    }

    /// At least so many bytes of a request have come to its peer.
    pub(super) fn arrived(&self, id: RequestId) -> u64 {
        let request = self.request(id);
        let on_stream = request.socket.or_else(|| self.plan_socket(request)).and_then(|socket| {
            let (stream, unseen) = (self.stream(socket)?, self.unseen_bytes(socket, |other| other != id));
            Some(stream.writer(id).map_or(0, |writer| writer.read).max(stream.least_acked(id, unseen)))
        });
        on_stream.unwrap_or(0).max(request.read)
    }

    /// What is behind others in its chain and may have gone on is among what the peer acknowledges.
    pub(super) fn note_unseen(&mut self, socket: SocketId) {
        let bytes = self.unseen_bytes(socket, |_| true);
        if let Some(stream) = self.stream_mut(socket) {
            stream.note_unseen(bytes);
        }
    }

    /// What has shared packets says so also if its result is seen only once all of it was acknowledged and forgotten.
    fn note_joined(&mut self, socket: SocketId) {
        for id in self.unsettled_on(socket).collect::<Vec<_>>() {
            let joined = self.way_of(id, Some(socket)) == Used::Joined;
            if let Some(notice) = self.request_mut(id).notice.as_mut().filter(|_| joined)
                && notice.used == Used::Nothing
            {
                notice.used = Used::Joined;
            }
        }
    }

    /// A piece of what the peer missed left again.
    pub(super) fn sent_again(
        &mut self,
        socket: SocketId,
        n: u64,
        generation: Generation,
    ) -> Result<(), Rule> {
        let Some((segment, lent)) = self.missed(socket) else {
            return self.refuse(Rule::StreamSentAgain);
        };
        self.hold_to(n <= segment.len_bytes, Rule::StreamSentAgain)?;
        if segment.region.is_some() {
            let rule = if lent { Rule::ZcSentAgainIsMemory } else { Rule::StreamSentAgain };
            self.hold_to((segment.oldest..=segment.newest).contains(&generation), rule)?;
        }
        self.state.drained = self.state.drained.saturating_add(n);
        Ok(())
    }

    /// The bytes that leave next of those that the peer of `socket` misses, and whether they are lent: those leave as
    /// they are now.
    pub(crate) fn missed(&self, socket: SocketId) -> Option<(Segment, bool)> {
        let stream = self.stream(socket)?;
        let place = stream.wire.as_ref()?.acked.saturating_add(self.state.drained);
        let (writer, mut segment) = stream.at_place(place)?;
        let lent = writer.send.zero_copy;
        if let Some(region) = segment.region.filter(|_| lent) {
            let now = self.state.generations.get(usize::from(region.0)).copied().unwrap_or_default();
            (segment.oldest, segment.newest) = (now, now);
        }
        Some((segment, lent))
    }

    /// Whether the step of a peer that was told something may end here.
    pub(super) fn finish_ack(&self, socket: SocketId, amount: Amount) -> Result<(), Rule> {
        match amount {
            Amount::Bytes(n) => self.hold_to(self.state.drained == n, Rule::StreamNothingLost),
            Amount::Everything => {
                let waits = self.in_flight(socket).0 > 0;
                self.hold_to(!waits, Rule::StreamNothingLost)
            }
        }
    }

    /// Whether the bytes that the peer missed were heard again, where somebody listens.
    pub(super) fn finish_miss(&self, socket: SocketId, len: u64) -> Result<(), Rule> {
        // what was acknowledged is cut off a packet, and the rest leaves again up to the longest packet, whatever
        // part of it the peer misses (`tcp_trim_head` and `tcp_fragment` in `net/ipv4/tcp_output.c`)
        let least = self.leave_again(socket, len).0;
        let heard = self.lane(socket) != Lane::RepairTcpTap || self.state.drained >= least;
        self.hold_to(heard, Rule::StreamSentAgain)
    }

    /// At least and at most so many of the next `len` bytes leave again: where the peer has shrunk its window, those that
    /// fit it, and of one packet where it is closed (`__tcp_retransmit_skb` in `net/ipv4/tcp_output.c`).
    fn leave_again(&self, socket: SocketId, len: u64) -> (u64, u64) {
        let wire = self.stream(socket).and_then(|stream| stream.wire.as_ref());
        match wire.map_or(u64::MAX, |wire| wire.window) {
            0 => (len.min(1), len.min(SEGMENT_BYTES)),
            window => (len.min(window), len.min(window)),
        }
    }

    /// At least and at most so many bytes have left and were not acknowledged.
    pub(crate) fn in_flight(&self, socket: SocketId) -> (u64, u64) {
        let Some(stream) = self.stream(socket) else { return (0, 0) };
        let acked = stream.wire.as_ref().map_or(0, |wire| wire.acked);
        (stream.least_left().saturating_sub(acked), stream.most_left_seen().saturating_sub(acked))
    }

    /// The acknowledgements that the peer may give in this step.
    pub(crate) fn acks(&self, socket: SocketId, amount: Amount) -> Vec<Decision> {
        let (least, most) = self.in_flight(socket);
        let mut counts = match amount {
            Amount::Bytes(n) if most >= n.saturating_sub(self.state.drained) => {
                vec![n.saturating_sub(self.state.drained)]
            }
            // less than it waits for has left, and it acknowledges that before it gives up
            Amount::Bytes(_) | Amount::Everything => vec![least, most],
        };
        counts.retain(|n| *n > 0);
        counts.dedup();
        let all = counts.into_iter().map(|len_bytes| Decision::Ack { socket, len_bytes });
        all.filter(|decision| self.clone().after(*decision).is_ok()).collect()
    }

    /// The pieces that may leave again in this step.
    pub(crate) fn resends(&self, socket: SocketId, len: u64) -> Vec<Decision> {
        let left = self.leave_again(socket, len).1.saturating_sub(self.state.drained);
        let Some((segment, _)) = self.missed(socket).filter(|_| left > 0) else { return Vec::new() };
        if self.lane(socket) != Lane::RepairTcpTap || self.in_flight(socket).1 <= len {
            return Vec::new();
        }
        let now =
            segment.region.and_then(|r| self.state.generations.get(usize::from(r.0))).map_or(0, |g| g.0);
        let all = (0..=now).map(|generation| Decision::SendAgain {
            socket,
            len_bytes: segment.len_bytes.min(left),
            generation: Generation(generation),
        });
        all.filter(|decision| self.clone().after(*decision).is_ok()).collect()
    }

    /// What is owed to a peer that waits for what it misses.
    pub(crate) fn owed_again(&self, socket: SocketId, len: u64) -> Vec<Promise> {
        let mut owed = self.owed_to_peer(socket, len.saturating_add(1), Rule::StreamSentAgain);
        owed.retain(|_| self.state.drained < self.leave_again(socket, len).0);
        owed
    }

    /// What is owed to a peer that waits for more to acknowledge.
    pub(crate) fn owed_to_peer(&self, socket: SocketId, least: u64, rule: Rule) -> Vec<Promise> {
        let owed = self.in_flight(socket).0 >= least.max(1);
        let what = "bytes".to_string();
        owed.then_some(Promise { user_data: 0, what, rule }).into_iter().collect()
    }
}
