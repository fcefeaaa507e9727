//! Cancelling a request by the user data of its completions.
//!
//! Source: `io_async_cancel`, `io_try_cancel` in `io_uring/cancel.c`, 6.18.

use super::World;
use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::may::{Counts, May};
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;

impl World<'_> {
    /// What cancelling `target` may come to.
    pub(super) fn try_cancel(&mut self, id: RequestId, target: u64) -> May {
        let ring = self.request(id).ring;
        let not_found = May::fail(errno::ENOENT, Rule::CancelNotFound);
        let is_over = |other: &RequestId| match self.request(*other).phase {
            Phase::Done => true,
            Phase::Issued => self.is_over(*other),
            Phase::Queued | Phase::Armed => false,
        };
        let open = |other: &RequestId| *other != id && !is_over(other);
        let found: Vec<RequestId> = self.requests_with(ring, target).filter(open).collect();
        let at_any_time = self.request(id).is_async || self.request(id).late;
        let others = found.iter().any(|other| self.cancels(*other).is_some());
        if at_any_time || others || found.len() > 1 {
            return self.cancel_any(id, target, &found);
        }
        let Some(found) = found.first().copied() else { return not_found };
        let request = self.request(found);
        let in_chain = request.before.is_some() && request.phase == Phase::Queued;
        if in_chain || request.cut {
            return not_found;
        }
        let surely = request.phase == Phase::Armed && !request.is_async;
        let is_async = request.is_async;
        let taken = self.taken(found);
        if surely {
            self.mark_cancelled(found, taken, Some(id));
            return May::exactly(0, Rule::CancelFound);
        }
        let waits = request.phase == Phase::Armed;
        self.request_mut(found).canceller = Some(id);
        let mut may = May::exactly(0, Rule::CancelFound);
        if !waits {
            may.errors.push((Errno(errno::ENOENT), Rule::CancelNotFound));
        }
        if is_async {
            may.errors.push((Errno(errno::EALREADY), Rule::CancelAlready));
        }
        may
    }

    /// The request that tries to cancel this one, if its result was not seen.
    fn cancels(&self, id: RequestId) -> Option<RequestId> {
        self.request(id).canceller.filter(|canceller| self.state.requests.contains_key(canceller))
    }

    /// Cancelling at an unknown time, or one of several, or what another cancel may have ended: any of them
    /// may end, and none.
    fn cancel_any(&mut self, id: RequestId, target: u64, found: &[RequestId]) -> May {
        let mut may = May::exactly(0, Rule::CancelFound);
        may.errors.push((Errno(errno::ENOENT), Rule::CancelNotFound));
        may.errors.push((Errno(errno::EALREADY), Rule::CancelAlready));
        for other in found {
            let earlier = self.cancels(*other);
            self.request_mut(*other).canceller = Some(id);
            if let Some(earlier) = earlier.filter(|earlier| self.request(*earlier).phase != Phase::Done) {
                let earlier = self.request_mut(earlier);
                earlier.cancels = Some(target);
                earlier.may = may.clone();
            }
        }
        self.request_mut(id).cancels = Some(target);
        may
    }

    /// A cancel that may have ended any of the requests with its target's user data has ended.
    fn cancel_any_ended(&mut self, id: RequestId, target: u64, res: Res) {
        let ring = self.request(id).ring;
        let same = |r: &Request| r.ring == ring && r.cancels == Some(target) && r.phase != Phase::Done;
        let next =
            self.state.requests.iter().find(|(other, r)| **other != id && same(r)).map(|(other, _)| *other);
        for other in self.requests_with(ring, target).collect::<Vec<_>>() {
            let request = self.request_mut(other);
            if other == id || request.phase == Phase::Done || request.is_read_whole() {
                continue;
            }
            request.canceller = next;
            match res {
                Res::Bytes(_) => {
                    request.may.errors.push((Errno(errno::ECANCELED), Rule::CancelEndsTarget));
                    request.may_stop_short();
                }
                Res::Err(Errno(errno::EALREADY)) => request.may_stop_short(),
                Res::Err(_) => {}
            }
        }
    }

    /// Whether the request surely has its result, seen or not.
    fn is_over(&self, id: RequestId) -> bool {
        let request = self.request(id);
        let defers = self.state.rings[usize::from(request.ring.0)].defers;
        // the end of its socket has woken it, and the work that looks at that is deferred
        let woken = defers && request.waited && request.posted.is_none() && !request.may.errors.is_empty();
        let done = !request.may.waiting && !request.is_async && request.canceller.is_none();
        // what has surely been sent to a read need not have come
        request.is_read_whole() || done && !woken && request.reads.is_none()
    }

    /// The request is cancelled: it ends with what was taken of it, or with `ECANCELED`.
    fn mark_cancelled(&mut self, id: RequestId, taken: (u64, u64), canceller: Option<RequestId>) {
        let request = self.request_mut(id);
        request.phase = Phase::Issued;
        request.canceller = canceller;
        if let Some(read) = &mut request.reads {
            read.cancelled = true;
        }
        let partial = (request.retries && taken.1 > 0).then_some(Counts {
            least: 1,
            most: taken.1,
            rule: Rule::SendPartialOnFailure,
        });
        let cancelled = (Errno(errno::ECANCELED), Rule::CancelEndsTarget);
        let nothing_taken = partial.is_none() || taken.0 == 0;
        request.may = May {
            bytes: partial,
            errors: nothing_taken.then_some(cancelled).into_iter().collect(),
            waiting: false,
        };
    }

    /// The smallest and largest count that was taken of a request so far.
    pub(super) fn taken(&self, id: RequestId) -> (u64, u64) {
        let writer = self.request(id).socket.and_then(|s| self.stream(s)?.writer(id));
        writer.map_or((0, 0), |w| w.accepted)
    }

    /// The target of a cancel whose result is not known may end cancelled as well.
    pub(super) fn may_be_cancelled(&self, id: RequestId, res: Res) -> bool {
        let request = self.request(id);
        let cancelled = !request.is_read_whole()
            && match res {
                Res::Err(Errno(errno::ECANCELED)) => !request.retries || self.taken(id).0 == 0,
                // a thread that waits in the send is interrupted
                Res::Err(Errno(errno::EINTR)) => request.is_async && request.socket.is_some(),
                Res::Bytes(n) => {
                    let taken = self.taken(id).1;
                    (request.retries || request.is_async) && n > 0 && n < request.len_bytes && n <= taken
                }
                Res::Err(_) => false,
            };
        cancelled && request.canceller.is_some_and(|c| self.state.requests.contains_key(&c))
    }

    /// A cancel's result was seen: its target follows.
    pub(super) fn cancel_ended(&mut self, id: RequestId, res: Res) {
        if let Some(target) = self.request(id).cancels {
            return self.cancel_any_ended(id, target, res);
        }
        let targets = self.state.requests.iter().filter(|(_, r)| r.canceller == Some(id));
        let Some(target) = targets.map(|(target, _)| *target).next() else { return };
        if res == Res::Bytes(0) {
            let taken = self.taken(target);
            if self.request(target).phase != Phase::Done {
                self.mark_cancelled(target, taken, None);
            }
        } else {
            let request = self.request_mut(target);
            request.canceller = None;
            if res == Res::Err(Errno(errno::EALREADY)) && request.phase != Phase::Done {
                request.may_stop_short();
            }
        }
    }

    /// A target's result was seen before its cancel's: that one has found it, or has not.
    pub(super) fn target_ended(&mut self, id: RequestId, res: Res) {
        let Some(canceller) = self.request_mut(id).canceller.take() else { return };
        let is_async = self.request(id).is_async;
        let Some(request) = self.state.requests.get_mut(&canceller) else { return };
        let surely_found = request.may == May::exactly(0, Rule::CancelFound);
        if request.phase == Phase::Done || request.cancels.is_some() || surely_found {
            return;
        }
        request.may = match res {
            Res::Err(Errno(errno::ECANCELED)) => May::exactly(0, Rule::CancelFound),
            Res::Err(Errno(errno::EINTR)) => May::fail(errno::EALREADY, Rule::CancelAlready),
            _ => {
                let mut may = May::fail(errno::ENOENT, Rule::CancelNotFound);
                if is_async {
                    may.errors.push((Errno(errno::EALREADY), Rule::CancelAlready));
                }
                may
            }
        };
    }
}
