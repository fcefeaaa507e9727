//! What a user does: rings, sockets, memory, and every step, as plain data.
//!
//! The text form is one JSON object on a line, `{"v":1,"program":{…}}`; `tests/formats.rs` reads
//! the example below.
//!
//! ```json
//! {"rings":[{"entries":8}],
//!  "sockets":[{"kind":"tcp4"}],
//!  "regions":[{"name":"K","addr":17592186044416,"len_bytes":4096}],
//!  "steps":[
//!    {"submit":{"ring":0,"sqes":[{"opcode":26,"fd":600,"addr":17592186044416,"len":4096,"user_data":1}]}},
//!    {"reap":{"ring":0,"until":"settled"}},
//!    {"drain":{"socket":0,"amount":"everything"}}]}
//! ```

use serde::{Deserialize, Serialize};

use crate::abi::setup;
use crate::enter::Enter;
use crate::memory::{Region, RegionId};
use crate::sqe::Sqe;

/// The version written into every line of the text formats.
pub const FORMAT_VERSION: u32 = 1;

/// The descriptor of the first socket's near end. The far end has the next number, and so on; no
/// other descriptor at or above this one is open.
pub const FD_BASE: i32 = 600;

/// Everything that a user does in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Program {
    /// What the user may do.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// The rings, made before the first step.
    pub rings: Vec<RingSetup>,
    /// The sockets, made before the first step.
    pub sockets: Vec<SocketSetup>,
    /// The memory, mapped before the first step.
    pub regions: Vec<Region>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// Limits and credentials under which the rings are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// `RLIMIT_MEMLOCK` in bytes; absent: as it was found.
    #[serde(skip_serializing_if = "is_default")]
    pub memlock_bytes: Option<u64>,
    /// Whether the rings are made by a user without capabilities.
    #[serde(skip_serializing_if = "is_default")]
    pub unprivileged: bool,
}

/// One `io_uring_setup`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingSetup {
    /// Entries of the submission queue asked for.
    pub entries: u32,
    /// Entries of the completion queue asked for; absent: the kernel's default, twice the former.
    #[serde(skip_serializing_if = "is_default")]
    pub cq_entries: Option<u32>,
    /// `abi::setup` bits; `CQSIZE` follows from `cq_entries`.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: u32,
}

impl RingSetup {
    /// The flags as the kernel gets them.
    pub fn all_flags(&self) -> u32 {
        self.flags | if self.cq_entries.is_some() { setup::CQSIZE } else { 0 }
    }
}

/// An index into `Program::rings`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RingId(pub u8);

/// An index into `Program::sockets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketId(pub u16);

/// A socket and its peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketSetup {
    /// Family and type.
    pub kind: SocketKind,
    /// The path that the bytes take.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lane: Lane,
    /// Whether it has a peer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub state: SocketState,
    /// `SO_SNDBUF` of the near end; absent: the lane's choice.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sndbuf_bytes: Option<u32>,
    /// `SO_RCVBUF` of the far end; absent: the lane's choice.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rcvbuf_bytes: Option<u32>,
}

/// Family and type of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
    /// `AF_UNIX`, `SOCK_STREAM`.
    UnixStream,
    /// Not a socket at all: an `eventfd`.
    NotASocket,
}

/// Whether a socket has a peer when the program starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketState {
    /// Connected; the far end reads.
    #[default]
    Connected,
    /// Made, and nothing else. There is no far end.
    Unconnected,
}

/// The path that bytes take from a socket to its peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Plain loopback with room: bytes are at the peer at once, copied on delivery.
    #[default]
    Loopback,
    /// Loopback with the peer's window closed by the lane's own filler: what is accepted stays in
    /// the send queue until the peer is drained or the connection ends.
    Gate,
    /// As `Gate`, and the send buffer is full as well: nothing is accepted either.
    GateFull,
    /// Into a device that takes datagrams as they lie in memory and drops them.
    IfbUdp,
    /// As `IfbUdp`, with a tap on the device: what leaves is copied for whoever listens, and is what the peer is
    /// taken to read. A tap hears all sockets of the program that use the device.
    IfbUdpTap,
    /// Into such a device over TCP. The connection was declared, not negotiated (`TCP_REPAIR`); its peer
    /// reads nothing, and acknowledges when it is told to.
    RepairTcp,
    /// As `RepairTcp`, with a tap on the device.
    RepairTcpTap,
    /// Nothing is known of the path, as in somebody's log: any room, any time of release, copied or
    /// not. Only judged, never run.
    Unknown,
}

