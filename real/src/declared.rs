//! Connections that are declared instead of negotiated (`TCP_REPAIR`), so that the peer need not be there.
//!
//! What is sent leaves through a device that drops it. The peer speaks when it is told to: it acknowledges,
//! opens and closes its window, misses packets, and resets. It never acknowledges what has not left: such a
//! packet is ignored without a word.
//!
//! Source: `tcp_repair_options_est`, `tcp_repair_set_window` in `net/ipv4/tcp.c`, `tcp_ack` in
//! `net/ipv4/tcp_input.c`, 6.18.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use uringspec_model::net::{SEGMENT_BYTES, WINDOW_UNIT_BYTES};

use crate::device::{Device, PEER};
use crate::lanes::OUTQ_UNSENT;
use crate::packet::Packet;
use crate::peer::OUTQ;
use crate::sockets::Address;
use crate::sys::{self, left};

/// The numbers of the first bytes in both directions.
const SEND_FIRST: u32 = 0x1000_0000;
const RECEIVE_FIRST: u32 = 0x2000_0000;
/// The peer's port.
const PEER_PORT: u16 = 80;
const MSS_BYTES: u32 = SEGMENT_BYTES as u32;
const TCP_RECV_QUEUE: i32 = 1;
const TCP_SEND_QUEUE: i32 = 2;
/// `TCP_REPAIR_OFF_NO_WP`: off, without a packet that probes the window.
const REPAIR_OFF: i32 = -1;
/// Options by their kinds (RFC 9293, 7323, 2018).
const OPTION_MSS: u32 = 2;
const OPTION_WINDOW_SCALE: u32 = 3;
const OPTION_SACK: u32 = 4;
/// What `WINDOW_UNIT_BYTES` is two to the power of.
const WINDOW_SCALE: u32 = WINDOW_UNIT_BYTES.trailing_zeros();
/// As wide as a window can be.
const WINDOW_UNITS: u16 = u16::MAX;
/// `tcp_info` up to `tcpi_snd_wnd`, and places in it.
const INFO_LEN: usize = 58;
const INFO_TOTAL_RETRANS: usize = 25;
const INFO_BYTES_ACKED: usize = 30;
const INFO_SND_WND: usize = 57;
const STATE_CLOSE: u8 = 7;
/// How long is waited before looking again whether a packet was taken.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// The peer of a declared connection.
#[derive(Debug)]
pub struct Declared {
    device: Rc<Device>,
    /// The port of our end.
    port: u16,
    /// Bytes acknowledged so far.
    acked: u64,
    /// What the kernel counted as acknowledged before the first byte.
    uncounted: u64,
    window: u16,
}

impl Declared {
    /// Makes a socket and declares it connected.
    pub fn connect(device: &Rc<Device>) -> io::Result<(OwnedFd, Declared)> {
        let near = sys::socket(libc::AF_INET, libc::SOCK_STREAM)?;
        let tcp = |name, value: i32| sys::set_option(near.as_fd(), libc::IPPROTO_TCP, name, value);
        tcp(libc::TCP_REPAIR, 1)?;
        for (queue, first) in [(TCP_SEND_QUEUE, SEND_FIRST), (TCP_RECV_QUEUE, RECEIVE_FIRST)] {
            tcp(libc::TCP_REPAIR_QUEUE, queue)?;
            tcp(libc::TCP_QUEUE_SEQ, first as i32)?;
        }
        tcp(libc::TCP_MAXSEG, MSS_BYTES as i32)?;
        // The default may pace. A kernel without reno does not exist; a refusal costs only speed.
        let _ = sys::set_option(near.as_fd(), libc::IPPROTO_TCP, libc::TCP_CONGESTION, *b"reno");
        Address::v4(PEER, PEER_PORT).connect(&near)?;
        let scales = WINDOW_SCALE | WINDOW_SCALE << 16;
        let options = [OPTION_MSS, MSS_BYTES, OPTION_WINDOW_SCALE, scales, OPTION_SACK, 0];
        sys::set_option(near.as_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR_OPTIONS, options)?;
        let wide = u32::from(WINDOW_UNITS) << WINDOW_SCALE;
        // The peer's number of the last update, its window, the largest one; our window, and its number.
        let windows = [RECEIVE_FIRST, wide, wide, 65535, RECEIVE_FIRST];
        sys::set_option(near.as_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR_WINDOW, windows)?;
        tcp(libc::TCP_REPAIR, REPAIR_OFF)?;
        tcp(libc::TCP_NODELAY, 1)?;
        let uncounted = bytes_acked(near.as_fd())?;
        let port = Address::of(&near)?.port();
        Ok((near, Declared { device: Rc::clone(device), port, acked: 0, uncounted, window: WINDOW_UNITS }))
    }

