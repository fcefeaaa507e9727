//! One case on both sides: what the model allows, and what this kernel does.

use std::collections::{BTreeMap, BTreeSet};

use uringspec_model::abi::op;
use uringspec_model::check::{check, check_contract};
use uringspec_model::deviation::Deviation;
use uringspec_model::profile::{Feature, Profile};
use uringspec_model::rules::Rule;
use uringspec_model::trace::{Ending, Trace};
use uringspec_model::verdict::{Unclaimed, Verdict};

use crate::case::lowered::Lowered;
use crate::case::{Case, Mode};
use crate::catalog::Loaded;
use crate::expect::{self, Mismatch};
use crate::kernel::{Kernel, NoTrace};
use crate::marks::{self, Mark};
use crate::mixed;
use crate::outcome::Outcome;
use crate::simulated::{broken_order, model_outcomes};

/// Who ran the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The model, with every choice.
    Model,
    /// The kernel, once.
    Kernel,
}

/// One case on one kind of ring on one side.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who ran it.
    pub side: Side,
    /// The kind of ring.
    pub mode: Mode,
    /// The release of the kernel.
    pub release: String,
    /// What came of it.
    pub status: Status,
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Status {
    /// All as listed.
    Accepted {
        /// The rules that had a say.
        rules: BTreeSet<Rule>,
        /// The known deviations that were seen.
        deviations: BTreeSet<Deviation>,
    },
    /// The judge refuses a trace, finds a promise broken, or has nothing to say.
    Judged {
        /// What it says.
        verdict: Verdict,
        /// Of what.
        trace: Trace,
    },
    /// The trace may be right, but is not what the case lists.
    Mismatched {
        /// The difference.
        mismatch: Mismatch,
        /// The trace.
        trace: Trace,
    },
    /// Mixed sends that were made of what a kernel has are not as they should be.
    Made(Box<mixed::Failure>),
    /// The model cannot do what the case lists.
    Unreached(Vec<(u32, String)>),
    /// A deviation was seen that the case does not name.
    Deviated {
        /// The deviation.
        deviation: Deviation,
        /// The trace.
        trace: Trace,
    },
    /// The case is too large to be exact about.
    TooMany,
    /// The process that ran it came to an end.
    Broken(String),
    /// It could not be run.
    Skipped(String),
}

/// What is asked of a judgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// No deviation is accepted, known or not.
    pub contract: bool,
}

impl Status {
    /// One lower-case word for lists and counts.
    pub fn word(&self) -> &'static str {
        match self {
            Status::Accepted { .. } => "accepted",
            Status::Judged { verdict, .. } => verdict.word(),
            Status::Made(failure) => failure.word(),
            Status::Mismatched { .. }
            | Status::Unreached(_)
            | Status::Deviated { .. }
            | Status::TooMany
            | Status::Broken(_) => "rejected",
            Status::Skipped(_) => "skipped",
        }
    }
}

/// Every kind of ring of a case on the model, as the kernel of `profile` would do it.
pub fn on_model(loaded: &Loaded, profile: &Profile, terms: Terms) -> Vec<Report> {
    reports(loaded, Side::Model, profile, |lowered| model_status(&loaded.case, lowered, profile, terms))
}

/// Every kind of ring of a case on the kernel.
pub fn on_kernel(loaded: &Loaded, kernel: &mut Kernel, terms: Terms) -> Vec<Report> {
    let profile = kernel.profile().clone();
    reports(loaded, Side::Kernel, &profile, |lowered| live(&loaded.case, lowered, kernel, terms).status)
}

/// What one run on the kernel came to.
#[derive(Clone, Debug)]
pub struct Live {
    /// How it is judged.
    pub status: Status,
    /// What of the list was seen; empty unless it was accepted.
    pub marks: BTreeSet<Mark>,
    /// What was seen.
    pub outcome: Outcome,
}

/// One run of one kind of ring of a case on the kernel.
pub fn live(case: &Case, lowered: &Lowered, kernel: &mut Kernel, terms: Terms) -> Live {
    if mixed::has_mixed(&lowered.program) {
        return mixed::live(case, lowered, kernel);
    }
    let trace = match kernel.run(&lowered.program) {
        Ok(trace) => trace,
        Err(no_trace) => {
            let status = match no_trace {
                NoTrace::Skip(reason) => Status::Skipped(reason),
                NoTrace::Broken(reason) => Status::Broken(reason),
            };
            return Live { status, marks: BTreeSet::new(), outcome: Outcome::default() };
        }
    };
    let outcome = Outcome::of(lowered, &trace);
    match judged(case, lowered, kernel.profile(), &outcome, &trace, terms) {
        Ok(Fine { marks, rules, deviations }) => {
            Live { status: Status::Accepted { rules, deviations }, marks, outcome }
        }
        Err(status) => Live { status: *status, marks: BTreeSet::new(), outcome },
    }
}

fn reports(
    loaded: &Loaded,
    side: Side,
    profile: &Profile,
    mut status: impl FnMut(&Lowered) -> Status,
) -> Vec<Report> {
    let report = |lowered: &Lowered| {
        let status = match unmet(&loaded.case, lowered.mode, profile) {
            Some(reason) => Status::Skipped(reason),
            None => status(lowered),
        };
        Report { side, mode: lowered.mode, release: profile.release.clone(), status }
    };
    loaded.lowered.iter().map(report).collect()
}

