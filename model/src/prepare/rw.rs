//! What reads and writes say beside their memory: a priority, attributes, flags and a position.
//!
//! Priority and attributes are looked at while the entry is prepared, flags and position only when it is
//! tried and its file was found.
//!
//! Source: `__io_prep_rw`, `io_prep_rw_pi`, `io_rw_init_file` in `io_uring/rw.c`; `ioprio_check_cap` in
//! `block/ioprio.c`; `kiocb_set_rw_flags` in `linux/fs.h`; `rw_verify_area` in `fs/read_write.c`;
//! `sock_write_iter` in `net/socket.c`, 6.18.

use super::{Errors, Refusal};
use crate::abi::{errno, rwf};
use crate::cqe::Errno;
use crate::profile::{KernelVersion, Profile};
use crate::rules::Rule;
use crate::space::UserMemory;
use crate::sqe::Sqe;

/// The attribute mask of protection information (`IORING_RW_ATTR_FLAG_PI`), and the bytes of what says more.
const ATTR_PI: u64 = 1;
const PI_BYTES: usize = 32;

/// What a socket makes of it when it is tried.
pub(super) struct Aside {
    /// Why it is refused.
    pub(super) refused: Option<Refusal>,
    /// `RWF_NOWAIT`.
    pub(super) never_waits: bool,
}

/// Reads it; adds to `errors` what is refused at once. The error is what the model does not cover.
pub(super) fn aside(
    sqe: &Sqe,
    len_bytes: u64,
    seeks: Rule,
    profile: &Profile,
    memory: &impl UserMemory,
    errors: &mut Errors,
) -> Result<Aside, String> {
    let says_nothing = sqe.ioprio == 0 && sqe.pad2 == 0 && sqe.op_flags == 0;
    if !says_nothing && profile.version < KernelVersion(6, 18, 0) {
        return Err("priorities, attributes or flags of reads and writes before 6.18".into());
    }
    let (class, level) = (sqe.ioprio >> 13, sqe.ioprio & 7);
    errors.refuse_if(class > 3 || class == 0 && level != 0, errno::EINVAL, Rule::SqePriorityKnown);
    if sqe.pad2 == ATTR_PI {
        let readable = memory.read(sqe.addr3, &mut [0; PI_BYTES]).is_ok();
        errors.refuse_if(!readable, errno::EFAULT, Rule::WriteAttributesRefused);
        if readable {
            return Err("protection information for a socket".into());
        }
    } else {
        errors.refuse_if(sqe.pad2 != 0, errno::EINVAL, Rule::WriteAttributesRefused);
    }
    if class == 1 {
        return Err("a real-time priority, which not everybody may ask for".into());
    }
    let position = sqe.off as i64;
    let wraps = position < 0 || position.checked_add_unsigned(len_bytes).is_none();
    let refused = match (flags_refused(sqe.op_flags), sqe.off) {
        (Some(number), _) => Some((number, Rule::WriteFlagsKnown)),
        (None, 0 | u64::MAX) => None,
        (None, _) if wraps => Some((errno::EINVAL, Rule::WritePositionSign)),
        (None, _) => Some((errno::ESPIPE, seeks)),
    };
    let refused = refused.map(|(number, rule)| (Errno(number), rule));
    Ok(Aside { refused, never_waits: sqe.op_flags & rwf::NOWAIT != 0 })
}

/// The error with which a socket refuses flags of a read or write.
fn flags_refused(flags: u32) -> Option<u16> {
    let known = rwf::NAMES.iter().fold(0, |all, (_, bit)| all | bit);
    if flags & !known != 0 {
        return Some(errno::EOPNOTSUPP);
    }
    if flags & rwf::APPEND != 0 && flags & rwf::NOAPPEND != 0 {
        return Some(errno::EINVAL);
    }
    if flags & (rwf::ATOMIC | rwf::DONTCACHE) != 0 {
        return Some(errno::EOPNOTSUPP);
    }
    (flags & rwf::HIPRI != 0).then_some(errno::EINVAL)
}
