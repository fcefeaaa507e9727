//! `uringspec worker`: the process in which programs run. Other commands start it.

use std::process::ExitCode;

/// Runs programs that the parent process sends, one at a time.
#[derive(Debug, Default, clap::Args)]
pub struct Args {}

/// Serves until the input ends.
pub fn run(_args: &Args) -> ExitCode {
    uringspec_real::worker::serve()
}
