//! What a request may have been, so that what is known of it could come: the plainest first.
//!
//! Nothing here says that a kernel does it: a guess becomes a program, and the model judges that.

use uringspec_model::abi::{errno, msg, name_of, op, send_flag};
use uringspec_model::cqe::{Res, Usage};
use uringspec_model::program::SocketKind;

use super::requests::Known;
use super::typed::Entry;
use crate::case::OPS;

/// What is taken for granted of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guess {
    /// Its entry.
    pub(crate) entry: Entry,
    /// Why it ends as it does.
    pub(crate) cause: Cause,
}

/// Why a request ends as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// For nothing in particular.
    Plain,
    /// Something in its entry is refused.
    Refused,
    /// It asks for a buffer of a group, which its opcode does not take.
    Selects,
    /// Its descriptor is not open.
    Closed,
    /// Its descriptor is no socket.
    NotASocket,
    /// Its memory cannot be read.
    Unreadable,
    /// Its socket can send no more.
    Broken(When),
    /// The peer has reset the connection.
    Reset(When),
    /// It does not wait for room.
    NeverWaits,
    /// It is on a Unix socket.
    Unix,
    /// It is on a Unix socket without a peer.
    UnixAlone,
    /// It is a datagram that is too long.
    LongDatagram,
    /// It would connect a socket that is connected (`MSG_FASTOPEN`).
    Connects,
    /// It is a datagram without a destination.
    NoAddress,
    /// The port of its datagrams is closed.
    PortClosed,
    /// Its control data are too long.
    LongControl,
    /// It writes at a position.
    Seeks,
    /// No more memory may be locked.
    Locked,
    /// It cancels what another thread runs.
    FoundRunning,
    /// It was cancelled.
    Cancelled,
    /// It was cancelled while another thread ran it.
    Interrupted,
    /// The member of its chain before it failed.
    Behind(Head),
}

/// When a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Before the request was submitted.
    BeforeSubmit,
    /// Before its result came.
    BeforeResult,
}

/// The request at the head of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// One of the log, which failed.
    Failed(usize),
    /// One of the log, which took less than it was given.
    Short(usize),
    /// One of the log, which this one cuts, since it is refused itself.
    Refuses(usize),
    /// One whose completion is not in the log.
    Unlisted,
}

/// What a request may have been, but for chains, the plainest first.
pub(crate) fn guesses(known: &Known) -> Vec<Guess> {
    let causes = causes(known);
    let entries = match &known.entry {
        Some((_, entry)) => vec![entry.clone()],
        None => opcodes(known).iter().map(|opcode| Entry { opcode: *opcode, ..Entry::default() }).collect(),
    };
    let all = entries.into_iter().flat_map(|entry| causes.iter().map(move |cause| (entry.clone(), *cause)));
    all.map(|(entry, cause)| guess(known, entry, cause)).collect()
}

/// The request with this cause.
pub(crate) fn guess(known: &Known, mut entry: Entry, cause: Cause) -> Guess {
    entry.user_data = known.user_data;
    let is_known = known.entry.is_some();
    entry.len_bytes = entry.len_bytes.or(match known.result {
        _ if cause == Cause::LongDatagram => Some(u64::from(u16::MAX) + 1),
        Some((_, Res::Bytes(bytes), _)) => Some(bytes),
        _ => Some(1),
    });
    let copied = matches!(known.notif, Some((_, Usage::Copied)));
    if !is_known && copied && entry.opcode == op::SEND_ZC {
        entry.zc |= send_flag::REPORT_USAGE;
    }
    if !is_known && cause == Cause::NeverWaits {
        entry.msg |= msg::DONTWAIT;
    }
    if !is_known && cause == Cause::Connects {
        entry.msg |= msg::FASTOPEN;
    }
    if cause == Cause::Interrupted {
        entry.flags |= uringspec_model::abi::sqe_flag::ASYNC;
    }
    Guess { entry, cause }
}

