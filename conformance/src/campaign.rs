//! A campaign: random programs on this kernel, judged by the model, for as long as one likes.
//!
//! Programs are numbered, and a number and the seed make a program, so a campaign that was stopped goes
//! on where it was. What is found is written at once, before anything else is done with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use uringspec_model::check::check;
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::profile::Profile;
use uringspec_model::program::Program;
use uringspec_model::rules::Rule;
use uringspec_model::trace::{Trace, What};
use uringspec_model::verdict::{Unclaimed, Verdict};
use uringspec_real::{Options, RunError, Worker};

use crate::draft::{Draft, Features};
use crate::log::{self, Log};
use crate::shrink::shrink;

/// Bytes from which one program is made, at most.
const DRAFT_BYTES: usize = 512;
/// How long a step of a program may take that is waited for in vain. What seems stuck is run again with
/// the usual patience before it counts.
const STEP_PATIENCE_MS: u64 = 300;
/// Programs with the same sort of disagreement that are written; the first is made smaller as well.
const ALIKE_MAX: u64 = 3;
/// How often a disagreement is looked for again while its program is made smaller.
const REPEATS: usize = 3;
/// A judgement that takes longer is given up, and its thread with it.
const JUDGE_PATIENCE: Duration = Duration::from_secs(20);
/// How often the checkpoint is written.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// What a campaign is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// From which all programs follow.
    pub seed: u64,
    /// Threads, each with a worker of its own.
    pub jobs: usize,
    /// How long it goes on.
    pub duration: Duration,
    /// What programs may contain.
    pub features: Features,
    /// Where finds and the checkpoint are written.
    pub dir: PathBuf,
    /// The kernel.
    pub profile: Profile,
    /// How workers are started, and their patience where time does not matter.
    pub options: Options,
}

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
    /// Those that could not be run.
    pub skipped: u64,
    /// Workers that ended in the middle of a program.
    pub died: u64,
    /// Judgements that took too long.
    pub endless: u64,
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
    /// Sorts of disagreement, reasons of silence, and reasons of skips, with how often.
    pub sorts: BTreeMap<String, u64>,
}

/// The checkpoint in a file.
#[derive(Debug, Serialize, Deserialize)]
struct Checkpoint {
    seed: u64,
    features: u64,
    /// Programs below this number are done.
    next: u64,
    totals: Totals,
}

/// What the threads share.
struct Shared {
    plan: Plan,
    next: AtomicU64,
    stop: Arc<AtomicBool>,
    totals: Mutex<Totals>,
    /// What each thread is judging, and since when.
    judging: Vec<Mutex<Option<Judging>>>,
    deadline: Instant,
}

/// A trace that is being judged.
#[derive(Clone)]
struct Judging {
    since: Instant,
    number: u64,
    what: Arc<(Program, Trace)>,
}

/// The program with this number.
pub fn program(seed: u64, number: u64, features: Features) -> Program {
    let mut random = Seeded::new(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
    // The generator's first numbers are alike for seeds that are alike.
    for _ in 0..4 {
        random.pick(2);
    }
    let len = 16 + random.pick(DRAFT_BYTES - 16);
    let bytes: Vec<u8> = (0..len).map(|_| random.pick(256) as u8).collect();
    Draft::from_bytes(&bytes).resolve_with(features)
}

/// Goes on until the time is over or `stop` is set; `tell` hears about it once a second.
pub fn run(plan: &Plan, stop: &Arc<AtomicBool>, mut tell: impl FnMut(&Totals)) -> io::Result<Totals> {
    fs::create_dir_all(&plan.dir)?;
    let path = plan.dir.join("checkpoint.json");
    let (next, totals) = resume(plan, &path);
    let before = totals.millis;
    let start = Instant::now();
    let shared = Arc::new(Shared {
        plan: plan.clone(),
        next: AtomicU64::new(next),
        stop: Arc::clone(stop),
        totals: Mutex::new(totals),
        judging: (0..plan.jobs).map(|_| Mutex::default()).collect(),
        deadline: start + plan.duration,
    });
    let save = |in_work: u64| {
        let mut totals = shared.totals().clone();
        totals.millis = before + start.elapsed().as_millis() as u64;
        let next = shared.next.load(Ordering::Relaxed).saturating_sub(in_work);
        let checkpoint = Checkpoint { seed: plan.seed, features: plan.features.bits(), next, totals };
        write_whole(&path, &serde_json::to_vec(&checkpoint)?)?;
        io::Result::Ok(checkpoint.totals)
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
        if told.elapsed() < CHECKPOINT_EVERY {
            continue;
        }
        told = Instant::now();
        tell(&save(plan.jobs as u64)?);
        if let Some(job) = (0..plan.jobs).find(|job| shared.gives_up(*job)) {
            // Its place is taken by another thread; the program is not tried again.
            threads[job] = spawn(job);
        }
    }
    save(0)
}

fn resume(plan: &Plan, path: &Path) -> (u64, Totals) {
    let read = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Checkpoint>(&bytes).ok());
    match read {
        Some(read) if read.seed == plan.seed && read.features == plan.features.bits() => {
            (read.next, read.totals)
        }
        _ => (0, Totals::default()),
    }
}

