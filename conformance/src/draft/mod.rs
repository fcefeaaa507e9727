//! Drafts: any bytes as a program that can be run and judged.
//!
//! A draft is a list of steps whose every number names something that exists, modulo how many there
//! are, so nothing in it can be invalid: `Draft::resolve` is total, and property tests, fuzz targets
//! and campaigns share it. Zero is the plainest choice everywhere, so less input is a simpler program.

mod anything;
mod calls;
mod declared;
mod entry;
mod features;
mod memory;
mod odd;
mod resolve;
mod setup;
mod tables;

pub use features::{Features, OFF};

use arbitrary::{Arbitrary, Result, Unstructured};
use uringspec_model::program::Program;

/// The most steps, entries of a batch and pieces of a message that bytes are read as.
const STEPS_MAX: u8 = 10;
const ENTRIES_MAX: u8 = 6;
const PIECES_MAX: u8 = 4;
/// The most bytes that a draft reads.
pub const BYTES_MAX: usize = 1024;

/// A program in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// What it makes use of.
    pub features: u64,
    /// Entries of the rings' queues.
    pub entries: u8,
    /// Kinds of its rings, from which completions follow, and how large their queues are.
    pub rings: u8,
    /// Kinds, lanes and states of its sockets; the first also tells how many there are.
    pub sockets: [u8; 3],
    /// Sizes of its regions.
    pub regions: u8,
    /// Buffers and files that are registered at the start.
    pub table: u8,
    /// Its steps.
    pub steps: Vec<StepDraft>,
}

/// A step in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepDraft {
    /// Which kind.
    pub kind: u8,
    /// What it acts on.
    pub target: u8,
    /// How much of it.
    pub amount: u8,
    /// The entries that it submits, if it does.
    pub entries: Vec<EntryDraft>,
}

/// An entry of the submission queue in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryDraft {
    /// Which opcode.
    pub opcode: u8,
    /// Which socket, or which request.
    pub socket: u8,
    /// Flags of all kinds.
    pub flags: u32,
    /// Whether something about it is wrong.
    pub odd: u8,
    /// What is.
    pub detail: u8,
    /// The memory it sends, one for what takes no more.
    pub pieces: Vec<PieceDraft>,
}

/// A piece of memory in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PieceDraft {
    /// Which region.
    pub region: u8,
    /// Where in it.
    pub offset: u8,
    /// How long.
    pub len: u8,
}

impl Draft {
    /// Reads any bytes; those that are missing count as zeros.
    pub fn from_bytes(bytes: &[u8]) -> Draft {
        let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
        Draft::arbitrary(&mut Unstructured::new(bytes)).unwrap_or_default()
    }

    /// The program, with what the model covers.
    pub fn resolve(&self) -> Program {
        self.resolve_with(Features::DEFAULT)
    }

    /// The program, with what is allowed here.
    pub fn resolve_with(&self, allowed: Features) -> Program {
        resolve::resolve(self, self.mask() & allowed)
    }

    /// Half of all masks have half of the features, the others three quarters: some things need many.
    fn mask(&self) -> Features {
        let more = if self.features >> 63 == 1 { self.features.rotate_left(24) } else { 0 };
        Features::from_bits_truncate(self.features | more)
    }
}

/// As many as a byte says, at least one, but no more than there are bytes for.
fn several<'a, T: Arbitrary<'a>>(u: &mut Unstructured<'a>, most: u8) -> Result<Vec<T>> {
    let count = 1 + u8::arbitrary(u)? % most;
    let mut all = vec![T::arbitrary(u)?];
    while all.len() < usize::from(count) && !u.is_empty() {
        all.push(T::arbitrary(u)?);
    }
    Ok(all)
}

impl<'a> Arbitrary<'a> for Draft {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Draft> {
        Ok(Draft {
            features: u.arbitrary()?,
            entries: u.arbitrary()?,
            rings: u.arbitrary()?,
            sockets: u.arbitrary()?,
            regions: u.arbitrary()?,
            table: u.arbitrary()?,
            steps: several(u, STEPS_MAX)?,
        })
    }
}

impl<'a> Arbitrary<'a> for StepDraft {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<StepDraft> {
        let (kind, target, amount) = (u.arbitrary()?, u.arbitrary()?, u.arbitrary()?);
        let entries = if resolve::submits(kind) { several(u, ENTRIES_MAX)? } else { Vec::new() };
        Ok(StepDraft { kind, target, amount, entries })
    }
}

impl<'a> Arbitrary<'a> for EntryDraft {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<EntryDraft> {
        Ok(EntryDraft {
            opcode: u.arbitrary()?,
            socket: u.arbitrary()?,
            flags: u.arbitrary()?,
            odd: u.arbitrary()?,
            detail: u.arbitrary()?,
            pieces: several(u, PIECES_MAX)?,
        })
    }
}

impl<'a> Arbitrary<'a> for PieceDraft {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<PieceDraft> {
        Ok(PieceDraft { region: u.arbitrary()?, offset: u.arbitrary()?, len: u.arbitrary()? })
    }
}
