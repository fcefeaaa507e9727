//! Preparing a read.
//!
//! Source: `io_prep_readv` in `io_uring/rw.c`; `__import_iovec` in `lib/iov_iter.c`, 6.18.

use super::message::iovecs;
use super::{Errors, Plan, Prepared, ReadPlan};
use crate::abi::{UIO_MAXIOV, errno, sqe_flag};
use crate::rules::Rule;
use crate::space::UserMemory;
use crate::sqe::Sqe;

pub(super) fn prepare_read(sqe: &Sqe, memory: &impl UserMemory) -> Prepared {
    if sqe.ioprio != 0 {
        return Prepared::NotModelled("a read with an I/O priority".into());
    }
    if sqe.pad2 != 0 || sqe.op_flags != 0 {
        return Prepared::NotModelled("a read with attributes or flags".into());
    }
    let mut errors = Errors::default();
    let count = u64::from(sqe.len);
    errors.refuse_if(count > UIO_MAXIOV, errno::EINVAL, Rule::ReadAtMost1024);
    let array = if count > UIO_MAXIOV { 0 } else { count };
    let ranges = match iovecs(sqe.addr, array, false, memory, &mut errors) {
        Ok(ranges) => ranges,
        Err(what) => return Prepared::NotModelled(what.into()),
    };
    if !errors.0.is_empty() {
        return Prepared::Refused { errors: errors.0, notice: None };
    }
    Prepared::Ready(Plan::Read(ReadPlan {
        fd: sqe.fd,
        fixed_file: sqe.flags & sqe_flag::FIXED_FILE != 0,
        ranges,
        seeks: !matches!(sqe.off, 0 | u64::MAX),
    }))
}