/// Why a case cannot be run on a kernel, if it names something that the kernel lacks.
pub fn unmet(case: &Case, mode: Mode, profile: &Profile) -> Option<String> {
    let lacks = |name: &str| match Feature::ALL.iter().find(|f| f.name() == name) {
        Some(feature) => !profile.has(*feature),
        None => op::NAMES.iter().any(|(op, number)| *op == name && *number >= profile.opcodes),
    };
    let missing = case.needs.iter().find(|need| lacks(&need.text)).map(|need| need.text.as_str());
    let deferred = (mode == Mode::Defer && lacks("DEFER_TASKRUN")).then_some("DEFER_TASKRUN");
    missing.or(deferred).map(|name| format!("needs {name}, which {} lacks", profile.release))
}

fn model_status(case: &Case, lowered: &Lowered, kernel: &Profile, terms: Terms) -> Status {
    let played = mixed::played(&lowered.program, kernel);
    let profile = played.as_ref();
    let Ok(outcomes) = model_outcomes(lowered, profile) else { return Status::TooMany };
    let mut required = match marks::required(lowered) {
        Ok(required) => required,
        Err(mismatch) => return Status::Mismatched { mismatch, trace: Trace::default() },
    };
    let (mut rules, mut deviations) = (BTreeSet::new(), BTreeSet::new());
    for (outcome, trace) in &outcomes {
        if trace.end == Ending::Cut {
            let reason = Unclaimed::NotModelled("the model has nothing more to say here".into());
            return Status::Judged { verdict: Verdict::Unclaimed { reason }, trace: trace.clone() };
        }
        if let Some((line, swapped)) = broken_order(lowered, profile, trace) {
            let listed = vec!["the order of the `order` line".to_string()];
            let step = lowered.lines.iter().position(|l| *l == line).unwrap_or(0) as u32;
            let mismatch =
                Mismatch { step, line, came: "another order, which the model allows".into(), listed };
            return Status::Mismatched { mismatch, trace: swapped };
        }
        match judged(case, lowered, profile, outcome, trace, terms) {
            Ok(fine) => {
                required.retain(|mark| !fine.marks.contains(mark));
                rules.extend(fine.rules);
                deviations.extend(fine.deviations);
            }
            Err(status) => return *status,
        }
    }
    let mut unreached: Vec<(u32, String)> =
        required.iter().map(|mark| marks::mark_words(lowered, mark)).collect();
    for deviation in case.deviations.iter().filter_map(|d| Deviation::from_id(&d.text)) {
        if !terms.contract && deviation.applies_to(profile) && !deviations.contains(&deviation) {
            unreached.push((1, format!("the deviation {deviation}")));
        }
    }
    if !unreached.is_empty() {
        return Status::Unreached(unreached);
    }
    if mixed::has_mixed(&lowered.program) {
        match mixed::on_model(case, lowered, kernel) {
            Ok(made) => rules.extend(made),
            Err(status) => return *status,
        }
    }
    Status::Accepted { rules, deviations }
}

/// What a trace that is as it should be adds.
struct Fine {
    marks: BTreeSet<Mark>,
    rules: BTreeSet<Rule>,
    deviations: BTreeSet<Deviation>,
}

fn judged(
    case: &Case,
    lowered: &Lowered,
    profile: &Profile,
    outcome: &Outcome,
    trace: &Trace,
    terms: Terms,
) -> Result<Fine, Box<Status>> {
    let judge = if terms.contract { check_contract } else { check };
    let (rules, deviations) = match judge(&lowered.program, profile, trace) {
        Verdict::Accepted { rules, deviations } => (rules, deviations),
        verdict => return Err(Box::new(Status::Judged { verdict, trace: trace.clone() })),
    };
    if mixed::has_mixed(&lowered.program)
        && let Err(verdict) = mixed::keeps(&lowered.program, trace)
    {
        return Err(Box::new(Status::Judged { verdict, trace: trace.clone() }));
    }
    let named = |deviation: &Deviation| case.deviations.iter().any(|d| d.text == deviation.id());
    if let Some(deviation) = deviations.iter().find(|d| !named(d)) {
        return Err(Box::new(Status::Deviated { deviation: *deviation, trace: trace.clone() }));
    }
    match expect::within(lowered, outcome) {
        Ok(marks) => Ok(Fine { marks, rules, deviations }),
        Err(mismatch) => Err(Box::new(Status::Mismatched { mismatch, trace: trace.clone() })),
    }
}

/// Counts of what came of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<&'static str, usize>,
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, word: &'static str) {
        *self.counts.entry(word).or_default() += 1;
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: &Tally) {
        for (word, count) in &other.counts {
            *self.counts.entry(word).or_default() += count;
        }
    }

    /// How many had this word.
    pub fn count(&self, word: &str) -> usize {
        self.counts.get(word).copied().unwrap_or(0)
    }

    /// The exit code that goes with them: the worst decides, and nothing judged is its own.
    pub fn exit_code(&self) -> u8 {
        match () {
            () if self.count("rejected") > 0 => 1,
            () if self.count("stuck") > 0 => 2,
            () if self.count("accepted") > 0 && self.count("unclaimed") == 0 => 0,
            () if self.count("unclaimed") > 0 => 3,
            () => 77,
        }
    }
}
