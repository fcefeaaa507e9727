//! The result of a request: which are allowed, and what follows from one.

use super::{Socket, World};
use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::deviation::Deviation;
use crate::may::{Counts, May};
use crate::mutation::Fault;
use crate::net::{Connection, Pending};
use crate::notice::{Stage, Used};
use crate::program::SocketId;
use crate::request::{Event, Phase, Request, RequestId};
use crate::rules::Rule;

/// What the end of a member means for the chain behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ChainEnd {
    Cut,
    GoesOn,
}

impl World<'_> {
    /// Whether the request may post this result now. `in_turn`: that it may be the next to post was judged.
    pub(super) fn judge_result(
        &self,
        id: RequestId,
        request: &Request,
        (res, more): (Res, bool),
        in_turn: bool,
    ) -> Result<(), Rule> {
        if let Err(rule) = request.phase.after(Event::Finish) {
            self.refuse(rule)?;
        }
        self.judge_drain(request)?;
        if let Some(before) = request.before {
            let done = self.state.requests.get(&before).is_none_or(|b| b.phase == Phase::Done);
            self.hold_to(done, Rule::LinkOrder)?;
        }
        let cancelled = matches!(res, Res::Err(Errno(errno::ECANCELED))) && self.may_be_cancelled(id, res);
        if request.phase == Phase::Queued && !(request.before.is_none() && cancelled) {
            // behind a member of its chain that is not known to have succeeded
            self.refuse(Rule::LinkStartsAfterResult)?;
        }
        let counted = match res {
            Res::Bytes(n) => n,
            Res::Err(_) => 0,
        };
        if counted < request.read {
            self.refuse(Rule::StreamPrefix)?;
        }
        match request.may.judge(res) {
            Ok(rule) => self.hit(rule),
            Err(_) if self.may_be_cancelled(id, res) => self.hit(Rule::CancelEndsTarget),
            Err(_) if self.is_refused_late(id, request, res) => self.hit(Rule::DatagramRefused),
            Err(_) if self.is_crowded_out(id, request, res) => self.hit(Rule::SendDontwait),
            Err(rule) if self.deviates(id, res).is_some() => self.hold_to(!self.law.contract, rule)?,
            Err(rule) => {
                let rule = self.rule_of_read(id, self.unlocked_rule(request, res).unwrap_or(rule));
                self.refuse(rule)?;
            }
        }
        self.judge_read_count(request, res)?;
        if !in_turn {
            self.judge_turn(request)?;
        }
        if request.socket.is_none() && res == Res::Bytes(0) {
            self.hold_to(self.may_have_found(id), Rule::CancelFound)?;
        }
        if request.silent && !request.fails_chain(res) {
            self.refuse(Rule::SkipSuccessIsSilent)?;
        }
        if let Some(socket) = request.socket {
            self.judge_on_socket(id, request, socket, res)?;
        }
        self.judge_acked(id, request, res)?;
        let announces = request.announces(res);
        let rule = match (request.notice.is_some(), res.is_err()) {
            _ if request.cut => Rule::LinkCutIsSingle,
            _ if request.lends_from.is_some() => Rule::MixedNotifiesIffLent,
            (true, true) => Rule::ZcErrorStillNotifies,
            (true, false) => Rule::ZcMoreAnnounces,
            (false, _) => Rule::ZcNoNoticeNoMore,
        };
        self.hold_to(more == announces, rule)
    }

    fn judge_on_socket(
        &self,
        id: RequestId,
        request: &Request,
        socket: SocketId,
        res: Res,
    ) -> Result<(), Rule> {
        let Some(stream) = self.stream(socket) else { return Ok(()) };
        if let Err(rule) = stream.judge_result(id, res) {
            self.refuse(rule)?;
        }
        let Connection::Reset(pending) = stream.connection else { return Ok(()) };
        if request.may.errors.iter().any(|(e, _)| e.0 == errno::ECONNRESET) {
            let reset = res == Res::Err(Errno(errno::ECONNRESET));
            let pipe = res == Res::Err(Errno(errno::EPIPE));
            if reset {
                self.hold_to(pending != Pending::No, Rule::SendResetOnce)?;
            }
            // tried after the near end was shut down, and before the reset; a write tells of it later
            let was_shut = self.state.ends[usize::from(socket.0)].shut > 0;
            let earlier = was_shut && (request.is_async || request.late || request.is_write);
            if pipe && pending == Pending::Yes && !earlier {
                let queued = self.queued_on(socket).map(|(other, _)| other);
                let other = self.unsettled_on(socket).chain(queued).any(|other| other != id);
                self.hold_to(other, Rule::SendResetOnce)?;
            }
        }
        Ok(())
    }

    /// The requests on a socket whose result was not seen.
    pub(super) fn unsettled_on(&self, socket: SocketId) -> impl Iterator<Item = RequestId> {
        self.state.requests.iter().filter_map(move |(id, request)| {
            let here = request.socket == Some(socket);
            (here && matches!(request.phase, Phase::Issued | Phase::Armed)).then_some(*id)
        })
    }

    /// The known deviation by which a request may post a result that it may not.
    fn deviates(&self, id: RequestId, res: Res) -> Option<Deviation> {
        let request = self.request(id);
        let missed = request.misses && res == Res::Err(Errno(errno::ENOENT));
        let interrupted = request.is_missed && self.is_stopped(id, res);
        match () {
            () if is_polled_elsewhere(request, res) => Some(Deviation::PollFirstAsyncAgain),
            () if missed || interrupted => Some(Deviation::InterruptedNotFound),
            () if self.is_swept(id, res) => Some(Deviation::SweepsChain),
            () => None,
        }
    }

    /// The request posts its result.
    pub(super) fn complete(&mut self, id: RequestId, res: Res, more: bool) -> Result<(), Rule> {
        self.judge_result(id, self.request(id), (res, more), false)?;
        self.completed(id, res, more);
        Ok(())
    }

    /// The request has posted its result.
    pub(super) fn completed(&mut self, id: RequestId, res: Res, more: bool) {
        self.hit(Rule::OneResult);
        let request = self.request(id);
        let is_promised = request.may.judge(res).is_ok() || self.may_be_cancelled(id, res);
        let user_data = request.user_data;
        if !is_promised && let Some(deviation) = self.deviates(id, res) {
            self.met(deviation);
            if deviation == Deviation::SweepsChain {
                self.was_swept(id);
            }
        }
        self.take_from_queue(id, true);
        self.count(user_data, more, false);
        self.conclude(id, res);
    }

    /// The request has this result: what follows from that.
    pub(super) fn conclude(&mut self, id: RequestId, res: Res) {
        let request = self.request(id);
        let datagrams = request.socket.is_some_and(|socket| self.datagrams(socket).is_some());
        let way = request.notice.map(|_| self.way_of(id, request.socket));
        self.sweep_behind(id, res);
        self.cancel_ended(id, res);
        self.target_ended(id, res);
        self.read_ended(id, res);
        let request = self.request_mut(id);
        if request.lends_from.is_some() && !request.announces(res) {
            request.notice = None;
        }
        request.phase = Phase::Done;
        request.may = May::default();
        let (socket, behind, hard, cut) = (request.socket, request.behind, request.hard, request.cut);
        let (waited, silent) = (request.waited || request.is_async, request.silent);
        let (failed, is_fixed) = (request.fails_chain(res), request.fixed);
        if let Some(notice) = request.notice.as_mut().filter(|n| n.stage != Stage::Posted) {
            if matches!(res, Res::Err(_) | Res::Bytes(0)) {
                let known = match (notice.used, res) {
                    (Used::Unknown, _) | (Used::Device | Used::Tapped, Res::Bytes(0)) => true,
                    (Used::Untouched, Res::Err(Errno(errno::EMSGSIZE))) => datagrams,
                    // registered memory can be read: there was none, before a packet was begun
                    (Used::Untouched, Res::Err(Errno(errno::EFAULT))) => datagrams && !is_fixed,
                    _ => false,
                };
                if !known {
                    notice.used = Used::Nothing;
                }
                notice.stage = Stage::Allocated;
            } else {
                notice.stage = Stage::Attached;
                if notice.used == Used::Nothing {
                    notice.used = way.unwrap_or(Used::Unknown);
                }
            }
        }
        match socket.and_then(|socket| self.state.sockets.get_mut(usize::from(socket.0))) {
            Some(Socket::Stream(stream)) => {
                stream.settle(id, res);
                if let Connection::Reset(pending) = &mut stream.connection {
                    match res {
                        Res::Err(Errno(errno::ECONNRESET)) => *pending = Pending::No,
                        Res::Bytes(_) if *pending == Pending::Yes && failed => *pending = Pending::Maybe,
                        _ => {}
                    }
                }
            }
            Some(Socket::Datagrams(queue)) => {
                queue.settle(id, res.is_err());
                socket.into_iter().for_each(|socket| self.forget_charges(socket));
            }
            Some(Socket::File { .. }) | None => {}
        }
        if let Some(next) = behind {
            let end = if cut || (failed && !hard) { ChainEnd::Cut } else { ChainEnd::GoesOn };
            let silent = silent && !cut;
            if end == ChainEnd::GoesOn && silent && !failed && self.comes_to_it_later(id, next) {
                return self.retire(id);
            }
            // a failure is posted all the same
            self.go_on(next, end, waited, silent && (!failed || end == ChainEnd::Cut));
        }
        self.retire(id);
    }

    /// The member of a chain behind one that ended.
    fn go_on(&mut self, next: RequestId, end: ChainEnd, waited: bool, silently: bool) {
        let next_phase = self.state.requests.get(&next).map(|next| next.phase);
        if end == ChainEnd::Cut && !self.has_fault(Fault::ChainGoesOn) {
            self.hit(Rule::LinkFailureCuts);
            let mut at = Some(next);
            while let Some((id, request)) = at.and_then(|id| Some((id, self.state.requests.get(&id)?))) {
                at = request.behind;
                if !request.cut {
                    self.cut(id, Rule::LinkFailureCuts, silently);
                }
            }
        } else if next_phase == Some(Phase::Queued) {
            self.hit(Rule::LinkGoesOn);
            let ring = usize::from(self.request(next).ring.0);
            let defers = self.state.rings[ring].defers;
            let request = self.request_mut(next);
            request.waited |= waited || defers;
            if defers && silently && !request.is_async {
                // deferred work comes to it at the next enter
                return;
            }
            request.late = true;
            request.is_deferred = defers;
            self.try_first(next);
        }
    }

    /// Whether what is behind a member that ended without a completion is tried by work that the call has yet to
    /// do: what else is submitted with them comes before it.
    fn comes_to_it_later(&self, id: RequestId, next: RequestId) -> bool {
        let defers = self.state.rings[usize::from(self.request(id).ring.0)].defers;
        let next_is_async = self.state.requests.get(&next).is_some_and(|next| next.is_async);
        !defers && !next_is_async && !self.request(id).late
    }

    /// Forgets a request that owes nothing more.
    pub(super) fn retire(&mut self, id: RequestId) {
        let Some(request) = self.state.requests.get(&id) else { return };
        let owes = request.notice.is_some_and(|n| n.stage != Stage::Posted);
        if request.phase == Phase::Done && !owes {
            let (ring, user_data, behind) = (request.ring, request.user_data, request.behind);
            let ran_elsewhere = request.is_async;
            if let Some(next) = behind.and_then(|next| self.state.requests.get_mut(&next)) {
                next.before = None;
            }
            if ran_elsewhere {
                self.state.ran_elsewhere.insert((ring, user_data));
            }
            self.state.requests.remove(id);
        }
    }

    /// Unseen: the request succeeded with what the peer has read of it.
    pub(super) fn proceed(&mut self, id: RequestId, failed: bool) -> Result<(), Rule> {
        if failed {
            return self.proceed_failed(id);
        }
        let request = self.request(id);
        let queued =
            request.behind.filter(|n| self.state.requests.get(n).is_some_and(|n| n.phase == Phase::Queued));
        let (Some(next), Some(counts), Phase::Issued) = (queued, request.may.bytes, request.phase) else {
            return Err(Rule::LinkStartsAfterResult);
        };
        // what the peer has read of it, and where another's bytes have shown that it ended
        let writer = request.socket.and_then(|socket| self.stream(socket)?.writer(id));
        let (read, ended) = writer.map_or((0, None), |w| (w.read, w.closed.then_some(w.accepted)));
        let stopped = !request.may.errors.is_empty() || request.canceller.is_some() || request.is_found;
        let short = request.hard && request.retries && self.may_be_cancelled(id, Res::Bytes(read.max(1)));
        let least = match request.hard {
            true if request.retries && !stopped => counts.most,
            // a short one would have cut the chain
            false if request.short_is_failure => request.len_bytes,
            // a cancel may have found it waiting, and what it had taken then is its result
            true if short => read.max(1),
            _ => counts.least.max(read),
        };
        let least = least.max(ended.map_or(0, |(least, _)| least));
        let most = counts.most.min(ended.map_or(u64::MAX, |(_, most)| most));
        let cancels = counts.rule == Rule::CancelFound;
        if least > most || most < read || cancels && !self.may_have_found(id) {
            return Err(Rule::LinkStartsAfterResult);
        }
        if cancels {
            self.cancel_ended_unseen(id, Res::Bytes(0));
        }
        // it went well, so no cancel ended it, unless its count tells
        if !short {
            self.target_ended(id, Res::Bytes(most));
        }
        let request = self.request_mut(id);
        request.may.bytes = Some(Counts { least, most, ..counts });
        request.may.errors.clear();
        request.may.waiting = false;
        request.polls_first = false;
        (request.has_ended, request.is_found, request.is_missed) = (true, false, false);
        let socket = request.socket;
        // whoever cancels it from now on finds nothing
        if !short {
            self.target_ended(id, Res::Bytes(least));
        }
        if let Some(stream) = socket.and_then(|socket| self.stream_mut(socket)) {
            stream.took_at_least(id, least, most);
        }
        let request = self.request_mut(next);
        request.waited = true;
        request.late = true;
        self.try_first(next);
        Ok(())
    }
}

