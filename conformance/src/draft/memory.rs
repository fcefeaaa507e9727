//! The memory of a draft: regions, places in them, message headers.

use uringspec_model::abi::PAGE_BYTES;
use uringspec_model::memory::{Contents, HexBytes, Protection, Region, WINDOW_BASE};
use uringspec_model::program::Iovec;

use super::{Features, PieceDraft};

/// Bytes between the starts of two regions; what no region covers is a hole.
const STRIDE: u64 = 1 << 24;
/// Stamped regions that can be written; they come first.
pub(super) const DATA_REGIONS: usize = 2;
/// Sizes of the first regions; the last two only where sends may be big.
const SIZES: &[u64] = &[4096, 8192, 16_384, 20_000, 70_000, 1 << 20];
/// Lengths of pieces: the edges of pages, of iovecs, of packets and of what a socket holds.
const LENGTHS: &[u64] = &[
    1,
    2,
    3,
    0,
    7,
    8,
    100,
    1000,
    4095,
    4096,
    4097,
    1,
    2,
    1448,
    8192,
    16_383,
    16_384,
    16_385,
    32_767,
    32_768,
    32_769,
    65_507,
    65_508,
    65_535,
    65_536,
    65_537,
    131_072,
    212_992,
    425_984,
    1 << 20,
];
/// The lengths up to here are sure to find room on a socket that is empty.
const SMALL_LENGTHS: usize = 17;
/// Places in a region.
const OFFSETS: &[u64] = &[0, 1, 3, 8, 100, 2048, 4095, 4096, 4097, 8191];
/// Addresses that are nobody's: the first page, the kernel's half, the end of all.
const NOBODYS: &[u64] = &[0, 4095, 1 << 47, u64::MAX, u64::MAX - 4096, 1 << 63];
/// Lengths at the borders of what the types and the kernel hold.
const HUGE: &[u64] = &[1 << 20, 0x7fff_f000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/// The regions, and the bytes of the one that holds message headers.
pub(super) struct Memory {
    pub(super) regions: Vec<Region>,
    headers: Vec<u8>,
    big: bool,
}

/// What is wrong with a message header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Right,
    /// It is nowhere.
    Nowhere,
    /// Its iovecs are nowhere.
    IovecsNowhere,
    /// It has more than 1024 iovecs.
    TooMany,
    /// The length of its first iovec has the top bit set.
    LengthSign,
    /// The length of its name has the top bit set.
    NameLength,
    /// It has more control data than an int counts.
    ControlLength,
    /// It has a name.
    Name,
}

impl Memory {
    pub(super) fn new(sizes: u8, features: Features) -> Memory {
        let big = features.contains(Features::BIG);
        let choices = if big { SIZES } else { &SIZES[..SIZES.len() - 2] };
        let size = |byte: u8| choices[usize::from(byte) % choices.len()];
        let mut memory = Memory { regions: Vec::new(), headers: Vec::new(), big };
        memory.add("K", size(sizes & 15), Protection::ReadWrite);
        memory.add("P", size(sizes >> 4), Protection::ReadWrite);
        if features.contains(Features::FAULTS) {
            memory.add("constant", 4096, Protection::ReadOnly);
            memory.add("forbidden", 4096, Protection::None);
        }
        memory
    }

    fn add(&mut self, name: &str, len_bytes: u64, protection: Protection) {
        let addr = WINDOW_BASE + self.regions.len() as u64 * STRIDE;
        self.regions.push(Region {
            name: name.into(),
            addr,
            len_bytes,
            protection,
            contents: Contents::Stamped,
        });
    }

    /// All of a region; of the first where there is no such.
    pub(super) fn whole(&self, index: usize) -> Iovec {
        let region = self.regions.get(index).unwrap_or(&self.regions[0]);
        Iovec { addr: region.addr, len_bytes: region.len_bytes }
    }

    /// Whether a buffer lies inside one of the first regions.
    pub(super) fn holds(&self, iovec: Iovec) -> bool {
        let mut data = self.regions[..DATA_REGIONS].iter();
        iovec.len_bytes > 0 && data.any(|region| region.covers(iovec.addr, iovec.len_bytes))
    }

