//! `uringspec check`: cases on the model and on this kernel.

use std::path::PathBuf;

use serde::Serialize;

use super::{complain, find, load, profile, witnesses_hold};
use crate::case::print::mode_word;
use crate::catalog::Loaded;
use crate::cli::exit;
use crate::kernel::Kernel;
use crate::output::{Colour, Format, Output, coloured};
use crate::report;
use crate::side_by_side::{Report, Side, Status, Tally, Terms, on_kernel, on_model};

/// Judges cases on the model and on this kernel.
///
/// On the model, what a case lists must be exactly what may happen. On the kernel, what happens must
/// be listed. Where io_uring is refused, the model is judged alone, and that is said.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  uringspec check                       every case of the project
  uringspec check zc/held link          a case and an area of the project
  uringspec check my/reuse.case cases/  files and folders
  uringspec check --contract            known deviations are refused as well
  uringspec check --format json | jq 'select(.status == \"rejected\")'

Exit codes: 0 accepted, 1 rejected, 2 stuck, 3 only unclaimed, 64 usage, 77 nothing could be judged.")]
pub struct Args {
    /// Case files, folders with case files, cases or areas of the project; none: all of the project.
    paths: Vec<PathBuf>,
    /// Refuses known deviations of kernels from the rules too.
    #[arg(long)]
    contract: bool,
    /// The kernel that the model plays: `6.18`, or a file with a profile line.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
    /// Judges the model alone.
    #[arg(long)]
    model_only: bool,
}

/// The last line.
#[derive(Serialize)]
struct Summary<'a> {
    cases: usize,
    accepted: usize,
    rejected: usize,
    stuck: usize,
    unclaimed: usize,
    skipped: usize,
    deviations: usize,
    kernel: Option<&'a str>,
}

/// One report as an object.
#[derive(Serialize)]
struct Row<'a> {
    case: &'a str,
    side: &'static str,
    ring: &'static str,
    release: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deviations: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
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
    let Some(cases) = load(found).filter(|cases| witnesses_hold(cases)) else { return exit::USAGE };
    let mut kernel = match args.model_only {
        true => Err("the model was asked for alone".to_string()),
        false => Kernel::open(None),
    };
    if let Err(reason) = &kernel {
        out.line(&format!("on the model alone: {reason}"));
    }
    let terms = Terms { contract: args.contract };
    let (mut tally, mut deviations) = (Tally::default(), 0);
    for (n, loaded) in cases.iter().enumerate() {
        out.progress(&format!("{}/{}  {}", n + 1, cases.len(), loaded.found.name));
        let mut reports = on_model(loaded, &profile, terms);
        if let Ok(kernel) = &mut kernel {
            reports.extend(on_kernel(loaded, kernel, terms));
        }
        for report in &reports {
            tally.add(report.status.word());
            if let Status::Accepted { deviations: seen, .. } = &report.status {
                deviations += seen.len();
            }
        }
        show(loaded, &reports, out);
    }
    let release = kernel.as_ref().ok().map(|k| k.profile().release.clone());
    let summary = Summary {
        cases: cases.len(),
        accepted: tally.count("accepted"),
        rejected: tally.count("rejected"),
        stuck: tally.count("stuck"),
        unclaimed: tally.count("unclaimed"),
        skipped: tally.count("skipped"),
        deviations,
        kernel: release.as_deref(),
    };
    out.last(&summary);
    tally.exit_code()
}

fn show(loaded: &Loaded, reports: &[Report], out: &mut Output) {
    if out.format == Format::Json {
        for report in reports {
            out.object(&row(loaded, report));
        }
        return;
    }
    let mut words = Vec::new();
    for report in reports {
        let side = side_word(report.side);
        let colour = match report.status.word() {
            "accepted" => Colour::Green,
            "rejected" | "stuck" => Colour::Red,
            _ => Colour::Yellow,
        };
        let status = coloured(report.status.word(), colour, out.colours);
        words.push(format!("{side}/{} {status}", mode_word(report.mode)));
    }
    out.line(&format!("{:<36} {}", loaded.found.name, words.join("  ")));
    for report in reports {
        if let Status::Skipped(reason) = &report.status {
            let (side, mode) = (side_word(report.side), mode_word(report.mode));
            out.line(&format!("  skipped on the {side}, {mode} ring: {reason}"));
        }
        if let Some(page) = report::page(loaded, report) {
            out.line(&format!("\n{page}"));
        }
    }
}

fn row<'a>(loaded: &'a Loaded, report: &'a Report) -> Row<'a> {
    let (mut reason, mut deviations) = (None, Vec::new());
    match &report.status {
        Status::Skipped(why) => reason = Some(why.as_str()),
        Status::Accepted { deviations: seen, .. } => deviations = seen.iter().map(|d| d.id()).collect(),
        _ => {}
    }
    Row {
        case: &loaded.found.name,
        side: side_word(report.side),
        ring: mode_word(report.mode),
        release: &report.release,
        status: report.status.word(),
        reason,
        deviations,
        page: report::page(loaded, report),
    }
}

fn side_word(side: Side) -> &'static str {
    match side {
        Side::Model => "model",
        Side::Kernel => "kernel",
    }
}
