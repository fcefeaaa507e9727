//! Smaller programs that still show the same thing.
//!
//! Parts are taken away as long as the predicate holds: steps, entries, buffers, sockets; then lengths
//! and fields become simpler. Every attempt is a program that can be run, or one that the predicate
//! refuses, so nothing has to be repaired.

use uringspec_model::abi::sqe_flag;
use uringspec_model::program::{Amount, Lane, Program, Register, RingId, SocketId, Step, Until};
use uringspec_model::sqe::Sqe;

/// Asks `holds` at most so often.
pub const ATTEMPTS_MAX: usize = 600;

/// The smallest program that was found for which `holds`. It is asked about smaller programs only;
/// that it holds for `program` is taken for granted.
pub fn shrink(program: &Program, mut holds: impl FnMut(&Program) -> bool) -> Program {
    let mut best = program.clone();
    let mut left = ATTEMPTS_MAX;
    loop {
        let before = best.clone();
        for pass in [drop_steps, drop_entries, drop_ends, simplify_steps, simplify_entries, simplify_setup] {
            pass(&mut best, &mut |candidate| {
                left = left.saturating_sub(1);
                left > 0 && holds(candidate)
            });
        }
        if best == before || left == 0 {
            return best;
        }
    }
}

type Holds<'a> = &'a mut dyn FnMut(&Program) -> bool;

/// Takes `candidate` for `best` if it is another program and still holds.
fn attempt(best: &mut Program, candidate: Program, holds: Holds<'_>) -> bool {
    let better = candidate != *best && holds(&candidate);
    if better {
        *best = candidate;
    }
    better
}

/// Steps go in halves, quarters, and so on down to one.
fn drop_steps(best: &mut Program, holds: Holds<'_>) {
    let mut size = best.steps.len().next_power_of_two() / 2;
    while size > 0 {
        let mut at = 0;
        while at < best.steps.len() {
            let mut candidate = best.clone();
            candidate.steps.drain(at..(at + size).min(best.steps.len()));
            if !attempt(best, candidate, holds) {
                at += size;
            }
        }
        size /= 2;
    }
}

fn drop_entries(best: &mut Program, holds: Holds<'_>) {
    for step in 0..best.steps.len() {
        let mut at = 0;
        loop {
            let mut candidate = best.clone();
            let gone = match &mut candidate.steps[step] {
                Step::Submit { sqes, .. } if at < sqes.len() && sqes.len() > 1 => {
                    let was_open = sqes.last().is_some_and(Sqe::links);
                    sqes.remove(at);
                    // A chain that its batch leaves open is another thing.
                    if let Some(last) = sqes.last_mut().filter(|_| !was_open) {
                        last.flags &= !(sqe_flag::LINK | sqe_flag::HARDLINK);
                    }
                    true
                }
                Step::Register { what: Register::Buffers(iovecs), .. } if at < iovecs.len() && at > 0 => {
                    iovecs.remove(at);
                    true
                }
                _ => false,
            };
            if !gone && at > 0 || at > 64 {
                break;
            }
            if !gone || !attempt(best, candidate, holds) {
                at += 1;
            }
        }
    }
}

/// The last ring, socket and region go where nothing names them any more.
fn drop_ends(best: &mut Program, holds: Holds<'_>) {
    let mut candidate = best.clone();
    let names_ring = |step: &Step, id: RingId| match step {
        Step::Enter(call) => call.ring == id,
        Step::Submit { ring, .. }
        | Step::Queue { ring, .. }
        | Step::Look { ring }
        | Step::Sleep { ring }
        | Step::Reap { ring, .. }
        | Step::Register { ring, .. }
        | Step::Peek { ring }
        | Step::EnterElsewhere { ring }
        | Step::Fence { ring } => *ring == id,
        _ => false,
    };
    let last_ring = RingId(candidate.rings.len().saturating_sub(1) as u8);
    if candidate.rings.len() > 1 && !candidate.steps.iter().any(|step| names_ring(step, last_ring)) {
        candidate.rings.pop();
        attempt(best, candidate, holds);
    }
    let mut candidate = best.clone();
    let names_socket = |step: &Step, id: SocketId| match step {
        Step::Drain { socket, .. }
        | Step::Ack { socket, .. }
        | Step::OfferWindow { socket, .. }
        | Step::Miss { socket, .. }
        | Step::ResetPeer { socket }
        | Step::CloseOwn { socket }
        | Step::ShutdownOwn { socket }
        | Step::Cork { socket, .. } => *socket == id,
        _ => false,
    };
    let last_socket = SocketId(candidate.sockets.len().saturating_sub(1) as u16);
    if !candidate.steps.iter().any(|step| names_socket(step, last_socket)) {
        candidate.sockets.pop();
        attempt(best, candidate, holds);
    }
    let mut candidate = best.clone();
    candidate.regions.pop();
    attempt(best, candidate, holds);
}