    /// Bytes that left and were not acknowledged.
    pub fn in_flight(&self, near: BorrowedFd<'_>) -> io::Result<u64> {
        // What is added in between makes it too few, never too many.
        let queued = sys::queue_bytes(near, OUTQ)?;
        let unsent = sys::queue_bytes(near, OUTQ_UNSENT)?;
        Ok(queued.saturating_sub(unsent).into())
    }

    /// Acknowledges at most `most` of the bytes that left, and waits until that was taken. Returns how many.
    pub fn acknowledge(&mut self, near: BorrowedFd<'_>, most: u64, patience: Duration) -> io::Result<u64> {
        let bytes = most.min(self.in_flight(near)?);
        if bytes > 0 {
            self.acked += bytes;
            self.device.inject(&self.packet().bytes())?;
            let acked = self.acked + self.uncounted;
            comes_true(patience, || Ok(bytes_acked(near)? >= acked))?;
        }
        Ok(bytes)
    }

    /// Offers a window, in whole units of `WINDOW_UNIT_BYTES`; false if the sender did not take it.
    pub fn offer(&mut self, near: BorrowedFd<'_>, bytes: u64, patience: Duration) -> io::Result<bool> {
        let units = u16::try_from(bytes / WINDOW_UNIT_BYTES).unwrap_or(WINDOW_UNITS);
        // Without new data or a new acknowledgement a window is taken that is wider, or closed.
        let steps = if units < self.window && units > 0 { vec![0, units] } else { vec![units] };
        for window in steps {
            self.window = window;
            self.device.inject(&self.packet().bytes())?;
            let wide = u32::from(window) << WINDOW_SCALE;
            if !comes_true(patience, || Ok(info(near)?[INFO_SND_WND] == wide))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How wide the window is.
    pub(crate) fn window_bytes(&self) -> u64 {
        u64::from(self.window) << WINDOW_SCALE
    }

    /// Whether the window is as wide as it can be.
    pub(crate) fn is_wide(&self) -> bool {
        self.window == WINDOW_UNITS
    }

    /// Says that the next `len` bytes are missing and all behind them arrived. Whether they were sent again.
    pub fn miss(&mut self, near: BorrowedFd<'_>, len: u64, patience: Duration) -> io::Result<bool> {
        let flight = self.in_flight(near)?;
        if flight <= len {
            return Ok(false);
        }
        let before = info(near)?[INFO_TOTAL_RETRANS];
        let at = |bytes: u64| SEND_FIRST.wrapping_add((self.acked + bytes) as u32);
        let packet = Packet { has: Some((at(len), at(flight))), ..self.packet() };
        self.device.inject(&packet.bytes())?;
        comes_true(patience, || Ok(info(near)?[INFO_TOTAL_RETRANS] != before))
    }

    /// Resets the connection: all that is queued is given back. False if the sender did not take it.
    pub fn reset(&mut self, near: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
        let packet = Packet { resets: true, ..self.packet() };
        self.device.inject(&packet.bytes())?;
        comes_true(patience, || is_closed(near))
    }

    /// The number of a byte that was sent, counted from the first one.
    pub(crate) fn offset_of(&self, seq: u32) -> u32 {
        seq.wrapping_sub(SEND_FIRST)
    }

    /// Bytes acknowledged so far.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// Our port and the peer's.
    pub(crate) fn ports(&self) -> (u16, u16) {
        (self.port, PEER_PORT)
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    fn packet(&self) -> Packet {
        Packet {
            from: PEER_PORT,
            to: self.port,
            seq: RECEIVE_FIRST,
            ack: SEND_FIRST.wrapping_add(self.acked as u32),
            window: self.window,
            resets: false,
            has: None,
        }
    }
}

fn info(near: BorrowedFd<'_>) -> io::Result<[u32; INFO_LEN]> {
    sys::option(near, libc::IPPROTO_TCP, libc::TCP_INFO)
}

fn bytes_acked(near: BorrowedFd<'_>) -> io::Result<u64> {
    let info = info(near)?;
    let halves = [info[INFO_BYTES_ACKED].to_ne_bytes(), info[INFO_BYTES_ACKED + 1].to_ne_bytes()];
    Ok(u64::from_ne_bytes(std::array::from_fn(|i| halves[i / 4][i % 4])))
}

fn is_closed(near: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(info(near)?[0].to_ne_bytes()[0] == STATE_CLOSE)
}

/// Looks until it is so or patience ends. A packet over loopback is taken in the call that sends it, unless
/// the socket is in use just then.
fn comes_true(patience: Duration, mut look: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    while !look()? {
        if left(deadline).is_zero() {
            return Ok(false);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(true)
}
