//! What was seen, in the order in which it was seen, as plain data.
//!
//! In text a trace is one line for each observation and one for its end, `{"v":1,"seen":{…}}` and
//! `{"v":1,"end":…}`; `tests/formats.rs` reads the example below.
//!
//! ```json
//! {"v":1,"seen":{"step":0,"what":{"returned":1}}}
//! {"v":1,"seen":{"step":1,"what":{"cqe":{"ring":0,"user_data":1,"res":4096}}}}
//! {"v":1,"seen":{"step":2,"what":{"received":{"socket":0,"runs":[{"stamped":{"region":0,"generation":0,"offset":0,"len_bytes":4096}}]}}}}
//! {"v":1,"end":"complete"}
//! ```

use serde::{Deserialize, Serialize};

use crate::cqe::Cqe;
use crate::memory::{Generation, HexBytes, Region, RegionId};
use crate::profile::Profile;
use crate::program::{Program, RingId, SocketId};
use crate::verdict::Verdict;

/// One run of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// What was seen.
    pub seen: Vec<Seen>,
    /// How it ended.
    pub end: Ending,
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The index in `Program::steps` of the step during which it was seen. What a lane reports
    /// before the first step has step 0.
    pub step: u32,
    /// What it was.
    pub what: What,
}

/// What can be seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// The lane says how much room a socket has before the first step.
    Room(RoomReport),
    /// What `io_uring_enter` or `io_uring_register` returned: a count, or a negated errno.
    Returned(i64),
    /// Whether the ring says that completions wait outside its queue (`IORING_SQ_CQ_OVERFLOW`), before what
    /// stands in it is taken without a call.
    Overflow {
        /// The ring.
        ring: RingId,
        /// It says so.
        set: bool,
    },
    /// What stood in the words of a ring.
    Words(Words),
    /// A completion was taken from a ring.
    Cqe(RingCqe),
    /// The peer read bytes of the stream, or one datagram.
    Received(Received),
    /// The peer acknowledged bytes that had left.
    Acked {
        /// The socket whose peer did.
        socket: SocketId,
        /// How many more than before.
        len_bytes: u64,
    },
    /// Bytes that the peer missed left once more.
    SentAgain(Received),
    /// The peer's read ended.
    PeerEnded {
        /// The socket whose peer read.
        socket: SocketId,
        /// End of file, or the reset it got.
        how: PeerEnd,
    },
    /// The patience of this step ran out before what it waits for had come.
    GaveUp,
}

/// What the kernel says of a ring in the words that both share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Words {
    /// The ring.
    pub ring: RingId,
    /// `abi::sq_flag` bits.
    pub flags: u32,
    /// Indices of no entry that were passed over.
    pub dropped: u32,
    /// Entries, or such indices, that the kernel has not consumed.
    pub queued: u32,
}

/// A completion and the ring it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RingCqe {
    /// The ring.
    pub ring: RingId,
    /// What stood in its queue.
    #[serde(flatten)]
    pub cqe: Cqe,
}

/// Bytes that a peer read with one or more reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// The socket whose peer read.
    pub socket: SocketId,
    /// The bytes.
    pub runs: Vec<Run>,
}

/// How much room a socket has. In between nothing is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomReport {
    /// The socket.
    pub socket: SocketId,
    /// While no more than this waits for the peer to read, a send is accepted whole and at once.
    /// Each request counts as its bytes and `net::REQUEST_OVERHEAD_BYTES`.
    pub accepts_bytes: u64,
    /// While no more than this waits for the peer to read, what is accepted leaves at once.
    pub leaves_bytes: u64,
    /// While nothing leaves, no more than this is accepted; absent: nothing is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_bytes: Option<u64>,
    /// Nothing is accepted until the peer is drained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
}

/// How the stream ended at the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerEnd {
    /// A read returned zero.
    EndOfFile,
    /// A read failed with `ECONNRESET`.
    Reset,
}

/// Received bytes. Any bytes can be written so, and both forms of the same bytes mean the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Run {
    /// The bytes equal those of a stamped region.
    Stamped {
        /// The region.
        region: RegionId,
        /// Its generation.
        generation: Generation,
        /// First byte.
        offset: u64,
        /// Bytes.
        len_bytes: u64,
    },
    /// The bytes themselves.
    Bytes(HexBytes),
}

/// How a trace ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every step was taken.
    #[default]
    Complete,
    /// A step did not return, and the process in it was ended.
    Hung {
        /// The step.
        step: u32,
    },
    /// The record ends here; what came later is not known.
    Cut,
}

/// One line of a log in text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What is done.
    Program(Program),
    /// The kernel it is done on.
    Profile(Profile),
    /// One observation.
    Seen(Seen),
    /// The trace ends.
    End(Ending),
    /// The program could not be run here.
    Skip(String),
    /// What the model says of it.
    Verdict(Verdict),
}

/// A line with the version of its format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versioned {
    /// `program::FORMAT_VERSION`.
    pub v: u32,
    /// The line.
    #[serde(flatten)]
    pub line: Line,
}

impl Run {
    /// Bytes in the run.
    pub fn len_bytes(&self) -> u64 {
        match self {
            Run::Stamped { len_bytes, .. } => *len_bytes,
            Run::Bytes(bytes) => bytes.0.len() as u64,
        }
    }

    /// The byte at `index` of the run, given the program's regions. A region that does not exist
    /// reads as zeros.
    pub fn byte(&self, regions: &[Region], index: u64) -> u8 {
        match self {
            Run::Stamped { region, generation, offset, .. } => {
                let at = offset.saturating_add(index);
                regions.get(usize::from(region.0)).map_or(0, |r| r.byte(*region, *generation, at))
            }
            Run::Bytes(bytes) => {
                usize::try_from(index).ok().and_then(|i| bytes.0.get(i)).copied().unwrap_or(0)
            }
        }
    }
}

impl Versioned {
    /// A line of the current version.
    pub fn now(line: Line) -> Versioned {
        Versioned { v: crate::program::FORMAT_VERSION, line }
    }
}
