//! What may be run live: a program is looked through before anything is made.
//!
//! Errs on the side of refusing. An opcode that the model does not cover could open, write or unlink a
//! file after one flipped bit; an address outside the window could name the worker's own memory, and the
//! trace would say nothing about it.

use uringspec_model::abi::{enter, msg, name_of, op, setup, sqe_flag};
use uringspec_model::memory::{Contents, Protection, WINDOW_BASE, WINDOW_BYTES};
use uringspec_model::prepare::COVERED;
use uringspec_model::program::{Lane, Program, Register, SocketKind, SocketSetup, SocketState, Step};
use uringspec_model::sqe::Sqe;

use crate::namespace::Network;
use crate::skip::Skip;
use crate::targets;
use crate::window;

/// The opcodes that are submitted. Beside these only numbers that no request has on this kernel are.
pub(crate) const LIVE_OPCODES: &[u8] = COVERED;

/// The setup flags that a ring may have.
const LIVE_SETUP: u32 = setup::IOPOLL
    | setup::SQPOLL
    | setup::CQSIZE
    | setup::CLAMP
    | setup::R_DISABLED
    | setup::SUBMIT_ALL
    | setup::COOP_TASKRUN
    | setup::TASKRUN_FLAG
    | setup::SINGLE_ISSUER
    | setup::DEFER_TASKRUN
    | setup::NO_SQARRAY
    | setup::SQE128
    | setup::CQE32
    | setup::CQE_MIXED;

/// Flags of enter that stand for something that was registered.
const REGISTERED: u32 = enter::REGISTERED_RING | enter::EXT_ARG_REG;

/// Setup flags that name memory or another ring.
const NAMES_OTHERS: u32 = setup::NO_MMAP | setup::ATTACH_WQ;

/// Rings of a program: each holds a descriptor below `FD_BASE` and some memory.
const RINGS_MAX: usize = 64;
/// Sockets of a program; the descriptors of both ends fit below a common hard limit of 4096.
const SOCKETS_MAX: usize = 1024;
/// Bytes of all regions together, in whole pages: what a program can pin.
const REGIONS_BYTES_MAX: u64 = 256 << 20;
/// Below are the worker's own descriptors and the rings; from here to the program's none should be open, which
/// is looked at when one is named.
const FD_CLOSED: i32 = 86;

/// What admission depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    /// Opcodes that the kernel knows: the first unknown number.
    pub(crate) opcodes: u8,
    /// Where traffic would go.
    pub(crate) network: Network,
}

/// Whether a program would be run by a worker with a network of its own, on a kernel that knows the opcodes
/// below `opcodes`.
pub fn may_run(program: &Program, opcodes: u8) -> Result<(), Skip> {
    admit(program, Ground { opcodes, network: Network::Own })
}

/// Refuses what is not to be run here.
pub(crate) fn admit(program: &Program, ground: Ground) -> Result<(), Skip> {
    if program.rings.len() > RINGS_MAX || program.sockets.len() > SOCKETS_MAX {
        return refuse(format!("at most {RINGS_MAX} rings and {SOCKETS_MAX} sockets are made"));
    }
    for ring in &program.rings {
        if ring.flags & !LIVE_SETUP != 0 {
            return refuse(format!("ring flags beyond {LIVE_SETUP:#x}, here {:#x}", ring.flags));
        }
    }
    program.sockets.iter().try_for_each(|socket| admit_socket(socket, ground.network))?;
    admit_regions(program)?;
    for (index, step) in program.steps.iter().enumerate() {
        admit_step(program, step, ground).map_err(|skip| match skip {
            Skip::NotLive(what) => Skip::NotLive(format!("step {index}: {what}")),
            other => other,
        })?;
    }
    Ok(())
}

fn refuse<T>(what: String) -> Result<T, Skip> {
    Err(Skip::NotLive(what))
}