/// The opcodes that an unknown submission may have had.
fn opcodes(known: &Known) -> &'static [u8] {
    let announced = matches!(known.result, Some((_, _, true)));
    match known.result {
        Some((_, Res::Err(e), true)) if e.0 == errno::ENOBUFS => &[op::SENDMSG_ZC],
        _ if announced || known.notif.is_some() => &[op::SEND_ZC],
        Some((_, Res::Bytes(0), _)) => &[op::NOP, op::SEND],
        Some((_, Res::Err(e), _)) if matches!(e.0, errno::ENOENT | errno::EALREADY) => &[op::ASYNC_CANCEL],
        Some((_, Res::Err(e), _)) if e.0 == errno::ENOBUFS => &[op::SENDMSG],
        Some((_, Res::Err(e), _)) if e.0 == errno::ESPIPE => &[op::WRITE],
        Some((_, Res::Err(e), _)) if matches!(e.0, errno::ENOMEM) => &[op::SEND_ZC],
        Some((_, Res::Err(e), _)) if e.0 == errno::EOPNOTSUPP => &[op::SEND_ZC, op::NOP],
        _ => &[op::SEND],
    }
}

/// Why it may have ended so, the plainest first.
fn causes(known: &Known) -> Vec<Cause> {
    use Cause::*;
    use When::*;
    let mut causes = vec![Plain];
    match known.result {
        Some((_, Res::Err(error), _)) => causes.extend(match error.0 {
            errno::EINVAL => vec![Refused],
            errno::EBADF => vec![Closed],
            errno::ENOTSOCK => vec![NotASocket],
            errno::EFAULT => vec![Unreadable],
            errno::EPIPE => vec![Broken(BeforeSubmit), Broken(BeforeResult)],
            errno::ECONNRESET => vec![Reset(BeforeSubmit), Reset(BeforeResult)],
            errno::EAGAIN => vec![NeverWaits],
            errno::EOPNOTSUPP => vec![Unix, Selects],
            errno::ENOTCONN => vec![UnixAlone],
            errno::EMSGSIZE => vec![LongDatagram],
            errno::EISCONN => vec![Connects],
            errno::EDESTADDRREQ => vec![NoAddress],
            errno::ECONNREFUSED => vec![PortClosed],
            errno::ENOMEM => vec![Locked],
            errno::ENOBUFS => vec![LongControl],
            errno::ESPIPE => vec![Seeks],
            errno::EALREADY => vec![FoundRunning],
            errno::ECANCELED => vec![Cancelled],
            errno::EINTR => vec![Interrupted],
            _ => Vec::new(),
        }),
        // what was known to be asked did not come
        Some((_, Res::Bytes(_), _)) if known.entry.is_some() => {
            causes.extend([Broken(BeforeResult), Reset(BeforeResult), Cancelled]);
        }
        _ => {}
    }
    causes
}

impl Guess {
    /// The kind of its socket, if it is said of it, and whether that has a peer.
    pub(crate) fn socket(&self) -> (SocketKind, bool) {
        match self.cause {
            Cause::NotASocket => (SocketKind::NotASocket, false),
            Cause::Unix => (SocketKind::UnixStream, true),
            Cause::UnixAlone => (SocketKind::UnixStream, false),
            Cause::LongDatagram | Cause::PortClosed => (SocketKind::Udp4, true),
            Cause::NoAddress => (SocketKind::Udp4, false),
            _ => (SocketKind::Tcp4, true),
        }
    }

    /// Whether it sends.
    pub(crate) fn sends(&self) -> bool {
        !matches!(self.entry.opcode, op::NOP | op::ASYNC_CANCEL)
    }

    /// Whether a batch may end behind it, since it is refused.
    pub(crate) fn ends_batch(&self) -> bool {
        let refused = matches!(self.cause, Cause::Refused | Cause::Selects | Cause::Locked);
        refused || matches!(self.cause, Cause::Behind(Head::Refuses(_)))
    }

