//! Preparing a write to a socket.
//!
//! A write is a send without flags, but for its vectors' limits and for what a short count means to
//! its chain.
//!
//! Source: `io_prep_write`, `io_prep_writev` in `io_uring/rw.c`; `sock_write_iter` in
//! `net/socket.c`, 6.18.

use super::message::iovecs;
use super::rw::aside;
use super::{Errors, Plan, Prepared, Retry, SendPlan};
use crate::abi::{self, UIO_MAXIOV, errno, op, sqe_flag};
use crate::profile::Profile;
use crate::rules::Rule;
use crate::space::{UserMemory, is_user_range};
use crate::sqe::Sqe;

pub(super) fn prepare_write(sqe: &Sqe, profile: &Profile, memory: &impl UserMemory) -> Prepared {
    let mut errors = Errors::default();
    let fixed = (sqe.opcode == op::WRITE_FIXED).then_some(sqe.buf_index);
    let ranges = if sqe.opcode == op::WRITEV {
        let count = u64::from(sqe.len);
        errors.refuse_if(count > UIO_MAXIOV, errno::EINVAL, Rule::WriteAtMost1024);
        let array = if count > UIO_MAXIOV { 0 } else { count };
        match iovecs(sqe.addr, array, false, memory, &mut errors) {
            Ok(ranges) => ranges,
            Err(what) => return Prepared::NotModelled(what.into()),
        }
    } else {
        let len = u64::from(sqe.len).min(abi::MAX_RW_COUNT);
        let outside = fixed.is_none() && !is_user_range(sqe.addr, len);
        errors.refuse_if(outside, errno::EFAULT, Rule::SendMemoryReadable);
        vec![(sqe.addr, if fixed.is_some() { u64::from(sqe.len) } else { len })]
    };
    let len_bytes = ranges.iter().map(|(_, len)| *len).fold(0, u64::saturating_add);
    let aside = match aside(sqe, len_bytes, Rule::WriteSeeks, profile, memory, &mut errors) {
        Ok(aside) => aside,
        Err(what) => return Prepared::NotModelled(what),
    };
    if !errors.0.is_empty() {
        return Prepared::Refused { errors: errors.0, notice: None };
    }
    Prepared::Ready(Plan::Send(SendPlan {
        fd: sqe.fd,
        fixed_file: sqe.flags & sqe_flag::FIXED_FILE != 0,
        ranges,
        fixed,
        notice: None,
        retry: if aside.never_waits { Retry::Never } else { Retry::UntilSome },
        short_is_failure: true,
        poll_first: false,
        corks: false,
        refused: aside.refused,
        beyond: None,
        is_write: true,
        long_control: false,
        is_vector: sqe.opcode == op::WRITEV,
        imports_first: false,
        elements: Vec::new(),
    }))
}
