//! Every run of every lowering, read through its view, is one that the contract allows; and so is every
//! run of the proposal itself.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::rc::Rc;
use std::sync::Mutex;

use uringspec_model::abi::{msg, send_flag};
use uringspec_model::kernels;
use uringspec_model::memory::{Generation, RegionId};
use uringspec_model::mixed::contract::{Broken, Contract};
use uringspec_model::mixed::lowering::Lowering;
use uringspec_model::mixed::plan::Mistake;
use uringspec_model::mixed::program::{Lowered, lower_mistaken};
use uringspec_model::profile::{Feature, Profile};
use uringspec_model::program::{Program, Register, Step};
use uringspec_model::rules::Rule;
use uringspec_model::simulate::explore;
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Ending, Trace};

use crate::space::{Around, program, sends, sends_of};

/// No program here is this wide.
const STATES_MAX: usize = 100_000;

/// One kernel for each set of features, oldest first.
pub(crate) fn kernels() -> Vec<Profile> {
    let mut all: Vec<Profile> = Vec::new();
    for profile in kernels::names().filter(|name| *name != kernels::PROPOSAL).filter_map(kernels::named) {
        if !all.iter().any(|known| known.features == profile.features) {
            all.push(profile);
        }
    }
    all
}

/// What makes two lowered programs around the same thing the same, but for the bytes that are staged.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    sqes: Vec<Sqe>,
    buffers: Vec<(u64, u64)>,
    added: Vec<(u64, u64)>,
    headers: Vec<u8>,
    features: Vec<Feature>,
    steps: usize,
}

impl Key {
    fn of(program: &Program, given: usize, features: Vec<Feature>) -> Key {
        let (mut sqes, mut buffers) = (Vec::new(), Vec::new());
        for step in &program.steps {
            match step {
                Step::Submit { sqes: some, .. } => sqes.extend(some),
                Step::Register { what: Register::Buffers(iovecs), .. } => {
                    buffers.extend(iovecs.iter().map(|iovec| (iovec.addr, iovec.len_bytes)));
                }
                _ => {}
            }
        }
        let added = program.regions[given..].iter().map(|r| (r.addr, r.len_bytes)).collect();
        let headers = program.regions.last().expect("headers at least");
        let headers = (0..headers.len_bytes).map(|i| headers.byte(RegionId(0), Generation(0), i));
        Key { sqes, buffers, added, headers: headers.collect(), features, steps: program.steps.len() }
    }
}

/// The features of which the model can ask in such a program: those that its entries name.
fn asked(program: &Program, profile: &Profile) -> Vec<Feature> {
    let mut flags = 0;
    for step in &program.steps {
        if let Step::Submit { sqes, .. } = step {
            flags |= sqes.iter().fold(0, |flags, sqe| flags | sqe.ioprio);
        }
    }
    let names = [
        (send_flag::REPORT_USAGE, Feature::ReportUsage),
        (send_flag::VECTORIZED, Feature::SendVectorized),
        (send_flag::FIXED_BUF, Feature::SendmsgZcFixed),
        (send_flag::FIXED_BUF, Feature::NotifUserData),
        (send_flag::PER_IOVEC, Feature::PerIovec),
    ];
    let named = names.into_iter().filter(|(flag, _)| flags & flag != 0).map(|(_, feature)| feature);
    named.filter(|feature| profile.has(*feature)).collect()
}

#[derive(Clone, Copy, Default)]
struct Size {
    lowered: usize,
    programs: usize,
    states: usize,
    traces: usize,
    judged: usize,
}

/// Explores what was not explored before.
#[derive(Default)]
struct Explorer {
    known: BTreeMap<Key, Rc<Vec<Trace>>>,
    size: Size,
}

