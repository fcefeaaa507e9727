//! Preparing cancels.
//!
//! Source: `io_async_cancel_prep`, `io_cancel_req_match` in `io_uring/cancel.c`, 6.18.

use super::{Errors, Plan, Prepared};
use crate::abi::{cancel_flag, errno, sqe_flag};
use crate::profile::{KernelVersion, Profile};
use crate::rules::Rule;
use crate::sqe::Sqe;

/// Every flag that a kernel knows.
const FLAGS: u32 = cancel_flag::ALL
    | cancel_flag::FD
    | cancel_flag::ANY
    | cancel_flag::FD_FIXED
    | cancel_flag::USERDATA
    | cancel_flag::OP;

/// What a cancel looks for, other than one request with its user data. What is `None` may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seek {
    /// The user data.
    pub user_data: Option<u64>,
    /// The descriptor.
    pub fd: Option<i32>,
    /// The descriptor is an index into the table of files.
    pub fixed_file: bool,
    /// The opcode.
    pub opcode: Option<u8>,
    /// It goes on until it finds no more, and says how many it has found.
    pub counts: bool,
}

pub(super) fn prepare_cancel(sqe: &Sqe, profile: &Profile) -> Prepared {
    let mut errors = Errors::default();
    let has = |flag| sqe.op_flags & flag != 0;
    let refused = sqe.off != 0 || sqe.file_index != 0;
    errors.refuse_if(refused, errno::EINVAL, Rule::CancelReservedFields);
    errors.refuse_if(has(!FLAGS), errno::EINVAL, Rule::CancelFlagsKnown);
    // the last two flags are known since 6.6
    let known = profile.version >= KernelVersion(6, 6, 0);
    let named = has(cancel_flag::FD | cancel_flag::OP);
    errors.refuse_if(known && has(cancel_flag::ANY) && named, errno::EINVAL, Rule::CancelAnyAlone);
    if !errors.0.is_empty() {
        return Prepared::Refused { errors: errors.0, notice: None };
    }
    if sqe.op_flags != 0 && !known {
        return Prepared::NotModelled("cancelling by anything but user data before 6.6".into());
    }
    if !has(cancel_flag::ALL | cancel_flag::ANY) && !named {
        return Prepared::Ready(Plan::Cancel { target: sqe.addr });
    }
    let any = has(cancel_flag::ANY);
    Prepared::Ready(Plan::Seek(Seek {
        user_data: (!any && (has(cancel_flag::USERDATA) || !named)).then_some(sqe.addr),
        fd: has(cancel_flag::FD).then_some(sqe.fd),
        fixed_file: has(cancel_flag::FD_FIXED) || sqe.flags & sqe_flag::FIXED_FILE != 0,
        opcode: has(cancel_flag::OP).then_some(sqe.len as u8),
        counts: any || has(cancel_flag::ALL),
    }))
}
