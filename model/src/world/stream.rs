//! The bytes that a peer reads.

use super::World;
use crate::cqe::Res;
use crate::may::{Counts, May};
use crate::memory::Generation;
use crate::net::{Stream, Writer};
use crate::program::{Lane, SocketId};
use crate::request::{Phase, RequestId};
use crate::rules::Rule;
use crate::trace::PeerEnd;

impl World<'_> {
    /// The writer of a request whose bytes its peer has not all read.
    pub(crate) fn writer(&self, id: RequestId) -> Option<&Writer> {
        let socket = self.state.requests.get(&id).and_then(|request| request.socket);
        match socket {
            Some(socket) => self.stream(socket)?.writer(id),
            // retired, but its bytes are still on their way
            None => (0..self.state.sockets.len()).find_map(|i| self.stream(SocketId(i as u16))?.writer(id)),
        }
    }

    /// Whether the peer may read these bytes of the request that writes them now.
    pub(super) fn judge_delivery(
        &self,
        stream: &Stream,
        writer: &Writer,
        len: u64,
        generation: Generation,
    ) -> Result<(), Rule> {
        if let Some(segment) = writer.bytes_from(writer.read, len).next()
            && segment.region.is_some()
        {
            self.hold_to(generation >= segment.oldest, Rule::ZcLentIsShared)?;
            self.hold_to(generation <= segment.newest, Rule::StreamIsMemory)?;
        }
        if self.lane(writer.send.socket) == Lane::RepairTcp {
            // behind a device that nobody listens to, nobody reads
            self.refuse(Rule::StreamNothingInvented)?;
        }
        if let Err(rule) = stream.judge_read(writer, len) {
            self.refuse(rule)?;
        }
        for rule in
            [Rule::StreamPrefix, Rule::StreamInOrder, Rule::StreamNothingInvented, Rule::StreamIsMemory]
        {
            self.hit(rule);
        }
        Ok(())
    }

    /// The peer reads bytes of the request.
    pub(super) fn deliver(&mut self, id: RequestId, len: u64, generation: Generation) -> Result<(), Rule> {
        self.judge_early(id)?;
        match self.writer(id).and_then(|writer| Some((self.stream(writer.send.socket)?, writer))) {
            Some((stream, writer)) => self.judge_delivery(stream, writer, len, generation)?,
            None => self.refuse(Rule::StreamNothingInvented)?,
        }
        self.delivered(id, len);
        Ok(())
    }

    /// The peer has read bytes of the request.
    pub(super) fn delivered(&mut self, id: RequestId, len: u64) {
        let socket = self.writer(id).map(|writer| writer.send.socket);
        if let Some(stream) = socket.and_then(|socket| self.stream_mut(socket)) {
            stream.read(id, len);
        }
        self.is_read(id, len);
        self.state.drained = self.state.drained.saturating_add(len);
    }

    /// The peer reads a datagram.
    pub(super) fn deliver_datagram(&mut self, socket: SocketId, index: usize) -> Result<(), Rule> {
        let queue = self.datagrams(socket).ok_or(Rule::StreamNothingInvented)?;
        let Some(datagram) = queue.queue.get(index) else {
            return self.refuse(Rule::StreamNothingInvented);
        };
        let len = datagram.len_bytes;
        self.hold_to(!queue.is_refused, Rule::StreamNothingInvented)?;
        let in_turn = queue.front().any(|(i, _)| i == index);
        self.hold_to(in_turn, Rule::DatagramOrder)?;
        self.hit(Rule::DatagramBoundaries);
        if let Some(sender) = self.datagrams_mut(socket).map(|queue| queue.read(index)) {
            self.is_read(sender, len);
        }
        self.state.drained = self.state.drained.saturating_add(len);
        Ok(())
    }

    /// The peer has read so many bytes more of a request.
    fn is_read(&mut self, id: RequestId, len: u64) {
        if self.state.requests.get(&id).is_none_or(|request| request.phase == Phase::Done) {
            return;
        }
        let request = self.request_mut(id);
        request.read += len;
        // an empty datagram has no bytes that could be counted
        if len == 0 || request.is_read_whole() {
            let whole = request.len_bytes;
            let rule = request.may.bytes.map_or(Rule::SendWholeWhenRoom, |counts| counts.rule);
            request.may = May { waiting: request.may.waiting, ..May::exactly(whole, rule) };
            request.polls_first = false;
            self.target_ended(id, Res::Bytes(whole));
        }
    }

    /// The peer's read ended.
    pub(crate) fn peer_ends(&mut self, socket: SocketId, how: PeerEnd) -> Result<(), Rule> {
        let Some(stream) = self.stream(socket) else { return Ok(()) };
        let may_end = !stream.open || stream.connection == crate::net::Connection::Broken;
        self.hold_to(how == PeerEnd::EndOfFile && may_end, Rule::StreamEndsWhenClosed)?;
        let Some(stream) = self.stream(socket) else { return Ok(()) };
        let unread = stream.writers.iter().filter(|writer| writer.accepted.0 > writer.read);
        let (cut, lost): (Vec<_>, Vec<_>) = unread
            .map(|writer| (writer.request, writer.read))
            .partition(|(id, read)| self.may_be_cut_off(*id, *read));
        self.hold_to(lost.is_empty(), Rule::StreamNothingLost)?;
        for (id, read) in cut {
            if let Some(counts) = &mut self.request_mut(id).may.bytes {
                (counts.least, counts.most) = (read, read);
            }
            if let Some(stream) = self.stream_mut(socket) {
                stream.settle(id, Res::Bytes(read));
            }
        }
        Ok(())
    }

    /// Whether a thread was perhaps in the middle of this request as its socket ended, and has not said yet that it took
    /// so much.
    fn may_be_cut_off(&self, id: RequestId, taken: u64) -> bool {
        self.state.requests.get(&id).is_some_and(|request| {
            let fits = |counts: Counts| (counts.least..=counts.most).contains(&taken);
            request.phase != Phase::Done
                && request.is_async
                && taken > 0
                && request.may.bytes.is_some_and(fits)
        })
    }
}
