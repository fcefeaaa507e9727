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
    /// How long the sender's turn takes, about.
    pub slice_ns: u64,
    /// Or how many messages a turn has, whatever it takes.
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

/// One turn of a way.
#[derive(Clone, Copy)]
struct Turn {
    /// Messages that are sent before, so that what the way uses is in the cache again.
    warming: u64,
    /// Messages that are timed.
    messages: u64,
}

/// The turns that find out how many messages one should have begin with so many flushes.
const TRIAL_FLUSHES: u64 = 4;
/// Before a turn one of so many of its messages are sent.
const WARMING_SHARE: u64 = 4;
/// Fewer pairs say nothing.
const PAIRS_MIN: usize = 3;
/// The sender is warm once it allocates nothing in a turn, or after so many.
const WARMING_MAX: usize = 8;

impl Bench {
    /// Opens a lane: this process is in a network of its own from then on.
    pub fn open(lane: Lane) -> Result<Bench, Skip> {
        Ok(Bench { road: Road::open(lane)? })
    }

    /// Measures one cell.
    ///
    /// Strategies take turns, in rounds, and the sender has a turn between each two of them. A strategy's turn is
    /// paired with the mean of the sender's turns before and after it, so what drifts favours nobody; so is one
    /// turn of the sender in each round, which is the pair against itself. Every other round goes backwards.
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
        // a turn has whole flushes, and whole rounds of the lengths
        let whole = cell.batch.max(cell.lens.len()) as u64;
        let messages = match plan.messages {
            Some(messages) => messages.next_multiple_of(whole),
            None => ways.messages_of(whole, plan.slice_ns, &mut self.road)?,
        };
        let turn = Turn { warming: (messages / WARMING_SHARE).next_multiple_of(whole), messages };
        let series =
            |strategy| Series { strategy, pairs_ns: Vec::new(), messages, counts: Counts::default() };
        let mut all: Vec<Series> =
            strategies.iter().copied().filter(|s| *s != Strategy::Sender).map(series).collect();
        for Series { strategy, .. } in &all {
            let trial = Turn { warming: 0, messages: messages.min(whole * TRIAL_FLUSHES) };
            ways.turn(*strategy, trial, &mut self.road)?;
        }
        for _ in 0..WARMING_MAX {
            if ways.turn(Strategy::Sender, turn, &mut self.road)?.1.allocations == 0 {
                break;
            }
        }
        ways.forget_counts();
        all.push(series(Strategy::Sender));
        let mut between = Counts::default();
        let (mut before, counts) = ways.turn(Strategy::Sender, turn, &mut self.road)?;
        between += counts;
        let begun = Instant::now();
        for round in 0..plan.pairs {
            if round >= PAIRS_MIN && begun.elapsed().as_nanos() > u128::from(plan.cell_ns) {
                break;
            }
            for place in 0..all.len() {
                let place = if round % 2 == 0 { place } else { all.len() - 1 - place };
                let (ns, counts) = ways.turn(all[place].strategy, turn, &mut self.road)?;
                all[place].counts += counts;
                let (after, counts) = ways.turn(Strategy::Sender, turn, &mut self.road)?;
                between += counts;
                all[place].pairs_ns.push((before.midpoint(after), ns));
                before = after;
            }
        }
        if let Some(own) = all.last_mut() {
            own.counts += between;
        }
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
            let (ns, _) = self.turn(Strategy::Sender, Turn { warming: 0, messages }, road)?;
            if ns * 4 >= slice_ns {
                return Ok((messages * slice_ns / ns.max(1)).next_multiple_of(whole));
            }
            messages *= 4;
        }
    }

    /// Sends one way: the time that the messages took, and what was counted, those before it as well.
    fn turn(&mut self, strategy: Strategy, turn: Turn, road: &mut Road) -> io::Result<(u64, Counts)> {
        let allocated = allocations::so_far();
        road.clock.start();
        self.send(strategy, turn.warming, road)?;
        road.clock.stop();
        road.clock.take();
        road.clock.start();
        self.send(strategy, turn.messages, road)?;
        road.clock.stop();
        let ns = road.clock.take();
        let allocations = allocations::so_far() - allocated;
        // the next way begins with nothing under way
        road.drain()?;
        road.clock.stop();
        road.clock.take();
        let counts = match strategy {
            Strategy::Sender => &mut self.ours.counts,
            Strategy::CallSendmsg | Strategy::CallZerocopy => &mut self.calls.counts,
            _ => &mut self.ring.counts,
        };
        Ok((ns, Counts { allocations, ..std::mem::take(counts) }))
    }

    /// Sends so many messages one way, and waits until nothing is owed for them.
    fn send(&mut self, strategy: Strategy, messages: u64, road: &mut Road) -> io::Result<()> {
        let first = self.number;
        self.number += messages;
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
            Strategy::Sender => self.ours.settle(road),
            Strategy::CallSendmsg | Strategy::CallZerocopy => self.calls.settle(road),
            _ => self.ring.settle(road),
        }
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