impl Explorer {
    /// Every run of a program, and whether it is new.
    fn runs(&mut self, program: &Program, given: usize, profile: &Profile) -> (Rc<Vec<Trace>>, bool) {
        let key = Key::of(program, given, asked(program, profile));
        if let Some(known) = self.known.get(&key) {
            return (known.clone(), false);
        }
        let found = explore(program, profile, STATES_MAX).expect("small programs have few states");
        assert!(found.traces.iter().all(|trace| trace.end == Ending::Complete), "all of it is modelled");
        self.size.programs += 1;
        self.size.states += found.states;
        self.size.traces += found.traces.len();
        let runs = Rc::new(found.traces);
        self.known.insert(key, runs.clone());
        (runs, true)
    }
}

/// Judges every run of a lowered program.
fn judge_all(contract: &Contract<'_>, lowered: &Lowered, runs: &[Trace]) -> Result<(), (Broken, Trace)> {
    runs.iter().try_for_each(|run| {
        let seen = lowered.view.read(run);
        contract.judge(&seen).map_err(|broken| (broken, seen))
    })
}

/// A part of the space: what happens around sends of up to so many segments, with or without `MSG_WAITALL`,
/// and the kind of ring.
#[derive(Clone, Copy, Debug)]
struct Part {
    around: Around,
    most: usize,
    /// Bytes of a segment.
    longest: u32,
    waits_for_all: bool,
    defers: bool,
}

fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    for around in Around::ALL {
        for waits_for_all in [false, true] {
            for defers in [false, true] {
                // what a chain, a cancel or a rewrite does to one segment it does to each, and only where
                // any count may be taken does it matter whether the rest is waited for
                let most = match around {
                    Around::Unknown if !defers => 3,
                    Around::Datagram | Around::Gate | Around::Reset if waits_for_all && !defers => 3,
                    _ => 2,
                };
                parts.push(Part { around, most, longest: 2, waits_for_all, defers });
            }
        }
    }
    // the same with a segment before, between and behind two others
    for around in [Around::Rewritten, Around::Cancelled, Around::Chain] {
        parts.push(Part { around, most: 3, longest: 1, waits_for_all: true, defers: false });
    }
    parts.push(Part { around: Around::Gate, most: 3, longest: 1, waits_for_all: true, defers: true });
    parts
}

/// Every send of a part, in every way that some kernel has.
fn prove(part: Part) -> Size {
    let Part { around, most, longest, waits_for_all, defers } = part;
    let kernels = kernels();
    let mut explorer = Explorer::default();
    for mut send in sends_of(most, longest) {
        send.msg = if waits_for_all { msg::WAITALL } else { 0 };
        let program = program(&send, around, defers);
        let given = program.regions.len();
        let contract = Contract::of(&program).expect("mixed sends and plain ones");
        for lowering in Lowering::ALL {
            // without it any count was walked already, but for what needs it
            if most == 3 && waits_for_all && around == Around::Unknown && lowering != Lowering::Linked {
                continue;
            }
            let mut judged: Vec<Rc<Vec<Trace>>> = Vec::new();
            for kernel in &kernels {
                let Ok(lowered) = lower_mistaken(&program, kernel, lowering, None) else { continue };
                explorer.size.lowered += 1;
                let (runs, _) = explorer.runs(&lowered.program, given, kernel);
                if judged.iter().any(|known| Rc::ptr_eq(known, &runs)) {
                    continue;
                }
                explorer.size.judged += runs.len();
                if let Err((broken, seen)) = judge_all(&contract, &lowered, &runs) {
                    panic!("{around:?}, {lowering} on {}: {broken:?}\n{send:#?}\n{seen:#?}", kernel.release);
                }
                judged.push(runs);
            }
        }
        let (runs, _) = explorer.runs(&program, given - 1, &Profile::proposal());
        explorer.size.judged += runs.len();
        for seen in runs.iter() {
            if let Err(broken) = contract.judge(seen) {
                panic!("{around:?}, the proposal: {broken:?}\n{send:#?}\n{seen:#?}");
            }
        }
    }
    explorer.size
}

