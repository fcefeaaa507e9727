//! Deliberate mistakes of the relation, so that tests can show that mistakes are noticed.
//!
//! A plain argument, not a feature: tests of other crates use it too.

use crate::rules::Rule;

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The rule does not refuse anything.
    Off(Rule),
    /// The kernel that is simulated does something wrong.
    Fault(Fault),
}

/// Something a kernel could get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A batch goes on behind an entry that was refused.
    BatchGoesOn,
    /// A chain goes on behind a member that failed.
    ChainGoesOn,
    /// A request that failed has no notice although preparation made one.
    ErrorsForgetNotice,
    /// The queue lets go of memory as soon as the result is posted.
    ReleasedEarly,
    /// A send with room enough takes one byte less.
    OneByteShort,
    /// A rewritten buffer does not show, as if it had been copied.
    RewriteUnseen,
    /// A registered buffer's bounds are not looked at.
    BoundsUnchecked,
    /// Usage is reported though nobody asked.
    UsageUnasked,
    /// A call that only submits moves completions that waited into the queue.
    SubmitFlushes,
    /// The limit on locked memory does not hold for zero-copy sends.
    LockedUnlimited,
    /// Whatever shows is wrong: counts are one too high, and all comes twice and of another time. Who does
    /// not notice this notices nothing.
    Canary,
}

impl Fault {
    /// Every fault.
    pub const ALL: &[Fault] = &[
        Fault::BatchGoesOn,
        Fault::ChainGoesOn,
        Fault::ErrorsForgetNotice,
        Fault::ReleasedEarly,
        Fault::OneByteShort,
        Fault::RewriteUnseen,
        Fault::BoundsUnchecked,
        Fault::UsageUnasked,
        Fault::SubmitFlushes,
        Fault::LockedUnlimited,
        Fault::Canary,
    ];
}
