//! What a ring still owes: results and announced notifications, by user data.
//!
//! This decides only how long a reap waits, never what is right: the model does that.

use std::collections::BTreeMap;

use uringspec_model::abi::{cqe_flag, sqe_flag};
use uringspec_model::cqe::Cqe;
use uringspec_model::program::Want;
use uringspec_model::sqe::Sqe;

use crate::chains::{Chains, Silence};

/// Counts over the whole program, for one ring.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    by_user_data: BTreeMap<u64, Count>,
    chains: Chains,
    /// The sums of what all user data are owed, and of what of that may never come, kept so that asking
    /// costs nothing.
    owed: i64,
    doubtful: i64,
    /// Requests whose success posts nothing, and for which nobody has gone round since they were submitted.
    silent: u32,
}

#[derive(Debug, Default)]
struct Count {
    /// Completions of any kind.
    seen: u32,
    /// Results that must come, and that came.
    results_due: u32,
    results: u32,
    /// Notifications that were announced for this user data, and that came.
    notifications_due: u32,
    notifications: u32,
    /// Results with `MORE`.
    announced: u32,
    /// Results that may never come.
    doubtful: u32,
    /// Requests whose success posts nothing and whose failure was not seen.
    silent: u32,
    /// Zero-copy requests and others, and how many of all of them were cancelled.
    zero_copies: u32,
    plain: u32,
    cancelled: u32,
    /// Zero-copy requests in chains, and failures that announced nothing, cancelled ones aside.
    chained: u32,
    refused: u32,
    /// Whose results announce notifications, and under which user data they come.
    notifies: Option<u64>,
    /// That is its own.
    notifies_itself: bool,
}

/// What was seen of one user data; on several rings it adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Completions of any kind.
    seen: u32,
    /// Results with `MORE`.
    announced: u32,
    /// Notifications.
    notifications: u32,
}

impl Progress {
    /// Whether this is what a reap waits for.
    pub(crate) fn reaches(self, want: &Want) -> bool {
        self.seen >= want.count && (!want.last || self.notifications >= self.announced)
    }
}

impl std::ops::Add for Progress {
    type Output = Progress;

    fn add(self, other: Progress) -> Progress {
        Progress {
            seen: self.seen + other.seen,
            announced: self.announced + other.announced,
            notifications: self.notifications + other.notifications,
        }
    }
}

impl Count {
    fn owed(&self) -> i64 {
        let open = |due: u32, came: u32| i64::from(due.saturating_sub(came));
        let notifications_due = self.notifications_due + self.orphans() + self.refused_orphans();
        open(self.results_due, self.results) + open(notifications_due, self.notifications)
    }

    /// Zero-copy requests that may have been cancelled, each of which may notify all the same, and must
    /// not pay for its namesake.
    fn orphans(&self) -> u32 {
        if self.notifies_itself { self.cancelled.min(self.zero_copies) } else { 0 }
    }

    /// Those that may have been refused as members of a chain, of which the same holds.
    fn refused_orphans(&self) -> u32 {
        if !self.notifies_itself || self.zero_copies < 2 {
            return 0;
        }
        let others = self.zero_copies.saturating_sub(self.announced + self.orphans());
        self.refused.min(self.chained).min(others)
    }

    fn doubtful(&self) -> i64 {
        let sure = self.cancelled.saturating_sub(self.plain);
        let doubtful = self.doubtful + self.orphans().saturating_sub(sure) + self.refused_orphans();
        self.owed().min(doubtful.into())
    }
}

