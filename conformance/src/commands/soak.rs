//! `uringspec soak`: random programs on this kernel, judged by the model.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use uringspec_model::rules::Rule;
use uringspec_real::{Options, WorkerCommand, probe};

use super::complain;
use crate::campaign::{self, Kind, Plan, Summary, Totals, judging_rules};
use crate::cli::exit;
use crate::draft::Features;
use crate::output::Output;

/// Runs random programs on this kernel and judges each by the model.
///
/// What is found is written at once, as a log with the program, what was seen and the verdict; then the
/// program is made smaller. A campaign with the same seed, features and folder goes on where it was,
/// however it ended: by its time, an interruption, or `kill -9`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec soak --seconds 60                      a minute
  uringspec soak --seconds 3600 --jobs 8 --seed 7  an hour, another one
  uringspec soak --features -big,-twins            without some things
  uringspec soak --features zero-copy,links        with only these
  uringspec soak --features default,anything       with nonsense in the fields of entries
  uringspec soak --seconds 0 --pairs               what was reached so far
  uringspec soak --seconds 3600 --mixed --summary mixed.json

Exit codes: 0 accepted, 1 rejected, 2 stuck, 3 only unclaimed, 64 usage, 77 nothing could be run.")]
pub struct Args {
    /// How long it runs.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// From which all programs follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads, each with a worker of its own; absent: as many as there are processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// What programs may contain: names, `default`, `all`, `none`; a minus takes away.
    #[arg(long, default_value = "default", value_name = "LIST", allow_hyphen_values = true)]
    features: String,
    /// Programs with mixed vectored sends, each made in every way that this kernel has, and judged by what mixed
    /// sends promise as well.
    #[arg(long, conflicts_with_all = ["features", "pairs"])]
    mixed: bool,
    /// Writes the last line to a file too, a line a value, to be kept.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Where finds and counts are written.
    #[arg(long, default_value = "target/soak")]
    dir: PathBuf,
    /// Lists which pairs of rules were reached, by area.
    #[arg(long)]
    pairs: bool,
}

/// How many of the pairs of rules from two areas had a say in one program.
#[derive(Serialize)]
struct Pairs {
    areas: [&'static str; 2],
    reached: usize,
    of: usize,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    let features = match Features::from_list(&args.features) {
        Ok(features) => features,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let command = WorkerCommand::current_exe(&["worker"]).map_err(|error| error.to_string());
    let found = probe().map_err(|skip| skip.to_string());
    let (profile, command) = match (found, command) {
        (Ok(profile), Ok(command)) => (profile, command),
        (Err(why), _) | (_, Err(why)) => {
            complain(&format!("nothing can be run: {why}"));
            return exit::NOTHING;
        }
    };
    let plan = Plan {
        seed: args.seed,
        jobs: args.jobs.unwrap_or(processors).max(1),
        duration: Duration::from_secs(args.seconds),
        kind: if args.mixed { Kind::Mixed } else { Kind::Programs(features) },
        dir: args.dir.clone(),
        profile,
        options: Options::new(command),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    // Without a handler an interruption still loses no find and at most a second of counts.
    let _ = ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed));
    let mut told = false;
    let tell = |totals: &Totals| {
        if !told && totals.done() > 0 {
            out.line(&format!("goes on after {} programs", totals.done()));
        }
        told = true;
        out.progress(&progress(totals));
    };
    let totals = match campaign::run(&plan, &stop, tell) {
        Ok(totals) => totals,
        Err(error) => {
            complain(&format!("{}: {error}", plan.dir.display()));
            return exit::USAGE;
        }
    };
    for (sort, times) in &totals.sorts {
        out.line(&format!("{times:>8}  {sort}"));
    }
    for (way, met) in &totals.ways {
        let met: Vec<String> = met.iter().map(|(what, times)| format!("{what} {times}")).collect();
        out.line(&format!("{way}: {}", met.join(", ")));
    }
    let missing = judging_rules().filter(|rule| !args.mixed && !totals.rules.contains_key(rule));
    for rule in missing {
        out.line(&format!("   never  {rule}"));
    }
    if args.pairs {
        for Pairs { areas: [first, second], reached, of } in &pairs(&totals) {
            out.line(&format!("{reached:>8}  of {of:>4} pairs  {first} {second}"));
        }
        for pairs in pairs(&totals) {
            out.object(&pairs);
        }
    }
    let summary = summary(&plan, &totals);
    out.last(&summary);
    if let Some(path) = &args.summary
        && let Err(error) = summary.write(path)
    {
        complain(&format!("{}: {error}", path.display()));
        return exit::USAGE;
    }
    exit_code(&totals)
}

/// All pairs of areas, in the order of the rules.
fn pairs(totals: &Totals) -> Vec<Pairs> {
    let rules: Vec<Rule> = judging_rules().collect();
    let mut all: Vec<Pairs> = Vec::new();
    for (i, first) in rules.iter().enumerate() {
        for second in &rules[i + 1..] {
            let mut areas = [first.area(), second.area()];
            areas.sort_unstable();
            let at = all.iter().position(|pairs| pairs.areas == areas).unwrap_or_else(|| {
                all.push(Pairs { areas, reached: 0, of: 0 });
                all.len() - 1
            });
            all[at].of += 1;
            all[at].reached += usize::from(totals.pairs.contains(&(*first, *second)));
        }
    }
    all
}

fn progress(totals: &Totals) -> String {
    format!(
        "{} programs  {}/s  {}/{} rules  {} pairs  {} found",
        totals.programs,
        totals.per_second(),
        totals.rules.len(),
        judging_rules().count(),
        totals.pairs.len(),
        totals.found()
    )
}

fn summary<'a>(plan: &'a Plan, totals: &'a Totals) -> Summary<'a> {
    let (what, features) = match plan.kind {
        Kind::Programs(features) => ("programs", features.words()),
        Kind::Mixed => ("mixed", Vec::new()),
    };
    let kernel = &plan.profile.release;
    let mut summary = Summary::of(what, kernel, totals);
    (summary.features, summary.seed) = (features, Some(plan.seed));
    summary
}

/// As every command: 1 rejected, 2 stuck, 3 if the model claims nothing at all, 77 if nothing ran.
fn exit_code(totals: &Totals) -> u8 {
    match totals {
        Totals { rejected, died, endless, panicked, .. } if rejected + died + endless + panicked > 0 => 1,
        Totals { stuck, .. } if *stuck > 0 => 2,
        Totals { programs: 0, .. } => exit::NOTHING,
        Totals { accepted: 0, .. } => 3,
        _ => 0,
    }
}
