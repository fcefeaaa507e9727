//! The turns that the ways take.

use std::io;
use std::time::Instant;

use super::calls::Calls;
use super::lane::Road;
use super::ours::Ours;
use super::ring::{BATCH_MAX, Ring};
use super::source::Payloads;
use super::{Cell, Counts, Lane, Series, Strategy, allocations};
use crate::skip::Skip;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Pairs of a strategy and the sender.
    pub pairs: usize,
    /// How long the sender's slice takes, about.
    pub slice_ns: u64,
    /// Or how many messages a slice has, whatever it takes.
    pub messages: Option<u64>,
    /// How long the turns of a cell may take, about; then it has fewer pairs, but `PAIRS_MIN`.
    pub cell_ns: u64,
}

/// Why a cell was not measured.
#[derive(Debug)]
pub enum Failure {
    /// What it needs is not to be had here. Nothing is under way: other cells may be measured.
    Skip(Skip),
    /// It went wrong; whatever was under way still is.
    Broken(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Broken(error)
    }
}

/// An error of what a cell is measured with.
fn of_setup(error: io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => Failure::Skip(Skip::Missing(
            "memory that may be locked, for rings and what is sent from: raise RLIMIT_MEMLOCK (ulimit -l)"
                .into(),
        )),
        // what a ring says that cannot be made here
        _ => error.downcast::<Skip>().map_or_else(Failure::Broken, Failure::Skip),
    }
}

/// A lane that is ready to be measured.
pub struct Bench {
    road: Road,
}

/// All ways in one cell. The ring comes before the sender whose arena it has registered.
struct Ways {
    ring: Ring,
    calls: Calls,
    payloads: Payloads,
    ours: Ours,
    batch: usize,
    /// The next message.
    number: u64,
}

/// The slices that find out how many messages one should have begin with so many flushes.
const TRIAL_FLUSHES: u64 = 4;
/// Fewer pairs say nothing.
const PAIRS_MIN: usize = 3;
/// The sender is warm once it allocates nothing in a slice, or after so many.
const WARMING_MAX: usize = 8;

impl Bench {
    /// Opens a lane: this process is in a network of its own from then on.
    pub fn open(lane: Lane) -> Result<Bench, Skip> {
        let road = Road::open(lane)?;
        allocations::start();
        Ok(Bench { road })
    }

    /// Measures one cell.
    ///
    /// Strategies take turns, in rounds. The sender has a slice at the beginning of a round and one in the
    /// middle; each strategy's is paired with the nearer of them, the sender's own are the pair against
    /// itself. Every other round goes backwards, so that what drifts favours nobody.
    pub fn measure(
        &mut self,
        cell: &Cell,
        strategies: &[Strategy],
        plan: &Plan,
    ) -> Result<Vec<Series>, Failure> {
        if !cell.batch.is_power_of_two() || cell.batch > BATCH_MAX || !cell.lens.len().is_power_of_two() {
            return Err(io::Error::other("the messages of a flush are a power of two, at most 64").into());
        }
        let mut ways = Ways::new(cell, &self.road).map_err(of_setup)?;
        // a slice has whole flushes, and whole rounds of the lengths
        let whole = cell.batch.max(cell.lens.len()) as u64;
        let messages = match plan.messages {
            Some(messages) => messages.next_multiple_of(whole),
            None => ways.messages_of(whole, plan.slice_ns, &mut self.road)?,
        };
        let others: Vec<Strategy> = strategies.iter().copied().filter(|s| *s != Strategy::Sender).collect();
        for strategy in &others {
            ways.slice(*strategy, messages.min(whole * TRIAL_FLUSHES), &mut self.road)?;
        }
        for _ in 0..WARMING_MAX {
            if ways.slice(Strategy::Sender, messages, &mut self.road)?.1.allocations == 0 {
                break;
            }
        }
        ways.forget_counts();
        let series =
            |strategy| Series { strategy, pairs_ns: Vec::new(), messages, counts: Counts::default() };
        let mut own = series(Strategy::Sender);
        let mut all: Vec<Series> = others.iter().map(|strategy| series(*strategy)).collect();
        let half = all.len().div_ceil(2);
        let begun = Instant::now();
        for round in 0..plan.pairs {
            if round >= PAIRS_MIN && begun.elapsed().as_nanos() > u128::from(plan.cell_ns) {
                break;
            }
            let backwards = round % 2 == 1;
            let mut nearer = [0; 2];
            for part in if backwards { [1, 0] } else { [0, 1] } {
                let part_of_all = if part == 0 { 0..half } else { half..all.len() };
                let run = |ways: &mut Ways, series: &mut Series, road: &mut Road| -> io::Result<u64> {
                    let (ns, counts) = ways.slice(series.strategy, messages, road)?;
                    series.counts += counts;
                    Ok(ns)
                };
                nearer[part] = run(&mut ways, &mut own, &mut self.road)?;
                let mut in_turn: Vec<&mut Series> = all[part_of_all].iter_mut().collect();
                if backwards {
                    in_turn.reverse();
                }
                for series in in_turn {
                    let ns = run(&mut ways, series, &mut self.road)?;
                    series.pairs_ns.push((nearer[part], ns));
                }
            }
            own.pairs_ns.push((nearer[0], nearer[1]));
        }
        all.push(own);
        Ok(all)
    }
}

