//! The features and behaviours of one kernel, as data.
//!
//! A profile is probed (never by provoking a hang) or named. Rules ask it; nothing else knows about
//! versions.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One kernel, as far as sends can tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The release as `uname -r` prints it, or the name of an assumed kernel.
    pub release: String,
    /// Its version.
    pub version: KernelVersion,
    /// Opcodes that `IORING_REGISTER_PROBE` reports, as far as there is one.
    pub opcodes: u8,
    /// What it can do.
    pub features: BTreeSet<Feature>,
}

/// A kernel version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KernelVersion(pub u16, pub u16, pub u16);

/// Declares the features with their names in text.
macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What some kernels have and others lack.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Feature { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Feature {
            /// Every feature.
            pub const ALL: &[Feature] = &[$(Feature::$name,)*];

            /// The name in cases and profiles.
            pub fn name(self) -> &'static str {
                match self { $(Feature::$name => $text,)* }
            }
        }
    };
}

features! {
    /// Opcode `SEND_ZC` (6.0).
    SendZc = "SEND_ZC",
    /// Rings are charged to the locked memory of their user (6.14 to 7.1).
    RingsLocked = "RINGS_LOCKED",
    /// Every zero-copy send from memory that is not registered is charged while it is prepared (6.15);
    /// before, `SEND_ZC` alone is, when it is tried.
    PrepLocks = "PREP_LOCKS",
    /// Opcode `SENDMSG_ZC` (6.1).
    SendmsgZc = "SENDMSG_ZC",
    /// `IORING_SEND_ZC_REPORT_USAGE` (6.2, 6.1.y).
    ReportUsage = "REPORT_USAGE",
    /// Message headers, iovecs and addresses are copied while the entry is prepared (6.10).
    PrepCopies = "PREP_COPIES",
    /// Unregistering a table does not wait for the requests that use it (6.13).
    UnregisterReturns = "UNREGISTER_RETURNS",
    /// `SENDMSG_ZC` takes `FIXED_BUF` (6.15).
    SendmsgZcFixed = "SENDMSG_ZC_FIXED",
    /// `IORING_SEND_VECTORIZED` (6.17).
    SendVectorized = "SEND_VECTORIZED",
    /// A notification's user data can be given in `addr3`; `SEND_ZC` takes `VECTORIZED` with
    /// `FIXED_BUF` (7.1).
    NotifUserData = "NOTIF_USER_DATA",
    /// Plain `SEND` takes `FIXED_BUF` (7.2).
    SendFixed = "SEND_FIXED",
    /// `len` of `SEND` and `SENDMSG` with its top bit set is refused (6.12.81, late 6.18.y, 7.0).
    LenSignChecked = "LEN_SIGN_CHECKED",
    /// `SINGLE_ISSUER | DEFER_TASKRUN` rings (6.1).
    DeferTaskrun = "DEFER_TASKRUN",
    /// Each element of a vector says whether it is copied and whose memory it is (no kernel; the
    /// proposal of `mixed`).
    PerIovec = "PER_IOVEC",
}

impl Profile {
    /// Whether the kernel has `feature`.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// The kernel that the cases were written on; also the one assumed where none is named.
    pub fn v6_18() -> Profile {
        use Feature::*;
        Profile {
            release: "6.18 (named)".into(),
            version: KernelVersion(6, 18, 44),
            opcodes: 63,
            features: BTreeSet::from([
                SendZc,
                SendmsgZc,
                RingsLocked,
                PrepLocks,
                ReportUsage,
                PrepCopies,
                UnregisterReturns,
                SendmsgZcFixed,
                SendVectorized,
                LenSignChecked,
                DeferTaskrun,
            ]),
        }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
