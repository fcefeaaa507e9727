//! The command `uringspec`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    uringspec::cli::main()
}
