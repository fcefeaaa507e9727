//! A tap: a packet socket that hears what leaves the device. It costs the sends their zero copy: a packet
//! that goes to a tap as well is copied for it, and notifications say so.

use std::io;
use std::mem::{size_of, zeroed};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::declared::Declared;
use crate::device::Device;
use crate::sockets::Address;
use crate::sys::{self, Moved, check};

/// The longest packet.
const PACKET_BYTES: usize = 64 << 10;
/// What may wait to be read; as much as usual limits allow.
const RCVBUF_BYTES: i32 = 8 << 20;

/// A packet socket on the device.
#[derive(Debug)]
struct Ear {
    socket: OwnedFd,
    packet: Vec<u8>,
}

impl Ear {
    /// Hears what leaves through the device from now on.
    fn open(device: &Device) -> io::Result<Ear> {
        let socket = sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM)?;
        // More than limits allow is not asked for twice.
        let _ = sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, RCVBUF_BYTES);
        // SAFETY: an address structure is plain integers, for which zeros are a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        // Only a tap for all protocols hears what leaves.
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = device.index as i32;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is readable for `len` bytes.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
        Ok(Ear { socket, packet: vec![0; PACKET_BYTES] })
    }

    /// The next packet, from its IPv4 header on, if one has left.
    fn next(&mut self) -> Option<&[u8]> {
        match sys::receive(self.socket.as_fd(), &mut self.packet) {
            Moved::Bytes(n) => Some(&self.packet[..n]),
            Moved::WouldBlock | Moved::Failed => None,
        }
    }
}

/// What was heard of one connection.
#[derive(Debug)]
pub(crate) struct Tap {
    ear: Ear,
    /// Bytes that left for the first time, so far.
    heard: u32,
    /// Those of them that were not taken.
    fresh: Vec<u8>,
}

/// What is heard of one datagram socket.
#[derive(Debug)]
pub(crate) struct DatagramTap {
    ear: Ear,
    /// The port of the socket.
    port: u16,
}

impl DatagramTap {
    /// Hears what leaves through the device from now on, of a socket that is connected.
    pub(crate) fn open(device: &Device, near: &OwnedFd) -> io::Result<DatagramTap> {
        Ok(DatagramTap { ear: Ear::open(device)?, port: Address::of(near)?.port() })
    }

    /// The bytes of the next datagram that left, if one did.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        loop {
            let packet = self.ear.next()?;
            // found again below: a borrow that is returned would last for the whole loop
            if let Some(range) = datagram(packet, self.port) {
                return self.ear.packet.get(range);
            }
        }
    }

    /// Readable once something may have left.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.ear.socket.as_fd()
    }
}

impl Tap {
    /// Hears what leaves through the device of a connection from now on.
    pub(crate) fn open(peer: &Declared) -> io::Result<Tap> {
        Ok(Tap { ear: Ear::open(peer.device())?, heard: 0, fresh: Vec::new() })
    }

    /// Takes what left for the first time, in the order of the stream.
    pub(crate) fn take(&mut self, peer: &Declared) -> Vec<u8> {
        self.hear(peer);
        std::mem::take(&mut self.fresh)
    }

    /// What left again since the last time: where in the stream, and the bytes.
    pub(crate) fn hear(&mut self, peer: &Declared) -> Vec<(u32, Vec<u8>)> {
        let mut again = Vec::new();
        while let Some(packet) = self.ear.next() {
            let Some((seq, data)) = data(packet, peer.ports()) else { continue };
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

/// Where the bytes of a UDP packet of this port are.
fn datagram(packet: &[u8], port: u16) -> Option<Range<usize>> {
    const HEADER_BYTES: usize = 8;
    let two = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let ip_bytes = usize::from(packet.first()? & 15) * 4;
    let is_udp = *packet.get(9)? == libc::IPPROTO_UDP as u8;
    if !is_udp || two(ip_bytes)? != port {
        return None;
    }
    let range = ip_bytes + HEADER_BYTES..ip_bytes + usize::from(two(ip_bytes + 4)?);
    packet.get(range.clone()).map(|_| range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;

    #[test]
    fn only_datagrams_of_the_socket_are_heard() {
        let mut packet = vec![0; 28];
        (packet[0], packet[9]) = (0x45, libc::IPPROTO_UDP as u8);
        packet[20..28].copy_from_slice(&[0, 7, 0, 9, 0, 11, 0, 0]);
        assert_eq!(datagram(&packet, 7), None);
        packet.extend(*b"abc");
        assert_eq!(datagram(&packet, 7), Some(28..31));
        assert_eq!(datagram(&packet, 9), None);
        packet[25] = 8;
        assert_eq!(datagram(&packet, 7), Some(28..28));
        packet[25] = 7;
        assert_eq!(datagram(&packet, 7), None);
        assert_eq!(datagram(&[], 7), None);
    }

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
