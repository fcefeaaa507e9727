//! How many fragments of a packet lent memory comes to.
//!
//! Source: `zerocopy_fill_skb_from_iter` in `net/core/datagram.c`, `io_sg_from_iter` in `io_uring/net.c`, 6.18.

use crate::abi::PAGE_BYTES;

/// Fragments that one packet has (`MAX_SKB_FRAGS`).
const FRAGMENTS_MAX: u64 = 17;

/// Lent bytes that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First byte.
    pub addr: u64,
    /// How many.
    pub len_bytes: u64,
    /// They are found through a registered buffer.
    pub registered: bool,
}

/// Whether one packet can refer to all of the pieces.
pub fn fit_one_packet(pieces: impl IntoIterator<Item = Piece>) -> bool {
    up_to(FRAGMENTS_MAX, pieces).is_some()
}

/// The fragments of all pieces, in as many packets as they need.
pub fn count(pieces: impl IntoIterator<Item = Piece>) -> u64 {
    up_to(u64::MAX, pieces).unwrap_or(u64::MAX)
}

/// The pages that the pieces touch, each counted once a piece: so much a packet counts for on its socket.
pub fn pages(pieces: impl IntoIterator<Item = Piece>) -> u64 {
    let of_one = |piece: Piece| match piece.len_bytes {
        0 => 0,
        len => (piece.addr % PAGE_BYTES).saturating_add(len).div_ceil(PAGE_BYTES),
    };
    pieces.into_iter().map(of_one).fold(0, u64::saturating_add)
}

/// The fragments of a packet with room for `most` of them. What goes on in the page where the piece before it
/// ended lengthens that piece, unless the memory is registered; a full packet takes nothing more, not even that.
fn up_to(most: u64, pieces: impl IntoIterator<Item = Piece>) -> Option<u64> {
    let mut fragments = 0;
    let mut last_end = None;
    for piece in pieces {
        let (mut at, end) = (piece.addr, piece.addr.saturating_add(piece.len_bytes));
        while at < end {
            // as many pages of one iovec as there are fragments left are taken together
            let left = most - fragments;
            if left == 0 {
                return None;
            }
            for _ in 0..left {
                let page_end = (at / PAGE_BYTES + 1).saturating_mul(PAGE_BYTES);
                let goes_on = last_end == Some(at) && at % PAGE_BYTES != 0;
                fragments += u64::from(!goes_on || piece.registered);
                at = end.min(page_end);
                last_end = Some(at);
                if at == end {
                    break;
                }
            }
        }
    }
    Some(fragments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(registered: bool, list: &[(u64, u64)]) -> Vec<Piece> {
        list.iter()
            .map(|(addr, len_bytes)| Piece { addr: *addr, len_bytes: *len_bytes, registered })
            .collect()
    }

    #[test]
    fn side_by_side_in_a_page_is_one_unless_registered() {
        let list = [(4096, 10), (4106, 10), (8192, 1), (8193, 4095), (12288, 1)];
        assert_eq!(count(pieces(false, &list)), 3);
        assert_eq!(count(pieces(true, &list)), 5);
    }

    #[test]
    fn every_page_is_one() {
        assert_eq!(count(pieces(false, &[(4095, 4098)])), 3);
        assert_eq!(count(pieces(false, &[(4096, 0)])), 0);
    }

    #[test]
    fn a_page_is_counted_for_each_piece_that_touches_it() {
        assert_eq!(pages(pieces(false, &[(4095, 4098), (8193, 1), (8194, 0)])), 4);
    }

    #[test]
    fn a_full_packet_takes_nothing_more() {
        let pages = (0..17).map(|i| (i * 8192, 100)).collect::<Vec<_>>();
        assert!(fit_one_packet(pieces(false, &pages)));
        let goes_on = [pages.as_slice(), &[(16 * 8192 + 100, 1)]].concat();
        assert_eq!(count(pieces(false, &goes_on)), 17);
        assert!(!fit_one_packet(pieces(false, &goes_on)));
    }
}
