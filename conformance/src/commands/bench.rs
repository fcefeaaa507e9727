//! `uringspec bench mixed`: what a mixed send costs on this machine, beside other ways to send the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde::Serialize;
use uringspec_real::bench::{Cell, Lane, Plan, Source, Strategy};
use uringspec_real::probe;

use super::complain;
use crate::bench::judge::{Judged, Summary, rounded};
use crate::bench::order::{Order, Told, ToldSeries, serve};
use crate::bench::plan::{BATCHES, Planned, SIZES, Size};
use crate::bench::schedule::{Part, not_carried, schedule};
use crate::bench::{plot, table};
use crate::cli::exit;
use crate::output::{Format, Output};

/// Measures what sending costs on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec bench mixed --quick

Exit codes: 0 measured, 1 a cell broke off, 64 usage, 77 nothing could be measured.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The sender of mixed sends, headers copied and payloads lent, beside other ways to send the same.
    Mixed(Mixed),
    /// Measures one lane for a parent process.
    #[command(hide = true)]
    Lane {
        /// What is to be measured, as JSON.
        order: String,
    },
}

/// Strategies take turns in each cell, and each is compared with the sender's nearest turn. What counts is
/// the processor time of the process that sends; whoever reads or acknowledges is another one. The most wanted
/// cells come first, and each lane has its share whenever time ends.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec bench mixed --quick                     some of the cells, within 40 seconds
  uringspec bench mixed --out conformance/bench     all 135, with table and picture: about 20 minutes
  uringspec bench mixed --lane repair-tcp --size 4K,mixed --batch 8
  uringspec bench mixed --quick --format json       an object for each strategy in each cell

Exit codes: 0 measured, 1 a cell broke off, 64 usage, 77 nothing could be measured.")]
struct Mixed {
    /// Some of the cells, with fewer pairs, for at most 36 seconds.
    #[arg(long)]
    quick: bool,
    /// Lanes: loopback, ifb-udp, repair-tcp.
    #[arg(long = "lane", value_name = "LANES", value_delimiter = ',', value_parser = lane)]
    lanes: Vec<Lane>,
    /// Bytes of the payloads, such as 0, 256, 64K; mixed: most messages are headers, some are long.
    #[arg(long = "size", value_name = "SIZES", value_delimiter = ',')]
    sizes: Vec<Size>,
    /// Messages of a flush, a power of two up to 64.
    #[arg(long = "batch", value_name = "NUMBERS", value_delimiter = ',', value_parser = batch)]
    batches: Vec<usize>,
    /// Where payloads are: cached, beyond.
    #[arg(long = "source", value_name = "SOURCES", value_delimiter = ',', value_parser = source)]
    sources: Vec<Source>,
    /// Strategies beside the sender; absent: all.
    #[arg(long = "strategy", value_name = "NAMES", value_delimiter = ',', value_parser = strategy)]
    strategies: Vec<Strategy>,
    /// Pairs of a strategy and the sender in each cell.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pairs: Option<u16>,
    /// Messages of a turn; absent: as many as take some milliseconds.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    messages: Option<u32>,
    /// Ends after so many minutes, with what is measured by then.
    #[arg(long)]
    minutes: Option<u64>,
    /// Writes a picture.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Writes mixed.md and mixed.svg into a folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn lane(text: &str) -> Result<Lane, String> {
    named(text, "lane", &Lane::ALL, Lane::name)
}

fn source(text: &str) -> Result<Source, String> {
    named(text, "source", &[Source::Cached, Source::Beyond], Source::name)
}

fn strategy(text: &str) -> Result<Strategy, String> {
    named(text, "strategy", &Strategy::ALL, Strategy::name)
}

fn named<T: Copy>(text: &str, what: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let names = || all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", ");
    let found = all.iter().copied().find(|one| name(*one) == text);
    found.ok_or_else(|| format!("there is no {what} {text}, expected {}", names()))
}

fn batch(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n: &usize| n.is_power_of_two() && *n <= 64);
    number.ok_or_else(|| format!("{text} is no number of messages, expected 1, 2, 4, 8, 16, 32 or 64"))
}

/// A strategy in a cell.
#[derive(Serialize)]
struct Line {
    lane: &'static str,
    size: Size,
    batch: usize,
    source: &'static str,
    strategy: &'static str,
    ns_per_message: f64,
    ratio: f64,
    low: f64,
    high: f64,
    pairs: usize,
    messages: u64,
    enters: u64,
    sqes: u64,
    cqes: u64,
    copied_bytes: u64,
    allocations: u64,
    notifications: u64,
    copied_notifications: u64,
}