impl Lane {
    /// Whether the peer was declared, so that it does what it is told.
    pub fn is_declared(self) -> bool {
        matches!(self, Lane::RepairTcp | Lane::RepairTcpTap)
    }

    /// Whether bytes end in a device that drops them.
    pub fn has_device(self) -> bool {
        matches!(self, Lane::IfbUdp | Lane::IfbUdpTap) || self.is_declared()
    }

    /// Whether somebody listens to what leaves through the device.
    pub fn is_tapped(self) -> bool {
        matches!(self, Lane::IfbUdpTap | Lane::RepairTcpTap)
    }

    /// Whether what arrives is read, or heard, by anybody.
    pub fn is_heard(self) -> bool {
        !self.has_device() || self.is_tapped()
    }
}

/// One thing that the user, or the peer, does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Puts the entries on the queue and enters with `to_submit` = their number, no flags. Where a thread of the
    /// kernel's takes them (`SQPOLL`) it is woken, and it is waited for until it has.
    Submit {
        /// The ring.
        ring: RingId,
        /// What is put on its queue.
        sqes: Vec<Sqe>,
    },
    /// Enters with `GETEVENTS` and takes completions, all that are there, until `until` holds.
    Reap {
        /// The ring.
        ring: RingId,
        /// When it may stop.
        until: Until,
    },
    /// Puts entries on the queue without a call.
    Queue {
        /// The ring.
        ring: RingId,
        /// The entries.
        sqes: Vec<Sqe>,
        /// What is written into the array of indices, counted from the slot of the first entry; empty: the entries
        /// in their order. A number that no slot of the ring has stands for itself.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        array: Vec<u32>,
    },
    /// One `io_uring_enter` with any arguments; completions stay in the queue.
    Enter(Enter),
    /// Waits until the ring says that its thread sleeps (`SQ_NEED_WAKEUP`).
    Sleep {
        /// The ring.
        ring: RingId,
    },
    /// Reads the words that the kernel shares: what it says of the ring.
    Look {
        /// The ring.
        ring: RingId,
    },
    /// Takes what stands in the queue of completions, without a system call; looks first whether more
    /// waits outside.
    Peek {
        /// The ring.
        ring: RingId,
    },
    /// Another thread enters the ring to submit an entry, though there is none.
    EnterElsewhere {
        /// The ring.
        ring: RingId,
    },
    /// One `io_uring_setup`; the ring that it makes is closed again at once.
    Setup(RingSetup),
    /// One `io_uring_register`.
    Register {
        /// The ring.
        ring: RingId,
        /// What is asked.
        what: Register,
    },
    /// The far end reads.
    Drain {
        /// The socket whose peer reads.
        socket: SocketId,
        /// How much.
        amount: Amount,
    },
    /// The peer of a declared connection acknowledges what has left.
    Ack {
        /// The socket whose peer acknowledges.
        socket: SocketId,
        /// How much more; everything: until no more leaves.
        amount: Amount,
    },
    /// The peer of a declared connection says how much more than it has acknowledged it has room for.
    OfferWindow {
        /// The socket whose peer has a window.
        socket: SocketId,
        /// Bytes, rounded down to `net::WINDOW_UNIT_BYTES`.
        bytes: u64,
    },
    /// The peer of a declared connection says that it has all that has left but the next bytes, so that
    /// these are sent again.
    Miss {
        /// The socket whose peer misses something.
        socket: SocketId,
        /// How many it misses; more must have left.
        len_bytes: u64,
    },
    /// The far end is closed so that it sends a reset (`SO_LINGER` 0), or sends one as it is told.
    ResetPeer {
        /// The socket whose peer goes.
        socket: SocketId,
    },
    /// The near end's descriptor is closed, as `close(2)` does.
    CloseOwn {
        /// The socket.
        socket: SocketId,
    },
    /// The near end stops sending: `shutdown(SHUT_WR)`.
    ShutdownOwn {
        /// The socket.
        socket: SocketId,
    },
    /// `TCP_CORK` is set on the near end, or taken away: sends go on as with `MSG_MORE` while it is there.
    Cork {
        /// The socket.
        socket: SocketId,
        /// It is set.
        on: bool,
    },
    /// The caller writes all of the region: its stamps become those of the next generation.
    Rewrite {
        /// The region, which must be stamped.
        region: RegionId,
    },
    /// A nop goes through the ring, so that deferred work has run; what is seen on the way counts.
    Fence {
        /// The ring.
        ring: RingId,
    },
    /// Drains every peer, or lets it acknowledge all, and reaps every ring until each request has all its completions.
    Settle,
}

