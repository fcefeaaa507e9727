//! Every rule of the contract refuses some wrong trace, and nothing else refuses that one as it does.

use std::collections::{BTreeMap, BTreeSet};

use uringspec_model::abi::{cqe_flag, errno, msg};
use uringspec_model::memory::{Generation, HexBytes, RegionId};
use uringspec_model::mixed::contract::Contract;
use uringspec_model::mixed::{Memory, MixedSend, Segment, Transfer};
use uringspec_model::profile::Profile;
use uringspec_model::program::{Program, Step};
use uringspec_model::rules::Rule;
use uringspec_model::simulate::explore;
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Run, Seen, Trace, What};

use crate::space::{Around, address, placed, program};

fn send(segments: &[(Transfer, Memory, u32)]) -> MixedSend {
    let segment = |(transfer, memory, len_bytes): &(Transfer, Memory, u32)| Segment {
        addr: 0,
        len_bytes: *len_bytes,
        memory: *memory,
        transfer: *transfer,
    };
    placed(segments.iter().map(segment).collect())
}

/// Programs whose right traces are made wrong.
fn programs() -> Vec<Program> {
    let two = [(Transfer::Copy, Memory::Plain, 2), (Transfer::ZeroCopy, Memory::Registered(0), 2)];
    let header_first = send(&two);
    let mut outside = header_first.clone();
    outside.segments[1].addr = address(1, 4095);
    let mut all = Vec::new();
    for around in Around::ALL {
        for flags in [0, msg::WAITALL] {
            for reports in [true, false] {
                for send in [&header_first, &outside] {
                    all.push(program(&MixedSend { msg: flags, reports, ..send.clone() }, around, false));
                }
            }
        }
    }
    // another send on the same socket, beside the mixed one, and one behind it
    let mut beside = program(&header_first, Around::Unknown, false);
    let plain = Sqe { opcode: 26, fd: 600, addr: address(3, 0), len: 2, user_data: 2, ..Sqe::default() };
    for step in &mut beside.steps {
        if let Step::Submit { sqes, .. } = step {
            sqes.push(plain);
        }
    }
    let mut behind = program(&header_first, Around::Unknown, false);
    let at = behind.steps.len() - 1;
    let again = behind.steps[2].clone();
    let mut submit = behind.steps[1].clone();
    if let Step::Submit { sqes, .. } = &mut submit {
        *sqes = vec![plain];
    }
    behind.steps.splice(at..at, [submit, again]);
    all.extend([beside, behind]);
    all
}

/// The trace made wrong in every way.
fn wrong(trace: &Trace) -> Vec<Trace> {
    let mut all = Vec::new();
    for at in 0..trace.seen.len() {
        let mut with = |new: Vec<Seen>| {
            let mut seen = trace.seen.clone();
            seen.splice(at..=at, new);
            all.push(Trace { seen, end: trace.end });
        };
        let Seen { step, what } = &trace.seen[at];
        let one = |what: What| Seen { step: *step, what };
        match what {
            What::Cqe(cqe) => {
                with(vec![]);
                with(vec![trace.seen[at].clone(), trace.seen[at].clone()]);
                let errors = [errno::EIO, errno::ECANCELED].map(|e| -i32::from(e));
                for res in [cqe.cqe.res.wrapping_add(1), cqe.cqe.res.wrapping_sub(1), 0, 1, 2, 3, 4]
                    .into_iter()
                    .chain(errors)
                {
                    for flags in [cqe.cqe.flags, cqe.cqe.flags ^ cqe_flag::MORE] {
                        let mut cqe = *cqe;
                        (cqe.cqe.res, cqe.cqe.flags) = (res, flags);
                        with(vec![one(What::Cqe(cqe))]);
                    }
                }
                let mut copied = *cqe;
                (copied.cqe.res, copied.cqe.flags) = (i32::MIN, cqe_flag::NOTIF);
                with(vec![one(What::Cqe(copied))]);
                copied.cqe.res = 0;
                with(vec![one(What::Cqe(copied)), trace.seen[at].clone()]);
                with(vec![trace.seen[at].clone(), one(What::Cqe(copied))]);
            }
            What::Received(received) => {
                let mut runs_with = |runs: Vec<Run>| {
                    let mut received = received.clone();
                    received.runs = runs;
                    with(vec![one(What::Received(received))]);
                };
                runs_with(received.runs[..received.runs.len().saturating_sub(1)].to_vec());
                let mut turned = received.runs.clone();
                turned.reverse();
                runs_with(turned);
                for i in 0..=received.runs.len() {
                    for stray in [
                        Run::Bytes(HexBytes(vec![1])),
                        Run::Stamped {
                            region: RegionId(3),
                            generation: Generation(0),
                            offset: 0,
                            len_bytes: 2,
                        },
                        Run::Stamped {
                            region: RegionId(1),
                            generation: Generation(0),
                            offset: 0,
                            len_bytes: 1,
                        },
                        Run::Stamped {
                            region: RegionId(0),
                            generation: Generation(0),
                            offset: 64,
                            len_bytes: 1,
                        },
                    ] {
                        let mut runs = received.runs.clone();
                        runs.insert(i, stray);
                        runs_with(runs);
                    }
                }
                for i in 0..received.runs.len() {
                    let mut runs = received.runs.clone();
                    if let Run::Stamped { generation, .. } = &mut runs[i] {
                        generation.0 += 1;
                        runs_with(runs);
                    }
                }
            }
            _ => {}
        }
    }
    all
}

#[test]
fn every_rule_of_the_mixed_contract_refuses_a_wrong_trace() {
    let mut broken: BTreeMap<Rule, usize> = BTreeMap::new();
    for program in programs() {
        let contract = Contract::of(&program).expect("mixed sends and plain ones");
        let runs = explore(&program, &Profile::proposal(), 100_000).expect("few states").traces;
        for run in &runs {
            assert_eq!(contract.judge(run), Ok(()), "a right trace is refused");
            for trace in wrong(run) {
                let Err(refused) = contract.judge(&trace) else { continue };
                *broken.entry(refused.rule).or_default() += 1;
                let without = contract.clone().without(refused.rule).judge(&trace);
                assert_ne!(without.err().map(|b| b.rule), Some(refused.rule), "a rule that is off refuses");
            }
        }
    }
    let ours: BTreeSet<Rule> = Rule::ALL.iter().copied().filter(|rule| rule.area() == "mixed").collect();
    let never: Vec<&str> =
        ours.iter().filter(|rule| !broken.contains_key(rule)).map(|rule| rule.id()).collect();
    assert!(never.is_empty(), "no wrong trace breaks {never:?}; broken were {broken:?}");
}
