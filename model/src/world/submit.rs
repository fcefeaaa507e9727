//! Submission: entries are prepared in order, chains are built, and heads are tried.
//!
//! Source: `io_submit_sqes`, `io_submit_fail_init`, `io_queue_sqe_fallback` in
//! `io_uring/io_uring.c`, 6.18.

use std::cell::Cell;
use std::rc::Rc;

use super::World;
use super::drain::{Marked, refused_with_skip};
use crate::abi::{errno, nop_flag, op, sqe_flag};
use crate::may::May;
use crate::mutation::Fault;
use crate::net::Connection;
use crate::prepare::{Plan, Prepared, Retry, polled, prepare};
use crate::program::{RingId, SocketId};
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;
use crate::space::Watched;
use crate::sqe::Sqe;

/// A chain while it is built.
#[derive(Default)]
struct Chain {
    members: Vec<RequestId>,
    failed: bool,
    /// One of them drains, or has to, by this rule.
    drains: Option<Rule>,
}

impl World<'_> {
    /// Consumes up to `to_submit` entries of the ring's queue and returns how many.
    pub(super) fn submit(&mut self, ring: RingId, to_submit: usize) -> usize {
        let index = usize::from(ring.0);
        let mut consumed = 0;
        self.state.batch = RequestId(self.state.next_id);
        self.state.calls += 1;
        let first = self.state.batch;
        if self.has_fault(Fault::SubmitFlushes) {
            self.flush(ring);
        }
        let mut chain = Chain::default();
        self.state.requests.reserve(to_submit.min(self.state.rings[index].left.len()));
        while consumed < to_submit {
            let Some(next) = self.state.rings[index].left.pop_front() else { break };
            let Some(sqe) = next else {
                self.state.rings[index].dropped += 1;
                self.state.returns_rule = Rule::RingBadIndexStops;
                break;
            };
            consumed += 1;
            let marked = self.read_drain(ring, &sqe, chain.members.is_empty());
            let (id, refused) = self.admit(ring, &sqe, marked);
            let joins = sqe.links() || !chain.members.is_empty();
            chain.drains = chain.drains.or(marked.drains());
            if joins {
                self.join(&mut chain, id, refused);
            }
            if !sqe.links() {
                if joins {
                    self.start_chain(&chain);
                } else if !refused {
                    self.hold(&[id], chain.drains);
                    self.try_head(id);
                }
                chain.members.clear();
                (chain.failed, chain.drains) = (false, None);
            }
            if refused && !sqe.links() && self.state.rings[index].submits_all {
                self.state.returns_rule = Rule::RingSubmitAllGoesOn;
            } else if refused && !sqe.links() {
                self.state.returns_rule = Rule::RingPrepFailureStops;
                if !self.has_fault(Fault::BatchGoesOn) {
                    break;
                }
            }
        }
        // a chain that the batch leaves open ends with the batch, and another thread runs it
        if let Some(head) = chain.members.first().filter(|_| !chain.failed) {
            self.hit(Rule::LinkOpenChainIsAsync);
            let has_thread = self.has_thread(ring);
            let head = self.request_mut(*head);
            head.is_led_away = !head.is_async || has_thread;
            head.is_async = true;
        }
        self.start_chain(&chain);
        self.note_posted(ring, first);
        if !self.state.rings[index].defers {
            self.run_deferred(ring);
        }
        consumed
    }

    /// Makes a request of an entry; says whether preparing it failed.
    fn admit(&mut self, ring: RingId, sqe: &Sqe, marked: Marked) -> (RequestId, bool) {
        let (prepared, locks_pages) = self.prepare(ring, sqe, marked);
        let drained = self.is_drained(ring, sqe, &prepared);
        let id = RequestId(self.state.next_id);
        self.state.next_id += 1;
        let mut request = Request {
            ring,
            user_data: sqe.user_data,
            phase: Phase::Issued,
            may: May::default(),
            notice: None,
            plan: None,
            looks_up: None,
            socket: None,
            reads: None,
            fills: Vec::new(),
            first: id,
            before: None,
            behind: None,
            cut: false,
            hard: sqe.flags & sqe_flag::HARDLINK != 0,
            short_is_failure: false,
            retries: false,
            never_waits: false,
            is_write: false,
            silent: sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0,
            // whoever runs it, it is not the one who submits
            is_async: drained || self.has_thread(ring) || sqe.flags & sqe_flag::ASYNC != 0,
            is_led_away: false,
            waits_for: None,
            canceller: self.cancel_of(ring, sqe.user_data),
            is_found: false,
            is_missed: false,
            is_found_elsewhere: false,
            swept: None,
            misses: false,
            may_be_early: false,
            has_ended: false,
            awaits_cancel: false,
            woken_at: None,
            seeks: false,
            opcode: sqe.opcode,
            cancels: None,
            only_target: None,
            polls_first: false,
            born: None,
            born_at: self.state.begun,
            imported: false,
            fixed: false,
            born_drains: self.state.drains,
            born_call: self.state.calls,
            posted: None,
            locks_pages,
            late: false,
            read: 0,
            is_deferred: false,
            waited: false,
            len_bytes: 0,
            lends_from: None,
        };
        self.more_to_cancel(ring, sqe.user_data);
        let mut refused = false;
        match prepared {
            Prepared::Refused { errors, notice } => {
                request.may.errors = errors;
                request.notice = notice.filter(|_| !self.has_fault(Fault::ErrorsForgetNotice));
                refused = true;
            }
            Prepared::Ready(plan) => {
                request.phase = Phase::Queued;
                if let Plan::Send(send) = &plan {
                    request.notice = send.notice;
                    request.short_is_failure = send.short_is_failure;
                    request.retries = send.retry == Retry::UntilAll;
                    request.never_waits = send.retry == Retry::Never;
                    request.polls_first = send.poll_first;
                    request.fixed = send.is_fixed();
                    request.lends_from = send.lends_from();
                    request.is_write = send.is_write;
                    if send.poll_first || request.is_async {
                        request.born = Some(Rc::clone(&self.state.generations));
                    }
                    request.len_bytes = send.len_bytes();
                }
                if let Plan::Read(read) = &plan {
                    request.short_is_failure = true;
                    request.len_bytes = read.len_bytes();
                }
                request.plan = Some(plan);
            }
            Prepared::NotModelled(what) => self.give_up(what),
        }
        self.state.requests.push(id, request);
        (id, refused)
    }

    fn has_thread(&self, ring: RingId) -> bool {
        self.state.rings[usize::from(ring.0)].has_thread
    }

    /// Prepares an entry, and charges it if it can be tried: pages that its user is charged.
    fn prepare(&mut self, ring: RingId, sqe: &Sqe, marked: Marked) -> (Prepared, u32) {
        let watched = Watched { space: self.space(), sink_was_read: Cell::new(false) };
        let mut prepared = prepare(sqe, self.law.profile, &watched);
        let state = &self.state.rings[usize::from(ring.0)];
        if state.polls {
            prepared = polled(sqe, prepared);
        }
        let large = state.has_large_completions;
        prepared = self.restricted(ring, sqe, prepared);
        if large && sqe.opcode == op::NOP && sqe.op_flags & nop_flag::CQE32 != 0 {
            prepared = Prepared::NotModelled("a nop with a large completion".into());
        }
        if marked == Marked::Refused {
            prepared = refused_with_skip(prepared);
        }
        if watched.sink_was_read.get() {
            return (Prepared::NotModelled("a header in memory that reads fill".into()), 0);
        }
        let Prepared::Ready(Plan::Send(send)) = &prepared else { return (prepared, 0) };
        match self.lock_for_send(send) {
            Ok(pages) => (prepared, pages),
            // a mixed send makes its notice only with the first byte that it lends
            Err(error) => {
                let notice = send.notice.filter(|_| send.elements.is_empty());
                (Prepared::Refused { errors: vec![error], notice }, 0)
            }
        }
    }

    /// A cancel at an unknown time that may yet find a request with this user data.
    fn cancel_of(&self, ring: RingId, user_data: u64) -> Option<RequestId> {
        let cancels = |r: &Request| r.ring == ring && r.cancels == Some(user_data) && r.phase != Phase::Done;
        self.state.requests.iter().find(|(_, request)| cancels(request)).map(|(id, _)| *id)
    }

    fn join(&mut self, chain: &mut Chain, id: RequestId, refused: bool) {
        let born = Rc::clone(&self.state.generations);
        self.request_mut(id).born = Some(born);
        if let Some(last) = chain.members.last() {
            self.request_mut(*last).behind = Some(id);
            self.request_mut(id).before = Some(*last);
            self.request_mut(id).first = chain.members[0];
        }
        chain.members.push(id);
        chain.failed |= refused;
    }

    fn start_chain(&mut self, chain: &Chain) {
        let Some((head, tail)) = chain.members.split_first() else { return };
        if tail.iter().any(|id| self.seeks(*id)) {
            self.give_up("a cancel of what is alike, behind another request");
        }
        if !chain.failed {
            self.hold(&chain.members, chain.drains);
            // whoever runs a member goes on with the next one
            for pair in chain.members.windows(2) {
                let elsewhere = self.request(pair[0]).is_async;
                let has_thread = self.has_thread(self.request(pair[0]).ring);
                let next = self.request_mut(pair[1]);
                next.is_led_away = elsewhere && (has_thread || !next.is_async);
                next.is_async |= elsewhere;
            }
            self.try_head(*head);
            return;
        }
        self.hit(Rule::LinkPrepFailureCutsAll);
        if self.request(*head).phase == Phase::Queued {
            self.end_untried(*head, Rule::LinkPrepFailureCutsAll);
        }
        let silently = self.request(*head).silent;
        for id in tail {
            self.cut(*id, Rule::LinkPrepFailureCutsAll, silently);
        }
    }

    /// Tries a request that nothing is before, unless it waits first for the socket to be writable.
    /// Its descriptor is looked up all the same.
    fn try_head(&mut self, id: RequestId) {
        let is_async = self.request(id).is_async;
        let send = match &self.request(id).plan {
            Some(Plan::Send(send)) if send.poll_first => send.clone(),
            _ => return self.try_first(id),
        };
        if send.imports_first {
            if self.check_registered(id, &send).iter().any(Option::is_some) {
                return self.try_first(id);
            }
            self.request_mut(id).imported = true;
        }
        let socket = match self.find_socket(id, &send) {
            Some(Ok(socket)) if send.retry != Retry::Never => socket,
            _ => return self.try_first(id),
        };
        self.request_mut(id).socket = Some(socket);
        if is_async {
            self.try_first(id);
        }
    }

    /// Ends a request that was never tried with `ECANCELED`.
    fn end_untried(&mut self, id: RequestId, rule: Rule) {
        let request = self.request_mut(id);
        request.plan = None;
        request.phase = Phase::Issued;
        request.is_async = false;
        request.may = May::fail(errno::ECANCELED, rule);
    }

    /// Ends a member of a chain because another failed. One that was refused keeps its own error.
    ///
    /// Where the member that failed would have posted nothing for a success, those that it cuts post
    /// nothing at all (`REQ_F_SKIP_LINK_CQES`).
    pub(super) fn cut(&mut self, id: RequestId, rule: Rule, silently: bool) {
        if self.request(id).phase == Phase::Queued {
            self.end_untried(id, rule);
        }
        let request = self.request_mut(id);
        request.cut = true;
        request.silent = false;
        if request.lends_from.is_some() {
            // it lent nothing
            request.notice = None;
        }
        if silently {
            self.hit(Rule::SkipCutsSilently);
            request_is_over(self.request_mut(id));
            self.retire(id);
        }
    }

    /// Tries what is queued behind requests that surely succeeded.
    pub(super) fn run_deferred(&mut self, ring: RingId) {
        if self.ready(ring).next().is_none() {
            return;
        }
        let batch = self.state.batch;
        let tried = |(id, request): &(&RequestId, &Request)| **id >= batch || request.phase == Phase::Queued;
        let mut together = Vec::with_capacity(self.state.requests.len());
        together.extend(self.state.requests.iter().filter(tried).map(|(id, _)| *id));
        let defers = self.state.rings[usize::from(ring.0)].defers;
        loop {
            let mut round: Vec<RequestId> = self.ready(ring).collect();
            let queued_at = |request: &Request| request.woken_at.unwrap_or(request.born_at);
            // what was woken comes behind what was handed on before
            round.sort_by_key(|id| queued_at(self.request(*id)));
            self.state.round = round;
            for at in 0..self.state.round.len() {
                self.run_now(self.state.round[at], &together, defers);
            }
            // where work is deferred, what it queues in turn need not run in the same enter
            if defers || self.state.round.is_empty() {
                break;
            }
        }
        self.state.round.clear();
        self.state.beside.clear();
    }

    /// Deferred work comes to a request that is ready, together with others.
    fn run_now(&mut self, id: RequestId, together: &[RequestId], defers: bool) {
        if self.waits_once_imported(id) {
            self.request_mut(id).imported = true;
            return;
        }
        let drains = self.state.drains;
        // a chain keeps its order whatever else is tried with it
        self.state.beside.clear();
        self.state.beside.extend_from_slice(together);
        let mut ahead = self.request(id).before;
        while let Some((before, request)) = ahead.and_then(|b| Some((b, self.state.requests.get(&b)?))) {
            ahead = request.before;
            self.state.beside.retain(|other| *other != before);
        }
        let before = self.request(id).before.and_then(|before| self.state.requests.get(&before));
        let waited = before.is_some_and(|before| before.waited);
        let begun = self.state.begun;
        let worked = self.state.rings[usize::from(self.request(id).ring.0)].worked;
        let request = self.request_mut(id);
        // when the one before it was tried is not known, nor then when this one was
        let earlier = if defers { request.born_call <= worked } else { request.born_at < begun };
        request.late |= waited || earlier || request.polls_first && (defers || request.born_drains != drains);
        request.waited |= waited || defers;
        self.try_first(id);
    }

    /// The queued requests of a ring that nothing keeps from being tried.
    pub(super) fn ready(&self, ring: RingId) -> impl Iterator<Item = RequestId> {
        let requests = self.state.requests.iter();
        let ready = requests.filter(move |(id, request)| {
            if request.ring != ring || request.phase != Phase::Queued {
                return false;
            }
            let before = request.before.and_then(|b| Some((b, self.state.requests.get(&b)?)));
            let defers = self.state.rings[usize::from(ring.0)].defers;
            let known = |before: &Request| !(defers && (before.late || before.fails_later()));
            let free = before.is_none_or(|(id, before)| {
                let sought = !before.hard && self.may_be_cancelled_unseen(id);
                before.surely_goes_on() && known(before) && !sought
            });
            let full = request.polls_first && self.is_full(request);
            free && (!full || self.import(**id, request).is_some())
        });
        ready.map(|(id, _)| *id)
    }

    /// Whether looking up its registered vector, which comes before any poll, surely fails or surely does not; `None`
    /// if that is not known, or was done.
    fn import(&self, id: RequestId, request: &Request) -> Option<bool> {
        let send = match &request.plan {
            Some(Plan::Send(send)) if send.imports_first && !request.imported => send,
            _ => return None,
        };
        let faults = self.check_registered(id, send);
        let fails = faults.iter().any(Option::is_some);
        (!fails || faults.iter().all(Option::is_some)).then_some(fails)
    }

    /// Whether all that is done now is to look up its registered vector, since the socket that it polls is full.
    fn waits_once_imported(&self, id: RequestId) -> bool {
        let request = self.request(id);
        request.polls_first && self.is_full(request) && self.import(id, request) == Some(false)
    }

    /// Whether the socket that a request polls first surely cannot be written.
    pub(super) fn is_full(&self, request: &Request) -> bool {
        let plan = match &request.plan {
            Some(Plan::Send(plan)) if plan.retry != Retry::Never => plan,
            _ => return false,
        };
        // a descriptor that was closed, or a file given up, before it was looked up is nobody's
        let tables = &self.state.rings[usize::from(request.ring.0)].tables;
        let found = |socket: &SocketId| match plan.fixed_file {
            true => tables.file(plan.fd).is_some(),
            false => self.is_open(*socket),
        };
        let socket = request.socket.or_else(|| self.plan_socket(request).filter(found));
        let stream = socket.and_then(|socket| self.stream(socket));
        stream.is_some_and(|s| s.room.full && s.connection == Connection::Open)
    }

    pub(crate) fn request(&self, id: RequestId) -> &Request {
        self.state.requests.get(&id).expect("requests are named only while they live")
    }

    pub(super) fn request_mut(&mut self, id: RequestId) -> &mut Request {
        self.state.requests.get_mut(&id).expect("requests are named only while they live")
    }
}

/// Ends a request without a completion.
fn request_is_over(request: &mut Request) {
    request.phase = Phase::Done;
    request.plan = None;
    request.may = May::default();
}
