//! Message headers and arrays of iovecs.
//!
//! Source: `io_msg_copy_hdr`, `io_net_import_vec` in `io_uring/net.c`; `__import_iovec` in
//! `lib/iov_iter.c`, 6.18.

use super::Errors;
use crate::abi::{self, UIO_MAXIOV, errno};
use crate::rules::Rule;
use crate::space::{UserMemory, is_user_range};

/// Address and number of elements of an array.
type Vector = (u64, u64);

/// Bytes of a `struct user_msghdr`.
const MSGHDR_BYTES: usize = 56;

/// Bytes of a name that are read, at most: those of a `struct sockaddr_storage`.
const NAME_BYTES_MAX: u64 = 128;

/// Reads a message header: where its array is, and whether its control data are longer than may be; adds
/// to `errors` what is wrong with it. The error is what the model does not cover.
pub(super) fn message(
    addr: u64,
    memory: &impl UserMemory,
    errors: &mut Errors,
) -> Result<(Vector, bool), &'static str> {
    let mut header = [0; MSGHDR_BYTES];
    if memory.read(addr, &mut header).is_err() {
        errors.refuse_if(true, errno::EFAULT, Rule::MsgHeaderReadable);
        return Ok(((0, 0), false));
    }
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    let (name, name_len, iov, count, control_len) =
        (word(0), word(8) as u32 as i32, word(16), word(24), word(40));
    errors.refuse_if(name_len < 0 && name != 0, errno::EINVAL, Rule::MsgNameLength);
    let named = name != 0 && name_len > 0;
    let name_bytes = (name_len.max(0) as u64).min(NAME_BYTES_MAX);
    let unreadable = named && memory.readable_prefix(name, name_bytes) < name_bytes;
    errors.refuse_if(unreadable, errno::EFAULT, Rule::MsgNameReadable);
    let long_control = control_len > i32::MAX as u64;
    errors.refuse_if(count > UIO_MAXIOV, errno::EMSGSIZE, Rule::MsgAtMost1024);
    if !errors.0.is_empty() {
        return Ok(((0, 0), false));
    }
    if named {
        return Err("a message with a name");
    }
    if control_len != 0 && !long_control {
        return Err("a message with control data");
    }
    Ok(((iov, count), long_control))
}

/// So many iovecs are read without asking for memory.
const FEW: usize = 8;

/// Reads an array of at most 1024 iovecs; adds to `errors` what is wrong with it.
pub(super) fn iovecs(
    addr: u64,
    count: u64,
    fixed: bool,
    memory: &impl UserMemory,
    errors: &mut Errors,
) -> Result<Vec<(u64, u64)>, &'static str> {
    let (mut few, mut many) = ([0; 16 * FEW], Vec::new());
    let array = match count as usize {
        count if count <= FEW => &mut few[..16 * count],
        count => {
            many.resize(16 * count, 0);
            &mut many[..]
        }
    };
    let word = |iovec: &[u8], at: usize| u64::from_le_bytes(std::array::from_fn(|i| iovec[at + i]));
    if memory.read(addr, array).is_err() && count > 0 {
        errors.refuse_if(true, errno::EFAULT, Rule::MsgIovecsReadable);
        // they are looked at one by one, so what is wrong with one that can be read may be found first
        let readable = memory.readable_prefix(addr, 16 * count) / 16 * 16;
        let array = &mut array[..readable as usize];
        if memory.read(addr, array).is_ok() {
            let is_long = array.chunks_exact(16).any(|iovec| word(iovec, 8) > i64::MAX as u64);
            errors.refuse_if(is_long, errno::EINVAL, Rule::MsgIovecLengthSign);
        }
        return Ok(Vec::new());
    }
    let mut ranges = Vec::with_capacity(count as usize);
    let mut total: u64 = 0;
    for iovec in array.chunks_exact(16) {
        let (base, len) = (word(iovec, 0), word(iovec, 8));
        errors.refuse_if(len > i64::MAX as u64, errno::EINVAL, Rule::MsgIovecLengthSign);
        let outside = !fixed && len <= i64::MAX as u64 && !is_user_range(base, len);
        errors.refuse_if(outside, errno::EFAULT, Rule::SendMemoryReadable);
        let len = if fixed { len } else { len.min(abi::MAX_RW_COUNT - total) };
        total = total.saturating_add(len);
        if len > 0 || fixed {
            ranges.push((base, len));
        }
    }
    let too_long = fixed && total > abi::MAX_RW_COUNT;
    if too_long && errors.0.is_empty() {
        return Err("registered iovecs of more than MAX_RW_COUNT bytes");
    }
    Ok(ranges)
}