impl Step {
    /// The entries that are put on a queue.
    pub fn entries(&self) -> &[Sqe] {
        match self {
            Step::Submit { sqes, .. } | Step::Queue { sqes, .. } => sqes,
            _ => &[],
        }
    }

    /// What the kernel finds behind each new index: an entry, or nothing.
    pub fn queued(&self) -> impl Iterator<Item = Option<&Sqe>> {
        let array = match self {
            Step::Queue { array, .. } => array.as_slice(),
            _ => &[],
        };
        let plain = self.entries().iter().filter(|_| array.is_empty()).map(Some);
        plain.chain(array.iter().map(|index| self.entries().get(*index as usize)))
    }
}

/// When a reap may stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Until {
    /// At once: what is there is taken.
    Now,
    /// When each of these was seen often enough, counted from the first step on.
    Seen(Vec<Want>),
    /// When every request has its result, and every result with `MORE` its notification.
    Settled,
}

/// How many completions with this user data a reap waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Want {
    /// The user data.
    pub user_data: u64,
    /// How many, results and notifications alike.
    pub count: u32,
    /// Whether it also waits until as many notifications came as results announced by `MORE`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last: bool,
}

/// How much a peer reads, or acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// Exactly so many bytes of the stream.
    Bytes(u64),
    /// Until nothing is queued on either end.
    Everything,
}

/// One `io_uring_register` call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Register {
    /// `IORING_REGISTER_BUFFERS`.
    Buffers(Vec<Iovec>),
    /// `IORING_REGISTER_BUFFERS2` with so many empty entries (`IORING_RSRC_REGISTER_SPARSE`).
    SparseBuffers(u32),
    /// `IORING_REGISTER_BUFFERS_UPDATE`; an iovec of address and length zero empties an entry.
    UpdateBuffers {
        /// The first entry that is replaced.
        offset: u32,
        /// What comes there.
        iovecs: Vec<Iovec>,
    },
    /// `IORING_UNREGISTER_BUFFERS`.
    UnregisterBuffers,
    /// `IORING_REGISTER_FILES` with the near ends of these sockets (indices into
    /// `Program::sockets`); an absent one is an empty entry.
    Files(Vec<Option<u16>>),
    /// `IORING_UNREGISTER_FILES`.
    UnregisterFiles,
    /// `IORING_REGISTER_ENABLE_RINGS`.
    Enable,
    /// `IORING_REGISTER_RESTRICTIONS`.
    Restrict(Vec<Restriction>),
    /// `IORING_REGISTER_SYNC_CANCEL` of the request with this user data, without a time.
    Cancel(u64),
}

/// What a ring may still do once it is enabled (`struct io_uring_restriction`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Restriction {
    /// A call to register with this number.
    Call(u8),
    /// Entries of this opcode.
    Op(u8),
    /// Entries with some of these flags.
    Flags(u8),
    /// Entries with all of these flags, and with no others.
    Must(u8),
}

impl Register {
    /// The number of the call in `enum io_uring_register_op`.
    pub fn number(&self) -> u8 {
        match self {
            Register::Buffers(_) => 0,
            Register::UnregisterBuffers => 1,
            Register::Files(_) => 2,
            Register::UnregisterFiles => 3,
            Register::Restrict(_) => 11,
            Register::Enable => 12,
            Register::Cancel(_) => 24,
            Register::SparseBuffers(_) => 15,
            Register::UpdateBuffers { .. } => 16,
        }
    }
}

/// A `struct iovec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Iovec {
    /// `iov_base`.
    pub addr: u64,
    /// `iov_len`, bytes.
    pub len_bytes: u64,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The end that sends.
    Near,
    /// The peer.
    Far,
}

/// The descriptor of one end of a socket.
pub fn fd_of(socket: SocketId, end: End) -> i32 {
    FD_BASE + 2 * i32::from(socket.0) + i32::from(end == End::Far)
}

/// The socket and end that a descriptor names, if it could be one.
pub fn socket_of(fd: i32) -> Option<(SocketId, End)> {
    let index = fd.checked_sub(FD_BASE).filter(|i| *i >= 0)?;
    let end = if index % 2 == 0 { End::Near } else { End::Far };
    Some((SocketId(u16::try_from(index / 2).ok()?), end))
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
