//! Law *self*: every simulated trace is accepted. Law *tight*: for tiny programs the accepted traces
//! are exactly the simulated ones.

mod programs;

use uringspec_model::check::check;
use uringspec_model::choices::Seeded;
use uringspec_model::profile::Profile;
use uringspec_model::simulate::{explore, simulate};

#[test]
fn every_simulated_trace_is_accepted() {
    let profile = Profile::v6_18();
    for (name, program) in programs::tiny() {
        for seed in 0..300 {
            let trace = simulate(&program, &profile, &mut Seeded::new(seed));
            let verdict = check(&program, &profile, &trace);
            assert!(verdict.is_accepted(), "{name}, seed {seed}: {verdict:?}\n{}", programs::show(&program, &trace));
        }
        let all = explore(&program, &profile, 1_000_000).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        println!("{name}: {} outcomes, {} states", all.traces.len(), all.states);
        for trace in &all.traces {
            let verdict = check(&program, &profile, trace);
            assert!(verdict.is_accepted(), "{name}: {verdict:?}\n{}", programs::show(&program, trace));
        }
    }
}
