//! `IOSQE_IO_DRAIN`: what waits for everything before it, and what waits behind that.
//!
//! Source: `io_init_drain`, `io_drain_req`, `io_queue_deferred` in `io_uring/io_uring.c`, 6.18. From the first entry
//! that drains on, whatever is prepared goes to a list, and from there to another thread once its turn comes. So it
//! is a request of another thread here, which may do nothing before its turn. When a ring stops to use that list
//! shows in nothing, so what comes later is taken for a request of another thread as well.

use super::World;
use crate::abi::{errno, sqe_flag};
use crate::cqe::Errno;
use crate::prepare::{Plan, Prepared, Retry, reads_flags};
use crate::profile::KernelVersion;
use crate::program::RingId;
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;
use crate::sqe::Sqe;

/// What drains have made of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Drains {
    /// An entry that drains was taken.
    active: bool,
    /// An entry whose success posts nothing was taken, so none may drain any more.
    refused: bool,
    /// The next entry that is in no chain, or the next head of one, drains too.
    next: bool,
    /// What is taken now waits for all requests before this one.
    bound: Option<RequestId>,
}

/// What an entry is to its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    No,
    /// It waits for everything before it, by this rule.
    Drains(Rule),
    /// It may not drain.
    Refused,
}

impl Marked {
    pub(super) fn drains(self) -> Option<Rule> {
        match self {
            Marked::Drains(rule) => Some(rule),
            Marked::No | Marked::Refused => None,
        }
    }
}

/// What preparing an entry comes to that may not drain.
pub(super) fn refused_with_skip(prepared: Prepared) -> Prepared {
    let mut errors = match prepared {
        Prepared::Refused { errors, .. } => errors,
        Prepared::Ready(_) => Vec::new(),
        Prepared::NotModelled(_) => return prepared,
    };
    errors.push((Errno(errno::EOPNOTSUPP), Rule::DrainNeverWithSkip));
    Prepared::Refused { errors, notice: None }
}

