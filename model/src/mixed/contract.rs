//! What mixed sends promise, as a relation over programs and what was seen of them.
//!
//! It looks at the outside only: entries that were taken, completions, what the caller wrote when, and
//! the bytes that a peer read. How a send was made plays no part, so the same relation judges the
//! proposal and every lowering.
//!
//! Errs on the side of allowing: it promises nothing of room, of when bytes leave, or of the order of
//! sends that are on their way together.

use std::collections::BTreeSet;

use super::entry::{self, NotMixed};
use super::judge;
use super::{Memory, MixedSend, Transfer};
use crate::abi::{msg, op, sqe_flag};
use crate::buffers::{Budget, Buffers};
use crate::fragments;
use crate::memory::{Generation, RegionId};
use crate::net::{UDP4_LONGEST, UDP6_LONGEST};
use crate::program::{
    End, Lane, Program, Register, RingId, SocketId, SocketKind, SocketState, Step, socket_of,
};
use crate::rules::Rule;
use crate::space::{Space, UserMemory};
use crate::sqe::Sqe;
use crate::trace::Trace;

/// A program with mixed sends, read for judging.
#[derive(Clone, Debug)]
pub struct Contract<'a> {
    pub(super) program: &'a Program,
    pub(super) requests: Vec<Request>,
    /// The requests of each step that submits.
    pub(super) submitted: Vec<Vec<usize>>,
    /// How often each region was rewritten, once a step has begun.
    pub(super) generations: Vec<Vec<Generation>>,
    /// A rule that refuses nothing, for tests.
    off: Option<Rule>,
}

/// One entry that the program submits.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) ring: RingId,
    pub(super) user_data: u64,
    pub(super) what: Kind,
    /// The entry before it, if that is linked to it.
    pub(super) before: Option<usize>,
    /// The entries of its chain, itself included.
    pub(super) chain: BTreeSet<usize>,
    pub(super) hard: bool,
}

/// What an entry asks for.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Send(Send),
    Cancel(u64),
    /// Anything that sends nothing.
    Other,
}

/// A mixed send, or a plain one: a mixed send of one copied segment.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub(super) socket: Option<SocketId>,
    pub(super) pieces: Vec<Piece>,
    pub(super) len_bytes: u64,
    pub(super) lends_from: Option<u64>,
    pub(super) reports: bool,
    pub(super) waits_for_all: bool,
    pub(super) never_waits: bool,
    /// It cannot be meant.
    pub(super) is_refused: bool,
    /// A segment is not inside the buffer that it names.
    pub(super) is_outside: bool,
    /// Its memory ends after so many bytes.
    pub(super) readable_bytes: u64,
    /// It lends memory that is charged to its user.
    pub(super) is_charged: bool,
    /// What it lends has more fragments than a datagram.
    pub(super) is_scattered: bool,
}

/// Bytes that lie side by side in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// `None`: zeros behind a region.
    pub(super) region: Option<RegionId>,
    pub(super) offset: u64,
    pub(super) len_bytes: u64,
    pub(super) lent: bool,
}

/// What the contract does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The index in `Trace::seen`; its length if something is missing in the end.
    pub at: u32,
    /// The rule.
    pub rule: Rule,
    /// What was seen, in words.
    pub got: String,
}

impl<'a> Contract<'a> {
    /// Reads a program. The error says what is in it that the contract does not cover.
    pub fn of(program: &'a Program) -> Result<Contract<'a>, String> {
        let mut contract = Contract {
            program,
            requests: Vec::new(),
            submitted: vec![Vec::new(); program.steps.len()],
            generations: Vec::with_capacity(program.steps.len()),
            off: None,
        };
        let mut generations = vec![Generation(0); program.regions.len()];
        let mut tables = vec![Buffers::default(); program.rings.len()];
        for (index, step) in program.steps.iter().enumerate() {
            match step {
                Step::Rewrite { region } => {
                    if let Some(generation) = generations.get_mut(usize::from(region.0)) {
                        generation.0 = generation.0.saturating_add(1);
                    }
                }
                Step::Register { ring, what } => {
                    if let Some(table) = tables.get_mut(usize::from(ring.0)) {
                        contract.change(table, what);
                    }
                }
                Step::Submit { ring, sqes } => {
                    let Some(table) = tables.get(usize::from(ring.0)) else { continue };
                    contract.add(index, *ring, sqes, table)?;
                }
                _ => {}
            }
            contract.generations.push(generations.clone());
        }
        let mut known = BTreeSet::new();
        match contract.requests.iter().find(|r| !known.insert((r.ring, r.user_data))) {
            Some(twice) => Err(format!("two entries with user data {}", twice.user_data)),
            None => Ok(contract),
        }
    }

    /// Whether what was seen is allowed; otherwise the first promise that it breaks.
    pub fn judge(&self, trace: &Trace) -> Result<(), Broken> {
        judge::judge(self, trace)
    }

    /// The same contract with a rule that refuses nothing; for tests.
    #[doc(hidden)]
    pub fn without(mut self, rule: Rule) -> Contract<'a> {
        self.off = Some(rule);
        self
    }

    /// The rule refuses what does not hold.
    pub(super) fn hold(&self, holds: bool, at: usize, rule: Rule, got: &str) -> Result<(), Broken> {
        if holds || self.off == Some(rule) {
            return Ok(());
        }
        Err(Broken { at: at as u32, rule, got: got.to_string() })
    }

