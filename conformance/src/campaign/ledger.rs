//! What a campaign has done, what it is doing, and what came of it.
//!
//! The three change together, so that a ledger that was written at any moment can be gone on with: a
//! program is either counted, or it is in work and run again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use uringspec_model::deviation::Deviation;
use uringspec_model::rules::Rule;
use uringspec_model::trace::{Trace, What};
use uringspec_model::verdict::Verdict;

use super::finds::sort;
use super::subject::Counts;
use super::{Plan, Subject};

/// What came of it, so far; what is kept between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Programs that were run and judged.
    pub programs: u64,
    /// Those that the kernel may do.
    pub accepted: u64,
    /// Those that it may not.
    pub rejected: u64,
    /// Those in which a promise was not kept.
    pub stuck: u64,
    /// Those of which the model says nothing.
    pub unclaimed: u64,
    /// Numbers that stand for nothing, since this kernel cannot make mixed sends in that way.
    pub absent: u64,
    /// Those that could not be run.
    pub skipped: u64,
    /// Workers that ended in the middle of a program.
    pub died: u64,
    /// Judgements that took too long.
    pub endless: u64,
    /// Judgements that ended in a panic.
    pub panicked: u64,
    /// What seemed stuck, and was not with more patience.
    pub impatient: u64,
    /// Completions that were judged, and the time that took.
    pub completions: u64,
    /// Nanoseconds of judging.
    pub judge_ns: u64,
    /// Milliseconds of running.
    pub millis: u64,
    /// Rules that had a say, and in how many programs.
    pub rules: BTreeMap<Rule, u64>,
    /// Pairs of rules that had a say in the same program, in the order of the rules.
    pub pairs: BTreeSet<(Rule, Rule)>,
    /// Of mixed sends: where they went and how they were made, and what became of them.
    pub ways: BTreeMap<String, BTreeMap<String, u64>>,
    /// Sorts of disagreement, reasons of silence, and reasons of skips, with how often.
    pub sorts: BTreeMap<String, u64>,
}

impl Totals {
    /// One more of a sort.
    pub(crate) fn sort(&mut self, sort: impl Into<String>) {
        *self.sorts.entry(sort.into()).or_default() += 1;
    }

    /// How often this sort was met.
    pub(super) fn times(&self, sort: &str) -> u64 {
        self.sorts.get(sort).copied().unwrap_or_default()
    }

    /// Programs that are done, whatever came of them.
    pub fn done(&self) -> u64 {
        self.programs + self.absent + self.skipped + self.died + self.endless + self.panicked
    }

    /// Programs that a kernel may not do, or that nobody could judge.
    pub fn found(&self) -> u64 {
        self.rejected + self.stuck + self.died + self.endless + self.panicked
    }

    /// Programs in a second.
    pub fn per_second(&self) -> u64 {
        self.programs * 1000 / self.millis.max(1)
    }

    /// A program was run, and judging it took so long.
    pub(super) fn run(&mut self, trace: &Trace, judging: Duration, counts: Option<Counts>) {
        self.programs += 1;
        self.judge_ns += judging.as_nanos() as u64;
        self.completions += trace.seen.iter().filter(|seen| matches!(seen.what, What::Cqe(_))).count() as u64;
        let Some((way, met)) = counts else { return };
        let known = self.ways.entry(way).or_default();
        for (what, times) in met {
            *known.entry(what).or_default() += times;
        }
    }

    /// A program was run and judged.
    pub(crate) fn judged(
        &mut self,
        trace: &Trace,
        judging: Duration,
        verdict: &Verdict,
        counts: Option<Counts>,
    ) {
        self.run(trace, judging, counts);
        if let Some(sort) = sort(verdict) {
            self.sort(sort);
        }
        match verdict {
            Verdict::Accepted { rules, deviations } => self.accepted(rules, deviations),
            Verdict::Rejected(_) => self.rejected += 1,
            Verdict::Stuck { .. } => self.stuck += 1,
            Verdict::Unclaimed { reason } => {
                self.unclaimed += 1;
                self.sort(format!("unclaimed {reason}"));
            }
        }
    }

    /// A kernel may do this.
    pub(super) fn accepted(&mut self, rules: &BTreeSet<Rule>, deviations: &BTreeSet<Deviation>) {
        self.accepted += 1;
        for rule in rules {
            *self.rules.entry(*rule).or_default() += 1;
        }
        for (i, first) in rules.iter().enumerate() {
            self.pairs.extend(rules.iter().skip(i + 1).map(|second| (*first, *second)));
        }
        for deviation in deviations {
            self.sort(format!("deviation {deviation}"));
        }
    }
}

