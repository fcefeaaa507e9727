//! What a number of a campaign stands for: a random program, or random mixed sends made in one way.

use std::collections::BTreeMap;
use std::path::Path;

use uringspec_model::check::check;
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::mixed::lowering::Lowering;
use uringspec_model::profile::Profile;
use uringspec_model::program::Program;
use uringspec_model::trace::Trace;
use uringspec_model::verdict::Verdict;

use super::finds::sort;
use crate::draft::{Draft, Features};
use crate::given;
use crate::mixed::draft::MixedDraft;
use crate::mixed::{Failure, Made};
use crate::report::{Find, find_page};

/// Bytes from which one program is made, at most.
const DRAFT_BYTES: usize = 512;

/// What the programs of a campaign are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Random programs with these features.
    Programs(Features),
    /// Programs with mixed sends. So many numbers as there are ways stand for the same one, each made in
    /// another.
    Mixed,
}

/// A program that is run and judged.
#[derive(Clone, Debug)]
pub enum Subject {
    /// As it is.
    Program(Program),
    /// Mixed sends, made in one way.
    Made(Box<Made>),
}

/// What is counted of a run of mixed sends: where they went and how they were made, and what became of them.
pub type Counts = (String, BTreeMap<String, u64>);

impl Kind {
    /// What a ledger is named by.
    pub(super) fn word(self) -> String {
        match self {
            Kind::Programs(features) => format!("{:x}", features.bits()),
            Kind::Mixed => "mixed".into(),
        }
    }

    /// What a number stands for; nothing where this kernel cannot make the mixed sends in that way.
    pub fn subject(self, seed: u64, number: u64, profile: &Profile) -> Option<Subject> {
        let ways = Lowering::ALL.len() as u64;
        match self {
            Kind::Programs(features) => Some(Subject::Program(program(seed, number, features))),
            Kind::Mixed => {
                let meant = MixedDraft::of_bytes(&bytes(seed, number / ways)).resolve();
                made(&meant, profile, Lowering::ALL[(number % ways) as usize])
            }
        }
    }
}

/// The program with this number.
pub fn program(seed: u64, number: u64, features: Features) -> Program {
    Draft::from_bytes(&bytes(seed, number)).resolve_with(features)
}

fn bytes(seed: u64, number: u64) -> Vec<u8> {
    let mut random = Seeded::new(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
    // The generator's first numbers are alike for seeds that are alike.
    for _ in 0..4 {
        random.pick(2);
    }
    let len = 16 + random.pick(DRAFT_BYTES - 16);
    (0..len).map(|_| random.pick(256) as u8).collect()
}

/// Mixed sends in one way, if any of them is really made in it.
fn made(meant: &Program, profile: &Profile, way: Lowering) -> Option<Subject> {
    let made = Made::of(meant, profile, way).ok()?;
    let is_it = made.done.plans.iter().any(|plan| plan.lowering == way);
    is_it.then(|| Subject::Made(Box::new(made)))
}

impl Subject {
    /// What is run.
    pub fn program(&self) -> &Program {
        match self {
            Subject::Program(program) => program,
            Subject::Made(made) => &made.done.program,
        }
    }

    /// What is meant, and made smaller.
    pub(super) fn meant(&self) -> &Program {
        match self {
            Subject::Program(program) => program,
            Subject::Made(made) => &made.meant,
        }
    }

    /// The same of another program.
    pub(super) fn instead(&self, meant: &Program, profile: &Profile) -> Option<Subject> {
        match self {
            Subject::Program(_) => Some(Subject::Program(meant.clone())),
            Subject::Made(old) => made(meant, profile, old.way),
        }
    }

    /// What the judges say of a run.
    pub fn judge(&self, profile: &Profile, trace: &Trace) -> Verdict {
        match self {
            Subject::Program(program) => check(program, profile, trace),
            Subject::Made(made) => match made.judge(profile, trace) {
                Ok(fine) => Verdict::Accepted { rules: fine.rules, deviations: fine.deviations },
                Err(failure) => failure.into_verdict(),
            },
        }
    }

    /// As `sort`, with the way in which it was made.
    pub(super) fn sort(&self, verdict: &Verdict) -> Option<String> {
        let sort = sort(verdict)?;
        Some(match self {
            Subject::Program(_) => sort,
            Subject::Made(made) => format!("{sort}, made {}", made.way),
        })
    }

    /// What is counted of a run.
    pub fn counts(&self, trace: &Trace) -> Option<Counts> {
        match self {
            Subject::Program(_) => None,
            Subject::Made(made) => {
                let mut met = made.met(&made.done.view.read(trace));
                met.insert("programs".into(), 1);
                Some((format!("{} {}", made.lanes(), made.way), met))
            }
        }
    }

    /// The page of a find.
    pub(crate) fn page(
        &self,
        file: &str,
        profile: &Profile,
        trace: &Trace,
        verdict: &Verdict,
        shrunk_from: Option<usize>,
    ) -> Option<String> {
        match self {
            Subject::Program(program) => {
                let lowered = given::lowered(program.clone());
                let release = &profile.release;
                let what =
                    Find { file, lowered: &lowered, release, verdict, trace, shrunk_from, is_case: false };
                find_page(&what)
            }
            Subject::Made(made) => made.judge(profile, trace).err().map(|failure: Box<Failure>| {
                failure.find_page(file, Path::new(file).exists().then_some(file))
            }),
        }
    }
}
