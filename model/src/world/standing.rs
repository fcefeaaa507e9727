//! What is open in a state: which requests may still post something, and what.

use super::World;
use crate::cqe::Usage;
use crate::may::May;
use crate::net::Holds;
use crate::notice::Stage;
use crate::program::RingId;
use crate::request::{Phase, Request, RequestId};
use crate::verdict::Promise;

/// A request that may still post something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The request.
    pub request: RequestId,
    /// Its ring.
    pub ring: RingId,
    /// What its completions carry.
    pub user_data: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// The user data of the member of its chain before it, while that is not done.
    pub behind: Option<u64>,
    /// What its result may be, while that was not seen and the request was tried.
    pub result: Option<May>,
    /// Whether its result has `MORE`; once that was seen, whether it had.
    pub announces: bool,
    /// What its notification may say, if one is to come.
    pub usages: Vec<Usage>,
    /// Whether a queue refers to its bytes.
    pub holds: Holds,
    /// Whether its memory is the kernel's: it may yet be read, or is referred to.
    pub lends: bool,
    /// What comes of it although nobody does anything more.
    pub owed: Option<Promise>,
}

impl World<'_> {
    /// The requests that may still post something, in the order of their submission.
    pub fn open(&self) -> Vec<Open> {
        self.state.requests.iter().map(|(id, request)| self.open_request(*id, request)).collect()
    }

    fn open_request(&self, id: RequestId, request: &Request) -> Open {
        let done = request.phase == Phase::Done;
        let usages = match request.notice.filter(|n| n.stage != Stage::Posted) {
            Some(notice) if done => {
                let both = [Usage::Clear, Usage::Copied].into_iter();
                both.filter(|usage| self.judge_usage(&notice, *usage).is_ok()).collect()
            }
            // what becomes of it decides what it says
            Some(notice) if notice.reports => vec![Usage::Clear, Usage::Copied],
            Some(_) => vec![Usage::Clear],
            None => Vec::new(),
        };
        let attached = request.notice.is_some_and(|notice| notice.stage == Stage::Attached);
        let before = request.before.and_then(|before| self.state.requests.get(&before));
        Open {
            request: id,
            ring: request.ring,
            user_data: request.user_data,
            phase: request.phase,
            behind: before.filter(|b| b.phase != Phase::Done).map(|b| b.user_data),
            result: (!done && request.phase != Phase::Queued).then(|| request.may.clone()),
            announces: request.notice.is_some() && !request.cut,
            usages,
            holds: self.holds(id, request),
            lends: !request.cut && (!done || attached),
            owed: self.owed_by(id),
        }
    }
}
