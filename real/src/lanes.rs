//! Lanes: how the bytes of a socket are let through or held back, and what room that leaves.
//!
//! A gate is plain loopback whose receiver has offered a small window, which the lane's own bytes have
//! filled. What is sent behind them stays in the send queue until the peer reads.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use uringspec_model::abi::PAGE_BYTES;
use uringspec_model::net::REQUEST_OVERHEAD_BYTES;
use uringspec_model::program::{Lane, SocketId};
use uringspec_model::trace::RoomReport;

use crate::peer::OUTQ;
use crate::skip::Skip;
use crate::sockets::Pair;
use crate::sys::{self, Moved, left};

/// `SIOCOUTQNSD`: bytes that were written and not yet sent.
pub(crate) const OUTQ_UNSENT: libc::Ioctl = 0x894B;
/// `SO_MEMINFO`, and the places of what is read there.
const SO_MEMINFO: libc::c_int = 55;
const MEMINFO_LEN: usize = 9;
const MEMINFO_RCVBUF: usize = 1;
const MEMINFO_WMEM_ALLOC: usize = 2;
const MEMINFO_SNDBUF: usize = 3;
const MEMINFO_WMEM_QUEUED: usize = 5;
/// `tcp_info` up to the place of `tcpi_snd_mss`.
const TCP_INFO_LEN: usize = 5;
const TCP_INFO_SND_MSS: usize = 4;
/// The most bytes of a packet, with as much again for what a kernel may have rounded up.
const PACKET_MAX: u64 = 128 << 10;
/// What a packet is charged beside its pages, rounded up.
const HEADER_BYTES: u64 = 2048;
/// A packet of a UNIX stream is copied and holds at least so much.
const UNIX_PACKET_BYTES: u64 = 4096;
/// A packet to a device holds at least so much, since the device cuts it up.
const DEVICE_PACKET_BYTES: u64 = 32 << 10;
/// What leaves before the first acknowledgement, in a thousand packets and within the first window.
const DEVICE_BYTES_MAX: u64 = 1 << 20;
/// What is written to close a gate; more only if the window should still be open.
const GATE_BYTES: usize = 16 << 10;
/// What a gate may need at most, on a receive buffer that the program chose.
const FILLER_MAX: usize = 64 << 20;
/// How long a gate may take to come to rest.
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);
/// How long is waited before asking again, where the kernel gives no sign.
const LOOK_AGAIN: Duration = Duration::from_micros(50);
/// The period of the filler; a prime, so that a byte lost or doubled shows.
const PERIOD: usize = 251;

/// The lane's own bytes in a stream.
#[derive(Debug, Default)]
pub(crate) struct Filler {
    written: usize,
    read: usize,
}

static PATTERN: [u8; PERIOD * 256] = {
    let mut bytes = [0; PERIOD * 256];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = (i % PERIOD) as u8;
        i += 1;
    }
    bytes
};

impl Filler {
    /// Bytes that the peer has not read yet.
    pub(crate) fn unread(&self) -> usize {
        self.written - self.read
    }

    /// Whether the peer has read all of it.
    pub(crate) fn is_read(&self) -> bool {
        self.unread() == 0
    }

    /// Takes filler bytes that were read; false if they are not those that were written.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> bool {
        let start = self.read % PERIOD;
        self.read = (self.read + bytes.len()).min(self.written);
        bytes.iter().enumerate().all(|(i, byte)| usize::from(*byte) == (start + i) % PERIOD)
    }

    /// Writes at most `len` bytes; false once the socket takes no more.
    fn write(&mut self, near: BorrowedFd<'_>, len: usize) -> bool {
        let start = self.written % PERIOD;
        let len = len.min(PATTERN.len() - start);
        match sys::send(near, &PATTERN[start..start + len]) {
            Moved::Bytes(n) => {
                self.written += n;
                n > 0
            }
            Moved::WouldBlock | Moved::Failed => false,
        }
    }
}

