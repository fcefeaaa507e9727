//! The subcommands, one file each: its arguments, and what it does.

pub mod bench;
pub mod check;
pub mod explain;
pub mod export;
pub mod fields;
pub mod keep;
pub mod mixed;
pub mod outcomes;
pub mod replay;
pub mod rules;
pub mod run;
pub mod soak;
pub mod worker;

use std::io;
use std::path::Path;

use uringspec_model::kernels;
use uringspec_model::profile::Profile;

use crate::case::check_witnesses;
use crate::catalog::{self, Found, Loaded};
use crate::log;

/// Prints why the command cannot go on, to standard error.
fn complain(text: &str) {
    use io::Write;
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}

/// Finds cases: those of the project, or those named.
fn find(paths: &[std::path::PathBuf]) -> Result<Vec<Found>, String> {
    if paths.is_empty() {
        return catalog::all().map_err(|error| format!("cases: {error}"));
    }
    let mut found = Vec::new();
    for path in paths {
        found.extend(catalog::named(path).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    Ok(found)
}

/// Reads cases; every error is printed, so that one run shows them all.
fn load(found: Vec<Found>) -> Option<Vec<Loaded>> {
    let colours = io::IsTerminal::is_terminal(&io::stderr());
    let (mut loaded, mut failed) = (Vec::new(), false);
    for found in found {
        match found.read() {
            Ok(case) => loaded.push(case),
            Err(error) => {
                complain(&error.page(colours));
                failed = true;
            }
        }
    }
    (!failed).then_some(loaded)
}

/// Whether witnesses are of what the cases list; every error is printed.
fn witnesses_hold(cases: &[Loaded]) -> bool {
    let colours = io::IsTerminal::is_terminal(&io::stderr());
    let mut hold = true;
    for Loaded { found, case, .. } in cases {
        if let Err(error) = check_witnesses(&found.file, &found.text, case) {
            complain(&error.page(colours));
            hold = false;
        }
    }
    hold
}

/// Kinds of ring in words.
fn rings_words(kinds: &[&str]) -> String {
    match kinds {
        ["as written"] => "rings as written".to_string(),
        [one] => format!("{one} ring"),
        several => format!("{} rings", several.join(" and ")),
    }
}

/// A profile by name, or from a file with a `profile` line.
fn profile(name: Option<&str>) -> Result<Profile, String> {
    match name {
        None => Ok(Profile::v6_18()),
        Some(name) if Path::new(name).is_file() => {
            let file = std::fs::File::open(name).map_err(|error| format!("{name}: {error}"))?;
            let log = log::read(name, io::BufReader::new(file)).map_err(|error| error.to_string())?;
            log.profile
                .ok_or_else(|| format!("{name}: no profile, expected a line {{\"v\":1,\"profile\":…}}"))
        }
        Some(name) => kernels::named(name).ok_or_else(|| {
            let names: Vec<&str> = kernels::names().collect();
            format!(
                "no profile {name}, expected {} or a file with a line {{\"v\":1,\"profile\":…}}",
                names.join(", ")
            )
        }),
    }
}
