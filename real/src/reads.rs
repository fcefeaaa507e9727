//! Reads of a program: what they put into its memory is looked at when their results are taken.

use uringspec_model::abi::op;
use uringspec_model::cqe::Cqe;
use uringspec_model::program::{Program, RingId, SocketId, socket_of};
use uringspec_model::sqe::Sqe;

use crate::targets::{self, Role};
use crate::window::Window;

/// Reads whose results were not taken.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    open: Vec<OpenRead>,
}

#[derive(Debug)]
struct OpenRead {
    ring: RingId,
    user_data: u64,
    socket: SocketId,
    /// What it fills, in this order.
    ranges: Vec<(u64, u64)>,
}

impl Reads {
    /// Keeps the reads among entries that are about to be submitted. A registered file is a near end, to which
    /// nobody sends.
    pub(crate) fn note(&mut self, program: &Program, ring: RingId, sqes: &[Sqe]) {
        for sqe in sqes.iter().filter(|sqe| sqe.opcode == op::READV) {
            let Some((socket, _)) = socket_of(sqe.fd) else { continue };
            if usize::from(socket.0) >= program.sockets.len() {
                continue;
            }
            let mut ranges = Vec::new();
            let Ok(()) = targets::of_sqe::<std::convert::Infallible>(program, sqe, &mut |role, addr, len| {
                if role == Role::Sink {
                    ranges.push((addr, len));
                }
                Ok(())
            });
            self.open.push(OpenRead { ring, user_data: sqe.user_data, socket, ranges });
        }
    }

    /// If this is the result of a read of some bytes: its socket, and the bytes in its memory.
    pub(crate) fn ended(&mut self, ring: RingId, cqe: &Cqe, window: &Window) -> Option<(SocketId, Vec<u8>)> {
        let at = self.open.iter().position(|read| (read.ring, read.user_data) == (ring, cqe.user_data))?;
        let read = self.open.remove(at);
        let mut left = u64::try_from(cqe.res).ok()?;
        let mut bytes = Vec::new();
        for (addr, len) in &read.ranges {
            let len = left.min(*len);
            left -= len;
            window.look(*addr, len, &mut bytes);
        }
        (!read.ranges.is_empty()).then_some((read.socket, bytes))
    }
}
