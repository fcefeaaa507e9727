//! The command `uringspec`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Counts while a bench does.
#[global_allocator]
static ALLOCATOR: uringspec_real::bench::Counting = uringspec_real::bench::Counting;

fn main() -> ExitCode {
    uringspec::cli::main()
}
