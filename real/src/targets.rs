//! Where a request's pointers point, as far as the program's memory at its start tells.

use std::convert::Infallible;

use uringspec_model::abi::{UIO_MAXIOV, cancel_flag, op, send_flag, sqe_flag};
use uringspec_model::memory::{Contents, Generation, RegionId};
use uringspec_model::program::{Program, Register, Step};
use uringspec_model::sqe::Sqe;

/// Whether a cancel looks up a descriptor of the process.
pub(crate) fn names_file(cancel: &Sqe) -> bool {
    let fixed = cancel.flags & sqe_flag::FIXED_FILE != 0 || cancel.op_flags & cancel_flag::FD_FIXED != 0;
    cancel.op_flags & cancel_flag::FD != 0 && !fixed
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Bytes to be sent.
    Data,
    /// Where what is read goes.
    Sink,
    /// A `struct msghdr`.
    Message,
    /// An array of `struct iovec`.
    Iovecs,
    /// A socket address, of an entry or of a message.
    Destination,
    /// Control messages.
    Control,
}

impl Role {
    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Data => "data",
            Role::Sink => "memory for a read",
            Role::Message => "a message header",
            Role::Iovecs => "an iovec array",
            Role::Destination => "a destination",
            Role::Control => "control messages",
        }
    }
}

/// Calls `each` with the role, address and length of all that `sqe` refers to.
pub(crate) fn of_sqe<E>(
    program: &Program,
    sqe: &Sqe,
    each: &mut impl FnMut(Role, u64, u64) -> Result<(), E>,
) -> Result<(), E> {
    match sqe.opcode {
        op::SEND | op::SEND_ZC => {
            if sqe.addr_len() != 0 {
                each(Role::Destination, sqe.off, sqe.addr_len().into())?;
            }
            if sqe.ioprio & send_flag::VECTORIZED != 0 {
                of_iovecs(program, (sqe.addr, sqe.len.into()), Role::Data, each)
            } else {
                each(Role::Data, sqe.addr, sqe.len.into())
            }
        }
        op::WRITE | op::WRITE_FIXED => each(Role::Data, sqe.addr, sqe.len.into()),
        op::WRITEV => of_iovecs(program, (sqe.addr, sqe.len.into()), Role::Data, each),
        op::READV => of_iovecs(program, (sqe.addr, sqe.len.into()), Role::Sink, each),
        op::SENDMSG | op::SENDMSG_ZC => {
            each(Role::Message, sqe.addr, 56)?;
            let Some(header) = peek::<7>(program, sqe.addr) else { return Ok(()) };
            let [name, name_len, iov, iov_len, control, control_len, _] = header;
            if name_len & 0xffff_ffff != 0 {
                each(Role::Destination, name, name_len & 0xffff_ffff)?;
            }
            if control_len != 0 {
                each(Role::Control, control, control_len)?;
            }
            if iov_len != 0 { of_iovecs(program, (iov, iov_len), Role::Data, each) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

fn of_iovecs<E>(
    program: &Program,
    (addr, count): (u64, u64),
    role: Role,
    each: &mut impl FnMut(Role, u64, u64) -> Result<(), E>,
) -> Result<(), E> {
    each(Role::Iovecs, addr, count.saturating_mul(16))?;
    for index in 0..count.min(UIO_MAXIOV) {
        let Some([base, len]) = peek::<2>(program, addr.saturating_add(16 * index)) else { break };
        if len != 0 {
            each(role, base, len)?;
        }
    }
    Ok(())
}

/// Words of the program's memory, where one region holds them all.
fn peek<const N: usize>(program: &Program, addr: u64) -> Option<[u64; N]> {
    let bytes = 8 * N as u64;
    let (index, region) = program.regions.iter().enumerate().find(|(_, r)| r.covers(addr, bytes))?;
    let id = RegionId(u16::try_from(index).ok()?);
    let at = |offset| region.byte(id, Generation(0), addr - region.addr + offset);
    Some(std::array::from_fn(|w| u64::from_le_bytes(std::array::from_fn(|i| at((8 * w + i) as u64)))))
}

/// A stretch of stamped memory that some request of the program sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The region.
    pub region: RegionId,
    /// First byte in it.
    pub offset: u64,
    /// Bytes.
    pub len_bytes: u64,
}

/// More aims than this are not kept: they only make short pieces of received bytes readable.
const AIMS_MAX: usize = 64;

/// What the program's requests send from stamped memory.
pub(crate) fn aims(program: &Program) -> Vec<Aim> {
    let mut aims = Vec::new();
    let mut full = |role, addr: u64, len_bytes| {
        if role != Role::Data {
            return Ok(());
        }
        let holds = program
            .regions
            .iter()
            .position(|r| r.contents == Contents::Stamped && r.addr <= addr && addr < r.end());
        if let Some(index) = holds {
            let aim =
                Aim { region: RegionId(index as u16), offset: addr - program.regions[index].addr, len_bytes };
            if !aims.contains(&aim) {
                aims.push(aim);
            }
        }
        if aims.len() < AIMS_MAX { Ok(()) } else { Err(()) }
    };
    for step in &program.steps {
        let done = match step {
            Step::Submit { sqes, .. } | Step::Queue { sqes, .. } => {
                sqes.iter().try_for_each(|sqe| of_sqe(program, sqe, &mut full))
            }
            Step::Register { what: Register::Buffers(iovecs), .. } => {
                iovecs.iter().try_for_each(|iovec| full(Role::Data, iovec.addr, iovec.len_bytes))
            }
            _ => Ok(()),
        };
        if done.is_err() {
            break;
        }
    }
    aims
}

/// The most pieces of memory that one request of the program sends; at least one.
pub(crate) fn pieces_max(program: &Program) -> u64 {
    let mut most = 1;
    for step in &program.steps {
        for sqe in step.entries() {
            let mut pieces = 0;
            let Ok(()) = of_sqe::<Infallible>(program, sqe, &mut |role, _, _| {
                pieces += u64::from(role == Role::Data);
                Ok(())
            });
            most = most.max(pieces);
        }
    }
    most
}
