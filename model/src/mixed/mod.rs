//! The mixed vectored send: headers copied, payloads zero-copied, registered memory used where it is,
//! as one operation with one result and one notification.
//!
//! No kernel has it. What it promises is `contract`, which judges what was seen of mixed sends and
//! knows nothing of how they were made. Two things keep it: a kernel that takes the `entry` of the
//! proposal (`Profile::proposal`, which the rest of the model plays), and a `lowering` to what kernels
//! have, whose trace is read through a `view`. `PROPOSAL.md` beside this file tells it to a reader.
//!
//! * `entry`: a mixed send as the proposal writes it into an `Sqe`, and back;
//! * `contract`, `judge` and `arrival`: the rules `mixed.*`, as one relation over programs and traces;
//! * `lowering` and `plan`: the ways to make one from what kernels have, where each exists, and the entries
//!   and copies that it comes to, with their cost;
//! * `program`: all mixed sends of a program, lowered; `view`: its trace, read as theirs;
//! * `flush`: a sequence of mixed sends made by one;
//! * `choose`: which lowering a server would take, by size.

mod arrival;
pub mod choose;
pub mod contract;
pub mod entry;
pub mod flush;
mod judge;
pub mod lowering;
pub mod plan;
pub mod program;
pub mod view;

use crate::abi::msg;
use crate::fragments::Piece;

/// A send of several segments, each copied or lent, from plain or registered memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MixedSend {
    /// What its completions carry.
    pub user_data: u64,
    /// The descriptor, or the index of a registered file.
    pub fd: i32,
    /// `abi::sqe_flag` bits: a member of a chain, a registered file, another thread.
    pub flags: u8,
    /// `abi::msg` bits.
    pub msg: u32,
    /// Whether the notification is to say if bytes were copied.
    pub reports: bool,
    /// What is sent, in order.
    pub segments: Vec<Segment>,
}

/// A piece of memory and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// First byte.
    pub addr: u64,
    /// Bytes.
    pub len_bytes: u32,
    /// Whose memory it is.
    pub memory: Memory,
    /// What becomes of it.
    pub transfer: Transfer,
}

/// Whose memory a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Memory {
    /// Anything that can be read.
    Plain,
    /// A range of the registered buffer with this index.
    Registered(u16),
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transfer {
    /// It is copied, and the caller's again at the result at the latest.
    Copy,
    /// It is lent until the notification.
    ZeroCopy,
}

impl Segment {
    /// Its bytes, if they are lent.
    pub(crate) fn piece(&self) -> Piece {
        let registered = self.memory != Memory::Plain;
        Piece { addr: self.addr, len_bytes: self.len_bytes.into(), registered }
    }
}

impl MixedSend {
    /// Bytes of all segments.
    pub fn len_bytes(&self) -> u64 {
        self.segments.iter().map(|s| u64::from(s.len_bytes)).sum()
    }

    /// Bytes that are copied.
    pub fn copied_bytes(&self) -> u64 {
        self.copied().map(|s| u64::from(s.len_bytes)).sum()
    }

    /// Bytes before the first that is lent, if any is.
    pub fn lends_from(&self) -> Option<u64> {
        let first = self.segments.iter().position(|s| s.len_bytes > 0 && s.transfer == Transfer::ZeroCopy)?;
        Some(self.segments[..first].iter().map(|s| u64::from(s.len_bytes)).sum())
    }

    /// The segments with bytes, in order.
    pub fn filled(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.len_bytes > 0)
    }

    /// The segments with bytes that are copied.
    pub fn copied(&self) -> impl Iterator<Item = &Segment> {
        self.filled().filter(|s| s.transfer == Transfer::Copy)
    }

    /// The segments with bytes that are lent.
    pub fn lent(&self) -> impl Iterator<Item = &Segment> {
        self.filled().filter(|s| s.transfer == Transfer::ZeroCopy)
    }

    /// A short count is a failure for its chain, and is tried again.
    pub fn waits_for_all(&self) -> bool {
        self.msg & msg::WAITALL != 0
    }
}
