//! A campaign: random programs on this kernel, judged by the model, for as long as one likes.
//!
//! Programs are numbered, and a number and the seed make a program, so a campaign that was stopped goes
//! on where it was, however it was stopped. What is found is written at once, before it is counted.

mod finds;
mod ledger;
mod subject;
mod summary;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use uringspec_model::profile::Profile;
use uringspec_model::trace::Trace;
use uringspec_model::verdict::{Unclaimed, Verdict};
use uringspec_real::{Options, RunError, Worker};

pub use self::finds::sort;
use self::finds::{disagreement, write_find};
use self::ledger::Ledger;
pub use self::ledger::Totals;
pub(crate) use self::ledger::write_whole;
pub use self::subject::{Counts, Kind, Subject, program};
pub use self::summary::{Summary, judging_rules};

/// How long a step of a program may take that is waited for in vain. What seems stuck is run again with
/// the usual patience before it counts.
const STEP_PATIENCE_MS: u64 = 300;
/// Programs with the same sort of disagreement that are written; the first is made smaller as well.
const ALIKE_MAX: u64 = 3;
/// A judgement that takes longer is given up, and its thread with it.
const JUDGE_PATIENCE: Duration = Duration::from_secs(20);
/// How often the ledger is written.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What a campaign is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// From which all programs follow.
    pub seed: u64,
    /// Threads, each with a worker of its own.
    pub jobs: usize,
    /// How long it goes on.
    pub duration: Duration,
    /// What the programs are.
    pub kind: Kind,
    /// Where finds and the ledger are written.
    pub dir: PathBuf,
    /// The kernel.
    pub profile: Profile,
    /// How workers are started, and their patience where time does not matter.
    pub options: Options,
}

/// What the threads share.
struct Shared {
    plan: Plan,
    stop: Arc<AtomicBool>,
    ledger: Mutex<Ledger>,
    /// What each thread is judging, and since when.
    judging: Vec<Mutex<Option<Judging>>>,
    deadline: Instant,
}

/// A trace that is being judged.
#[derive(Clone)]
struct Judging {
    since: Instant,
    number: u64,
    what: Arc<(Subject, Trace)>,
}

/// Goes on until the time is over or `stop` is set; `tell` hears about it at the start and once a second.
pub fn run(plan: &Plan, stop: &Arc<AtomicBool>, mut tell: impl FnMut(&Totals)) -> io::Result<Totals> {
    fs::create_dir_all(&plan.dir)?;
    let ledger = Ledger::open(plan);
    tell(&ledger.totals);
    let before = ledger.totals.millis;
    let start = Instant::now();
    let shared = Arc::new(Shared {
        plan: plan.clone(),
        stop: Arc::clone(stop),
        ledger: Mutex::new(ledger),
        judging: (0..plan.jobs).map(|_| Mutex::default()).collect(),
        deadline: start + plan.duration,
    });
    let save = || {
        let mut ledger = shared.ledger().clone();
        ledger.totals.millis = before + start.elapsed().as_millis() as u64;
        ledger.save(plan)?;
        io::Result::Ok(ledger.totals)
    };
    // A thread whose judgement does not end cannot be ended, so no thread is waited for in the end.
    let spawn = |job| {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || work(&shared, job))
    };
    let mut threads: Vec<_> = (0..plan.jobs).map(spawn).collect();
    let mut told = Instant::now();
    while threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(20));
        if told.elapsed() < SAVE_EVERY {
            continue;
        }
        told = Instant::now();
        tell(&save()?);
        if let Some(job) = (0..plan.jobs).find(|job| shared.gives_up(*job)) {
            // Its place is taken by another thread; the program is not tried again.
            threads[job] = spawn(job);
        }
    }
    save()
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // It is changed by what cannot panic half way.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judging(&self, job: usize) -> MutexGuard<'_, Option<Judging>> {
        self.judging[job].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the judgement of this job has taken too long; then it is written down as a find.
    fn gives_up(&self, job: usize) -> bool {
        let Some(endless) = self.judging(job).take_if(|judging| judging.since.elapsed() > JUDGE_PATIENCE)
        else {
            return false;
        };
        write_find(&self.plan, endless.number, "endless", &endless.what.0, &endless.what.1, None);
        self.ledger().close(endless.number, |totals| {
            totals.endless += 1;
            totals.sort("judgements that took too long");
        });
        true
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

fn work(shared: &Shared, job: usize) {
    let plan = &shared.plan;
    let mut worker = Worker::new(Options { step_patience_ms: STEP_PATIENCE_MS, ..plan.options.clone() });
    while !shared.is_over() {
        let number = shared.ledger().take();
        let Some(subject) = plan.kind.subject(plan.seed, number, &plan.profile) else {
            shared.ledger().close(number, |totals| totals.absent += 1);
            continue;
        };
        let trace = match worker.run(subject.program()) {
            Ok(trace) => trace,
            Err(error) => {
                failed(shared, number, &subject, &error);
                continue;
            }
        };
        let what = Arc::new((subject, trace));
        if !goes_on(shared, job, number, &what, Subject::judge) {
            // Another thread has taken this one's place.
            return;
        }
    }
}

/// Judges a program that was run, and counts it; false if that took so long that it was given up.
fn goes_on(
    shared: &Shared,
    job: usize,
    number: u64,
    what: &Arc<(Subject, Trace)>,
    judge: impl FnOnce(&Subject, &Profile, &Trace) -> Verdict,
) -> bool {
    let start = Instant::now();
    *shared.judging(job) = Some(Judging { since: start, number, what: Arc::clone(what) });
    let (subject, trace) = &**what;
    let verdict = unpanicked(|| judge(subject, &shared.plan.profile, trace));
    let kept = shared.judging(job).take_if(|judging| judging.number == number).is_some();
    if !kept {
        return false;
    }
    match verdict {
        Ok(verdict) => {
            let (judging, counts) = (start.elapsed(), subject.counts(trace));
            judged(shared, number, subject, trace, &verdict, |totals| totals.run(trace, judging, counts));
        }
        Err(why) => {
            write_find(&shared.plan, number, "panicked", subject, trace, None);
            shared.ledger().close(number, |totals| {
                totals.panicked += 1;
                totals.sort(format!("judgements that panicked: {why}"));
            });
        }
    }
    true
}

/// What it comes to, or what it panicked with: one program is not to end a campaign.
fn unpanicked<T>(judge: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(judge)).map_err(|why| {
        let text = why.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| why.downcast_ref::<&str>().copied()).unwrap_or("something").into()
    })
}

