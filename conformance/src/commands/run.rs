//! `uringspec run`: cases many times on this kernel, and what of them was seen.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{complain, find, load, rings_words};
use crate::campaign::write_whole;
use crate::case::Case;
use crate::case::print::{mode_word, print};
use crate::case::print_witness::{alternative_words, sighting_words};
use crate::catalog::Loaded;
use crate::cli::exit;
use crate::kernel::Kernel;
use crate::output::Output;
use crate::repeat::{Counted, Plan, repeat};
use crate::report;
use crate::side_by_side::{Status, Tally};
use crate::sightings::{Count, known, witnesses};

/// Runs cases many times on this kernel and says how often each alternative was seen, or `never`.
///
/// An alternative is what the case leaves to the kernel: an `or` line, a joint outcome, a range with what was
/// seen of it. With --write the case itself says then where and when its alternatives were seen. A case of
/// which a run is not accepted is not run again and not written. An interruption ends with what was counted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec run send/fault-in-the-middle    what does my kernel do here?
  uringspec run zc link --times 1000        two areas, each case a thousand times on each kind of ring
  uringspec run --times 200 --write         all cases of the project, and writes what was seen
  uringspec run my/reuse.case --format json | jq 'select(.times == 0)'

Exit codes: 0 accepted, 1 rejected, 2 stuck, 3 only unclaimed, 64 usage, 77 nothing could be run.")]
pub struct Args {
    /// Cases or areas of the project, case files, or folders with case files; none: all of the project.
    #[arg(value_name = "CASE")]
    paths: Vec<PathBuf>,
    /// How often each case is run on each of its kinds of ring.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    times: u64,
    /// Threads, each with a worker of its own; absent: as many as there are processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: Option<u64>,
    /// Writes into the case files what was seen, on which kernel and when.
    #[arg(long)]
    write: bool,
}

/// An alternative as an object.
#[derive(Serialize)]
struct Row<'a> {
    case: &'a str,
    alternative: &'a str,
    times: u64,
    /// The kinds of ring on which it was seen.
    rings: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<String>,
}

/// A run that was not accepted as an object.
#[derive(Serialize)]
struct Failed<'a> {
    case: &'a str,
    ring: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
}