impl Tally {
    /// One call consumed these entries.
    pub(crate) fn submitted(&mut self, sqes: &[Sqe]) {
        self.chains.submitted(sqes);
        let mut is_behind = false;
        for sqe in sqes {
            let is_chained = is_behind || sqe.links();
            is_behind = sqe.links();
            let notifies = if sqe.addr3 == 0 { sqe.user_data } else { sqe.addr3 };
            let is_silent = sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0 && !sqe.is_zero_copy();
            self.silent += u32::from(is_silent);
            self.change(sqe.user_data, |count| {
                // Whether such a request posts a result depends on the result; a zero-copy one is refused.
                count.results_due += u32::from(!is_silent);
                count.silent += u32::from(is_silent);
                if sqe.is_zero_copy() {
                    count.notifies = Some(notifies);
                    count.notifies_itself = notifies == sqe.user_data;
                    count.zero_copies += 1;
                    count.chained += u32::from(is_chained);
                } else {
                    count.plain += 1;
                }
            });
        }
    }

    /// A completion was taken.
    pub(crate) fn seen(&mut self, cqe: &Cqe) {
        let mut announces = None;
        self.change(cqe.user_data, |count| {
            count.seen += 1;
            if cqe.flags & cqe_flag::NOTIF != 0 {
                if count.notifications >= count.notifications_due + count.orphans() {
                    // nobody announced it, so it pays for none that is announced later
                    count.notifications_due += 1;
                    count.refused = count.refused.saturating_sub(1);
                }
                count.notifications += 1;
            } else if cqe.flags & cqe_flag::MORE == 0 {
                if cqe.res < 0 && count.silent > 0 && count.results_due > count.results {
                    // the failure of a silent one pays for no namesake, if it is that
                    count.silent -= 1;
                    count.results_due += 1;
                    count.doubtful += 1;
                }
                count.results += 1;
                count.cancelled += u32::from(cqe.res == -libc::ECANCELED);
                count.refused += u32::from(cqe.res < 0 && cqe.res != -libc::ECANCELED);
            } else {
                count.announced += 1;
                // Of other requests it is one of several results, and the last has no `MORE`.
                announces = count.notifies;
                count.results += u32::from(announces.is_some());
            }
            // a result that has come is in no doubt any more, nor is what it announces
            count.doubtful = count.doubtful.min(count.results_due.saturating_sub(count.results));
        });
        if let Some(user_data) = announces {
            self.change(user_data, |count| count.notifications_due += 1);
        }
        if cqe.flags & (cqe_flag::NOTIF | cqe_flag::MORE) == 0 {
            self.silence(cqe);
        }
    }

    /// What this result cuts off may post nothing.
    fn silence(&mut self, cqe: &Cqe) {
        let Some(silence) = self.chains.seen(cqe.user_data, cqe.res) else { return };
        // among namesakes it may have been another that failed
        let count = self.by_user_data.get(&cqe.user_data);
        let is_shared = count.is_some_and(|count| count.zero_copies + count.plain > 1);
        let (sure, silent) = match silence {
            Silence::Sure(silent) => (!is_shared, silent),
            Silence::Perhaps(silent) => (false, silent),
        };
        for user_data in silent {
            self.change(user_data, |count| match sure {
                true => count.results_due = count.results_due.saturating_sub(1),
                false => count.doubtful += 1,
            });
        }
    }

    /// How many more enters it takes until requests that are silent where they succeed have failed: nobody
    /// knows to wait for that. Where work is deferred, a member of a chain is tried an enter later than the
    /// one before it, and one that polls first is tried in yet another.
    pub(crate) fn rounds(&mut self) -> u32 {
        2 * std::mem::take(&mut self.silent)
    }

    /// Whether every request has its result, and every result with `MORE` its notification.
    pub(crate) fn settled(&self) -> bool {
        self.owed == 0
    }

    /// Whether only what may never come is missing.
    pub(crate) fn settled_but_for_doubts(&self) -> bool {
        self.owed == self.doubtful
    }

    /// How far a user data has come.
    pub(crate) fn progress(&self, user_data: u64) -> Progress {
        let Some(count) = self.by_user_data.get(&user_data) else { return Progress::default() };
        let under = count.notifies.unwrap_or(user_data);
        let notifications = self.by_user_data.get(&under).map_or(0, |count| count.notifications);
        Progress { seen: count.seen, announced: count.announced, notifications }
    }

