//! What fuzz targets call: a program on the model, a program on this kernel.
//!
//! What is wrong panics, with the token that shows the program again; where no program can be run, a line
//! says so, and nothing is found.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use uringspec_model::check::check;
use uringspec_model::choices::Seeded;
use uringspec_model::kernels;
use uringspec_model::profile::Profile;
use uringspec_model::program::Program;
use uringspec_model::simulate::simulate;
use uringspec_model::trace::Trace;
use uringspec_model::verdict::{Unclaimed, Verdict};

use crate::campaign::{Subject, Summary, Totals};
use crate::draft::{Draft, Features};
use crate::kernel::{Kernel, NoTrace};
use crate::log::{self, Log};
use crate::mixed::ways;
use crate::token;

/// How often what came of a run is written.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// The seed of a simulation that goes with bytes.
pub fn seed_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

/// The program of a draft with any values in the fields of its entries, as far as they may be run.
pub fn any_fields(bytes: &[u8]) -> Program {
    let draft = Draft::from_bytes(bytes);
    let features = draft.features | Features::ANYTHING.bits();
    Draft { features, ..draft }.resolve_with(Features::DEFAULT | Features::ANYTHING)
}

/// Simulates a program as the seed decides; the model has to accept what it does.
pub fn on_model(program: &Program, seed: u64) {
    let profile = Profile::v6_18();
    let trace = simulate(program, &profile, &mut Seeded::new(seed));
    judge(program, &profile, &trace);
}

/// Runs a program on this kernel; the model has to allow what it does.
pub fn on_kernel(program: &Program) {
    with_runs(|runs| runs.run(&Subject::Program(program.clone())));
}

/// Lets the models of all kernels make mixed sends in every way that each has; their contract is kept.
pub fn mixed_on_models(meant: &Program, seed: u64) {
    for kernel in kernels::names().filter_map(kernels::named) {
        for made in ways(None, meant, &kernel).unwrap_or_default() {
            let trace = simulate(&made.done.program, &kernel, &mut Seeded::new(seed));
            if let Err(failure) = made.keeps(&kernel, &trace) {
                panic!("{}", failure.find_page("model", None));
            }
        }
    }
}

/// Makes mixed sends on this kernel in every way that it has: the model has to allow what the entries do, and
/// the contract is kept.
pub fn mixed_on_kernel(meant: &Program) {
    with_runs(|runs| {
        for made in ways(None, meant, runs.kernel.profile()).unwrap_or_default() {
            runs.run(&Subject::Made(Box::new(made)));
        }
    });
}

/// Reads a log and judges what it says; what was read is written and read back the same.
pub fn on_log(bytes: &[u8]) {
    let Ok(log) = log::read("fuzzed", bytes) else { return };
    let mut written = Vec::new();
    log::write(&mut written, &log).expect("memory can be written");
    let again = log::read("written", &written[..]).expect("what was written is read");
    assert_eq!(again, log, "a log is not read back as it was");
    if let Log { program: Some(program), profile, trace, .. } = log {
        let _ = check(&program, &profile.unwrap_or_else(Profile::v6_18), &trace);
    }
}

fn judge(program: &Program, profile: &Profile, trace: &Trace) {
    let verdict = check(program, profile, trace);
    if is_wrong(&verdict) {
        let token = token::encode(program);
        panic!("{}: {verdict:?}\n  replay  uringspec replay {token}", verdict.word());
    }
}

fn is_wrong(verdict: &Verdict) -> bool {
    let malformed = matches!(verdict, Verdict::Unclaimed { reason: Unclaimed::Malformed(_) });
    malformed || matches!(verdict, Verdict::Rejected(_) | Verdict::Stuck { .. })
}

/// The kernel, and what came of all that was run on it.
struct Runs {
    kernel: Kernel,
    totals: Totals,
    since: Instant,
    written: Instant,
    /// Where that is written now and then.
    summary: Option<PathBuf>,
}

fn with_runs(act: impl FnOnce(&mut Runs)) {
    thread_local!(static RUNS: RefCell<Option<Runs>> = RefCell::new(open()));
    RUNS.with_borrow_mut(|runs| runs.as_mut().map(act));
}

impl Runs {
    fn run(&mut self, subject: &Subject) {
        let trace = match self.kernel.run(subject.program()) {
            Ok(trace) => trace,
            Err(NoTrace::Skip(reason)) => {
                // one field of an entry may make it unfit to be run
                self.totals.skipped += 1;
                return self.totals.sort(format!("skipped: {reason}"));
            }
            Err(NoTrace::Broken(reason)) => {
                self.totals.died += 1;
                self.write();
                panic!("{reason}\n  replay  uringspec replay {}", token::encode(subject.program()));
            }
        };
        let profile = self.kernel.profile().clone();
        let start = Instant::now();
        let verdict = subject.judge(&profile, &trace);
        self.totals.judged(&trace, start.elapsed(), &verdict, subject.counts(&trace));
        if is_wrong(&verdict) {
            self.write();
            let page = subject.page("found", &profile, &trace, &verdict, None);
            panic!("{}", page.unwrap_or_else(|| format!("{verdict:?}")));
        }
        if self.written.elapsed() > WRITE_EVERY {
            self.write();
        }
    }

    fn write(&mut self) {
        self.written = Instant::now();
        self.totals.millis = self.since.elapsed().as_millis() as u64;
        let Some(path) = &self.summary else { return };
        let target = env::current_exe().ok().and_then(|exe| Some(exe.file_stem()?.display().to_string()));
        let what = format!("fuzz {}", target.unwrap_or_default());
        let written = Summary::of(&what, &self.kernel.profile().release, &self.totals).write(path);
        written.unwrap_or_else(|error| eprintln!("{}: {error}", path.display()));
    }
}

/// The kernel, with workers from `URINGSPEC_BIN` or from what cargo has built. `URINGSPEC_SUMMARY` names the
/// file of the summary.
fn open() -> Option<Runs> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let built = ["release", "debug"].map(|profile| target.join(profile).join("uringspec"));
    let named = env::var_os("URINGSPEC_BIN").map(PathBuf::from);
    let command = named.into_iter().chain(built).find(|path| fs::metadata(path).is_ok());
    let opened = match command {
        Some(command) => Kernel::open(Some(command)),
        None => {
            Err("there is no worker, expected the command in URINGSPEC_BIN, or `cargo build` before".into())
        }
    };
    let kernel = opened.inspect_err(|reason| eprintln!("skipped: {reason}")).ok()?;
    let now = Instant::now();
    let summary = env::var_os("URINGSPEC_SUMMARY").map(PathBuf::from);
    Some(Runs { kernel, totals: Totals::default(), since: now, written: now, summary })
}