/// The last line.
#[derive(Debug, Default, Serialize)]
struct Summary {
    cases: usize,
    runs: u64,
    alternatives: usize,
    seen: usize,
    never: usize,
    rejected: usize,
    stuck: usize,
    unclaimed: usize,
    skipped: usize,
    written: usize,
    kernel: String,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    let found = match find(&args.paths) {
        Ok(found) => found,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    if let Some(built_in) = found.iter().find(|found| args.write && found.path.is_none()) {
        complain(&format!("{} is built in and cannot be written, expected a file", built_in.name));
        return exit::USAGE;
    }
    let Some(cases) = load(found) else { return exit::USAGE };
    let kernel = match Kernel::open(None) {
        Ok(kernel) => kernel,
        Err(reason) => {
            complain(&format!("nothing can be run: {reason}"));
            return exit::NOTHING;
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan { times: args.times, jobs: args.jobs.map_or(processors, |jobs| jobs as usize) };
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    // Without a handler an interruption loses the counts, and nothing else.
    let _ = ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed));
    let mut told = 0;
    let counted = repeat(&cases, &kernel, plan, &stop, |done, total, loaded| {
        // A terminal is not read faster.
        if done >= told + 50 || done == total {
            told = done;
            out.progress(&format!("{done}/{total} runs  {}", loaded.found.name));
        }
    });
    if stop.load(Ordering::Relaxed) {
        out.line("interrupted; this was counted until then");
    }
    let release = kernel.profile().release.clone();
    let mut summary = Summary { cases: cases.len(), kernel: release.clone(), ..Summary::default() };
    let mut tally = Tally::default();
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    for (loaded, counted) in cases.iter().zip(&counted) {
        show(loaded, counted, out);
        summary.add(counted);
        tally.merge(&counted.tally);
        if args.write && counted.is_fine() {
            match write(loaded, counted, &release, today, out) {
                Ok(changed) => summary.written += usize::from(changed),
                Err(error) => {
                    complain(&format!("{}: {error}", loaded.found.file));
                    return exit::USAGE;
                }
            }
        }
    }
    out.last(&summary);
    tally.exit_code()
}

impl Summary {
    fn add(&mut self, counted: &Counted) {
        let seen = counted.sightings.counts.iter().filter(|count| count.times() > 0).count();
        self.runs += counted.runs.values().sum::<u64>();
        self.alternatives += counted.sightings.counts.len();
        self.seen += seen;
        self.never += counted.sightings.counts.len() - seen;
        self.rejected += counted.tally.count("rejected");
        self.stuck += counted.tally.count("stuck");
        self.unclaimed += counted.tally.count("unclaimed");
        self.skipped += counted.tally.count("skipped");
    }
}

fn show(loaded: &Loaded, counted: &Counted, out: &mut Output) {
    let case = loaded.found.name.as_str();
    let modes: Vec<&str> = counted.runs.keys().map(|mode| mode_word(*mode)).collect();
    let runs: u64 = counted.runs.values().sum();
    let lanes = crate::case::print_witness::lanes_words(&crate::case::witness::lanes(&loaded.case));
    let head = match runs {
        0 => format!("{case}  was not run"),
        1 => format!("{case}  1 run on the {}, lane {lanes}", rings_words(&modes)),
        runs => format!("{case}  {runs} runs on {}, lane {lanes}", rings_words(&modes)),
    };
    out.line(&head);
    for count in counted.sightings.counts.iter().filter(|_| runs > 0) {
        show_count(loaded, counted, count, out);
    }
    for report in &counted.reports {
        let page = report::page(loaded, report);
        let reason = match &report.status {
            Status::Skipped(reason) => Some(reason.as_str()),
            _ => None,
        };
        let (ring, status) = (mode_word(report.mode), report.status.word());
        if let Some(reason) = reason {
            out.line(&format!("  skipped on the {ring} ring: {reason}"));
        }
        if let Some(page) = &page {
            out.line(&format!("\n{page}"));
        }
        out.object(&Failed { case, ring, status, reason, page });
    }
}

fn show_count(loaded: &Loaded, counted: &Counted, count: &Count, out: &mut Output) {
    let name = loaded.found.name.as_str();
    let alternative = alternative_words(&count.alternative);
    let times = count.times();
    if times == 0 {
        let known = known(&loaded.case, &count.alternative);
        let why = known.as_ref().map(|known| format!("\n{:>8}  {known}", "")).unwrap_or_default();
        out.line(&format!("{:>8}  {alternative}{why}", "never"));
        out.object(&Row {
            case: name,
            alternative: &alternative,
            times,
            rings: Vec::new(),
            seen: None,
            known,
        });
        return;
    }
    let sighting = count.sighting();
    let words = if sighting.only.is_empty() { alternative.clone() } else { sighting_words(&sighting) };
    let rings: Vec<&'static str> = count.runs.keys().map(|mode| mode_word(*mode)).collect();
    let alone = if rings.len() < counted.runs.len() {
        format!(", {} alone", rings_words(&rings))
    } else {
        String::new()
    };
    out.line(&format!("{times:>8}  {words}{alone}"));
    let seen = words.strip_prefix(&format!("{alternative} as "));
    out.object(&Row { case: name, alternative: &alternative, times, rings, seen, known: None });
}

/// Writes the case with what was seen, if that says anything new.
fn write(
    loaded: &Loaded,
    counted: &Counted,
    release: &str,
    today: Date,
    out: &mut Output,
) -> std::io::Result<bool> {
    let (witnesses, dropped) = witnesses(&loaded.case, &counted.sightings, release, today);
    for dropped in dropped {
        out.line(&format!("  dropped {dropped}"));
    }
    let text = print(&Case { witnesses, ..loaded.case.clone() });
    match &loaded.found.path {
        Some(path) if text != loaded.found.text => write_whole(path, text.as_bytes()).map(|()| true),
        _ => Ok(false),
    }
}
