//! Calls to enter by hand: what they return, and what the words of a ring say behind them.
//!
//! It errs on the side of silence: of a wait without a time whose end nothing promises nothing is said.
//!
//! Source: `io_uring_enter`, `io_submit_sqes`, `io_get_sqe`, `io_get_ext_arg`, `io_cqring_wait` in
//! `io_uring/io_uring.c`, 6.18.

use std::collections::BTreeSet;

use super::{Decision, World};
use crate::abi::{enter, errno, sq_flag};
use crate::enter::{Argument, Enter, On, known_flags};
use crate::net::Holds;
use crate::notice::{Stage, Used};
use crate::program::{RingId, Step};
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;
use crate::trace::Words;

impl World<'_> {
    /// A step puts entries on a queue; false if nothing can be said of that.
    pub(super) fn put_on_queue(&mut self, ring: RingId, step: &Step) -> bool {
        let Some(state) = self.ring_mut(ring) else { return false };
        let array = match step {
            Step::Queue { array, .. } => array.as_slice(),
            _ => &[],
        };
        let entries = step.entries().len();
        let of_others = |index: &u32| (entries..state.sq_entries).contains(&(*index as usize));
        if state.permuted && !state.left.is_empty() {
            self.give_up("entries behind indices that may name the same slots");
        } else if !array.is_empty() && (state.has_no_array || array.iter().any(of_others)) {
            self.give_up("indices of slots that were filled before");
        } else if state.left.len() + entries.max(array.len()) > state.sq_entries {
            self.give_up("more entries than the submission queue holds");
        } else {
            state.permuted = !array.is_empty();
            state.left.extend(step.queued().map(Option::<&_>::copied));
            return true;
        }
        false
    }

    /// One call as it is.
    pub(super) fn call_enter(&mut self, call: &Enter) {
        let flags = call.all_flags();
        if flags & !known_flags(self.law.profile.version) != 0 {
            return self.returns(errno::EINVAL, Rule::RingEnterFlagsKnown);
        }
        if flags & (enter::REGISTERED_RING | enter::EXT_ARG_REG) != 0 {
            return self.give_up("an enter with what was registered for it");
        }
        match call.on {
            On::Ring => {}
            On::Closed => return self.returns(errno::EBADF, Rule::RingEnterDescriptor),
            On::NoRing => return self.returns(errno::EOPNOTSUPP, Rule::RingEnterDescriptor),
        }
        let ring = call.ring;
        let Some(state) = self.ring_mut(ring) else { return };
        if state.is_disabled {
            return self.returns(errno::EBADFD, Rule::RingDisabledRefuses);
        }
        if state.has_thread {
            return self.call_to_thread(call);
        }
        self.state.returns_rule = Rule::RingSubmitCount;
        let asked = call.to_submit as usize;
        let consumed = if asked > 0 { self.submit(ring, asked) } else { 0 };
        self.state.returns = Some(consumed as i64);
        if consumed < asked {
            if self.state.returns_rule == Rule::RingSubmitCount {
                self.state.returns_rule = Rule::RingShortReturnsAtOnce;
            }
            return;
        }
        if flags & enter::GETEVENTS == 0 {
            return;
        }
        if asked > 0 && self.state.returns_rule == Rule::RingSubmitCount {
            self.state.returns_rule = Rule::RingCountHidesWait;
        }
        self.get_events(call);
    }

    /// A call on a ring of which a thread takes the entries: it may wake it, and returns what it was asked for.
    fn call_to_thread(&mut self, call: &Enter) {
        let (ring, flags) = (call.ring, call.all_flags());
        let state = &self.state.rings[usize::from(ring.0)];
        let stays_full = state.left.len() == state.sq_entries && flags & enter::SQ_WAKEUP == 0;
        if flags & enter::SQ_WAIT != 0 && stays_full {
            return self.give_up("a wait for a thread that nobody wakes");
        }
        if flags & enter::SQ_WAKEUP != 0 {
            self.wake(ring);
        }
        let asked = Some(call.to_submit.into());
        (self.state.returns, self.state.returns_rule) = (asked, Rule::RingThreadCount);
        if flags & enter::GETEVENTS != 0 {
            self.get_events(call);
        }
    }

    /// The thread of a ring is woken, and takes what stands on the queue.
    pub(super) fn wake(&mut self, ring: RingId) {
        self.state.rings[usize::from(ring.0)].is_asleep = false;
        while !self.state.rings[usize::from(ring.0)].left.is_empty() {
            self.submit(ring, usize::MAX);
        }
    }

    /// The part of a call behind what it consumes.
    fn get_events(&mut self, call: &Enter) {
        let (ring, flags, asked) = (call.ring, call.all_flags(), call.to_submit);
        let defers = self.state.rings[usize::from(ring.0)].defers;
        let refused = match call.argument {
            Argument::None if flags & enter::EXT_ARG != 0 => Some(errno::EINVAL),
            Argument::None | Argument::NoTime => None,
            Argument::Short => Some(errno::EINVAL),
            // whoever polls does not wait
            Argument::BadTime if self.state.rings[usize::from(ring.0)].polls => None,
            Argument::BadTime | Argument::Unreadable => Some(errno::EFAULT),
        };
        if let Some(error) = refused {
            if asked == 0 {
                self.returns(error, Rule::RingWaitArgument);
            } else if defers {
                self.run_work(ring);
                self.state.rings[usize::from(ring.0)].queue.leave(true);
            }
            return;
        }
        self.run_work(ring);
        self.state.rings[usize::from(ring.0)].queue.leave(true);
        self.flush(ring);
        if !self.state.rings[usize::from(ring.0)].polls {
            self.wait(call);
        }
    }

    fn returns(&mut self, error: u16, rule: Rule) {
        (self.state.returns, self.state.returns_rule) = (Some(-i64::from(error)), rule);
    }

    /// The call waits, by its time or until enough has come.
    fn wait(&mut self, call: &Enter) {
        let queue = &self.state.rings[usize::from(call.ring.0)].queue;
        let wanted = call.wanted.min(queue.entries());
        if call.to_submit == 0 && wanted > 0 {
            self.state.returns_rule = Rule::RingWaitEnds;
        }
        if wanted <= queue.least() {
            return;
        }
        if call.argument == Argument::None {
            if self.coming(call.ring) < wanted as usize {
                return self.give_up("a wait that nothing promises to end");
            }
            self.state.rings[usize::from(call.ring.0)].queue.tell(wanted);
        } else if call.to_submit == 0 {
            let is_there = queue.least() > 0;
            let (mut posts, mut comes) = (is_there, false);
            self.each_completion(Some(call.ring), |_| comes = true);
            let silent = self.state.requests.values().any(|r| r.ring == call.ring && r.silent);
            posts |= comes || silent;
            self.state.returns_rule = Rule::RingWaitTimeout;
            match (is_there, posts) {
                (true, _) => {}
                (false, false) => self.returns(errno::ETIME, Rule::RingWaitTimeout),
                (false, true) => {
                    self.state.returns_or = Some((-i64::from(errno::ETIME), comes.then_some(call.ring)));
                }
            }
        }
    }

    /// How many completions of a ring surely come, or are there.
    fn coming(&self, ring: RingId) -> usize {
        let of_ring = self.state.requests.iter().filter(|(_, request)| request.ring == ring);
        let notifies = |id, request: &Request| {
            let over = request.posted.is_some() && !request.cut && request.notice.is_some();
            over && self.holds(id, request) == Holds::No
        };
        let owed = |(id, request): (&RequestId, &Request)| {
            usize::from(self.owed_by(*id).is_some()) + usize::from(notifies(*id, request))
        };
        of_ring.map(owed).sum()
    }

    /// A ring says this of itself.
    pub(super) fn words_are(&mut self, words: Words) -> Result<(), Rule> {
        let ring = words.ring;
        let Some(state) =
            self.state.rings.get(usize::from(ring.0)).filter(|_| self.state.words_owed == Some(ring))
        else {
            return self.refuse(Rule::RingOverflowFlag);
        };
        self.hold_to(words.dropped == state.dropped, Rule::RingBadIndexDropped)?;
        self.hold_to(words.queued as usize == state.left.len(), Rule::RingHeadMoves)?;
        let has = |flag: u32| words.flags & flag != 0;
        if state.has_taskrun_flag || has(sq_flag::TASKRUN) {
            let fits = |waits| waits == has(sq_flag::TASKRUN);
            self.hold_to(self.work_waits(ring).is_none_or(fits), Rule::RingTaskrunFlag)?;
        }
        let fits = match (state.has_thread, state.is_asleep) {
            (true, true) => has(sq_flag::NEED_WAKEUP),
            (true, false) => true,
            (false, _) => !has(sq_flag::NEED_WAKEUP),
        };
        self.hold_to(fits, Rule::RingNeedsWakeup)?;
        self.narrow_overflow(ring, has(sq_flag::CQ_OVERFLOW))?;
        let known = sq_flag::NAMES.iter().fold(0, |all, (_, bit)| all | bit);
        self.hold_to(words.flags & !known == 0, Rule::RingNeedsWakeup)?;
        self.state.words_owed = None;
        Ok(())
    }

    /// Whether work of a ring waits for a call, if that is known. Where it is deferred, the notification of a send that
    /// failed before anything was sent surely does.
    fn work_waits(&self, ring: RingId) -> Option<bool> {
        let state = &self.state.rings[usize::from(ring.0)];
        if !state.has_taskrun_flag {
            return Some(false);
        }
        let mut is_idle = true;
        for (id, request) in self.state.requests.iter().filter(|(_, request)| request.ring == ring) {
            let notifies =
                request.notice.is_some_and(|n| n.stage != Stage::Posted) && !state.ran.contains(id);
            let sent_nothing = request.notice.is_some_and(|notice| notice.used == Used::Nothing);
            let failed = match request.phase {
                Phase::Done => sent_nothing,
                _ => request.posted.is_some() && request.may.bytes.is_none(),
            };
            if notifies && failed && state.defers && request.born_call > state.worked {
                return Some(true);
            }
            is_idle &= !notifies && (request.posted.is_some() || request.phase == Phase::Done);
        }
        if is_idle { Some(false) } else { None }
    }

    /// A call runs what was deferred: notifications of what is surely released are posted.
    pub(super) fn note_ran(&mut self, ring: RingId) {
        if !self.state.rings[usize::from(ring.0)].has_taskrun_flag {
            return;
        }
        let of_ring = self.state.requests.iter().filter(|(_, request)| request.ring == ring);
        let over = |request: &Request| request.posted.is_some() || request.phase == Phase::Done;
        let ran = of_ring.filter(|(id, r)| over(r) && self.holds(**id, r) == Holds::No).map(|(id, _)| *id);
        let ran: BTreeSet<RequestId> = ran.collect();
        self.state.rings[usize::from(ring.0)].ran = ran;
    }

    /// What the words of a ring may say; beyond that where a rule that is off must show.
    pub(crate) fn possible_words(&self, ring: RingId) -> Vec<Decision> {
        let Some(state) = self.state.rings.get(usize::from(ring.0)) else { return Vec::new() };
        let (dropped, queued) = (state.dropped, state.left.len() as u32);
        let more = u32::from(self.law.mutation.is_some());
        let counts = (0..=more).flat_map(|d| (0..=more).map(move |q| (dropped + d, queued + q)));
        let all = counts.flat_map(|(dropped, queued)| {
            (0..8).map(move |flags| Decision::Words(Words { ring, flags, dropped, queued }))
        });
        all.filter(|decision| self.clone().after(*decision).is_ok()).collect()
    }
}
