//! What the peers of declared connections are told to do.
//!
//! What left unseen cannot be told apart when it is acknowledged, so chains are looked after first, and a peer
//! says nothing while another thread may be sending.

use uringspec_model::net::WINDOW_UNIT_BYTES;
use uringspec_model::program::{Amount, SocketId, Step, Until};

use super::resolve::Resolver;

/// What a peer may miss: less than one packet, so that it leaves again at once.
const MISSES_BYTES: u64 = 1000;

impl Resolver<'_> {
    /// Lets a peer acknowledge everything, or something else that `choice` says.
    pub(super) fn tell_peer(&mut self, socket: SocketId, all: bool, choice: u8) {
        let index = usize::from(socket.0);
        let declared = self.sockets[index].lane.is_declared();
        if !declared || self.sockets[index].reset || self.rings.iter().any(|ring| ring.asynchronous) {
            return self.reap(0, Until::Now);
        }
        for ring in 0..self.rings.len() {
            if self.rings[ring].chains {
                self.fence(ring);
            }
        }
        let state = &mut self.sockets[index];
        let readable = state.readable;
        let step = match choice % 8 {
            _ if all => {
                if !state.shaken {
                    state.drained();
                }
                Step::Ack { socket, amount: Amount::Everything }
            }
            0..=4 => {
                let bytes = readable * (1 + u64::from(choice)) / 256;
                state.readable -= bytes;
                state.waiting = state.waiting.saturating_sub(bytes);
                Step::Ack { socket, amount: Amount::Bytes(bytes) }
            }
            5 if readable > 8 * MISSES_BYTES => {
                state.shaken = true;
                Step::Miss { socket, len_bytes: MISSES_BYTES }
            }
            5 | 6 => {
                state.shaken = true;
                Step::OfferWindow { socket, bytes: u64::from(choice / 8) / 4 * WINDOW_UNIT_BYTES }
            }
            _ => Step::OfferWindow { socket, bytes: u64::MAX },
        };
        self.steps.push(step);
    }
}
