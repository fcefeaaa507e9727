//! What fuzz targets call: a program on the model, a program on this kernel.
//!
//! What is wrong panics, with the token that shows the program again; where no program can be run, a line
//! says so, and nothing is found.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::{env, fs};

use uringspec_model::check::check;
use uringspec_model::choices::Seeded;
use uringspec_model::profile::Profile;
use uringspec_model::program::Program;
use uringspec_model::simulate::simulate;
use uringspec_model::trace::Trace;
use uringspec_model::verdict::{Unclaimed, Verdict};

use crate::draft::{Draft, Features};
use crate::kernel::{Kernel, NoTrace};
use crate::log::{self, Log};
use crate::token;

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
    thread_local!(static KERNEL: RefCell<Option<Kernel>> = RefCell::new(open()));
    KERNEL.with_borrow_mut(|kernel| {
        let Some(kernel) = kernel else { return };
        match kernel.run(program) {
            Ok(trace) => judge(program, &kernel.profile().clone(), &trace),
            // one field of an entry may make it unfit to be run
            Err(NoTrace::Skip(_)) => {}
            Err(NoTrace::Broken(why)) => panic!("{why}\n{}", pointers(program)),
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
    let malformed = matches!(verdict, Verdict::Unclaimed { reason: Unclaimed::Malformed(_) });
    if malformed || matches!(verdict, Verdict::Rejected(_) | Verdict::Stuck { .. }) {
        panic!("{}: {verdict:?}\n{}", verdict.word(), pointers(program));
    }
}

fn pointers(program: &Program) -> String {
    let token = token::encode(program);
    format!("  replay  uringspec replay {token}\n  keep    uringspec keep {token} AREA/NAME")
}

/// The kernel, with workers from `URINGSPEC_BIN` or from what cargo has built.
fn open() -> Option<Kernel> {
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
    opened.inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}
