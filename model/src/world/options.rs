//! The decisions that can be taken in a state: proposals, each of them asked of the relation.

use super::{Decision, World};
use crate::abi::errno;
use crate::cqe::{Errno, Res, Usage};
use crate::memory::Generation;
use crate::mutation::Mutation;
use crate::net::Writer;
use crate::prepare::Plan;
use crate::program::{RingId, SocketId, socket_of};
use crate::request::{Phase, Request, RequestId};

/// Errors that a wrong kernel is imagined to report.
const ERRORS: &[u16] = &[
    errno::EINTR,
    errno::EALREADY,
    errno::EBADF,
    errno::EAGAIN,
    errno::EFAULT,
    errno::EINVAL,
    errno::EPIPE,
    errno::ENOTSOCK,
    errno::EOPNOTSUPP,
    errno::ECONNRESET,
    errno::ECANCELED,
    errno::ENOENT,
    errno::EMSGSIZE,
    errno::ENOMEM,
];

impl World<'_> {
    /// Whether proposals go beyond what the relation is known to allow: a rule that is switched off
    /// must show.
    fn is_wide(&self) -> bool {
        matches!(self.law.mutation, Some(Mutation::Off(_)))
    }

    /// The completions that may be seen next on `ring`, or on any.
    pub fn completions(&self, ring: Option<RingId>) -> Vec<Decision> {
        let mut all = Vec::new();
        self.each_completion(ring, |decision| all.push(decision));
        all
    }

    /// Tells the completions that may be seen next on `ring`, or on any.
    pub(crate) fn each_completion(&self, ring: Option<RingId>, mut to: impl FnMut(Decision)) {
        let wide = self.is_wide();
        let here = |request: &Request| ring.is_none_or(|r| r == request.ring);
        let posts = |request: &Request| here(request) && (wide || self.may_post(request));
        let mut results = Vec::new();
        for (id, request) in self.state.requests.iter().filter(|(_, request)| posts(request)) {
            self.propose(*id, request, wide, &mut results, |decision| {
                let allowed = match decision {
                    Decision::Complete { res, more, .. } => {
                        self.judge_result(*id, request, (res, more), !wide).is_ok()
                    }
                    Decision::Notify { usage, .. } => {
                        self.judge_notification(*id, request, usage, !wide).is_ok()
                    }
                    _ => false,
                };
                if allowed {
                    to(decision);
                }
            });
        }
    }

    /// Whether anything of the request may be the next that is posted; most of those that cannot need not be looked at
    /// any closer.
    fn may_post(&self, request: &Request) -> bool {
        let is_behind = request.phase == Phase::Queued && request.before.is_some();
        !is_behind && self.judge_turn(request).is_ok()
    }

    /// Every completion that could be imagined on `ring`, allowed or not; for tests.
    #[doc(hidden)]
    pub fn imaginable(&self, ring: RingId) -> Vec<Decision> {
        let mut all = Vec::new();
        for (id, request) in self.state.requests.iter().filter(|(_, r)| r.ring == ring) {
            self.propose(*id, request, true, &mut Vec::new(), |decision| all.push(decision));
        }
        all
    }

    /// Proposes what may be posted of a request; `results` is room to work in.
    fn propose(
        &self,
        id: RequestId,
        request: &Request,
        wide: bool,
        results: &mut Vec<Res>,
        mut to: impl FnMut(Decision),
    ) {
        if let (Some(only), false) = (only_result(request), wide) {
            to(Decision::Complete { request: id, res: only, more: request.announces(only) });
        } else if request.phase != Phase::Done || wide {
            results.clear();
            request.may.add_classes(request.len_bytes, results);
            self.add_counts_taken(id, request, results);
            if request.polls_first && request.is_led_away {
                results.push(Res::Err(Errno(errno::EAGAIN)));
            }
            let refused = Res::Err(Errno(errno::ECONNREFUSED));
            results.extend(Some(refused).filter(|_| self.is_refused_late(id, request, refused)));
            results.extend(request.swept.map(|_| Res::Err(Errno(errno::ECANCELED))));
            let again = Res::Err(Errno(errno::EAGAIN));
            results.extend(Some(again).filter(|_| self.is_crowded_out(id, request, again)));
            if request.misses {
                results.push(Res::Err(Errno(errno::ENOENT)));
            }
            if request.canceller.is_some() || request.is_found || request.is_missed {
                results.extend([errno::ECANCELED, errno::EINTR].map(|e| Res::Err(Errno(e))));
                results.extend([1, request.len_bytes.saturating_sub(1)].map(Res::Bytes));
            }
            if wide {
                let len = request.len_bytes;
                let counts = [0, 1, len / 2, len.saturating_sub(1), len, len + 1];
                results.extend(counts.map(Res::Bytes));
                results.extend(ERRORS.iter().map(|e| Res::Err(Errno(*e))));
            }
            if results.len() > 1 {
                results.sort_unstable();
                results.dedup();
            }
            for res in results {
                let announces = request.announces(*res);
                to(Decision::Complete { request: id, res: *res, more: announces });
                if wide {
                    to(Decision::Complete { request: id, res: *res, more: !announces });
                }
            }
        }
        if (request.notice.is_some() && request.phase == Phase::Done) || wide {
            let says = |usage| request.notice.is_some_and(|notice| self.judge_usage(&notice, usage).is_ok());
            for usage in [Usage::Clear, Usage::Copied].into_iter().filter(|usage| wide || says(*usage)) {
                to(Decision::Notify { request: id, usage });
            }
        }
    }

    /// Adds the counts to which what the peer has read of a request narrows its result.
    fn add_counts_taken(&self, id: RequestId, request: &Request, to: &mut Vec<Res>) {
        let Some(counts) = request.may.bytes.filter(|counts| counts.least < counts.most) else { return };
        let writer = request.socket.and_then(|socket| self.stream(socket)?.writer(id));
        let Some(writer) = writer.filter(|writer| writer.read > 0) else { return };
        let taken = [writer.accepted.0, writer.accepted.1, writer.read];
        let fits = |n: &u64| (counts.least..=counts.most).contains(n);
        to.extend(taken.into_iter().filter(fits).map(Res::Bytes));
    }

    /// The bytes that the peer of `socket` may read next.
    pub fn deliveries(&self, socket: SocketId) -> Vec<Decision> {
        let mut all = Vec::new();
        self.each_delivery(socket, |decision| all.push(decision));
        all
    }

    /// Tells the bytes that the peer of `socket` may read next.
    pub(crate) fn each_delivery(&self, socket: SocketId, mut to: impl FnMut(Decision)) {
        if let Some(queue) = self.datagrams(socket) {
            let all = (0..queue.queue.len()).map(|index| Decision::Datagram { socket, index });
            return all.filter(|decision| self.clone().after(*decision).is_ok()).for_each(to);
        }
        let Some(stream) = self.stream(socket) else { return };
        let mut propose = |writer: &Writer| {
            self.propose_bytes(writer, |len_bytes, generation| {
                let in_turn = self.judge_early(writer.request).is_ok();
                if in_turn && self.judge_delivery(stream, writer, len_bytes, generation).is_ok() {
                    to(Decision::Deliver { request: writer.request, len_bytes, generation });
                }
            });
        };
        if self.is_wide() {
            stream.writers.iter().for_each(&mut propose);
        } else {
            stream.front().for_each(&mut propose);
        }
    }

    fn propose_bytes(&self, writer: &Writer, mut to: impl FnMut(u64, Generation)) {
        let left = if self.is_wide() { u64::MAX } else { writer.accepted.1 - writer.read };
        let Some(segment) = writer.bytes_from(writer.read, left).next() else { return };
        let most = segment.len_bytes;
        let sure = writer.accepted.0 >= writer.accepted.1 || writer.accepted.0 - writer.read >= most;
        let counts = match self.fill() {
            Some(fill) => [most.min(fill.left), 0, 0, 0],
            None if sure => [most, 0, 0, 0],
            None => [most, most - 1, most / 2, 1],
        };
        let generations = if self.is_wide() {
            0..=self.state.generations.iter().map(|g| g.0).max().unwrap_or(0)
        } else {
            segment.oldest.0..=segment.newest.0
        };
        for generation in generations {
            let mut proposed = 0;
            for len_bytes in counts.into_iter().filter(|n| *n > 0) {
                if len_bytes != proposed {
                    to(len_bytes, Generation(generation));
                }
                proposed = len_bytes;
            }
        }
    }

    /// Requests that may have ended unseen, so that one behind them in their chain was tried on this socket.
    pub fn hidden(&self, socket: SocketId) -> Vec<Decision> {
        let queued = self.senders_behind(socket);
        let mut decisions: Vec<_> = queued.flat_map(|id| self.hidden_towards(id, socket)).collect();
        decisions.sort_unstable();
        decisions.dedup();
        decisions
    }

    /// The requests that are queued behind others and send on this socket.
    pub(crate) fn senders_behind(&self, socket: SocketId) -> impl Iterator<Item = RequestId> {
        let queued = self.state.requests.iter().filter(move |(_, request)| {
            request.phase == Phase::Queued && self.plan_socket(request) == Some(socket)
        });
        queued.map(|(id, _)| *id)
    }

    /// Whether bytes of `sender` may be read next where `decision` was taken unseen, and perhaps more like it.
    pub(crate) fn leads_to(&self, decision: Decision, sender: RequestId, socket: SocketId) -> bool {
        if !self.hidden_towards(sender, socket).contains(&decision) {
            return false;
        }
        let mut next = self.clone();
        if next.after(decision).is_err() {
            return false;
        }
        if next.state.requests.get(&sender).is_some_and(|request| request.phase == Phase::Queued) {
            return next
                .hidden_towards(sender, socket)
                .into_iter()
                .any(|decision| next.leads_to(decision, sender, socket));
        }
        let mut is_read = false;
        next.each_delivery(socket, |decision| is_read |= next.is_read_of(decision, sender, socket));
        is_read
    }

    /// Whether a decision is that the peer reads bytes of `sender`.
    pub(crate) fn is_read_of(&self, decision: Decision, sender: RequestId, socket: SocketId) -> bool {
        match decision {
            Decision::Deliver { request, .. } => request == sender,
            Decision::Datagram { index, .. } => {
                let datagram = self.datagrams(socket).and_then(|queue| queue.queue.get(index));
                datagram.is_some_and(|datagram| datagram.request == sender)
            }
            _ => false,
        }
    }

    /// How the request that keeps a queued one of this socket from being tried may have ended unseen.
    pub(crate) fn hidden_towards(&self, id: RequestId, socket: SocketId) -> Vec<Decision> {
        let mut ahead = self.request(id).before;
        let before = loop {
            let Some((id, before)) = ahead.and_then(|id| Some((id, self.state.requests.get(&id)?))) else {
                return Vec::new();
            };
            if before.phase != Phase::Queued {
                break (id, before);
            }
            ahead = before.before;
        };
        let (request, before) = before;
        if !self.runs_unseen(before) {
            return Vec::new();
        }
        // of one that sends on the same socket something is read before what is behind it
        let unread = before.socket == Some(socket)
            && before.may.bytes.is_some_and(|counts| counts.most > 0)
            && self.stream(socket).is_some_and(|s| s.writer(request).is_some_and(|w| w.read == 0));
        let failed = Decision::Proceed { request, failed: true };
        let succeeded = (!unread).then_some(Decision::Proceed { request, failed: false });
        let decisions = succeeded.into_iter().chain([failed]);
        decisions.filter(|decision| self.clone().after(*decision).is_ok()).collect()
    }

    pub(super) fn plan_socket(&self, request: &Request) -> Option<SocketId> {
        match request.plan.as_ref()? {
            Plan::Send(plan) if plan.fixed_file => {
                let ring = &self.state.rings[usize::from(request.ring.0)];
                let former = ring.former.iter().rev().filter(|(until, _)| *until > request.born_at);
                let mut tables = std::iter::once(&ring.tables).chain(former.map(|(_, tables)| tables));
                tables.find_map(|tables| tables.file(plan.fd))
            }
            Plan::Send(plan) => socket_of(plan.fd).map(|(socket, _)| socket),
            Plan::Nop | Plan::Read(_) | Plan::Cancel { .. } | Plan::Seek(_) => None,
        }
    }
}

/// The result of a request of which nothing but that is worth trying, as mostly.
fn only_result(request: &Request) -> Option<Res> {
    let counts = request.may.bytes.filter(|counts| counts.least == counts.most)?;
    let untold = request.phase != Phase::Done && request.may.errors.is_empty() && !request.may.waiting;
    let at_once = !request.is_async && !request.late && !request.never_waits;
    let sought = request.canceller.is_some() || request.is_found || request.is_missed || request.misses;
    (untold && at_once && !sought && request.swept.is_none()).then_some(Res::Bytes(counts.least))
}