    /// An address and a length inside one of the first regions.
    pub(super) fn piece(&self, piece: PieceDraft) -> (u64, u64) {
        let region = &self.regions[usize::from(piece.region) % DATA_REGIONS];
        self.place(region.addr, region.len_bytes, piece)
    }

    /// An address and a length inside `addr..addr + len`.
    pub(super) fn place(&self, addr: u64, len: u64, piece: PieceDraft) -> (u64, u64) {
        let lengths = if self.big { LENGTHS } else { &LENGTHS[..SMALL_LENGTHS] };
        let wanted = lengths[usize::from(piece.len) % lengths.len()];
        let offset = OFFSETS[usize::from(piece.offset) % OFFSETS.len()];
        // The upper half of the choices counts from the end.
        let offset =
            if piece.offset >= 192 { len.saturating_sub(wanted.max(offset)) } else { offset.min(len) };
        (addr + offset, wanted.min(len - offset))
    }

    /// An address and a length of which not every byte can be read.
    pub(super) fn fault(&self, piece: PieceDraft, detail: u8) -> (u64, u64) {
        let (addr, len) = self.piece(piece);
        let nobodys = NOBODYS[usize::from(piece.offset) % NOBODYS.len()];
        let region = &self.regions[usize::from(piece.region) % DATA_REGIONS];
        let end = region.end().next_multiple_of(PAGE_BYTES);
        match detail % 6 {
            // Its end lies behind the mapping.
            0 => (end - len.min(region.len_bytes) / 2 - 1, len.max(2)),
            1 => (nobodys, len.max(1)),
            2 => (WINDOW_BASE + self.regions.len() as u64 * STRIDE * 4, len),
            3 => (WINDOW_BASE + (DATA_REGIONS as u64 + u64::from(piece.region % 2)) * STRIDE, len.max(1)),
            4 => (addr, HUGE[usize::from(piece.len) % HUGE.len()]),
            _ => (end - 1, 4097),
        }
    }

    /// Places an array of iovecs; its address.
    pub(super) fn iovecs(&mut self, iovecs: &[(u64, u64)], wrong: Header) -> u64 {
        let base = WINDOW_BASE + self.regions.len() as u64 * STRIDE;
        if matches!(wrong, Header::Nowhere | Header::IovecsNowhere | Header::TooMany) {
            return base + STRIDE * 2;
        }
        let at = base + self.headers.len() as u64;
        for (i, (addr, len)) in iovecs.iter().enumerate() {
            let sign = if wrong == Header::LengthSign && i == 0 { 1 << 63 } else { 0 };
            self.headers.extend(addr.to_le_bytes());
            self.headers.extend((len | sign).to_le_bytes());
        }
        at
    }

    /// Places a message header with these iovecs; its address.
    pub(super) fn message(&mut self, iovecs: &[(u64, u64)], wrong: Header) -> u64 {
        let base = WINDOW_BASE + self.regions.len() as u64 * STRIDE;
        let at = base + self.headers.len() as u64;
        let mut words = [0u64; 7];
        words[2] = at + 56;
        words[3] = iovecs.len() as u64;
        match wrong {
            Header::Right | Header::LengthSign => {}
            Header::Nowhere => return base + STRIDE * 2,
            Header::IovecsNowhere => words[2] = base + STRIDE * 2,
            Header::TooMany => (words[2], words[3]) = (base + STRIDE * 2, 1025),
            Header::NameLength => (words[0], words[1]) = (base, 0x8000_0000),
            Header::ControlLength => words[5] = 0x8000_0000,
            Header::Name => (words[0], words[1]) = (base, 16),
        }
        for word in words {
            self.headers.extend(word.to_le_bytes());
        }
        self.iovecs(iovecs, if wrong == Header::LengthSign { wrong } else { Header::Right });
        at
    }

    /// All regions, that of the headers last.
    pub(super) fn finish(mut self) -> Vec<Region> {
        if !self.headers.is_empty() {
            self.regions.push(Region {
                name: "headers".into(),
                addr: WINDOW_BASE + self.regions.len() as u64 * STRIDE,
                len_bytes: self.headers.len() as u64,
                protection: Protection::ReadWrite,
                contents: Contents::Bytes(HexBytes(self.headers)),
            });
        }
        self.regions
    }
}
