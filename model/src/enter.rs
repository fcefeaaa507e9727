//! One `io_uring_enter` as its caller writes it, nonsense included.
//!
//! Source: `io_uring_enter`, `io_get_ext_arg` in `io_uring/io_uring.c`, 6.18.

use serde::{Deserialize, Serialize};

use crate::abi::enter;
use crate::profile::KernelVersion;
use crate::program::RingId;

/// The arguments of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Enter {
    /// The ring.
    pub ring: RingId,
    /// Whose descriptor the call is made with.
    #[serde(skip_serializing_if = "is_default")]
    pub on: On,
    /// How many entries it shall consume.
    pub to_submit: u32,
    /// How many completions it shall wait for.
    #[serde(skip_serializing_if = "is_default")]
    pub wanted: u32,
    /// `abi::enter` bits; `EXT_ARG` follows from `argument`.
    #[serde(skip_serializing_if = "is_default")]
    pub flags: u32,
    /// What the wait is told.
    #[serde(skip_serializing_if = "is_default")]
    pub argument: Argument,
}

/// Whose descriptor a call is made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// The ring's.
    #[default]
    Ring,
    /// One that is not open.
    Closed,
    /// One that is open and no ring's.
    NoRing,
}

/// The argument of a wait (`struct io_uring_getevents_arg`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Argument {
    /// None: null, of no bytes.
    #[default]
    None,
    /// A time of zero.
    NoTime,
    /// A time that cannot be read.
    BadTime,
    /// It cannot be read.
    Unreadable,
    /// It is a byte too short.
    Short,
}

impl Enter {
    /// The flags as the kernel gets them.
    pub fn all_flags(&self) -> u32 {
        self.flags | if self.argument == Argument::None { 0 } else { enter::EXT_ARG }
    }
}

/// From which kernel on a flag is known.
const KNOWN_SINCE: &[(u32, KernelVersion)] = &[
    (enter::GETEVENTS | enter::SQ_WAKEUP, KernelVersion(5, 1, 0)),
    (enter::SQ_WAIT, KernelVersion(5, 10, 0)),
    (enter::EXT_ARG, KernelVersion(5, 11, 0)),
    (enter::REGISTERED_RING, KernelVersion(5, 18, 0)),
    (enter::ABS_TIMER, KernelVersion(6, 12, 0)),
    (enter::EXT_ARG_REG, KernelVersion(6, 13, 0)),
    (enter::NO_IOWAIT, KernelVersion(6, 15, 0)),
];

/// The flags that a kernel of this version knows.
pub(crate) fn known_flags(version: KernelVersion) -> u32 {
    KNOWN_SINCE.iter().filter(|(_, since)| version >= *since).fold(0, |all, (flag, _)| all | flag)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
