//! What a mixed send costs on this kernel: the `Sender` in turns with other ways to send the same messages.
//!
//! A message is a header of `HEADER_BYTES` and a payload. Some messages are a flush: on a stream they are
//! gathered, as one request where the way has requests of many pieces; on a datagram socket they are handed
//! over in one call. What is measured is the processor time of this process. Whoever reads or acknowledges
//! is a process of its own, on another processor, and while too much is on its way to it the clock stands
//! still, so no way is charged for a peer that is slow.
//!
//! * `lane` is the socket and its peer (`peer`, which tells by `progress` how far it is), `clock` the time;
//! * `source` is the memory that all ways send from, `ring` the ways of a ring, `calls` those of system
//!   calls, `ours` the sender;
//! * `cell` lets them take turns; `allocations` counts.
//!
//! It changes the process that calls it: call it from one that has done nothing else and has one thread.

mod allocations;
mod calls;
mod cell;
mod clock;
mod lane;
mod ours;
mod ring;
mod source;

pub use allocations::Counting;
pub use cell::{Bench, Failure, Plan};

/// Bytes of a message's header.
pub const HEADER_BYTES: usize = 24;
/// The most bytes that one request gathers on a stream, as in `Policy::default`.
const GATHER_BYTES_MAX: u64 = 1 << 20;

/// Where the messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// TCP on this machine: whatever is lent is copied on delivery.
    Loopback,
    /// Datagrams into a device that drops them: nothing is copied.
    IfbUdp,
    /// TCP into such a device, acknowledged by whoever sends. Nothing is copied.
    RepairTcp,
}

/// A way to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// `IORING_OP_WRITEV`.
    Writev,
    /// `IORING_OP_SENDMSG`.
    Sendmsg,
    /// `IORING_OP_SENDMSG_ZC` of plain memory, the header in memory that is kept.
    SendmsgZc,
    /// The same of registered memory, the header staged there.
    SendmsgZcFixed,
    /// `SEND` of the header with `MSG_MORE`, linked to `SEND_ZC` of registered memory.
    Linked,
    /// The `Sender`.
    Sender,
    /// `SEND_ZC` of registered memory in which header and payload, and message and message, lie one behind
    /// the other: what headroom would give.
    Contiguous,
    /// The system call `sendmsg`.
    CallSendmsg,
    /// The system call with `MSG_ZEROCOPY`.
    CallZerocopy,
}

/// Whether payloads are in the processor's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The same few are sent again and again.
    Cached,
    /// There are so many that each has left the cache of its processor before it is sent again.
    Beyond,
}

/// What is sent, and how many messages at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Bytes of the payloads, one message after the other, over and over.
    pub lens: Vec<u32>,
    /// Messages of a flush.
    pub batch: usize,
    /// Where the payloads are.
    pub source: Source,
}

/// What was counted in all slices of a strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were sent.
    pub messages: u64,
    /// Calls of the kernel; system calls where there is no ring.
    pub enters: u64,
    /// Entries that were handed over.
    pub sqes: u64,
    /// Completions that were taken.
    pub cqes: u64,
    /// Bytes that were copied to be sent: by requests without zero copy, and headers that were staged.
    pub copied_bytes: u64,
    /// Notifications, and those among them that say that the kernel copied all the same.
    pub notifications: u64,
    /// Notifications that say so.
    pub copied_notifications: u64,
    /// Allocations of this process.
    pub allocations: u64,
}

/// A strategy against the sender, in one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Which one. The sender's own is the sender against itself.
    pub strategy: Strategy,
    /// Of each pair the processor time of the sender's slice, and of the strategy's.
    pub pairs_ns: Vec<(u64, u64)>,
    /// Messages of a slice.
    pub messages: u64,
    /// What was counted in the strategy's slices.
    pub counts: Counts,
}

impl Lane {
    /// All of them.
    pub const ALL: [Lane; 3] = [Lane::Loopback, Lane::IfbUdp, Lane::RepairTcp];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Loopback => "loopback",
            Lane::IfbUdp => "ifb-udp",
            Lane::RepairTcp => "repair-tcp",
        }
    }

    /// The longest payload of a message there: more is no datagram, or cannot be sent without a copy.
    pub fn payload_bytes_max(self) -> u32 {
        match self {
            Lane::IfbUdp => 65_000,
            Lane::Loopback | Lane::RepairTcp => u32::MAX,
        }
    }

    /// Whether what is lent there is really not copied.
    pub fn is_zero_copied(self) -> bool {
        self != Lane::Loopback
    }
}

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 9] = [
        Strategy::Writev,
        Strategy::Sendmsg,
        Strategy::SendmsgZc,
        Strategy::SendmsgZcFixed,
        Strategy::Linked,
        Strategy::Sender,
        Strategy::Contiguous,
        Strategy::CallSendmsg,
        Strategy::CallZerocopy,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Writev => "writev",
            Strategy::Sendmsg => "sendmsg",
            Strategy::SendmsgZc => "sendmsg-zc",
            Strategy::SendmsgZcFixed => "sendmsg-zc-fixed",
            Strategy::Linked => "linked",
            Strategy::Sender => "sender",
            Strategy::Contiguous => "contiguous",
            Strategy::CallSendmsg => "sendmsg(2)",
            Strategy::CallZerocopy => "msg-zerocopy(2)",
        }
    }

    /// Whether it is a ring strategy that a server could use as it is: no headroom, no choice by size.
    pub fn is_fixed(self) -> bool {
        use Strategy::{CallSendmsg, CallZerocopy, Contiguous, Linked, Sender, Sendmsg, SendmsgZc, Writev};
        match self {
            Writev | Sendmsg | SendmsgZc | Strategy::SendmsgZcFixed | Linked => true,
            Sender | Contiguous | CallSendmsg | CallZerocopy => false,
        }
    }
}

impl Source {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Source::Cached => "cached",
            Source::Beyond => "beyond",
        }
    }
}

/// The header of a message.
fn header(number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&number.to_le_bytes());
    header
}