fn failed(shared: &Shared, number: u64, subject: &Subject, error: &RunError) {
    let died = matches!(error, RunError::Died { .. });
    if let RunError::Died { step, seen, .. } = error {
        let trace = Trace { seen: seen.clone(), end: uringspec_model::trace::Ending::Hung { step: *step } };
        write_find(&shared.plan, number, "died", subject, &trace, None);
    }
    shared.ledger().close(number, |totals| {
        totals.skipped += u64::from(!died);
        totals.died += u64::from(died);
        totals.sort(format!("skipped: {error}"));
    });
}

/// A program was judged, which `count` counts.
fn judged(
    shared: &Shared,
    number: u64,
    subject: &Subject,
    trace: &Trace,
    verdict: &Verdict,
    count: impl FnOnce(&mut Totals),
) {
    match verdict {
        Verdict::Accepted { rules, deviations } => shared.ledger().close(number, |totals| {
            count(totals);
            totals.accepted(rules, deviations);
        }),
        Verdict::Unclaimed { reason } => {
            let malformed = matches!(reason, Unclaimed::Malformed(_));
            let sort = if malformed { "unclaimed malformed".into() } else { format!("unclaimed {reason}") };
            if malformed && shared.ledger().totals.times(&sort) < ALIKE_MAX {
                write_find(&shared.plan, number, "malformed", subject, trace, Some(verdict));
            }
            shared.ledger().close(number, |totals| {
                count(totals);
                totals.unclaimed += 1;
                totals.sort(sort);
            });
        }
        Verdict::Rejected(_) | Verdict::Stuck { .. } => {
            disagreement(shared, number, subject, trace, verdict, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use uringspec_model::trace::Ending;
    use uringspec_real::WorkerCommand;

    use super::*;
    use crate::draft::Features;

    #[test]
    fn a_judgement_that_panics_is_a_find_and_ends_nothing() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let nobody = WorkerCommand { program: PathBuf::new(), args: Vec::new() };
        let plan = Plan {
            seed: 1,
            jobs: 1,
            duration: Duration::ZERO,
            kind: Kind::Programs(Features::DEFAULT),
            dir: dir.path().into(),
            profile: Profile::v6_18(),
            options: Options::new(nobody),
        };
        let shared = Shared {
            ledger: Mutex::new(Ledger::open(&plan)),
            stop: Arc::default(),
            judging: vec![Mutex::default()],
            deadline: Instant::now(),
            plan,
        };
        let subject = Subject::Program(program(1, 0, Features::DEFAULT));
        let trace = Trace { seen: Vec::new(), end: Ending::Complete };
        let number = shared.ledger().take();
        let what = Arc::new((subject, trace));
        assert!(goes_on(&shared, 0, number, &what, |_, _, _| panic!("no such socket: {}", 7)));
        let number = shared.ledger().take();
        let claims_nothing = |_: &Subject, _: &Profile, _: &Trace| Verdict::Unclaimed {
            reason: Unclaimed::NotModelled("nothing".into()),
        };
        assert!(goes_on(&shared, 0, number, &what, claims_nothing));
        let totals = shared.ledger().totals.clone();
        assert_eq!((totals.panicked, totals.found(), totals.done()), (1, 1, 2));
        assert_eq!(totals.times("judgements that panicked: no such socket: 7"), 1);
        assert!(dir.path().join("panicked-none-1-0.jsonl").is_file());
    }
}
