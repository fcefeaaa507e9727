//! Cancelling by a call: it returns when what it found has ended.
//!
//! It errs on the side of silence: nothing is said where what it names may be under way.
//!
//! Source: `io_sync_cancel` in `io_uring/cancel.c`, 6.18.

use super::World;
use crate::abi::errno;
use crate::cqe::Errno;
use crate::program::RingId;
use crate::request::{Phase, RequestId};
use crate::rules::Rule;

impl World<'_> {
    /// What cancelling the request with this user data comes to.
    pub(super) fn cancel_in_call(&mut self, ring: RingId, target: u64) -> Result<i64, (Errno, Rule)> {
        let not_found = Err((Errno(errno::ENOENT), Rule::CancelCallNotFound));
        let named = self.requests_with(ring, target);
        let found: Vec<RequestId> = named
            .filter(|id| self.request(*id).phase != Phase::Done && self.request(*id).posted.is_none())
            .collect();
        let [found] = found[..] else {
            if !found.is_empty() {
                self.give_up("a call that cancels one of several");
            }
            return not_found;
        };
        let request = self.request(found);
        let is_sought =
            request.canceller.is_some() || request.is_found || self.may_be_cancelled_unseen(found);
        let is_alone = !request.is_async && !request.is_deferred && request.woken_at.is_none() && !is_sought;
        if is_alone && request.phase == Phase::Armed && !request.cut {
            let taken = self.taken(found);
            self.mark_cancelled(found, taken, None);
            let begun = self.state.begun;
            if self.state.rings[usize::from(ring.0)].defers {
                self.request_mut(found).woken_at = Some(begun);
            }
            return Ok(0);
        }
        let is_behind = request.phase == Phase::Queued && request.socket.is_none();
        if !is_behind || is_sought || self.may_have_begun(request) {
            self.give_up("a call that cancels what may be under way");
        }
        not_found
    }
}
