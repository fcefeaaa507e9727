//! Calls that make a ring, or change a table of one, as data.

use uringspec_model::enter::{Argument, On};
use uringspec_model::program::Restriction;

use super::text::At;
use super::{Name, Noted, Returns, Ring, SqeLine};

/// Entries that are put on a queue without a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The ring, where there are several.
    pub ring: Option<Name>,
    /// The entries.
    pub sqes: Vec<Noted<SqeLine>>,
    /// The indices that stand in the array, counted from the first entry; absent: the entries in their order.
    pub array: Option<Noted<Vec<u32>>>,
}

/// One call to enter as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enter {
    /// The ring, where there are several.
    pub ring: Option<Name>,
    /// Whose descriptor it is made with.
    pub on: On,
    /// How many entries it shall consume.
    pub to_submit: u32,
    /// How many completions it shall wait for.
    pub wanted: u32,
    /// `abi::enter` bits.
    pub flags: u32,
    /// What the wait is told.
    pub argument: Argument,
    /// What the call returns; absent: how many entries it shall consume.
    pub returns: Option<Returns>,
}

/// What a ring says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The ring, where there are several.
    pub ring: Option<Name>,
    /// `abi::sq_flag` bits.
    pub flags: u32,
    /// Indices that were passed over.
    pub dropped: u32,
    /// Entries that were not consumed.
    pub queued: u32,
}

/// A ring that is made and closed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// What is asked for; it has no name.
    pub ring: Ring,
    /// What the call returns; absent: zero, for the descriptor.
    pub returns: Option<Returns>,
}

/// One call that changes a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The ring, where there are several.
    pub ring: Option<Name>,
    /// What is asked.
    pub what: Table,
    /// What the call returns; absent: zero, and for an update the number of its slots.
    pub returns: Option<Returns>,
}

/// What is asked of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// `register 0=K`: a table of buffers; indices that are left out are empty.
    Buffers(Vec<Slot>),
    /// `register sparse=4`: a table of empty slots.
    Sparse(u32),
    /// `update 2=K 3=empty`: slots that follow one another.
    Update(Vec<Slot>),
    /// `register files 0=A`: a table of sockets.
    Files(Vec<Slot>),
    /// `unregister`.
    NoBuffers,
    /// `unregister files`.
    NoFiles,
    /// `register cancel #1`: no table, but a request of the ring.
    Cancel(u64),
    /// `register restrict op=nop flags=ASYNC`: what the ring may still do once it is enabled.
    Restrict(Vec<Restriction>),
    /// `register enable`: no table, but the ring itself.
    Enable,
}

/// One slot of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The index in the table.
    pub index: u32,
    /// The buffer, or the socket; absent: empty.
    pub name: Option<Name>,
    /// The part of the buffer; absent: all.
    pub range: Option<(u64, u64)>,
    /// Where it stands.
    pub at: At,
}
