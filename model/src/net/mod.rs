//! A network in miniature: where the bytes of sends are until a peer has them.

mod cork;
mod datagram;
mod room;
mod stream;
mod wire;
mod writer;

pub use datagram::{Charge, Datagram, Datagrams, UDP4_LONGEST, UDP6_LONGEST};
pub use room::Room;
pub use stream::{Around, Connection, Pending, Stream, Timing};
pub use wire::{SEGMENT_BYTES, WINDOW_UNIT_BYTES, Wire};
pub use writer::{Holds, Writer};

use crate::program::{Lane, SocketId};
use crate::space::Segment;
use crate::trace::RoomReport;

/// What a request counts for beside its bytes when room is reckoned: the kernel charges a socket for
/// its own structures as well.
pub const REQUEST_OVERHEAD_BYTES: u64 = 8192;

/// The bytes that one request hands to a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketSend {
    /// The socket.
    pub socket: SocketId,
    /// Where the bytes are, in the order of the stream.
    pub segments: Vec<Segment>,
    /// How many they are.
    pub len_bytes: u64,
    /// It may be taken in several pieces, with other requests' bytes between them.
    pub retries: bool,
    /// The network refers to the caller's pages instead of copying them at once.
    pub zero_copy: bool,
    /// What is taken of it need not leave before more comes (`MSG_MORE`).
    pub corks: bool,
}

/// The room that a lane promises where nothing was measured.
pub fn usual_room(socket: SocketId, lane: Lane) -> RoomReport {
    let (accepts_bytes, leaves_bytes, full) = match lane {
        Lane::Loopback => (128 << 10, 32 << 10, false),
        Lane::Gate => (64 << 10, 0, false),
        Lane::GateFull => (18 << 10, 0, true),
        // as much as whoever listens surely has room for
        Lane::IfbUdpTap => (256 << 10, 128 << 10, false),
        Lane::IfbUdp | Lane::RepairTcp | Lane::RepairTcpTap => (256 << 10, 256 << 10, false),
        Lane::Unknown => (0, 0, false),
    };
    let most_bytes = (lane == Lane::Gate).then_some(512 << 10);
    RoomReport { socket, accepts_bytes, leaves_bytes, most_bytes, full }
}
