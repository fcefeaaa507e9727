//! The entries of a draft.

use uringspec_model::abi::{cancel_flag, msg, op, send_flag, sqe_flag};
use uringspec_model::program::{End, SocketId, SocketKind, SocketSetup, fd_of};
use uringspec_model::sqe::Sqe;

use super::anything;
use super::memory::{Header, Memory};
use super::odd::{self, Oddity};
use super::tables::Tables;
use super::{EntryDraft, Features, PieceDraft};

/// Bits of `EntryDraft::flags`; several together are seldom.
mod bit {
    pub(super) const LINK: u32 = 1;
    pub(super) const HARDLINK: u32 = 2;
    pub(super) const WAITALL: u32 = 4;
    pub(super) const DONTWAIT: u32 = 8;
    pub(super) const USAGE: u32 = 16;
    pub(super) const FIXED: u32 = 32;
    pub(super) const NOSIGNAL: u32 = 64;
    pub(super) const MORE: u32 = 128;
    pub(super) const POLL_FIRST: u32 = 256;
    pub(super) const SKIP: u32 = 512;
    pub(super) const FIXED_FILE: u32 = 1024;
    pub(super) const TWIN: u32 = 0x3800;
    pub(super) const ASYNC: u32 = 0xc000;
    pub(super) const FAR: u32 = 0x7_0000;
    pub(super) const NO_PIECES: u32 = 0xf0_0000;
    pub(super) const NO_POSITION: u32 = 0x300_0000;
    pub(super) const DRAIN: u32 = 0xc00_0000;
}

/// Details from here on make many pieces of a message in a zero-copy datagram.
const MANY_PIECES_FROM: u8 = 160;

/// What an entry is made with.
pub(super) struct Surroundings<'a> {
    pub(super) features: Features,
    pub(super) sockets: &'a [SocketSetup],
    pub(super) memory: &'a mut Memory,
    pub(super) tables: &'a Tables,
    /// User data of requests on the same ring that may still be there.
    pub(super) alive: &'a [u64],
    pub(super) user_data: u64,
    /// It is behind an entry that drains.
    pub(super) drained: bool,
    /// It may drain: its chain has no zero copy.
    pub(super) may_drain: bool,
    /// It is behind nothing that may fail or has to be waited for.
    pub(super) alone: bool,
    /// Whether a send of so many bytes on a socket succeeds at once.
    pub(super) is_sure: &'a dyn Fn(SocketId, u64) -> bool,
}

/// An entry, and what the draft has to know of it to go on.
pub(super) struct Entry {
    pub(super) sqe: Sqe,
    /// The socket it sends on, and how many bytes, if nothing is wrong with it.
    pub(super) sends: Option<(SocketId, u64)>,
    /// Preparing it may fail, so that the batch ends behind it.
    pub(super) may_stop: bool,
}

