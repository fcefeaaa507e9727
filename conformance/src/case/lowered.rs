//! A case as programs, each with what is expected of its steps.

use uringspec_model::memory::RegionId;
use uringspec_model::program::{Program, SocketId, SocketKind, Step as Do};
use uringspec_model::trace::Words;

use super::names::Names;
use super::{Expect, Mode, ResPattern, Upto};

/// A case on one kind of ring.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The kind of ring.
    pub mode: Mode,
    /// What is done.
    pub program: Program,
    /// The line of each step in the case.
    pub lines: Vec<u32>,
    /// What is expected, in the order of the steps.
    pub expectations: Vec<Expectation>,
    /// The names of the case.
    pub names: Names,
}

/// What is expected of one step.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The index in `Program::steps`.
    pub step: u32,
    /// The line in the case.
    pub line: u32,
    /// What.
    pub what: Expected,
}

/// What is expected.
#[derive(Clone, Debug)]
pub enum Expected {
    /// The return value of the system call.
    Returned(i64),
    /// Whether the ring says that completions wait outside its queue.
    Overflow(bool),
    /// What the ring says of itself.
    Words(Words),
    /// Completions.
    Completions(Expect),
    /// Bytes at the peer, in alternatives.
    Arrivals(Vec<PlacedArrival>),
    /// Bytes that leave again.
    Resent(PlacedArrival),
}

/// An alternative of what a peer got.
#[derive(Clone, Debug)]
pub struct PlacedArrival {
    /// The bytes, in the parts in which they come.
    pub parts: Vec<Vec<PlacedPiece>>,
    /// The result of a request for which this stands.
    pub given: Option<(u64, ResPattern)>,
    /// The alternative in the words of the case.
    pub words: String,
}

/// A `Piece` whose buffer is known.
#[derive(Clone, Copy, Debug)]
pub struct PlacedPiece {
    /// The buffer.
    pub region: RegionId,
    /// How often it had been rewritten.
    pub generation: u16,
    /// The first byte.
    pub from: u64,
    /// The byte behind the last.
    pub to: Upto,
}

impl Lowered {
    /// The line of a step in the case.
    pub fn line_of(&self, step: u32) -> u32 {
        self.lines.get(step as usize).copied().unwrap_or(0)
    }

    /// The `received` line that speaks of what the peer of `socket` reads in `step`: the next one.
    pub fn received_at(&self, socket: SocketId, step: u32) -> Option<u32> {
        let drains = |s: u32| matches!(self.program.steps.get(s as usize), Some(Do::Drain { socket: drained, .. }) if *drained == socket);
        let lines = self.expectations.iter().filter(|e| matches!(e.what, Expected::Arrivals(_)));
        lines.map(|e| e.step).find(|s| *s >= step && drains(*s))
    }

    /// Whether what the peer of a socket reads comes in datagrams.
    pub fn is_datagram(&self, socket: SocketId) -> bool {
        let kind = self.program.sockets.get(usize::from(socket.0)).map(|s| s.kind);
        matches!(kind, Some(SocketKind::Udp4 | SocketKind::Udp6))
    }

    /// Whether a step is a `settle`.
    pub fn settles_at(&self, step: u32) -> bool {
        matches!(self.program.steps.get(step as usize), Some(Do::Settle))
    }
}