    fn change(&mut self, user_data: u64, how: impl FnOnce(&mut Count)) {
        let count = self.by_user_data.entry(user_data).or_default();
        self.owed -= count.owed();
        self.doubtful -= count.doubtful();
        how(count);
        self.owed += count.owed();
        self.doubtful += count.doubtful();
    }
}

#[cfg(test)]
mod tests {
    use uringspec_model::abi::op;

    use super::*;

    fn zero_copy(user_data: u64, addr3: u64) -> Sqe {
        Sqe { opcode: op::SEND_ZC, user_data, addr3, ..Sqe::default() }
    }

    #[test]
    fn a_zero_copy_send_owes_its_notification_only_once_announced() {
        let mut tally = Tally::default();
        tally.submitted(&[zero_copy(1, 0), zero_copy(2, 9)]);
        assert!(!tally.settled());
        tally.seen(&Cqe { user_data: 1, res: -125, flags: 0 });
        tally.seen(&Cqe { user_data: 2, res: 5, flags: cqe_flag::MORE });
        assert!(!tally.settled());
        // A notification that nobody announced pays for no other.
        tally.seen(&Cqe { user_data: 1, res: 0, flags: cqe_flag::NOTIF });
        assert!(!tally.settled());
        tally.seen(&Cqe { user_data: 9, res: 0, flags: cqe_flag::NOTIF });
        assert!(tally.settled());
    }

    #[test]
    fn the_last_of_a_wanted_request_is_waited_for_if_it_was_announced() {
        let mut tally = Tally::default();
        let want = Want { user_data: 1, count: 1, last: true };
        let reached = |tally: &Tally, want| tally.progress(1).reaches(&want);
        tally.submitted(&[zero_copy(1, 0)]);
        assert!(!reached(&tally, want));
        tally.seen(&Cqe { user_data: 1, res: 5, flags: cqe_flag::MORE });
        assert!(!reached(&tally, want));
        assert!(reached(&tally, Want { last: false, ..want }));
        tally.seen(&Cqe { user_data: 1, res: 0, flags: cqe_flag::NOTIF });
        assert!(reached(&tally, want));
    }

    #[test]
    fn whose_cancelled_result_it_was_is_open_among_namesakes() {
        let cancelled = Cqe { user_data: 1, res: -libc::ECANCELED, flags: 0 };
        let mut tally = Tally::default();
        tally.submitted(&[zero_copy(1, 0), Sqe { user_data: 1, ..Sqe::default() }]);
        tally.seen(&cancelled);
        // the other result is owed, and perhaps a notification
        assert!(!tally.settled_but_for_doubts());
        tally.seen(&Cqe { user_data: 1, res: 0, flags: 0 });
        assert!(tally.settled_but_for_doubts() && !tally.settled());
        tally.seen(&cancelled);
        assert!(!tally.settled_but_for_doubts());
        tally.seen(&Cqe { user_data: 1, res: 0, flags: cqe_flag::NOTIF });
        assert!(tally.settled());
    }

    #[test]
    fn the_notification_of_a_refused_member_pays_for_no_namesake() {
        let refused = Cqe { user_data: 1, res: -libc::EINVAL, flags: 0 };
        let announces = Cqe { user_data: 1, res: 9, flags: cqe_flag::MORE };
        let notification = Cqe { user_data: 1, res: 0, flags: cqe_flag::NOTIF };
        let submitted = || {
            let mut tally = Tally::default();
            tally.submitted(&[
                Sqe { user_data: 3, flags: sqe_flag::HARDLINK, ..Sqe::default() },
                zero_copy(1, 0),
                zero_copy(1, 0),
            ]);
            tally.seen(&Cqe { user_data: 3, res: -libc::ECANCELED, flags: 0 });
            tally
        };
        // what comes before anything was announced is the refused one's
        let mut tally = submitted();
        [refused, notification, announces].iter().for_each(|cqe| tally.seen(cqe));
        assert!(!tally.settled_but_for_doubts());
        tally.seen(&notification);
        assert!(tally.settled());
        // later it may be either's, and the refused one need not have any
        let mut tally = submitted();
        [announces, refused].iter().for_each(|cqe| tally.seen(cqe));
        assert!(!tally.settled_but_for_doubts());
        tally.seen(&notification);
        assert!(tally.settled_but_for_doubts() && !tally.settled());
        tally.seen(&notification);
        assert!(tally.settled());
    }

