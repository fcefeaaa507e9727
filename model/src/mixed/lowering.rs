//! The ways to make a mixed send from what kernels have: on which kernels each exists, and for which
//! sends.
//!
//! Source: what `prepare` refuses; `io_uring/net.c` and `io_uring/rsrc.c` of the releases that
//! `profile` names.

use std::fmt;

use super::{Memory, MixedSend, Segment, Transfer};
use crate::abi::{UIO_MAXIOV, sqe_flag};
use crate::fragments::{self, Piece};
use crate::profile::{Feature, Profile};

/// A way to make a mixed send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lowering {
    /// `SENDMSG`: all is copied.
    Copy,
    /// `SENDMSG_ZC` by address; what is to be copied is staged elsewhere before.
    Staged,
    /// `SENDMSG_ZC | FIXED_BUF`; what is to be copied is staged inside the registered buffer.
    StagedFixed,
    /// `SEND_ZC` of one range, `FIXED_BUF` if it is registered; what is to be copied is staged right before
    /// what is lent.
    Contiguous,
    /// `SEND_ZC | VECTORIZED` by address, staged like `Staged`.
    Vectorized,
    /// `SEND_ZC | VECTORIZED | FIXED_BUF`, staged like `StagedFixed`.
    VectorizedFixed,
    /// `SEND` or `SENDMSG` for what is copied and `SEND_ZC` for what is lent, linked, all but the last
    /// with `MSG_MORE`.
    Linked,
}

/// Why a lowering does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// The kernel lacks this.
    Feature(Feature),
    /// Nothing is lent.
    NothingLent,
    /// What is lent does not lie in one registered buffer.
    TwoMemories,
    /// What is lent is not one range, with all that is copied before it.
    NotOneRange,
    /// Several requests cannot be one datagram.
    Datagram,
    /// A datagram has too few fragments for it.
    Fragments,
    /// The first of several requests is whole only with `MSG_WAITALL`.
    NeedsWaitall,
    /// A hard link protects what is behind a chain only from its last member.
    HardLink,
    /// More than 1024 segments.
    TooMany,
    /// It cannot be meant, or a segment lies outside its buffer; a library refuses it itself.
    Refused,
    /// There is no memory for headers where they would have to be.
    NoRoom,
    /// What is to be staged cannot be read.
    Unreadable,
}

/// What must be staged, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staging {
    /// Nothing.
    None,
    /// So many bytes anywhere.
    Anywhere(u64),
    /// So many bytes inside the registered buffer with this index.
    Inside(u16, u64),
    /// So many bytes that end where the lent range begins, inside the same buffer if it is registered.
    Before(Option<u16>, u64, u64),
}

impl Lowering {
    /// Every lowering.
    pub const ALL: [Lowering; 7] = [
        Lowering::Copy,
        Lowering::Staged,
        Lowering::StagedFixed,
        Lowering::Contiguous,
        Lowering::Vectorized,
        Lowering::VectorizedFixed,
        Lowering::Linked,
    ];

    /// The word in cases and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Lowering::Copy => "copy",
            Lowering::Staged => "staged",
            Lowering::StagedFixed => "staged-fixed",
            Lowering::Contiguous => "contiguous",
            Lowering::Vectorized => "vectorized",
            Lowering::VectorizedFixed => "vectorized-fixed",
            Lowering::Linked => "linked",
        }
    }

    /// What it is made of, in words.
    pub fn text(self) -> &'static str {
        match self {
            Lowering::Copy => "SENDMSG of everything by address",
            Lowering::Staged => "SENDMSG_ZC by address, headers staged beside it",
            Lowering::StagedFixed => "SENDMSG_ZC|FIXED_BUF, headers staged inside the registered buffer",
            Lowering::Contiguous => "SEND_ZC of one range, headers staged right before the payload",
            Lowering::Vectorized => "SEND_ZC|VECTORIZED by address, headers staged beside it",
            Lowering::VectorizedFixed => {
                "SEND_ZC|VECTORIZED|FIXED_BUF, headers staged inside the registered buffer"
            }
            Lowering::Linked => "a chain of SEND and SEND_ZC with MSG_MORE",
        }
    }

    /// The features without which no kernel has it.
    pub fn needs(self) -> &'static [Feature] {
        match self {
            Lowering::Copy => &[],
            Lowering::Staged => &[Feature::SendmsgZc],
            Lowering::StagedFixed => &[Feature::SendmsgZcFixed],
            Lowering::Contiguous | Lowering::Linked => &[Feature::SendZc],
            Lowering::Vectorized => &[Feature::SendZc, Feature::SendVectorized],
            Lowering::VectorizedFixed => &[Feature::SendZc, Feature::SendVectorized, Feature::NotifUserData],
        }
    }

    /// What it must stage for `send` on the kernel of `profile`, or why there it does not exist.
    pub fn staging(self, send: &MixedSend, profile: &Profile, datagram: bool) -> Result<Staging, Missing> {
        if self == Lowering::Copy {
            return Ok(Staging::None);
        }
        if let Some(lacking) = self.needs().iter().find(|feature| !profile.has(**feature)) {
            return Err(Missing::Feature(*lacking));
        }
        if send.reports && !profile.has(Feature::ReportUsage) {
            return Err(Missing::Feature(Feature::ReportUsage));
        }
        if send.lends_from().is_none() {
            return Err(Missing::NothingLent);
        }
        if send.segments.len() as u64 > UIO_MAXIOV {
            return Err(Missing::TooMany);
        }
        let bytes = send.copied_bytes();
        let staging = match self {
            Lowering::Copy => Staging::None,
            Lowering::Staged | Lowering::Vectorized => Staging::Anywhere(bytes),
            Lowering::StagedFixed | Lowering::VectorizedFixed => {
                Staging::Inside(one_buffer(send).ok_or(Missing::TwoMemories)?, bytes)
            }
            Lowering::Contiguous => {
                let first = one_range(send).ok_or(Missing::NotOneRange)?;
                let index = match first.memory {
                    Memory::Registered(index) => Some(index),
                    Memory::Plain => None,
                };
                Staging::Before(index, first.addr, bytes)
            }
            Lowering::Linked => return linked(send, datagram),
        };
        if datagram && !fragments::fit_one_packet(pieces(send, staging)) {
            return Err(Missing::Fragments);
        }
        Ok(staging)
    }
}