/// How long the sender's turn takes, and how often others wait for it, about.
const SLICE_NS: u64 = 2_000_000;
const QUICK_SLICE_NS: u64 = 1_000_000;
const PAIRS: u16 = 31;
const QUICK_PAIRS: u16 = 11;
/// How long the turns of a cell may take before it has fewer pairs.
const CELL_NS: u64 = 20_000_000_000;
const QUICK_CELL_NS: u64 = 1_300_000_000;
/// How long all of it may take.
const TIME_MAX: Duration = Duration::from_secs(30 * 60);
const QUICK_TIME_MAX: Duration = Duration::from_secs(36);
/// What a pair takes on average, the peer and what is not timed with it, over the sender's turn; and what a cell takes
/// beside its pairs.
const TURN_RATIO: u64 = 15;
const CELL_SETUP: Duration = Duration::from_millis(150);
/// How often interruptions and the end of time are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    match &args.what {
        What::Mixed(mixed) => measure(mixed, out),
        What::Lane { order } => match serve(order) {
            Ok(()) => 0,
            Err(error) => {
                complain(&error);
                1
            }
        },
    }
}

fn measure(args: &Mixed, out: &mut Output) -> u8 {
    let kernel = match probe() {
        Ok(profile) => profile.release,
        Err(skip) => {
            complain(&skip.to_string());
            return exit::NOTHING;
        }
    };
    let plan = args.plan();
    let strategies = args.strategies();
    let parts = args.parts();
    let wanted: usize = parts.iter().map(|part| part.cells.len()).sum();
    args.left_out().iter().for_each(|text| complain(text));
    complain(&forecast(wanted, strategies.len() + 1, &plan, args.time_max()));

    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    // without it an interruption ends the command at once, which is no worse than any other
    let _ = ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed));
    let deadline = Instant::now() + args.time_max();
    let is_over = || stop.load(Ordering::Relaxed) || Instant::now() >= deadline;

    let mut done = Done::default();
    let mut left = wanted;
    for part in &parts {
        // its share of the time that is left, so that no part goes without
        let time_left = deadline.saturating_duration_since(Instant::now());
        let share = time_left.mul_f64(part.cells.len() as f64 / left as f64);
        left -= part.cells.len();
        let time = Time { is_over: &is_over, share: Instant::now() + share };
        measure_part(part, &strategies, &plan, &time, &mut done, out);
    }
    let Done { judged, lacking, no_lane, broken } = done;
    out.clear_progress();
    for (why, count) in &lacking {
        complain(&format!("{count} of {wanted} cells are skipped: {why}"));
    }
    let skipped = lacking.values().sum::<usize>() + no_lane.len();
    let not_seen = unseen(&parts, &judged);
    if !not_seen.is_empty() {
        complain(&format!("not measured: {}", not_seen.join(", ")));
    }
    if judged.is_empty() {
        return if broken > 0 { 1 } else { exit::NOTHING };
    }
    let summary = Summary::of(&judged, skipped + broken, kernel);
    let tables = table::tables(&judged);
    if out.format == Format::Text {
        out.line(&tables);
        out.line(&table::misses(&judged));
    }
    let written = write(args, &judged, &tables, &summary);
    out.last(&summary);
    if let Err(error) = written {
        complain(&error);
        return exit::USAGE;
    }
    u8::from(broken > 0)
}

/// What came of the cells.
#[derive(Default)]
struct Done {
    judged: Vec<Judged>,
    /// How many cells were skipped, by the reasons.
    lacking: BTreeMap<String, usize>,
    /// Lanes that are not to be had here.
    no_lane: Vec<&'static str>,
    /// Cells that broke off.
    broken: usize,
}

/// When cells are not measured any more.
struct Time<'a> {
    /// None is.
    is_over: &'a dyn Fn() -> bool,
    /// No other one of the same part is begun.
    share: Instant,
}

/// Why a process ended before its cells did.
enum Ended {
    /// There is no such lane here.
    Skip(String),
    /// So many cells were done before one broke off.
    Broken(usize, String),
}

