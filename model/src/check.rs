//! Judges a trace.
use crate::profile::Profile;
use crate::program::Program;
use crate::trace::Trace;
use crate::verdict::{Unclaimed, Verdict};

/// Says whether the kernel of `profile` may do what `trace` says it did.
pub fn check(_program: &Program, _profile: &Profile, _trace: &Trace) -> Verdict {
    Verdict::Unclaimed { reason: Unclaimed::TooWide }
}
