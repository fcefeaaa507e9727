//! The elements of a mixed send, as the proposal has them: each says whether its bytes are copied and
//! in which registered buffer they lie.
//!
//! An element has the size of a `struct iovec` and begins with its address. Where an iovec has the upper
//! half of a length, which no send can use, it has the index of a buffer and flags; so an array of
//! iovecs is an array of elements that are copied from plain memory.
//!
//! Source: no kernel has this; `mixed/PROPOSAL.md`.

use super::{Errors, SendPlan};
use crate::abi::{self, UIO_MAXIOV, element_flag, errno};
use crate::buffers::Buffers;
use crate::cqe::Errno;
use crate::fragments::Piece;
use crate::rules::Rule;
use crate::space::{Segment, Space, UserMemory, is_user_range};

/// Bytes of one element.
pub(super) const ELEMENT_BYTES: usize = 16;

/// What an element of a mixed send says beside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The registered buffer in which it lies.
    pub fixed: Option<u16>,
    /// Its memory is lent instead of copied.
    pub lent: bool,
}

/// Ranges, and what each says of itself.
type Elements = (Vec<(u64, u64)>, Vec<Element>);

/// Reads an array of elements; adds to `errors` what is wrong with it.
pub(super) fn elements(addr: u64, count: u64, memory: &impl UserMemory, errors: &mut Errors) -> Elements {
    let (mut ranges, mut said) = (Vec::new(), Vec::new());
    if count > UIO_MAXIOV {
        return (ranges, said);
    }
    let mut array = vec![0; count as usize * ELEMENT_BYTES];
    if count > 0 && memory.read(addr, &mut array).is_err() {
        errors.refuse_if(true, errno::EFAULT, Rule::MsgIovecsReadable);
        return (ranges, said);
    }
    for element in array.chunks_exact(ELEMENT_BYTES) {
        let base = u64::from_le_bytes(std::array::from_fn(|i| element[i]));
        let len = u32::from_le_bytes(std::array::from_fn(|i| element[8 + i]));
        let index = u16::from_le_bytes(std::array::from_fn(|i| element[12 + i]));
        let flags = u16::from_le_bytes(std::array::from_fn(|i| element[14 + i]));
        let fixed = (flags & element_flag::FIXED != 0).then_some(index);
        let unknown = flags & !(element_flag::ZC | element_flag::FIXED) != 0;
        errors.refuse_if(unknown, errno::EINVAL, Rule::MixedRefusedWhole);
        errors.refuse_if(fixed.is_none() && index != 0, errno::EINVAL, Rule::MixedRefusedWhole);
        let outside = fixed.is_none() && !is_user_range(base, len.into());
        errors.refuse_if(outside, errno::EFAULT, Rule::MixedRefusedWhole);
        if len > 0 {
            ranges.push((base, u64::from(len)));
            said.push(Element { fixed, lent: flags & element_flag::ZC != 0 });
        }
    }
    let total: u64 = ranges.iter().map(|(_, len)| *len).sum();
    errors.refuse_if(total > abi::MAX_RW_COUNT, errno::EINVAL, Rule::MixedRefusedWhole);
    (ranges, said)
}

impl SendPlan {
    /// What is lent, in order; of anything but a mixed send all.
    pub(crate) fn lent(&self) -> impl Iterator<Item = Piece> {
        self.ranges.iter().enumerate().filter_map(|(i, (addr, len))| {
            let element = self.elements.get(i);
            let registered = self.fixed.is_some() || element.is_some_and(|e| e.fixed.is_some());
            let piece = Piece { addr: *addr, len_bytes: *len, registered };
            element.is_none_or(|e| e.lent).then_some(piece)
        })
    }

    /// Bytes before the first that is lent, of a mixed send that lends any.
    pub fn lends_from(&self) -> Option<u64> {
        let first = self.elements.iter().position(|e| e.lent)?;
        Some(self.ranges[..first].iter().map(|(_, len)| *len).sum())
    }

    /// Whether it names registered memory.
    pub fn is_fixed(&self) -> bool {
        self.fixed.is_some() || self.elements.iter().any(|e| e.fixed.is_some())
    }

    /// Bytes that are lent and not registered; of anything but a mixed send all.
    pub fn unregistered_bytes(&self) -> u64 {
        let counts = |i: usize| self.elements.get(i).is_none_or(|e| e.lent && e.fixed.is_none());
        let ranges = self.ranges.iter().enumerate().filter(|(i, _)| counts(*i));
        ranges.map(|(_, (_, len))| *len).fold(0, u64::saturating_add)
    }

    /// The error of a mixed send with an element that does not lie in the buffer it names.
    pub fn missing(&self, buffers: &Buffers) -> Option<(Errno, Rule)> {
        let outside = |(element, (addr, len)): (&Element, &(u64, u64))| {
            buffers.check(element.fixed?, *addr, *len, false).err()
        };
        let (error, _) = self.elements.iter().zip(&self.ranges).find_map(outside)?;
        Some((error, Rule::MixedRefusedWhole))
    }

    /// Where the bytes are, in order.
    pub fn segments(&self, space: Space<'_>) -> Vec<Segment> {
        let mut segments = Vec::with_capacity(self.ranges.len());
        for (i, (addr, len)) in self.ranges.iter().enumerate() {
            let from = segments.len();
            space.segments(*addr, *len, &mut segments);
            let lent = self.elements.get(i).is_none_or(|e| e.lent);
            segments[from..].iter_mut().for_each(|segment| segment.lent = lent);
        }
        segments
    }
}
