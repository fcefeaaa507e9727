//! The laws: what is simulated is accepted, what is accepted is simulated, what the kernel does is
//! allowed.

use uringspec::draft::{Draft, Features};
use uringspec_model::abi::op;
use uringspec_model::check::check;
use uringspec_model::profile::Profile;
use uringspec_model::program::{Program, Step};
use uringspec_model::simulate::is_simulated;
use uringspec_model::trace::{Ending, Trace};
use uringspec_model::verdict::{Unclaimed, Verdict};

use crate::mutants::mutants;

/// States among which a simulation is looked for; where there are more, nothing is said.
const STATES_MAX: usize = 500;
/// Steps of such programs, and entries of a batch.
const TINY_STEPS: usize = 4;
const TINY_ENTRIES: usize = 3;
/// Bytes up to which every count is one that simulations try, so that *tight* can be exact.
const TINY_BYTES: u32 = 3;

/// What simulations do only in part: lengths that cannot be made tiny, sends that take what there is room for
/// piece by piece, datagrams that are alike, and peers that acknowledge no more than they have to.
const NOT_EXACT: Features = Features::VECTORS
    .union(Features::WRITES)
    .union(Features::WAITALL)
    .union(Features::SNDBUF)
    .union(Features::UDP)
    .union(Features::REPAIR_TCP);

/// *Self*: the model accepts what it does.
pub(crate) fn is_accepted(program: &Program, trace: &Trace) -> Result<(), String> {
    is_allowed(program, &Profile::v6_18(), trace)
}

/// *Real*: a kernel does what is allowed, or the model says that it says nothing.
pub(crate) fn is_allowed(program: &Program, profile: &Profile, trace: &Trace) -> Result<(), String> {
    match check(program, profile, trace) {
        Verdict::Accepted { .. }
        | Verdict::Unclaimed { reason: Unclaimed::TooWide | Unclaimed::NotModelled(_) } => Ok(()),
        verdict => Err(format!("{verdict:?}")),
    }
}

/// *Tight*: what is simulated is accepted, and of its mutants those that are simulated too.
pub(crate) fn is_tight(program: &Program, trace: &Trace) -> Result<(), String> {
    let profile = Profile::v6_18();
    if trace.end != Ending::Complete {
        return Ok(());
    }
    is_accepted(program, trace)?;
    for mutant in mutants(program, trace) {
        let accepted = check(program, &profile, &mutant.trace).is_accepted();
        if accepted && is_simulated(program, &profile, &mutant.trace.seen, STATES_MAX) == Ok(false) {
            return Err(format!(
                "accepted, and never simulated: {}\n{}",
                mutant.how,
                crate::told(program, &mutant.trace)
            ));
        }
    }
    Ok(())
}

/// A program of few steps with sends of few bytes.
pub(crate) fn tiny(draft: &Draft) -> Program {
    let mut draft = draft.clone();
    draft.steps.truncate(TINY_STEPS);
    draft.steps.iter_mut().for_each(|step| step.entries.truncate(TINY_ENTRIES));
    let mut program = draft.resolve_with(Features::DEFAULT - NOT_EXACT);
    for step in &mut program.steps {
        let Step::Submit { sqes, .. } = step else { continue };
        for sqe in sqes.iter_mut().filter(|sqe| matches!(sqe.opcode, op::SEND | op::SEND_ZC)) {
            sqe.len = sqe.len.min(TINY_BYTES);
        }
    }
    program
}