/// Writes a file so that it is either there as a whole or as it was.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

impl Shared {
    fn totals(&self) -> std::sync::MutexGuard<'_, Totals> {
        // Counts cannot be left half changed.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judging(&self, job: usize) -> std::sync::MutexGuard<'_, Option<Judging>> {
        self.judging[job].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the judgement of this job has taken too long; then it is written down as a find.
    fn gives_up(&self, job: usize) -> bool {
        let Some(endless) = self.judging(job).take_if(|judging| judging.since.elapsed() > JUDGE_PATIENCE)
        else {
            return false;
        };
        count(self, "judgements that took too long", |totals| totals.endless += 1);
        write_find(self, endless.number, "endless", &endless.what.0, &endless.what.1, None);
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
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let program = program(plan.seed, number, plan.features);
        let trace = match worker.run(&program) {
            Ok(trace) => trace,
            Err(error) => {
                failed(shared, number, &program, &error);
                continue;
            }
        };
        let what = Arc::new((program, trace));
        let start = Instant::now();
        *shared.judging(job) = Some(Judging { since: start, number, what: Arc::clone(&what) });
        let (program, trace) = &*what;
        let verdict = check(program, &plan.profile, trace);
        let kept = shared.judging(job).take_if(|judging| judging.number == number).is_some();
        if !kept {
            // Another thread has taken this one's place.
            return;
        }
        let judge_ns = start.elapsed().as_nanos() as u64;
        let completions = trace.seen.iter().filter(|seen| matches!(seen.what, What::Cqe(_))).count() as u64;
        {
            let mut totals = shared.totals();
            totals.programs += 1;
            totals.judge_ns += judge_ns;
            totals.completions += completions;
        }
        judged(shared, number, program, trace, verdict);
    }
}

fn failed(shared: &Shared, number: u64, program: &Program, error: &RunError) {
    let sort = format!("skipped: {error}");
    let died = matches!(error, RunError::Died { .. });
    {
        let mut totals = shared.totals();
        totals.skipped += u64::from(!died);
        totals.died += u64::from(died);
        *totals.sorts.entry(sort).or_default() += 1;
    }
    if let RunError::Died { step, seen, .. } = error {
        let trace = Trace { seen: seen.clone(), end: uringspec_model::trace::Ending::Hung { step: *step } };
        write_find(shared, number, "died", program, &trace, None);
    }
}

fn judged(shared: &Shared, number: u64, program: &Program, trace: &Trace, verdict: Verdict) {
    match &verdict {
        Verdict::Accepted { rules, deviations } => {
            let mut totals = shared.totals();
            totals.accepted += 1;
            for rule in rules {
                *totals.rules.entry(*rule).or_default() += 1;
            }
            for (i, first) in rules.iter().enumerate() {
                totals.pairs.extend(rules.iter().skip(i + 1).map(|second| (*first, *second)));
            }
            for deviation in deviations {
                *totals.sorts.entry(format!("deviation {deviation}")).or_default() += 1;
            }
        }
        Verdict::Unclaimed { reason } => {
            let sort = match reason {
                Unclaimed::Malformed(_) => "unclaimed malformed".to_string(),
                other => format!("unclaimed {other}"),
            };
            let times = count(shared, &sort, |totals| totals.unclaimed += 1);
            if matches!(reason, Unclaimed::Malformed(_)) && times <= ALIKE_MAX {
                write_find(shared, number, "malformed", program, trace, Some(&verdict));
            }
        }
        Verdict::Rejected(_) | Verdict::Stuck { .. } => {
            disagreement(shared, number, program, trace.clone(), verdict);
        }
    }
}

fn count(shared: &Shared, sort: &str, how: impl FnOnce(&mut Totals)) -> u64 {
    let mut totals = shared.totals();
    how(&mut totals);
    let times = totals.sorts.entry(sort.to_string()).or_default();
    *times += 1;
    *times
}

