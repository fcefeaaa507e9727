//! A submission queue entry as data: all 64 bytes, nonsense included.
//!
//! Source: `struct io_uring_sqe` in `linux/io_uring.h`. The fields cover the 64 bytes exactly, so
//! `Sqe::from_bytes` and `Sqe::to_bytes` lose nothing.

use serde::{Deserialize, Serialize};

use crate::abi::{op, sqe_flag};

/// One entry of the submission queue. What its fields mean depends on the opcode; an `Sqe` may be
/// nonsense, a `Request` cannot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sqe {
    /// Byte 0, one of `abi::op`.
    #[serde(skip_serializing_if = "is_default")]
    pub opcode: u8,
    /// Byte 1, `abi::sqe_flag` bits.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: u8,
    /// Bytes 2..4, for sends `abi::send_flag` bits.
    #[serde(skip_serializing_if = "is_default")]
    pub ioprio: u16,
    /// Bytes 4..8, a descriptor or an index of the registered files.
    #[serde(skip_serializing_if = "is_default")]
    pub fd: i32,
    /// Bytes 8..16: `off`, `addr2`.
    #[serde(skip_serializing_if = "is_default")]
    pub off: u64,
    /// Bytes 16..24: `addr`, for sends the data or the msghdr.
    #[serde(skip_serializing_if = "is_default")]
    pub addr: u64,
    /// Bytes 24..28, bytes or elements.
    #[serde(skip_serializing_if = "is_default")]
    pub len: u32,
    /// Bytes 28..32: `msg_flags`, `rw_flags`, `cancel_flags`.
    #[serde(skip_serializing_if = "is_default")]
    pub op_flags: u32,
    /// Bytes 32..40, handed back in every completion.
    #[serde(skip_serializing_if = "is_default")]
    pub user_data: u64,
    /// Bytes 40..42: `buf_index`, `buf_group`.
    #[serde(skip_serializing_if = "is_default")]
    pub buf_index: u16,
    /// Bytes 42..44.
    #[serde(skip_serializing_if = "is_default")]
    pub personality: u16,
    /// Bytes 44..48: `file_index`, `splice_fd_in`, or `addr_len` with `__pad3` above it.
    #[serde(skip_serializing_if = "is_default")]
    pub file_index: u32,
    /// Bytes 48..56.
    #[serde(skip_serializing_if = "is_default")]
    pub addr3: u64,
    /// Bytes 56..64, `__pad2` or the attribute mask.
    #[serde(skip_serializing_if = "is_default")]
    pub pad2: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Sqe {
    /// The 64 bytes as the kernel reads them, little-endian.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut b = [0; 64];
        b[0] = self.opcode;
        b[1] = self.flags;
        b[2..4].copy_from_slice(&self.ioprio.to_le_bytes());
        b[4..8].copy_from_slice(&self.fd.to_le_bytes());
        b[8..16].copy_from_slice(&self.off.to_le_bytes());
        b[16..24].copy_from_slice(&self.addr.to_le_bytes());
        b[24..28].copy_from_slice(&self.len.to_le_bytes());
        b[28..32].copy_from_slice(&self.op_flags.to_le_bytes());
        b[32..40].copy_from_slice(&self.user_data.to_le_bytes());
        b[40..42].copy_from_slice(&self.buf_index.to_le_bytes());
        b[42..44].copy_from_slice(&self.personality.to_le_bytes());
        b[44..48].copy_from_slice(&self.file_index.to_le_bytes());
        b[48..56].copy_from_slice(&self.addr3.to_le_bytes());
        b[56..64].copy_from_slice(&self.pad2.to_le_bytes());
        b
    }

    /// Reads the 64 bytes; every value is legal.
    pub fn from_bytes(b: &[u8; 64]) -> Sqe {
        fn take<const N: usize>(b: &[u8; 64], at: usize) -> [u8; N] {
            std::array::from_fn(|i| b[at + i])
        }
        Sqe {
            opcode: b[0],
            flags: b[1],
            ioprio: u16::from_le_bytes(take(b, 2)),
            fd: i32::from_le_bytes(take(b, 4)),
            off: u64::from_le_bytes(take(b, 8)),
            addr: u64::from_le_bytes(take(b, 16)),
            len: u32::from_le_bytes(take(b, 24)),
            op_flags: u32::from_le_bytes(take(b, 28)),
            user_data: u64::from_le_bytes(take(b, 32)),
            buf_index: u16::from_le_bytes(take(b, 40)),
            personality: u16::from_le_bytes(take(b, 42)),
            file_index: u32::from_le_bytes(take(b, 44)),
            addr3: u64::from_le_bytes(take(b, 48)),
            pad2: u64::from_le_bytes(take(b, 56)),
        }
    }

    /// Bytes 44..46, the length of a destination address.
    pub fn addr_len(&self) -> u16 {
        (self.file_index & 0xffff) as u16
    }

    /// Bytes 46..48, which must be zero for sends (`__pad3[0]`).
    pub fn pad3(&self) -> u16 {
        (self.file_index >> 16) as u16
    }

    /// Whether `IOSQE_IO_LINK` or `IOSQE_IO_HARDLINK` joins this entry to the next.
    pub fn links(&self) -> bool {
        self.flags & (sqe_flag::LINK | sqe_flag::HARDLINK) != 0
    }

    /// Whether this is `SEND_ZC` or `SENDMSG_ZC`.
    pub fn is_zero_copy(&self) -> bool {
        matches!(self.opcode, op::SEND_ZC | op::SENDMSG_ZC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_fields_are_the_same_thing() {
        let bytes: [u8; 64] = std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ 0x5a);
        assert_eq!(Sqe::from_bytes(&bytes).to_bytes(), bytes);
        for bit in 0..512 {
            let mut one = [0u8; 64];
            one[bit / 8] = 1 << (bit % 8);
            let sqe = Sqe::from_bytes(&one);
            assert_ne!(sqe, Sqe::default(), "bit {bit} is covered by no field");
            assert_eq!(sqe.to_bytes(), one);
        }
    }
}