fn admit_socket(socket: &SocketSetup, network: Network) -> Result<(), Skip> {
    let is_tcp = matches!(socket.kind, SocketKind::Tcp4 | SocketKind::Tcp6);
    let is_udp = matches!(socket.kind, SocketKind::Udp4 | SocketKind::Udp6);
    if socket.lane == Lane::Unknown {
        return refuse(
            "a path of which nothing is known; accepted are loopback, the gates and the devices".into(),
        );
    }
    let connected = socket.state == SocketState::Connected;
    if matches!(socket.lane, Lane::IfbUdp | Lane::IfbUdpTap)
        && !(socket.kind == SocketKind::Udp4 && connected)
    {
        return refuse("ifb-udp needs a connected udp socket over IPv4".into());
    }
    if socket.lane.is_declared() && !(socket.kind == SocketKind::Tcp4 && connected) {
        return refuse("a declared connection is tcp over IPv4".into());
    }
    if matches!(socket.lane, Lane::Gate | Lane::GateFull)
        && !(is_tcp && socket.state == SocketState::Connected)
    {
        return refuse("a gate needs a connected tcp socket".into());
    }
    // Such a socket sends wherever a request's address points.
    let may_leave = socket.lane.has_device() || is_udp || is_tcp && socket.state == SocketState::Unconnected;
    if may_leave && network == Network::Host {
        return Err(Skip::Missing(
            "a network namespace, without which this socket could send to the outside; allow unprivileged \
             user namespaces or run as root"
                .into(),
        ));
    }
    Ok(())
}

fn admit_regions(program: &Program) -> Result<(), Skip> {
    let mut ranges = Vec::with_capacity(program.regions.len());
    let mut total = 0u64;
    for region in &program.regions {
        let inside = |(start, end): &(u64, u64)| *start >= WINDOW_BASE && *end <= WINDOW_BASE + WINDOW_BYTES;
        let Some((start, end)) = window::pages(region).filter(inside) else {
            return refuse(format!(
                "region {} does not lie in {WINDOW_BASE:#x}..{:#x}",
                region.name,
                WINDOW_BASE + WINDOW_BYTES
            ));
        };
        total += end - start;
        ranges.push((start, end));
    }
    if total > REGIONS_BYTES_MAX {
        return refuse(format!("at most {REGIONS_BYTES_MAX} bytes of regions are mapped, here {total}"));
    }
    ranges.sort_unstable();
    if ranges.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return refuse("two regions share a page; each must have its own".into());
    }
    Ok(())
}