impl Ways {
    fn new(cell: &Cell, road: &Road) -> io::Result<Ways> {
        let mut ours = Ours::new(cell, road)?;
        let payloads = Payloads::lease(cell, ours.sender())?;
        // SAFETY: the arena is the sender's, which is dropped after the ring.
        let ring = unsafe { Ring::new(ours.region()) }?;
        Ok(Ways { ring, calls: Calls::new(), payloads, ours, batch: cell.batch, number: 0 })
    }

    /// How many messages the sender sends in so much time.
    fn messages_of(&mut self, whole: u64, slice_ns: u64, road: &mut Road) -> io::Result<u64> {
        let mut messages = whole * TRIAL_FLUSHES;
        loop {
            let (ns, _) = self.slice(Strategy::Sender, messages, road)?;
            if ns * 4 >= slice_ns {
                return Ok((messages * slice_ns / ns.max(1)).next_multiple_of(whole));
            }
            messages *= 4;
        }
    }

    /// Sends so many messages one way: the time that took, and what was counted.
    fn slice(&mut self, strategy: Strategy, messages: u64, road: &mut Road) -> io::Result<(u64, Counts)> {
        let allocated = allocations::so_far();
        let first = self.number;
        self.number += messages;
        road.clock.start();
        for at in (first..first + messages).step_by(self.batch) {
            match strategy {
                Strategy::Sender => self.ours.flush(road, &self.payloads, at, self.batch)?,
                Strategy::CallSendmsg | Strategy::CallZerocopy => {
                    let zero_copy = strategy == Strategy::CallZerocopy;
                    self.calls.flush(zero_copy, road, &mut self.payloads, at, self.batch)?;
                }
                _ => self.ring.flush(strategy, road, &mut self.payloads, at, self.batch)?,
            }
        }
        match strategy {
            Strategy::Sender => self.ours.settle(road)?,
            Strategy::CallSendmsg | Strategy::CallZerocopy => self.calls.settle(road)?,
            _ => self.ring.settle(road)?,
        }
        road.clock.stop();
        let ns = road.clock.take();
        let allocations = allocations::so_far() - allocated;
        // the next way begins with nothing under way
        road.drain()?;
        road.clock.take();
        let counts = match strategy {
            Strategy::Sender => &mut self.ours.counts,
            Strategy::CallSendmsg | Strategy::CallZerocopy => &mut self.calls.counts,
            _ => &mut self.ring.counts,
        };
        Ok((ns, Counts { allocations, ..std::mem::take(counts) }))
    }

    fn forget_counts(&mut self) {
        (self.ours.counts, self.calls.counts, self.ring.counts) = Default::default();
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        let Counts { messages, enters, sqes, cqes, copied_bytes, .. } = more;
        self.messages += messages;
        self.enters += enters;
        self.sqes += sqes;
        self.cqes += cqes;
        self.copied_bytes += copied_bytes;
        self.notifications += more.notifications;
        self.copied_notifications += more.copied_notifications;
        self.allocations += more.allocations;
    }
}
