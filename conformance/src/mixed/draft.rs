//! Random programs with mixed sends: any bytes make one.
//!
//! Sends of one socket go one after the other or as a chain, as a server does; what disturbs them is little
//! room, a cancel, a reset, a shutdown, a peer that acknowledges late or misses something, and memory that is
//! written while the kernel may still read it.

use arbitrary::{Arbitrary, Unstructured};
use uringspec_model::abi::{PAGE_BYTES, msg, op, setup, sqe_flag};
use uringspec_model::memory::{Contents, HexBytes, Protection, Region, RegionId, WINDOW_BASE};
use uringspec_model::mixed::entry::{self, Headers};
use uringspec_model::mixed::{Memory, MixedSend, Segment, Transfer};
use uringspec_model::net::WINDOW_UNIT_BYTES;
use uringspec_model::program::{
    Amount, FD_BASE, Iovec, Lane, Program, Register, RingId, RingSetup, SocketId, SocketKind, SocketSetup,
    SocketState, Step, Until, Want,
};
use uringspec_model::sqe::Sqe;

/// Bytes of each of the three regions: room for all segments of a draft.
const REGION_BYTES: u64 = 576 << 10;
/// Bytes between the starts of two regions.
const STRIDE: u64 = 1 << 20;
/// The most messages, and the most segments of one.
const MESSAGES_MAX: usize = 3;
const SEGMENTS_MAX: usize = 6;
/// Segments have fewer bytes than this, and where there is little room fewer than that.
const LEN_MAX: u16 = 6000;
const LONG_MAX: u16 = 32_000;

/// What a random program with mixed sends is made of.
#[derive(Clone, Debug, Default, Arbitrary)]
pub struct MixedDraft {
    path: u8,
    flags: u8,
    messages: [Message; MESSAGES_MAX],
    /// How many messages, and how many disturbances.
    counts: (u8, u8),
    after: [Disturbance; DISTURBANCES_MAX],
}

#[derive(Clone, Debug, Default, Arbitrary)]
struct Message {
    count: u8,
    pieces: [(u8, bool, u16); SEGMENTS_MAX],
}

#[derive(Clone, Copy, Debug, Default, Arbitrary)]
enum Disturbance {
    #[default]
    Cancel,
    Reset,
    Shutdown,
    Rewrite(u8),
    Reap,
    Drain(u8),
    Acknowledge(u8),
    Miss,
    Window(u8),
}

/// Where the sends of a program go.
#[derive(Clone, Copy)]
struct Path {
    kind: SocketKind,
    lane: Lane,
    /// The send buffer is small, so sends may be short.
    cramped: bool,
}

impl Path {
    fn of(byte: u8) -> Path {
        let (kind, lane) = match byte % 8 {
            0 | 1 => (SocketKind::Tcp4, Lane::Loopback),
            2 => (SocketKind::Tcp4, Lane::Gate),
            3 => (SocketKind::Tcp4, Lane::GateFull),
            4 if byte / 8 % 2 == 1 => (SocketKind::Udp4, Lane::IfbUdpTap),
            4 => (SocketKind::Udp4, Lane::IfbUdp),
            5 => (SocketKind::Tcp4, Lane::RepairTcp),
            6 => (SocketKind::Tcp4, Lane::RepairTcpTap),
            _ => (SocketKind::Udp4, Lane::Loopback),
        };
        let cramped = matches!(lane, Lane::Gate) || lane.is_declared();
        let cramped = cramped && byte / 8 % 2 == 1;
        Path { kind, lane, cramped }
    }

    fn is_datagram(self) -> bool {
        self.kind == SocketKind::Udp4
    }

    /// A send may wait for room until the peer reads.
    fn holds(self) -> bool {
        self.cramped || self.lane == Lane::GateFull
    }
}

/// The most that disturbs a program.
const DISTURBANCES_MAX: usize = 5;
/// What a peer may miss: less than one packet, so that it leaves again at once.
const MISSES_BYTES: u64 = 1000;