    #[test]
    fn each_silent_request_is_worth_two_more_enters_once() {
        let flags = sqe_flag::CQE_SKIP_SUCCESS;
        let mut tally = Tally::default();
        tally.submitted(&[Sqe { user_data: 1, flags, ..Sqe::default() }, zero_copy(2, 0)]);
        tally.submitted(&[Sqe { user_data: 3, flags, ..Sqe::default() }]);
        assert_eq!([tally.rounds(), tally.rounds()], [4, 0]);
    }

    #[test]
    fn nothing_is_owed_behind_a_silent_cut() {
        let flags = sqe_flag::CQE_SKIP_SUCCESS | sqe_flag::LINK;
        let mut tally = Tally::default();
        tally.submitted(&[
            Sqe { user_data: 1, flags, ..Sqe::default() },
            Sqe { user_data: 2, ..Sqe::default() },
        ]);
        assert!(!tally.settled());
        tally.seen(&Cqe { user_data: 1, res: -libc::EPIPE, flags: 0 });
        assert!(tally.settled());
    }

    #[test]
    fn what_came_though_it_was_in_doubt_owes_its_notification() {
        let flags = sqe_flag::CQE_SKIP_SUCCESS | sqe_flag::HARDLINK;
        let mut tally = Tally::default();
        tally.submitted(&[Sqe { user_data: 1, flags, ..Sqe::default() }, zero_copy(2, 0)]);
        tally.seen(&Cqe { user_data: 1, res: -libc::EINVAL, flags: 0 });
        assert!(tally.settled_but_for_doubts());
        tally.seen(&Cqe { user_data: 2, res: 5, flags: cqe_flag::MORE });
        assert!(!tally.settled_but_for_doubts());
        tally.seen(&Cqe { user_data: 2, res: 0, flags: cqe_flag::NOTIF });
        assert!(tally.settled());
    }

    #[test]
    fn the_failure_of_a_silent_request_pays_for_no_namesake() {
        let flags = sqe_flag::CQE_SKIP_SUCCESS;
        let silent = Sqe { user_data: 1, flags, ..Sqe::default() };
        let failed = |res| Cqe { user_data: 1, res, flags: 0 };
        let mut tally = Tally::default();
        tally.submitted(&[Sqe { user_data: 1, ..Sqe::default() }, silent]);
        tally.seen(&failed(-libc::EINVAL));
        assert!(tally.settled_but_for_doubts() && !tally.settled());
        tally.seen(&failed(-libc::EBADF));
        assert!(tally.settled());
        // alone it owes nothing
        tally.submitted(&[Sqe { user_data: 2, flags, ..Sqe::default() }]);
        tally.seen(&Cqe { user_data: 2, res: -libc::EINVAL, flags: 0 });
        assert!(tally.settled());
    }

    #[test]
    fn among_namesakes_silence_is_not_certain() {
        let flags = sqe_flag::CQE_SKIP_SUCCESS | sqe_flag::LINK;
        let mut tally = Tally::default();
        tally.submitted(&[
            Sqe { user_data: 1, flags, ..Sqe::default() },
            Sqe { user_data: 1, flags: sqe_flag::LINK, ..Sqe::default() },
            Sqe { user_data: 3, ..Sqe::default() },
        ]);
        tally.seen(&Cqe { user_data: 1, res: -libc::EAGAIN, flags: 0 });
        assert!(tally.settled_but_for_doubts() && !tally.settled());
    }
}
