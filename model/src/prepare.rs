//! Preparing an entry: what is refused before anything is tried.
//!
//! Every check that applies is made and all errnos are allowed, since their order is no promise.
//! Whether a zero-copy request has a notification is one: it has if preparation came as far as
//! allocating it.
//!
//! Source: `io_init_req` in `io_uring/io_uring.c`; `io_sendmsg_prep`, `io_send_zc_prep` in
//! `io_uring/net.c`, 6.18.

use crate::abi::{self, UIO_MAXIOV, errno, msg, op, send_flag, sqe_flag};
use crate::cqe::Errno;
use crate::notice::Notice;
use crate::profile::{Feature, Profile};
use crate::rules::Rule;
use crate::space::{UserMemory, is_user_range};
use crate::sqe::Sqe;

/// What preparing an entry came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// It is refused.
    Refused {
        /// By one of these.
        errors: Vec<(Errno, Rule)>,
        /// The notice that was allocated all the same.
        notice: Option<Notice>,
    },
    /// It can be tried.
    Ready(Plan),
    /// The model does not cover it.
    NotModelled(String),
}

/// What a prepared request will do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plan {
    /// Nothing.
    Nop,
    /// Send bytes.
    Send(SendPlan),
}

/// A send, before its descriptor and its registered buffer are looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SendPlan {
    /// The descriptor, or the index of a registered file.
    pub fd: i32,
    /// `IOSQE_FIXED_FILE`.
    pub fixed_file: bool,
    /// Addresses and lengths, in the order of the stream.
    pub ranges: Vec<(u64, u64)>,
    /// The registered buffer in which all of them must lie.
    pub fixed: Option<u16>,
    /// The notice of a zero-copy send.
    pub notice: Option<Notice>,
    /// `MSG_WAITALL`.
    pub wait_all: bool,
    /// `MSG_DONTWAIT`.
    pub dont_wait: bool,
}

impl SendPlan {
    /// Bytes of all ranges.
    pub fn len_bytes(&self) -> u64 {
        self.ranges.iter().map(|(_, len)| *len).fold(0, u64::saturating_add)
    }
}

/// Collects the errors that apply.
#[derive(Default)]
struct Errors(Vec<(Errno, Rule)>);

impl Errors {
    fn refuse_if(&mut self, wrong: bool, number: u16, rule: Rule) {
        if wrong && !self.0.contains(&(Errno(number), rule)) {
            self.0.push((Errno(number), rule));
        }
    }
}

/// Prepares `sqe` with the memory as it is now.
pub fn prepare(sqe: &Sqe, profile: &Profile, memory: &impl UserMemory) -> Prepared {
    let mut errors = Errors::default();
    let known = sqe.opcode < profile.opcodes;
    errors.refuse_if(!known, errno::EINVAL, Rule::SqeOpcodeKnown);
    errors.refuse_if(sqe.flags & 0x80 != 0, errno::EINVAL, Rule::SqeFlagsKnown);
    errors.refuse_if(sqe.personality != 0, errno::EINVAL, Rule::SqePersonalityRegistered);
    if known {
        let selects = sqe.flags & sqe_flag::BUFFER_SELECT != 0;
        let can_select = matches!(sqe.opcode, op::SEND | op::READ | op::READV | op::RECV | op::RECVMSG);
        errors.refuse_if(selects && !can_select, errno::EOPNOTSUPP, Rule::SqeSelectSupported);
        let ioprio_refused = sqe.ioprio != 0 && sqe.opcode == op::NOP;
        errors.refuse_if(ioprio_refused, errno::EINVAL, Rule::SqeIoprioRefused);
    }
    if !errors.0.is_empty() {
        return Prepared::Refused { errors: errors.0, notice: None };
    }
    let uncovered = sqe.flags & (sqe_flag::DRAIN | sqe_flag::ASYNC | sqe_flag::BUFFER_SELECT);
    if uncovered != 0 {
        return Prepared::NotModelled(abi::flag_names(sqe_flag::NAMES, uncovered));
    }
    if sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0 && !sqe.is_zero_copy() {
        return Prepared::NotModelled("CQE_SKIP_SUCCESS".into());
    }
    match sqe.opcode {
        op::NOP if sqe.op_flags != 0 => Prepared::NotModelled("NOP with flags".into()),
        op::NOP => Prepared::Ready(Plan::Nop),
        op::SEND | op::SENDMSG | op::SEND_ZC | op::SENDMSG_ZC => prepare_send(sqe, profile, memory),
        other => Prepared::NotModelled(match abi::name_of(op::NAMES, other) {
            Some(name) => format!("opcode {name}"),
            None => format!("opcode {other}"),
        }),
    }
}

/// The flags in `ioprio` that an opcode takes.
fn send_flags(sqe: &Sqe, profile: &Profile) -> u16 {
    use Feature::{ReportUsage, SendFixed, SendVectorized, SendmsgZcFixed};
    let when = |feature, flag| if profile.has(feature) { flag } else { 0 };
    let vectorized = when(SendVectorized, send_flag::VECTORIZED);
    let usage = when(ReportUsage, send_flag::REPORT_USAGE);
    send_flag::POLL_FIRST
        | vectorized
        | match sqe.opcode {
            op::SEND => send_flag::BUNDLE | when(SendFixed, send_flag::FIXED_BUF),
            op::SEND_ZC => send_flag::FIXED_BUF | usage,
            op::SENDMSG_ZC => when(SendmsgZcFixed, send_flag::FIXED_BUF) | usage,
            _ => 0,
        }
}

