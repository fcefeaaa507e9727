//! Locked memory: what a user without `CAP_IPC_LOCK` is charged, and when it is given back.
//!
//! Charged are rings, registered buffers, and zero-copy sends from memory that is not registered, all to the user
//! who made the rings. A charge that may or may not fit, since it is not known whether another was given back, is
//! not judged.
//!
//! Source: `__io_account_mem` in `io_uring/rsrc.c`, `io_notif_account_mem` in `io_uring/notif.h`,
//! `io_create_region` in `io_uring/memmap.c`, 6.18.

use super::World;
use crate::abi::{PAGE_BYTES, errno, setup};
use crate::cqe::Errno;
use crate::mutation::{Fault, Mutation};
use crate::net::Holds;
use crate::prepare::SendPlan;
use crate::profile::Feature;
use crate::program::RingSetup;
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;

/// What the kernel keeps in the rings beside their entries (`struct io_rings`).
const HEADER_BYTES: u64 = 64;

/// Pages of a ring: those of its queues, and those of its submission queue entries.
fn ring_pages(setup: &RingSetup) -> u64 {
    let sq = u64::from(setup.entries.clamp(1, 32768).next_power_of_two());
    let cq = setup.cq_entries.map_or(2 * sq, |cq| u64::from(cq.clamp(1, 65536).next_power_of_two()));
    let array = if setup.flags & setup::NO_SQARRAY != 0 { 0 } else { 4 * sq };
    let cqe_bytes = if setup.flags & setup::CQE32 != 0 { 32 } else { 16 };
    let sqe_bytes = if setup.flags & setup::SQE128 != 0 { 128 } else { 64 };
    let queues = HEADER_BYTES + (cqe_bytes * cq).next_multiple_of(64) + array;
    queues.div_ceil(PAGE_BYTES) + (sqe_bytes * sq).div_ceil(PAGE_BYTES)
}

/// Pages that a zero-copy send of so many bytes is charged.
fn send_pages(len_bytes: u64) -> u64 {
    len_bytes / PAGE_BYTES + 2
}

impl World<'_> {
    /// Pages that the user may lock, if that is limited.
    fn locked_most(&self) -> Option<u64> {
        let limits = &self.law.program.limits;
        limits.memlock_bytes.filter(|_| limits.unprivileged).map(|bytes| bytes / PAGE_BYTES)
    }

    fn rings_locked(&self) -> u64 {
        let off = self.law.mutation == Some(Mutation::Off(Rule::MemlockRings));
        if off || !self.law.profile.has(Feature::RingsLocked) {
            return 0;
        }
        self.law.program.rings.iter().map(ring_pages).sum()
    }

    /// The fewest and the most pages that can still be locked, in the middle of a submission or not; `None`
    /// where there is no limit.
    pub(super) fn lockable(&self, submitting: bool) -> Option<(u64, u64)> {
        let limit = self.locked_most()?;
        let tables: u64 = self.state.rings.iter().map(|ring| ring.tables.buffers.pages()).sum();
        let (mut surely, mut maybe) = (self.rings_locked() + tables, self.state.lingering_pages);
        for (id, request) in self.state.requests.iter().filter(|(_, r)| r.locks_pages > 0) {
            let pages = u64::from(request.locks_pages);
            // no notification is made while entries are taken
            let same_call = submitting && request.born_call == self.state.calls;
            if same_call || self.surely_locks(*id, request) { surely += pages } else { maybe += pages }
        }
        Some((limit.saturating_sub(surely + maybe), limit.saturating_sub(surely)))
    }

    /// Whether the notification of a request cannot have been made, so that its pages are still charged.
    fn surely_locks(&self, id: RequestId, request: &Request) -> bool {
        let ring = &self.state.rings[usize::from(request.ring.0)];
        let unworked = ring.defers && request.born_call > ring.worked;
        // a member of a chain waits only as long as the one that was tried before it does
        let mut tried = request;
        while let (Phase::Queued, Some(before)) = (tried.phase, tried.before) {
            let Some(before) = self.state.requests.get(&before) else { break };
            tried = before;
        }
        // a thread may have given it up, or a cancel have ended it
        let given_up = |r: &Request| r.polls_first && r.is_led_away || r.canceller.is_some();
        let waits = tried.phase == Phase::Armed || (tried.phase == Phase::Queued && !tried.is_async);
        let waits = waits && !given_up(tried);
        // one that may have failed refers to nothing
        let failed = request.phase != Phase::Done && (given_up(request) || !request.may.errors.is_empty());
        unworked || waits || !failed && self.holds(id, request) == Holds::Surely
    }

    /// Charges a send that was prepared: how many pages, or how it is refused.
    pub(super) fn lock_for_send(&mut self, plan: &SendPlan) -> Result<u32, (Errno, Rule)> {
        let charged = plan.unregistered_bytes();
        if plan.notice.is_none() || plan.fixed.is_some() || (charged == 0 && !plan.elements.is_empty()) {
            return Ok(0);
        }
        let Some((least, most)) = self.lockable(true) else { return Ok(0) };
        let pages = send_pages(charged);
        let fits = pages <= least || self.has_fault(Fault::LockedUnlimited);
        if !fits && (pages <= most || !self.law.profile.has(Feature::PrepLocks)) {
            self.give_up("a zero-copy send that may or may not be more than may be locked");
        }
        if fits { Ok(pages as u32) } else { Err((Errno(errno::ENOMEM), Rule::MemlockSends)) }
    }

    /// The rule that a send with `ENOMEM` breaks, where locked memory is limited and it is not the limit.
    pub(super) fn unlocked_rule(&self, request: &Request, res: crate::cqe::Res) -> Option<Rule> {
        let limited = request.notice.is_some()
            && self.locked_most().is_some()
            && res == crate::cqe::Res::Err(Errno(errno::ENOMEM));
        let registered = request.locks_pages == 0;
        let rule = if registered { Rule::MemlockRegisteredFree } else { Rule::MemlockGivenBack };
        limited.then_some(rule)
    }

    /// What rings lock is more than may be locked, so the program cannot begin.
    pub(super) fn check_rings_fit(&mut self) {
        if self.locked_most().is_some_and(|most| self.rings_locked() > most) {
            self.give_up("rings that are more than may be locked");
        }
        let limits = &self.law.program.limits;
        if limits.unprivileged && limits.memlock_bytes.is_none() {
            self.give_up("a limit on locked memory that is not known");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_have_the_pages_that_were_measured() {
        let pages = |entries, cq_entries, flags| ring_pages(&RingSetup { entries, cq_entries, flags });
        let measured = [(1, 2), (8, 2), (64, 2), (65, 4), (128, 4), (256, 7), (1024, 26)];
        for (entries, expected) in measured {
            assert_eq!(pages(entries, None, 0), expected, "{entries} entries");
        }
        assert_eq!(pages(4, Some(1024), 0), 6);
        assert_eq!(pages(32, Some(256), 0), 3);
        assert_eq!(pages(64, Some(256), setup::NO_SQARRAY), 3);
    }
}
