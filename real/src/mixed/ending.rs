//! Giving up: one socket, what takes too long, the whole sender.

use std::io;

use uringspec_model::abi::op;
use uringspec_model::sqe::Sqe;

use super::completions::CANCEL;
use super::connection::Connection;
use super::flush::errno_of;
use super::kernel::Kernel;
use super::outcome::{Counters, Event, Outcome, SocketKey, Ticket};
use super::sender::Sender;

/// What was left when a sender was closed.
#[derive(Debug)]
pub struct Closed {
    /// Messages that had not ended, or whose memory the kernel still had.
    pub unfinished: Vec<Ticket>,
    /// Bytes of payloads among them.
    pub lent_bytes: u64,
    /// Bytes of the caller's own memory that were leaked for that.
    pub leaked_bytes: u64,
    /// Events that nobody had taken, and the ends of all other messages.
    pub events: Vec<Event>,
    /// What was counted.
    pub counters: Counters,
}

impl<K: Kernel> Sender<K> {
    /// Gives a socket up: what is queued ends, and what the kernel has not finished is to be cancelled, with
    /// the next flush. Messages that it took whole still end whole. The socket takes no more messages.
    pub fn abort(&mut self, key: SocketKey) {
        let Some(index) = self.index_of(key) else { return };
        self.with_sink(index, |connection, sink| {
            connection.has_ended = true;
            connection.aborts = connection.results_owed > 0;
            let next = connection.next;
            connection.end_queued(next, sink, |sent_bytes| Outcome::Cancelled { sent_bytes });
        });
        let to_cancel: Vec<u64> = self
            .requests
            .iter()
            .filter(|(_, request)| request.connection as usize == index && !request.has_result)
            .map(|(user_data, _)| user_data)
            .collect();
        for addr in to_cancel {
            let sqe = Sqe { opcode: op::ASYNC_CANCEL, fd: -1, addr, user_data: CANCEL, ..Sqe::default() };
            if matches!(self.push(&sqe), Ok(true)) {
                self.owed += 1;
            }
        }
    }

    /// Tells the time, in any unit; it must not go back. Connections on which a request or its notification
    /// has taken longer than `Policy::deadline` are reset, so that the kernel lets go of their memory.
    pub fn tick(&mut self, now: u64) {
        self.now = self.now.max(now);
        let Some(deadline) = self.policy.deadline else { return };
        let late = |since: u64| self.now.saturating_sub(since) > deadline;
        let mut overdue: Vec<u32> =
            self.requests.iter().filter(|(_, r)| late(r.since)).map(|(_, r)| r.connection).collect();
        overdue.sort_unstable();
        overdue.dedup();
        for index in overdue {
            let Some(connection) = self.connections[index as usize].as_mut() else { continue };
            if std::mem::replace(&mut connection.was_overdue, true) {
                continue;
            }
            let key = connection.key;
            if let Some(socket) = &connection.socket {
                // where there is nothing to reset, what is lent comes back when the kernel sees fit
                let _ = self.kernel.reset(socket);
            }
            self.events.push(Event::Overdue(key));
            self.abort(key);
        }
    }

    /// Ends the sender, and says what the kernel still has.
    pub fn close(mut self) -> Closed {
        let unfinished: Vec<Ticket> =
            self.connections.iter().flatten().flat_map(Connection::unfinished).collect();
        let lent_bytes = self.counters.lent_bytes;
        self.give_up();
        Closed {
            unfinished,
            lent_bytes,
            leaked_bytes: self.counters.leaked_bytes,
            events: std::iter::from_fn(|| self.events.pop()).collect(),
            counters: self.counters,
        }
    }

    /// Everything that has not ended does; memory that the kernel may refer to stays out of reach.
    fn give_up(&mut self) {
        if self.requests.len() > 0 {
            let armed = self.requests.iter().any(|(_, request)| !request.has_result);
            self.counters.leaked_bytes += self.arena.keep_from_others(armed);
        }
        let is_gone = self.gone.is_some();
        let queued = |sent_bytes: u64| match is_gone {
            true if sent_bytes == 0 => Outcome::NotSent,
            _ => Outcome::Cancelled { sent_bytes },
        };
        for index in 0..self.connections.len() {
            let leaked = self.with_sink(index, |connection, sink| connection.lose(sink, queued));
            self.counters.leaked_bytes += leaked.unwrap_or(0);
        }
        self.ready.clear();
    }

    /// The ring is gone: nobody will hear of its requests.
    pub(super) fn lose(&mut self, error: &io::Error) -> io::Error {
        let errno = errno_of(error);
        self.gone = Some(errno);
        self.give_up();
        self.owed = 0;
        io::Error::from_raw_os_error(errno.0.into())
    }
}

impl<K: Kernel> Drop for Sender<K> {
    fn drop(&mut self) {
        self.give_up();
    }
}
