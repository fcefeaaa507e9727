//! Random mixed sends on this kernel, in every way that it has: the entries are judged by its rules, and
//! what is seen through the view by the contract, byte for byte.

use std::io::{Write, stdout};
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};
use uringspec::kernel::{Kernel, NoTrace};
use uringspec::mixed::draft::MixedDraft;
use uringspec::mixed::{judge, keeps, ways};
use uringspec_model::choices::Seeded;
use uringspec_model::kernels;
use uringspec_model::mixed::program::lower;
use uringspec_model::simulate::simulate;
use uringspec_model::verdict::Verdict;

/// Drafts that are run, each in every way that the kernel has; `PROPTEST_CASES` says another number.
const CASES: u32 = 150;

fn runner(name: &'static str) -> TestRunner {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let usual = Config::default();
    let config = Config {
        cases: if asked { usual.cases } else { CASES },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(name))),
        ..usual
    };
    // the same drafts each time, and others where more are asked for
    match asked {
        true => TestRunner::new(config),
        false => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..160)
}

#[test]
fn random_mixed_sends_keep_their_contract_on_this_kernel() {
    let command = std::path::PathBuf::from(env!("CARGO_BIN_EXE_uringspec"));
    let kernel = match Kernel::open(Some(command)) {
        Ok(kernel) => Mutex::new(kernel),
        Err(why) => {
            let _ = writeln!(stdout(), "skipped: {why}");
            return;
        }
    };
    let (mut runs, mut unclaimed, mut skipped) = (0, 0, 0);
    let counts = Mutex::new((&mut runs, &mut unclaimed, &mut skipped));
    let name = concat!(env!("CARGO_MANIFEST_DIR"), "/../proptest-regressions/mixed_kernel.txt");
    let tried = runner(name).run(&bytes(), |bytes| {
        let program = MixedDraft::of_bytes(&bytes).resolve();
        let mut kernel = kernel.lock().expect("no test panics with it");
        let profile = kernel.profile().clone();
        let mut counts = counts.lock().expect("no test panics with it");
        for (lowering, made) in ways(None, &program, &profile).unwrap_or_default() {
            let trace = match kernel.run(&made.program) {
                Ok(trace) => trace,
                Err(NoTrace::Skip(_)) => {
                    *counts.2 += 1;
                    continue;
                }
                Err(NoTrace::Broken(why)) => return Err(TestCaseError::fail(why)),
            };
            *counts.0 += 1;
            let seen = made.view.read(&trace);
            if let Err(verdict) = keeps(&program, &seen) {
                return Err(TestCaseError::fail(format!("{lowering}: {verdict:?}\n{program:#?}\n{seen:#?}")));
            }
            match judge(&program, &made, &profile, &trace).map_err(|judged| *judged) {
                Ok(_) => {}
                Err((Verdict::Unclaimed { .. }, _)) => *counts.1 += 1,
                Err((verdict, _)) => {
                    return Err(TestCaseError::fail(format!(
                        "{lowering}: {verdict:?}\n{:#?}\n{trace:#?}",
                        made.program
                    )));
                }
            }
        }
        Ok(())
    });
    if let Err(why) = tried {
        panic!("{why}");
    }
    // Not `println`, which a test that passes keeps to itself.
    let _ = writeln!(
        stdout(),
        "mixed sends on this kernel: {runs} runs, {unclaimed} unclaimed, {skipped} skipped"
    );
    assert!(unclaimed * 5 <= runs, "{unclaimed} of {runs} runs say nothing");
}

#[test]
fn random_mixed_sends_keep_their_contract_on_the_model_of_every_kernel() {
    let name = concat!(env!("CARGO_MANIFEST_DIR"), "/../proptest-regressions/mixed_model.txt");
    let tried = runner(name).run(&(bytes(), any::<u64>()), |(bytes, seed)| {
        let program = MixedDraft::of_bytes(&bytes).resolve();
        for kernel in kernels::names().filter_map(kernels::named) {
            for (lowering, made) in ways(None, &program, &kernel).unwrap_or_default() {
                let trace = simulate(&made.program, &kernel, &mut Seeded::new(seed));
                if let Err(verdict) = keeps(&program, &made.view.read(&trace)) {
                    let why =
                        format!("{lowering} on {}: {verdict:?}\n{program:#?}\n{trace:#?}", kernel.release);
                    return Err(TestCaseError::fail(why));
                }
            }
        }
        Ok(())
    });
    if let Err(why) = tried {
        panic!("{why}");
    }
}

#[test]
fn a_mixed_draft_reaches_every_way() {
    let mut reached = std::collections::BTreeSet::new();
    let kernel = kernels::named("7.3").expect("it has a name");
    for seed in 0..400u64 {
        let bytes: Vec<u8> = (0..96u64)
            .map(|i| {
                (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(i * i * 31 + i * seed) >> 7) as u8
            })
            .collect();
        let program = MixedDraft::of_bytes(&bytes).resolve();
        for lowering in uringspec_model::mixed::lowering::Lowering::ALL {
            if lower(&program, &kernel, lowering).is_ok() {
                reached.insert(lowering.name());
            }
        }
    }
    assert!(reached.len() >= 6, "{reached:?}");
}
