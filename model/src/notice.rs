//! The second half of a zero-copy send: the notification.
//!
//! ```text
//!  Allocated ──attach──▶ Attached ──release──▶ Due ──post──▶ Posted
//!      └───────────────release────────────────▶┘
//! ```
//! It is allocated while the entry is prepared, so it exists for requests that never sent a byte,
//! and the network, not the ring, decides when it ends.
//!
//! Source: `io_send_zc_prep` in `io_uring/net.c`, `io_uring/notif.c`.

use crate::rules::Rule;

/// Where a notice is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Made with its request; no queue refers to its bytes.
    Allocated,
    /// Bytes lie in a queue.
    Attached,
    /// No queue refers to its bytes, and its request is done.
    Due,
    /// It was seen.
    Posted,
}

/// What happens to a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of its request were queued.
    Attach,
    /// The last reference is gone.
    Release,
    /// The notification is seen.
    Post,
}

impl Stage {
    /// Every stage, for tables.
    pub const ALL: [Stage; 4] = [Stage::Allocated, Stage::Attached, Stage::Due, Stage::Posted];

    /// The next stage, or the rule that forbids it.
    pub fn after(self, event: Event) -> Result<Stage, Rule> {
        use {Event::*, Stage::*};
        match (self, event) {
            (Allocated | Attached, Attach) => Ok(Attached),
            (Allocated | Attached, Release) => Ok(Due),
            (Due, Post) => Ok(Posted),

            (Allocated, Post) => Err(Rule::NotifAfterResult),
            (Attached, Post) => Err(Rule::NotifWaitsForRelease),
            (Due, Attach | Release) | (Posted, Attach | Release) => Err(Rule::RetiredIsSilent),
            (Posted, Post) => Err(Rule::OneNotif),
        }
    }
}

impl Event {
    /// Every event, for tables.
    pub const ALL: [Event; 3] = [Event::Attach, Event::Release, Event::Post];
}

/// The notice of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// Where it is in its life.
    pub stage: Stage,
    /// Whether its usage was asked for (`IORING_SEND_ZC_REPORT_USAGE`).
    pub reports: bool,
    /// What its usage says, as far as is known.
    pub used: Used,
}

/// What is known of how a request's bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Used {
    /// Nothing was attached: reads as copied.
    Nothing,
    /// They were copied on the way.
    Copied,
    /// A device took them as they lay in memory.
    Device,
    /// They left through a device while somebody listened.
    Tapped,
    /// They never left the queue, and no other request's bytes were before them in it.
    Untouched,
    /// They never left the queue, but may share a structure with those of another request.
    Joined,
    /// Either.
    Unknown,
}

impl Notice {
    /// A notice as its request is prepared.
    pub fn new(reports: bool) -> Notice {
        Notice { stage: Stage::Allocated, reports, used: Used::Nothing }
    }
}
