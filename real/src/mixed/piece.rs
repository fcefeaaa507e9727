//! What messages are made of, and what keeps it where it is.

use super::arena::Arena;
use super::payload::Payload;

/// A piece of a message.
pub(super) struct Piece {
    pub(super) addr: *const u8,
    pub(super) len_bytes: u32,
    pub(super) in_arena: bool,
    /// Its bytes were copied: nobody wants its memory back.
    pub(super) is_copied: bool,
    pub(super) memory: Held,
}

impl Piece {
    /// Bytes of it that are lent; a header that was put right before a payload is not.
    #[inline]
    pub(super) fn lent_bytes(&self) -> u64 {
        match &self.memory {
            Held::Memory(payload) if !self.is_copied => payload.len_bytes() as u64,
            Held::Memory(_) | Held::Slot(_) | Held::Nothing => 0,
        }
    }

    /// Where its bytes are.
    #[inline]
    pub(super) fn part(&self) -> Part {
        let Piece { addr, len_bytes, in_arena, .. } = *self;
        Part { addr, len_bytes, in_arena }
    }

    /// A piece without bytes or memory.
    #[inline(always)]
    pub(super) fn nothing() -> Piece {
        let memory = Held::Nothing;
        Piece { addr: std::ptr::null(), len_bytes: 0, in_arena: true, is_copied: true, memory }
    }

    /// What it was, and nothing from now on: its place is kept among the others.
    pub(super) fn take(&mut self) -> Piece {
        let memory = std::mem::replace(&mut self.memory, Held::Nothing);
        Piece { memory, ..*self }
    }

    /// Gives its memory back: what was lent.
    #[inline]
    pub(super) fn free(self, arena: &mut Arena) -> Option<Payload> {
        match self.memory {
            Held::Memory(payload) if !self.is_copied => return Some(payload),
            Held::Slot(slot) => arena.unstage(slot),
            Held::Memory(_) | Held::Nothing => {}
        }
        None
    }
}

// SAFETY: the address is that of bytes which `memory` keeps where they are; slots belong to the arena that the
// connection's sender owns, and leases and payloads may go to another thread.
unsafe impl Send for Piece {}

/// A header in a slot, before the only piece of a message. Without bytes it is none.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) addr: *const u8,
    pub(super) slot: u32,
    pub(super) len_bytes: u32,
}

impl Header {
    /// None.
    pub(super) const NONE: Header = Header { addr: std::ptr::null(), slot: 0, len_bytes: 0 };
}

// SAFETY: as for a piece: the address is that of bytes in a slot, which belongs to the arena of the connection's
// sender.
unsafe impl Send for Header {}

/// Bytes of a message, somewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) addr: *const u8,
    pub(super) len_bytes: u32,
    pub(super) in_arena: bool,
}

/// What keeps the bytes of a piece where they are.
pub(super) enum Held {
    Slot(u32),
    /// What was lent, or a lease for a copied piece that is too long for a slot.
    Memory(Payload),
    /// It was given back.
    Nothing,
}
