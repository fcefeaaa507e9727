//! What may be wrong with an entry.

use uringspec_model::abi::{msg, op, send_flag, sqe_flag};
use uringspec_model::program::FD_BASE;
use uringspec_model::sqe::Sqe;

use super::memory::Header;
use super::{EntryDraft, Features};

/// From here on `EntryDraft::odd` makes an entry wrong; below, it is as it should be.
const ODD: u8 = 200;
/// Fields of which one bit is turned.
const FLIPS: u8 = 14;

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    Nothing,
    Fault,
    Flip,
    Descriptor,
    Header,
    Opcode,
    Beyond,
}

pub(super) fn oddity(draft: &EntryDraft, features: Features) -> Oddity {
    if draft.odd < ODD {
        return Oddity::Nothing;
    }
    let possible = [
        (Features::FAULTS, Oddity::Fault),
        (Features::NONSENSE, Oddity::Flip),
        (Features::DESCRIPTORS, Oddity::Descriptor),
        (Features::HEADERS, Oddity::Header),
        (Features::OPCODES, Oddity::Opcode),
        (Features::BEYOND, Oddity::Beyond),
    ];
    let chosen = possible[usize::from(draft.odd - ODD) % possible.len()];
    if features.contains(chosen.0) { chosen.1 } else { Oddity::Nothing }
}

impl Header {
    /// What is wrong with the header of an entry.
    pub(super) fn of(oddity: Oddity, detail: u8) -> Header {
        match (oddity, detail % 8) {
            (Oddity::Header, 0 | 1) => Header::Nowhere,
            (Oddity::Header, 2) => Header::IovecsNowhere,
            (Oddity::Header, 3) => Header::TooMany,
            (Oddity::Header, 4) => Header::LengthSign,
            (Oddity::Header, 5) => Header::NameLength,
            (Oddity::Header, _) => Header::ControlLength,
            (Oddity::Beyond, 0) => Header::Name,
            _ => Header::Right,
        }
    }
}

/// Makes the entry wrong, as far as its memory does not already do so.
pub(super) fn disturb(oddity: Oddity, detail: u8, sqe: &mut Sqe) {
    match oddity {
        Oddity::Nothing | Oddity::Fault | Oddity::Header => {}
        Oddity::Flip if sqe.opcode == op::ASYNC_CANCEL => match detail % 4 {
            0 => sqe.off = 1 << (detail / 4),
            1 => sqe.file_index = 1 << (detail / 8),
            2 => sqe.op_flags = 0x40 << (detail / 12),
            _ => flip(detail, sqe),
        },
        Oddity::Flip => flip(detail, sqe),
        // beside the sockets: a number that is free, and negative ones
        Oddity::Descriptor if matches!(sqe.opcode, op::NOP | op::ASYNC_CANCEL) => {}
        Oddity::Descriptor => {
            sqe.fd = [-1, FD_BASE + 900, i32::MIN][usize::from(detail % 3)];
            if detail & 0x70 == 0x70 {
                sqe.flags |= sqe_flag::FIXED_FILE;
            }
        }
        Oddity::Opcode => sqe.opcode = [255, 200, 128, 100][usize::from(detail % 4)],
        Oddity::Beyond => match detail % 5 {
            1 => sqe.op_flags |= 1 << (detail / 6 % 32),
            2 => sqe.ioprio |= send_flag::BUNDLE,
            3 if sqe.opcode == op::NOP => sqe.op_flags = 1,
            4 => sqe.file_index = 16,
            _ => {}
        },
    }
}

/// Turns a bit of a field that is reserved, or of which only some bits are known.
fn flip(detail: u8, sqe: &mut Sqe) {
    let bit = detail / FLIPS;
    let vectored = matches!(sqe.opcode, op::SENDMSG | op::SENDMSG_ZC);
    let writes = matches!(sqe.opcode, op::WRITE | op::WRITEV | op::WRITE_FIXED);
    let sends = vectored || matches!(sqe.opcode, op::SEND | op::SEND_ZC);
    let zero_copy = sqe.is_zero_copy();
    match detail % FLIPS {
        0 => sqe.flags |= 0x80,
        1 => sqe.personality = 1 + u16::from(bit),
        2 if zero_copy => sqe.pad2 = 1 << bit,
        3 if zero_copy => sqe.addr3 = 1 << bit,
        2 if writes => sqe.pad2 = 1 << (bit % 2),
        3 if writes => sqe.ioprio = [1, 0x8000, 0xe000, 0x4000][usize::from(bit % 4)],
        2 | 3 if sends => sqe.op_flags |= [msg::FASTOPEN, msg::CONFIRM][usize::from(bit % 2)],
        4 => sqe.flags |= sqe_flag::BUFFER_SELECT,
        5 if zero_copy => sqe.flags |= sqe_flag::CQE_SKIP_SUCCESS,
        6 if vectored => sqe.off = 1 << bit,
        7 if vectored => sqe.file_index = 1 << bit,
        7 if sends => sqe.file_index = 0x1_0000 << (bit % 16),
        6..=8 if sqe.opcode == op::NOP => sqe.op_flags = 0x20 << bit,
        9..=11 if sqe.opcode == op::NOP => sqe.ioprio |= 1 << (bit % 16),
        8 if sends => sqe.ioprio |= 0x40 << (bit % 10),
        9 if sends && !zero_copy => sqe.ioprio |= send_flag::REPORT_USAGE,
        // MULTISHOT is of no use to a send
        10 if sends => sqe.ioprio |= send_flag::MULTISHOT,
        11 if sends && !vectored => sqe.len |= 0x8000_0000,
        8 | 9 if writes => sqe.op_flags = 1 << bit,
        12 if writes => sqe.off = 1 << bit,
        13 if writes => sqe.off = (1 << 63) >> (bit % 2),
        // what neither a plain send nor a nop reads
        _ if !zero_copy && sqe.opcode != op::WRITE_FIXED => sqe.buf_index = u16::from(bit),
        _ => sqe.personality = 0x8000,
    }
}
