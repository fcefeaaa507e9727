//! What a cancel ends that another thread runs: its target, and at times what is hard-linked behind that.
//!
//! Source: `io_run_cancel` in `io_uring/io-wq.c`, `io_wq_free_work` in `io_uring/io_uring.c`, 6.18. The thread fails
//! its target by work of the submitter and then gives up its own reference. If the submitter was quicker, the last
//! reference is the thread's, which then gets the next member of the chain and cancels that too.

use super::World;
use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::may::May;
use crate::prepare::Plan;
use crate::program::RingId;
use crate::request::{Phase, Request, RequestId, Swept};
use crate::rules::Rule;

const CANCELLED: Res = Res::Err(Errno(errno::ECANCELED));

impl World<'_> {
    /// A cancel that another thread ran has this result.
    pub(super) fn found_elsewhere(&mut self, id: RequestId, target: u64, res: Res) {
        let ring = self.request(id).ring;
        let found = res == Res::Bytes(0);
        let others = self.seekers_elsewhere(ring, target).any(|other| other != id);
        if !self.request(id).is_async || !found && others {
            return;
        }
        for other in self.requests_with(ring, target).collect::<Vec<_>>() {
            self.request_mut(other).is_found_elsewhere |= found;
        }
        let swept = |other: &Request| other.ring == ring && other.swept.is_some_and(|s| s.target == target);
        self.state.requests.change(RequestId(0), swept, |_, other| {
            let is_known = other.swept.is_some_and(|swept| swept.is_known) || found;
            other.swept = is_known.then_some(Swept { target, is_known });
        });
    }

    /// Cancels of this user data that another thread runs and whose result was not seen.
    fn seekers_elsewhere(&self, ring: RingId, user_data: u64) -> impl Iterator<Item = RequestId> {
        let requests = self.state.requests.iter().filter(move |(_, other)| {
            let seeks = match other.plan {
                Some(Plan::Cancel { target }) => target == user_data,
                _ => other.cancels == Some(user_data) && other.phase != Phase::Done,
            };
            seeks && other.is_async && other.ring == ring
        });
        requests.map(|(id, _)| *id)
    }

    /// What is behind `id` in its chain may be swept if that ended with `res`.
    pub(super) fn sweep_behind(&mut self, id: RequestId, res: Res) {
        if res != CANCELLED {
            return;
        }
        let request = self.request(id);
        if !request.hard || !request.is_async || request.cut {
            return;
        }
        let target = request.user_data;
        // what is behind it in its chain waits for its end
        let sought = self
            .seekers_elsewhere(request.ring, target)
            .any(|seeker| self.chain_before(seeker).all(|before| before != id));
        let own = Swept { target, is_known: request.is_found_elsewhere };
        let swept = request.swept.or((own.is_known || sought).then_some(own));
        if let Some(next) = request.behind.and_then(|next| self.state.requests.get_mut(&next)) {
            next.swept = next.swept.filter(|swept| swept.is_known).or(swept);
        }
    }

    /// Whether the request may post this result because a cancel has swept its chain.
    pub(super) fn is_swept(&self, id: RequestId, res: Res) -> bool {
        self.request(id).swept.is_some() && res == CANCELLED
    }

    /// The request was swept: so the cancel of what was before it has found that.
    pub(super) fn was_swept(&mut self, id: RequestId) {
        let ring = self.request(id).ring;
        let Some(swept) = self.request(id).swept.filter(|swept| !swept.is_known) else { return };
        self.request_mut(id).swept = Some(Swept { is_known: true, ..swept });
        let mut seekers = self.seekers_elsewhere(ring, swept.target);
        if let (Some(only), None) = (seekers.next(), seekers.next()) {
            drop(seekers);
            let only = self.request_mut(only);
            (only.may, only.has_ended) = (May::exactly(0, Rule::CancelFound), true);
        }
    }
}
