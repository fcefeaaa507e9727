//! Drafts get about: every rule has its say in random programs, and the edges of everything are met.
//!
//! A rule is reached where it has a say in a simulated run that is accepted, or where it is what refuses
//! a simulated run in which one thing was changed. The tables of those that only refuse and of those
//! that are not reached at all are exact.

use std::collections::BTreeSet;

use uringspec::campaign::program;
use uringspec::draft::Features;
use uringspec_model::abi::{errno, setup};
use uringspec_model::check::check;
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::cqe::Cqe;
use uringspec_model::profile::Profile;
use uringspec_model::program::{Program, RingId, SocketId, Step};
use uringspec_model::rules::Rule;
use uringspec_model::simulate::simulate;
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Ending, PeerEnd, RingCqe, Seen, Trace, What};
use uringspec_model::verdict::Verdict;

/// Within so many draws every rule has its say; the seldomest in one of 3,000.
const DRAWS: u64 = 12_000;
/// Runs that are spoilt, each in several ways; those with limits are few, and all are.
const SPOILT: u64 = 2_000;
const WAYS: usize = 6;

/// Rules that say only what must not be: no run that is accepted shows them.
const ONLY_REFUSE: &[Rule] = &[
    Rule::NobodyAsked,
    Rule::CqeMakesSense,
    Rule::CallsReturn,
    Rule::SendShortNeverLong,
    Rule::SendWaitsForRoom,
    Rule::StreamContiguous,
    Rule::StreamEndsWhenClosed,
    Rule::LinkStartsAfterResult,
    Rule::NotifComes,
    Rule::MemlockGivenBack,
    Rule::MemlockRegisteredFree,
];

/// Rules that nothing here reaches, and why.
const OUT_OF_REACH: &[(Rule, &str)] = &[
    (Rule::StreamSentAgain, TAPPED),
    (Rule::ZcTapCopies, TAPPED),
    (Rule::ZcSentAgainIsMemory, TAPPED),
    (Rule::RingDisabledRefuses, "a ring that is not enabled does nothing, so random programs have none"),
    (Rule::RingIopollRefuses, POLLING),
    (Rule::RingIopollSockets, POLLING),
    (Rule::RingThreadCount, "threads for rings are drawn only where that is asked for"),
    (Rule::RingRestrictOnce, RESTRICTED),
    (Rule::RingRestricts, RESTRICTED),
    (Rule::RingRestrictsCalls, RESTRICTED),
    (Rule::CancelCallFound, CALLING),
    (Rule::CancelCallNotFound, CALLING),
    (Rule::CancelAnyAlone, SEEKING),
    (Rule::CancelCounts, SEEKING),
    (Rule::CancelDescriptor, SEEKING),
    (Rule::CancelMatches, SEEKING),
    (
        Rule::MsgNameReadable,
        "names lie in memory that can be read, and others only where any values are drawn",
    ),
    (Rule::MemlockRings, "it is part of what the other rules of locked memory count"),
];
const POLLING: &str = "a ring that polls takes no send, so random programs have none";
const RESTRICTED: &str = "a ring is restricted before it is enabled, and random programs have none such";
const CALLING: &str =
    "nothing is said of a call that cancels what may be under way, so random programs have none";
const SEEKING: &str = "cancels of what is alike are drawn only where that is asked for";
const TAPPED: &str = "a tap may miss something where much is sent, so random programs have none";

/// Areas of rules that are of no random program, and why.
const NOT_DRAWN: &[(&str, &str)] = &[
    ("mixed", "what is said of a mixed send is said of no program"),
    ("drain", "what drains is asked for, so far"),
    ("read", "a read beside what a peer reads says nothing, so random programs have none"),
];

fn draw(number: u64) -> Program {
    program(1, number, Features::DEFAULT | Features::CALLS)
}

