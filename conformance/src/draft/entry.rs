//! The entries of a draft.

use uringspec_model::abi::{msg, op, send_flag, sqe_flag};
use uringspec_model::program::{End, FD_BASE, Iovec, SocketId, fd_of};
use uringspec_model::sqe::Sqe;

use super::memory::{Header, Memory};
use super::{EntryDraft, Features, PieceDraft};

/// Bits of `EntryDraft::flags`.
mod bit {
    pub(super) const LINK: u16 = 1;
    pub(super) const HARDLINK: u16 = 2;
    pub(super) const WAITALL: u16 = 4;
    pub(super) const DONTWAIT: u16 = 8;
    pub(super) const USAGE: u16 = 16;
    pub(super) const FIXED: u16 = 32;
    pub(super) const NOSIGNAL: u16 = 64;
    pub(super) const MORE: u16 = 128;
    pub(super) const POLL_FIRST: u16 = 256;
    pub(super) const SKIP: u16 = 512;
    /// All of these together, so that it is seldom.
    pub(super) const TWIN: u16 = 0x1c00;
    pub(super) const ASYNC: u16 = 0xc000;
    pub(super) const FAR: u16 = 0x3400;
}

/// From here on `EntryDraft::odd` makes an entry wrong; below, it is as it should be.
const ODD: u8 = 200;
/// Fields of which one bit is turned.
const FLIPS: u8 = 12;

/// What an entry is made with.
pub(super) struct Surroundings<'a> {
    pub(super) features: Features,
    pub(super) sockets: usize,
    pub(super) memory: &'a mut Memory,
    /// The registered buffers, as far as registering them went well.
    pub(super) table: &'a [Iovec],
    pub(super) user_data: u64,
}