/// What is written now and then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// What the programs are, so that nobody goes on with others: the seed, their kind, and a sum over
    /// the first of them.
    seed: u64,
    kind: String,
    programs: u32,
    kernel: String,
    /// Programs below this number are done or in work.
    next: u64,
    /// Those in work.
    open: BTreeSet<u64>,
    /// What came of those that are done.
    pub(super) totals: Totals,
    /// Those that were in work when the ledger was written.
    #[serde(skip)]
    again: BTreeSet<u64>,
}

/// How many programs the sum is over.
const SUMMED: u64 = 16;

impl Ledger {
    /// The ledger of this plan as it was written, or a new one.
    pub(super) fn open(plan: &Plan) -> Ledger {
        let new = Ledger::new(plan);
        let read = fs::read(path(plan)).ok();
        let read = read.and_then(|bytes| serde_json::from_slice::<Ledger>(&bytes).ok());
        let goes_on = |read: &Ledger| {
            let what = |of: &Ledger| (of.seed, of.kind.clone(), of.programs, of.kernel.clone());
            what(read) == what(&new)
        };
        match read.filter(goes_on) {
            Some(read) => Ledger { again: read.open.clone(), ..read },
            None => new,
        }
    }

    fn new(plan: &Plan) -> Ledger {
        let meant = |number| {
            let subject = plan.kind.subject(plan.seed, number, &plan.profile);
            subject.as_ref().map(Subject::meant).cloned()
        };
        let first: Vec<_> = (0..SUMMED).map(meant).collect();
        Ledger {
            seed: plan.seed,
            kind: plan.kind.word(),
            programs: crc32fast::hash(format!("{first:?}").as_bytes()),
            kernel: plan.profile.release.clone(),
            next: 0,
            open: BTreeSet::new(),
            totals: Totals::default(),
            again: BTreeSet::new(),
        }
    }

    /// The next program to run.
    pub(super) fn take(&mut self) -> u64 {
        if let Some(number) = self.again.pop_first() {
            return number;
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number);
        number
    }

    /// A program is done, and counts.
    pub(super) fn close(&mut self, number: u64, count: impl FnOnce(&mut Totals)) {
        self.open.remove(&number);
        count(&mut self.totals);
    }

    /// Writes it.
    pub(super) fn save(&self, plan: &Plan) -> io::Result<()> {
        write_whole(&path(plan), &serde_json::to_vec(self)?)
    }
}

/// Where the ledger of a plan is: each has its own.
fn path(plan: &Plan) -> PathBuf {
    plan.dir.join(format!("campaign-{}-{}.json", plan.seed, plan.kind.word()))
}

/// Writes a file so that it is either there as a whole or as it was.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use uringspec_model::profile::Profile;
    use uringspec_real::{Options, WorkerCommand};

    use super::*;
    use crate::campaign::Kind;
    use crate::draft::Features;

    fn plan(dir: &Path, seed: u64) -> Plan {
        let nobody = WorkerCommand { program: PathBuf::new(), args: Vec::new() };
        Plan {
            seed,
            jobs: 1,
            duration: Duration::ZERO,
            kind: Kind::Programs(Features::DEFAULT),
            dir: dir.into(),
            profile: Profile::v6_18(),
            options: Options::new(nobody),
        }
    }

    #[test]
    fn every_program_is_counted_once() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let plan = plan(dir.path(), 1);
        let mut ledger = Ledger::open(&plan);
        assert_eq!([ledger.take(), ledger.take(), ledger.take(), ledger.take()], [0, 1, 2, 3]);
        // the second is long at work
        for number in [0, 2] {
            ledger.close(number, |totals| totals.programs += 1);
        }
        ledger.save(&plan).expect("the folder can be written to");
        let mut again = Ledger::open(&plan);
        assert_eq!([again.take(), again.take(), again.take()], [1, 3, 4]);
        again.close(1, |totals| totals.programs += 1);
        assert_eq!((again.totals.done(), again.next), (3, 5));
    }

    #[test]
    fn another_plan_has_another_ledger() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let (one, other) = (plan(dir.path(), 1), plan(dir.path(), 2));
        let kernel = Profile { release: "another".into(), ..one.profile.clone() };
        let elsewhere = Plan { profile: kernel, ..one.clone() };
        let mut ledger = Ledger::open(&one);
        assert_eq!(ledger.take(), 0);
        ledger.save(&one).expect("the folder can be written to");
        assert_eq!(Ledger::open(&other).take(), 0);
        assert_eq!(Ledger::open(&elsewhere).next, 0);
        assert_eq!(Ledger::open(&one).next, 1);
    }
}
