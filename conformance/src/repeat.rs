//! Cases run many times on this kernel, by several workers, and counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::case::Mode;
use crate::catalog::Loaded;
use crate::kernel::Kernel;
use crate::side_by_side::{Live, Report, Side, Status, Tally, Terms, live, unmet};
use crate::sightings::Sightings;

/// A run that waits in vain takes all its patience; such a case is not run more often.
const WAITS_MAX: u64 = 3;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often each kind of ring of each case is run.
    pub times: u64,
    /// Threads, each with a worker of its own.
    pub jobs: usize,
}

/// What came of one case.
#[derive(Clone, Debug)]
pub struct Counted {
    /// What was seen.
    pub sightings: Sightings,
    /// Runs of each kind of ring that was run.
    pub runs: BTreeMap<Mode, u64>,
    /// How they were judged.
    pub tally: Tally,
    /// The first run of each kind of ring that was not accepted or could not be.
    pub reports: Vec<Report>,
}

/// A kind of ring of a case.
struct Unit {
    case: usize,
    lowered: usize,
    /// It is not run any more.
    over: AtomicBool,
}

/// Runs the cases, one round of all after the other, until all rounds are run or `stop` is set. What is not
/// accepted is not run again. `tell` hears how many runs are done, and of how many.
pub fn repeat(
    cases: &[Loaded],
    kernel: &Kernel,
    plan: Plan,
    stop: &AtomicBool,
    mut tell: impl FnMut(u64, u64, &Loaded),
) -> Vec<Counted> {
    let mut counted: Vec<Counted> = cases.iter().map(Counted::none_of).collect();
    let mut units = Vec::new();
    for (case, loaded) in cases.iter().enumerate() {
        for (lowered, one) in loaded.lowered.iter().enumerate() {
            match unmet(&loaded.case, one.mode, kernel.profile()) {
                Some(reason) => counted[case].add(loaded, lowered, kernel, Live::skipped(reason)),
                None => units.push(Unit { case, lowered, over: AtomicBool::new(false) }),
            }
        }
    }
    let total = plan.times.saturating_mul(units.len() as u64);
    let next = AtomicU64::new(0);
    let work = |mut kernel: Kernel, results: &mpsc::SyncSender<(usize, Live)>| {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                break;
            }
            let at = (number % units.len() as u64) as usize;
            let unit = &units[at];
            if unit.over.load(Ordering::Relaxed) {
                continue;
            }
            let loaded = &cases[unit.case];
            let result = live(&loaded.case, &loaded.lowered[unit.lowered], &mut kernel, Terms::default());
            if !matches!(result.status, Status::Accepted { .. }) {
                unit.over.store(true, Ordering::Relaxed);
            }
            if results.send((at, result)).is_err() {
                break;
            }
        }
    };
    thread::scope(|scope| {
        let (sender, results) = mpsc::sync_channel(64);
        for _ in 0..plan.jobs {
            let (kernel, sender) = (kernel.another(), sender.clone());
            scope.spawn(move || work(kernel, &sender));
        }
        drop(sender);
        let mut waits = vec![0; units.len()];
        for (at, result) in results {
            let unit = &units[at];
            waits[at] += u64::from(result.outcome.waiting.is_some());
            if waits[at] >= WAITS_MAX {
                unit.over.store(true, Ordering::Relaxed);
            }
            let loaded = &cases[unit.case];
            counted[unit.case].add(loaded, unit.lowered, kernel, result);
            tell(next.load(Ordering::Relaxed).min(total), total, loaded);
        }
    });
    counted
}

impl Counted {
    fn none_of(loaded: &Loaded) -> Counted {
        let sightings = Sightings::none_of(&loaded.case);
        Counted { sightings, runs: BTreeMap::new(), tally: Tally::default(), reports: Vec::new() }
    }

    fn add(&mut self, loaded: &Loaded, lowered: usize, kernel: &Kernel, result: Live) {
        let lowered = &loaded.lowered[lowered];
        self.tally.add(result.status.word());
        if !matches!(result.status, Status::Skipped(_)) {
            *self.runs.entry(lowered.mode).or_default() += 1;
        }
        if matches!(result.status, Status::Accepted { .. }) {
            self.sightings.add(lowered, &result.marks, &result.outcome);
        } else if !self.reports.iter().any(|report| report.mode == lowered.mode) {
            let release = kernel.profile().release.clone();
            self.reports.push(Report {
                side: Side::Kernel,
                mode: lowered.mode,
                release,
                status: result.status,
            });
        }
    }

    /// Whether every run was accepted.
    pub fn is_fine(&self) -> bool {
        self.tally.exit_code() == 0
    }
}

impl Live {
    fn skipped(reason: String) -> Live {
        Live { status: Status::Skipped(reason), marks: Default::default(), outcome: Default::default() }
    }
}
