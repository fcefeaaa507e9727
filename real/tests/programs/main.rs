//! Whole programs on this kernel, run in workers as users run them. What cannot be run here is skipped by
//! name.

mod build;
mod chaos;
mod clean;
mod device;
mod gate;
mod loopback;
mod lost;
mod rooms;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};

/// Becomes a worker without the rights of root.
fn as_nobody() -> ExitCode {
    const NOBODY: u32 = 65534;
    let exe = std::env::current_exe().expect("a running test has a path");
    let mut worker = Command::new(exe);
    worker.arg("worker").uid(NOBODY).gid(NOBODY);
    // Where this fails it is not root, and a normal user already.
    let _ = worker.exec();
    uringspec_real::worker::serve()
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return uringspec_real::worker::serve();
    }
    if std::env::args().nth(1).as_deref() == Some("as-nobody") {
        return as_nobody();
    }
    let mut trials = Vec::new();
    for (module, tests) in [
        ("loopback", loopback::TESTS),
        ("gate", gate::TESTS),
        ("device", device::TESTS),
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
