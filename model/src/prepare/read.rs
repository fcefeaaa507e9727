//! Preparing a read.
//!
//! Source: `io_prep_readv` in `io_uring/rw.c`; `__import_iovec` in `lib/iov_iter.c`, 6.18.

use super::message::iovecs;
use super::rw::aside;
use super::{Errors, Plan, Prepared, ReadPlan};
use crate::abi::{UIO_MAXIOV, errno, sqe_flag};
use crate::cqe::Errno;
use crate::profile::Profile;
use crate::rules::Rule;
use crate::space::UserMemory;
use crate::sqe::Sqe;

pub(super) fn prepare_read(sqe: &Sqe, profile: &Profile, memory: &impl UserMemory) -> Prepared {
    let mut errors = Errors::default();
    let count = u64::from(sqe.len);
    errors.refuse_if(count > UIO_MAXIOV, errno::EINVAL, Rule::ReadAtMost1024);
    let array = if count > UIO_MAXIOV { 0 } else { count };
    let ranges = match iovecs(sqe.addr, array, false, memory, &mut errors) {
        Ok(ranges) => ranges,
        Err(what) => return Prepared::NotModelled(what.into()),
    };
    let len_bytes = ranges.iter().map(|(_, len)| *len).fold(0, u64::saturating_add);
    let aside = match aside(sqe, len_bytes, Rule::ReadSeeks, profile, memory, &mut errors) {
        Ok(aside) => aside,
        Err(what) => return Prepared::NotModelled(what),
    };
    if aside.never_waits && errors.0.is_empty() {
        return Prepared::NotModelled("a read that never waits".into());
    }
    let selects = sqe.flags & sqe_flag::BUFFER_SELECT != 0;
    errors.refuse_if(selects && count != 1, errno::EINVAL, Rule::ReadSelectsOne);
    let unselected = selects.then_some((Errno(errno::ENOBUFS), Rule::SqeSelectFromGroup));
    if !errors.0.is_empty() {
        return Prepared::Refused { errors: errors.0, notice: None };
    }
    Prepared::Ready(Plan::Read(ReadPlan {
        fd: sqe.fd,
        fixed_file: sqe.flags & sqe_flag::FIXED_FILE != 0,
        ranges,
        refused: aside.refused.or(unselected),
    }))
}
