//! What can be counted without a model: completions, and the entries that calls took.

use std::collections::BTreeMap;

use uringspec_model::abi::cqe_flag;
use uringspec_model::program::{Program, RingId, Step};
use uringspec_model::trace::{Ending, Trace, What};

/// What was seen of one request.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    /// Entries that carry its user data.
    entries: u32,
    results: u32,
    announced: u32,
    notified: u32,
    failed: bool,
}

/// The requests of a program with what was seen of them.
fn lives(program: &Program, trace: &Trace) -> BTreeMap<(RingId, u64), Life> {
    let mut lives: BTreeMap<(RingId, u64), Life> = BTreeMap::new();
    for step in &program.steps {
        let Step::Submit { ring, sqes } = step else { continue };
        sqes.iter().for_each(|sqe| lives.entry((*ring, sqe.user_data)).or_default().entries += 1);
    }
    for seen in &trace.seen {
        let What::Cqe(taken) = &seen.what else { continue };
        let life = lives.entry((taken.ring, taken.cqe.user_data)).or_default();
        if taken.cqe.flags & cqe_flag::NOTIF != 0 {
            life.notified += 1;
        } else {
            life.results += 1;
            life.announced += u32::from(taken.cqe.flags & cqe_flag::MORE != 0);
            life.failed |= taken.cqe.res < 0;
        }
    }
    lives
}

/// Requests post one result and at most one notification, and once all is settled as many as were
/// announced.
pub(crate) fn one_result(program: &Program, trace: &Trace) -> Result<(), String> {
    let gave_up = trace.seen.iter().any(|seen| seen.what == What::GaveUp);
    let settled = trace.end == Ending::Complete && !gave_up && program.steps.last() == Some(&Step::Settle);
    for ((_, user_data), life) in lives(program, trace) {
        let Life { entries, results, announced, notified, failed } = life;
        if results > entries || notified > entries {
            return Err(format!(
                "#{user_data}: {results} results, {notified} notifications of {entries} entries"
            ));
        }
        // a member of a chain that fails or is cut notifies without a word (`link.orphan-notif`)
        if notified > announced && !failed {
            return Err(format!("#{user_data}: {notified} notifications, {announced} announced"));
        }
        if settled && announced > notified {
            return Err(format!("#{user_data}: {announced} notifications announced, {notified} came"));
        }
    }
    Ok(())
}

/// Calls return how many entries they took, so never more than there are, and what no call took posts
/// nothing.
pub(crate) fn enter_counts(program: &Program, trace: &Trace) -> Result<(), String> {
    let mut queued: BTreeMap<RingId, Vec<u64>> = BTreeMap::new();
    let mut taken: BTreeMap<RingId, usize> = BTreeMap::new();
    let mut seen = trace.seen.iter().peekable();
    for (index, step) in program.steps.iter().enumerate() {
        if let Step::Submit { ring, sqes } = step {
            queued.entry(*ring).or_default().extend(sqes.iter().map(|sqe| sqe.user_data));
        }
        if let Step::Fence { ring } = step {
            // it takes what is left, as far as nothing of that is refused
            taken.insert(*ring, queued.get(ring).map_or(0, Vec::len));
        }
        while let Some(one) = seen.next_if(|one| one.step as usize <= index) {
            match (&one.what, step) {
                (What::Returned(value), Step::Submit { ring, .. }) => {
                    let all = queued.get(ring).map_or(0, Vec::len);
                    let before = taken.entry(*ring).or_default();
                    let now =
                        usize::try_from(*value).map_err(|_| format!("step {index} returned {value}"))?;
                    *before += now;
                    if *before > all {
                        return Err(format!("step {index}: {before} entries of {all} were taken"));
                    }
                }
                (What::Cqe(cqe), _) => {
                    let queue = queued.get(&cqe.ring).map_or(&[][..], Vec::as_slice);
                    let known = &queue[..taken.get(&cqe.ring).copied().unwrap_or(0)];
                    if !known.contains(&cqe.cqe.user_data) {
                        return Err(format!("#{} completes and no call took it", cqe.cqe.user_data));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}
