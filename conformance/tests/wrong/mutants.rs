//! Traces with one mistake, made from right ones.

use uringspec_model::abi::{ZC_COPIED, cqe_flag, errno};
use uringspec_model::cqe::Cqe;
use uringspec_model::memory::{HexBytes, Region};
use uringspec_model::program::{Program, RingId, Step, Until};
use uringspec_model::trace::{Ending, Received, RingCqe, Run, Seen, Trace, What, Words};

/// User data that no case uses.
const STRANGER: u64 = 0xdead;

/// A trace with one mistake.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    /// The mistake.
    pub(crate) how: &'static str,
    /// What a kernel that makes it would show.
    pub(crate) trace: Trace,
}

/// Every mutant of a trace.
pub(crate) fn mutants(program: &Program, trace: &Trace) -> Vec<Mutant> {
    let mut all = Vec::new();
    for (at, seen) in trace.seen.iter().enumerate() {
        let mut with = |how, change: &dyn Fn(&mut Vec<Seen>)| {
            let mut mutant = trace.clone();
            change(&mut mutant.seen);
            if mutant != *trace {
                all.push(Mutant { how, trace: mutant });
            }
        };
        let mut become_ = |how, what: What| with(how, &|all| all[at].what = what.clone());
        match &seen.what {
            What::Returned(value) => {
                become_("one more is returned", What::Returned(value + 1));
                become_("one less is returned", What::Returned(value - 1));
            }
            What::Overflow { ring, set } => {
                become_("the overflow flag is wrong", What::Overflow { ring: *ring, set: !set });
            }
            What::Words(words) => {
                become_("one more is dropped", What::Words(Words { dropped: words.dropped + 1, ..*words }));
                become_("one more is queued", What::Words(Words { queued: words.queued + 1, ..*words }));
                become_(
                    "the ring says that its thread sleeps",
                    What::Words(Words { flags: words.flags ^ 1, ..*words }),
                );
            }
            What::Cqe(taken) => {
                for (how, cqe) in other_completions(taken.cqe) {
                    become_(how, What::Cqe(RingCqe { ring: taken.ring, cqe }));
                }
                with("a completion too many", &|all| all.insert(at + 1, all[at].clone()));
                with("a completion is missing", &|all| {
                    let step = all.remove(at).step;
                    if is_waited_for(program, step, taken.cqe.user_data) {
                        waits_in_vain(program, all, step);
                    }
                });
                let notif = Cqe { user_data: taken.cqe.user_data, res: 0, flags: cqe_flag::NOTIF };
                let notif =
                    Seen { step: seen.step, what: What::Cqe(RingCqe { ring: taken.ring, cqe: notif }) };
                with("a notification is added", &|all| all.insert(at + 1, notif.clone()));
                with("two completions are swapped", &|all| {
                    if let Some(next) = next_completion(all, at, taken.ring) {
                        all.swap(at, next);
                        // each is seen where the other was
                        let step = all[at].step;
                        all[at].step = all[next].step;
                        all[next].step = step;
                    }
                });
                with("a completion comes later", &|all| later(program, all, at, taken.ring));
                with("a completion comes earlier", &|all| earlier(program, all, at, taken.ring));
            }
            What::Received(received) => {
                for (how, runs) in other_bytes(&program.regions, &received.runs) {
                    become_(how, What::Received(Received { socket: received.socket, runs }));
                }
                with("what was received comes twice", &|all| all.insert(at + 1, all[at].clone()));
                with("what was received is missing", &|all| _ = all.remove(at));
            }
            What::Acked { socket, len_bytes } => {
                let acked = |len_bytes| What::Acked { socket: *socket, len_bytes };
                become_("one more is acknowledged", acked(len_bytes + 1));
                become_("one less is acknowledged", acked(len_bytes - 1));
                with("an acknowledgement is missing", &|all| _ = all.remove(at));
            }
            What::SentAgain(again) => {
                for (how, runs) in other_bytes(&program.regions, &again.runs) {
                    become_(how, What::SentAgain(Received { socket: again.socket, runs }));
                }
                with("what left again does so twice", &|all| all.insert(at + 1, all[at].clone()));
                with("what left again is missing", &|all| _ = all.remove(at));
            }
            What::Room(_) | What::PeerEnded { .. } | What::GaveUp => {}
        }
    }
    all.extend(hung(program, trace));
    all
}

/// Other values for one completion.
fn other_completions(cqe: Cqe) -> Vec<(&'static str, Cqe)> {
    let mut all = vec![
        ("one more is reported", Cqe { res: cqe.res.wrapping_add(1), ..cqe }),
        ("one less is reported", Cqe { res: cqe.res.wrapping_sub(1), ..cqe }),
        (
            "a result is a notification, or the other way round",
            Cqe { flags: cqe.flags ^ cqe_flag::NOTIF, ..cqe },
        ),
        ("nobody asked", Cqe { user_data: STRANGER, ..cqe }),
        ("a flag that is not there", Cqe { flags: cqe.flags | 1 << 4, ..cqe }),
    ];
    if cqe.flags & cqe_flag::NOTIF == 0 {
        let how = if cqe.flags & cqe_flag::MORE == 0 { "MORE is added" } else { "MORE is dropped" };
        all.push((how, Cqe { flags: cqe.flags ^ cqe_flag::MORE, ..cqe }));
        let other = if cqe.res < 0 { 0 } else { -i32::from(errno::ENOMEM) };
        all.push(("success for failure, or the other way round", Cqe { res: other, ..cqe }));
    } else {
        all.push(("the usage is another", Cqe { res: if cqe.res == 0 { ZC_COPIED } else { 0 }, ..cqe }));
        all.push(("MORE on a notification", Cqe { flags: cqe.flags | cqe_flag::MORE, ..cqe }));
    }
    all
}

