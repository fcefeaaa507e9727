//! A network in miniature.

use crate::program::{Lane, SocketId};
use crate::trace::RoomReport;

/// What a request counts for beside its bytes when room is reckoned: the kernel charges a socket for
/// its own structures as well.
pub const REQUEST_OVERHEAD_BYTES: u64 = 8192;

/// The room that a lane promises where nothing was measured.
pub fn usual_room(socket: SocketId, lane: Lane) -> RoomReport {
    let (accepts_bytes, leaves_bytes, full) = match lane {
        Lane::Loopback => (128 << 10, 32 << 10, false),
        Lane::Gate => (64 << 10, 0, false),
        Lane::GateFull => (0, 0, true),
    };
    RoomReport { socket, accepts_bytes, leaves_bytes, full }
}