fn admit_step(program: &Program, step: &Step, ground: Ground) -> Result<(), Skip> {
    let (ring, socket) = match step {
        Step::Enter(call) => (Some(&call.ring), None),
        Step::Submit { ring, .. }
        | Step::Queue { ring, .. }
        | Step::Look { ring }
        | Step::Sleep { ring }
        | Step::Reap { ring, .. }
        | Step::Register { ring, .. }
        | Step::Peek { ring }
        | Step::EnterElsewhere { ring }
        | Step::Fence { ring } => (Some(ring), None),
        Step::Drain { socket, .. }
        | Step::Ack { socket, .. }
        | Step::OfferWindow { socket, .. }
        | Step::Miss { socket, .. }
        | Step::ResetPeer { socket }
        | Step::CloseOwn { socket }
        | Step::ShutdownOwn { socket }
        | Step::Cork { socket, .. } => (None, Some(socket)),
        Step::Rewrite { .. } | Step::Setup(_) | Step::Settle => (None, None),
    };
    if let Some(ring) = ring.filter(|r| usize::from(r.0) >= program.rings.len()) {
        return refuse(format!("ring {} of {}", ring.0, program.rings.len()));
    }
    if let Some(socket) = socket.filter(|s| usize::from(s.0) >= program.sockets.len()) {
        return refuse(format!("socket {} of {}", socket.0, program.sockets.len()));
    }
    if let Some(socket) = socket {
        admit_lane_step(step, program.sockets[usize::from(socket.0)].lane)?;
    }
    match step {
        Step::Submit { sqes, .. } => sqes.iter().try_for_each(|sqe| admit_sqe(program, sqe, ground)),
        Step::Queue { ring, sqes, array } => {
            let made = &program.rings[usize::from(ring.0)];
            let slots = made.entries.clamp(1, 32_768).next_power_of_two();
            let of_others = (sqes.len() as u32..slots).any(|slot| array.contains(&slot));
            if of_others
                || !array.is_empty() && (made.flags & setup::NO_SQARRAY != 0 || array.len() < sqes.len())
            {
                return refuse("indices of slots that are not filled in the same step".into());
            }
            sqes.iter().try_for_each(|sqe| admit_sqe(program, sqe, ground))
        }
        Step::Sleep { ring } if program.rings[usize::from(ring.0)].flags & setup::SQPOLL == 0 => {
            refuse("a ring whose thread is waited for needs SQPOLL".into())
        }
        Step::Enter(call) if call.all_flags() & REGISTERED != 0 => {
            refuse("an enter with what was registered for it".into())
        }
        Step::Setup(asked) if asked.flags & NAMES_OTHERS != 0 => {
            refuse("a ring in memory of its user, or with another ring's threads".into())
        }
        Step::Register { what: Register::Buffers(iovecs), .. } => {
            iovecs.iter().try_for_each(|iovec| admit_address("a buffer", iovec.addr))
        }
        Step::Register { what: Register::UpdateBuffers { iovecs, .. }, .. } => {
            iovecs.iter().try_for_each(|iovec| admit_address("a buffer", iovec.addr))
        }
        Step::Register { what: Register::Files(files), .. } => {
            let known = files.iter().flatten().all(|index| usize::from(*index) < program.sockets.len());
            if known { Ok(()) } else { refuse("a registered file must be a socket of the program".into()) }
        }
        Step::Rewrite { region } => match program.regions.get(usize::from(region.0)) {
            Some(r) if r.contents == Contents::Stamped && r.protection == Protection::ReadWrite => Ok(()),
            _ => refuse("a rewrite needs a stamped region that can be written".into()),
        },
        _ => Ok(()),
    }
}

/// A step must suit the lane: who is not there does not read, and who is only acknowledges when declared.
fn admit_lane_step(step: &Step, lane: Lane) -> Result<(), Skip> {
    match step {
        Step::Ack { .. } | Step::OfferWindow { .. } | Step::Miss { .. } if !lane.is_declared() => {
            refuse("only the peer of a declared connection does what it is told".into())
        }
        Step::Drain { .. } if !lane.is_heard() => refuse("nobody reads behind a device".into()),
        Step::ResetPeer { .. } if matches!(lane, Lane::IfbUdp | Lane::IfbUdpTap) => {
            refuse("nobody is there to go".into())
        }
        Step::CloseOwn { .. } | Step::ShutdownOwn { .. } if lane.is_declared() => {
            refuse("a declared connection whose own end goes could not be ended any more".into())
        }
        Step::Cork { .. } if lane.has_device() => {
            refuse("corks are for connections with a peer that reads".into())
        }
        _ => Ok(()),
    }
}

fn admit_descriptor(sqe: &Sqe) -> Result<(), Skip> {
    // A fixed file is an index into a table of the program's sockets.
    if sqe.flags & sqe_flag::FIXED_FILE == 0 && (0..FD_CLOSED).contains(&sqe.fd) {
        return refuse(format!("descriptor {}; accepted are negative ones and {FD_CLOSED} on", sqe.fd));
    }
    Ok(())
}

fn admit_sqe(program: &Program, sqe: &Sqe, ground: Ground) -> Result<(), Skip> {
    if sqe.opcode >= ground.opcodes {
        return Ok(());
    }
    if !LIVE_OPCODES.contains(&sqe.opcode) {
        let name = name_of(op::NAMES, sqe.opcode).unwrap_or("unnamed");
        return refuse(format!(
            "opcode {name} ({}); submitted are {} and numbers from {} on",
            sqe.opcode,
            LIVE_OPCODES.iter().filter_map(|o| name_of(op::NAMES, *o)).collect::<Vec<_>>().join(", "),
            ground.opcodes
        ));
    }
    if sqe.opcode == op::NOP {
        return Ok(());
    }
    if sqe.opcode == op::ASYNC_CANCEL {
        // It reaches only requests of its own ring, and those are the program's.
        return if targets::names_file(sqe) { admit_descriptor(sqe) } else { Ok(()) };
    }
    admit_descriptor(sqe)?;
    if ground.network == Network::Host && sqe.op_flags & msg::FASTOPEN != 0 {
        return Err(Skip::Missing(
            "a network namespace, without which FASTOPEN could reach the outside".into(),
        ));
    }
    targets::of_sqe(program, sqe, &mut |role, addr, _| admit_address(role.name(), addr))
}

