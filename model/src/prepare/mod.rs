//! Preparing an entry: what is refused before anything is tried.
//!
//! Every check that applies is made and all errnos are allowed, since their order is no promise.
//! Whether a zero-copy request has a notification is one: it has if preparation came as far as
//! allocating it.
//!
//! Source: `io_init_req` in `io_uring/io_uring.c`; `io_sendmsg_prep`, `io_send_zc_prep` in
//! `io_uring/net.c`, 6.18.

mod cancel;
mod element;
mod message;
mod read;
mod rw;
mod send;
mod write;

use crate::abi::{self, errno, nop_flag, op, sqe_flag};
use crate::cqe::Errno;
use crate::notice::Notice;
use crate::profile::{KernelVersion, Profile};
use crate::rules::Rule;
use crate::space::UserMemory;
use crate::sqe::Sqe;

/// The operations that the model covers.
pub const COVERED: &[u8] = &[
    op::NOP,
    op::SEND,
    op::SENDMSG,
    op::SEND_ZC,
    op::SENDMSG_ZC,
    op::WRITE,
    op::WRITEV,
    op::WRITE_FIXED,
    op::READV,
    op::ASYNC_CANCEL,
];

/// What preparing an entry came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// It is refused.
    Refused {
        /// By one of these.
        errors: Vec<(Errno, Rule)>,
        /// The notice that was allocated all the same.
        notice: Option<Notice>,
    },
    /// It can be tried.
    Ready(Plan),
    /// The model does not cover it.
    NotModelled(String),
}

/// What a prepared request will do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plan {
    /// Nothing.
    Nop,
    /// Send bytes.
    Send(SendPlan),
    /// Read bytes.
    Read(ReadPlan),
    /// Cancel the request whose completions carry this user data.
    Cancel {
        /// The user data.
        target: u64,
    },
    /// Cancel what is like this.
    Seek(Seek),
}

/// What becomes of a send that was not taken whole by its first try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// What was taken is the result; where nothing was, it waits and is tried again.
    UntilSome,
    /// It is tried again until all is taken (`MSG_WAITALL`).
    UntilAll,
    /// What was taken is the result; where nothing was, that is `EAGAIN` (`MSG_DONTWAIT`).
    Never,
}

/// A send, before its descriptor and its registered buffer are looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SendPlan {
    /// The descriptor, or the index of a registered file.
    pub fd: i32,
    /// `IOSQE_FIXED_FILE`.
    pub fixed_file: bool,
    /// Addresses and lengths, in the order of the stream.
    pub ranges: Vec<(u64, u64)>,
    /// The registered buffer in which all of them must lie.
    pub fixed: Option<u16>,
    /// The notice of a zero-copy send.
    pub notice: Option<Notice>,
    /// What becomes of it where there is no room.
    pub retry: Retry,
    /// A count below what was asked is a failure for its chain.
    pub short_is_failure: bool,
    /// The first try waits until the socket says that it can be written (`POLL_FIRST`).
    pub poll_first: bool,
    /// `MSG_MORE`: what is taken need not leave yet.
    pub corks: bool,
    /// Why it is refused once its file was found, whatever the socket.
    pub refused: Option<Refusal>,
    /// What it says that is only known of some sockets.
    pub beyond: Option<Beyond>,
    /// It came by a write, which anything but a socket takes too.
    pub is_write: bool,
    /// Its control data are too long, which shows when it is tried.
    pub long_control: bool,
    /// Its ranges are elements of a vector.
    pub is_vector: bool,
    /// Its registered vector is looked up before anything is asked of the socket (`io_sendmsg_zc`).
    pub imports_first: bool,
    /// What each of the ranges says of itself, in a mixed send; otherwise empty.
    pub elements: Vec<Element>,
}

pub use cancel::Seek;
pub use element::Element;

/// An error and the rule that it follows.
pub type Refusal = (Errno, Rule);

/// What a send says that is only known of some sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beyond {
    /// Flags that TCP does not look at.
    Flags,
    /// `MSG_FASTOPEN`.
    FastOpen,
    /// A destination address without bytes.
    EmptyName,
}

/// A read, before its descriptor is looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadPlan {
    /// The descriptor, or the index of a registered file.
    pub fd: i32,
    /// `IOSQE_FIXED_FILE`.
    pub fixed_file: bool,
    /// Addresses and lengths, in the order in which they are filled.
    pub ranges: Vec<(u64, u64)>,
    /// Why it is refused once its file was found, whatever the socket.
    pub refused: Option<Refusal>,
}

impl ReadPlan {
    /// Bytes of all ranges.
    pub fn len_bytes(&self) -> u64 {
        self.ranges.iter().map(|(_, len)| *len).fold(0, u64::saturating_add)
    }
}

impl SendPlan {
    /// Bytes of all ranges.
    pub fn len_bytes(&self) -> u64 {
        self.ranges.iter().map(|(_, len)| *len).fold(0, u64::saturating_add)
    }
}

/// Collects the errors that apply.
#[derive(Default)]
struct Errors(Vec<(Errno, Rule)>);

impl Errors {
    fn refuse_if(&mut self, wrong: bool, number: u16, rule: Rule) {
        if wrong && !self.0.contains(&(Errno(number), rule)) {
            self.0.push((Errno(number), rule));
        }
    }
}