fn simplify_steps(best: &mut Program, holds: Holds<'_>) {
    for index in 0..best.steps.len() {
        let simpler: Vec<Step> = match &best.steps[index] {
            Step::Reap { ring, until: Until::Seen(_) | Until::Settled } => {
                vec![Step::Reap { ring: *ring, until: Until::Now }]
            }
            Step::Fence { ring } => vec![Step::Reap { ring: *ring, until: Until::Now }],
            Step::Drain { socket, amount: Amount::Bytes(n) } => vec![
                Step::Drain { socket: *socket, amount: Amount::Bytes(1) },
                Step::Drain { socket: *socket, amount: Amount::Bytes(n / 2) },
            ],
            Step::Ack { socket, amount: Amount::Bytes(n) } => {
                vec![Step::Ack { socket: *socket, amount: Amount::Bytes(n / 2) }]
            }
            _ => Vec::new(),
        };
        for step in simpler {
            let mut candidate = best.clone();
            candidate.steps[index] = step;
            if attempt(best, candidate, holds) {
                break;
            }
        }
    }
}

fn simplify_entries(best: &mut Program, holds: Holds<'_>) {
    let changes: &[fn(&mut Sqe)] = &[
        |sqe| sqe.len = 1,
        |sqe| sqe.len /= 2,
        |sqe| sqe.flags = 0,
        |sqe| sqe.op_flags = 0,
        |sqe| sqe.ioprio = 0,
        |sqe| sqe.addr &= !0xfff,
        |sqe| sqe.buf_index = 0,
        |sqe| (sqe.pad2, sqe.addr3, sqe.personality, sqe.file_index, sqe.off) = (0, 0, 0, 0, 0),
    ];
    for step in 0..best.steps.len() {
        let Step::Submit { sqes, .. } = &best.steps[step] else { continue };
        for at in 0..sqes.len() {
            for change in changes {
                let mut candidate = best.clone();
                if let Step::Submit { sqes, .. } = &mut candidate.steps[step] {
                    change(&mut sqes[at]);
                }
                attempt(best, candidate, holds);
            }
        }
    }
}

fn simplify_setup(best: &mut Program, holds: Holds<'_>) {
    for index in 0..best.rings.len() {
        let mut candidate = best.clone();
        candidate.rings[index].flags = 0;
        candidate.rings[index].cq_entries = None;
        attempt(best, candidate, holds);
    }
    for index in 0..best.sockets.len() {
        for lane in [Lane::Loopback, Lane::Gate] {
            if best.sockets[index].lane > lane {
                let mut candidate = best.clone();
                candidate.sockets[index].lane = lane;
                attempt(best, candidate, holds);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uringspec_model::abi::op;

    use super::*;
    use crate::draft::Features;

    #[test]
    fn what_matters_stays_and_all_else_goes() {
        let features = Features::DEFAULT;
        let programs = (0..).map(|number| crate::campaign::program(1, number, features));
        let sends = |program: &Program| {
            let entries = program.steps.iter().filter_map(|step| match step {
                Step::Submit { sqes, .. } => Some(sqes),
                _ => None,
            });
            entries.flatten().filter(|sqe| sqe.opcode == op::SEND_ZC).count()
        };
        let program = { programs }.find(|program| sends(program) > 1).expect("zero copy is not seldom");
        let small = shrink(&program, |candidate| sends(candidate) > 0);
        assert_eq!((small.steps.len(), sends(&small)), (1, 1));
        assert!(small.regions.is_empty() && small.sockets.is_empty());
    }
}
