//! Making a ring: which parameters are refused, by which error.
//!
//! Errs on the side of silence: of rings in memory of their user, of threads that are bound to a processor or
//! shared, and of flags that came after 6.18 nothing is said.
//!
//! Source: `io_uring_sanitise_params`, `io_uring_fill_params`, `rings_size` in `io_uring/io_uring.c`,
//! `io_sq_offload_create` in `io_uring/sqpoll.c`, 6.18.

use crate::abi::{errno, setup};
use crate::cqe::Errno;
use crate::profile::KernelVersion;
use crate::program::RingSetup;
use crate::rules::Rule;

/// The most entries of a queue of submissions (`IORING_MAX_ENTRIES`).
const ENTRIES_MAX: u32 = 32_768;
/// The most entries of a queue of completions (`IORING_MAX_CQ_ENTRIES`).
const CQ_ENTRIES_MAX: u32 = 2 * ENTRIES_MAX;

/// From which kernel on a flag is known.
const KNOWN_SINCE: &[(u32, KernelVersion)] = &[
    (setup::IOPOLL | setup::SQPOLL | setup::SQ_AFF, KernelVersion(5, 1, 0)),
    (setup::CQSIZE, KernelVersion(5, 5, 0)),
    (setup::CLAMP | setup::ATTACH_WQ, KernelVersion(5, 6, 0)),
    (setup::R_DISABLED, KernelVersion(5, 10, 0)),
    (setup::SUBMIT_ALL, KernelVersion(5, 18, 0)),
    (setup::COOP_TASKRUN | setup::TASKRUN_FLAG | setup::SQE128 | setup::CQE32, KernelVersion(5, 19, 0)),
    (setup::SINGLE_ISSUER, KernelVersion(6, 0, 0)),
    (setup::DEFER_TASKRUN, KernelVersion(6, 1, 0)),
    (setup::NO_MMAP | setup::REGISTERED_FD_ONLY, KernelVersion(6, 5, 0)),
    (setup::NO_SQARRAY, KernelVersion(6, 6, 0)),
    (setup::HYBRID_IOPOLL, KernelVersion(6, 13, 0)),
    (setup::CQE_MIXED, KernelVersion(6, 18, 0)),
    (setup::SQE_MIXED, KernelVersion(6, 19, 0)),
    (setup::SQ_REWIND, KernelVersion(7, 0, 0)),
];

/// Why parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// By this error, which this rule asks for.
    By(Errno, Rule),
    /// Nothing is said of them.
    NotModelled(&'static str),
}

/// Whether a kernel of this version makes the ring.
pub(crate) fn judge(asked: &RingSetup, version: KernelVersion) -> Result<(), Refused> {
    let flags = asked.all_flags();
    let has = |flag: u32| flags & flag != 0;
    let invalid =
        |wrong: bool, rule| if wrong { Err(Refused::By(Errno(errno::EINVAL), rule)) } else { Ok(()) };

    let known =
        KNOWN_SINCE.iter().filter(|(_, since)| version >= *since).fold(0, |all, (flag, _)| all | flag);
    invalid(flags & !known != 0, Rule::SetupFlagsKnown)?;
    let unknown_here = setup::SQE_MIXED | setup::SQ_REWIND;
    if has(unknown_here | setup::NO_MMAP | setup::ATTACH_WQ) {
        return Err(Refused::NotModelled("a ring of a kind that is not modelled"));
    }
    let interrupts = setup::COOP_TASKRUN | setup::TASKRUN_FLAG | setup::DEFER_TASKRUN;
    let looks_for_work = setup::COOP_TASKRUN | setup::DEFER_TASKRUN;
    invalid(has(setup::REGISTERED_FD_ONLY), Rule::SetupDescriptor)?;
    invalid(has(setup::SQPOLL) && has(interrupts), Rule::SetupSqpollAlone)?;
    invalid(has(setup::TASKRUN_FLAG) && !has(looks_for_work), Rule::SetupTaskrunFlag)?;
    invalid(has(setup::HYBRID_IOPOLL) && !has(setup::IOPOLL), Rule::SetupHybridPolls)?;
    invalid(has(setup::DEFER_TASKRUN) && !has(setup::SINGLE_ISSUER), Rule::SetupDeferNeedsSingle)?;
    invalid(has(setup::CQE32) && has(setup::CQE_MIXED), Rule::SetupCompletionSizes)?;

    let clamps = has(setup::CLAMP);
    let fits = |entries: u32, most: u32| entries > 0 && (entries <= most || clamps);
    invalid(!fits(asked.entries, ENTRIES_MAX), Rule::SetupEntries)?;
    let entries = asked.entries.min(ENTRIES_MAX).next_power_of_two();
    let mut completions = 2 * entries;
    if has(setup::CQSIZE) {
        let wanted = asked.cq_entries.unwrap_or(0);
        invalid(!fits(wanted, CQ_ENTRIES_MAX), Rule::SetupCompletions)?;
        completions = wanted.min(CQ_ENTRIES_MAX).next_power_of_two();
        invalid(completions < entries, Rule::SetupCompletions)?;
    }
    if has(setup::CQE_MIXED) && completions < 2 {
        return Err(Refused::By(Errno(errno::EOVERFLOW), Rule::SetupMixedNeedsTwo));
    }
    invalid(has(setup::SQ_AFF) && !has(setup::SQPOLL), Rule::SetupAffinity)?;
    if has(setup::SQ_AFF) {
        return Err(Refused::NotModelled("a processor of the kernel's thread, which it may not have"));
    }
    Ok(())
}
