//! The space of small mixed sends, and the programs around one.

use uringspec_model::abi::{msg, setup};
use uringspec_model::memory::{Contents, HexBytes, Region, RegionId, WINDOW_BASE};
use uringspec_model::mixed::entry::{self, Headers};
use uringspec_model::mixed::{Memory, MixedSend, Segment, Transfer};
use uringspec_model::program::*;

/// Bytes between the starts of two regions.
const STRIDE: u64 = 1 << 20;

/// Where in each memory the segments begin that are copied.
const COPIED_FROM: u64 = 64;

/// Plain memory and two registered buffers.
pub(crate) const MEMORIES: [Memory; 3] = [Memory::Plain, Memory::Registered(0), Memory::Registered(1)];

/// Every mixed send of up to `most` segments of up to two bytes.
pub(crate) fn sends(most: usize) -> Vec<MixedSend> {
    sends_of(most, 2)
}

/// Every mixed send of up to `most` segments of up to `longest` bytes. What is lent of one memory lies side by
/// side, and what is copied of it elsewhere.
pub(crate) fn sends_of(most: usize, longest: u32) -> Vec<MixedSend> {
    let mut kinds = Vec::new();
    for len_bytes in 0..=longest {
        for memory in MEMORIES {
            for transfer in [Transfer::Copy, Transfer::ZeroCopy] {
                kinds.push(Segment { addr: 0, len_bytes, memory, transfer });
            }
        }
    }
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..most {
        let longer = |send: &Vec<Segment>| {
            let send = send.clone();
            kinds.iter().map(move |kind| [send.as_slice(), &[*kind]].concat()).collect::<Vec<_>>()
        };
        last = last.iter().flat_map(longer).collect();
        all.extend(last.iter().cloned());
    }
    all.into_iter().map(placed).collect()
}

/// Gives the segments their addresses.
pub(crate) fn placed(mut segments: Vec<Segment>) -> MixedSend {
    let mut used = [[0u64, COPIED_FROM]; 3];
    for segment in &mut segments {
        let region = MEMORIES.iter().position(|m| *m == segment.memory).expect("one of the three");
        let used = &mut used[region][usize::from(segment.transfer == Transfer::Copy)];
        segment.addr = address(region, *used);
        *used += u64::from(segment.len_bytes);
    }
    MixedSend { user_data: 1, fd: FD_BASE, reports: true, segments, ..MixedSend::default() }
}

pub(crate) fn address(region: usize, offset: u64) -> u64 {
    WINDOW_BASE + (1 + region as u64) * STRIDE + offset
}

/// What happens around a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Around {
    /// Nothing is known of the path, so any count may be taken at any time.
    Unknown,
    /// As before, and memory is rewritten behind the result, and again behind the notification.
    Rewritten,
    /// On an unknown path, as a datagram.
    Datagram,
    /// The window is closed: what is lent is shared, then the peer reads.
    Gate,
    /// There is no room: the send waits, and is cancelled.
    Cancelled,
    /// The peer resets while bytes are queued.
    Reset,
    /// Between two plain sends of its chain, on an unknown path.
    Chain,
}

impl Around {
    pub(crate) const ALL: [Around; 7] = [
        Around::Unknown,
        Around::Rewritten,
        Around::Datagram,
        Around::Gate,
        Around::Cancelled,
        Around::Reset,
        Around::Chain,
    ];
}

/// A program that does `send`, and things around it.
/// `defers` is the kind of ring.
pub(crate) fn program(send: &MixedSend, around: Around, defers: bool) -> Program {
    let mut program = bare(defers);
    let mut headers = Headers::at(address(4, 0));
    let mut sqe = entry::write(send, &mut headers);
    let rewrite = (0..3).map(|i| Step::Rewrite { region: RegionId(i) });
    let submit = |sqes| Step::Submit { ring: RingId(0), sqes };
    let reap = |until| Step::Reap { ring: RingId(0), until };
    let seen = |user_data| Until::Seen(vec![Want { user_data, count: 1, last: false }]);
    let drain = Step::Drain { socket: SocketId(0), amount: Amount::Everything };
    let plain = |user_data, flags| uringspec_model::sqe::Sqe {
        opcode: uringspec_model::abi::op::SEND,
        flags,
        fd: FD_BASE,
        addr: address(3, 0),
        len: 1,
        op_flags: msg::WAITALL,
        user_data,
        ..Default::default()
    };
    let cancel = uringspec_model::sqe::Sqe {
        opcode: uringspec_model::abi::op::ASYNC_CANCEL,
        addr: 1,
        user_data: 9,
        ..Default::default()
    };
    program.sockets[0].lane = match around {
        Around::Unknown | Around::Rewritten | Around::Chain | Around::Datagram => Lane::Unknown,
        Around::Gate | Around::Reset => Lane::Gate,
        Around::Cancelled => Lane::GateFull,
    };
    if around == Around::Datagram {
        program.sockets[0].kind = SocketKind::Udp4;
    }
    match around {
        Around::Unknown | Around::Datagram => {
            program.steps.extend([submit(vec![sqe]), reap(Until::Settled), drain]);
        }
        Around::Rewritten => {
            program.steps.extend([submit(vec![sqe]), reap(seen(1))]);
            program.steps.extend(rewrite.clone());
            program.steps.push(reap(Until::Settled));
            program.steps.extend(rewrite);
            program.steps.push(drain);
        }
        Around::Gate => {
            program.steps.extend([submit(vec![sqe]), reap(seen(1))]);
            program.steps.extend(rewrite);
            program.steps.extend([drain, reap(Until::Settled)]);
        }
        Around::Cancelled => {
            program.steps.extend([submit(vec![sqe]), submit(vec![cancel])]);
            program.steps.extend([reap(Until::Settled), drain]);
        }
        Around::Reset => {
            program.steps.push(submit(vec![sqe]));
            program.steps.push(Step::ResetPeer { socket: SocketId(0) });
            program.steps.push(reap(Until::Settled));
        }
        Around::Chain => {
            let link = uringspec_model::abi::sqe_flag::LINK;
            sqe.flags |= link;
            program.steps.push(submit(vec![plain(2, link), sqe, plain(3, 0)]));
            program.steps.extend([reap(Until::Settled), drain]);
        }
    }
    let bytes = headers.bytes;
    let contents = Contents::Bytes(HexBytes(bytes.clone()));
    program.regions.push(region("headers", headers.addr, bytes.len() as u64, contents));
    program
}

pub(crate) fn bare(defers: bool) -> Program {
    let flags = if defers { setup::SINGLE_ISSUER | setup::DEFER_TASKRUN } else { 0 };
    let stamped = |name, i| region(name, address(i, 0), 4096, Contents::Stamped);
    let buffer = |i| Iovec { addr: address(i, 0), len_bytes: 4096 };
    let tables = Register::Buffers(vec![buffer(1), buffer(2)]);
    Program {
        rings: vec![RingSetup { entries: 8, flags, ..RingSetup::default() }],
        sockets: vec![SocketSetup {
            kind: SocketKind::Tcp4,
            lane: Lane::Unknown,
            state: SocketState::Connected,
            sndbuf_bytes: None,
            rcvbuf_bytes: None,
        }],
        regions: vec![stamped("P", 0), stamped("K", 1), stamped("L", 2), stamped("Q", 3)],
        steps: vec![Step::Register { ring: RingId(0), what: tables }],
        ..Program::default()
    }
}

pub(crate) fn region(name: &str, addr: u64, len_bytes: u64, contents: Contents) -> Region {
    Region { name: name.into(), addr, len_bytes, protection: Default::default(), contents }
}
