//! Packets of a peer who is not there: IPv4 and TCP headers, without data.

use crate::device::{OWN, PEER};

const ACK: u8 = 0x10;
const RST: u8 = 0x04;
const IP_BYTES: usize = 20;
const TCP_BYTES: usize = 20;
/// Two fillers, then the kind, the length and one range (RFC 2018).
const SACK_BYTES: usize = 12;
const TTL: u8 = 64;

/// A packet from the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    /// The peer's port.
    pub(crate) from: u16,
    /// Our port.
    pub(crate) to: u16,
    /// The number of the peer's next byte.
    pub(crate) seq: u32,
    /// The number of the byte that the peer wants next.
    pub(crate) ack: u32,
    /// The window, scaled.
    pub(crate) window: u16,
    /// It ends the connection.
    pub(crate) resets: bool,
    /// Bytes behind a gap that the peer has: the first, and the one behind the last.
    pub(crate) has: Option<(u32, u32)>,
}

impl Packet {
    /// The packet as it is on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let options = if self.has.is_some() { SACK_BYTES } else { 0 };
        let tcp_bytes = TCP_BYTES + options;
        let total = (IP_BYTES + tcp_bytes) as u16;
        let mut ip = vec![0x45, 0];
        ip.extend(total.to_be_bytes());
        // Number and fragments; the checksum, which the kernel fills in.
        ip.extend([0, 0, 0, 0, TTL, libc::IPPROTO_TCP as u8, 0, 0]);
        ip.extend(PEER);
        ip.extend(OWN);
        let mut tcp = Vec::with_capacity(tcp_bytes);
        tcp.extend(self.from.to_be_bytes());
        tcp.extend(self.to.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.push((tcp_bytes / 4) as u8 * 16);
        tcp.push(if self.resets { RST | ACK } else { ACK });
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        if let Some((first, end)) = self.has {
            tcp.extend([1, 1, 5, 10]);
            tcp.extend(first.to_be_bytes());
            tcp.extend(end.to_be_bytes());
        }
        let sum = checksum(&tcp).to_be_bytes();
        tcp[16..18].copy_from_slice(&sum);
        ip.extend(tcp);
        ip
    }
}

/// The checksum of a TCP packet from the peer to us, whose own field is zero (RFC 9293, 3.1).
fn checksum(tcp: &[u8]) -> u16 {
    let mut pseudo = Vec::with_capacity(12);
    pseudo.extend(PEER);
    pseudo.extend(OWN);
    pseudo.extend([0, libc::IPPROTO_TCP as u8]);
    pseudo.extend((tcp.len() as u16).to_be_bytes());
    let words = pseudo.chunks(2).chain(tcp.chunks(2));
    let mut sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_40_bytes_and_its_sum_is_all_ones() {
        let plain = Packet { from: 1, to: 2, seq: 3, ack: 0xffff_fffe, window: 7, ..Packet::default() };
        assert_eq!(plain.bytes().len(), 40);
        for packet in [plain, Packet { resets: true, ..plain }, Packet { has: Some((9, 12)), ..plain }] {
            assert_eq!(checksum(&packet.bytes()[IP_BYTES..]), 0, "{packet:?}");
        }
    }
}
