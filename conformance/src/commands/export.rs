//! `uringspec export`: a program for those who have nothing of this.

use std::io::IsTerminal;
use std::path::PathBuf;

use serde::Serialize;

use super::complain;
use crate::case::Mode;
use crate::cli::exit;
use crate::export;
use crate::given::given;
use crate::output::Output;

/// Prints a program as C that stands alone: no liburing, no headers but the C library's.
///
/// What that prints when it runs is a log in the JSON form, which `uringspec explain` judges.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec export zc/held --c > held.c && cc -O2 -o held held.c && ./held | uringspec explain -
  uringspec export d1:… --c --out found.c            from a token
  uringspec export target/soak/small-zc.one-notif-7.jsonl --c
  uringspec export zc/held --c --ring defer          a case on its other kind of ring

Exit codes: 0 printed, 1 the program takes more than system calls, 64 usage.")]
pub struct Args {
    /// A token, a log with its program, or a case.
    what: String,
    /// As C.
    #[arg(long, required = true)]
    c: bool,
    /// Where it is written; absent: standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The kind of ring of a case that has several.
    #[arg(long, value_enum, default_value_t)]
    ring: Kind,
}

/// A kind of ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// The first of the case.
    #[default]
    First,
    /// No set-up flags.
    Plain,
    /// `SINGLE_ISSUER | DEFER_TASKRUN`.
    Defer,
}

/// The only line of the JSON format.
#[derive(Serialize)]
struct Row<'a> {
    c: &'a str,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    let given = match given(&args.what, std::io::stderr().is_terminal()) {
        Ok(given) => given,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    let wanted = |mode: Mode| match args.ring {
        Kind::First => true,
        Kind::Plain => mode == Mode::Plain,
        Kind::Defer => mode == Mode::Defer,
    };
    let Some(lowered) = given.lowered.iter().find(|lowered| wanted(lowered.mode)) else {
        complain(&format!("{}: it has no such ring, expected no --ring", given.name));
        return exit::USAGE;
    };
    let text = match export::c(&given.name, lowered) {
        Ok(text) => text,
        Err(error) => {
            complain(&format!("{}: {error}", given.name));
            return 1;
        }
    };
    match &args.out {
        Some(path) => {
            if let Err(error) = std::fs::write(path, text) {
                complain(&format!("{}: {error}", path.display()));
                return exit::USAGE;
            }
        }
        None => {
            out.line(text.trim_end());
            out.object(&Row { c: &text });
        }
    }
    0
}
