//! The completion queue of a ring: how much of what was posted stands in it, and in which order it comes.
//!
//! What finds no room waits in the kernel, in order, and is moved into the queue only by an enter with
//! `GETEVENTS`. Which completions were posted is often not known, so what stands in the queue is a range. It
//! errs on the side of allowing: only what a call surely posted is counted on.
//!
//! Source: `io_cqe_cache_refill`, `io_cqring_add_overflow`, `__io_cqring_overflow_flush` in
//! `io_uring/io_uring.c`, 6.18.

use super::World;
use crate::notice::Stage;
use crate::program::{RingId, Step};
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;

/// Whether completions wait in the kernel because they found no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outside {
    /// None.
    #[default]
    No,
    /// Perhaps.
    Maybe,
    /// Some.
    Surely,
}

/// The completions of one ring that were posted and not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Queue {
    /// Room for so many.
    entries: u32,
    /// The calls that surely posted some, in order, each with how many.
    posted: Vec<(u32, u32)>,
    /// The sum of `posted`.
    sure: u32,
    /// So many at least stand in the queue.
    least: u32,
    /// So many at most, where some may wait outside.
    most: u32,
    outside: Outside,
    /// A call has told that so many at least are to be taken.
    told: u32,
    /// A call has run deferred work, and what it posted was not taken.
    untaken: bool,
    /// The last enter with `GETEVENTS` may have moved some into the queue.
    flushed: bool,
}

impl Queue {
    /// An empty one. The kernel rounds up what is asked for, and makes twice the entries of the submission
    /// queue where nothing is.
    pub(crate) fn new(cq_entries: Option<u32>, sq_entries: usize) -> Queue {
        let asked = cq_entries.unwrap_or(2 * sq_entries as u32);
        Queue { entries: asked.clamp(1, 65536).next_power_of_two(), ..Queue::default() }
    }

    /// A call surely posted so many. `more`: there may be more than fit.
    fn post(&mut self, call: u32, count: u32, more: bool) {
        if count > 0 {
            match self.posted.last_mut() {
                Some((last, posted)) if *last == call => *posted += count,
                _ => self.posted.push((call, count)),
            }
            self.sure += count;
        }
        match self.outside {
            Outside::No => {
                self.least = self.entries.min(self.sure);
                self.most = self.entries;
                self.set_outside(more);
            }
            Outside::Maybe if self.sure > self.entries => self.overflows(),
            Outside::Maybe | Outside::Surely => {}
        }
    }

    /// An enter with `GETEVENTS`: what waits outside is moved into the queue, as far as there is room.
    fn flush(&mut self, more: bool) {
        self.flushed = self.outside != Outside::No;
        self.least = self.entries.min(self.sure);
        self.most = self.entries;
        self.set_outside(more);
    }

    /// Some wait outside; how many were put into the queue before is not known.
    fn overflows(&mut self) {
        self.outside = Outside::Surely;
        self.most = self.entries;
    }

    fn set_outside(&mut self, more: bool) {
        self.outside = match more {
            _ if self.sure > self.entries => Outside::Surely,
            true => Outside::Maybe,
            false => Outside::No,
        };
    }

    /// Room for so many.
    pub(super) fn entries(&self) -> u32 {
        self.entries
    }

    /// So many at least stand in the queue.
    pub(super) fn least(&self) -> u32 {
        self.least
    }

    /// A call has told that so many at least stand in the queue.
    pub(super) fn tell(&mut self, count: u32) {
        self.told = self.told.max(count);
    }

    /// Whether completions of deferred work may have been posted that were not taken: outside, or by a call that leaves
    /// them in the queue.
    pub(super) fn may_hold_unseen(&self) -> bool {
        self.outside != Outside::No || self.untaken
    }

    /// Whether a call has run deferred work and left what it posted.
    pub(super) fn leave(&mut self, untaken: bool) {
        self.untaken = untaken;
    }

    /// Whether nothing more stands in the queue: while some wait outside, those that come later wait behind them.
    fn is_empty(&self) -> bool {
        self.outside == Outside::Surely && self.most == 0
    }

    /// One was taken, which this call surely posted.
    fn take(&mut self, call: Option<u32>) {
        self.most = self.most.saturating_sub(1);
        self.told = self.told.saturating_sub(1);
        // one that was not surely posted may have had the place of one that was
        if call.is_some() || self.outside != Outside::No {
            self.least = self.least.saturating_sub(1);
        }
        let Some(call) = call else { return };
        self.sure = self.sure.saturating_sub(1);
        if let Some(i) = self.posted.iter().position(|(posted, _)| *posted == call) {
            self.posted[i].1 -= 1;
            if self.posted[i].1 == 0 {
                self.posted.remove(i);
            }
        }
    }
}