/// The entry of a draft.
pub(super) fn entry(draft: &EntryDraft, around: &mut Surroundings<'_>) -> Entry {
    let mut features = around.features;
    let oddity = odd::oddity(draft, features);
    let mut sqe = Sqe { user_data: around.user_data, ..Sqe::default() };
    let drains = draft.flags & bit::DRAIN == bit::DRAIN && around.may_drain && may_drain(features);
    if drains || around.drained {
        // a zero-copy send behind a drain hangs its ring for good; of the others the model says nothing there
        features -= WITHOUT_DRAINS;
    }
    around.features = features;
    if drains {
        sqe.flags |= sqe_flag::DRAIN;
    }
    sqe.opcode = opcode(draft, around);
    let has = |bits: u32, feature: Features| draft.flags & bits == bits && features.contains(feature);
    if has(bit::LINK, Features::LINKS) {
        sqe.flags |= sqe_flag::LINK;
    } else if has(bit::HARDLINK, Features::HARDLINKS) {
        sqe.flags |= sqe_flag::HARDLINK;
    }
    if has(bit::ASYNC, Features::ASYNC) {
        sqe.flags |= sqe_flag::ASYNC;
    }
    // which of two alike a cancel finds is not known, nor whether one that may say nothing still will
    if has(bit::TWIN, Features::TWINS) && !features.intersects(Features::CANCEL | Features::SKIP) {
        sqe.user_data = sqe.user_data.saturating_sub(1);
    }
    let mut sends = None;
    match sqe.opcode {
        op::NOP => {}
        op::ASYNC_CANCEL => {
            let known = around.alive.len().max(1);
            let target = around.alive.get(usize::from(draft.socket) % known).copied();
            sqe.addr = target.filter(|_| oddity != Oddity::Fault).unwrap_or(u64::from(draft.detail) << 32);
            if features.contains(Features::CANCEL_BY) {
                seek(draft, &mut sqe, around);
            }
        }
        _ => sends = send(draft, oddity, &mut sqe, around),
    }
    if has(bit::FAR, Features::FAR) && sends.is_some() {
        sqe.fd += 1;
        sends = None;
    }
    if has(bit::SKIP, Features::SKIP) && may_skip(&sqe, oddity, sends, around)
        || has(bit::SKIP, Features::SKIP_WAITING)
    {
        sqe.flags |= sqe_flag::CQE_SKIP_SUCCESS;
    }
    odd::disturb(oddity, draft.detail, &mut sqe);
    if features.contains(Features::ANYTHING) && draft.odd % 4 == 3 {
        anything::change(draft, &mut sqe);
        sends = None;
    }
    let may_stop = oddity != Oddity::Nothing
        // refused behind one whose success posts nothing
        || drains
        || features.contains(Features::ANYTHING)
        || sqe.is_zero_copy() && sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0;
    Entry { sqe, sends, may_stop }
}

/// Makes most cancels such of what is alike.
fn seek(draft: &EntryDraft, sqe: &mut Sqe, around: &Surroundings<'_>) {
    use cancel_flag::{ALL, ANY, FD, FD_FIXED, OP, USERDATA};
    const WAYS: [u32; 16] = [
        0,
        USERDATA,
        FD_FIXED,
        ALL,
        ALL | USERDATA,
        ANY,
        ANY,
        ANY | ALL,
        FD,
        FD,
        FD | ALL,
        FD | USERDATA,
        OP,
        OP | ALL,
        OP | FD | ALL,
        OP | FD | USERDATA,
    ];
    sqe.op_flags = WAYS[usize::from(draft.detail % 16)];
    if sqe.op_flags & FD != 0 {
        address(draft, sqe, around);
    }
    if sqe.op_flags & OP != 0 {
        sqe.len =
            u32::from([op::SEND, op::SEND_ZC, op::SENDMSG_ZC, op::WRITE][usize::from(draft.detail / 16 % 4)]);
    }
}

/// What no entry has that drains or is behind one that does.
const WITHOUT_DRAINS: Features =
    Features::ZERO_COPY.union(Features::SKIP).union(Features::DONTWAIT).union(Features::POLL_FIRST);

/// Whether an entry of a program with these features may drain.
pub(super) fn may_drain(features: Features) -> bool {
    let never = Features::CANCEL
        | Features::RINGS
        | Features::ANYTHING
        | Features::SKIP_WAITING
        | Features::BEYOND
        | Features::SQPOLL;
    features.contains(Features::DRAIN) && !features.intersects(never)
}

/// Whether it is certain what becomes of an entry, so that its success may post nothing.
fn may_skip(sqe: &Sqe, oddity: Oddity, sends: Option<(SocketId, u64)>, around: &Surroundings<'_>) -> bool {
    let waits = sqe.flags & sqe_flag::ASYNC != 0
        || sqe.op_flags & msg::DONTWAIT != 0
        || sqe.ioprio & send_flag::POLL_FIRST != 0
        || sqe.links() && around.features.contains(Features::OPEN);
    let certain = match (sends, oddity) {
        (Some((socket, len)), Oddity::Nothing) => (around.is_sure)(socket, len),
        (None, Oddity::Nothing) => sqe.opcode == op::NOP,
        (_, oddity) => oddity == Oddity::Descriptor && sqe.opcode != op::ASYNC_CANCEL,
    };
    certain && !waits && around.alone && !sqe.is_zero_copy()
}