/// An entry, and what the draft has to know of it to go on.
pub(super) struct Entry {
    pub(super) sqe: Sqe,
    /// The socket it sends on, and how many bytes, if nothing is wrong with it.
    pub(super) sends: Option<(SocketId, u64)>,
    /// Preparing it may fail, so that the batch ends behind it.
    pub(super) may_stop: bool,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oddity {
    Nothing,
    Fault,
    Flip,
    Descriptor,
    Header,
    Opcode,
    Beyond,
}

fn oddity(draft: &EntryDraft, features: Features) -> Oddity {
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

fn opcode(draft: &EntryDraft, features: Features) -> u8 {
    let zero_copy = features.contains(Features::ZERO_COPY);
    let vectors = features.contains(Features::VECTORS);
    match draft.opcode % 8 {
        1..=3 if zero_copy => op::SEND_ZC,
        4 | 5 if zero_copy && vectors => op::SENDMSG_ZC,
        6 if vectors => op::SENDMSG,
        7 => op::NOP,
        _ => op::SEND,
    }
}

/// The entry of a draft.
pub(super) fn entry(draft: &EntryDraft, around: &mut Surroundings<'_>) -> Entry {
    let features = around.features;
    let oddity = oddity(draft, features);
    let mut sqe = Sqe { opcode: opcode(draft, features), user_data: around.user_data, ..Sqe::default() };
    let has = |bits: u16, feature: Features| draft.flags & bits == bits && features.contains(feature);
    if has(bit::LINK, Features::LINKS) {
        sqe.flags |= sqe_flag::LINK;
    } else if has(bit::HARDLINK, Features::HARDLINKS) {
        sqe.flags |= sqe_flag::HARDLINK;
    }
    if has(bit::ASYNC, Features::ASYNC) {
        sqe.flags |= sqe_flag::ASYNC;
    }
    if has(bit::SKIP, Features::SKIP) {
        sqe.flags |= sqe_flag::CQE_SKIP_SUCCESS;
    }
    if has(bit::TWIN, Features::TWINS) {
        sqe.user_data = sqe.user_data.saturating_sub(1);
    }
    let mut sends = None;
    if sqe.opcode != op::NOP {
        let socket = SocketId((usize::from(draft.socket) % around.sockets) as u16);
        sqe.fd = fd_of(socket, End::Near);
        send_flags(draft, features, &mut sqe);
        let len = place(draft, oddity, &mut sqe, around);
        if oddity == Oddity::Nothing {
            sends = Some((socket, len));
        }
    }
    if has(bit::FAR, Features::FAR) && sqe.opcode != op::NOP {
        sqe.fd += 1;
        sends = None;
    }
    disturb(oddity, draft.detail, &mut sqe);
    Entry { sqe, sends, may_stop: oddity != Oddity::Nothing || sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0 }
}

fn send_flags(draft: &EntryDraft, features: Features, sqe: &mut Sqe) {
    let has = |bits: u16, feature: Features| draft.flags & bits == bits && features.contains(feature);
    let message_flags = [
        (has(bit::WAITALL, Features::WAITALL), msg::WAITALL),
        (has(bit::DONTWAIT, Features::DONTWAIT), msg::DONTWAIT),
        (has(bit::NOSIGNAL, Features::empty()), msg::NOSIGNAL),
        (has(bit::MORE, Features::MORE), msg::MORE),
    ];
    sqe.op_flags = message_flags.iter().filter(|(on, _)| *on).fold(0, |sum, (_, flag)| sum | flag);
    if has(bit::POLL_FIRST, Features::POLL_FIRST) {
        sqe.ioprio |= send_flag::POLL_FIRST;
    }
    if sqe.is_zero_copy() && has(bit::USAGE, Features::USAGE) {
        sqe.ioprio |= send_flag::REPORT_USAGE;
    }
    if sqe.is_zero_copy() && has(bit::FIXED, Features::FIXED) {
        sqe.ioprio |= send_flag::FIXED_BUF;
    }
}

/// Gives a send its memory; how many bytes that is.
fn place(draft: &EntryDraft, oddity: Oddity, sqe: &mut Sqe, around: &mut Surroundings<'_>) -> u64 {
    let fixed = sqe.ioprio & send_flag::FIXED_BUF != 0;
    // One behind the last entry now and then, where faults are wanted.
    let indices = around.table.len() + usize::from(oddity == Oddity::Fault);
    let index = if indices == 0 { 0 } else { usize::from(draft.detail) % indices };
    if fixed {
        sqe.buf_index = index as u16;
    }
    let range = |piece: PieceDraft, memory: &Memory| match around.table.get(index) {
        Some(buffer) if fixed && oddity == Oddity::Fault && draft.detail.is_multiple_of(3) => {
            (buffer.addr + buffer.len_bytes / 2, buffer.len_bytes / 2 + 1)
        }
        Some(buffer) if fixed && oddity != Oddity::Fault => {
            memory.place(buffer.addr, buffer.len_bytes, piece)
        }
        _ => memory.piece(piece),
    };
    let faulty = oddity == Oddity::Fault && !fixed;
    let mut ranges: Vec<(u64, u64)> = draft.pieces.iter().map(|piece| range(*piece, around.memory)).collect();
    if ranges.is_empty() {
        ranges.push(range(PieceDraft::default(), around.memory));
    }
    let vectored = matches!(sqe.opcode, op::SENDMSG | op::SENDMSG_ZC);
    if faulty {
        // The last piece, so that what lies before it can be sent.
        let at = if vectored { ranges.len() - 1 } else { 0 };
        let piece = draft.pieces.get(at).copied().unwrap_or_default();
        ranges[at] = around.memory.fault(piece, draft.detail);
    }
    if vectored {
        let wrong = match (oddity, draft.detail % 8) {
            (Oddity::Header, 0 | 1) => Header::Nowhere,
            (Oddity::Header, 2) => Header::IovecsNowhere,
            (Oddity::Header, 3) => Header::TooMany,
            (Oddity::Header, 4) => Header::LengthSign,
            (Oddity::Header, 5) => Header::NameLength,
            (Oddity::Header, _) => Header::ControlLength,
            (Oddity::Beyond, 0) => Header::Name,
            _ => Header::Right,
        };
        // A message may have no iovecs at all.
        let count = if draft.flags & 0xf000 == 0x1000 { 0 } else { ranges.len() };
        ranges.truncate(count);
        sqe.addr = around.memory.message(&ranges, wrong);
        sqe.len = 1;
        return ranges.iter().map(|(_, len)| *len).fold(0, u64::saturating_add);
    }
    let (addr, len) = ranges[0];
    sqe.addr = addr;
    sqe.len = u32::try_from(len).unwrap_or(u32::MAX);
    len
}

/// Makes the entry wrong.
fn disturb(oddity: Oddity, detail: u8, sqe: &mut Sqe) {
    match oddity {
        Oddity::Nothing | Oddity::Fault | Oddity::Header => {}
        Oddity::Flip => flip(detail, sqe),
        // Beside the sockets: a number that is free, and negative ones.
        Oddity::Descriptor => {
            if sqe.opcode != op::NOP {
                sqe.fd = [-1, FD_BASE + 900, i32::MIN][usize::from(detail % 3)];
            }
            if detail & 0x70 == 0x70 {
                sqe.flags |= sqe_flag::FIXED_FILE;
            }
        }
        Oddity::Opcode => sqe.opcode = [255, 200, 128, 100][usize::from(detail % 4)],
        Oddity::Beyond => match detail % 6 {
            1 => sqe.op_flags |= 1 << (detail / 6 % 32),
            2 => sqe.ioprio |= send_flag::BUNDLE,
            3 if sqe.opcode == op::NOP => sqe.op_flags = 1,
            4 => sqe.flags |= sqe_flag::BUFFER_SELECT,
            5 => sqe.file_index = 16,
            _ => {}
        },
    }
}

/// Turns a bit of a field that is reserved, or of which only some bits are known.
fn flip(detail: u8, sqe: &mut Sqe) {
    let bit = detail / FLIPS;
    let vectored = matches!(sqe.opcode, op::SENDMSG | op::SENDMSG_ZC);
    let zero_copy = sqe.is_zero_copy();
    match detail % FLIPS {
        0 => sqe.flags |= 0x80,
        1 => sqe.personality = 1 + u16::from(bit),
        2 if zero_copy => sqe.pad2 = 1 << bit,
        3 if zero_copy => sqe.addr3 = 1 << bit,
        4 if sqe.opcode != op::SEND => sqe.flags |= sqe_flag::BUFFER_SELECT,
        5 if zero_copy => sqe.flags |= sqe_flag::CQE_SKIP_SUCCESS,
        6 if vectored => sqe.off = 1 << bit,
        7 if vectored => sqe.file_index = 1 << bit,
        7 => sqe.file_index = 0x1_0000 << (bit % 16),
        8 => sqe.ioprio |= 0x40 << (bit % 10),
        9 if !zero_copy => sqe.ioprio |= send_flag::REPORT_USAGE,
        // MULTISHOT is of no use to a send.
        10 if sqe.opcode != op::NOP => sqe.ioprio |= send_flag::MULTISHOT,
        11 if sqe.opcode != op::NOP && !vectored => sqe.len |= 0x8000_0000,
        // What a send does not read.
        _ if !zero_copy => sqe.buf_index = u16::from(bit),
        _ => sqe.personality = 0x8000,
    }
}