impl World<'_> {
    /// Unseen: the request failed without a byte, and its hard link let the next one be tried.
    fn proceed_failed(&mut self, id: RequestId) -> Result<(), Rule> {
        let request = self.request(id);
        let again = Res::Err(Errno(errno::EAGAIN));
        let is_refused = self.is_refused_late(id, request, Res::Err(Errno(errno::ECONNREFUSED)));
        let is_crowded = self.is_crowded_out(id, request, again);
        let fails =
            !request.may.errors.is_empty() || is_polled_elsewhere(request, again) || is_crowded || is_refused;
        let is_swept = request.swept.is_some() && !fails;
        let by_itself = fails || is_swept;
        let cancelled = Res::Err(Errno(errno::ECANCELED));
        let sought = self.may_be_cancelled(id, cancelled);
        let sought_unseen = self.may_be_cancelled_unseen(id);
        let may_fail = by_itself || sought || sought_unseen;
        let tried = matches!(request.phase, Phase::Issued | Phase::Armed);
        let next = request
            .behind
            .filter(|next| self.state.requests.get(next).is_some_and(|next| next.phase == Phase::Queued));
        let failed = request.hard && may_fail && self.arrived(id) == 0;
        let (Some(next), true) = (next, failed && tried) else {
            return Err(Rule::LinkStartsAfterResult);
        };
        if is_swept {
            self.was_swept(id);
        }
        self.sweep_behind(id, cancelled);
        if !by_itself {
            let canceller = self.request(id).canceller;
            if sought {
                self.target_ended(id, cancelled);
            }
            // a thread that waited in the send was interrupted, which its cancel tells of as well
            let interrupted = self.is_stopped(id, Res::Err(Errno(errno::EINTR)));
            let request = self.request_mut(id);
            request.canceller = canceller.filter(|_| interrupted);
            request.awaits_cancel = !sought;
            request.may.errors.push((Errno(errno::ECANCELED), Rule::CancelEndsTarget));
            request.may.add_errors(interrupted.then_some((Errno(errno::EINTR), Rule::CancelInterrupts)));
        }
        if let [(error, _)] = self.request(id).may.errors[..]
            && self.request(id).may.bytes.is_some_and(|counts| counts.rule == Rule::CancelFound)
        {
            self.cancel_ended_unseen(id, Res::Err(error));
        }
        let request = self.request_mut(id);
        request.phase = Phase::Issued;
        request.may.bytes = None;
        request.may.waiting = false;
        // what is refused later, and what crowds it out, is another's
        request.may.add_errors(is_crowded.then_some((Errno(errno::EAGAIN), Rule::SendDontwait)));
        request.may.add_errors(is_refused.then_some((Errno(errno::ECONNREFUSED), Rule::DatagramRefused)));
        request.has_ended = true;
        self.sent_nothing(id);
        let request = self.request_mut(next);
        request.waited = true;
        request.late = true;
        self.try_first(next);
        Ok(())
    }
}

/// Whether this is how a `POLL_FIRST` send ends that another thread runs without being asked to.
pub(super) fn is_polled_elsewhere(request: &Request, res: Res) -> bool {
    request.polls_first && request.is_led_away && res == Res::Err(Errno(errno::EAGAIN))
}
