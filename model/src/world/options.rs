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
        for (id, request) in &self.state.requests {
            if ring.is_none_or(|r| r == request.ring) {
                self.propose(*id, request, self.is_wide(), &mut all);
            }
        }
        all.retain(|decision| match *decision {
            Decision::Complete { request, res, more } => self.judge_result(request, res, more).is_ok(),
            Decision::Notify { request, usage } => self.judge_notification(request, usage).is_ok(),
            _ => false,
        });
        all
    }

    /// Every completion that could be imagined on `ring`, allowed or not; for tests.
    #[doc(hidden)]
    pub fn imaginable(&self, ring: RingId) -> Vec<Decision> {
        let mut all = Vec::new();
        for (id, request) in self.state.requests.iter().filter(|(_, r)| r.ring == ring) {
            self.propose(*id, request, true, &mut all);
        }
        all
    }

    fn propose(&self, id: RequestId, request: &Request, wide: bool, into: &mut Vec<Decision>) {
        if request.phase != Phase::Done || wide {
            let mut results = request.may.classes(request.len_bytes);
            results.extend(self.counts_taken(id, request));
            if request.polls_first && request.is_led_away {
                results.push(Res::Err(Errno(errno::EAGAIN)));
            }
            if request.canceller.is_some() {
                results.extend([errno::ECANCELED, errno::EINTR].map(|e| Res::Err(Errno(e))));
                results.extend([1, request.len_bytes.saturating_sub(1)].map(Res::Bytes));
            }
            if wide {
                let len = request.len_bytes;
                let counts = [0, 1, len / 2, len.saturating_sub(1), len, len + 1];
                results.extend(counts.map(Res::Bytes));
                results.extend(ERRORS.iter().map(|e| Res::Err(Errno(*e))));
            }
            results.sort_unstable();
            results.dedup();
            for res in results {
                let announces = request.announces(res);
                into.push(Decision::Complete { request: id, res, more: announces });
                if wide {
                    into.push(Decision::Complete { request: id, res, more: !announces });
                }
            }
        }
        if (request.notice.is_some() && request.phase == Phase::Done) || wide {
            for usage in [Usage::Clear, Usage::Copied] {
                into.push(Decision::Notify { request: id, usage });
            }
        }
    }

    /// The counts to which what the peer has read of a request narrows its result.
    fn counts_taken(&self, id: RequestId, request: &Request) -> impl Iterator<Item = Res> {
        let writer = request.socket.and_then(|socket| self.stream(socket)?.writer(id));
        let taken = writer.map_or([0; 3], |writer| [writer.accepted.0, writer.accepted.1, writer.read]);
        let counts = request.may.bytes.filter(|_| taken[2] > 0);
        taken
            .into_iter()
            .filter(move |n| counts.is_some_and(|c| (c.least..=c.most).contains(n)))
            .map(Res::Bytes)
    }

    /// The bytes that the peer of `socket` may read next.
    pub fn deliveries(&self, socket: SocketId) -> Vec<Decision> {
        if let Some(queue) = self.datagrams(socket) {
            let indices = 0..queue.queue.len();
            let mut all: Vec<_> = indices.map(|index| Decision::Datagram { socket, index }).collect();
            all.retain(|decision| self.clone().after(*decision).is_ok());
            return all;
        }
        let Some(stream) = self.stream(socket) else { return Vec::new() };
        let mut all = Vec::new();
        if self.is_wide() {
            stream.writers.iter().for_each(|writer| self.propose_bytes(writer, &mut all));
        } else {
            stream.front().for_each(|writer| self.propose_bytes(writer, &mut all));
        }
        all.retain(|decision| match *decision {
            Decision::Deliver { request, len_bytes, generation } => {
                self.judge_delivery(request, len_bytes, generation).is_ok()
            }
            _ => false,
        });
        all
    }

    fn propose_bytes(&self, writer: &Writer, into: &mut Vec<Decision>) {
        let left = if self.is_wide() { u64::MAX } else { writer.accepted.1 - writer.read };
        let Some(segment) = writer.bytes_from(writer.read, left).next() else { return };
        let most = segment.len_bytes;
        let sure = writer.accepted.0 >= writer.accepted.1 || writer.accepted.0 - writer.read >= most;
        let mut counts = if sure { vec![most] } else { vec![most, most - 1, most / 2, 1] };
        if let Some(fill) = self.fill() {
            counts = vec![most.min(fill.left)];
        }
        counts.retain(|n| *n > 0);
        counts.dedup();
        let generations = if self.is_wide() {
            0..=self.state.generations.iter().map(|g| g.0).max().unwrap_or(0)
        } else {
            segment.oldest.0..=segment.newest.0
        };
        for generation in generations {
            for len_bytes in &counts {
                into.push(Decision::Deliver {
                    request: writer.request,
                    len_bytes: *len_bytes,
                    generation: Generation(generation),
                });
            }
        }
    }

    /// Requests that may have succeeded unseen, so that the next in their chain was tried.
    pub fn hidden(&self, socket: SocketId) -> Vec<Decision> {
        let candidates = self.state.requests.iter().filter_map(|(id, request)| {
            let mut behind = request.behind;
            let mut queued = false;
            while let Some(next) = behind.and_then(|next| self.state.requests.get(&next)) {
                queued |= next.phase == Phase::Queued && self.plan_socket(next) == Some(socket);
                behind = next.behind;
            }
            let runs = request.is_async || !self.state.rings[usize::from(request.ring.0)].defers;
            // of one that sends on the same socket something is read before what is behind it
            let unread = request.socket == Some(socket)
                && request.may.bytes.is_some_and(|counts| counts.most > 0)
                && self.stream(socket).is_some_and(|s| s.writer(*id).is_some_and(|w| w.read == 0));
            let alone = queued && runs && request.phase == Phase::Issued;
            alone.then_some((*id, unread))
        });
        let decisions = candidates.flat_map(|(request, unread)| {
            let failed = Decision::Proceed { request, failed: true };
            let succeeded = (!unread).then_some(Decision::Proceed { request, failed: false });
            succeeded.into_iter().chain([failed])
        });
        decisions.filter(|decision| self.clone().after(*decision).is_ok()).collect()
    }

    pub(super) fn plan_socket(&self, request: &Request) -> Option<SocketId> {
        match request.plan.as_ref()? {
            Plan::Send(plan) if plan.fixed_file => {
                let files = self.state.rings[usize::from(request.ring.0)].files.as_ref()?;
                files.get(usize::try_from(plan.fd).ok()?).copied().flatten()
            }
            Plan::Send(plan) => socket_of(plan.fd).map(|(socket, _)| socket),
            Plan::Nop | Plan::Read(_) | Plan::Cancel { .. } => None,
        }
    }
}
