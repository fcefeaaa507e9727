//! The sender: what its caller calls.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use uringspec_model::cqe::Errno;

use super::arena::{Arena, Lease, SLOT_BYTES, Slot};
use super::connection::Connection;
use super::events::Events;
use super::kernel::Kernel;
use super::memory::ForkMark;
use super::message::{BYTES_MAX, Message};
use super::outcome::{Counters, Event, Refusal, Refused, SocketKey, Ticket};
use super::payload::Payload;
use super::piece::{Header, Held};
use super::policy::Policy;
use super::release::Sink;
use super::requests::Requests;
use super::ways::Ways;

/// Sends messages of copied and lent pieces over a kernel's ring, each with one end.
///
/// Messages of one socket go in the order in which they were queued. Nothing is handed over before
/// `flush`; what is queued on one socket then goes as one request, as long as `Policy` lets it.
///
/// Dropped, it hands nothing more over and waits for nothing. Memory of its arena that the kernel may still
/// read is unmapped, memory of the caller's own is leaked; `close` says how much.
pub struct Sender<K: Kernel> {
    // dropped first: a ring that is closed takes no more of the memory below
    pub(super) kernel: K,
    pub(super) connections: Vec<Option<Connection<K::Socket>>>,
    /// By index the generation that the next connection there gets.
    generations: Vec<u32>,
    pub(super) requests: Requests,
    /// Connections with messages that can be handed over, the one whose turn it is first.
    pub(super) ready: VecDeque<u32>,
    pub(super) events: Events,
    pub(super) counters: Counters,
    pub(super) policy: Policy,
    pub(super) ways: Ways,
    /// The arena's index among the registered buffers.
    pub(super) buffer: Option<u16>,
    /// Requests that are copied before memory that is charged is tried again.
    pub(super) copies_left: u32,
    /// The time of the last `tick`.
    pub(super) now: u64,
    /// Completions that are to come.
    pub(super) owed: u64,
    /// Entries were pushed that no call has handed over.
    pub(super) has_pushed: bool,
    /// Why nothing can be sent any more.
    pub(super) gone: Option<Errno>,
    mark: ForkMark,
    pub(super) arena: Arena,
}

impl<K: Kernel> Sender<K> {
    /// Makes a sender, and registers its arena, if the kernel lets it; otherwise it does without.
    pub fn new(mut kernel: K, arena: Arena, policy: Policy) -> io::Result<Sender<K>> {
        let mark = ForkMark::new()?;
        let (base, len_bytes) = arena.region();
        // SAFETY: the region stays mapped until the arena and all leases are dropped, and then only after
        // the kernel, which is dropped first; what was registered keeps its pages.
        let buffer = unsafe { kernel.register(base, len_bytes) }.ok();
        Ok(Sender {
            ways: Ways::of(kernel.profile()),
            kernel,
            connections: Vec::new(),
            generations: Vec::new(),
            requests: Requests::new(),
            ready: VecDeque::new(),
            events: Events::new(),
            counters: Counters::default(),
            policy,
            buffer,
            copies_left: 0,
            now: 0,
            owed: 0,
            has_pushed: false,
            gone: None,
            mark,
            arena,
        })
    }

    /// Takes a socket to send on. Whoever holds another descriptor of it must not send on that.
    pub fn add(&mut self, socket: K::Socket) -> io::Result<SocketKey> {
        let traits = self.kernel.traits(&socket)?;
        let free = self.connections.iter().position(Option::is_none);
        let index = free.unwrap_or(self.connections.len());
        if free.is_none() {
            self.connections.push(None);
            self.generations.push(0);
        }
        let key = SocketKey { index: index as u32, generation: self.generations[index] };
        self.generations[index] += 1;
        self.connections[index] = Some(Connection::new(key, socket, traits));
        Ok(key)
    }

    /// The socket behind a key, to read from.
    pub fn socket(&self, key: SocketKey) -> Option<&K::Socket> {
        let index = self.index_of(key)?;
        self.connections[index].as_ref()?.socket.as_ref()
    }

    /// Gives a socket back; `None` while a request on it has no result. Messages that are queued end; memory
    /// that is still lent comes back as before.
    pub fn remove(&mut self, key: SocketKey) -> Option<K::Socket> {
        let index = self.index_of(key)?;
        if self.connections[index].as_ref()?.results_owed > 0 {
            return None;
        }
        self.abort(key);
        let connection = self.connections[index].as_mut()?;
        connection.has_ended = true;
        let socket = connection.socket.take();
        self.forget_if_over(index);
        socket
    }

    /// Leases memory of the arena; `None` while there is no room.
    pub fn lease(&mut self, len_bytes: usize) -> Option<Lease> {
        self.arena.lease(len_bytes)
    }

    /// As `lease`, with room in front: a header of up to `header_bytes` that is copied right before this
    /// payload is put there, so that both are one range. That is the cheapest to send, and all that Linux 6.0
    /// can lend.
    pub fn lease_behind(&mut self, header_bytes: usize, len_bytes: usize) -> Option<Lease> {
        self.arena.lease_behind(header_bytes, len_bytes)
    }

