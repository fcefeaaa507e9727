//! `uringspec keep`: a program, or a find, as a case.

use std::io::IsTerminal;
use std::path::PathBuf;

use serde::Serialize;

use super::{complain, profile};
use crate::catalog;
use crate::cli::exit;
use crate::given::given;
use crate::keep::keep;
use crate::output::Output;

/// So many states take some seconds and a GB at most.
const STATES_MAX: usize = 200_000;

/// Writes a program as a case: what is expected is what the model allows.
///
/// The comment, and which of the rules it shows, are left to be written. A case that `check` would not accept
/// on the model is not written.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec keep d1:… zc/second-notif                        a token, from a page
  uringspec keep target/soak/small-zc.one-notif-7.jsonl zc/second-notif
  uringspec keep fuzz/artifacts/simulate_check/crash-1f3a zc/second-notif
  uringspec keep d1:… my/reuse --dir cases                   elsewhere than in the checkout

Exit codes: 0 written, 1 it is no case, 64 usage.")]
pub struct Args {
    /// A token, a log with its program such as a find of `soak`, or what a fuzz target found.
    what: String,
    /// Its area and name.
    #[arg(value_name = "AREA/NAME")]
    name: String,
    /// The folder with the areas; absent: that of the checkout.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The kernel that the model plays: `6.18`, or a file with a profile line.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
}

/// The last line.
#[derive(Serialize)]
struct Summary<'a> {
    case: &'a str,
    file: String,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    match written(args) {
        Ok((file, text)) => {
            out.line(text.trim_end());
            out.line(&format!("\nwrite its comment, then  uringspec check {file}"));
            out.last(&Summary { case: &args.name, file });
            0
        }
        Err((code, error)) => {
            complain(&error);
            code
        }
    }
}

fn written(args: &Args) -> Result<(String, String), (u8, String)> {
    let usage = |error: String| (exit::USAGE, error);
    let name = args.name.strip_suffix(".case").unwrap_or(&args.name);
    let (area, file) = name.split_once('/').filter(|(area, file)| is_word(area) && is_word(file)).ok_or_else(|| {
        usage(format!("{}: no name of a case, expected an area and a name such as zc/second-notif, in small letters, digits and -", args.name))
    })?;
    let dir = args.dir.clone().or_else(catalog::checkout).ok_or_else(|| {
        usage("there is no checkout here, expected --dir with the folder of the areas".into())
    })?;
    let path = dir.join(area).join(format!("{file}.case"));
    if path.exists() {
        return Err(usage(format!("{}: it is there already, expected another name", path.display())));
    }
    let profile = profile(args.profile.as_deref()).map_err(usage)?;
    let given = given(&args.what, std::io::stderr().is_terminal()).map_err(usage)?;
    if given.case.is_some() {
        return Err(usage(format!("{}: it is a case already, expected a token or a log", given.name)));
    }
    let text = keep(name, &given.lowered[0], given.verdict.as_ref(), &profile, STATES_MAX)
        .map_err(|error| (1, format!("{}: {error}", given.name)))?;
    let unwritten = |error: std::io::Error| usage(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(dir.join(area)).map_err(unwritten)?;
    std::fs::write(&path, &text).map_err(unwritten)?;
    Ok((path.display().to_string(), text))
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