/// Measures cells of a lane. One that breaks off takes its process with it, not those that follow.
fn measure_part(
    part: &Part,
    strategies: &[Strategy],
    plan: &Plan,
    time: &Time,
    done: &mut Done,
    out: &mut Output,
) {
    let name = part.lane.name();
    let mut cells = &part.cells[..];
    while !cells.is_empty() && !(time.is_over)() && !done.no_lane.contains(&name) {
        let order = Order::new(part.lane, cells, strategies, plan);
        match in_process(&order, cells, time, done, out) {
            Ok(()) => return,
            Err(Ended::Skip(why)) => {
                complain(&format!("{name} is skipped: {why}"));
                done.no_lane.push(name);
            }
            Err(Ended::Broken(at, why)) => {
                complain(&format!("{name}: {why}"));
                done.broken += 1;
                cells = cells.get(at + 1..).unwrap_or_default();
            }
        }
    }
}

/// Measures cells in a process of its own.
fn in_process(
    order: &Order,
    cells: &[Planned],
    time: &Time,
    done: &mut Done,
    out: &mut Output,
) -> Result<(), Ended> {
    let broken = |error: std::io::Error| Ended::Broken(cells.len(), error.to_string());
    let mut command = Command::new(std::env::current_exe().map_err(broken)?);
    command.args(["bench", "lane"]);
    let (mut child, told) = order.start(&mut command).map_err(broken)?;
    let mut next = 0;
    let ended = loop {
        if let Some(planned) = cells.get(next) {
            out.progress(&planned.to_string());
        }
        match told.recv_timeout(LOOK) {
            Ok(Told::Cell(index, all)) => {
                next = index + 1;
                let all: Option<Vec<_>> = all.into_iter().map(ToldSeries::series).collect();
                let Some(cell) =
                    cells.get(index).cloned().zip(all).and_then(|(planned, all)| Judged::new(planned, all))
                else {
                    break Err(Ended::Broken(index, "the process of a lane told nonsense".into()));
                };
                lines(&cell, out);
                done.judged.push(cell);
                if Instant::now() >= time.share {
                    break Ok(());
                }
            }
            Ok(Told::Lacking(index, why)) => {
                next = index + 1;
                *done.lacking.entry(why).or_default() += 1;
            }
            Ok(Told::Failed(index, why)) => {
                let cell = cells.get(index).map_or_else(String::new, ToString::to_string);
                break Err(Ended::Broken(index, format!("{cell}: {why}")));
            }
            Ok(Told::Skip(why)) => break Err(Ended::Skip(why)),
            Err(RecvTimeoutError::Timeout) if !(time.is_over)() => {}
            Err(RecvTimeoutError::Timeout) => break Ok(()),
            Err(RecvTimeoutError::Disconnected) if next == cells.len() || (time.is_over)() => break Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                break Err(Ended::Broken(next, format!("the process of a lane ended in {}", cells[next])));
            }
        }
    };
    // it may have ended, or been interrupted with this one
    let _ = child.kill();
    let _ = child.wait();
    ended
}

/// The cells that were not measured: how many of each lane, number of messages and source.
fn unseen(parts: &[Part], judged: &[Judged]) -> Vec<String> {
    let seen: BTreeSet<String> = judged.iter().map(|cell| cell.planned.to_string()).collect();
    let mut missing: Vec<(String, usize)> = Vec::new();
    for cell in parts.iter().flat_map(|part| &part.cells).filter(|cell| !seen.contains(&cell.to_string())) {
        let Cell { batch, source, .. } = &cell.cell;
        let name = format!("{} x{batch} {}", cell.lane.name(), source.name());
        match missing.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => missing.push((name, 1)),
        }
    }
    missing.into_iter().map(|(name, count)| format!("{count} of {name}")).collect()
}

fn lines(cell: &Judged, out: &mut Output) {
    for row in &cell.rows {
        let counts = row.series.counts;
        out.object(&Line {
            lane: cell.planned.lane.name(),
            size: cell.planned.size,
            batch: cell.planned.cell.batch,
            source: cell.planned.cell.source.name(),
            strategy: row.series.strategy.name(),
            ns_per_message: (row.ns_per_message * 10.0).round() / 10.0,
            ratio: rounded(row.ratio.median),
            low: rounded(row.ratio.low),
            high: rounded(row.ratio.high),
            pairs: row.series.pairs_ns.len(),
            messages: counts.messages,
            enters: counts.enters,
            sqes: counts.sqes,
            cqes: counts.cqes,
            copied_bytes: counts.copied_bytes,
            allocations: counts.allocations,
            notifications: counts.notifications,
            copied_notifications: counts.copied_notifications,
        });
    }
}

