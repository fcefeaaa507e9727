//! The rings and sockets of a draft.

use uringspec_model::abi::setup;
use uringspec_model::program::{Lane, Limits, RingSetup, SocketKind, SocketSetup, SocketState};

use super::entry::may_drain;
use super::{Draft, Features};

/// Entries of submission queues.
const SQ_ENTRIES: &[u32] = &[8, 16, 64, 8, 16, 32];
/// Fewer, where completions are to overflow: as many as one batch has.
const SQ_ENTRIES_FEW: u32 = 8;
/// Sizes that send buffers are asked for; the kernel doubles them.
const SNDBUF_BYTES: &[u32] = &[2304, 8192, 32_768, 65_536, 212_992];

/// What a normal user may lock; rings and tables have to fit as well.
const MEMLOCK_BYTES: &[u64] = &[64 << 10, 1 << 20];

/// Mostly there are no limits, and who runs the program may lock what it likes.
pub(super) fn limits(draft: &Draft, features: Features) -> Limits {
    let at = usize::from(draft.rings >> 4).checked_sub(16 - MEMLOCK_BYTES.len());
    let memlock_bytes = at.map(|at| MEMLOCK_BYTES[at]).filter(|_| features.contains(Features::MEMLOCK));
    Limits { memlock_bytes, unprivileged: memlock_bytes.is_some() }
}

pub(super) fn rings(draft: &Draft, features: Features) -> Vec<RingSetup> {
    let overflows = features.contains(Features::OVERFLOW) && draft.entries & 0xc0 == 0xc0;
    let entries = match overflows {
        true => SQ_ENTRIES_FEW,
        false => SQ_ENTRIES[usize::from(draft.entries) % SQ_ENTRIES.len()],
    };
    let count = if features.contains(Features::RINGS) { 1 + draft.rings % 2 } else { 1 };
    (0..count)
        .map(|index| {
            let defers = features.contains(Features::DEFER) && draft.rings >> (2 + index) & 1 != 0;
            // what is left where an entry is refused would have to be fenced, which waits where something drains
            let submits_all = features.contains(Features::SUBMIT_ALL) && draft.entries & 0x30 == 0x10
                || may_drain(features);
            let choice = draft.regions.rotate_left(3) ^ draft.table;
            if features.contains(Features::SQPOLL) && choice % 4 == 1 {
                return RingSetup {
                    entries,
                    cq_entries: overflows.then_some(SQ_ENTRIES_FEW),
                    flags: setup::SQPOLL,
                };
            }
            let mut flags = if defers { setup::SINGLE_ISSUER | setup::DEFER_TASKRUN } else { 0 };
            flags |= if submits_all { setup::SUBMIT_ALL } else { 0 };
            if features.contains(Features::KINDS) {
                flags |= kind(choice, defers);
            }
            RingSetup { entries, cq_entries: overflows.then_some(SQ_ENTRIES_FEW), flags }
        })
        .collect()
}

/// What is of no consequence for what a ring does, or hardly any.
fn kind(choice: u8, defers: bool) -> u32 {
    let has = |bits: u8, flag: u32| if choice & bits == bits { flag } else { 0 };
    let sizes = match choice & 0xc {
        0x4 => setup::CQE32,
        0xc => setup::CQE_MIXED,
        _ => 0,
    };
    let coop = if defers { 0 } else { has(16, setup::COOP_TASKRUN) };
    let says = if defers || coop != 0 { has(32, setup::TASKRUN_FLAG) } else { 0 };
    has(1, setup::NO_SQARRAY) | has(2, setup::SQE128) | sizes | coop | says | has(192, setup::SINGLE_ISSUER)
}

