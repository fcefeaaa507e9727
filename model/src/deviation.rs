//! Deviations: where kernels break a rule, in a way that is known.
//!
//! A rule stays what is promised. A deviation names the rule, the kernels, the evidence and what it
//! means for a caller. `check` accepts and reports it; under `contract` it is refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::profile::{KernelVersion, Profile};
use crate::rules::Rule;

macro_rules! deviations {
    ($($(#[doc = $text:literal])+ $name:ident = $id:literal, breaks $rule:ident,
       from $from:expr, before $before:expr, evidence $evidence:literal, so $consequence:literal;)*) => {
        /// A known way in which kernels break a rule. Its documentation is its text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Deviation { $($(#[doc = $text])+ #[serde(rename = $id)] $name,)* }

        impl Deviation {
            /// Every deviation.
            pub const ALL: &[Deviation] = &[$(Deviation::$name,)*];

            /// The name in cases and reports.
            pub fn id(self) -> &'static str {
                match self { $(Deviation::$name => $id,)* }
            }

            /// What happens, in a sentence.
            pub fn text(self) -> &'static str {
                match self { $(Deviation::$name => concat!($($text,)+).trim_ascii(),)* }
            }

            /// The rule that is broken.
            pub fn rule(self) -> Rule {
                match self { $(Deviation::$name => Rule::$rule,)* }
            }

            /// Where it was seen.
            pub fn evidence(self) -> &'static str {
                match self { $(Deviation::$name => $evidence,)* }
            }

            /// What a caller has to expect.
            pub fn consequence(self) -> &'static str {
                match self { $(Deviation::$name => $consequence,)* }
            }

            /// The first kernel that has it, and the first that has it no more.
            pub fn kernels(self) -> (KernelVersion, Option<KernelVersion>) {
                match self { $(Deviation::$name => ($from, $before),)* }
            }
        }
    };
}

deviations! {
    /// A zero-copy send that a failed chain cancels posts its result without MORE, and a notification all the same.
    OrphanNotif = "link.orphan-notif", breaks RetiredIsSilent,
        from KernelVersion(6, 0, 0), before None,
        evidence "observed on 6.1 to 7.3; io_req_tw_fail_links does not call the opcode's fail hook",
        so "a notification may arrive for a request that looked finished: keep its slot until the ring is idle";
    /// A request whose bytes joined a structure that carries another request's notification reports a copy, although nothing was copied.
    JoinedIsCopied = "zc.joined-is-copied", breaks ZcUntouchedIsClear,
        from KernelVersion(6, 10, 0), before None,
        evidence "observed on 6.18; the notification that was linked to another's completes without a packet, so nothing says that it was zero copy",
        so "a single COPIED says little: decide by the share of many, and by requests that begin a packet";
    /// A POLL_FIRST send of a chain ends with EAGAIN whatever the room, where another thread runs it without IOSQE_ASYNC: at the head of a chain that its batch leaves open, or behind a member that has IOSQE_ASYNC.
    PollFirstAsyncAgain = "send.poll-first-async-again", breaks SendErrorNeedsCause,
        from KernelVersion(5, 19, 0), before None,
        evidence "observed on 6.18; io_wq_submit_work polls only for what has IOSQE_ASYNC, and the send refuses to be tried before a poll",
        so "in a chain use POLL_FIRST only where no member is asynchronous, or treat EAGAIN as a call to submit again";
    /// A cancel interrupts a send that another thread is in the middle of, and reports ENOENT.
    InterruptedNotFound = "cancel.interrupted-not-found", breaks CancelNotFound,
        from KernelVersion(5, 17, 0), before None,
        evidence "observed on 6.18; io_try_cancel goes on behind EALREADY and returns what it does not find among polls and timeouts, and when __io_async_cancel then looks at the threads once more the send has ended",
        so "behind a cancel that found nothing a send may end with EINTR, ECANCELED or short all the same: believe the send's own result";
    /// A cancel that another thread runs, of what waits for another thread, ends what is hard-linked behind its target as well.
    SweepsChain = "cancel.sweeps-chain", breaks LinkGoesOn,
        from KernelVersion(5, 7, 0), before None,
        evidence "observed on 6.18; where the submitter has failed the target before the thread in io_run_cancel gives up its reference, io_wq_free_work hands that thread the next member, and it is cancelled like the target",
        so "cancel without IOSQE_ASYNC and outside of open chains what has hard links behind it, or treat ECANCELED behind a hard link as one that may be submitted again";
}

impl Deviation {
    /// Whether the kernel of `profile` is one of those.
    pub fn applies_to(self, profile: &Profile) -> bool {
        let (from, before) = self.kernels();
        profile.version >= from && before.is_none_or(|b| profile.version < b)
    }

    /// The deviation with this id.
    pub fn from_id(id: &str) -> Option<Deviation> {
        Deviation::ALL.iter().copied().find(|d| d.id() == id)
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