fn opcode(draft: &EntryDraft, around: &Surroundings<'_>) -> u8 {
    let has = |feature| around.features.contains(feature);
    let (zero_copy, vectors, writes) =
        (has(Features::ZERO_COPY), has(Features::VECTORS), has(Features::WRITES));
    match draft.opcode % 16 {
        1..=3 if zero_copy => op::SEND_ZC,
        4..=6 if zero_copy && vectors => op::SENDMSG_ZC,
        7 | 8 if vectors => op::SENDMSG,
        9 => op::NOP,
        10 if writes => op::WRITE,
        11 if writes && vectors => op::WRITEV,
        12 if writes && around.tables.filled().next().is_some() => op::WRITE_FIXED,
        13 | 14 if has(Features::CANCEL) => op::ASYNC_CANCEL,
        _ => op::SEND,
    }
}

fn is_write(opcode: u8) -> bool {
    matches!(opcode, op::WRITE | op::WRITEV | op::WRITE_FIXED)
}

fn is_fixed(sqe: &Sqe) -> bool {
    sqe.opcode == op::WRITE_FIXED || sqe.is_zero_copy() && sqe.ioprio & send_flag::FIXED_BUF != 0
}

/// Makes a send or write of the entry; the socket and how many bytes, if nothing is wrong with it.
fn send(
    draft: &EntryDraft,
    oddity: Oddity,
    sqe: &mut Sqe,
    around: &mut Surroundings<'_>,
) -> Option<(SocketId, u64)> {
    let socket = address(draft, sqe, around);
    let kind = around.sockets[usize::from(socket.unwrap_or(SocketId(0)).0)].kind;
    if is_write(sqe.opcode) && kind == SocketKind::NotASocket {
        sqe.opcode = op::SEND;
    }
    let datagrams = matches!(kind, SocketKind::Udp4 | SocketKind::Udp6);
    if is_write(sqe.opcode) {
        if draft.flags & bit::NO_POSITION == bit::NO_POSITION {
            sqe.off = u64::MAX;
        }
    } else {
        send_flags(draft, around.features, datagrams, sqe);
    }
    let ranges = place(draft, oddity, datagrams, sqe, around);
    let len = ranges.iter().map(|(_, len)| *len).fold(0, u64::saturating_add);
    let nameless = is_fixed(sqe) && around.tables.filled().next().is_none();
    let unheard = kind == SocketKind::UnixStream && sqe.is_zero_copy();
    socket.filter(|_| oddity == Oddity::Nothing && !nameless && !unheard).map(|socket| (socket, len))
}

/// Gives a send its descriptor; the socket that is.
fn address(draft: &EntryDraft, sqe: &mut Sqe, around: &Surroundings<'_>) -> Option<SocketId> {
    let wants_file = draft.flags & bit::FIXED_FILE != 0;
    if let Some(files) = around.tables.files.as_ref().filter(|_| wants_file) {
        sqe.flags |= sqe_flag::FIXED_FILE;
        // one behind the last now and then
        let places = files.len() + usize::from(draft.socket > 240);
        let index = usize::from(draft.socket) % places;
        sqe.fd = index as i32;
        return files.get(index).copied().flatten().map(SocketId);
    }
    let socket = SocketId((usize::from(draft.socket) % around.sockets.len()) as u16);
    sqe.fd = fd_of(socket, End::Near);
    Some(socket)
}

