//! Properties of every program, each over random drafts: on the model, and on this kernel.
//!
//! A find stands as a seed in `/proptest-regressions/NAME.txt` and is tried first from then on; once it is
//! understood and a case, its line may go. By default the programs are always the same;
//! `PROPTEST_CASES=100000 PROPTEST_RNG_SEED=7` looks at others, and at more.

mod drafts;
mod laws;
mod lives;
mod memory;
#[path = "../wrong/mutants.rs"]
mod mutants;
mod splits;

use std::env;
use std::fmt::Debug;
use std::io::{Write, stdout};
use std::path::Path;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestRunner};
use uringspec::kernel::{Kernel, NoTrace};
use uringspec::token;
use uringspec_model::choices::Seeded;
use uringspec_model::mutation::{Fault, Mutation};
use uringspec_model::profile::Profile;
use uringspec_model::program::Program;
use uringspec_model::simulate::simulate_mutant;
use uringspec_model::trace::{Trace, What};
use uringspec_model::words;

use drafts::{Subject, subjects, submitted};

/// Programs of a property, unless more are asked for.
const CASES: u32 = 128;
/// Programs of the law *self*, which costs little and finds most.
const CASES_OF_SELF: u32 = 16_384;

/// What holds of a trace of a program, whoever made it.
type Holds = fn(&Program, &Trace) -> Result<(), String>;

/// What holds of every trace, with the file of its finds.
const OF_TRACES: &[(&str, Holds)] = &[
    ("self", laws::is_accepted),
    ("stream-prefix", memory::arrives_as_prefix),
    ("one-result", lives::one_result),
    ("enter-arithmetic", lives::enter_counts),
    ("lent-rewritten", memory::rewriting_changes_only_what_is_lent),
];

/// The file of finds of a property. It is there from the start, so that nobody looks elsewhere.
fn file_of(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../proptest-regressions/{name}.txt"));
    assert!(file.is_file(), "{} is missing", file.display());
    file.to_string_lossy().into_owned()
}

/// Asks the property of many values, those that it once failed on first.
#[track_caller]
fn check<S>(name: &str, strategy: &S, holds: impl Fn(&S::Value) -> Result<(), String>)
where
    S: Strategy,
    S::Value: Debug,
{
    // proptest wants a path that lives as long as the process, and there are few.
    let file: &'static str = file_of(name).leak();
    let usual = Config::default();
    let chosen = |name: &str| env::var_os(name).is_some();
    let config = Config {
        cases: match name {
            _ if chosen("PROPTEST_CASES") => usual.cases,
            "self" => CASES_OF_SELF,
            _ => CASES,
        },
        rng_seed: if chosen("PROPTEST_RNG_SEED") { usual.rng_seed } else { RngSeed::Fixed(1) },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..usual
    };
    let outcome = TestRunner::new(config).run(strategy, |value| holds(&value).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("{name}: {error}");
    }
}

/// One run of a subject on the model.
fn simulated(subject: &Subject, mutation: Option<Mutation>) -> (Program, Trace) {
    let program = subject.program();
    let trace = simulate_mutant(&program, &Profile::v6_18(), mutation, &mut Seeded::new(subject.seed));
    (program, trace)
}

#[track_caller]
fn holds_on_the_model(name: &str) {
    let (_, holds) = OF_TRACES.iter().find(|(known, _)| *known == name).expect("the property is listed");
    let holds_of = |subject: &Subject| {
        let (program, trace) = simulated(subject, None);
        holds(&program, &trace).map_err(|why| format!("{why}\n{}", told(&program, &trace)))
    };
    match name {
        "self" => check(name, &subjects(), holds_of),
        _ => check(name, &submitted(), holds_of),
    }
}

/// A program and a trace for whoever has to understand them.
fn told(program: &Program, trace: &Trace) -> String {
    let steps =
        program.steps.iter().enumerate().map(|(n, step)| format!("{n} {}", words::step(program, step)));
    let seen = trace.seen.iter().map(|s| match &s.what {
        What::GaveUp => format!("  {} gave up", s.step),
        what => format!("  {} {}", s.step, words::what(program, what)),
    });
    let token = format!("replay  uringspec replay {}", token::encode(program));
    steps.chain(seen).chain([token]).collect::<Vec<_>>().join("\n")
}

#[test]
fn simulated_traces_are_accepted() {
    holds_on_the_model("self");
}

#[test]
fn accepted_traces_are_simulated() {
    check("tight", &subjects(), |subject| tight_on_the_model(subject, None));
}

fn tight_on_the_model(subject: &Subject, mutation: Option<Mutation>) -> Result<(), String> {
    let program = laws::tiny(&subject.draft);
    let trace = simulate_mutant(&program, &Profile::v6_18(), mutation, &mut Seeded::new(subject.seed));
    laws::is_tight(&program, &trace).map_err(|why| format!("{why}\nof\n{}", told(&program, &trace)))
}

