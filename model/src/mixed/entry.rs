//! A mixed send as the proposal writes it: one entry, a message header, and an array of elements.
//!
//! `SENDMSG_ZC` or `SEND_ZC | VECTORIZED` with `PER_IOVEC` in `ioprio`. An element is
//! `{u64 addr, u32 len, u16 buf_index, u16 flags}`.

use super::{Memory, MixedSend, Segment, Transfer};
use crate::abi::{UIO_MAXIOV, element_flag, op, send_flag};
use crate::program::Iovec;
use crate::space::UserMemory;
use crate::sqe::Sqe;

/// Bytes of a `struct user_msghdr`, with what keeps the array behind it aligned.
const MSGHDR_BYTES: u64 = 64;

/// Message headers and arrays while they are written, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The address of the first byte.
    pub addr: u64,
    /// What stands there.
    pub bytes: Vec<u8>,
}

impl Headers {
    /// Nothing yet, at `addr`.
    pub fn at(addr: u64) -> Headers {
        Headers { addr, bytes: Vec::new() }
    }

    /// Writes an array of 16-byte elements; its address.
    fn words(&mut self, elements: impl Iterator<Item = (u64, u64)>) -> u64 {
        let addr = self.addr + self.bytes.len() as u64;
        for (first, second) in elements {
            self.bytes.extend(first.to_le_bytes());
            self.bytes.extend(second.to_le_bytes());
        }
        let padded = self.bytes.len().next_multiple_of(MSGHDR_BYTES as usize);
        self.bytes.resize(padded, 0);
        addr
    }

    /// Writes an array of iovecs; its address.
    pub fn iovecs(&mut self, iovecs: &[Iovec]) -> u64 {
        self.words(iovecs.iter().map(|iovec| (iovec.addr, iovec.len_bytes)))
    }

    /// Writes a message header with `count` elements right behind it; its address.
    fn header(&mut self, count: usize) -> u64 {
        let addr = self.addr + self.bytes.len() as u64;
        let mut header = [0; MSGHDR_BYTES as usize];
        header[16..24].copy_from_slice(&(addr + MSGHDR_BYTES).to_le_bytes());
        header[24..32].copy_from_slice(&(count as u64).to_le_bytes());
        self.bytes.extend(header);
        addr
    }

    /// Writes a message header with its iovecs; its address.
    pub fn message(&mut self, iovecs: &[Iovec]) -> u64 {
        let addr = self.header(iovecs.len());
        self.iovecs(iovecs);
        addr
    }

    fn elements(&mut self, segments: &[Segment]) -> u64 {
        self.words(segments.iter().map(|s| (s.addr, element(s))))
    }
}

/// A segment as an array of iovecs holds it.
pub fn as_iovec(segment: &Segment) -> Iovec {
    Iovec { addr: segment.addr, len_bytes: element(segment) }
}

/// The second half of an element: length, index and flags.
fn element(segment: &Segment) -> u64 {
    let (index, fixed) = match segment.memory {
        Memory::Plain => (0, 0),
        Memory::Registered(index) => (index, element_flag::FIXED),
    };
    let lent = if segment.transfer == Transfer::ZeroCopy { element_flag::ZC } else { 0 };
    u64::from(segment.len_bytes) | u64::from(index) << 32 | u64::from(fixed | lent) << 48
}

/// The entry of a mixed send; its header and elements go to `headers`.
pub fn write(send: &MixedSend, headers: &mut Headers) -> Sqe {
    let addr = headers.header(send.segments.len());
    headers.elements(&send.segments);
    let usage = if send.reports { send_flag::REPORT_USAGE } else { 0 };
    Sqe {
        opcode: op::SENDMSG_ZC,
        flags: send.flags,
        ioprio: send_flag::PER_IOVEC | usage,
        fd: send.fd,
        addr,
        len: 1,
        op_flags: send.msg,
        user_data: send.user_data,
        ..Sqe::default()
    }
}

/// Why an entry is no mixed send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMixed {
    /// It is another kind of entry.
    Another,
    /// It is meant as one, and cannot be.
    Refused,
}

/// Reads the entry of a mixed send.
pub fn read(sqe: &Sqe, memory: &impl UserMemory) -> Result<MixedSend, NotMixed> {
    let vectorized = sqe.ioprio & send_flag::VECTORIZED != 0;
    let (addr, count) = match sqe.opcode {
        _ if sqe.ioprio & send_flag::PER_IOVEC == 0 => return Err(NotMixed::Another),
        op::SENDMSG_ZC => {
            let mut header = [0; 32];
            memory.read(sqe.addr, &mut header).map_err(|_| NotMixed::Refused)?;
            let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
            (word(16), word(24))
        }
        op::SEND_ZC if vectorized => (sqe.addr, sqe.len.into()),
        _ => return Err(NotMixed::Another),
    };
    let known = send_flag::PER_IOVEC | send_flag::REPORT_USAGE | send_flag::POLL_FIRST;
    let known = if vectorized { known | send_flag::VECTORIZED } else { known };
    if sqe.ioprio & !known != 0 || sqe.buf_index != 0 || count > UIO_MAXIOV {
        return Err(NotMixed::Refused);
    }
    let mut array = vec![0; count as usize * 16];
    if count > 0 {
        memory.read(addr, &mut array).map_err(|_| NotMixed::Refused)?;
    }
    Ok(MixedSend {
        user_data: sqe.user_data,
        fd: sqe.fd,
        flags: sqe.flags,
        msg: sqe.op_flags,
        reports: sqe.ioprio & send_flag::REPORT_USAGE != 0,
        segments: array.chunks_exact(16).map(segment).collect::<Option<_>>().ok_or(NotMixed::Refused)?,
    })
}

fn segment(element: &[u8]) -> Option<Segment> {
    let flags = u16::from_le_bytes([element[14], element[15]]);
    let index = u16::from_le_bytes([element[12], element[13]]);
    let fixed = flags & element_flag::FIXED != 0;
    if flags & !(element_flag::ZC | element_flag::FIXED) != 0 || (!fixed && index != 0) {
        return None;
    }
    Some(Segment {
        addr: u64::from_le_bytes(std::array::from_fn(|i| element[i])),
        len_bytes: u32::from_le_bytes(std::array::from_fn(|i| element[8 + i])),
        memory: if fixed { Memory::Registered(index) } else { Memory::Plain },
        transfer: if flags & element_flag::ZC != 0 { Transfer::ZeroCopy } else { Transfer::Copy },
    })
}