    /// What was taken for granted, in words; `None` if all of it stands in the log.
    pub(crate) fn words(&self, known: &Known, user_data: impl Fn(usize) -> u64) -> Option<String> {
        let id = known.user_data;
        let mut words = match &known.entry {
            Some(_) => format!("#{id} is"),
            None => format!("#{id} is one {}", self.what(known)),
        };
        let place = match self.cause {
            Cause::Closed => " on a descriptor that is not open",
            Cause::NotASocket => " on a descriptor of something else than a socket",
            Cause::Broken(When::BeforeSubmit) => {
                " on a stream socket that can send no more: shut down, or never connected"
            }
            Cause::Broken(When::BeforeResult) => " on a stream socket that was shut down before its result",
            Cause::Reset(When::BeforeSubmit) => " on a stream socket whose peer had reset the connection",
            Cause::Reset(When::BeforeResult) => " on a stream socket that was reset before its result",
            Cause::Unix => " on a Unix stream socket",
            Cause::UnixAlone => " on a Unix stream socket without a peer",
            Cause::LongDatagram => " on a datagram socket, longer than a datagram may be",
            Cause::NoAddress => " on a datagram socket without a destination",
            Cause::PortClosed => " on a datagram socket whose port was found closed before its result",
            _ if self.sends() && known.entry.as_ref().is_none_or(|(_, e)| e.fd.is_none()) => {
                " on a connected stream socket"
            }
            _ => "",
        };
        words += place;
        words += &match self.cause {
            Cause::Refused => " with something in its entry that is refused".to_string(),
            Cause::Selects => " with BUFFER_SELECT".into(),
            Cause::Connects => " with MSG_FASTOPEN".into(),
            Cause::Unreadable => " with memory that cannot be read".into(),
            Cause::NeverWaits => " with MSG_DONTWAIT".into(),
            Cause::LongControl => " with more than INT_MAX bytes of control data".into(),
            Cause::Seeks => " at a position".into(),
            Cause::Locked => ", and no more memory may be locked (RLIMIT_MEMLOCK)".into(),
            Cause::Cancelled => ", cancelled by a request whose completion is not in the log".into(),
            Cause::Interrupted => {
                ", cancelled while another thread ran it, by a request whose completion is not in the log"
                    .into()
            }
            Cause::Behind(Head::Failed(head)) => {
                format!(", linked behind #{}, which failed", user_data(head))
            }
            Cause::Behind(Head::Short(head)) => {
                let head = user_data(head);
                format!(
                    ", linked behind #{head}, which had MSG_WAITALL and more bytes when its socket was shut down"
                )
            }
            Cause::Behind(Head::Refuses(head)) => {
                format!(", linked behind #{}, with something in its entry that is refused", user_data(head))
            }
            Cause::Behind(Head::Unlisted) => {
                ", linked behind a request that failed and whose completion is not in the log".into()
            }
            _ => String::new(),
        };
        if known.entry.is_none() && self.entry.zc & send_flag::REPORT_USAGE != 0 {
            words += ", with REPORT_USAGE";
        }
        (!words.ends_with(" is")).then_some(words)
    }

    fn what(&self, known: &Known) -> String {
        let least = match known.result {
            Some((_, Res::Bytes(1), _)) => " of at least 1 byte".into(),
            Some((_, Res::Bytes(bytes), _)) if bytes > 0 => format!(" of at least {bytes} bytes"),
            _ => String::new(),
        };
        match self.entry.opcode {
            op::NOP => "nop".into(),
            op::ASYNC_CANCEL if self.cause == Cause::FoundRunning => {
                "cancel of what another thread was running, and whose completion is not in the log".into()
            }
            op::ASYNC_CANCEL => "cancel of what is done or not there".into(),
            op::SEND_ZC | op::SENDMSG_ZC => format!("zero-copy send{least}"),
            op::SEND | op::SENDMSG => format!("send{least}"),
            opcode => name_of(OPS, opcode).unwrap_or("request").to_string() + &least,
        }
    }
}
