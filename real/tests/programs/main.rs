//! Whole programs on this kernel, run in workers as users run them. What cannot be run here is skipped by
//! name.

mod build;
mod chaos;
mod clean;
mod gate;
mod loopback;
mod lost;
mod rooms;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return uringspec_real::worker::serve();
    }
    let mut trials = Vec::new();
    for (module, tests) in [
        ("loopback", loopback::TESTS),
        ("gate", gate::TESTS),
        ("rooms", rooms::TESTS),
        ("lost", lost::TESTS),
        ("chaos", chaos::TESTS),
        ("clean", clean::TESTS),
    ] {
        for (name, test) in tests {
            trials.push(Trial::test(format!("{module}::{name}"), || {
                test();
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
