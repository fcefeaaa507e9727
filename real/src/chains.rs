//! Chains in which a success posts nothing: where one fails, those behind it may fall silent too.
//!
//! As `tally` this decides only how long is waited. A request with `CQE_SKIP_SUCCESS` posts only when it
//! fails, and a failure that cuts its chain silences the rest (`io_fail_links`). It does not cut where it
//! is one of those that another failure has cut off, or where its own link is hard; but an entry that is
//! refused fails its whole chain, hard links or not, and the chain's first entry tells it.

use std::collections::VecDeque;

use uringspec_model::abi::{op, sqe_flag};
use uringspec_model::sqe::Sqe;

/// Chains that may still be cut silently.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    open: VecDeque<Chain>,
    /// Requests may be cancelled one by one, so `-ECANCELED` does not tell who failed first.
    cancels: bool,
}

#[derive(Debug)]
struct Chain {
    members: Vec<Member>,
    /// One that tells of its success has failed, so the rest tells of it as well.
    told: bool,
}

#[derive(Debug)]
struct Member {
    user_data: u64,
    skips: bool,
    hard: bool,
}

/// Who posts nothing any more, behind a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// These do not.
    Sure(Vec<u64>),
    /// These may not.
    Perhaps(Vec<u64>),
}

/// Chains are kept only this long back; those before them are over or count as not cut.
const CHAINS_MAX: usize = 64;

impl Chains {
    /// One call consumed these entries; it ends a chain that they leave open.
    pub(crate) fn submitted(&mut self, sqes: &[Sqe]) {
        self.cancels |= sqes.iter().any(|sqe| sqe.opcode == op::ASYNC_CANCEL);
        for chain in sqes.chunk_by(|sqe, _| sqe.links()) {
            let (_, others) = chain.split_last().expect("a chunk is not empty");
            if !others.iter().any(skips) {
                continue;
            }
            let member = |sqe: &Sqe| Member {
                user_data: sqe.user_data,
                skips: skips(sqe),
                hard: sqe.flags & sqe_flag::HARDLINK != 0,
            };
            self.open.truncate(CHAINS_MAX - 1);
            self.open.push_front(Chain { members: chain.iter().map(member).collect(), told: false });
        }
    }

    /// A result came; who falls silent because of it.
    pub(crate) fn seen(&mut self, user_data: u64, res: i32) -> Option<Silence> {
        let names = |chain: &Chain| chain.members.iter().position(|member| member.user_data == user_data);
        let (which, at) =
            self.open.iter().enumerate().rev().find_map(|(which, chain)| Some((which, names(chain)?)))?;
        let cancels = self.cancels;
        let chain = &mut self.open[which];
        let Member { skips, hard, .. } = chain.members[at];
        if !skips {
            chain.told |= res < 0 && !(hard && at > 0);
            return None;
        }
        let cancelled = res == -libc::ECANCELED;
        let sure = match (at == 0, cancelled) {
            _ if chain.told => return None,
            (true, true) => !(hard && cancels),
            (true, false) if hard && is_of_a_try(res) => return None,
            (true, false) => !hard,
            // one of those that were cut off
            (false, true) if !cancels => return None,
            (false, true) => false,
            (false, false) if hard => return None,
            (false, false) => true,
        };
        let chain = self.open.remove(which)?;
        // Those that would tell only of a failure are waited for in no case.
        let behind = chain.members[at + 1..].iter().filter(|member| !member.skips);
        let behind = behind.map(|member| member.user_data).collect();
        Some(if sure { Silence::Sure(behind) } else { Silence::Perhaps(behind) })
    }
}

/// Whether no entry is refused with this when it is submitted: it was tried, and a hard link goes on behind it.
fn is_of_a_try(res: i32) -> bool {
    const OF_A_TRY: &[i32] = &[
        libc::EBADF,
        libc::ENOTSOCK,
        libc::EPIPE,
        libc::ECONNRESET,
        libc::EAGAIN,
        libc::ENOENT,
        libc::EALREADY,
    ];
    OF_A_TRY.contains(&-res)
}

fn skips(sqe: &Sqe) -> bool {
    sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKIP: u8 = sqe_flag::CQE_SKIP_SUCCESS;
    const LINK: u8 = sqe_flag::LINK;
    const HARD: u8 = sqe_flag::HARDLINK;

    fn chains(flags: &[u8]) -> Chains {
        let mut chains = Chains::default();
        let sqe = |(user_data, flags): (u64, &u8)| Sqe { user_data, flags: *flags, ..Sqe::default() };
        chains.submitted(&(1..).zip(flags).map(sqe).collect::<Vec<_>>());
        chains
    }

    #[test]
    fn what_is_behind_a_failure_that_would_have_been_silent_is_silent() {
        let mut both = chains(&[SKIP | LINK, LINK, SKIP | LINK, 0, SKIP | LINK, 0]);
        assert_eq!(both.seen(1, -32), Some(Silence::Sure(vec![2, 4])));
        assert_eq!(both.seen(5, -32), Some(Silence::Sure(vec![6])));
        assert_eq!(both.seen(5, -32), None);
    }

    #[test]
    fn whoever_was_cut_off_silences_nobody() {
        let mut told = chains(&[LINK, SKIP | LINK, 0]);
        assert_eq!(told.seen(1, -32), None);
        assert_eq!(told.seen(2, -libc::ECANCELED), None);
        // refused when it was submitted, which the first of the chain tells
        let mut refused = chains(&[LINK, SKIP | LINK, 0]);
        assert_eq!(refused.seen(1, -libc::ECANCELED), None);
        assert_eq!(refused.seen(2, -libc::EINVAL), None);
    }

    #[test]
    fn a_hard_link_goes_on_unless_the_chain_was_refused() {
        assert_eq!(chains(&[LINK, SKIP | HARD, 0]).seen(2, -32), None);
        assert_eq!(chains(&[SKIP | HARD, 0]).seen(1, -libc::ECANCELED), Some(Silence::Sure(vec![2])));
        assert_eq!(chains(&[SKIP | HARD, 0]).seen(1, -libc::EINVAL), Some(Silence::Perhaps(vec![2])));
        assert_eq!(chains(&[SKIP | HARD, 0]).seen(1, -libc::EBADF), None);
    }

    #[test]
    fn cancels_leave_it_open_who_failed_first() {
        let mut chains = chains(&[LINK, SKIP | LINK, 0]);
        chains.submitted(&[Sqe { opcode: op::ASYNC_CANCEL, user_data: 9, ..Sqe::default() }]);
        assert_eq!(chains.seen(2, -libc::ECANCELED), Some(Silence::Perhaps(vec![3])));
    }
}
