//! A tap: a packet socket that hears what leaves the device. It costs the sends their zero copy: a packet
//! that goes to a tap as well is copied for it, and notifications say so.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::declared::Declared;
use crate::sys::{self, Moved, check};

/// The longest packet.
const PACKET_BYTES: usize = 64 << 10;
/// What may wait to be read; as much as usual limits allow.
const RCVBUF_BYTES: i32 = 8 << 20;

/// What was heard of one connection.
#[derive(Debug)]
pub(crate) struct Tap {
    socket: OwnedFd,
    packet: Vec<u8>,
    /// Bytes that left for the first time, so far.
    heard: u32,
    /// Those of them that were not taken.
    fresh: Vec<u8>,
}

impl Tap {
    /// Hears what leaves through the device of a connection from now on.
    pub(crate) fn open(peer: &Declared) -> io::Result<Tap> {
        let socket = sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM)?;
        // More than limits allow is not asked for twice.
        let _ = sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, RCVBUF_BYTES);
        // SAFETY: an address structure is plain integers, for which zeros are a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        // Only a tap for all protocols hears what leaves.
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = peer.device().index as i32;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is readable for `len` bytes.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
        Ok(Tap { socket, packet: vec![0; PACKET_BYTES], heard: 0, fresh: Vec::new() })
    }

    /// Takes what left for the first time, in the order of the stream.
    pub(crate) fn take(&mut self, peer: &Declared) -> Vec<u8> {
        self.hear(peer);
        std::mem::take(&mut self.fresh)
    }

    /// What left again since the last time: where in the stream, and the bytes.
    pub(crate) fn hear(&mut self, peer: &Declared) -> Vec<(u32, Vec<u8>)> {
        let mut again = Vec::new();
        while let Moved::Bytes(n) = sys::receive(self.socket.as_fd(), &mut self.packet) {
            let Some((seq, data)) = data(&self.packet[..n], peer.ports()) else { continue };
            let at = peer.offset_of(seq);
            let known = self.heard.saturating_sub(at).min(data.len() as u32) as usize;
            if known > 0 {
                again.push((at, data[..known].to_vec()));
            }
            self.fresh.extend(&data[known..]);
            self.heard += (data.len() - known) as u32;
        }
        again
    }
}

/// The number and the bytes of a TCP packet between these ports.
fn data(packet: &[u8], ports: (u16, u16)) -> Option<(u32, &[u8])> {
    let two = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let ip_bytes = usize::from(packet.first()? & 15) * 4;
    let total = usize::from(two(2)?);
    let is_tcp = *packet.get(9)? == libc::IPPROTO_TCP as u8;
    if !is_tcp || (two(ip_bytes)?, two(ip_bytes + 2)?) != ports {
        return None;
    }
    let seq = u32::from_be_bytes(packet.get(ip_bytes + 4..ip_bytes + 8)?.try_into().ok()?);
    let tcp_bytes = usize::from(packet.get(ip_bytes + 12)? >> 4) * 4;
    let data = packet.get(ip_bytes + tcp_bytes..total.min(packet.len()))?;
    (!data.is_empty()).then_some((seq, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;

    #[test]
    fn only_bytes_of_the_connection_are_heard() {
        let mut packet = Packet { from: 3, to: 4, seq: 77, ..Packet::default() }.bytes();
        assert_eq!(data(&packet, (3, 4)), None);
        packet.extend(*b"abc");
        packet[3] += 3;
        assert_eq!(data(&packet, (3, 4)), Some((77, &b"abc"[..])));
        assert_eq!(data(&packet, (4, 3)), None);
        assert_eq!(data(&packet[..30], (3, 4)), None);
        assert_eq!(data(&[], (3, 4)), None);
    }
}