/// Prepares `sqe` with the memory as it is now.
pub fn prepare(sqe: &Sqe, profile: &Profile, memory: &impl UserMemory) -> Prepared {
    let mut errors = Errors::default();
    let known = sqe.opcode < profile.opcodes;
    errors.refuse_if(!known, errno::EINVAL, Rule::SqeOpcodeKnown);
    errors.refuse_if(sqe.flags & 0x80 != 0, errno::EINVAL, Rule::SqeFlagsKnown);
    errors.refuse_if(sqe.personality != 0, errno::EINVAL, Rule::SqePersonalityRegistered);
    if known {
        errors.refuse_if(selects_in_vain(sqe), errno::EOPNOTSUPP, Rule::SqeSelectSupported);
        let ioprio_refused = sqe.ioprio != 0 && matches!(sqe.opcode, op::NOP | op::ASYNC_CANCEL);
        errors.refuse_if(ioprio_refused, errno::EINVAL, Rule::SqeIoprioRefused);
    }
    if !errors.0.is_empty() {
        return Prepared::Refused { errors: errors.0, notice: None };
    }
    if sqe.flags & sqe_flag::DRAIN != 0 && profile.version < KernelVersion(6, 16, 0) {
        return Prepared::NotModelled("DRAIN before 6.16".into());
    }
    if sqe.flags & sqe_flag::BUFFER_SELECT != 0 && profile.version < KernelVersion(6, 18, 0) {
        return Prepared::NotModelled("BUFFER_SELECT before 6.18".into());
    }
    match sqe.opcode {
        op::NOP => prepare_nop(sqe, profile),
        op::SEND | op::SENDMSG | op::SEND_ZC | op::SENDMSG_ZC => send::prepare_send(sqe, profile, memory),
        op::WRITE | op::WRITEV | op::WRITE_FIXED => write::prepare_write(sqe, profile, memory),
        op::READV => read::prepare_read(sqe, profile, memory),
        op::ASYNC_CANCEL => cancel::prepare_cancel(sqe, profile),
        other => Prepared::NotModelled(match abi::name_of(op::NAMES, other) {
            Some(name) => format!("opcode {name}"),
            None => format!("opcode {other}"),
        }),
    }
}

/// What becomes of an entry on a ring with `IOPOLL`, where nobody could be told that a socket has room: sends and cancels
/// are refused before their opcode looks at them, and reads and writes once their file was found.
pub(crate) fn polled(sqe: &Sqe, prepared: Prepared) -> Prepared {
    if matches!(sqe.opcode, op::SEND | op::SENDMSG | op::SEND_ZC | op::SENDMSG_ZC | op::ASYNC_CANCEL) {
        let mut errors = match prepared {
            Prepared::Refused { errors, notice: None } => errors,
            _ => Vec::new(),
        };
        errors.push((Errno(errno::EINVAL), Rule::RingIopollRefuses));
        return Prepared::Refused { errors, notice: None };
    }
    let refused = Some((Errno(errno::EOPNOTSUPP), Rule::RingIopollSockets));
    match prepared {
        Prepared::Ready(Plan::Send(_) | Plan::Read(_)) if sqe.op_flags != 0 || sqe.pad2 != 0 => {
            Prepared::NotModelled("flags of a read or write on a ring that polls".into())
        }
        Prepared::Ready(Plan::Send(plan)) => Prepared::Ready(Plan::Send(SendPlan { refused, ..plan })),
        Prepared::Ready(Plan::Read(plan)) => Prepared::Ready(Plan::Read(ReadPlan { refused, ..plan })),
        other => other,
    }
}

fn selects_in_vain(sqe: &Sqe) -> bool {
    let can_select = matches!(sqe.opcode, op::SEND | op::READ | op::READV | op::RECV | op::RECVMSG);
    sqe.flags & sqe_flag::BUFFER_SELECT != 0 && !can_select
}

/// Whether preparing an entry comes as far as what its flags say of the ring.
pub(crate) fn reads_flags(sqe: &Sqe, profile: &Profile) -> bool {
    sqe.opcode < profile.opcodes && sqe.flags & 0x80 == 0 && !selects_in_vain(sqe)
}

/// `io_nop_prep` and `io_nop` in `io_uring/nop.c`; flags are known since 6.11.
fn prepare_nop(sqe: &Sqe, profile: &Profile) -> Prepared {
    if sqe.op_flags == 0 {
        return Prepared::Ready(Plan::Nop);
    }
    if profile.version < KernelVersion(6, 18, 0) {
        return Prepared::NotModelled("NOP with flags before 6.18".into());
    }
    let known = nop_flag::NAMES.iter().fold(0, |all, (_, bit)| all | bit);
    // the last of them needs entries of 32 bytes, which no ring here has
    if sqe.op_flags & (!known | nop_flag::CQE32) != 0 {
        let errors = vec![(Errno(errno::EINVAL), Rule::NopFlagsKnown)];
        return Prepared::Refused { errors, notice: None };
    }
    let acts = sqe.op_flags & (nop_flag::FILE | nop_flag::FIXED_BUFFER | nop_flag::TW);
    let injects = sqe.op_flags & nop_flag::INJECT_RESULT != 0 && sqe.len != 0;
    if acts != 0 || injects {
        return Prepared::NotModelled(format!("NOP with {}", abi::flag_names(nop_flag::NAMES, sqe.op_flags)));
    }
    Prepared::Ready(Plan::Nop)
}
