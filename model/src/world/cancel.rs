//! Cancelling a request by the user data of its completions.
//!
//! Source: `io_async_cancel`, `io_try_cancel` in `io_uring/cancel.c`, 6.18.

use super::World;
use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::may::{Counts, May};
use crate::request::{Phase, RequestId};
use crate::rules::Rule;

impl World<'_> {
    /// What cancelling `target` may come to.
    pub(super) fn try_cancel(&mut self, id: RequestId, target: u64) -> May {
        let ring = self.request(id).ring;
        let not_found = May::fail(errno::ENOENT, Rule::CancelNotFound);
        let mut others = self.requests_with(ring, target).filter(|other| *other != id);
        let first = others.find(|other| self.request(*other).phase != Phase::Done);
        let Some(found) = first else { return not_found };
        if others.any(|other| self.request(other).phase != Phase::Done) {
            drop(others);
            self.give_up("cancelling one of several requests with the same user data");
            return May::default();
        }
        drop(others);
        let request = self.request(found);
        let in_chain = request.before.is_some() && request.phase == Phase::Queued;
        if in_chain || request.cut || (request.phase == Phase::Issued && self.is_over(found)) {
            return not_found;
        }
        let surely = request.phase == Phase::Armed;
        let is_async = request.is_async;
        let taken = request.socket.and_then(|s| self.stream(s)?.writer(found)).map_or(0, |w| w.accepted.1);
        if surely {
            self.mark_cancelled(found, taken, Some(id));
            return May::exactly(0, Rule::CancelFound);
        }
        self.request_mut(found).canceller = Some(id);
        let mut may = May::exactly(0, Rule::CancelFound);
        may.errors.push((Errno(errno::ENOENT), Rule::CancelNotFound));
        if is_async {
            may.errors.push((Errno(errno::EALREADY), Rule::CancelAlready));
        }
        may
    }

    /// Whether the request surely has its result, seen or not.
    fn is_over(&self, id: RequestId) -> bool {
        let request = self.request(id);
        !request.may.waiting && !request.is_async && request.canceller.is_none()
    }

    /// The request is cancelled: it ends with what was taken of it, or with `ECANCELED`.
    fn mark_cancelled(&mut self, id: RequestId, taken: u64, canceller: Option<RequestId>) {
        let request = self.request_mut(id);
        request.phase = Phase::Issued;
        request.canceller = canceller;
        let partial = (request.retries && taken > 0).then_some(Counts {
            least: 1,
            most: taken,
            rule: Rule::SendPartialOnFailure,
        });
        request.may = May {
            bytes: partial,
            errors: vec![(Errno(errno::ECANCELED), Rule::CancelEndsTarget)],
            waiting: false,
        };
    }

    /// The target of a cancel whose result is not known may end cancelled as well.
    pub(super) fn may_be_cancelled(&self, id: RequestId, res: Res) -> bool {
        let request = self.request(id);
        let cancelled = match res {
            Res::Err(Errno(errno::ECANCELED)) => true,
            Res::Bytes(n) => request.retries && n > 0 && n < request.len_bytes,
            Res::Err(_) => false,
        };
        cancelled && request.canceller.is_some_and(|c| self.state.requests.contains_key(&c))
    }

    /// A cancel's result was seen: its target follows.
    pub(super) fn cancel_ended(&mut self, id: RequestId, res: Res) {
        let targets = self.state.requests.iter().filter(|(_, r)| r.canceller == Some(id));
        let Some(target) = targets.map(|(target, _)| *target).next() else { return };
        if res == Res::Bytes(0) {
            let writer = self.request(target).socket.and_then(|s| self.stream(s)?.writer(target));
            let taken = writer.map_or(0, |w| w.accepted.1);
            if self.request(target).phase != Phase::Done {
                self.mark_cancelled(target, taken, None);
            }
        } else {
            self.request_mut(target).canceller = None;
        }
    }

    /// A target's result was seen before its cancel's: that one has found it, or has not.
    pub(super) fn target_ended(&mut self, id: RequestId, cancelled: bool) {
        let Some(canceller) = self.request_mut(id).canceller.take() else { return };
        let Some(request) = self.state.requests.get_mut(&canceller) else { return };
        if request.phase == Phase::Done {
            return;
        }
        request.may = if cancelled {
            May::exactly(0, Rule::CancelFound)
        } else {
            let mut may = May::fail(errno::ENOENT, Rule::CancelNotFound);
            may.errors.push((Errno(errno::EALREADY), Rule::CancelAlready));
            may
        };
    }
}