/// What sort of disagreement it is, without numbers, so that like ones count together.
pub fn sort(verdict: &Verdict) -> Option<String> {
    let plain = |text: &str| -> String {
        let text =
            text.strip_prefix("ring ").and_then(|rest| rest.split_once(' ')).map_or(text, |(_, rest)| rest);
        let words = text.split_whitespace().filter(|word| !word.starts_with('#'));
        let kept = words.map(|word| if word.bytes().all(|b| b.is_ascii_digit()) { "n" } else { word });
        kept.collect::<Vec<_>>().join(" ").chars().take(60).collect()
    };
    match verdict {
        // Which bytes were received differs from program to program.
        Verdict::Rejected(rejection) if rejection.got.starts_with("received") => {
            Some(format!("rejected {} got bytes", rejection.rule))
        }
        Verdict::Rejected(rejection) => {
            Some(format!("rejected {} got {}", rejection.rule, plain(&rejection.got)))
        }
        Verdict::Stuck { promises, .. } => {
            let rules: BTreeSet<&str> = promises.iter().map(|promise| promise.rule.id()).collect();
            Some(format!("stuck {}", rules.into_iter().collect::<Vec<_>>().join(" ")))
        }
        Verdict::Accepted { .. } | Verdict::Unclaimed { .. } => None,
    }
}

fn disagreement(shared: &Shared, number: u64, program: &Program, trace: Trace, verdict: Verdict) {
    let plan = &shared.plan;
    let mut patient = Worker::new(plan.options.clone());
    let (mut trace, mut verdict) = (trace, verdict);
    if matches!(verdict, Verdict::Stuck { .. }) {
        let again = patient.run(program).map(|trace| (check(program, &plan.profile, &trace), trace));
        match again {
            Ok((second, _)) if sort(&second).is_none() => {
                count(shared, "stuck only with little patience", |totals| totals.impatient += 1);
                return judged_again(shared, &second);
            }
            Ok((second, seen)) => (verdict, trace) = (second, seen),
            Err(_) => {}
        }
    }
    let Some(sort) = sort(&verdict) else { return };
    let times = count(shared, &sort, |totals| match verdict {
        Verdict::Stuck { .. } => totals.stuck += 1,
        _ => totals.rejected += 1,
    });
    if times > ALIKE_MAX {
        return;
    }
    let name = write_find(shared, number, "found", program, &trace, Some(&verdict));
    if times > 1 {
        return;
    }
    // A smaller program has to show the same.
    let wanted = self::sort(&verdict);
    let mut smallest: Option<(Trace, Verdict)> = None;
    let small = shrink(program, |candidate| {
        !shared.is_over()
            && (0..REPEATS).any(|_| match patient.run(candidate) {
                Ok(trace) => {
                    let verdict = check(candidate, &plan.profile, &trace);
                    let same = self::sort(&verdict) == wanted;
                    if same {
                        smallest = Some((trace, verdict));
                    }
                    same
                }
                Err(_) => false,
            })
    });
    match (name, smallest) {
        (Some(_), Some((trace, verdict))) => {
            write_find(shared, number, "small", &small, &trace, Some(&verdict));
        }
        _ => _ = count(shared, "not seen again", |_| {}),
    }
}

/// The second run of a program counts for the first.
fn judged_again(shared: &Shared, verdict: &Verdict) {
    let mut totals = shared.totals();
    match verdict {
        Verdict::Accepted { .. } => totals.accepted += 1,
        _ => totals.unclaimed += 1,
    }
}

/// Writes a find as a log; its path.
fn write_find(
    shared: &Shared,
    number: u64,
    what: &str,
    program: &Program,
    trace: &Trace,
    verdict: Option<&Verdict>,
) -> Option<PathBuf> {
    let rule = match verdict {
        Some(Verdict::Rejected(rejection)) => rejection.rule.id(),
        Some(Verdict::Stuck { promises, .. }) => {
            promises.first().map_or("stuck", |promise| promise.rule.id())
        }
        _ => "none",
    };
    let path = shared.plan.dir.join(format!("{what}-{rule}-{number}.jsonl"));
    let found = Log {
        program: Some(program.clone()),
        profile: Some(shared.plan.profile.clone()),
        trace: trace.clone(),
        skip: None,
        verdict: verdict.cloned(),
    };
    let mut bytes = Vec::new();
    let written = log::write(&mut bytes, &found).and_then(|()| write_whole(&path, &bytes));
    written.ok().map(|()| path)
}
