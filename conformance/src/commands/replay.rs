//! `uringspec replay`: a program once more, on the model and on this kernel.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use serde::Serialize;
use uringspec_model::check::check;
use uringspec_model::profile::Profile;
use uringspec_model::trace::Trace;
use uringspec_model::verdict::Verdict;

use super::{complain, profile};
use crate::allowed::{Part, allowed, line, of_trace};
use crate::case::lowered::Lowered;
use crate::cli::exit;
use crate::given::{Given, given};
use crate::kernel::{Kernel, NoTrace};
use crate::output::{Format, Output};
use crate::report::{Find, find_page};
use crate::side_by_side::Tally;

/// A state of small sends takes some kB; one in which a megabyte went in pieces a hundred, so that many more than these
/// would take all the memory of a machine.
const STATES_MAX: usize = 20_000;

/// Runs a program once more: all that the model allows, and how often this kernel did each.
///
/// What is given is a token, a find of `soak` or of a fuzz target, any log with its program, or a case. A run that the model
/// refuses is shown as a page.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec replay d1:…                              once
  uringspec replay target/soak/small-zc.one-notif-7.jsonl --times 1000
  uringspec replay zc/held --times 100               a case of the project
  uringspec replay d1:… --format json | jq 'select(.outcome and .seen == 0)'

Exit codes: 0 accepted, 1 rejected, 2 stuck, 3 only unclaimed, 64 usage, 77 nothing could be run.")]
pub struct Args {
    /// A token, a log with its program, or a case.
    what: String,
    /// How often it is run, on each kind of ring.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// The kernel that the model plays; absent: the one here.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
}

/// The last line.
#[derive(Default, Serialize)]
struct Summary {
    runs: usize,
    outcomes: usize,
    seen: usize,
    never: usize,
    accepted: usize,
    rejected: usize,
    stuck: usize,
    unclaimed: usize,
    skipped: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
}

/// One outcome as an object.
#[derive(Serialize)]
struct Row<'a> {
    ring: &'static str,
    outcome: &'a [Part],
    seen: u32,
    /// Whether the model lists it; of a range of counts it lists the ends and some between.
    listed: bool,
}

/// A page as an object.
#[derive(Serialize)]
struct PageRow<'a> {
    ring: &'static str,
    status: &'static str,
    page: &'a str,
}

/// What came of many runs.
#[derive(Default)]
struct Runs {
    outcomes: BTreeMap<Vec<Part>, u32>,
    worst: Option<(Verdict, Trace)>,
    skipped: Option<String>,
    tally: Tally,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    let what = given(&args.what, std::io::stderr().is_terminal());
    let named = args.profile.as_deref().map(|name| profile(Some(name))).transpose();
    let (given, named) = match (what, named) {
        (Ok(given), Ok(named)) => (given, named),
        (Err(error), _) | (_, Err(error)) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    let mut kernel = Kernel::open(None);
    if let Err(reason) = &kernel {
        out.line(&format!("on the model alone: {reason}"));
    }
    let here = kernel.as_ref().ok().map(|kernel| kernel.profile().clone());
    let profile = named.or(here.clone()).unwrap_or_else(Profile::v6_18);
    let mut summary = Summary { kernel: here.map(|here| here.release), ..Summary::default() };
    let mut tally = Tally::default();
    for lowered in &given.lowered {
        let runs = match &mut kernel {
            Ok(kernel) => runs(lowered, &profile, kernel, args.times, out),
            Err(_) => Runs::default(),
        };
        show(&given, lowered, &profile, &runs, &mut summary, out);
        tally.merge(&runs.tally);
    }
    summary.accepted = tally.count("accepted");
    summary.rejected = tally.count("rejected");
    summary.stuck = tally.count("stuck");
    summary.unclaimed = tally.count("unclaimed");
    summary.skipped = tally.count("skipped");
    summary.runs = summary.accepted + summary.rejected + summary.stuck + summary.unclaimed;
    out.last(&summary);
    tally.exit_code()
}

fn runs(lowered: &Lowered, profile: &Profile, kernel: &mut Kernel, times: u32, out: &Output) -> Runs {
    let mut runs = Runs::default();
    for n in 0..times {
        out.progress(&format!("{}/{times}", n + 1));
        let trace = match kernel.run(&lowered.program) {
            Ok(trace) => trace,
            Err(NoTrace::Skip(reason)) => {
                runs.tally.add("skipped");
                runs.skipped = Some(reason);
                break;
            }
            Err(NoTrace::Broken(reason)) => {
                runs.tally.add("rejected");
                runs.skipped = Some(format!("the worker was lost: {reason}"));
                break;
            }
        };
        let verdict = check(&lowered.program, profile, &trace);
        runs.tally.add(verdict.word());
        *runs.outcomes.entry(of_trace(lowered, profile, &trace)).or_default() += 1;
        let severity = |verdict: &Verdict| match verdict {
            Verdict::Rejected(_) => 3,
            Verdict::Stuck { .. } => 2,
            Verdict::Unclaimed { .. } => 1,
            Verdict::Accepted { .. } => 0,
        };
        let before = runs.worst.as_ref().map_or(0, |(verdict, _)| severity(verdict));
        if severity(&verdict) > before {
            runs.worst = Some((verdict, trace));
        }
    }
    runs
}

fn show(
    given: &Given,
    lowered: &Lowered,
    profile: &Profile,
    runs: &Runs,
    summary: &mut Summary,
    out: &mut Output,
) {
    let ring = Given::ring(lowered);
    let times: u32 = runs.outcomes.values().sum();
    let steps = lowered.program.steps.len();
    out.line(&format!("{}  {steps} steps, {ring} ring, {times} runs", given.name));
    if let Some(reason) = &runs.skipped {
        out.line(&format!("  skipped: {reason}"));
    }
    let listed = match allowed(lowered, profile, STATES_MAX) {
        Ok(allowed) => allowed.outcomes.into_iter().map(|(parts, _)| parts).collect(),
        Err(too_many) => {
            out.line(&format!("  what else may come is not listed: there are {too_many}"));
            Vec::new()
        }
    };
    let other = runs.outcomes.keys().filter(|parts| !listed.contains(parts)).cloned().collect::<Vec<_>>();
    for (outcome, is_listed) in listed.iter().map(|o| (o, true)).chain(other.iter().map(|o| (o, false))) {
        let seen = runs.outcomes.get(outcome).copied().unwrap_or(0);
        summary.outcomes += 1;
        summary.seen += usize::from(seen > 0);
        summary.never += usize::from(seen == 0);
        let count = if seen == 0 { "never".to_string() } else { seen.to_string() };
        out.line(&format!("{count:>8}  {}", line(outcome)));
        out.object(&Row { ring, outcome, seen, listed: is_listed });
    }
    let Some((verdict, trace)) = &runs.worst else { return };
    let find = Find {
        file: &given.name,
        lowered,
        release: &profile.release,
        verdict,
        trace,
        shrunk_from: None,
        is_case: given.case.is_some(),
    };
    let Some(page) = find_page(&find) else { return };
    match out.format {
        Format::Text => out.line(&format!("\n{}", page.trim_end())),
        Format::Json => out.object(&PageRow { ring, status: verdict.word(), page: &page }),
    }
}
