//! Entries whose fields are anything at all, as far as they may be run.

use uringspec_model::abi::{op, sqe_flag};
use uringspec_model::memory::{WINDOW_BASE, WINDOW_BYTES};
use uringspec_model::program::FD_BASE;
use uringspec_model::sqe::Sqe;

use super::EntryDraft;

/// What is submitted to a live kernel; numbers from `FREE` on are nobody's on any known one.
const OPCODES: &[u8] = &[
    op::NOP,
    op::SEND,
    op::SENDMSG,
    op::SEND_ZC,
    op::SENDMSG_ZC,
    op::WRITE,
    op::WRITEV,
    op::WRITE_FIXED,
    op::ASYNC_CANCEL,
];
const FREE: u8 = 100;
/// Half of the addresses that a program can have.
const USER_END: u64 = 1 << 47;

/// Puts any values into some fields of an entry.
pub(super) fn change(draft: &EntryDraft, sqe: &mut Sqe) {
    let mut numbers = Numbers(u64::from(draft.flags) << 24 | u64::from(draft.detail) << 16 | sqe.user_data);
    for _ in 0..=draft.detail % 3 {
        let value = numbers.edge();
        match numbers.next() % 12 {
            0 => sqe.opcode = value as u8,
            1 => sqe.flags = value as u8,
            2 => sqe.ioprio = value as u16,
            3 => sqe.fd = value as i32,
            4 => sqe.off = value,
            5 => sqe.addr = value,
            6 => sqe.len = value as u32,
            7 => sqe.op_flags = value as u32,
            8 => sqe.buf_index = value as u16,
            9 => sqe.personality = value as u16,
            10 => sqe.file_index = value as u32,
            _ => (sqe.addr3, sqe.pad2) = (value, value.rotate_left(7)),
        }
    }
    tame(sqe);
}

/// Keeps to what may be run: see `real/src/admit.rs`.
pub(crate) fn tame(sqe: &mut Sqe) {
    if sqe.opcode < FREE && !OPCODES.contains(&sqe.opcode) {
        sqe.opcode = OPCODES[usize::from(sqe.opcode) % OPCODES.len()];
    }
    // a zero-copy send behind a drain hangs its ring for good
    sqe.flags &= !sqe_flag::DRAIN;
    if sqe.flags & sqe_flag::FIXED_FILE == 0 && (0..FD_BASE).contains(&sqe.fd) {
        sqe.fd += FD_BASE;
    }
    for addr in [&mut sqe.addr, &mut sqe.off] {
        let inside = (WINDOW_BASE..WINDOW_BASE + WINDOW_BYTES).contains(addr);
        // low numbers are lengths and positions as well
        if !inside && (4096..USER_END).contains(addr) {
            *addr = WINDOW_BASE + *addr % WINDOW_BYTES;
        }
    }
}

/// Numbers that follow from one (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// A number, mostly at the edge of some type.
    fn edge(&mut self) -> u64 {
        let bit = self.next() % 64;
        match self.next() % 6 {
            0 => 1 << bit,
            1 => (1u64 << bit).wrapping_sub(1),
            2 => u64::MAX << bit,
            3 => self.next() % 4,
            4 => WINDOW_BASE + ((self.next() % 8) << 22),
            _ => self.next(),
        }
    }
}