fn forecast(cells: usize, strategies: usize, plan: &Plan, time_max: Duration) -> String {
    let turns = (cells * plan.pairs * strategies) as u64;
    let took = Duration::from_nanos(turns * plan.slice_ns * TURN_RATIO) + CELL_SETUP * cells as u32;
    let text = |time: Duration| match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds.div_ceil(60)),
    };
    let (time, most) = (text(took), text(time_max));
    match plan.messages {
        Some(messages) => format!("{cells} cells, {} pairs, {messages} messages a turn", plan.pairs),
        None => format!("{cells} cells, {} pairs: about {time}, at most {most}", plan.pairs),
    }
}

fn write(args: &Mixed, judged: &[Judged], tables: &str, summary: &Summary) -> Result<(), String> {
    if let Some(file) = &args.svg {
        plot::svg(judged, file)?;
    }
    let Some(folder) = &args.out else { return Ok(()) };
    let at = |path: &Path| format!("{}: ", path.display());
    std::fs::create_dir_all(folder).map_err(|error| at(folder) + &error.to_string())?;
    plot::svg(judged, &folder.join("mixed.svg"))?;
    let command: Vec<String> = std::env::args().skip(1).collect();
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let last = serde_json::to_string(summary).map_err(|error| error.to_string())?;
    let misses = match table::misses(judged) {
        misses if misses.is_empty() => String::new(),
        misses => format!("### Where the sender is dearer\n\n{misses}\n"),
    };
    let text = format!(
        "# What a mixed send costs\n\n`uringspec {}` on Linux {}, {date}: nanoseconds of the sending process a \
         message. How to read it stands in the README.\n\n{tables}\n{misses}```json\n{last}\n```\n",
        command.join(" "),
        summary.kernel
    );
    let file = folder.join("mixed.md");
    std::fs::write(&file, text).map_err(|error| at(&file) + &error.to_string())
}

impl Mixed {
    fn plan(&self) -> Plan {
        let (pairs, slice_ns) = if self.quick { (QUICK_PAIRS, QUICK_SLICE_NS) } else { (PAIRS, SLICE_NS) };
        let cell_ns = if self.quick { QUICK_CELL_NS } else { CELL_NS };
        let messages = self.messages.map(u64::from);
        Plan { pairs: self.pairs.unwrap_or(pairs).into(), slice_ns, messages, cell_ns }
    }

    fn strategies(&self) -> Vec<Strategy> {
        let wanted = |s: &Strategy| {
            *s != Strategy::Sender && (self.strategies.is_empty() || self.strategies.contains(s))
        };
        Strategy::ALL.into_iter().filter(wanted).collect()
    }

    fn time_max(&self) -> Duration {
        match self.minutes {
            Some(minutes) => Duration::from_secs(60 * minutes),
            None if self.quick => QUICK_TIME_MAX,
            None => TIME_MAX,
        }
    }

    fn lanes(&self) -> Vec<Lane> {
        if self.lanes.is_empty() { Lane::ALL.to_vec() } else { self.lanes.clone() }
    }

    fn sizes(&self) -> Vec<Size> {
        let quick = [Size::Bytes(0), Size::Bytes(4096), Size::Bytes(65_536), Size::Mixed];
        match (&self.sizes[..], self.quick) {
            ([], true) => quick.to_vec(),
            ([], false) => SIZES.to_vec(),
            (given, _) => given.to_vec(),
        }
    }

    fn parts(&self) -> Vec<Part> {
        let batches = match (&self.batches[..], self.quick) {
            ([], true) => vec![1, 8],
            ([], false) => BATCHES.to_vec(),
            (given, _) => given.to_vec(),
        };
        let sources = match (&self.sources[..], self.quick) {
            ([], true) => vec![Source::Cached],
            ([], false) => vec![Source::Cached, Source::Beyond],
            (given, _) => given.to_vec(),
        };
        schedule(&self.lanes(), &self.sizes(), &batches, &sources)
    }

    /// What is not measured, in words.
    fn left_out(&self) -> Vec<String> {
        let all = schedule(&Lane::ALL, &SIZES, &BATCHES, &[Source::Cached, Source::Beyond]);
        let count = |parts: &[Part]| parts.iter().map(|part| part.cells.len()).sum::<usize>();
        let mut texts = Vec::new();
        if self.quick {
            let (some, all) = (count(&self.parts()), count(&all));
            texts.push(format!(
                "--quick measures {some} cells of {all}: without sizes between, 32 messages a flush, payloads \
                 beyond the cache, unless they are named"
            ));
        }
        let sizes = self.sizes();
        texts.extend(self.lanes().into_iter().filter_map(|lane| not_carried(lane, &sizes)));
        texts
    }
}