/// A send buffer in which long messages have no room.
const SNDBUF_BYTES: u32 = 32_768;
/// What a peer with little room offers at first.
const OFFERS_BYTES: u64 = 8 * WINDOW_UNIT_BYTES;
/// So much leaves by itself on every path on which a peer reads.
const LEAVES_BYTES: u64 = 32 << 10;

impl MixedDraft {
    /// The draft that bytes stand for.
    pub fn of_bytes(bytes: &[u8]) -> MixedDraft {
        // arbitrary makes something of any bytes; an empty draft where it refuses
        MixedDraft::arbitrary_take_rest(Unstructured::new(bytes)).unwrap_or_default()
    }

    fn has(&self, bit: u8) -> bool {
        self.flags & 1 << bit != 0
    }

    /// The program.
    pub fn resolve(&self) -> Program {
        let path = Path::of(self.path);
        let mut headers = Headers::at(WINDOW_BASE + 4 * STRIDE);
        let sends = self.sends(path);
        let sqes: Vec<Sqe> = sends.iter().map(|send| entry::write(send, &mut headers)).collect();
        let mut steps = vec![Step::Register { ring: RingId(0), what: tables() }];
        if path.cramped && path.lane.is_declared() {
            steps.push(Step::OfferWindow { socket: SocketId(0), bytes: OFFERS_BYTES });
        }
        if self.has(0) {
            steps.push(Step::Submit { ring: RingId(0), sqes });
        } else {
            for sqe in sqes {
                let want = Want { user_data: sqe.user_data, count: 1, last: false };
                steps.push(Step::Submit { ring: RingId(0), sqes: vec![sqe] });
                if !path.holds() {
                    steps.push(Step::Reap { ring: RingId(0), until: Until::Seen(vec![want]) });
                }
            }
        }
        let sent = sends.iter().map(MixedSend::len_bytes).sum();
        self.disturb(&mut steps, path, sent);
        steps.push(Step::Settle);
        let flags = if self.has(1) { setup::SINGLE_ISSUER | setup::DEFER_TASKRUN } else { 0 };
        let mut regions: Vec<Region> =
            ["P", "K", "L"].iter().enumerate().map(|(i, name)| stamped(name, i)).collect();
        regions.push(Region {
            name: "headers".into(),
            addr: headers.addr,
            len_bytes: headers.bytes.len() as u64,
            protection: Protection::ReadWrite,
            contents: Contents::Bytes(HexBytes(headers.bytes)),
        });
        Program {
            rings: vec![RingSetup { entries: 16, flags, ..RingSetup::default() }],
            sockets: vec![SocketSetup {
                kind: path.kind,
                lane: path.lane,
                state: SocketState::Connected,
                sndbuf_bytes: path.cramped.then_some(SNDBUF_BYTES),
                rcvbuf_bytes: None,
            }],
            regions,
            steps,
            ..Program::default()
        }
    }

    fn sends(&self, path: Path) -> Vec<MixedSend> {
        let mut used = [0u64; 3];
        let waits = self.has(2) && !path.is_datagram();
        let never = if self.has(3) { msg::DONTWAIT } else { 0 };
        // what waits for room is followed by others only in a chain
        let one = if path.holds() && !self.has(0) { 1 } else { MESSAGES_MAX };
        let count = (1 + usize::from(self.counts.0) % MESSAGES_MAX).min(one);
        let link = if self.has(6) { sqe_flag::HARDLINK } else { sqe_flag::LINK };
        // who is told what to do says nothing while another thread may be sending
        let thread = if self.has(5) && !path.lane.is_declared() { sqe_flag::ASYNC } else { 0 };
        let send = |i: usize| {
            let mut place = |(memory, lent, len): &(u8, bool, u16)| {
                let region = usize::from(memory % 3);
                let len_bytes = u32::from(match len >> 14 {
                    0 => len % 64,
                    3 if path.cramped => len % LONG_MAX,
                    _ => len % LEN_MAX,
                });
                let addr = WINDOW_BASE + region as u64 * STRIDE + used[region];
                used[region] += u64::from(len_bytes);
                Segment {
                    addr,
                    len_bytes,
                    memory: if region == 0 { Memory::Plain } else { Memory::Registered(region as u16 - 1) },
                    transfer: if *lent { Transfer::ZeroCopy } else { Transfer::Copy },
                }
            };
            let message = &self.messages[i];
            let pieces = message.pieces.iter().take(usize::from(message.count) % (SEGMENTS_MAX + 1));
            let linked = self.has(0) && i + 1 < count;
            MixedSend {
                user_data: 1 + i as u64,
                fd: FD_BASE,
                flags: thread | if linked { link } else { 0 },
                msg: never | if waits { msg::WAITALL } else { 0 },
                reports: self.has(4),
                segments: pieces.map(&mut place).collect(),
            }
        };
        (0..count).map(send).collect()
    }