/// Whether a chain can stand for the send.
fn linked(send: &MixedSend, datagram: bool) -> Result<Staging, Missing> {
    if datagram {
        return Err(Missing::Datagram);
    }
    if send.flags & sqe_flag::HARDLINK != 0 {
        return Err(Missing::HardLink);
    }
    if !send.waits_for_all() && send.filled().count() > 1 {
        return Err(Missing::NeedsWaitall);
    }
    Ok(Staging::None)
}

/// The registered buffer in which all lies that is lent, if one does.
pub(super) fn one_buffer(send: &MixedSend) -> Option<u16> {
    let mut buffers = send.lent().map(|s| match s.memory {
        Memory::Registered(index) => Some(index),
        Memory::Plain => None,
    });
    let first = buffers.next()??;
    buffers.all(|buffer| buffer == Some(first)).then_some(first)
}

/// The first segment that is lent, if all of them lie side by side behind all that is copied.
fn one_range(send: &MixedSend) -> Option<Segment> {
    let first = *send.lent().next()?;
    let mut end = first.addr;
    for segment in send.lent() {
        if segment.addr != end || segment.memory != first.memory {
            return None;
        }
        end += u64::from(segment.len_bytes);
    }
    let before = send.lends_from() == Some(send.copied_bytes());
    let plain_with_headers = first.memory == Memory::Plain && send.copied_bytes() > 0;
    (before && !plain_with_headers).then_some(first)
}

/// Fragments of the packets that carry what is lent, staged headers included.
pub fn fragments(send: &MixedSend, staging: Staging) -> u64 {
    fragments::count(pieces(send, staging))
}

/// What is lent in place of the segments, as far as it lies side by side. The staging area is as good as far
/// away; what one send stages there crosses a page only where it must.
fn pieces(send: &MixedSend, staging: Staging) -> Vec<Piece> {
    let registered = match staging {
        Staging::None => return send.lent().map(Segment::piece).collect(),
        Staging::Before(index, start, bytes) => {
            let (addr, registered) = (start - bytes, index.is_some());
            return vec![Piece { addr, len_bytes: send.len_bytes(), registered }];
        }
        Staging::Anywhere(_) => false,
        Staging::Inside(..) => true,
    };
    let mut staged = 0;
    let piece = |segment: &Segment| {
        let len_bytes = u64::from(segment.len_bytes);
        let mut addr = segment.addr;
        if segment.transfer == Transfer::Copy {
            addr = staged;
            staged += len_bytes;
        }
        Piece { addr, len_bytes, registered }
    };
    send.filled().map(piece).collect()
}

impl fmt::Display for Lowering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Missing::Feature(feature) => return write!(f, "the kernel lacks {feature}"),
            Missing::NothingLent => "nothing is lent",
            Missing::TwoMemories => "what is lent does not lie in one registered buffer",
            Missing::NotOneRange => "what is lent is not one range behind all that is copied",
            Missing::Datagram => "several requests cannot be one datagram",
            Missing::Fragments => "a datagram has at most 17 fragments",
            Missing::NeedsWaitall => "several requests need MSG_WAITALL",
            Missing::HardLink => "a hard link would hold only behind the last of several requests",
            Missing::TooMany => "there are more than 1024 segments",
            Missing::Refused => "it is refused before a kernel sees it",
            Missing::NoRoom => "there is no memory for headers where they would have to be",
            Missing::Unreadable => "what is to be staged cannot be read",
        })
    }
}