fn prepare_send(sqe: &Sqe, profile: &Profile, memory: &impl UserMemory) -> Prepared {
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

    let uncovered_flags = sqe.ioprio & (send_flag::POLL_FIRST | send_flag::BUNDLE | send_flag::VECTORIZED);
    let uncovered_msg = sqe.op_flags & !(msg::WAITALL | msg::DONTWAIT | msg::NOSIGNAL);
    if errors.0.is_empty() && uncovered_flags != 0 && !(vectored && uncovered_flags == send_flag::VECTORIZED)
    {
        return Prepared::NotModelled(abi::flag_names(send_flag::NAMES, uncovered_flags));
    }
    if errors.0.is_empty() && uncovered_msg != 0 {
        return Prepared::NotModelled(format!("MSG_{}", abi::flag_names(msg::NAMES, uncovered_msg)));
    }
    if errors.0.is_empty() && !vectored && sqe.off != 0 {
        return Prepared::NotModelled("a destination address".into());
    }

    let fixed = (sqe.ioprio & send_flag::FIXED_BUF != 0).then_some(sqe.buf_index);
    let ranges = if vectored {
        match message(sqe.addr, fixed.is_some(), memory, &mut errors) {
            Ok(ranges) => ranges,
            Err(what) if errors.0.is_empty() => return Prepared::NotModelled(what.into()),
            Err(_) => Vec::new(),
        }
    } else {
        let len = u64::from(sqe.len).min(abi::MAX_RW_COUNT);
        let outside = fixed.is_none() && !is_user_range(sqe.addr, len);
        errors.refuse_if(outside, errno::EFAULT, Rule::SendMemoryReadable);
        vec![(sqe.addr, if fixed.is_some() { u64::from(sqe.len) } else { len })]
    };
    if !errors.0.is_empty() {
        return Prepared::Refused { errors: errors.0, notice };
    }
    Prepared::Ready(Plan::Send(SendPlan {
        fd: sqe.fd,
        fixed_file: sqe.flags & sqe_flag::FIXED_FILE != 0,
        ranges,
        fixed,
        notice,
        wait_all: sqe.op_flags & msg::WAITALL != 0,
        dont_wait: sqe.op_flags & msg::DONTWAIT != 0,
    }))
}

/// Bytes of a `struct user_msghdr`.
const MSGHDR_BYTES: usize = 56;

/// Reads a message header and its iovecs; adds to `errors` what is wrong with them. The error is
/// what the model does not cover.
fn message(
    addr: u64,
    fixed: bool,
    memory: &impl UserMemory,
    errors: &mut Errors,
) -> Result<Vec<(u64, u64)>, &'static str> {
    let mut header = [0; MSGHDR_BYTES];
    if memory.read(addr, &mut header).is_err() {
        errors.refuse_if(true, errno::EFAULT, Rule::MsgHeaderReadable);
        return Ok(Vec::new());
    }
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    let (name, name_len, iov, count, control_len) =
        (word(0), word(8) as u32 as i32, word(16), word(24), word(40));
    errors.refuse_if(name_len < 0 && name != 0, errno::EINVAL, Rule::MsgNameLength);
    errors.refuse_if(control_len > i32::MAX as u64, errno::ENOBUFS, Rule::MsgControlLength);
    errors.refuse_if(count > UIO_MAXIOV, errno::EMSGSIZE, Rule::MsgAtMost1024);
    if !errors.0.is_empty() {
        return Ok(Vec::new());
    }
    if name != 0 && name_len > 0 {
        return Err("a message with a name");
    }
    if control_len != 0 {
        return Err("a message with control data");
    }
    let mut array = vec![0; count as usize * 16];
    if memory.read(iov, &mut array).is_err() && count > 0 {
        errors.refuse_if(true, errno::EFAULT, Rule::MsgIovecsReadable);
        return Ok(Vec::new());
    }
    let mut ranges = Vec::with_capacity(count as usize);
    let mut total: u64 = 0;
    for iovec in array.chunks_exact(16) {
        let base = u64::from_le_bytes(std::array::from_fn(|i| iovec[i]));
        let len = u64::from_le_bytes(std::array::from_fn(|i| iovec[8 + i]));
        errors.refuse_if(len > i64::MAX as u64, errno::EINVAL, Rule::MsgIovecLengthSign);
        let outside = !fixed && len <= i64::MAX as u64 && !is_user_range(base, len);
        errors.refuse_if(outside, errno::EFAULT, Rule::SendMemoryReadable);
        let len = if fixed { len } else { len.min(abi::MAX_RW_COUNT - total) };
        total = total.saturating_add(len);
        if len > 0 {
            ranges.push((base, len));
        }
    }
    let too_long = fixed && total > abi::MAX_RW_COUNT;
    if too_long && errors.0.is_empty() {
        return Err("registered iovecs of more than MAX_RW_COUNT bytes");
    }
    Ok(ranges)
}
