//! Cancelling a request by the user data of its completions.
//!
//! Source: `io_async_cancel`, `io_try_cancel` in `io_uring/cancel.c`, 6.18.

use super::{Socket, World};
use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::may::{Counts, May};
use crate::prepare::Plan;
use crate::program::RingId;
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;

impl World<'_> {
    /// What cancelling `target` may come to.
    pub(super) fn try_cancel(&mut self, id: RequestId, target: u64) -> May {
        let ring = self.request(id).ring;
        let awaits = |other: &RequestId| self.request(*other).awaits_cancel;
        let awaiting = self.requests_with(ring, target).find(awaits);
        if let Some(found) = awaiting {
            let already = self.request(found).is_async || self.request(id).late;
            let interrupts = self.request(found).may.errors.iter().any(|(error, _)| error.0 == errno::EINTR);
            let request = self.request_mut(found);
            request.awaits_cancel = false;
            request.canceller = interrupts.then_some(id);
            let mut may = May::exactly(0, Rule::CancelFound);
            may.errors.extend(already.then_some((Errno(errno::EALREADY), Rule::CancelAlready)));
            return may;
        }
        let mut not_found = May::fail(errno::ENOENT, Rule::CancelNotFound);
        if self.may_run_elsewhere(id, target) {
            not_found.errors.push((Errno(errno::EALREADY), Rule::CancelAlready));
        }
        let is_over = |other: &RequestId| match self.request(*other).phase {
            Phase::Done => true,
            Phase::Issued => self.is_over(*other),
            Phase::Queued | Phase::Armed => false,
        };
        let at_any_time = self.request(id).is_async || self.request(id).late;
        let comes_later = |other: &RequestId| !at_any_time && self.comes_behind_round(*other);
        let open = |other: &RequestId| {
            *other != id && !is_over(other) && !self.request(*other).has_ended && !comes_later(other)
        };
        let found: Vec<RequestId> = self.requests_with(ring, target).filter(open).collect();
        // also one that is queued behind others, and may have been tried unseen
        let is_sought =
            |other: &RequestId| self.cancels(*other).is_some() || self.may_be_cancelled_unseen(*other);
        let others = found.iter().any(is_sought);
        let beside = found.iter().any(|other| self.may_come_together(self.request(*other)));
        if at_any_time || others || beside || found.len() > 1 {
            return self.cancel_any(id, target, &found);
        }
        let Some(found) = found.first().copied() else { return not_found };
        let request = self.request(found);
        // one that polls first has its socket
        let may_be_tried = self.may_have_begun(request) && !self.comes_behind_batch(request);
        let untried = request.phase == Phase::Queued && request.socket.is_none() && !may_be_tried;
        if untried || request.cut {
            return not_found;
        }
        let polls = request.phase == Phase::Queued && request.socket.is_some() && self.is_full(request);
        // deferred work is done in the order in which it came: what came before this may have told it
        let canceller = self.request(id);
        let told = canceller.waited && request.woken_at.is_some_and(|at| at <= canceller.born_at);
        let polled = request.woken_at.is_some() && request.may.bytes.is_none() && !told;
        // what found its socket writable again is tried again behind the batch, and is nowhere to be found till then
        let tried_again = request.retries && request.born_call == self.request(id).born_call;
        let may_be_early = request.is_deferred || request.phase == Phase::Queued || tried_again || told;
        let waits = request.phase == Phase::Armed && !request.is_deferred && !told;
        let surely = (waits || polls || polled) && !request.is_async;
        let is_async = request.is_async;
        let taken = self.taken(found);
        if surely {
            self.mark_cancelled(found, taken, Some(id));
            // it can be found again until deferred work has ended it
            let defers = self.state.rings[usize::from(ring.0)].defers;
            if defers && !self.request(id).waited {
                let begun = self.state.begun;
                self.request_mut(found).woken_at.get_or_insert(begun);
            }
            return May::exactly(0, Rule::CancelFound);
        }
        self.request_mut(id).misses = waits && is_async;
        self.request_mut(id).may_be_early = may_be_early;
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

    /// Whether a thread may be seen to run what the cancel names, though it has a result: it is put away only then
    /// (`io_worker_handle_work` in `io_uring/io-wq.c`).
    fn may_run_elsewhere(&self, id: RequestId, target: u64) -> bool {
        let ring = self.request(id).ring;
        let is_tried = |request: &Request| request.is_async && request.phase != Phase::Queued;
        let runs = |other: RequestId| other != id && is_tried(self.request(other));
        self.state.ran_elsewhere.contains(&(ring, target)) || self.requests_with(ring, target).any(runs)
    }

    /// The request that tries to cancel this one, if its result was not seen.
    fn cancels(&self, id: RequestId) -> Option<RequestId> {
        self.request(id).canceller.filter(|canceller| self.state.requests.contains_key(canceller))
    }

    /// Cancelling at an unknown time, or one of several, or what another cancel may have ended: any of them
    /// may end, and none.
    fn cancel_any(&mut self, id: RequestId, target: u64, found: &[RequestId]) -> May {
        let surely = May::exactly(0, Rule::CancelFound);
        let mut may = surely.clone();
        may.errors.push((Errno(errno::ENOENT), Rule::CancelNotFound));
        let late = self.request(id).late;
        let itself = self.request(id).is_async && self.request(id).user_data == target;
        let elsewhere = found.iter().any(|other| self.request(*other).is_async);
        let already = late || itself || elsewhere || self.may_run_elsewhere(id, target);
        may.errors.extend(already.then_some((Errno(errno::EALREADY), Rule::CancelAlready)));
        for other in found {
            let earlier = self.cancels(*other);
            self.request_mut(*other).canceller = Some(id);
            if let Some(earlier) = earlier.filter(|earlier| self.request(*earlier).phase != Phase::Done) {
                let earlier = self.request_mut(earlier);
                if earlier.may != surely {
                    earlier.cancels = Some(target);
                    earlier.may.join(may.clone());
                }
            }
        }
        let only = found.first().copied().filter(|_| found.len() == 1 && !late);
        let request = self.request_mut(id);
        request.cancels = Some(target);
        request.only_target = only;
        may
    }

    /// A request comes that cancels at an unknown time may find besides what they had to find so far.
    pub(super) fn more_to_cancel(&mut self, ring: RingId, user_data: u64) {
        let seeks = |r: &Request| r.ring == ring && r.cancels == Some(user_data) && r.phase != Phase::Done;
        self.state.requests.change(RequestId(0), seeks, |_, other| {
            other.only_target = None;
            other.may.join(May::exactly(0, Rule::CancelFound));
            other.may.add_errors([(Errno(errno::EALREADY), Rule::CancelAlready)]);
        });
    }

    /// A cancel has found its only target, which ends with that, unless it is tried unseen and for more than once.
    fn only_target_ended(&mut self, id: RequestId, next: Option<RequestId>) -> bool {
        let Some(target) = self.request(id).only_target else { return false };
        let Some(request) = self.state.requests.get(&target) else { return false };
        let known = request.phase != Phase::Queued || !request.retries;
        if !known || request.phase == Phase::Done {
            return false;
        }
        self.mark_cancelled(target, self.taken(target), next);
        true
    }

    /// Another cancel that looks for the same as this one and has not ended.
    fn cancels_the_same(&self, id: RequestId) -> Option<RequestId> {
        let request = self.request(id);
        let (ring, target) = (request.ring, request.cancels?);
        let same = |r: &Request| r.ring == ring && r.cancels == Some(target) && r.phase != Phase::Done;
        self.state.requests.iter().find(|(other, r)| **other != id && same(r)).map(|(other, _)| *other)
    }

    /// A cancel that may have ended any of the requests with its target's user data has ended.
    fn cancel_any_ended(&mut self, id: RequestId, target: u64, res: Res) {
        let ring = self.request(id).ring;
        let next = self.cancels_the_same(id);
        if res == Res::Bytes(0) && self.only_target_ended(id, next) {
            return;
        }
        let elsewhere = self.request(id).is_async;
        for other in self.requests_with(ring, target).collect::<Vec<_>>() {
            let request = self.request_mut(other);
            if other == id || request.phase == Phase::Done || request.is_read_whole() {
                continue;
            }
            request.canceller = next;
            match res {
                Res::Bytes(_) | Res::Err(Errno(errno::EALREADY)) => request.may_stop_short(),
                // one that was submitted later need not have been there, and two threads may miss each other
                Res::Err(Errno(errno::ENOENT)) if other > id || elsewhere => {
                    request.is_missed |= request.is_async;
                }
                Res::Err(Errno(errno::ENOENT)) => request.may_be_missed(),
                Res::Err(_) => {}
            }
        }
    }

    /// Whether the request surely has its result, seen or not.
    pub(super) fn is_over(&self, id: RequestId) -> bool {
        let request = self.request(id);
        let defers = self.state.rings[usize::from(request.ring.0)].defers;
        // the end of its socket has woken it, and the work that looks at that is deferred
        let woken = defers && request.waited && request.posted.is_none() && !request.may.errors.is_empty();
        let unseen = request.is_async || request.canceller.is_some() || request.woken_at.is_some() || woken;
        // what has surely been sent to a read need not have come
        request.is_read_whole() || !request.may.waiting && !unseen && request.reads.is_none()
    }

    /// Whether what a cancel is to end can end so: bytes that have come to the peer were taken.
    pub(super) fn may_have_found(&self, id: RequestId) -> bool {
        let request = self.request(id);
        let target = match request.cancels {
            // whichever other cancel its target was last sought by
            Some(_) => request.only_target,
            None => {
                let mut all = self.state.requests.iter();
                all.find(|(_, r)| r.canceller == Some(id) && r.phase != Phase::Done)
                    .map(|(target, _)| *target)
            }
        };
        let Some((target, request)) = target.and_then(|t| Some((t, self.state.requests.get(&t)?))) else {
            return true;
        };
        let arrived = self.arrived(target);
        let ended = request.has_ended && request.may.bytes.is_some() || arrived > 0;
        request.phase == Phase::Done || !ended || request.retries && arrived < request.len_bytes
    }

    /// The request is cancelled: it ends with what was taken of it, or with `ECANCELED`.
    pub(super) fn mark_cancelled(&mut self, id: RequestId, taken: (u64, u64), canceller: Option<RequestId>) {
        let retried = self.request(id).socket.filter(|_| self.request(id).retries);
        match retried.and_then(|socket| self.stream_mut(socket)) {
            Some(stream) => stream.stop(id),
            None => self.sent_nothing(id),
        }
        // a cancel that is itself cancelled was never tried, but another may look for the same
        let next = self.cancels_the_same(id);
        self.request_mut(id).cancels = None;
        let sought = |other: &Request| other.canceller == Some(id);
        self.state.requests.change(RequestId(0), sought, |_, other| other.canceller = next);
        let request = self.request_mut(id);
        request.phase = Phase::Issued;
        request.plan = None;
        request.canceller = canceller;
        if let Some(read) = &mut request.reads {
            read.cancelled = true;
        }
        let partial = (request.retries && taken.1 > 0).then_some(Counts {
            least: 1,
            most: taken.1,
            rule: Rule::SendPartialOnFailure,
        });
        // a reset has purged what was taken, and counts as before
        let purged = request.may.bytes.filter(|counts| counts.rule == Rule::SendPartialOnFailure);
        let purged = purged.filter(|_| partial.is_none() && request.retries);
        let cancelled = (Errno(errno::ECANCELED), Rule::CancelEndsTarget);
        let nothing_taken = match purged {
            Some(_) => !request.may.errors.is_empty(),
            None => partial.is_none() || taken.0 == 0,
        };
        let partial = partial.or(purged);
        request.may = May {
            bytes: partial,
            errors: nothing_taken.then_some(cancelled).into_iter().collect(),
            waiting: false,
        };
    }

    /// A request ends with nothing of it sent.
    pub(super) fn sent_nothing(&mut self, id: RequestId) {
        let socket = self.request(id).socket;
        match socket.and_then(|socket| self.state.sockets.get_mut(usize::from(socket.0))) {
            Some(Socket::Stream(stream)) => stream.settle(id, Res::Bytes(0)),
            Some(Socket::Datagrams(queue)) => queue.settle(id, true),
            Some(Socket::File { .. }) | None => {}
        }
    }

    /// The smallest and largest count that was taken of a request so far.
    pub(super) fn taken(&self, id: RequestId) -> (u64, u64) {
        let request = self.request(id);
        let writer = request.socket.and_then(|s| self.stream(s)?.writer(id));
        // once the peer has all of it nobody writes it any more
        writer.map_or((request.read, request.read), |w| w.accepted)
    }

    /// The target of a cancel whose result is not known may end cancelled as well.
    pub(super) fn may_be_cancelled(&self, id: RequestId, res: Res) -> bool {
        let request = self.request(id);
        let is_sought = request.canceller.is_some_and(|c| self.state.requests.contains_key(&c));
        (request.is_found || is_sought) && self.is_stopped(id, res)
    }

    /// Whether a cancel that finds the request may give it this result.
    pub(super) fn is_stopped(&self, id: RequestId, res: Res) -> bool {
        let request = self.request(id);
        if request.is_read_whole() || request.has_ended && request.may.bytes.is_some() {
            return false;
        }
        match res {
            Res::Err(Errno(errno::ECANCELED)) => !request.retries || self.taken(id).0 == 0,
            // a thread that waits in the send is interrupted
            Res::Err(Errno(errno::EINTR)) => {
                request.is_async && request.socket.is_some() && request.may_wait()
            }
            Res::Bytes(n) => {
                let taken = self.taken(id).1;
                (request.retries || request.is_async) && n > 0 && n < request.len_bytes && n <= taken
            }
            Res::Err(_) => false,
        }
    }

    /// Whether a cancel that is queued behind others may have been tried unseen and have found the request, which is
    /// none of those that it is behind.
    pub(super) fn may_be_cancelled_unseen(&self, id: RequestId) -> bool {
        let request = self.request(id);
        let finds = |other: &Request| match other.plan {
            Some(Plan::Cancel { target }) => target == request.user_data && other.ring == request.ring,
            _ => false,
        };
        let mut others = self.state.requests.iter().filter(|(_, other)| finds(other));
        others
            .any(|(other, r)| self.may_have_begun(r) && self.chain_before(*other).all(|before| before != id))
    }

    /// A cancel's result was seen: its target follows.
    pub(super) fn cancel_ended(&mut self, id: RequestId, res: Res) {
        if self.request(id).seeks {
            return self.seek_ended(id);
        }
        if let Some(target) = self.request(id).cancels {
            self.found_elsewhere(id, target, res);
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
            let may_be_early = self.request(id).may_be_early;
            let request = self.request_mut(target);
            request.canceller = None;
            match res {
                _ if request.phase == Phase::Done => {}
                Res::Err(Errno(errno::EALREADY)) => request.may_stop_short(),
                Res::Err(Errno(errno::ENOENT)) => {
                    request.may_be_missed();
                    // what waited would have been found
                    request.may.waiting &= may_be_early || request.is_async || request.phase != Phase::Issued;
                }
                _ => {}
            }
        }
    }

    /// A cancel has this result, which was not seen: its target follows, and nothing more comes of it.
    pub(super) fn cancel_ended_unseen(&mut self, id: RequestId, res: Res) {
        self.cancel_ended(id, res);
        let request = self.request_mut(id);
        (request.cancels, request.only_target) = (None, None);
        let sought = |other: &Request| other.canceller == Some(id);
        self.state.requests.change(RequestId(0), sought, |_, other| other.canceller = None);
    }

    /// A target's result was seen before its cancel's: that one has found it, or has not.
    pub(super) fn target_ended(&mut self, id: RequestId, res: Res) {
        let request = self.request(id);
        let (is_async, cut, len) = (request.is_async, request.cut, request.len_bytes);
        let sought = request.canceller.is_some();
        let stopped = matches!(res, Res::Bytes(n) if n < len) || res == Res::Err(Errno(errno::ECANCELED));
        // what a cancel has found ends in no other way
        let missed = |other: &Request| other.only_target == Some(id) && !stopped;
        self.state.requests.change(RequestId(0), missed, |_, other| other.may.bytes = None);
        let Some(canceller) = sought.then(|| self.request_mut(id).canceller.take()).flatten() else { return };
        let Some(request) = self.state.requests.get_mut(&canceller) else { return };
        let surely_found = request.may == May::exactly(0, Rule::CancelFound);
        if request.phase == Phase::Done || request.seeks || request.cancels.is_some() || surely_found {
            return;
        }
        let found = May::exactly(0, Rule::CancelFound);
        let missing = (Errno(errno::ENOENT), Rule::CancelNotFound);
        let already = (Errno(errno::EALREADY), Rule::CancelAlready);
        request.misses = is_async;
        request.may = match res {
            Res::Err(Errno(errno::ECANCELED)) if !cut => {
                May { errors: is_async.then_some(already).into_iter().collect(), ..found }
            }
            Res::Err(Errno(errno::EINTR)) => May { errors: vec![already], ..May::default() },
            // what was taken before it was found
            Res::Bytes(n) if n < len => May { errors: vec![missing, already], ..found },
            _ => {
                let errors = [Some(missing), is_async.then_some(already)].into_iter().flatten().collect();
                May { errors, ..May::default() }
            }
        };
    }
}