    /// `sent` bytes were given to sends.
    fn disturb(&self, steps: &mut Vec<Step>, path: Path, sent: u64) {
        let (ring, socket) = (RingId(0), SocketId(0));
        let declared = path.lane.is_declared();
        let reads = path.lane.is_heard();
        // so many bytes surely have left that were not read, and not acknowledged
        let uncertain = self.has(0) || self.has(3) || path.holds();
        let sure = if uncertain { 0 } else { sent.min(LEAVES_BYTES) };
        let (mut unread, mut unacknowledged) = (sure, sure);
        let mut cancels = 0;
        let count = usize::from(self.counts.1) % (DISTURBANCES_MAX + 1);
        for disturbance in self.after.iter().take(count) {
            if declared && self.has(0) {
                // a peer says something only when it is known what was sent
                steps.push(Step::Fence { ring });
            }
            steps.push(match disturbance {
                Disturbance::Cancel => {
                    cancels += 1;
                    let cancel =
                        Sqe { opcode: op::ASYNC_CANCEL, addr: 1, user_data: 20 + cancels, ..Sqe::default() };
                    Step::Submit { ring, sqes: vec![cancel] }
                }
                Disturbance::Rewrite(which) => Step::Rewrite { region: RegionId(u16::from(which % 3)) },
                // who only listens takes all that left, and of datagrams it is not known how many there are
                Disturbance::Drain(_) if (declared || path.is_datagram()) && reads => {
                    Step::Drain { socket, amount: Amount::Everything }
                }
                Disturbance::Drain(part) if reads => {
                    Step::Drain { socket, amount: amount(*part, &mut unread) }
                }
                Disturbance::Acknowledge(part) if declared => {
                    Step::Ack { socket, amount: amount(*part, &mut unacknowledged) }
                }
                Disturbance::Miss if unacknowledged > 8 * MISSES_BYTES && declared => {
                    unread = 0;
                    unacknowledged = 0;
                    Step::Miss { socket, len_bytes: MISSES_BYTES }
                }
                Disturbance::Window(units) if declared => {
                    Step::OfferWindow { socket, bytes: u64::from(*units) * WINDOW_UNIT_BYTES }
                }
                Disturbance::Reset if !path.is_datagram() => {
                    (unread, unacknowledged) = (0, 0);
                    Step::ResetPeer { socket }
                }
                Disturbance::Shutdown if !path.is_datagram() && !declared => Step::ShutdownOwn { socket },
                _ => Step::Reap { ring, until: Until::Now },
            });
        }
    }
}

/// What a peer reads or acknowledges: a part of what is surely there, or all.
fn amount(part: u8, there: &mut u64) -> Amount {
    let bytes = *there * u64::from(part) / 256;
    *there -= bytes;
    if bytes == 0 { Amount::Everything } else { Amount::Bytes(bytes) }
}

fn stamped(name: &str, i: usize) -> Region {
    Region {
        name: name.into(),
        addr: WINDOW_BASE + i as u64 * STRIDE,
        len_bytes: REGION_BYTES.next_multiple_of(PAGE_BYTES),
        protection: Protection::ReadWrite,
        contents: Contents::Stamped,
    }
}

fn tables() -> Register {
    let buffer = |i: u64| Iovec { addr: WINDOW_BASE + i * STRIDE, len_bytes: REGION_BYTES };
    Register::Buffers(vec![buffer(1), buffer(2)])
}
