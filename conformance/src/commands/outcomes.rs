//! `uringspec outcomes`: all that the model allows for a case.

use std::path::PathBuf;

use serde::Serialize;
use uringspec_model::simulate::TooMany;

use super::{complain, find, load, profile, rings_words};
use crate::allowed::{Allowed, CUT, Part, allowed, line};
use crate::case::print::mode_word;
use crate::catalog::Loaded;
use crate::cli::exit;
use crate::mixed::played;
use crate::output::Output;
use crate::side_by_side::unmet;

/// So many states take some seconds and a GB at most.
const STATES_MAX: usize = 200_000;

/// Prints all that the model allows for a case, a joint outcome a line.
///
/// What differs only in the order of completions is one outcome; of the orders that the case states,
/// those that are promised stand in it. The number before an outcome says how many runs of the model come
/// to it; of a range of counts, the ends, their neighbours and one inside are walked. What the case expects plays no part, so a case may be written from what is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec outcomes send/short                    a case of the project
  uringspec outcomes zc my/reuse.case              an area, and a file
  uringspec outcomes zc/held --profile found.jsonl as another kernel, from a log with its profile
  uringspec outcomes zc --format json | jq 'select(.outcome)'

Exit codes: 0 printed, 1 a case has too many states, 3 the model says nothing of a case,
64 usage, 77 the kernel of the profile lacks what every case needs.")]
pub struct Args {
    /// Cases or areas of the project, case files, or folders with case files.
    #[arg(required = true, value_name = "CASE")]
    paths: Vec<PathBuf>,
    /// The kernel that the model plays: `6.18`, or a file with a profile line.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
    /// The most states that are walked for one case.
    #[arg(long, value_name = "N", default_value_t = STATES_MAX)]
    states: usize,
}

/// One outcome as an object.
#[derive(Serialize)]
struct Row<'a> {
    case: &'a str,
    rings: &'a [&'static str],
    runs: usize,
    outcome: &'a [Part],
}

/// A case without an answer as an object.
#[derive(Serialize)]
struct Unanswered<'a> {
    case: &'a str,
    rings: &'a [&'static str],
    reason: &'a str,
}

/// The last line.
#[derive(Debug, Default, Serialize)]
struct Summary {
    cases: usize,
    outcomes: usize,
    runs: usize,
    states: usize,
    too_many: usize,
    unclaimed: usize,
    skipped: usize,
    kernel: String,
}

/// What is known of a case on some kinds of ring.
#[derive(PartialEq, Eq)]
enum Answer {
    Outcomes(Vec<(Vec<Part>, usize)>),
    TooMany(TooMany),
    Skipped(String),
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    let profile = match profile(args.profile.as_deref()) {
        Ok(profile) => profile,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    let found = match find(&args.paths) {
        Ok(found) => found,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    let Some(cases) = load(found) else { return exit::USAGE };
    let mut summary = Summary { cases: cases.len(), kernel: profile.release.clone(), ..Summary::default() };
    for loaded in &cases {
        out.progress(&loaded.found.name);
        // Kinds of ring with the same answer share it.
        let mut answers: Vec<(Answer, Vec<&'static str>)> = Vec::new();
        for lowered in &loaded.lowered {
            let answer = match unmet(&loaded.case, lowered.mode, &profile) {
                Some(reason) => Answer::Skipped(reason),
                None => match allowed(lowered, &played(&lowered.program, &profile), args.states) {
                    Ok(Allowed { outcomes, states }) => {
                        summary.states += states;
                        Answer::Outcomes(outcomes)
                    }
                    Err(too_many) => Answer::TooMany(too_many),
                },
            };
            match answers.iter_mut().find(|(known, _)| *known == answer) {
                Some((_, rings)) => rings.push(mode_word(lowered.mode)),
                None => answers.push((answer, vec![mode_word(lowered.mode)])),
            }
        }
        for (answer, rings) in &answers {
            show(loaded, answer, rings, &mut summary, out);
        }
    }
    out.last(&summary);
    match summary {
        Summary { too_many: 1.., .. } => 1,
        Summary { unclaimed: 1.., .. } => 3,
        Summary { outcomes: 0, .. } => exit::NOTHING,
        _ => 0,
    }
}

fn show(loaded: &Loaded, answer: &Answer, rings: &[&'static str], summary: &mut Summary, out: &mut Output) {
    let case = loaded.found.name.as_str();
    let kinds = rings_words(rings);
    let outcomes = match answer {
        Answer::Outcomes(outcomes) => outcomes,
        Answer::TooMany(too_many) => {
            summary.too_many += 1;
            let states = too_many.states;
            let reason = match too_many.fill_memory {
                true => format!("there are {too_many}; split the case, or ask for fewer bytes"),
                false => {
                    format!(
                        "{states} states were walked and there are more; split the case, or give --states"
                    )
                }
            };
            complain(&format!("{}, {kinds}: {reason}", loaded.found.file));
            out.object(&Unanswered { case, rings, reason: &reason });
            return;
        }
        Answer::Skipped(reason) => {
            summary.skipped += 1;
            out.line(&format!("{case}  {kinds}\n  skipped: {reason}"));
            out.object(&Unanswered { case, rings, reason });
            return;
        }
    };
    summary.outcomes += outcomes.len();
    summary.runs += outcomes.iter().map(|(_, runs)| runs).sum::<usize>();
    summary.unclaimed +=
        usize::from(outcomes.iter().any(|(parts, _)| parts.iter().any(|part| part.seen == CUT)));
    let number = match outcomes.len() {
        1 => "1 outcome".to_string(),
        many => format!("{many} outcomes"),
    };
    out.line(&format!("{case}  {number}, {kinds}"));
    for (outcome, runs) in outcomes {
        out.line(&format!("{runs:>8}  {}", line(outcome)));
        out.object(&Row { case, rings, runs: *runs, outcome });
    }
}
