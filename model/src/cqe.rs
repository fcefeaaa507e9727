//! A completion queue entry as data, and its reading.
//!
//! Source: `struct io_uring_cqe` in `linux/io_uring.h`; `io_uring_prep_send_zc(3)`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::abi::{self, cqe_flag, errno};

/// One entry of the completion queue as it was read. It may lie: a trace can come from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cqe {
    /// What the submission queue entry carried.
    pub user_data: u64,
    /// Bytes, or a negated errno, or the usage of a notification.
    pub res: i32,
    /// `abi::cqe_flag` bits.
    #[serde(default, skip_serializing_if = "no_flags")]
    pub flags: u32,
}

fn no_flags(flags: &u32) -> bool {
    *flags == 0
}

/// A positive error number of `abi::errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Errno(pub u16);

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Res {
    /// Bytes moved, or whatever count the opcode reports.
    Bytes(u64),
    /// The request failed.
    Err(Errno),
}

/// What a notification says about its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Usage {
    /// The result field is zero: nothing was copied, or nobody asked.
    Clear,
    /// Bit 31: some of it was copied, or nothing was attached.
    Copied,
}

/// A completion that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Completion {
    /// The result of a request; `more` announces a notification.
    Result {
        /// Bytes or an error.
        res: Res,
        /// `IORING_CQE_F_MORE`.
        more: bool,
    },
    /// `IORING_CQE_F_NOTIF`: the memory is the caller's again.
    Notification(Usage),
}

impl Cqe {
    /// The completion this entry stands for, or `None` where no send, nop or write posts such flags
    /// or such a value. A notification's `i32::MIN` is a usage, not an errno.
    #[inline]
    pub fn completion(&self) -> Option<Completion> {
        match (self.flags, self.res) {
            (cqe_flag::NOTIF, 0) => Some(Completion::Notification(Usage::Clear)),
            (cqe_flag::NOTIF, abi::ZC_COPIED) => Some(Completion::Notification(Usage::Copied)),
            (0 | cqe_flag::MORE, res) => {
                Some(Completion::Result { res: Res::from_raw(res)?, more: self.flags != 0 })
            }
            _ => None,
        }
    }

    /// The entry that a completion is posted as.
    pub fn of(user_data: u64, completion: Completion) -> Cqe {
        let (res, flags) = match completion {
            Completion::Result { res, more } => (res.to_raw(), if more { cqe_flag::MORE } else { 0 }),
            Completion::Notification(Usage::Clear) => (0, cqe_flag::NOTIF),
            Completion::Notification(Usage::Copied) => (abi::ZC_COPIED, cqe_flag::NOTIF),
        };
        Cqe { user_data, res, flags }
    }
}

impl Res {
    /// Reads a raw result; `None` for a negative number that is no errno (the kernel's run to 4095).
    #[inline]
    pub fn from_raw(raw: i32) -> Option<Res> {
        match raw {
            0.. => Some(Res::Bytes(raw.unsigned_abs().into())),
            -4095..=-1 => Some(Res::Err(Errno(raw.unsigned_abs() as u16))),
            _ => None,
        }
    }

    /// The raw result; counts beyond `i32::MAX` cannot be reported and are cut there.
    pub fn to_raw(self) -> i32 {
        match self {
            Res::Bytes(n) => i32::try_from(n).unwrap_or(i32::MAX),
            Res::Err(e) => -i32::from(e.0),
        }
    }

    /// Whether the request failed.
    pub fn is_err(self) -> bool {
        matches!(self, Res::Err(_))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match abi::name_of(errno::NAMES, self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "E{}", self.0),
        }
    }
}

impl fmt::Display for Res {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Res::Bytes(n) => write!(f, "{n}"),
            Res::Err(e) => write!(f, "-{e}"),
        }
    }
}

impl fmt::Display for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Completion::Result { res, more: false } => write!(f, "{res}"),
            Completion::Result { res, more: true } => write!(f, "{res} MORE"),
            Completion::Notification(Usage::Clear) => write!(f, "0 NOTIF"),
            Completion::Notification(Usage::Copied) => write!(f, "COPIED NOTIF"),
        }
    }
}

impl fmt::Display for Cqe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.completion() {
            Some(completion) => write!(f, "#{} {completion}", self.user_data),
            None => {
                write!(f, "#{} {}", self.user_data, self.res)?;
                let flags = abi::flag_names(cqe_flag::NAMES, self.flags);
                if flags.is_empty() { Ok(()) } else { write!(f, " {flags}") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_is_a_usage_and_never_an_errno() {
        let cqe = Cqe { user_data: 7, res: i32::MIN, flags: cqe_flag::NOTIF };
        assert_eq!(cqe.completion(), Some(Completion::Notification(Usage::Copied)));
        assert_eq!(Res::from_raw(i32::MIN), None);
        assert_eq!(cqe.to_string(), "#7 COPIED NOTIF");
    }

    #[test]
    fn what_is_posted_is_read_back() {
        for completion in [
            Completion::Result { res: Res::Bytes(0), more: false },
            Completion::Result { res: Res::Bytes(4100), more: true },
            Completion::Result { res: Res::Err(Errno(errno::ECANCELED)), more: false },
            Completion::Notification(Usage::Clear),
            Completion::Notification(Usage::Copied),
        ] {
            assert_eq!(Cqe::of(1, completion).completion(), Some(completion));
        }
    }
}
