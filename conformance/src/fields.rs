//! What each field of an entry may hold: a good entry of every operation, and what comes of it when one
//! of its 512 bits is another.

use std::collections::BTreeSet;

use uringspec_model::abi::{name_of, op};
use uringspec_model::memory::{Contents, HexBytes, Protection, Region, WINDOW_BASE};
use uringspec_model::prepare::COVERED;
use uringspec_model::profile::Profile;
use uringspec_model::program::{
    End, Iovec, Lane, Program, Register, RingId, RingSetup, SocketId, SocketKind, SocketSetup, SocketState,
    Step, Until, fd_of,
};
use uringspec_model::simulate::{TooMany, explore};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::What;

/// Bits of an entry.
pub const BITS: u32 = 512;

/// Bytes that a good send hands over.
const LEN_BYTES: u32 = 24;
/// The memory that is sent.
const DATA: u64 = WINDOW_BASE;
const DATA_BYTES: u64 = 1 << 16;
/// A message header, and behind it the iovecs: of data, and of memory for a read.
const HEADER: u64 = WINDOW_BASE + (1 << 20);
const IOVECS: u64 = HEADER + 56;
const SINK_IOVECS: u64 = IOVECS + 16;
/// Memory that a read fills.
const SINK: u64 = WINDOW_BASE + (2 << 20);
/// The user data of what is there to be cancelled.
const TARGET: u64 = 2;
/// States that are walked for one entry.
const STATES_MAX: usize = 100_000;

/// The operations of which a good entry is known.
pub const OPCODES: &[u8] = COVERED;

/// A field of an entry, under the name that it has in the kernel's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The first of its bits in the entry.
    pub first: u32,
    /// How many it has.
    pub bits: u32,
}

/// The fields in their order; together they are the entry.
pub const FIELDS: &[Field] = &[
    field("opcode", 0, 8),
    field("flags", 8, 8),
    field("ioprio", 16, 16),
    field("fd", 32, 32),
    field("off", 64, 64),
    field("addr", 128, 64),
    field("len", 192, 32),
    field("op_flags", 224, 32),
    field("user_data", 256, 64),
    field("buf_index", 320, 16),
    field("personality", 336, 16),
    field("file_index", 352, 32),
    field("addr3", 384, 64),
    field("pad2", 448, 64),
];

const fn field(name: &'static str, first: u32, bits: u32) -> Field {
    Field { name, first, bits }
}

/// What comes of an entry with one bit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The completions that may be posted, in words, one alternative each.
    Posts(Vec<String>),
    /// The model says nothing of it.
    Unclaimed(String),
    /// The bit makes it another operation, which is not to be tried.
    OtherOpcode(&'static str),
}

/// A program whose last entry succeeds, or has one bit changed.
pub fn program(opcode: u8, changed: Option<u32>) -> Program {
    let (before, sqe) = good(opcode);
    let sqe = changed.map_or(sqe, |bit| flipped(&sqe, bit));
    let ring = RingId(0);
    let lane = if opcode == op::ASYNC_CANCEL { Lane::GateFull } else { Lane::Loopback };
    let socket = SocketSetup {
        kind: SocketKind::Tcp4,
        lane,
        state: SocketState::Connected,
        sndbuf_bytes: None,
        rcvbuf_bytes: None,
    };
    let buffers = Register::Buffers(vec![Iovec { addr: DATA, len_bytes: DATA_BYTES }]);
    let mut steps = vec![Step::Register { ring, what: buffers }];
    steps.extend(before.into_iter().map(|sqe| Step::Submit { ring, sqes: vec![sqe] }));
    steps.push(Step::Submit { ring, sqes: vec![sqe] });
    steps.push(if opcode == op::READV { Step::Reap { ring, until: Until::Settled } } else { Step::Settle });
    let region = |name: &str, addr, len_bytes, contents| Region {
        name: name.into(),
        addr,
        len_bytes,
        protection: Protection::ReadWrite,
        contents,
    };
    let headers = headers();
    let mut regions = vec![
        region("K", DATA, DATA_BYTES, Contents::Stamped),
        region("H", HEADER, headers.len() as u64, Contents::Bytes(HexBytes(headers))),
    ];
    if opcode == op::READV {
        regions.push(region("S", SINK, 4096, Contents::Sink));
    }
    Program {
        rings: vec![RingSetup { entries: 8, ..RingSetup::default() }],
        sockets: vec![socket],
        regions,
        steps,
        ..Program::default()
    }
}

