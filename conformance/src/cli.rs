//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{
    bench, check, explain, export, fields, keep, mixed, outcomes, replay, rules, run, soak, worker,
};
use crate::output::{Format, Output};

/// Exit codes. What is not listed is decided by `Tally::exit_code`.
pub mod exit {
    /// The command line, a case, a log or a profile cannot be read (`EX_USAGE`).
    pub const USAGE: u8 = 64;
    /// Nothing could be judged.
    pub const NOTHING: u8 = 77;
}

/// What the kernel may do with every send submitted to io_uring, checked against the kernel here.
///
/// Exit codes: 0 accepted, 1 rejected, 2 stuck, 3 only unclaimed, 64 usage, 77 nothing could be judged.
#[derive(Debug, Parser)]
#[command(name = "uringspec", version, arg_required_else_help = false, max_term_width = 100)]
pub struct Cli {
    /// How results are written.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
    /// What to do; `check` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Judges cases on the model and on this kernel.
    Check(check::Args),
    /// Runs cases many times on this kernel and says what was seen.
    Run(run::Args),
    /// Prints all that the model allows for a case, a joint outcome a line.
    Outcomes(outcomes::Args),
    /// Says what the model makes of a log from elsewhere.
    Explain(explain::Args),
    /// Says how a mixed vectored send is made on a kernel.
    Mixed(mixed::Args),
    /// Measures what sending costs on this machine.
    Bench(bench::Args),
    /// Prints the rules: id, text, source, and the cases that show each.
    Rules(rules::Args),
    /// Prints what each field of an entry may hold.
    Fields(fields::Args),
    /// Runs a program once more, and says what may come and how often it did.
    Replay(replay::Args),
    /// Writes a program as a case.
    Keep(keep::Args),
    /// Prints a program as C that stands alone.
    Export(export::Args),
    /// Runs random programs on this kernel and judges each by the model.
    Soak(soak::Args),
    /// Runs programs for a parent process; started by the other commands.
    #[command(hide = true)]
    Worker(worker::Args),
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error.
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    if let Some(Command::Worker(args)) = &cli.command {
        return worker::run(args);
    }
    let mut out = Output::standard(cli.format);
    let code = match cli.command {
        None | Some(Command::Worker(_)) => check::run(&check::Args::default(), &mut out),
        Some(Command::Check(args)) => check::run(&args, &mut out),
        Some(Command::Run(args)) => run::run(&args, &mut out),
        Some(Command::Outcomes(args)) => outcomes::run(&args, &mut out),
        Some(Command::Explain(args)) => explain::run(&args, &mut out),
        Some(Command::Mixed(args)) => mixed::run(&args, &mut out),
        Some(Command::Bench(args)) => bench::run(&args, &mut out),
        Some(Command::Rules(args)) => rules::run(&args, &mut out),
        Some(Command::Fields(args)) => fields::run(&args, &mut out),
        Some(Command::Replay(args)) => replay::run(&args, &mut out),
        Some(Command::Keep(args)) => keep::run(&args, &mut out),
        Some(Command::Export(args)) => export::run(&args, &mut out),
        Some(Command::Soak(args)) => soak::run(&args, &mut out),
    };
    ExitCode::from(code)
}
