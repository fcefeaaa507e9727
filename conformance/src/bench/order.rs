//! What the process of a lane is told, on its command line, and what it tells, a line a cell.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use serde::{Deserialize, Serialize};
use uringspec_real::bench::{Bench, Cell, Counts, Failure, Lane, Plan, Series, Source, Strategy};

use super::plan::Planned;

/// What is to be measured on one lane.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    lane: String,
    cells: Vec<OrderedCell>,
    strategies: Vec<String>,
    pairs: usize,
    slice_ns: u64,
    messages: Option<u64>,
    cell_ns: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct OrderedCell {
    lens: Vec<u32>,
    batch: usize,
    source: String,
}

/// A line of the process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// A cell, by its place in the order, was measured.
    Cell(usize, Vec<ToldSeries>),
    /// What a cell needs is not to be had here.
    Lacking(usize, String),
    /// A cell could not be measured.
    Failed(usize, String),
    /// The lane is not to be had here.
    Skip(String),
}

/// A series as it is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct ToldSeries {
    strategy: String,
    pairs_ns: Vec<(u64, u64)>,
    messages: u64,
    counts: [u64; 8],
}

impl Order {
    /// An order for some cells of one lane.
    pub fn new(lane: Lane, cells: &[Planned], strategies: &[Strategy], plan: &Plan) -> Order {
        let cell = |Planned { cell: Cell { lens, batch, source }, .. }: &Planned| OrderedCell {
            lens: lens.clone(),
            batch: *batch,
            source: source.name().into(),
        };
        Order {
            lane: lane.name().into(),
            cells: cells.iter().map(cell).collect(),
            strategies: strategies.iter().map(|s| s.name().into()).collect(),
            pairs: plan.pairs,
            slice_ns: plan.slice_ns,
            messages: plan.messages,
            cell_ns: plan.cell_ns,
        }
    }

    /// Starts the process, of the program that `command` is; its lines come as they are told.
    pub fn start(&self, command: &mut Command) -> io::Result<(Child, Receiver<Told>)> {
        let order = serde_json::to_string(self)?;
        let mut child = command.arg(order).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("a child without output"))?;
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else { return };
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok((child, told))
    }
}

/// Does what an order says; the process is good for nothing else afterwards.
pub fn serve(order: &str) -> Result<(), String> {
    let order: Order = serde_json::from_str(order).map_err(|error| error.to_string())?;
    let unknown = |what: &str, name: &str| format!("no {what} {name}");
    let lane = Lane::ALL.into_iter().find(|lane| lane.name() == order.lane);
    let lane = lane.ok_or_else(|| unknown("lane", &order.lane))?;
    let mut strategies = Vec::new();
    for name in &order.strategies {
        strategies.push(strategy(name).ok_or_else(|| unknown("strategy", name))?);
    }
    let Order { pairs, slice_ns, messages, cell_ns, .. } = order;
    let plan = Plan { pairs, slice_ns, messages, cell_ns };
    let mut bench = match Bench::open(lane) {
        Ok(bench) => bench,
        Err(skip) => return tell(&Told::Skip(skip.to_string())),
    };
    for (index, OrderedCell { lens, batch, source }) in order.cells.iter().enumerate() {
        let source = source_of(source).ok_or_else(|| unknown("source", source))?;
        let cell = Cell { lens: lens.clone(), batch: *batch, source };
        match bench.measure(&cell, &strategies, &plan) {
            Ok(all) => tell(&Told::Cell(index, all.iter().map(ToldSeries::of).collect()))?,
            Err(Failure::Skip(skip)) => tell(&Told::Lacking(index, skip.to_string()))?,
            // whatever was under way still is, so nothing that follows would be right
            Err(Failure::Broken(error)) => return tell(&Told::Failed(index, error.to_string())),
        }
    }
    Ok(())
}

fn tell(told: &Told) -> Result<(), String> {
    let line = serde_json::to_string(told).map_err(|error| error.to_string())?;
    writeln!(io::stdout(), "{line}").map_err(|error| error.to_string())
}

fn strategy(name: &str) -> Option<Strategy> {
    Strategy::ALL.into_iter().find(|strategy| strategy.name() == name)
}

fn source_of(name: &str) -> Option<Source> {
    [Source::Cached, Source::Beyond].into_iter().find(|source| source.name() == name)
}

impl ToldSeries {
    fn of(series: &Series) -> ToldSeries {
        let Counts { messages, enters, sqes, cqes, copied_bytes, .. } = series.counts;
        let Counts { notifications, copied_notifications, allocations, .. } = series.counts;
        ToldSeries {
            strategy: series.strategy.name().into(),
            pairs_ns: series.pairs_ns.clone(),
            messages: series.messages,
            counts: [
                messages,
                enters,
                sqes,
                cqes,
                copied_bytes,
                notifications,
                copied_notifications,
                allocations,
            ],
        }
    }

    /// The series that was told, if it is one.
    pub fn series(self) -> Option<Series> {
        let [messages, enters, sqes, cqes, copied_bytes, notifications, copied_notifications, allocations] =
            self.counts;
        let counts = Counts {
            messages,
            enters,
            sqes,
            cqes,
            copied_bytes,
            notifications,
            copied_notifications,
            allocations,
        };
        let strategy = strategy(&self.strategy)?;
        Some(Series { strategy, pairs_ns: self.pairs_ns, messages: self.messages, counts })
    }
}