/// An address must lie in the window, or be one that nothing is ever mapped at.
fn admit_address(what: &str, addr: u64) -> Result<(), Skip> {
    if window::is_known(addr) {
        return Ok(());
    }
    refuse(format!(
        "{what} at {addr:#x}; accepted are the window, what lies beside it, and {:#x} on",
        window::USER_END
    ))
}

#[cfg(test)]
mod tests {
    use uringspec_model::memory::Region;
    use uringspec_model::program::{RingId, RingSetup};

    use super::*;

    const GROUND: Ground = Ground { opcodes: 63, network: Network::Own };

    fn with_sqe(sqe: Sqe) -> Program {
        Program {
            rings: vec![RingSetup { entries: 8, ..RingSetup::default() }],
            steps: vec![Step::Submit { ring: RingId(0), sqes: vec![sqe] }],
            ..Program::default()
        }
    }

    #[track_caller]
    fn refused(program: &Program, by: &str) {
        let told = admit(program, GROUND).expect_err("the program is not for live kernels").to_string();
        assert!(told.contains(by), "{told:?} does not speak of {by:?}");
    }

    #[test]
    fn opcodes_that_could_touch_files_are_refused_by_name() {
        for opcode in 0..=u8::MAX {
            let program = with_sqe(Sqe { opcode, fd: -1, ..Sqe::default() });
            if LIVE_OPCODES.contains(&opcode) || opcode >= GROUND.opcodes {
                assert_eq!(admit(&program, GROUND), Ok(()));
            } else {
                refused(&program, name_of(op::NAMES, opcode).expect("every opcode up to 62 has a name"));
            }
        }
    }

    #[test]
    fn addresses_outside_the_window_are_refused_unless_bad_for_certain() {
        let send = |addr| with_sqe(Sqe { opcode: op::SEND, fd: -1, addr, len: 1, ..Sqe::default() });
        for good in [0, 65_535, WINDOW_BASE, WINDOW_BASE + WINDOW_BYTES - 1, window::USER_END, u64::MAX] {
            assert_eq!(admit(&send(good), GROUND), Ok(()));
        }
        for bad in [2 * WINDOW_BASE, window::USER_END - 1] {
            refused(&send(bad), "data at");
        }
    }

    #[test]
    fn an_address_with_one_bit_changed_is_known_to_be_bad() {
        for bit in 0..64 {
            assert!(window::is_known(WINDOW_BASE ^ 1 << bit), "bit {bit}");
        }
    }

    #[test]
    fn absurd_regions_are_refused_and_nothing_overflows() {
        let region = |addr, len_bytes| Region {
            name: "K".into(),
            addr,
            len_bytes,
            protection: Protection::default(),
            contents: Contents::default(),
        };
        let with = |regions| Program { regions, ..Program::default() };
        refused(&with(vec![region(WINDOW_BASE, 1 << 60)]), "lie in");
        refused(&with(vec![region(u64::MAX, u64::MAX)]), "lie in");
        refused(&with(vec![region(WINDOW_BASE, u64::MAX)]), "lie in");
        refused(&with(vec![region(WINDOW_BASE, WINDOW_BYTES)]), "bytes of regions");
        refused(&with(vec![region(WINDOW_BASE, 1), region(WINDOW_BASE + 9, 1)]), "share a page");
        assert_eq!(admit(&with(vec![region(WINDOW_BASE + 5, 0)]), GROUND), Ok(()));
    }
}