    fn space(&self) -> Space<'a> {
        Space { regions: &self.program.regions, generations: &[] }
    }

    fn change(&self, table: &mut Buffers, what: &Register) {
        let (space, budget) = (self.space(), Budget::default());
        // what a call that fails returns is judged elsewhere; here the table stays as it was
        let _ = match what {
            Register::Buffers(iovecs) => table.register(iovecs, space, budget),
            Register::SparseBuffers(count) => table.register_sparse(*count),
            Register::UpdateBuffers { offset, iovecs } => {
                table.update(*offset, iovecs, space, budget).map(|_| ())
            }
            Register::UnregisterBuffers => table.unregister(),
            Register::Files(_)
            | Register::UnregisterFiles
            | Register::Enable
            | Register::Restrict(_)
            | Register::Cancel(_) => Ok(()),
        };
    }

    fn add(&mut self, step: usize, ring: RingId, sqes: &[Sqe], table: &Buffers) -> Result<(), String> {
        let mut chain: Vec<usize> = Vec::new();
        for sqe in sqes {
            let index = self.requests.len();
            let what = self.kind(sqe, table)?;
            chain.push(index);
            self.requests.push(Request {
                ring,
                user_data: sqe.user_data,
                what,
                before: chain.len().checked_sub(2).map(|last| chain[last]),
                chain: BTreeSet::new(),
                hard: sqe.flags & sqe_flag::HARDLINK != 0,
            });
            self.submitted[step].push(index);
            for member in &chain {
                self.requests[*member].chain = chain.iter().copied().collect();
            }
            if !sqe.links() {
                chain.clear();
            }
        }
        Ok(())
    }

    fn kind(&self, sqe: &Sqe, table: &Buffers) -> Result<Kind, String> {
        let plain = |segments| MixedSend {
            fd: sqe.fd,
            flags: sqe.flags,
            msg: sqe.op_flags,
            segments,
            ..MixedSend::default()
        };
        match entry::read(sqe, &self.space()) {
            Ok(send) => return Ok(Kind::Send(self.send(&send, table))),
            Err(NotMixed::Refused) => {
                let nothing = self.send(&plain(Vec::new()), table);
                return Ok(Kind::Send(Send { is_refused: true, ..nothing }));
            }
            Err(NotMixed::Another) => {}
        }
        match sqe.opcode {
            op::NOP => Ok(Kind::Other),
            op::ASYNC_CANCEL if sqe.op_flags == 0 => Ok(Kind::Cancel(sqe.addr)),
            op::SEND if sqe.ioprio == 0 => {
                let segment = super::Segment {
                    addr: sqe.addr,
                    len_bytes: sqe.len,
                    memory: Memory::Plain,
                    transfer: Transfer::Copy,
                };
                Ok(Kind::Send(self.send(&plain(vec![segment]), table)))
            }
            opcode => Err(format!("opcode {opcode} beside mixed sends")),
        }
    }

    fn send(&self, send: &MixedSend, table: &Buffers) -> Send {
        let space = self.space();
        let (mut pieces, mut readable_bytes, mut whole) = (Vec::new(), 0, true);
        let mut is_outside = false;
        for segment in send.filled() {
            let (addr, len) = (segment.addr, u64::from(segment.len_bytes));
            let lent = segment.transfer == Transfer::ZeroCopy;
            let mut found = Vec::new();
            space.segments(addr, len, &mut found);
            pieces.extend(found.iter().map(|s| Piece {
                region: s.region,
                offset: s.offset,
                len_bytes: s.len_bytes,
                lent,
            }));
            let prefix = space.readable_prefix(addr, len);
            if whole {
                readable_bytes += prefix;
            }
            whole &= prefix == len;
            if let Memory::Registered(index) = segment.memory {
                is_outside |= table.check(index, addr, len, false).is_err();
            }
        }
        let near = socket_of(send.fd).filter(|(_, end)| *end == End::Near).map(|(socket, _)| socket);
        let known = near.filter(|socket| usize::from(socket.0) < self.program.sockets.len());
        Send {
            socket: known.filter(|_| send.flags & sqe_flag::FIXED_FILE == 0),
            len_bytes: send.len_bytes(),
            lends_from: send.lends_from(),
            reports: send.reports,
            waits_for_all: send.waits_for_all(),
            never_waits: send.msg & msg::DONTWAIT != 0,
            is_refused: false,
            is_outside,
            readable_bytes,
            is_charged: send.lent().any(|s| s.memory == Memory::Plain),
            is_scattered: !fragments::fit_one_packet(send.lent().map(super::Segment::piece)),
            pieces,
        }
    }

    /// The kind of a socket and whether it has a peer.
    pub(super) fn socket(&self, socket: SocketId) -> Option<(SocketKind, bool)> {
        let setup = self.program.sockets.get(usize::from(socket.0))?;
        Some((setup.kind, setup.state == SocketState::Connected))
    }

    /// Whether the peer of a socket does what it is told, and acknowledges what it has had.
    pub(super) fn is_declared(&self, socket: SocketId) -> bool {
        self.lane(socket).is_some_and(Lane::is_declared)
    }

    /// The path of a socket.
    pub(super) fn lane(&self, socket: SocketId) -> Option<Lane> {
        self.program.sockets.get(usize::from(socket.0)).map(|setup| setup.lane)
    }

    /// Whether a socket keeps what was sent together.
    pub(super) fn is_datagram(&self, socket: SocketId) -> bool {
        matches!(self.socket(socket), Some((SocketKind::Udp4 | SocketKind::Udp6, _)))
    }

    /// The most bytes of a datagram on this socket; on a stream any number.
    pub(super) fn longest(&self, socket: SocketId) -> u64 {
        match self.socket(socket) {
            Some((SocketKind::Udp4, _)) => UDP4_LONGEST,
            Some((SocketKind::Udp6, _)) => UDP6_LONGEST,
            _ => u64::MAX,
        }
    }
}