#[test]
fn peers_read_prefixes() {
    holds_on_the_model("stream-prefix");
}

#[test]
fn requests_have_one_result_and_at_most_one_notification() {
    holds_on_the_model("one-result");
}

#[test]
fn enter_returns_what_it_took() {
    holds_on_the_model("enter-arithmetic");
}

#[test]
fn rewriting_lent_memory_changes_what_was_not_sent() {
    holds_on_the_model("lent-rewritten");
}

#[test]
fn memory_is_as_it_was() {
    check("memory-unchanged", &subjects(), |subject| memory_unchanged_on_the_model(subject, None));
}

fn memory_unchanged_on_the_model(subject: &Subject, mutation: Option<Mutation>) -> Result<(), String> {
    let (program, from) = memory::looked_at(&subject.program());
    let trace = simulate_mutant(&program, &Profile::v6_18(), mutation, &mut Seeded::new(subject.seed));
    memory::is_unchanged(&program, from, &trace).map_err(|why| format!("{why}\n{}", told(&program, &trace)))
}

#[test]
fn splits_deliver_the_same_bytes() {
    check("splits", &splits::splits(), |split| split_on_the_model(split, None));
}

fn split_on_the_model(split: &splits::Split, mutation: Option<Mutation>) -> Result<(), String> {
    split.programs().iter().try_for_each(|program| {
        let trace = simulate_mutant(program, &Profile::v6_18(), mutation, &mut Seeded::new(1));
        split.delivered(program, &trace)
    })
}

/// The kernel, or a note that there is none.
fn kernel() -> Option<Kernel> {
    match Kernel::open(Some(env!("CARGO_BIN_EXE_uringspec").into())) {
        Ok(kernel) => Some(kernel),
        Err(reason) => {
            // Not `println`, which a test that passes keeps to itself.
            let _ = writeln!(stdout(), "skipped: {reason}");
            None
        }
    }
}

/// What this kernel does with a program; `None` where the program cannot be run here.
fn run(kernel: &mut Kernel, program: &Program) -> Result<Option<Trace>, String> {
    match kernel.run(program) {
        Ok(trace) => Ok(Some(trace)),
        Err(NoTrace::Skip(_)) => Ok(None),
        Err(NoTrace::Broken(why)) => Err(why),
    }
}

#[test]
fn the_kernel_keeps_to_them() {
    let Some(kernel) = kernel() else { return };
    let kernel = std::cell::RefCell::new(kernel);
    check("real", &submitted(), |subject| {
        let mut kernel = kernel.borrow_mut();
        let profile = kernel.profile().clone();
        let program = subject.program();
        let Some(trace) = run(&mut kernel, &program)? else { return Ok(()) };
        let judged = laws::is_allowed(&program, &profile, &trace);
        let others = || OF_TRACES.iter().filter(|(name, _)| *name != "self");
        let named = memory::surely_named(&program, &trace);
        let all = judged.and_then(|()| others().try_for_each(|(_, holds)| holds(&program, &named)));
        all.map_err(|why| format!("{why}\n{}", told(&program, &trace)))?;
        let (program, from) = memory::looked_at(&program);
        let Some(trace) = run(&mut kernel, &program)? else { return Ok(()) };
        memory::is_unchanged(&program, from, &trace)
            .map_err(|why| format!("{why}\n{}", told(&program, &trace)))
    });
}

#[test]
fn the_kernel_delivers_splits_alike() {
    let Some(kernel) = kernel() else { return };
    let kernel = std::cell::RefCell::new(kernel);
    check("real-splits", &splits::splits(), |split| {
        split.programs().iter().try_for_each(|program| {
            let Some(trace) = run(&mut kernel.borrow_mut(), program)? else { return Ok(()) };
            split.delivered(program, &trace)
        })
    });
}

/// Whether a property fails for some value of a strategy.
fn catches<S: Strategy>(strategy: &S, holds: impl Fn(&S::Value) -> Result<(), String>) -> bool
where
    S::Value: Debug,
{
    let config = Config {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        max_shrink_iters: 0,
        ..Config::default()
    };
    TestRunner::new(config).run(strategy, |value| holds(&value).map_err(TestCaseError::fail)).is_err()
}

#[test]
fn every_property_catches_the_canary() {
    let canary = Some(Mutation::Fault(Fault::Canary));
    for (name, holds) in OF_TRACES {
        let fails = catches(&submitted(), |subject| {
            let (program, trace) = simulated(subject, canary);
            holds(&program, &trace)
        });
        assert!(fails, "{name} does not notice a kernel that does everything wrong");
    }
    assert!(catches(&subjects(), |subject| tight_on_the_model(subject, canary)), "tight");
    assert!(
        catches(&subjects(), |subject| memory_unchanged_on_the_model(subject, canary)),
        "memory-unchanged"
    );
    assert!(catches(&splits::splits(), |split| split_on_the_model(split, canary)), "splits");
}
