//! Random programs with mixed sends: any bytes make one.
//!
//! Sends of one socket go one after the other or as a chain, as a server does; what disturbs them is a
//! cancel, a reset, a shutdown, and memory that is written while the kernel may still read it.

use std::sync::{Mutex, OnceLock};

use arbitrary::{Arbitrary, Unstructured};
use uringspec_model::abi::{PAGE_BYTES, msg, op, setup, sqe_flag};
use uringspec_model::choices::Seeded;
use uringspec_model::kernels;
use uringspec_model::memory::{Contents, HexBytes, Protection, Region, RegionId, WINDOW_BASE};
use uringspec_model::mixed::entry::{self, Headers};
use uringspec_model::mixed::{Memory, MixedSend, Segment, Transfer};
use uringspec_model::program::{
    FD_BASE, Iovec, Lane, Program, Register, RingId, RingSetup, SocketId, SocketKind, SocketSetup,
    SocketState, Step, Until, Want,
};
use uringspec_model::simulate::simulate;
use uringspec_model::sqe::Sqe;
use uringspec_model::verdict::Verdict;

use crate::kernel::Kernel;

/// Bytes of each of the three regions: room for all segments of a draft.
const REGION_BYTES: u64 = 128 << 10;
/// Bytes between the starts of two regions.
const STRIDE: u64 = 1 << 20;
/// The most messages, and the most segments of one.
const MESSAGES_MAX: usize = 3;
const SEGMENTS_MAX: usize = 6;
/// Segments have fewer bytes than this.
const LEN_MAX: u16 = 6000;

/// What a random program with mixed sends is made of.
#[derive(Clone, Debug, Arbitrary)]
pub struct MixedDraft {
    lane: u8,
    flags: u8,
    messages: Vec<Message>,
    after: Vec<Disturbance>,
}

#[derive(Clone, Debug, Arbitrary)]
struct Message {
    pieces: Vec<(u8, bool, u16)>,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Disturbance {
    Cancel,
    Reset,
    Shutdown,
    Rewrite(u8),
    Reap,
}

impl MixedDraft {
    /// The draft that bytes stand for.
    pub fn of_bytes(bytes: &[u8]) -> MixedDraft {
        // arbitrary makes something of any bytes; an empty draft where it refuses
        MixedDraft::arbitrary_take_rest(Unstructured::new(bytes)).unwrap_or(MixedDraft {
            lane: 0,
            flags: 0,
            messages: Vec::new(),
            after: Vec::new(),
        })
    }

    fn has(&self, bit: u8) -> bool {
        self.flags & 1 << bit != 0
    }