fn send_flags(draft: &EntryDraft, features: Features, datagrams: bool, sqe: &mut Sqe) {
    let has = |bits: u32, feature: Features| draft.flags & bits == bits && features.contains(feature);
    let message_flags = [
        (has(bit::WAITALL, Features::WAITALL), msg::WAITALL),
        (has(bit::DONTWAIT, Features::DONTWAIT), msg::DONTWAIT),
        (has(bit::NOSIGNAL, Features::empty()), msg::NOSIGNAL),
        (has(bit::MORE, Features::MORE) && !datagrams, msg::MORE),
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

/// Gives a send its memory.
fn place(
    draft: &EntryDraft,
    oddity: Oddity,
    datagrams: bool,
    sqe: &mut Sqe,
    around: &mut Surroundings<'_>,
) -> Vec<(u64, u64)> {
    let fixed = is_fixed(sqe);
    let faulty = oddity == Oddity::Fault;
    let buffers = if fixed { around.tables.filled().collect() } else { Vec::new() };
    let buffer = buffers.get(usize::from(draft.detail) % buffers.len().max(1)).copied();
    if fixed {
        sqe.buf_index = match buffer {
            Some((index, _)) if !faulty => index,
            // any entry of the table, filled or not, and one behind it
            _ => {
                let len = around.tables.buffers.as_ref().map_or(0, Vec::len);
                (usize::from(draft.detail) % (len + 1)) as u16
            }
        };
    }
    let range = |piece: PieceDraft, memory: &Memory| match buffer {
        Some((_, b)) if faulty && draft.detail.is_multiple_of(3) => {
            (b.addr + b.len_bytes / 2, b.len_bytes / 2 + 1)
        }
        Some((_, b)) if !faulty => memory.place(b.addr, b.len_bytes, piece),
        _ => memory.piece(piece),
    };
    let mut ranges: Vec<(u64, u64)> = draft.pieces.iter().map(|piece| range(*piece, around.memory)).collect();
    if ranges.is_empty() {
        ranges.push(range(PieceDraft::default(), around.memory));
    }
    let vectored = matches!(sqe.opcode, op::SENDMSG | op::SENDMSG_ZC | op::WRITEV);
    if let Some((_, buffer)) = buffer.filter(|_| faulty && vectored && ranges.len() == 1) {
        // what is right comes first
        ranges.insert(0, (buffer.addr, 1));
    }
    if datagrams && sqe.opcode == op::SENDMSG_ZC && draft.detail >= MANY_PIECES_FROM {
        // about as many as a packet has fragments
        let count = 16 + usize::from(draft.detail % 4);
        let pieces = ranges.clone();
        let short = |(addr, len): &(u64, u64)| (*addr, (*len).min(100));
        ranges = pieces.iter().cycle().take(count).map(short).collect();
    }
    if faulty && !fixed {
        // the last piece, so that what lies before it can be sent
        let at = if vectored { ranges.len() - 1 } else { 0 };
        let piece = draft.pieces.get(at).copied().unwrap_or_default();
        ranges[at] = around.memory.fault(piece, draft.detail);
    }
    if vectored {
        // a message may have no pieces at all
        let count = if draft.flags & bit::NO_PIECES == bit::NO_PIECES { 0 } else { ranges.len() };
        ranges.truncate(count);
        let wrong = match Header::of(oddity, draft.detail) {
            // what `WRITEV` has none of
            Header::NameLength | Header::ControlLength if sqe.opcode == op::WRITEV => Header::TooMany,
            wrong => wrong,
        };
        if sqe.opcode == op::WRITEV {
            sqe.addr = around.memory.iovecs(&ranges, wrong);
            sqe.len = if wrong == Header::TooMany { 1025 } else { count as u32 };
        } else {
            sqe.addr = around.memory.message(&ranges, wrong);
            sqe.len = 1;
        }
    } else {
        ranges.truncate(1);
        (sqe.addr, sqe.len) = (ranges[0].0, u32::try_from(ranges[0].1).unwrap_or(u32::MAX));
    }
    ranges
}