fn next_completion(seen: &[Seen], at: usize, ring: RingId) -> Option<usize> {
    let is_next = |s: &Seen| matches!(&s.what, What::Cqe(taken) if taken.ring == ring);
    (at + 1..seen.len()).find(|n| is_next(&seen[*n]))
}

/// Whether completions of a ring may be taken in a step at all.
fn takes(program: &Program, step: usize, from: RingId) -> bool {
    match &program.steps[step] {
        Step::Reap { ring, .. } | Step::Peek { ring } | Step::Fence { ring } => *ring == from,
        Step::Settle => true,
        _ => false,
    }
}

/// Whoever waits in this step for what does not come any more gives up.
fn waits_in_vain(program: &Program, all: &mut Vec<Seen>, step: u32) {
    if matches!(&program.steps[step as usize], Step::Reap { until: Until::Seen(_) | Until::Settled, .. }) {
        put(all, Seen { step, what: What::GaveUp });
    }
}

/// Whether the step goes on until it has seen what carries this.
fn is_waited_for(program: &Program, step: u32, user_data: u64) -> bool {
    match &program.steps[step as usize] {
        Step::Reap { until: Until::Seen(wants), .. } => wants.iter().any(|want| want.user_data == user_data),
        _ => true,
    }
}

/// Adds an observation at the end of its step.
fn put(all: &mut Vec<Seen>, seen: Seen) {
    let place = all.iter().position(|s| s.step > seen.step).unwrap_or(all.len());
    all.insert(place, seen);
}

fn later(program: &Program, all: &mut Vec<Seen>, at: usize, ring: RingId) {
    let from = all[at].step;
    let mut steps = from as usize + 1..program.steps.len();
    if let Some(step) = steps.find(|step| takes(program, *step, ring)) {
        let moved = all.remove(at);
        waits_in_vain(program, all, from);
        put(all, Seen { step: step as u32, ..moved });
    }
}

fn earlier(program: &Program, all: &mut Vec<Seen>, at: usize, ring: RingId) {
    let mut steps = (0..all[at].step as usize).rev();
    if let Some(step) = steps.find(|step| takes(program, *step, ring)) {
        let moved = all.remove(at);
        put(all, Seen { step: step as u32, ..moved });
    }
}

/// Other bytes than those that were received.
fn other_bytes(regions: &[Region], runs: &[Run]) -> Vec<(&'static str, Vec<Run>)> {
    let total: u64 = runs.iter().map(Run::len_bytes).sum();
    let mut all = Vec::new();
    let one = vec![Run::Bytes(HexBytes(vec![0x5a]))];
    all.push(("a byte too many", [runs, &one].concat()));
    if total == 0 {
        return all;
    }
    let byte = |at: u64| {
        let mut left = at;
        let run = runs.iter().find(|run| {
            let here = left < run.len_bytes();
            left -= if here { 0 } else { run.len_bytes() };
            here
        });
        run.map_or(0, |run| run.byte(regions, left))
    };
    let mut places = vec![0, total / 2, total - 1];
    places.dedup();
    for at in places {
        let wrong = vec![Run::Bytes(HexBytes(vec![byte(at) ^ 1]))];
        all.push(("a byte is wrong", [cut(runs, 0, at), wrong, cut(runs, at + 1, total)].concat()));
    }
    all.push(("the last byte is missing", cut(runs, 0, total - 1)));
    all.push(("the first byte is missing", cut(runs, 1, total)));
    all.push(("the first byte comes twice", [cut(runs, 0, 1), runs.to_vec()].concat()));
    all.push(("the bytes come twice", [runs, runs].concat()));
    let half = total / 2;
    all.push(("the halves are swapped", [cut(runs, half, total), cut(runs, 0, half)].concat()));
    if total > 1 && byte(0) != byte(1) {
        all.push(("two bytes are swapped", [cut(runs, 1, 2), cut(runs, 0, 1), cut(runs, 2, total)].concat()));
    }
    let stale: Vec<Run> = runs.iter().map(other_generation).collect();
    all.push(("the bytes are of another time", stale));
    all
}

fn other_generation(run: &Run) -> Run {
    match run.clone() {
        Run::Stamped { region, generation, offset, len_bytes } => {
            let generation = uringspec_model::memory::Generation(if generation.0 == 0 { 1 } else { 0 });
            Run::Stamped { region, generation, offset, len_bytes }
        }
        bytes => bytes,
    }
}

/// The bytes `from..to` of runs.
fn cut(runs: &[Run], from: u64, to: u64) -> Vec<Run> {
    let mut start = 0;
    let mut all = Vec::new();
    for run in runs {
        let (a, b) = (from.max(start), to.min(start + run.len_bytes()));
        if a < b {
            all.push(match run {
                Run::Stamped { region, generation, offset, .. } => Run::Stamped {
                    region: *region,
                    generation: *generation,
                    offset: offset + a - start,
                    len_bytes: b - a,
                },
                Run::Bytes(bytes) => {
                    Run::Bytes(HexBytes(bytes.0[(a - start) as usize..(b - start) as usize].to_vec()))
                }
            });
        }
        start += run.len_bytes();
    }
    all
}

/// The trace with a step that never returns.
fn hung(program: &Program, trace: &Trace) -> Vec<Mutant> {
    (0..program.steps.len() as u32)
        .map(|step| {
            let at = trace.seen.iter().position(|s| s.step >= step).unwrap_or(trace.seen.len());
            let trace = Trace { seen: trace.seen[..at].to_vec(), end: Ending::Hung { step } };
            Mutant { how: "a call never returns", trace }
        })
        .collect()
}