    /// The program.
    pub fn resolve(&self) -> Program {
        let (kind, lane) = match self.lane % 6 {
            0 | 1 => (SocketKind::Tcp4, Lane::Loopback),
            2 => (SocketKind::Tcp4, Lane::Gate),
            3 => (SocketKind::Tcp4, Lane::GateFull),
            4 => (SocketKind::Udp4, Lane::IfbUdp),
            _ => (SocketKind::Tcp4, Lane::RepairTcp),
        };
        let datagram = kind == SocketKind::Udp4;
        let mut headers = Headers::at(WINDOW_BASE + 4 * STRIDE);
        let sends = self.sends(datagram);
        let sqes: Vec<Sqe> = sends.iter().map(|send| entry::write(send, &mut headers)).collect();
        let mut steps = vec![Step::Register { ring: RingId(0), what: tables() }];
        if self.has(0) {
            steps.push(Step::Submit { ring: RingId(0), sqes });
        } else {
            for sqe in sqes {
                let want = Want { user_data: sqe.user_data, count: 1, last: false };
                steps.push(Step::Submit { ring: RingId(0), sqes: vec![sqe] });
                if lane != Lane::GateFull {
                    steps.push(Step::Reap { ring: RingId(0), until: Until::Seen(vec![want]) });
                }
            }
        }
        self.disturb(&mut steps, datagram);
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
                kind,
                lane,
                state: SocketState::Connected,
                sndbuf_bytes: None,
                rcvbuf_bytes: None,
            }],
            regions,
            steps,
            ..Program::default()
        }
    }

    fn sends(&self, datagram: bool) -> Vec<MixedSend> {
        let mut used = [0u64; 3];
        let waits = self.has(2) && !datagram;
        let never = if self.has(3) { msg::DONTWAIT } else { 0 };
        let one = if self.lane % 6 == 3 && !self.has(0) { 1 } else { MESSAGES_MAX };
        let count = self.messages.len().clamp(1, one);
        let none = Message { pieces: Vec::new() };
        let send = |i: usize| {
            let mut place = |(memory, lent, len): &(u8, bool, u16)| {
                let region = usize::from(memory % 3);
                let len_bytes = u32::from(if *len < 1 << 14 { len % 64 } else { len % LEN_MAX });
                let addr = WINDOW_BASE + region as u64 * STRIDE + used[region];
                used[region] += u64::from(len_bytes);
                Segment {
                    addr,
                    len_bytes,
                    memory: if region == 0 { Memory::Plain } else { Memory::Registered(region as u16 - 1) },
                    transfer: if *lent { Transfer::ZeroCopy } else { Transfer::Copy },
                }
            };
            let message = self.messages.get(i).unwrap_or(&none);
            let linked = self.has(0) && i + 1 < count;
            MixedSend {
                user_data: 1 + i as u64,
                fd: FD_BASE,
                flags: if linked { sqe_flag::LINK } else { 0 },
                msg: never | if waits { msg::WAITALL } else { 0 },
                reports: self.has(4),
                segments: message.pieces.iter().take(SEGMENTS_MAX).map(&mut place).collect(),
            }
        };
        (0..count).map(send).collect()
    }

    fn disturb(&self, steps: &mut Vec<Step>, datagram: bool) {
        let mut cancels = 0;
        for disturbance in self.after.iter().take(4) {
            steps.push(match disturbance {
                Disturbance::Cancel => {
                    cancels += 1;
                    let cancel =
                        Sqe { opcode: op::ASYNC_CANCEL, addr: 1, user_data: 20 + cancels, ..Sqe::default() };
                    Step::Submit { ring: RingId(0), sqes: vec![cancel] }
                }
                Disturbance::Reset if !datagram => Step::ResetPeer { socket: SocketId(0) },
                Disturbance::Shutdown if !datagram => Step::ShutdownOwn { socket: SocketId(0) },
                Disturbance::Rewrite(which) => Step::Rewrite { region: RegionId(u16::from(which % 3)) },
                Disturbance::Reset | Disturbance::Shutdown | Disturbance::Reap => {
                    Step::Reap { ring: RingId(0), until: Until::Now }
                }
            });
        }
    }
}

/// Every kernel's model, once, in every way that it has.
///
/// # Panics
///
/// Where the contract is not kept.
pub fn on_the_model(draft: &MixedDraft) {
    let program = draft.resolve();
    for kernel in kernels::names().filter_map(kernels::named) {
        for (lowering, made) in super::ways(None, &program, &kernel).unwrap_or_default() {
            let seed = u64::from(draft.flags) << 8 | u64::from(draft.lane);
            let trace = simulate(&made.program, &kernel, &mut Seeded::new(seed));
            let kept = super::keeps(&program, &made.view.read(&trace));
            assert_eq!(kept, Ok(()), "{lowering} on {}: {program:#?}\n{trace:#?}", kernel.release);
        }
    }
}

/// This kernel in every way that it has, where `URINGSPEC` names a command that can be its worker.
///
/// # Panics
///
/// Where a rule of the entries or the contract is not kept.
pub fn on_the_kernel(draft: &MixedDraft) {
    static KERNEL: OnceLock<Option<Mutex<Kernel>>> = OnceLock::new();
    let open = || Some(Mutex::new(Kernel::open(Some(std::env::var_os("URINGSPEC")?.into())).ok()?));
    let Some(kernel) = KERNEL.get_or_init(open) else { return };
    // one that was held in a panic ends the run
    let Ok(mut kernel) = kernel.lock() else { return };
    let program = draft.resolve();
    let profile = kernel.profile().clone();
    for (lowering, made) in super::ways(None, &program, &profile).unwrap_or_default() {
        let Ok(trace) = kernel.run(&made.program) else { continue };
        let kept = super::keeps(&program, &made.view.read(&trace));
        assert_eq!(kept, Ok(()), "{lowering}: {program:#?}\n{trace:#?}");
        if let Err(judged) = super::judge(&program, &made, &profile, &trace) {
            let unclaimed = matches!(judged.0, Verdict::Unclaimed { .. });
            assert!(unclaimed, "{lowering}: {:?}\n{:#?}\n{trace:#?}", judged.0, made.program);
        }
    }
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