#[test]
fn every_rule_has_its_say() {
    let profile = Profile::v6_18();
    let (mut said, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for number in 0..DRAWS {
        let program = draw(number);
        let trace = simulate(&program, &profile, &mut Seeded::new(number));
        let Verdict::Accepted { rules, .. } = check(&program, &profile, &trace) else { continue };
        said.extend(rules);
        let mut random = Seeded::new(!number);
        let ways = match program.limits.memlock_bytes {
            Some(_) => WAYS * 8,
            None if number < SPOILT => WAYS,
            None => 0,
        };
        for _ in 0..ways {
            let Some(wrong) = spoil(&trace, &mut random) else { continue };
            match check(&program, &profile, &wrong) {
                Verdict::Rejected(rejection) => _ = refused.insert(rejection.rule),
                Verdict::Stuck { promises, .. } => refused.extend(promises.iter().map(|p| p.rule)),
                _ => {}
            }
        }
    }
    let drawn = |rule: &Rule| !NOT_DRAWN.iter().any(|(area, _)| *area == rule.area());
    let all: BTreeSet<Rule> = Rule::ALL.iter().copied().filter(drawn).collect();
    let names = |rules: &BTreeSet<Rule>| rules.iter().map(|rule| rule.id()).collect::<Vec<_>>();
    let only_refuse: BTreeSet<Rule> = refused.difference(&said).copied().collect();
    let missing: BTreeSet<Rule> = all.difference(&said).filter(|r| !refused.contains(r)).copied().collect();
    assert_eq!(names(&only_refuse), names(&ONLY_REFUSE.iter().copied().collect()));
    let reached: Vec<_> = said.union(&refused).filter(|rule| !drawn(rule)).collect();
    assert!(reached.is_empty(), "{reached:?} are drawn after all");
    assert_eq!(names(&missing), names(&OUT_OF_REACH.iter().map(|(rule, _)| *rule).collect()));
}

/// Changes one thing that was seen.
fn spoil(trace: &Trace, random: &mut Seeded) -> Option<Trace> {
    let mut wrong = trace.clone();
    let at = random.pick(trace.seen.len().max(1));
    let seen = &mut wrong.seen;
    match (random.pick(16), seen.get(at).map(|one| &one.what)?) {
        (0, What::Cqe(_)) => _ = seen.remove(at),
        (1, What::Cqe(_)) => change(seen, at, |cqe| cqe.user_data = u64::MAX - 7),
        (2, What::Cqe(_)) => change(seen, at, |cqe| cqe.flags ^= 1 << random.pick(4)),
        (3, What::Cqe(_)) => change(seen, at, |cqe| cqe.res += 1),
        (4, What::Cqe(_)) => change(seen, at, |cqe| cqe.res ^= i32::MIN),
        (5 | 12..16, What::Cqe(_)) => change(seen, at, |cqe| cqe.res = -i32::from(errno::ENOMEM)),
        // as early as anything, or a little later
        (6, What::Cqe(_)) => {
            let one = seen.remove(at);
            let to = random.pick(at + 1);
            let step = seen.get(to).map_or(one.step, |next| next.step);
            seen.insert(to, Seen { step, ..one });
        }
        (7, What::Received(received)) if !received.runs.is_empty() => {
            let mut received = received.clone();
            let runs = received.runs.len();
            received.runs.swap(0, random.pick(runs));
            seen[at].what = What::Received(received);
        }
        (8, _) => {
            let what = What::PeerEnded { socket: SocketId(0), how: PeerEnd::EndOfFile };
            seen.insert(at, Seen { step: seen[at].step, what });
        }
        (9, _) => {
            let step = seen[at].step;
            seen.truncate(at);
            wrong.end = Ending::Hung { step };
        }
        (10, What::Cqe(_)) => {
            let step = seen[at].step;
            seen.truncate(at);
            seen.push(Seen { step, what: What::GaveUp });
            wrong.end = Ending::Cut;
        }
        (11, What::Cqe(RingCqe { cqe, .. })) => {
            let again = RingCqe { ring: RingId(0), cqe: *cqe };
            seen.insert(at, Seen { step: seen[at].step, what: What::Cqe(again) });
        }
        _ => return None,
    }
    Some(wrong)
}

fn change(seen: &mut [Seen], at: usize, how: impl FnOnce(&mut Cqe)) {
    if let What::Cqe(one) = &mut seen[at].what {
        how(&mut one.cqe);
    }
}

/// Lengths at the edges of types, pages, packets, fragments, and of what a socket holds.
const EDGES: &[u32] = &[
    0,
    1,
    4095,
    4096,
    4097,
    1448,
    32_767,
    32_768,
    32_769,
    65_507,
    65_508,
    65_535,
    65_536,
    65_537,
    212_992,
    425_984,
    0x7fff_f000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

#[test]
fn the_edges_of_everything_are_met() {
    let all: Vec<Program> = (0..DRAWS).map(draw).collect();
    let lens: BTreeSet<u32> = all.iter().flat_map(entries).map(|sqe| sqe.len).collect();
    let missing: Vec<_> = EDGES.iter().filter(|len| !lens.contains(len)).collect();
    assert!(missing.is_empty(), "no entry is so long: {missing:?}");
    let counts = |of: fn(&Program) -> usize| all.iter().map(of).collect::<BTreeSet<usize>>();
    assert_eq!(counts(|program| program.sockets.len()), BTreeSet::from([1, 2, 3]));
    assert_eq!(counts(|program| program.rings.len()), BTreeSet::from([1, 2]));
    let lanes: BTreeSet<_> = all
        .iter()
        .flat_map(|p| &p.sockets)
        .map(|s| format!("{:?} {:?} {:?}", s.kind, s.lane, s.state))
        .collect();
    assert_eq!(lanes.len(), 15, "{lanes:?}");
    let rings = || all.iter().flat_map(|program| &program.rings);
    assert!(rings().any(|ring| ring.flags & setup::DEFER_TASKRUN != 0), "no ring defers");
    assert!(rings().any(|ring| ring.cq_entries.is_some()), "no queue of completions overflows");
}

#[test]
fn with_anything_every_field_may_be_nonsense() {
    let features = Features::DEFAULT | Features::ANYTHING;
    let mut bits = Sqe::default().to_bytes();
    let mut opcodes = BTreeSet::new();
    for number in 0..DRAWS {
        for sqe in entries(&program(1, number, features)) {
            bits.iter_mut().zip(sqe.to_bytes()).for_each(|(bits, byte)| *bits |= byte);
            opcodes.insert(sqe.opcode);
        }
    }
    assert!(opcodes.len() > 40, "{opcodes:?}");
    // flags: never a drain, behind which zero copy hangs its ring; user data: it has to name the request
    let expected: [u8; 64] = std::array::from_fn(|at| match at {
        1 => 0xfd,
        32..40 => bits[at],
        _ => 0xff,
    });
    assert_eq!(bits, expected);
}

fn entries(program: &Program) -> impl Iterator<Item = &Sqe> {
    program.steps.iter().flat_map(|step| match step {
        Step::Submit { sqes, .. } => sqes.as_slice(),
        _ => &[],
    })
}
