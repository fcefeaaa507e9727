//! Deliberate mistakes are noticed: a kernel with a fault simulates traces that are refused, and
//! traces that are wrong in one place are refused by the rule that they break.

mod programs;

use std::collections::BTreeMap;

use programs::*;
use uringspec_model::abi::{op, send_flag};
use uringspec_model::check::check;
use uringspec_model::choices::Seeded;
use uringspec_model::cqe::Cqe;
use uringspec_model::memory::{Generation, RegionId, WINDOW_BASE};
use uringspec_model::mutation::{Fault, Mutation};
use uringspec_model::profile::Profile;
use uringspec_model::program::*;
use uringspec_model::rules::Rule;
use uringspec_model::simulate::{explore, explore_mutant, simulate_mutant};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Ending, Received, RingCqe, Run, Seen, Trace, What};
use uringspec_model::verdict::{Unclaimed, Verdict};

/// The tiny programs and some that use registered buffers and nonsense.
fn subjects() -> Vec<(&'static str, Program)> {
    let register = Step::Register {
        ring: RingId(0),
        what: Register::Buffers(vec![Iovec { addr: WINDOW_BASE, len_bytes: 2 }]),
    };
    let fixed = |len| Sqe { ioprio: send_flag::FIXED_BUF, ..zc(1, 0, len) };
    let mut all = tiny();
    all.push(("fixed outside", program(Lane::Loopback, vec![register, submit([fixed(3)]), reap(), drain()])));
    let refused = Sqe { ioprio: 0x80, ..zc(1, 0, 1) };
    all.push((
        "refused",
        program(Lane::Loopback, vec![submit([refused]), reap(), Step::Fence { ring: RingId(0) }]),
    ));
    all.push((
        "held and rewritten",
        program(Lane::Gate, vec![submit([zc(1, 0, 2)]), rewrite(0), drain(), reap()]),
    ));
    all
}

