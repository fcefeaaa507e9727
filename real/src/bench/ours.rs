//! The sender, as a server uses it: a message after the other, a flush, and what comes back.

use std::io;

use super::lane::Road;
use super::source::{HEADERS, Payloads, Pool};
use super::{Cell, Counts, header};
use crate::mixed::{Counters, Event, LocalRing, Outcome, Payload, Policy, Sender, SocketKey};

/// A sender and its socket.
pub(super) struct Ours {
    sender: Sender<LocalRing>,
    key: SocketKey,
    pool: Pool,
    /// Messages that have ended.
    ended: u64,
    queued: u64,
    /// What it had counted, and what of it was told.
    told: Counters,
    pub(super) counts: Counts,
}

impl Ours {
    pub(super) fn new(cell: &Cell, road: &Road) -> io::Result<Ours> {
        let policy = Policy {
            // the bench bounds what is under way itself, for all ways alike
            requests_max: HEADERS,
            lent_bytes_max: u64::MAX,
            socket_lent_bytes_max: u64::MAX,
            ..Policy::default()
        };
        let ring = LocalRing::new(256, HEADERS as u32)?;
        let mut sender = Sender::new(ring, cell.arena()?, policy)?;
        if !sender.is_registered() {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let key = sender.add(road.near.try_clone()?)?;
        let pool = Pool::lease(cell, &mut sender)?;
        let (told, counts) = (sender.counters(), Counts::default());
        Ok(Ours { sender, key, pool, ended: 0, queued: 0, told, counts })
    }

    /// The sender, to lease from it.
    pub(super) fn sender(&mut self) -> &mut Sender<LocalRing> {
        &mut self.sender
    }

    /// Where its arena is.
    pub(super) fn region(&self) -> (*const u8, usize) {
        self.sender.arena_region()
    }

    /// Sends so many messages from `first` on.
    pub(super) fn flush(
        &mut self,
        road: &mut Road,
        payloads: &Payloads,
        first: u64,
        batch: usize,
    ) -> io::Result<()> {
        for number in first..first + batch as u64 {
            while !self.queue(payloads.slot(number).len as usize, number)? {
                self.turn(road, 0)?;
                road.drain()?;
                self.turn(road, 1)?;
            }
        }
        self.queued += batch as u64;
        self.turn(road, 0)?;
        while self.ended < self.queued {
            self.turn(road, 1)?;
        }
        self.counts.messages += batch as u64;
        Ok(())
    }

    /// Queues one message; false while all payloads of its length are under way.
    fn queue(&mut self, len: usize, number: u64) -> io::Result<bool> {
        let header = header(number);
        let queued = if len == 0 {
            self.sender.send_copied(self.key, &header)
        } else {
            let Some(payload) = self.pool.take(len) else { return Ok(false) };
            self.sender.send(self.key, &header, payload)
        };
        queued.map(|_| true).map_err(|refused| io::Error::other(refused.why))
    }

    fn turn(&mut self, road: &mut Road, wanted: u32) -> io::Result<()> {
        self.sender.turn(wanted)?;
        let (pool, mut whole, mut other) = (&mut self.pool, 0, None);
        self.sender.take_events(|event| match event {
            Event::Ended(_, Outcome::Whole) => whole += 1,
            Event::Ended(_, outcome) => other = Some(outcome),
            Event::Released(_, Payload::Lease(lease)) => pool.give(lease),
            Event::Released(..) | Event::Overdue(_) => {}
        });
        if let Some(outcome) = other {
            return Err(io::Error::other(format!("a message ended {outcome:?}")));
        }
        self.ended += whole;
        let Counters { sent_bytes, whole, .. } = self.sender.counters();
        let (bytes, messages) = (sent_bytes - self.told.sent_bytes, whole - self.told.whole);
        (self.told.sent_bytes, self.told.whole) = (sent_bytes, whole);
        road.sent(bytes, messages)
    }

    /// Waits until nothing is owed, and counts.
    pub(super) fn settle(&mut self, road: &mut Road) -> io::Result<()> {
        road.drain()?;
        while self.sender.owed() > 0 {
            self.turn(road, 1)?;
        }
        let (now, told) = (self.sender.counters(), self.told);
        self.counts.enters += now.enters - told.enters;
        self.counts.sqes += now.entries - told.entries;
        self.counts.cqes += now.completions - told.completions;
        let copied = |counters: &Counters| counters.copied_bytes + counters.staged_bytes;
        self.counts.copied_bytes += copied(&now) - copied(&told);
        self.counts.notifications += now.notifications - told.notifications;
        self.counts.copied_notifications += now.copied_notifications - told.copied_notifications;
        self.told = now;
        Ok(())
    }
}
