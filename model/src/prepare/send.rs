//! Preparing a send.

use super::message::{iovecs, message};
use super::{Beyond, Errors, Plan, Prepared, Retry, SendPlan, element};
use crate::abi::{self, UIO_MAXIOV, errno, msg, op, send_flag, sqe_flag};
use crate::cqe::Errno;
use crate::notice::Notice;
use crate::profile::{Feature, Profile};
use crate::rules::Rule;
use crate::space::{UserMemory, is_user_range};
use crate::sqe::Sqe;

/// The flags in `ioprio` that an opcode takes, as far as they are there.
fn send_flags(sqe: &Sqe, profile: &Profile) -> u16 {
    use Feature::{PerIovec, ReportUsage, SendFixed, SendVectorized, SendmsgZcFixed};
    let when = |feature, flag| if sqe.ioprio & flag != 0 && profile.has(feature) { flag } else { 0 };
    let vectorized = when(SendVectorized, send_flag::VECTORIZED);
    let usage = when(ReportUsage, send_flag::REPORT_USAGE) | when(PerIovec, send_flag::PER_IOVEC);
    send_flag::POLL_FIRST
        | vectorized
        | match sqe.opcode {
            op::SEND => send_flag::BUNDLE | when(SendFixed, send_flag::FIXED_BUF),
            op::SEND_ZC => send_flag::FIXED_BUF | usage,
            op::SENDMSG_ZC => when(SendmsgZcFixed, send_flag::FIXED_BUF) | usage,
            _ => 0,
        }
}

