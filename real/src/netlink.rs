//! What is asked of the network by netlink: that loopback acknowledges at once and sends again soon, and a
//! device of our own (see `device`).
//!
//! A delayed acknowledgement keeps what has arrived in the send queue for 40 ms, and with it
//! notifications, the state of a gate, and the end of a drain. Small receive buffers drop packets, since
//! pages that were sent without a copy count whole, and each such drop costs 200 ms and more. Two metrics
//! of the routes to ourselves do away with both. They are set only in a namespace of our own.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::sys::{self, Moved, check};

/// The loopback device has this index in every namespace.
const LOOPBACK_INDEX: u32 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTAX_LOCK: u16 = 1;
const RTAX_RTO_MIN: u16 = 13;
const RTAX_QUICKACK: u16 = 15;
/// The least time until a packet is sent again.
const RTO_MIN_MS: u32 = 5;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_KERNEL: u8 = 2;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;

/// A route to ourselves.
struct Route {
    family: libc::c_int,
    prefix_bits: u8,
    scope: u8,
    address: &'static [u8],
}

const ROUTES: [Route; 3] = [
    Route { family: libc::AF_INET, prefix_bits: 32, scope: RT_SCOPE_HOST, address: &[127, 0, 0, 1] },
    Route { family: libc::AF_INET, prefix_bits: 8, scope: RT_SCOPE_HOST, address: &[127, 0, 0, 0] },
    Route {
        family: libc::AF_INET6,
        prefix_bits: 128,
        scope: RT_SCOPE_UNIVERSE,
        address: &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    },
];

/// Gives the loopback routes of this namespace metrics that leave no time to waste.
pub(crate) fn hurry() -> io::Result<()> {
    let socket = open()?;
    for route in &ROUTES {
        // An IPv6 route keeps its metrics when it is replaced, so the old one has to go first.
        if route.family == libc::AF_INET6 {
            ask(&socket, &route.message(libc::RTM_DELROUTE, 0))?;
        }
        ask(&socket, &route.message(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE))?;
    }
    Ok(())
}

impl Route {
    fn message(&self, kind: u16, flags: libc::c_int) -> Vec<u8> {
        let mut body =
            vec![self.family as u8, self.prefix_bits, 0, 0, RT_TABLE_LOCAL, RTPROT_KERNEL, self.scope];
        body.push(RTN_LOCAL);
        body.extend(0u32.to_ne_bytes());
        attribute(&mut body, RTA_DST, self.address);
        attribute(&mut body, RTA_OIF, &LOOPBACK_INDEX.to_ne_bytes());
        if kind == libc::RTM_NEWROUTE {
            if self.family == libc::AF_INET {
                attribute(&mut body, RTA_PREFSRC, &[127, 0, 0, 1]);
            }
            let mut metrics = Vec::new();
            // Only a locked one is taken from the route.
            attribute(&mut metrics, RTAX_LOCK, &(1u32 << RTAX_RTO_MIN).to_ne_bytes());
            attribute(&mut metrics, RTAX_RTO_MIN, &RTO_MIN_MS.to_ne_bytes());
            attribute(&mut metrics, RTAX_QUICKACK, &1u32.to_ne_bytes());
            attribute(&mut body, RTA_METRICS, &metrics);
        }
        message(kind, flags, &body)
    }
}

/// A request with a header.
pub(crate) fn message(kind: u16, flags: libc::c_int, body: &[u8]) -> Vec<u8> {
    let flags = flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK;
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    // Sequence and port: one request at a time needs neither.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// A socket to ask with.
pub(crate) fn open() -> io::Result<OwnedFd> {
    sys::socket(libc::AF_NETLINK, libc::SOCK_RAW)
}

/// Appends an attribute; all of ours have lengths that need no padding.
pub(crate) fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    debug_assert_eq!(value.len() % 4, 0, "attributes are padded to four bytes");
    to.extend((4 + value.len() as u16).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
}

/// Sends a request and reads its acknowledgement, which the kernel has ready when the call returns.
pub(crate) fn ask(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    let (at, len) = (message.as_ptr().cast(), message.len());
    // SAFETY: the message is readable for its length during the call. Without an address it goes to the
    // kernel.
    let sent = unsafe { libc::send(socket.as_raw_fd(), at, len, 0) };
    check(sent as libc::c_int)?;
    let mut answer = [0; 1024];
    match sys::receive(socket.as_fd(), &mut answer) {
        Moved::Bytes(20..) => {}
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    // The header is 16 bytes; an error number, zero or negated, follows.
    match i32::from_ne_bytes(std::array::from_fn(|i| answer[16 + i])) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