#[test]
fn every_run_of_every_lowering_of_a_mixed_send_keeps_the_contract() {
    let tasks = Mutex::new(parts());
    let total = Mutex::new(Size::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(part) = tasks.lock().unwrap().pop() else { break };
                    let size = prove(part);
                    let mut total = total.lock().unwrap();
                    total.lowered += size.lowered;
                    total.programs += size.programs;
                    total.states += size.states;
                    total.traces += size.traces;
                    total.judged += size.judged;
                }
            });
        }
    });
    let Size { lowered, programs, states, traces, judged } = *total.lock().unwrap();
    // Not `println`, which a test that passes keeps to itself.
    let _ = writeln!(
        stdout(),
        "mixed: {} sends, {} kinds of kernel, {lowered} lowered programs; {programs} that differ, with {states} \
         states and {traces} runs; {judged} runs judged",
        sends(3).len(),
        kernels().len(),
    );
}

/// The rule that the first run breaks which shows the mistake, over sends of up to two segments.
fn noticed(lowering: Lowering, mistake: Mistake) -> Option<Rule> {
    let kernel = kernels::named("7.3")?;
    for around in [Around::Unknown, Around::Rewritten] {
        for mut send in sends(2) {
            send.msg = if lowering == Lowering::Linked { msg::WAITALL } else { 0 };
            let program = program(&send, around, false);
            let contract = Contract::of(&program).ok()?;
            let Ok(lowered) = lower_mistaken(&program, &kernel, lowering, Some(mistake)) else { continue };
            let runs = explore(&lowered.program, &kernel, STATES_MAX).ok()?.traces;
            if let Err((broken, _)) = judge_all(&contract, &lowered, &runs) {
                return Some(broken.rule);
            }
        }
    }
    None
}

#[test]
fn every_mistake_of_a_mixed_lowering_is_noticed() {
    let found = [
        (Lowering::Staged, Mistake::StagedLate),
        (Lowering::StagedFixed, Mistake::StagedLate),
        (Lowering::Linked, Mistake::SecondResult),
        (Lowering::Staged, Mistake::NotificationDropped),
        (Lowering::Staged, Mistake::NotificationKept),
        (Lowering::Copy, Mistake::SegmentsSwapped),
        (Lowering::Linked, Mistake::SegmentsSwapped),
        (Lowering::StagedFixed, Mistake::FixedAcrossTwo),
    ]
    .map(|(lowering, mistake)| {
        let rule = noticed(lowering, mistake).map_or("nothing", |rule| rule.id());
        format!("{lowering} {mistake:?}: {rule}")
    });
    expect_test::expect![[r#"
        staged StagedLate: mixed.copy-is-yours
        staged-fixed StagedLate: mixed.copy-is-yours
        linked SecondResult: mixed.waitall-whole
        staged NotificationDropped: mixed.completions-come
        staged NotificationKept: mixed.notifies-iff-lent
        copy SegmentsSwapped: mixed.prefix
        linked SegmentsSwapped: mixed.prefix
        staged-fixed FixedAcrossTwo: mixed.error-needs-cause"#]]
    .assert_eq(&found.join("\n"));
}

#[test]
fn kernels_differ_in_nothing_else_than_what_mixed_entries_name() {
    for send in sends(1) {
        let program = program(&send, Around::Unknown, false);
        for lowering in Lowering::ALL {
            let mut known: BTreeMap<Vec<Feature>, Vec<Trace>> = BTreeMap::new();
            for kernel in kernels() {
                let Ok(lowered) = lower_mistaken(&program, &kernel, lowering, None) else { continue };
                let runs = explore(&lowered.program, &kernel, STATES_MAX).expect("few states").traces;
                let asked = asked(&lowered.program, &kernel);
                assert_eq!(known.entry(asked).or_insert_with(|| runs.clone()), &runs, "{}", kernel.release);
            }
        }
    }
}