    /// Begins a message on a socket.
    pub fn message(&mut self, key: SocketKey) -> Message<'_, K> {
        let index = match self.index_of(key) {
            _ if self.mark.is_fork() => Err(Refusal::Fork),
            Some(index) if self.takes_messages(index) => Ok(index),
            _ => Err(Refusal::Gone),
        };
        Message::begin(self, index)
    }

    /// Puts a header right before a payload that has room for it, or into a slot, if all that `Message` looks at is
    /// as it mostly is: the header in its slot, if it is in one, and where the piece begins. Otherwise nothing has
    /// happened.
    #[inline]
    fn place(&mut self, key: SocketKey, header: &[u8], payload: &mut Payload) -> Option<(Header, *const u8)> {
        let Payload::Lease(lease) = payload else { return None };
        let connection = self.connections.get(key.index as usize)?.as_ref()?;
        let lent_bytes = lease.len_bytes() as u64;
        let len_bytes = header.len() as u64 + lent_bytes;
        let is_open = connection.key == key && !connection.has_ended && connection.unfinished == 0;
        let has_room = connection.len() < self.policy.socket_messages_max
            && self.policy.may_lend(lent_bytes, connection.lent_bytes, self.counters.lent_bytes);
        let bytes_max = connection.traits.bytes_max.min(BYTES_MAX);
        let is_sendable = lent_bytes > 0 && len_bytes <= bytes_max && self.arena.owns(lease);
        if !is_open || !has_room || !is_sendable || self.gone.is_some() || self.mark.is_fork() {
            return None;
        }
        let (is_range, queued) = (connection.traits.keeps_messages, connection.end() - connection.next);
        if self.goes_before(is_range, queued)
            && let Some(addr) = lease.put_before(header)
        {
            return Some((Header::NONE, addr));
        }
        if header.is_empty() || header.len() > SLOT_BYTES {
            return None;
        }
        let Slot { addr, number } = self.arena.stage(header)?;
        Some((Header { addr, slot: number, len_bytes: header.len() as u32 }, lease.addr()))
    }

    /// Whether a header is put right before a payload with room for it, with so many messages of its socket queued:
    /// always where a message is a request, so that it is one range.
    #[inline]
    pub(super) fn goes_before(&self, is_range: bool, queued: u64) -> bool {
        is_range || queued < self.policy.headroom_messages || self.ways.lends_ranges_only()
    }

    /// Queues a header, which is the caller's again at once, with a payload, which is lent.
    #[inline]
    pub fn send(
        &mut self,
        key: SocketKey,
        header: &[u8],
        payload: impl Into<Payload>,
    ) -> Result<Ticket, Refused> {
        let mut payload = payload.into();
        // that does what `Message` does without its steps, and most messages are such
        let Some((slotted, addr)) = self.place(key, header, &mut payload) else {
            return self.send_pieces(key, header, payload);
        };
        let lent_bytes = payload.len_bytes() as u64;
        let len_bytes = header.len() as u32 - slotted.len_bytes + lent_bytes as u32;
        self.counters.staged_bytes += header.len() as u64;
        self.counters.lent_bytes += lent_bytes;
        Ok(self.queue_one(key, slotted, addr, len_bytes, Some(lent_bytes), Held::Memory(payload)))
    }

    /// Queues a message of one piece in the arena, and maybe a header before it, on a connection that is there.
    #[inline(always)]
    fn queue_one(
        &mut self,
        key: SocketKey,
        header: Header,
        addr: *const u8,
        len_bytes: u32,
        lent_bytes: Option<u64>,
        memory: Held,
    ) -> Ticket {
        let index = key.index as usize;
        let connection = self.connections[index].as_mut().expect("it was looked at");
        let number = connection.add_one(header, addr, len_bytes, lent_bytes, memory);
        let is_ready = connection.is_ready;
        self.counters.messages += 1;
        if !is_ready {
            self.make_ready(index);
        }
        Ticket { socket: key, number }
    }

    /// The same as pieces.
    #[cold]
    fn send_pieces(&mut self, key: SocketKey, header: &[u8], payload: Payload) -> Result<Ticket, Refused> {
        let mut message = self.message(key);
        message.add_copied(header);
        message.add_lent(payload);
        message.queue()
    }

    /// Queues a message that is copied, all of it: its bytes are the caller's again at once.
    #[inline]
    pub fn send_copied(&mut self, key: SocketKey, bytes: &[u8]) -> Result<Ticket, Refused> {
        match self.send_slot(key, bytes) {
            Some(ticket) => Ok(ticket),
            None => self.message(key).copy(bytes).queue(),
        }
    }

    /// Queues a message that fits into a slot; otherwise nothing has happened.
    #[inline]
    fn send_slot(&mut self, key: SocketKey, bytes: &[u8]) -> Option<Ticket> {
        let connection = self.connections.get(key.index as usize)?.as_ref()?;
        let is_open = connection.key == key && !connection.has_ended && connection.unfinished == 0;
        let has_room = connection.len() < self.policy.socket_messages_max;
        let is_sendable = !bytes.is_empty() && bytes.len() <= SLOT_BYTES;
        if !is_open || !has_room || !is_sendable || self.gone.is_some() || self.mark.is_fork() {
            return None;
        }
        let slot = self.arena.stage(bytes)?;
        self.counters.staged_bytes += bytes.len() as u64;
        let (len_bytes, held) = (bytes.len() as u32, Held::Slot(slot.number));
        Some(self.queue_one(key, Header::NONE, slot.addr, len_bytes, None, held))
    }

    /// Takes a message back that was not handed over yet: what it would have lent, in order.
    pub fn withdraw(&mut self, ticket: Ticket) -> Option<Vec<Payload>> {
        let index = self.index_of(ticket.socket)?;
        let payloads =
            self.with_sink(index, |connection, sink| connection.withdraw(ticket.number, sink))??;
        self.forget_if_over(index);
        Some(payloads)
    }

    /// What happened next, in order.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// All that happened and was not taken yet, in order: cheaper than one by one.
    #[inline]
    pub fn take_events(&mut self, then: impl FnMut(Event)) {
        self.events.take(then);
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Where the arena is.
    pub(crate) fn arena_region(&self) -> (*const u8, usize) {
        self.arena.region()
    }

    /// Whether headers and leases are in a registered buffer.
    pub fn is_registered(&self) -> bool {
        self.buffer.is_some()
    }

    /// The kernel, to reach what only it has.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    /// Completions that are to come, results and notifications.
    pub fn owed(&self) -> u64 {
        self.owed
    }

    /// Whether messages wait for a flush that could hand them over: not while there are as many requests as there may
    /// be (`Policy::requests_max`), when a completion has to come first.
    pub fn has_work(&self) -> bool {
        self.has_pushed || !self.ready.is_empty() && self.requests.len() < self.policy.requests_max
    }

    pub(super) fn is_fork(&self) -> bool {
        self.mark.is_fork()
    }

    pub(super) fn index_of(&self, key: SocketKey) -> Option<usize> {
        let index = key.index as usize;
        let known = self.connections.get(index)?.as_ref()?;
        (known.key == key).then_some(index)
    }

    pub(super) fn connection_mut(&mut self, index: usize) -> Option<&mut Connection<K::Socket>> {
        self.connections.get_mut(index)?.as_mut()
    }

    fn takes_messages(&self, index: usize) -> bool {
        self.gone.is_none() && self.connections[index].as_ref().is_some_and(|c| !c.has_ended)
    }

    /// Whether a socket holds as many messages as it may.
    pub(super) fn is_crowded(&self, index: usize) -> bool {
        let connection = self.connections[index].as_ref();
        connection.is_some_and(|c| c.len() >= self.policy.socket_messages_max)
    }

    /// Whether so many bytes more may be lent on a socket.
    pub(super) fn may_lend(&self, index: usize, len_bytes: u64) -> bool {
        let on_socket = self.connections[index].as_ref().map_or(0, |c| c.lent_bytes);
        self.policy.may_lend(len_bytes, on_socket, self.counters.lent_bytes)
    }

    /// Takes back the pieces of a message that is not queued yet: what it would have lent, in order.
    pub(super) fn take_unfinished(&mut self, index: usize) -> Vec<Payload> {
        let payloads = self
            .with_sink(index, |connection, sink| connection.take_unfinished(sink.arena))
            .unwrap_or_default();
        self.counters.lent_bytes -= payloads.iter().map(|payload| payload.len_bytes() as u64).sum::<u64>();
        payloads
    }

    /// A message was written.
    pub(super) fn queued(&mut self, index: usize, len_bytes: u32, to: Option<SocketAddr>) -> Ticket {
        let connection = self.connections[index].as_mut().expect("a message borrows its sender");
        let number = connection.finish_message(len_bytes, to);
        let socket = connection.key;
        let is_ready = connection.is_ready;
        self.counters.messages += 1;
        if !is_ready {
            self.make_ready(index);
        }
        Ticket { socket, number }
    }

    /// Puts a connection on the list of those whose turn comes, if there is something to hand over.
    pub(super) fn make_ready(&mut self, index: usize) {
        if let Some(connection) = self.connections[index].as_mut()
            && connection.can_flush()
            && !connection.is_ready
        {
            connection.is_ready = true;
            self.ready.push_back(index as u32);
        }
    }

    /// A connection, and where what is over on it goes.
    pub(super) fn with_sink<T>(
        &mut self,
        index: usize,
        then: impl FnOnce(&mut Connection<K::Socket>, &mut Sink<'_>) -> T,
    ) -> Option<T> {
        let Sender { arena, events, counters, .. } = self;
        let connection = self.connections.get_mut(index)?.as_mut()?;
        Some(then(connection, &mut Sink { arena, events, counters }))
    }

    /// Forgets a connection whose socket was given back, once nothing of it is with the kernel.
    pub(super) fn forget_if_over(&mut self, index: usize) {
        let over = |c: &Connection<K::Socket>| c.socket.is_none() && c.len() == 0 && c.requests == 0;
        if self.connections[index].as_ref().is_some_and(over) {
            self.connections[index] = None;
        }
    }
}
