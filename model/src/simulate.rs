//! Produces a trace.
use crate::choices::Choices;
use crate::profile::Profile;
use crate::program::Program;
use crate::trace::Trace;

/// One run that the kernel of `profile` may take.
pub fn simulate(_program: &Program, _profile: &Profile, _choices: &mut impl Choices) -> Trace {
    Trace::default()
}