#[test]
fn every_fault_of_a_kernel_is_noticed() {
    let profile = Profile::v6_18();
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        let noticed = subjects().iter().any(|(_, program)| {
            (0..40).any(|seed| {
                let mutation = Some(Mutation::Fault(*fault));
                let trace = simulate_mutant(program, &profile, mutation, &mut Seeded::new(seed));
                !check(program, &profile, &trace).is_accepted()
            })
        });
        if !noticed {
            missed.push(fault);
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

#[test]
fn rules_that_are_switched_off_show() {
    let profile = Profile::v6_18();
    let mut shown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, program) in subjects() {
        let sound = explore(&program, &profile, 100_000).expect("tiny programs have few states");
        for rule in Rule::ALL {
            let off = explore_mutant(&program, &profile, Some(Mutation::Off(*rule)), 800);
            if off.is_ok_and(|off| off.traces.len() != sound.traces.len()) {
                shown.entry(rule.id()).or_default().push(name);
            }
        }
    }
    for (rule, programs) in &shown {
        println!("{rule}: {}", programs.join(", "));
    }
    assert!(shown.len() >= 20, "only {} rules show: {:?}", shown.len(), shown.keys());
}

/// One line of a trace.
fn cqe(step: u32, user_data: u64, res: i32, flags: u32) -> Seen {
    Seen { step, what: What::Cqe(RingCqe { ring: RingId(0), cqe: Cqe { user_data, res, flags } }) }
}

fn returned(step: u32, value: i64) -> Seen {
    Seen { step, what: What::Returned(value) }
}

fn received(step: u32, region: u16, generation: u16, offset: u64, len_bytes: u64) -> Seen {
    let run =
        Run::Stamped { region: RegionId(region), generation: Generation(generation), offset, len_bytes };
    Seen { step, what: What::Received(Received { socket: SocketId(0), runs: vec![run] }) }
}

#[track_caller]
fn refused_by(rule: Rule, program: &Program, seen: Vec<Seen>) {
    let trace = Trace { seen, end: Ending::Complete };
    match check(program, &Profile::v6_18(), &trace) {
        Verdict::Rejected(rejection) => assert_eq!(rejection.rule, rule, "{rejection:?}"),
        verdict => panic!("not refused: {verdict:?}\n{}", show(program, &trace)),
    }
}

#[track_caller]
fn accepted(program: &Program, seen: Vec<Seen>) {
    let trace = Trace { seen, end: Ending::Complete };
    let verdict = check(program, &Profile::v6_18(), &trace);
    assert!(verdict.is_accepted(), "{verdict:?}\n{}", show(program, &trace));
}

const MORE: u32 = 2;
const NOTIF: u32 = 8;

#[test]
fn wrong_traces_of_a_zero_copy_send() {
    let one = program(Lane::Loopback, vec![submit([reporting(zc(1, 0, 4096))]), reap(), drain()]);
    let right = || {
        vec![returned(0, 1), cqe(1, 1, 4096, MORE), cqe(1, 1, i32::MIN, NOTIF), received(2, 0, 0, 0, 4096)]
    };
    accepted(&one, right());
    let with = |change: &dyn Fn(&mut Vec<Seen>)| {
        let mut seen = right();
        change(&mut seen);
        seen
    };
    refused_by(Rule::NotifAfterResult, &one, with(&|s| s.swap(1, 2)));
    refused_by(Rule::RetiredIsSilent, &one, with(&|s| s.insert(3, cqe(1, 1, i32::MIN, NOTIF))));
    refused_by(Rule::OneResult, &one, with(&|s| s.insert(2, cqe(1, 1, 4096, MORE))));
    refused_by(Rule::ZcMoreAnnounces, &one, with(&|s| s[1] = cqe(1, 1, 4096, 0)));
    refused_by(Rule::SendShortNeverLong, &one, with(&|s| s[1] = cqe(1, 1, 4097, MORE)));
    refused_by(Rule::SendWholeWhenRoom, &one, with(&|s| s[1] = cqe(1, 1, 4095, MORE)));
    refused_by(Rule::ZcLoopbackCopies, &one, with(&|s| s[2] = cqe(1, 1, 0, NOTIF)));
    refused_by(Rule::CqeMakesSense, &one, with(&|s| s[2] = cqe(1, 1, -12, NOTIF)));
    refused_by(Rule::NobodyAsked, &one, with(&|s| s.insert(3, cqe(1, 9, 0, 0))));
    refused_by(Rule::RingSubmitCount, &one, with(&|s| s[0] = returned(0, 2)));
    refused_by(Rule::SendErrorNeedsCause, &one, with(&|s| s[1] = cqe(1, 1, -14, MORE)));
    refused_by(Rule::StreamNothingLost, &one, with(&|s| s[3] = received(2, 0, 0, 0, 4095)));
    refused_by(Rule::StreamNothingInvented, &one, with(&|s| s[3] = received(2, 0, 0, 1, 4095)));
    refused_by(Rule::StreamNothingInvented, &one, with(&|s| s[3] = received(2, 1, 0, 0, 4096)));
    refused_by(Rule::StreamNothingInvented, &one, with(&|s| s.push(received(2, 0, 0, 0, 1))));
}

#[test]
fn wrong_traces_of_held_memory() {
    let held = program(
        Lane::Gate,
        vec![submit([reporting(zc(1, 0, 4096))]), reap_now(), rewrite(0), drain(), reap()],
    );
    let begin = || vec![returned(0, 1), cqe(1, 1, 4096, MORE)];
    let with = |rest: &[Seen]| begin().into_iter().chain(rest.iter().cloned()).collect();
    accepted(&held, with(&[received(3, 0, 1, 0, 4096), cqe(4, 1, i32::MIN, NOTIF)]));
    refused_by(Rule::NotifWaitsForRelease, &held, with(&[cqe(1, 1, 0, NOTIF)]));
    refused_by(Rule::ZcLentIsShared, &held, with(&[received(3, 0, 0, 0, 4096), cqe(4, 1, i32::MIN, NOTIF)]));
    let reset = Step::ResetPeer { socket: SocketId(0) };
    let purged = program(Lane::Gate, vec![submit([reporting(zc(1, 0, 4096))]), reset, reap()]);
    accepted(&purged, vec![returned(0, 1), cqe(2, 1, 4096, MORE), cqe(2, 1, 0, NOTIF)]);
    let copied = vec![returned(0, 1), cqe(2, 1, 4096, MORE), cqe(2, 1, i32::MIN, NOTIF)];
    refused_by(Rule::ZcUntouchedIsClear, &purged, copied);
}

#[test]
fn wrong_traces_of_chains_and_batches() {
    let chain = program(
        Lane::Loopback,
        vec![
            submit([linked(Sqe { fd: -1, ..send(op::SEND, 1, 0, 8) }), linked(zc(2, 0, 8)), nop(3)]),
            reap(),
        ],
    );
    let right = || vec![returned(0, 3), cqe(1, 1, -9, 0), cqe(1, 2, -125, 0), cqe(1, 3, -125, 0)];
    accepted(&chain, right());
    accepted(&chain, right().into_iter().chain([cqe(1, 2, 0, NOTIF)]).collect());
    let with = |change: &dyn Fn(&mut Vec<Seen>)| {
        let mut seen = right();
        change(&mut seen);
        seen
    };
    refused_by(Rule::LinkOrder, &chain, with(&|s| s.swap(2, 3)));
    refused_by(Rule::LinkFailureCuts, &chain, with(&|s| s[3] = cqe(1, 3, 0, 0)));
    refused_by(Rule::LinkCutIsSingle, &chain, with(&|s| s[2] = cqe(1, 2, -125, MORE)));
    refused_by(Rule::SendBadDescriptor, &chain, with(&|s| s[1] = cqe(1, 1, 8, 0)));
    let batch =
        program(Lane::Loopback, vec![submit([nop(1), Sqe { opcode: 200, ..nop(2) }, nop(3)]), reap()]);
    accepted(&batch, vec![returned(0, 2), cqe(1, 1, 0, 0), cqe(1, 2, -22, 0)]);
    let all = vec![returned(0, 3), cqe(1, 1, 0, 0), cqe(1, 2, -22, 0)];
    refused_by(Rule::RingPrepFailureStops, &batch, all);
    let third = vec![returned(0, 2), cqe(1, 1, 0, 0), cqe(1, 2, -22, 0), cqe(1, 3, 0, 0)];
    refused_by(Rule::RetiredIsSilent, &batch, third);
}

#[test]
fn wrong_traces_of_a_queue_that_is_too_small() {
    let peek = || Step::Peek { ring: RingId(0) };
    let flag = |step, set| Seen { step, what: What::Overflow { ring: RingId(0), set } };
    let steps = vec![submit([nop(1)]), submit([nop(2)]), peek(), reap_now(), peek()];
    let small = small_queue(steps);
    let right = || {
        vec![returned(0, 1), returned(1, 1), flag(2, true), cqe(2, 1, 0, 0), cqe(3, 2, 0, 0), flag(4, false)]
    };
    accepted(&small, right());
    let with = |change: &dyn Fn(&mut Vec<Seen>)| {
        let mut seen = right();
        change(&mut seen);
        seen
    };
    refused_by(Rule::RingPostedInOrder, &small, with(&|s| s[3] = cqe(2, 2, 0, 0)));
    refused_by(Rule::RingEnterFlushes, &small, with(&|s| s[4] = cqe(2, 2, 0, 0)));
    refused_by(Rule::RingOverflowFlag, &small, with(&|s| s[2] = flag(2, false)));
    refused_by(Rule::RingOverflowFlag, &small, with(&|s| s[5] = flag(4, true)));
    refused_by(Rule::RingPostedIsThere, &small, with(&|s| _ = s.remove(3)));
    refused_by(Rule::RingEnterFlushes, &small, with(&|s| _ = s.remove(4)));
    let fenced = small_queue(vec![submit([nop(1)]), submit([nop(2)]), Step::Fence { ring: RingId(0) }]);
    let lost = vec![returned(0, 1), returned(1, 1), cqe(2, 1, 0, 0)];
    refused_by(Rule::RingPostedInOrder, &fenced, lost);
    let reaped = small_queue(vec![submit([nop(1)]), submit([nop(2)]), reap_now(), reap_now()]);
    accepted(&reaped, vec![returned(0, 1), returned(1, 1), cqe(2, 1, 0, 0), cqe(3, 2, 0, 0)]);
    let both = vec![returned(0, 1), returned(1, 1), cqe(2, 1, 0, 0), cqe(2, 2, 0, 0)];
    refused_by(Rule::RingOverflowWaits, &reaped, both);
}

#[test]
fn wrong_traces_under_a_limit_on_locked_memory() {
    const ENOMEM: i32 = -12;
    let reset = Step::ResetPeer { socket: SocketId(0) };
    let steps = vec![
        submit([zc(1, 0, 9)]),
        submit([zc(2, 1, 9)]),
        reap_now(),
        reset,
        reap(),
        submit([zc(3, 0, 9)]),
        reap_now(),
    ];
    let held = limited(4, program(Lane::Gate, steps));
    let right = || {
        let full = [cqe(2, 1, 9, MORE), cqe(2, 2, ENOMEM, MORE), cqe(2, 2, 0, NOTIF), cqe(4, 1, 0, NOTIF)];
        let calls = [returned(0, 1), returned(1, 1)];
        calls.into_iter().chain(full).chain([returned(5, 1), cqe(6, 3, -104, MORE)]).collect::<Vec<_>>()
    };
    accepted(&held, right());
    let with = |change: &dyn Fn(&mut Vec<Seen>)| {
        let mut seen = right();
        change(&mut seen);
        seen
    };
    refused_by(Rule::MemlockSends, &held, with(&|s| s[3] = cqe(2, 2, 9, MORE)));
    refused_by(Rule::MemlockSends, &held, with(&|s| s[3] = cqe(2, 2, -11, MORE)));
    refused_by(Rule::ZcErrorStillNotifies, &held, with(&|s| s[3] = cqe(2, 2, ENOMEM, 0)));
    refused_by(Rule::MemlockGivenBack, &held, with(&|s| s[7] = cqe(6, 3, ENOMEM, MORE)));
    let table = Step::Register { ring: RingId(0), what: Register::Buffers(vec![few(0), few(1)]) };
    let full = limited(3, program(Lane::Loopback, vec![table]));
    accepted(&full, vec![returned(0, ENOMEM.into())]);
    refused_by(Rule::MemlockTables, &full, vec![returned(0, 0)]);
    let free = Program { limits: Limits { unprivileged: false, ..full.limits.clone() }, ..full };
    accepted(&free, vec![returned(0, 0)]);
}

#[test]
fn a_promise_that_was_waited_for_in_vain_is_stuck() {
    let one = program(Lane::Loopback, vec![submit([zc(1, 0, 4096)]), reap()]);
    let seen = vec![returned(0, 1), cqe(1, 1, 4096, MORE), Seen { step: 1, what: What::GaveUp }];
    let trace = Trace { seen, end: Ending::Complete };
    let Verdict::Stuck { promises, .. } = check(&one, &Profile::v6_18(), &trace) else {
        panic!("a notification that never comes is accepted")
    };
    assert_eq!(promises[0].rule, Rule::NotifComes);
    let held = program(Lane::Gate, vec![submit([zc(1, 0, 4096)]), reap()]);
    assert!(check(&held, &Profile::v6_18(), &trace).is_accepted(), "nobody promised it here");
}

#[test]
fn who_waits_sees_what_it_waits_for_or_gives_up() {
    let held = program(Lane::Gate, vec![submit([zc(1, 0, 2)]), reap()]);
    let mut trace = Trace { seen: vec![returned(0, 1), cqe(1, 1, 2, MORE)], end: Ending::Complete };
    let verdict = check(&held, &Profile::v6_18(), &trace);
    assert!(matches!(verdict, Verdict::Unclaimed { reason: Unclaimed::Malformed(_) }), "{verdict:?}");
    trace.seen.push(Seen { step: 1, what: What::GaveUp });
    accepted(&held, trace.seen);
}

#[test]
fn a_run_of_bytes_may_be_those_of_two_requests() {
    let behind = Sqe { addr: WINDOW_BASE + 1, ..send(op::SEND, 2, 0, 2) };
    let both = program(Lane::GateFull, vec![submit([send(op::SEND, 1, 0, 2), behind]), drain(), reap()]);
    let with =
        |seen: [Seen; 2]| vec![returned(0, 2), received(1, 0, 0, 0, 3)].into_iter().chain(seen).collect();
    accepted(&both, with([cqe(2, 1, 1, 0), cqe(2, 2, 2, 0)]));
    refused_by(Rule::SendShortNeverLong, &both, with([cqe(2, 1, 2, 0), cqe(2, 2, 2, 0)]));
}