/// Closes the gate of a lane, if it has one.
pub(crate) fn close_gate(pair: &Pair, lane: Lane) -> Result<Filler, Skip> {
    let mut filler = Filler::default();
    let (Some(near), Some(far)) = (&pair.near, &pair.far) else { return Ok(filler) };
    if !matches!(lane, Lane::Gate | Lane::GateFull) {
        return Ok(filler);
    }
    let (near, far) = (near.as_fd(), far.as_fd());
    let deadline = Instant::now() + CLOSING_PATIENCE;
    loop {
        let before = filler.written;
        match lane {
            Lane::GateFull => {
                // Large pieces first, then single bytes, for which a started buffer may still have room.
                while filler.written < FILLER_MAX && filler.write(near, PATTERN.len()) {}
                while filler.written < FILLER_MAX && filler.write(near, 1) {}
            }
            _ => {
                let target = before + GATE_BYTES;
                while filler.written < target && filler.write(near, target - filler.written) {}
            }
        }
        let closed = comes_to_rest(near, far, deadline)?;
        // What arrived meanwhile has made room again.
        if closed && (lane == Lane::Gate || filler.written == before) {
            return Ok(filler);
        }
        if filler.written >= FILLER_MAX || left(deadline).is_zero() {
            return Err(Skip::Missing(format!(
                "a window that closes, after {} bytes; a smaller rcvbuf_bytes helps",
                filler.written
            )));
        }
        if filler.written == before {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Waits until all that was sent is acknowledged; true if something was left unsent, so that only the
/// peer's window can be holding it.
fn comes_to_rest(near: BorrowedFd<'_>, far: BorrowedFd<'_>, deadline: Instant) -> Result<bool, Skip> {
    let ask = |request| sys::queue_bytes(near, request).map_err(Skip::setup("asking for a send queue"));
    loop {
        let (queued, unsent) = (ask(OUTQ)?, ask(OUTQ_UNSENT)?);
        if queued == unsent || unsent == 0 || left(deadline).is_zero() {
            return Ok(queued == unsent && unsent > 0);
        }
        let _ = sys::set_option(far, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1);
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The room that a stream socket has before the first step, from what the kernel says of its buffers.
/// `pieces` is the most iovecs that a request of the program has.
pub(crate) fn room(id: SocketId, pair: &Pair, lane: Lane, pieces: u64) -> Result<Option<RoomReport>, Skip> {
    let Some(near) = pair.near.as_ref().filter(|_| pair.is_stream()) else { return Ok(None) };
    let ask = |fd: BorrowedFd<'_>| {
        sys::option::<MEMINFO_LEN>(fd, libc::SOL_SOCKET, SO_MEMINFO)
            .map(|values| values.map(u64::from))
            .map_err(Skip::setup("asking for a socket's memory"))
    };
    let own = ask(near.as_fd())?;
    if pair.declared.is_some() {
        // Nothing of the peer's is smaller than the send buffer, so what is accepted leaves.
        let bytes = promised_accepts(own[MEMINFO_SNDBUF], DEVICE_PACKET_BYTES, pieces).min(DEVICE_BYTES_MAX);
        let (accepts_bytes, leaves_bytes, full) = (bytes, bytes, false);
        return Ok(Some(RoomReport { socket: id, accepts_bytes, leaves_bytes, most_bytes: None, full }));
    }
    let Some(far) = &pair.far else { return Ok(None) };
    let peer = ask(far.as_fd())?;
    let full = lane == Lane::GateFull;
    // What fills a full gate is gone once the peer has read, but for what it has not acknowledged.
    let used = if full {
        own[MEMINFO_SNDBUF].min(4 * peer[MEMINFO_RCVBUF])
    } else {
        own[MEMINFO_WMEM_QUEUED].max(own[MEMINFO_WMEM_ALLOC])
    };
    let packet_bytes = if pair.is_tcp() {
        let info = sys::option::<TCP_INFO_LEN>(near.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO)
            .map_err(Skip::setup("asking for the state of a connection"))?;
        info[TCP_INFO_SND_MSS].into()
    } else {
        UNIX_PACKET_BYTES
    };
    let free = own[MEMINFO_SNDBUF].saturating_sub(used);
    let leaves = lane == Lane::Loopback;
    Ok(Some(RoomReport {
        socket: id,
        accepts_bytes: promised_accepts(free, packet_bytes, pieces),
        leaves_bytes: if leaves { promised_leaves(peer[MEMINFO_RCVBUF], pieces) } else { 0 },
        // A packet is begun while a byte is free, and is charged no less than its bytes.
        most_bytes: (lane == Lane::Gate).then_some(free + PACKET_MAX),
        full,
    }))
}

/// What a send queue with `free` bytes of buffer accepts for certain.
///
/// A packet is charged its header and the whole pages that its bytes touch; where the window is small,
/// packets are, so that a byte can be charged as nine. Each iovec touches up to two pages by itself, while
/// a request counts only `REQUEST_OVERHEAD_BYTES` beside its bytes.
fn promised_accepts(free: u64, packet_bytes: u64, pieces: u64) -> u64 {
    let packet_bytes = packet_bytes.max(1);
    let packet_charge = (packet_bytes.div_ceil(PAGE_BYTES) + 1) * PAGE_BYTES + HEADER_BYTES;
    let by_packets = free / packet_charge * packet_bytes;
    let by_pieces = free / (pieces * (REQUEST_OVERHEAD_BYTES + HEADER_BYTES)) * REQUEST_OVERHEAD_BYTES;
    at_least_one(by_packets.min(by_pieces))
}

/// What a receive buffer lets leave for certain: it is charged in whole pages too, and opens its window by
/// less than half of itself, to 64 KB at first.
fn promised_leaves(rcvbuf: u64, pieces: u64) -> u64 {
    at_least_one((rcvbuf / 8).min(48 << 10) / pieces)
}

/// Less than one request is no promise.
fn at_least_one(bytes: u64) -> u64 {
    if bytes > REQUEST_OVERHEAD_BYTES { bytes } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_that_came_back_changed_is_noticed() {
        let mut filler = Filler { written: 600, read: 0 };
        assert!(filler.take(&PATTERN[..300]));
        assert!(filler.take(&PATTERN[300..500]));
        assert_eq!(filler.unread(), 100);
        assert!(!filler.take(&PATTERN[501..600]));
    }
}