impl World<'_> {
    /// What the flags of an entry say of the ring. `is_first`: no chain is open.
    pub(super) fn read_drain(&mut self, ring: RingId, sqe: &Sqe, is_first: bool) -> Marked {
        if !reads_flags(sqe, self.law.profile) || self.law.profile.version < KernelVersion(6, 16, 0) {
            return Marked::No;
        }
        let drains = &mut self.state.rings[usize::from(ring.0)].drains;
        drains.refused |= sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0;
        let mut marked = Marked::No;
        if sqe.flags & sqe_flag::DRAIN != 0 {
            if drains.refused {
                return Marked::Refused;
            }
            drains.active = true;
            drains.next |= !is_first;
            marked = Marked::Drains(if is_first { Rule::DrainWaits } else { Rule::DrainWholeChain });
        }
        if drains.next && is_first {
            drains.next = false;
            marked = Marked::Drains(marked.drains().unwrap_or(Rule::DrainWholeChain));
        }
        marked
    }

    /// Whether an entry comes to a ring with drains, so that another thread may run it.
    pub(super) fn is_drained(&mut self, ring: RingId, sqe: &Sqe, prepared: &Prepared) -> bool {
        if !self.state.rings[usize::from(ring.0)].drains.active {
            return false;
        }
        let what = match prepared {
            _ if self.state.rings.len() > 1 => "several rings",
            Prepared::Refused { notice: Some(_), .. } => "zero copy",
            Prepared::Refused { .. } | Prepared::NotModelled(_) => return false,
            Prepared::Ready(Plan::Send(send)) if send.notice.is_some() => "zero copy",
            Prepared::Ready(Plan::Send(send)) if send.retry == Retry::Never => "DONTWAIT",
            Prepared::Ready(Plan::Send(send)) if send.poll_first => "POLL_FIRST",
            Prepared::Ready(Plan::Cancel { .. } | Plan::Seek(_)) => "a cancel",
            Prepared::Ready(Plan::Read(_)) => "a read",
            Prepared::Ready(_) if sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0 => "CQE_SKIP_SUCCESS",
            Prepared::Ready(_) if self.cancels_anything() => "a cancel before it",
            Prepared::Ready(_) => return true,
        };
        self.give_up(format!("DRAIN with {what}"));
        true
    }

    fn cancels_anything(&self) -> bool {
        let mut requests = self.state.requests.values();
        requests.any(|r| (r.cancels.is_some() || r.seeks) && r.phase != Phase::Done)
    }

    /// Requests that were prepared, and are tried one behind the other, wait for what is before them where one drains.
    pub(super) fn hold(&mut self, members: &[RequestId], drains: Option<Rule>) {
        let (Some(first), Some(last)) = (members.first(), members.last()) else { return };
        let ring = usize::from(self.request(*first).ring.0);
        let state = &mut self.state.rings[ring].drains;
        let waits_for = match drains {
            Some(rule) => Some((*first, rule)),
            None => state.bound.map(|bound| (bound, Rule::DrainHolds)),
        };
        if drains.is_some() {
            state.bound = Some(RequestId(last.0 + 1));
        }
        if waits_for.is_none() {
            return;
        }
        if members.iter().any(|id| self.request(*id).notice.is_some()) {
            // its notification was counted as one of those before it, which it waits for
            self.give_up("DRAIN with zero copy");
        }
        for id in members {
            self.request_mut(*id).waits_for = waits_for;
        }
        let head = self.request_mut(*first);
        (head.is_async, head.is_led_away) = (true, false);
    }

    /// The rule by which a request waits for another that is not over.
    pub(super) fn awaits(&self, request: &Request) -> Option<Rule> {
        let (bound, rule) = request.waits_for?;
        let earlier = self.earlier(request, bound).next()?;
        Some(if earlier.phase == Phase::Done { Rule::DrainWaitsForNotif } else { rule })
    }

    /// A request has posted its notification, which others may have waited for.
    pub(super) fn note_drained(&self, id: RequestId) {
        let ring = self.request(id).ring;
        let waited = |request: &Request| {
            request.ring == ring && request.waits_for.is_some_and(|(bound, _)| id < bound)
        };
        if self.state.requests.values().any(waited) {
            self.hit(Rule::DrainWaitsForNotif);
        }
    }

    fn earlier(&self, request: &Request, bound: RequestId) -> impl Iterator<Item = &Request> {
        let ring = request.ring;
        let before = self.state.requests.iter().take_while(move |(id, _)| **id < bound);
        before.map(|(_, earlier)| earlier).filter(move |earlier| earlier.ring == ring)
    }

    /// The nop of a fence is taken.
    pub(super) fn drain_fence(&mut self, ring: RingId) {
        let next = RequestId(self.state.next_id);
        let drains = &mut self.state.rings[usize::from(ring.0)].drains;
        if std::mem::take(&mut drains.next) {
            drains.bound = Some(next);
        }
    }

    /// Whether the nop of a fence may wait for others that nothing is owed of.
    pub(crate) fn holds_fence(&self, ring: RingId) -> bool {
        let is_active = self.state.rings.get(usize::from(ring.0)).is_some_and(|ring| ring.drains.active);
        is_active && self.state.requests.values().any(|request| request.ring == ring)
    }

    /// The nop of a fence has completed.
    pub(super) fn judge_fence(&self, ring: RingId) -> Result<(), Rule> {
        let bound = self.state.rings.get(usize::from(ring.0)).and_then(|ring| ring.drains.bound);
        let Some(bound) = bound else { return Ok(()) };
        let mut earlier = self.state.requests.iter().take_while(|(id, _)| **id < bound);
        self.hold_to(!earlier.any(|(_, request)| request.ring == ring), Rule::DrainHolds)
    }

    /// Whether the request may post its result, as far as drains go.
    pub(super) fn judge_drain(&self, request: &Request) -> Result<(), Rule> {
        let Some((_, rule)) = request.waits_for else { return Ok(()) };
        match self.awaits(request) {
            Some(broken) => self.refuse(broken),
            None => {
                self.hit(rule);
                Ok(())
            }
        }
    }

    /// Whether bytes of the request may be read: not while one that it waits for surely waits itself.
    pub(super) fn judge_early(&self, id: RequestId) -> Result<(), Rule> {
        let Some(request) = self.state.requests.get(&id) else { return Ok(()) };
        let Some((bound, rule)) = request.waits_for else { return Ok(()) };
        let waits = |earlier: &Request| {
            let sought = earlier.canceller.is_some() || earlier.is_found || earlier.is_missed;
            earlier.phase == Phase::Armed && !sought
        };
        let early = self.earlier(request, bound).any(waits);
        self.hold_to(!early, rule)
    }
}