/// The operation that a changed bit of the opcode makes of it, if it is one that some kernel has.
pub fn other_opcode(opcode: u8, bit: u32) -> Option<&'static str> {
    let other = opcode ^ 1u8.checked_shl(bit).filter(|_| bit < 8)?;
    name_of(op::NAMES, other)
}

/// What the kernel of `profile` may do with it.
pub fn outcome(opcode: u8, bit: u32, profile: &Profile) -> Result<Outcome, TooMany> {
    if let Some(name) = other_opcode(opcode, bit) {
        return Ok(Outcome::OtherOpcode(name));
    }
    let program = program(opcode, Some(bit));
    let user_data = sqe(&program).user_data;
    let mut posts = BTreeSet::new();
    let explored = explore(&program, profile, STATES_MAX)?;
    if let Some(reason) = explored.unclaimed.first() {
        return Ok(Outcome::Unclaimed(reason.clone()));
    }
    for trace in explored.traces {
        let mine = trace.seen.iter().filter_map(|seen| match &seen.what {
            What::Cqe(taken) if taken.cqe.user_data == user_data => {
                let completion = taken.cqe.completion();
                Some(completion.map_or_else(|| taken.cqe.to_string(), |completion| completion.to_string()))
            }
            _ => None,
        });
        let mine: Vec<String> = mine.collect();
        posts.insert(if mine.is_empty() { "nothing".to_string() } else { mine.join(" then ") });
    }
    Ok(Outcome::Posts(posts.into_iter().collect()))
}

/// The entry that is tried.
fn sqe(program: &Program) -> Sqe {
    let submits = program.steps.iter().rev().find_map(|step| match step {
        Step::Submit { sqes, .. } => sqes.last().copied(),
        _ => None,
    });
    submits.unwrap_or_default()
}

fn flipped(sqe: &Sqe, bit: u32) -> Sqe {
    let mut bytes = sqe.to_bytes();
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    Sqe::from_bytes(&bytes)
}

/// An entry that succeeds, and what has to be submitted before it.
fn good(opcode: u8) -> (Vec<Sqe>, Sqe) {
    let near = fd_of(SocketId(0), End::Near);
    let on = Sqe { opcode, fd: near, user_data: 1, ..Sqe::default() };
    let data = Sqe { addr: DATA, len: LEN_BYTES, ..on };
    match opcode {
        op::SENDMSG | op::SENDMSG_ZC => (Vec::new(), Sqe { addr: HEADER, len: 1, ..on }),
        op::WRITEV => (Vec::new(), Sqe { addr: IOVECS, len: 1, ..on }),
        op::READV => {
            let sent = Sqe { opcode: op::SEND, user_data: TARGET, ..data };
            (vec![sent], Sqe { addr: SINK_IOVECS, len: 1, fd: fd_of(SocketId(0), End::Far), ..on })
        }
        op::ASYNC_CANCEL => {
            let waiting = Sqe { opcode: op::SEND, user_data: TARGET, ..data };
            (vec![waiting], Sqe { addr: TARGET, ..on })
        }
        op::NOP => (Vec::new(), on),
        _ => (Vec::new(), data),
    }
}

/// A message header with one iovec, that iovec, and one of memory for a read.
fn headers() -> Vec<u8> {
    let len = u64::from(LEN_BYTES);
    let words = [0, 0, IOVECS, 1, 0, 0, 0, DATA, len, SINK, len];
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_the_entry() {
        let mut next = 0;
        for field in FIELDS {
            assert_eq!(field.first, next, "{}", field.name);
            next += field.bits;
        }
        assert_eq!(next, BITS);
    }
}