impl World<'_> {
    /// Whether a ring may owe more completions than its queue has room for, that of a fence's nop among them.
    fn may_overflow(&self, ring: RingId) -> bool {
        let nops = usize::from(matches!(self.step(), Some(Step::Fence { .. })));
        let Some(entries) = self.state.rings.get(usize::from(ring.0)).map(|r| r.queue.entries as usize)
        else {
            return false;
        };
        let owed = |request: &Request| {
            let notifies = request.notice.is_some_and(|n| n.stage != Stage::Posted);
            usize::from(request.phase != Phase::Done) + usize::from(notifies)
        };
        let of_ring = self.state.requests.values().filter(|r| r.ring == ring);
        let most = self.state.requests.len() * 2 + nops;
        most > entries && of_ring.map(owed).sum::<usize>() + nops > entries
    }

    /// Notes what the call that ends here has surely posted: the results of heads that were tried and can
    /// wait for nothing.
    pub(super) fn note_posted(&mut self, ring: RingId, first: RequestId) {
        let more = self.may_overflow(ring);
        let call = self.state.calls;
        let mut count = 0;
        let surely_posts = |request: &Request| {
            let head = request.before.is_none() && !request.cut && !request.late;
            let inline =
                !request.is_async && !request.polls_first && !request.silent && request.reads.is_none();
            let certain =
                request.phase == Phase::Issued && request.may.is_certain() && !request.fails_later();
            request.ring == ring && head && inline && certain && request.canceller.is_none()
        };
        self.state.requests.change(first, surely_posts, |_, request| {
            request.posted = Some(call);
            count += 1;
        });
        self.state.rings[usize::from(ring.0)].queue.post(call, count, more);
    }

    /// An enter with `GETEVENTS`.
    pub(super) fn flush(&mut self, ring: RingId) {
        let more = self.may_overflow(ring);
        if let Some(state) = self.state.rings.get_mut(usize::from(ring.0)) {
            state.queue.flush(more);
        }
    }

    /// Whether a completion of the request may be the next that is taken.
    #[inline]
    pub(super) fn judge_turn(&self, request: &Request) -> Result<(), Rule> {
        let queue = &self.state.rings[usize::from(request.ring.0)].queue;
        match queue.posted[..] {
            [] => {}
            [(only, _)] if request.posted == Some(only) => {}
            [(first, _), ..] => self.hold_to(request.born_call <= first, Rule::RingPostedInOrder)?,
        }
        if self.state.flag_owed.is_some() {
            // whoever peeks looks at the flag first
            self.refuse(Rule::RingOverflowFlag)?;
        }
        if queue.is_empty() {
            match self.step() {
                Some(Step::Peek { .. }) => self.refuse(Rule::RingEnterFlushes)?,
                _ if self.refills(request.ring) => {}
                _ => self.refuse(Rule::RingOverflowWaits)?,
            }
        }
        Ok(())
    }

    /// The step that was begun last.
    pub(super) fn step(&self) -> Option<&Step> {
        self.law.program.steps.get(self.state.begun.checked_sub(1)? as usize)
    }

    /// A completion of the request is taken.
    pub(super) fn take_from_queue(&mut self, id: RequestId, is_result: bool) {
        let request = self.request_mut(id);
        let call = if is_result { request.posted.take() } else { None };
        let ring = request.ring;
        if self.state.rings[usize::from(ring.0)].queue.is_empty() && self.refills(ring) {
            self.flush(ring);
        }
        let queue = &mut self.state.rings[usize::from(ring.0)].queue;
        if queue.outside != Outside::No {
            self.hit(Rule::RingOverflowWaits);
        }
        self.state.rings[usize::from(ring.0)].queue.take(call);
    }

    /// Whether this step enters again once it has emptied the queue.
    fn refills(&self, ring: RingId) -> bool {
        match self.step() {
            _ if self.law.partial => true,
            Some(Step::Reap { ring: reaped, until }) => *reaped == ring && !self.may_stop(ring, until),
            Some(Step::Fence { .. } | Step::Settle) => true,
            _ => false,
        }
    }

    /// The ring says whether completions wait outside its queue.
    pub(super) fn overflow_is(&mut self, ring: RingId, set: bool) -> Result<(), Rule> {
        if self.state.flag_owed != Some(ring) {
            return self.refuse(Rule::RingOverflowFlag);
        }
        self.narrow_overflow(ring, set)?;
        self.state.flag_owed = None;
        Ok(())
    }

    /// As it says whether completions wait outside its queue, so it is.
    pub(super) fn narrow_overflow(&mut self, ring: RingId, set: bool) -> Result<(), Rule> {
        let Some(state) = self.state.rings.get(usize::from(ring.0)) else {
            return self.refuse(Rule::RingOverflowFlag);
        };
        let fits = match state.queue.outside {
            Outside::No => !set,
            Outside::Maybe => true,
            Outside::Surely => set,
        };
        self.hold_to(fits, Rule::RingOverflowFlag)?;
        let queue = &mut self.state.rings[usize::from(ring.0)].queue;
        match (queue.outside, set) {
            (Outside::Maybe, true) => queue.overflows(),
            (Outside::Maybe, false) => queue.least = queue.entries.min(queue.sure),
            _ => {}
        }
        Ok(())
    }

    /// Whether whoever takes completions from `ring` may stop here: what surely stood in the queue was taken.
    pub(crate) fn judge_taken(&self, ring: RingId) -> Result<(), Rule> {
        let Some(state) = self.state.rings.get(usize::from(ring.0)) else { return Ok(()) };
        match self.step() {
            _ if self.law.partial => Ok(()),
            _ if state.queue.told > 0 => self.refuse(Rule::RingWaitEnds),
            Some(Step::Reap { .. }) if state.queue.flushed => {
                self.hold_to(state.queue.least == 0, Rule::RingEnterFlushes)
            }
            Some(Step::Peek { .. } | Step::Reap { .. }) => {
                self.hold_to(state.queue.least == 0, Rule::RingPostedIsThere)
            }
            Some(Step::Fence { .. }) => self.hold_to(state.queue.sure == 0, Rule::RingPostedInOrder),
            _ => Ok(()),
        }
    }
}