pub(super) fn prepare_send(sqe: &Sqe, profile: &Profile, memory: &impl UserMemory) -> Prepared {
    let zero_copy = sqe.is_zero_copy();
    let mut errors = Errors::default();
    if zero_copy {
        errors.refuse_if(sqe.pad2 != 0, errno::EINVAL, Rule::ZcReservedFields);
        let refuses_addr3 = sqe.addr3 != 0 && !profile.has(Feature::NotifUserData);
        errors.refuse_if(refuses_addr3, errno::EINVAL, Rule::ZcReservedFields);
        let skips = sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0;
        errors.refuse_if(skips, errno::EINVAL, Rule::ZcSkipRefused);
        if !errors.0.is_empty() {
            return Prepared::Refused { errors: errors.0, notice: None };
        }
        if sqe.addr3 != 0 {
            return Prepared::NotModelled("notification user data in addr3".into());
        }
    }

    let unknown_flags = sqe.ioprio & !send_flags(sqe, profile);
    errors.refuse_if(unknown_flags != 0, errno::EINVAL, Rule::SendFlagsKnown);
    let reports = unknown_flags == 0 && sqe.ioprio & send_flag::REPORT_USAGE != 0;
    let notice = zero_copy.then(|| Notice::new(reports));
    let vectored = matches!(sqe.opcode, op::SENDMSG | op::SENDMSG_ZC);
    if vectored {
        errors.refuse_if(sqe.off != 0 || sqe.file_index != 0, errno::EINVAL, Rule::SendReservedFields);
    } else {
        errors.refuse_if(sqe.pad3() != 0, errno::EINVAL, Rule::SendReservedFields);
    }
    let sign_checked = !zero_copy && profile.has(Feature::LenSignChecked);
    errors.refuse_if(sign_checked && sqe.len > i32::MAX as u32, errno::EINVAL, Rule::SendLenSign);

    let mixed = unknown_flags == 0 && sqe.ioprio & send_flag::PER_IOVEC != 0;
    let vectorized = !vectored && sqe.ioprio & send_flag::VECTORIZED != 0;
    let fixed = (sqe.ioprio & send_flag::FIXED_BUF != 0).then_some(sqe.buf_index);
    if vectorized && fixed.is_some() {
        let takes_both = zero_copy && profile.has(Feature::NotifUserData);
        errors.refuse_if(!takes_both, errno::EINVAL, Rule::SendFlagsKnown);
    }
    if mixed {
        // every element says for itself where it lies
        let twice = fixed.is_some() || sqe.buf_index != 0;
        errors.refuse_if(twice || !(vectored || vectorized), errno::EINVAL, Rule::MixedRefusedWhole);
    }
    let uncovered_flags = sqe.ioprio & send_flag::BUNDLE;
    const COVERED: u32 = msg::WAITALL | msg::DONTWAIT | msg::NOSIGNAL | msg::MORE;
    let odd = sqe.op_flags & !COVERED;
    if errors.0.is_empty() && uncovered_flags != 0 {
        return Prepared::NotModelled(abi::flag_names(send_flag::NAMES, uncovered_flags));
    }
    if errors.0.is_empty() && odd & msg::OOB != 0 {
        return Prepared::NotModelled("MSG_OOB".into());
    }
    let named = !vectored && sqe.off != 0;
    if errors.0.is_empty() && named && sqe.addr_len() != 0 {
        return Prepared::NotModelled("a destination address".into());
    }
    let asks_more = sqe.ioprio & send_flag::POLL_FIRST != 0 || !vectored && sqe.off != 0;
    if errors.0.is_empty() && odd & msg::FASTOPEN != 0 && asks_more {
        return Prepared::NotModelled("MSG_FASTOPEN behind a poll, or with a destination".into());
    }
    let selects = sqe.flags & sqe_flag::BUFFER_SELECT != 0;
    if errors.0.is_empty() && selects && sqe.ioprio != 0 {
        return Prepared::NotModelled("BUFFER_SELECT with flags in ioprio".into());
    }
    let beyond = match odd {
        0 => named.then_some(Beyond::EmptyName),
        _ if odd & msg::FASTOPEN != 0 => Some(Beyond::FastOpen),
        _ => Some(Beyond::Flags),
    };

    let mut long_control = false;
    let mut elements = Vec::new();
    let ranges = if vectored || vectorized {
        let vector = if vectored {
            message(sqe.addr, memory, &mut errors)
        } else {
            errors.refuse_if(u64::from(sqe.len) > UIO_MAXIOV, errno::EINVAL, Rule::WriteAtMost1024);
            Ok(((sqe.addr, sqe.len.into()), false))
        };
        let read = vector.and_then(|((addr, count), too_long)| {
            long_control = too_long;
            if mixed {
                let (ranges, said) = element::elements(addr, count, memory, &mut errors);
                elements = said;
                return Ok(ranges);
            }
            let count = if count > UIO_MAXIOV { 0 } else { count };
            iovecs(addr, count, fixed.is_some(), memory, &mut errors)
        });
        match read {
            Ok(ranges) => ranges,
            Err(what) if errors.0.is_empty() => return Prepared::NotModelled(what.into()),
            Err(_) => Vec::new(),
        }
    } else {
        let len = u64::from(sqe.len).min(abi::MAX_RW_COUNT);
        let outside = fixed.is_none() && !selects && !is_user_range(sqe.addr, len);
        errors.refuse_if(outside, errno::EFAULT, Rule::SendMemoryReadable);
        vec![(sqe.addr, if fixed.is_some() { u64::from(sqe.len) } else { len })]
    };
    // a mixed send has a notice only for bytes that it lends
    let lends = elements.iter().any(|e| e.lent);
    let notice = notice.filter(|_| !mixed || (lends && errors.0.is_empty()));
    if !errors.0.is_empty() {
        return Prepared::Refused { errors: errors.0, notice };
    }
    Prepared::Ready(Plan::Send(SendPlan {
        fd: sqe.fd,
        fixed_file: sqe.flags & sqe_flag::FIXED_FILE != 0,
        ranges,
        fixed,
        notice,
        retry: match (sqe.op_flags & msg::DONTWAIT != 0, sqe.op_flags & msg::WAITALL != 0) {
            (true, _) => Retry::Never,
            (false, true) => Retry::UntilAll,
            (false, false) => Retry::UntilSome,
        },
        short_is_failure: sqe.op_flags & msg::WAITALL != 0,
        poll_first: sqe.ioprio & send_flag::POLL_FIRST != 0,
        corks: sqe.op_flags & msg::MORE != 0,
        refused: selects.then_some((Errno(errno::ENOENT), Rule::SqeSelectFromGroup)),
        beyond,
        is_write: false,
        long_control,
        is_vector: vectored || vectorized,
        imports_first: (vectored || vectorized) && zero_copy && fixed.is_some(),
        elements,
    }))
}