/// A ring that is only tried: mostly one thing speaks against it.
pub(super) fn attempt(detail: u8, choice: u8) -> RingSetup {
    let made = RingSetup { entries: 4, ..RingSetup::default() };
    let flags = |flags| RingSetup { flags, ..made };
    match choice % 20 {
        0 => RingSetup { entries: 0, ..made },
        1 => RingSetup { entries: 32_769, ..made },
        2 => RingSetup { entries: 32_769, flags: setup::CLAMP, ..made },
        3 => flags(setup::CQSIZE),
        4 => RingSetup { entries: 5, cq_entries: Some(3 + u32::from(detail % 4)), ..made },
        5 => RingSetup { cq_entries: Some(65_537), ..made },
        6 => RingSetup { cq_entries: Some(u32::MAX), flags: setup::CLAMP, ..made },
        7 => flags(setup::DEFER_TASKRUN),
        8 => flags(setup::TASKRUN_FLAG),
        9 => flags(setup::SQPOLL | [setup::COOP_TASKRUN, setup::DEFER_TASKRUN][usize::from(detail % 2)]),
        10 => flags(setup::SQ_AFF),
        11 => flags(setup::HYBRID_IOPOLL),
        12 => flags(setup::CQE32 | setup::CQE_MIXED),
        13 => RingSetup { entries: 1, cq_entries: Some(1), flags: setup::CQE_MIXED },
        14 => flags(setup::REGISTERED_FD_ONLY),
        15 => flags(1 << (21 + detail % 11)),
        // any of those that need nothing else, and of those that do
        _ => flags(u32::from(detail) << (choice / 20) & !(setup::NO_MMAP | setup::ATTACH_WQ | setup::SQ_AFF)),
    }
}

pub(super) fn sockets(draft: &Draft, features: Features) -> Vec<SocketSetup> {
    let several = features.contains(Features::SOCKETS);
    let count = if several { 1 + usize::from(draft.sockets[0]) * draft.sockets.len() / 256 } else { 1 };
    draft.sockets[..count].iter().enumerate().map(|(i, byte)| socket(*byte, i > 0, features)).collect()
}

/// The socket of a byte; `odd` if it may be one that nothing can be sent on.
fn socket(byte: u8, odd: bool, features: Features) -> SocketSetup {
    let has = |feature| features.contains(feature);
    let (v4, v6) = (SocketKind::Tcp4, SocketKind::Tcp6);
    let (kind, lane) = match byte % 16 {
        1 if has(Features::IFB_UDP) && byte >= 128 => (SocketKind::Udp4, Lane::IfbUdp),
        2 if has(Features::REPAIR_TCP) && byte >= 96 => (v4, Lane::RepairTcp),
        1..=5 if has(Features::GATE) => (v4, Lane::Gate),
        6 | 7 if has(Features::GATE_FULL) => (v4, Lane::GateFull),
        8 if has(Features::IPV6) => (v6, Lane::Loopback),
        9 if has(Features::IPV6 | Features::GATE) => (v6, Lane::Gate),
        10 if has(Features::UDP) => (SocketKind::Udp4, Lane::Loopback),
        11 if has(Features::UDP | Features::IPV6) => (SocketKind::Udp6, Lane::Loopback),
        12 | 13 if has(Features::UNIX) => (SocketKind::UnixStream, Lane::Loopback),
        14 if odd && has(Features::DESCRIPTORS) => (SocketKind::NotASocket, Lane::Loopback),
        15 if odd && has(Features::DESCRIPTORS) => return unconnected(byte, features),
        _ => (v4, Lane::Loopback),
    };
    let sized = has(Features::SNDBUF) && lane != Lane::GateFull && kind != SocketKind::NotASocket;
    let sndbuf_bytes = SNDBUF_BYTES.get(usize::from(byte / 16)).copied().filter(|_| sized);
    SocketSetup { kind, lane, state: SocketState::Connected, sndbuf_bytes, rcvbuf_bytes: None }
}

fn unconnected(byte: u8, features: Features) -> SocketSetup {
    let kind = match byte / 16 % 4 {
        1 if features.contains(Features::UDP) => SocketKind::Udp4,
        2 if features.contains(Features::UDP | Features::IPV6) => SocketKind::Udp6,
        3 if features.contains(Features::UNIX) => SocketKind::UnixStream,
        _ => SocketKind::Tcp4,
    };
    let (lane, state) = (Lane::Loopback, SocketState::Unconnected);
    SocketSetup { kind, lane, state, sndbuf_bytes: None, rcvbuf_bytes: None }
}
