//! Writing one message: what is copied, what is lent, in order.

use std::net::SocketAddr;

use super::arena::SLOT_BYTES;
use super::kernel::Kernel;
use super::outcome::{Refusal, Refused, Ticket};
use super::payload::Payload;
use super::piece::{Held, Piece};
use super::sender::Sender;

/// The most pieces of a message.
const PIECES_MAX: u16 = 64;
/// The most bytes of a message; more than any one request takes.
pub(super) const BYTES_MAX: u64 = u32::MAX as u64;

/// A message that is being written. Dropped before it is queued, it is as if it had never been begun.
#[must_use = "a message is sent only once it is queued"]
pub struct Message<'s, K: Kernel> {
    sender: &'s mut Sender<K>,
    /// The connection, by index.
    connection: Result<usize, Refusal>,
    len_bytes: u64,
    to: Option<SocketAddr>,
    /// What could not be taken any more.
    refused: Vec<Payload>,
}

impl<'s, K: Kernel> Message<'s, K> {
    #[inline]
    pub(super) fn begin(sender: &'s mut Sender<K>, connection: Result<usize, Refusal>) -> Message<'s, K> {
        let mut message = Message { sender, connection, len_bytes: 0, to: None, refused: Vec::new() };
        // what a message that was forgotten has left
        message.roll_back();
        if let Ok(index) = message.connection
            && message.sender.is_crowded(index)
        {
            message.connection = Err(Refusal::Full);
        }
        message
    }

    /// Adds bytes that are copied now: they are the caller's again when this returns.
    #[inline]
    pub fn copy(mut self, bytes: &[u8]) -> Self {
        self.add_copied(bytes);
        self
    }

    /// Adds bytes that are lent: they come back with `Event::Released`.
    #[inline]
    pub fn lend(mut self, payload: impl Into<Payload>) -> Self {
        self.add_lent(payload.into());
        self
    }

    /// As `copy`.
    #[inline]
    pub(super) fn add_copied(&mut self, bytes: &[u8]) {
        let Some(index) = self.room_for(bytes.len()) else { return };
        let arena = &mut self.sender.arena;
        let staged = if bytes.len() <= SLOT_BYTES {
            arena.stage(bytes).map(|slot| (slot.addr, Held::Slot(slot.number)))
        } else {
            arena.lease(bytes.len()).map(|mut lease| {
                lease.copy_from_slice(bytes);
                (lease.addr(), Held::Memory(Payload::Lease(lease)))
            })
        };
        match staged {
            Some((addr, memory)) => {
                self.sender.counters.staged_bytes += bytes.len() as u64;
                let len_bytes = bytes.len() as u32;
                self.add(index, Piece { addr, len_bytes, in_arena: true, is_copied: true, memory });
            }
            None => self.connection = Err(self.refusal(index, Refusal::Full)),
        }
    }

    /// As `lend`.
    #[inline]
    pub(super) fn add_lent(&mut self, mut payload: Payload) {
        let len_bytes = payload.len_bytes();
        let Some(index) = self.room_for(len_bytes) else {
            self.refused.push(payload);
            return;
        };
        if !self.sender.may_lend(index, len_bytes as u64) {
            self.connection = Err(self.refusal(index, Refusal::Full));
            self.refused.push(payload);
            return;
        }
        let in_arena = payload.is_of(&self.sender.arena);
        self.sender.counters.lent_bytes += len_bytes as u64;
        let before = if in_arena { self.put_before(index, &mut payload) } else { None };
        let (addr, header_bytes) = before.unwrap_or((payload.addr(), 0));
        let (len_bytes, memory) = (header_bytes + len_bytes as u32, Held::Memory(payload));
        self.add(index, Piece { addr, len_bytes, in_arena, is_copied: false, memory });
    }

    /// Puts the header that was copied last right before a payload that has room for it: where it begins, and
    /// its bytes.
    fn put_before(&mut self, index: usize, payload: &mut Payload) -> Option<(*const u8, u32)> {
        let Payload::Lease(lease) = payload else { return None };
        let connection = self.sender.connection_mut(index)?;
        let (is_range, queued) = (connection.traits.keeps_messages, connection.end() - connection.next);
        if !self.sender.goes_before(is_range, queued) {
            return None;
        }
        let Sender { arena, connections, .. } = &mut *self.sender;
        let connection = connections.get_mut(index)?.as_mut()?;
        let (slot, len_bytes) = connection.unfinished_slot()?;
        let addr = lease.put_before(arena.staged(slot, len_bytes as usize))?;
        connection.drop_slot();
        arena.unstage(slot);
        self.len_bytes -= u64::from(len_bytes);
        Some((addr, len_bytes))
    }

    /// Where it goes, on a datagram socket that is not connected.
    pub fn to(mut self, to: SocketAddr) -> Self {
        self.to = Some(to);
        self
    }

    /// Queues it for the next flush. Refused, everything that it would have lent comes back.
    #[inline]
    pub fn queue(mut self) -> Result<Ticket, Refused> {
        let why = match self.connection {
            Ok(index) if self.len_bytes > 0 && self.len_bytes <= self.bytes_max(index) => {
                let (len_bytes, to) = (self.len_bytes as u32, self.to);
                self.connection = Err(Refusal::Gone); // nothing is to be rolled back
                return Ok(self.sender.queued(index, len_bytes, to));
            }
            Ok(index) if self.len_bytes > 0 => {
                let bytes_max = self.bytes_max(index);
                self.refusal(index, Refusal::TooLong { bytes_max })
            }
            Ok(index) => self.refusal(index, Refusal::Unsendable),
            Err(why) => why,
        };
        Err(Refused { why, payloads: std::mem::take(&mut self.refused) })
    }

    /// The most bytes that a message on a connection can have.
    #[inline]
    fn bytes_max(&self, index: usize) -> u64 {
        self.sender.connections[index].as_ref().map_or(0, |connection| connection.traits.bytes_max)
    }

    /// The connection, if a piece of so many bytes can be added; empty pieces add nothing.
    #[inline]
    fn room_for(&mut self, len_bytes: usize) -> Option<usize> {
        let index = self.connection.ok()?;
        let connection = self.sender.connection_mut(index)?;
        let long = self.len_bytes + len_bytes as u64 > BYTES_MAX;
        if long || connection.unfinished == PIECES_MAX {
            self.connection = Err(self.refusal(index, Refusal::Unsendable));
            return None;
        }
        Some(index)
    }

    #[inline]
    fn add(&mut self, index: usize, piece: Piece) {
        if let Some(connection) = self.sender.connection_mut(index) {
            self.len_bytes += u64::from(piece.len_bytes);
            connection.add_piece(piece);
        }
    }

    /// Takes back what was added, in order, before what was refused.
    fn refusal(&mut self, index: usize, why: Refusal) -> Refusal {
        let taken = self.sender.take_unfinished(index);
        self.refused.splice(0..0, taken);
        why
    }

    #[inline]
    fn roll_back(&mut self) {
        if let Ok(index) = self.connection
            && self.sender.connection_mut(index).is_some_and(|c| c.unfinished > 0)
        {
            self.sender.take_unfinished(index);
        }
    }
}

impl<K: Kernel> Drop for Message<'_, K> {
    fn drop(&mut self) {
        self.roll_back();
    }
}
