//! What the peers of mixed sends read: whose bytes they are, and of when.
//!
//! On a stream the bytes of the sends lie one behind the other in some order. Every order that the
//! contract allows is tried; bytes that none explains break the rule that the best of them broke.

use super::contract::{Broken, Kind, Piece, Send};
use super::judge::{At, Judge, Resent};
use crate::cqe::Res;
use crate::memory::{Generation, RegionId};
use crate::net::{REQUEST_OVERHEAD_BYTES, usual_room};
use crate::program::{Lane, SocketId, Step};
use crate::rules::Rule;
use crate::trace::Run;

/// The most bytes that are compared in one stream before the search ends.
const BYTES_MAX: u64 = 1 << 28;

/// Judges what every peer read.
pub(super) fn judge(judge: &Judge<'_, '_>, complete: bool) -> Result<(), Broken> {
    for socket in 0..judge.contract.program.sockets.len() {
        let socket = SocketId(socket as u16);
        if judge.contract.is_datagram(socket) {
            datagrams(judge, socket, complete)?;
        } else {
            stream(judge, socket, complete)?;
        }
    }
    Ok(())
}

/// A byte as it was read.
#[derive(Clone, Copy)]
struct Byte {
    value: u8,
    at: At,
}

/// A send that may have bytes on the socket.
struct Writer<'s> {
    index: usize,
    send: &'s Send,
    /// Bytes it reported, if it did.
    accepted: Option<u64>,
    taken: At,
    /// When copied segments, and lent ones, were the caller's again.
    given_back: (Option<At>, Option<At>),
}

fn writers<'s>(judge: &'s Judge<'_, '_>, socket: SocketId) -> Vec<Writer<'s>> {
    let requests = judge.contract.requests.iter().zip(&judge.seen).enumerate();
    let writers = requests.filter_map(|(index, (request, seen))| {
        let Kind::Send(send) = &request.what else { return None };
        let result = seen.result;
        let accepted = result.map(|(_, res)| match res {
            Res::Bytes(n) => n.min(send.len_bytes),
            Res::Err(_) => 0,
        });
        let copied = result.map(|(at, _)| at);
        let lent = if result.is_some() && !seen.announced { copied } else { seen.notified };
        let taken = seen.taken.filter(|_| send.socket == Some(socket))?;
        Some(Writer { index, send, accepted, taken, given_back: (copied, lent) })
    });
    writers.collect()
}

/// Every byte that a run stands for.
fn bytes_of<'r>(judge: &'r Judge<'_, '_>, run: &'r Run) -> impl Iterator<Item = u8> + 'r {
    (0..run.len_bytes()).map(|i| run.byte(&judge.contract.program.regions, i))
}

fn datagrams(judge: &Judge<'_, '_>, socket: SocketId, complete: bool) -> Result<(), Broken> {
    let mut left = writers(judge, socket);
    // also of nothing, nothing is sent by what fails
    left.retain(|writer| !judge.seen[writer.index].result.is_some_and(|(_, res)| res.is_err()));
    for read in judge.reads.iter().filter(|read| read.received.socket == socket) {
        let bytes: Vec<Byte> = read
            .received
            .runs
            .iter()
            .flat_map(|run| bytes_of(judge, run))
            .map(|value| Byte { value, at: read.at })
            .collect();
        let is_it = |writer: &Writer<'_>| {
            let whole = writer.accepted.is_none_or(|n| n == writer.send.len_bytes);
            let mut cursor = Cursor::at(writer.send, 0);
            writer.send.len_bytes == bytes.len() as u64
                && whole
                && bytes.iter().all(|byte| cursor.next(judge, writer, *byte).is_ok())
        };
        let found = left.iter().position(is_it);
        let got = format!("a datagram of {} bytes", bytes.len());
        judge.contract.hold(found.is_some(), read.at.seen, Rule::MixedOneDatagram, &got)?;
        if let Some(found) = found {
            left.remove(found);
        }
    }
    let Some(drained) = judge.drained.get(&socket).filter(|_| complete && is_roomy(judge, socket)) else {
        return Ok(());
    };
    let lost = left.iter().any(|writer| {
        let result = judge.seen[writer.index].result;
        result.is_some_and(|(at, res)| at.step <= drained.step && !res.is_err())
    });
    judge.contract.hold(!lost, drained.seen, Rule::MixedAcceptedArrives, "a datagram did not arrive")
}

/// Whether all that was ever sent on a datagram socket has room with whoever hears it, before any result is seen.
/// Over loopback what another thread sends may be late.
fn is_roomy(judge: &Judge<'_, '_>, socket: SocketId) -> bool {
    let all = writers(judge, socket).iter().map(|w| w.send.len_bytes + REQUEST_OVERHEAD_BYTES).sum::<u64>();
    let tapped = judge.contract.lane(socket) == Some(Lane::IfbUdpTap);
    tapped && all <= usual_room(socket, Lane::IfbUdpTap).leaves_bytes
}

fn stream(judge: &Judge<'_, '_>, socket: SocketId, complete: bool) -> Result<(), Broken> {
    let mut bytes = Vec::new();
    for read in judge.reads.iter().filter(|read| read.received.socket == socket) {
        let values = read.received.runs.iter().flat_map(|run| bytes_of(judge, run));
        bytes.extend(values.map(|value| Byte { value, at: read.at }));
    }
    let writers = writers(judge, socket);
    let again = judge.resent.iter().filter(|resent| resent.received.socket == socket).collect();
    let mut search = Search {
        judge,
        writers: &writers,
        bytes: &bytes,
        again,
        laid: Vec::new(),
        best: (0, None),
        broke_again: None,
        compared: 0,
    };
    let mut read = vec![0; writers.len()];
    let explained = search.from(0, &mut read);
    if let Some((at, rule)) = search.broke_again.filter(|_| !explained) {
        return judge.contract.hold(false, at, rule, "bytes that left again");
    }
    if !explained {
        let (position, rule) = search.best;
        let at = bytes.get(position).map_or(0, |byte| byte.at.seen);
        let rule = rule.unwrap_or(Rule::MixedPrefix);
        return judge.contract.hold(false, at, rule, &format!("byte {position} that the peer read"));
    }
    let reset = judge.contract.program.steps.contains(&Step::ResetPeer { socket });
    let Some(drained) = judge.drained.get(&socket).filter(|_| complete && !reset) else { return Ok(()) };
    let lane = judge.contract.lane(socket);
    if judge.contract.is_declared(socket) {
        acknowledged(judge, socket, &writers, drained)?;
    }
    if lane == Some(Lane::RepairTcp) {
        // nobody hears what leaves
        return Ok(());
    }
    for (writer, read) in writers.iter().zip(&read) {
        let ended = judge.seen[writer.index].result.is_some_and(|(at, _)| at.step <= drained.step);
        let lost = ended && writer.accepted.is_some_and(|n| *read < n);
        let got = "the peer read less than was accepted";
        judge.contract.hold(!lost, drained.seen, Rule::MixedAcceptedArrives, got)?;
    }
    Ok(())
}

/// A declared peer acknowledges what has left. In the end that is what was accepted.
fn acknowledged(
    judge: &Judge<'_, '_>,
    socket: SocketId,
    writers: &[Writer<'_>],
    drained: &At,
) -> Result<(), Broken> {
    let acked = judge.acked.get(&socket).copied().unwrap_or_default();
    let ended =
        |writer: &&Writer<'_>| judge.seen[writer.index].result.is_some_and(|(at, _)| at.step <= drained.step);
    let least: u64 = writers.iter().filter(ended).filter_map(|writer| writer.accepted).sum();
    let most: u64 = writers.iter().map(|writer| writer.accepted.unwrap_or(writer.send.len_bytes)).sum();
    let got = format!("{acked} bytes were acknowledged");
    judge.contract.hold(acked >= least, drained.seen, Rule::MixedAcceptedArrives, &got)?;
    judge.contract.hold(acked <= most, drained.seen, Rule::MixedPrefix, &got)
}

/// Looks for an order of sends that explains the bytes of a stream.
struct Search<'s, 'c, 'a> {
    judge: &'s Judge<'c, 'a>,
    writers: &'s [Writer<'s>],
    bytes: &'s [Byte],
    /// What left again.
    again: Vec<&'s Resent<'c>>,
    /// Whose bytes come one after the other: the send, from where on, and how many.
    laid: Vec<(usize, u64, u64)>,
    /// The farthest byte that was not explained, and the rule that it broke.
    best: (usize, Option<Rule>),
    /// An order explains all that was read, but not what left again: where, and the rule that this broke.
    broke_again: Option<(usize, Rule)>,
    compared: u64,
}

impl Search<'_, '_, '_> {
    /// Explains the bytes from `position` on; `read` says how many of each send came before.
    fn from(&mut self, position: usize, read: &mut Vec<u64>) -> bool {
        if self.compared > BYTES_MAX {
            return true;
        }
        if position == self.bytes.len() {
            return self.explains_again();
        }
        for next in 0..self.writers.len() {
            let writer = &self.writers[next];
            let most = writer.accepted.unwrap_or(writer.send.len_bytes);
            if read[next] >= most {
                continue;
            }
            if read[next] == 0
                && let Some(rule) = self.may_not_begin(next, read)
            {
                if self.matches(next, position) {
                    self.blame(position, rule);
                }
                continue;
            }
            if read[next] > 0 && !self.may_be_split(next) {
                continue;
            }
            let (count, broken) = self.follow(next, position, read[next], most);
            if let Some(rule) = broken {
                self.blame(position + count as usize, rule);
            }
            // all that fits, or, where another may come between or the count is not known, less
            let ends_here = position + count as usize == self.bytes.len();
            let whole = read[next] + count == most || ends_here;
            let least = match (whole, writer.accepted.is_none() || self.may_be_split(next)) {
                (_, true) => 1,
                (true, false) => count.max(1),
                (false, false) => continue,
            };
            for count in (least..=count).rev() {
                let before = read[next];
                read[next] += count;
                self.laid.push((next, before, count));
                if self.from(position + count as usize, read) {
                    return true;
                }
                self.laid.pop();
                read[next] = before;
            }
        }
        if self.best.1.is_none() || position > self.best.0 {
            self.blame(position, self.stranger(position));
        }
        false
    }

    /// Whether what left again is what lies there in this order, as it may be now.
    fn explains_again(&mut self) -> bool {
        let broken = self.again.iter().find_map(|again| {
            let values = again.received.runs.iter().flat_map(|run| bytes_of(self.judge, run));
            values.zip(again.place..).find_map(|(value, place)| {
                let (writer, offset) = self.at_place(place)?;
                let byte = Byte { value, at: again.at };
                let broken = Cursor::at(writer.send, offset).next(self.judge, writer, byte).err()?;
                Some((again.at.seen, broken.unwrap_or(Rule::MixedPrefix)))
            })
        });
        self.broke_again = self.broke_again.or(broken);
        broken.is_none()
    }

    /// The send whose byte lies at this place of the stream, and which of its bytes it is; nothing where nobody
    /// has heard it yet.
    fn at_place(&self, place: u64) -> Option<(&Writer<'_>, u64)> {
        let mut before = place;
        for (writer, from, count) in &self.laid {
            if before < *count {
                return Some((&self.writers[*writer], from + before));
            }
            before -= count;
        }
        None
    }

    fn blame(&mut self, position: usize, rule: Rule) {
        if self.best.1.is_none() || position > self.best.0 {
            self.best = (position, Some(rule));
        }
    }

    /// The rule that keeps a send from coming next, if one does.
    fn may_not_begin(&self, next: usize, read: &[u64]) -> Option<Rule> {
        let writer = &self.writers[next];
        let chain = &self.judge.contract.requests[writer.index].chain;
        let unread = |(other, before): (&Writer<'_>, &u64)| {
            let ended = other.given_back.0.is_some_and(|at| at < writer.taken);
            let ahead = other.index < writer.index && chain.contains(&other.index);
            // one whose count is not known may have had none
            (ended || ahead) && other.accepted.is_some_and(|n| *before < n)
        };
        self.writers.iter().zip(read).any(unread).then_some(Rule::MixedInOrder)
    }

    /// Whether another's bytes may lie between those of a send: it is tried more than once, and another
    /// is on its way at the same time.
    fn may_be_split(&self, next: usize) -> bool {
        let writer = &self.writers[next];
        let chain = &self.judge.contract.requests[writer.index].chain;
        writer.send.waits_for_all
            && self.writers.iter().any(|other| {
                let before = other.given_back.0.is_some_and(|at| at < writer.taken);
                let after = writer.given_back.0.is_some_and(|at| at < other.taken);
                other.index != writer.index && !before && !after && !chain.contains(&other.index)
            })
    }

    /// How many bytes from `position` on are those of a send from `from` on, and what the next breaks.
    fn follow(&mut self, next: usize, position: usize, from: u64, most: u64) -> (u64, Option<Rule>) {
        let writer = &self.writers[next];
        let mut cursor = Cursor::at(writer.send, from);
        let mut count = 0;
        for byte in &self.bytes[position..] {
            if from + count >= most {
                break;
            }
            self.compared += 1;
            match cursor.next(self.judge, writer, *byte) {
                Ok(()) => count += 1,
                Err(rule) => {
                    return (count, rule.or_else(|| Some(self.stranger(position + count as usize))));
                }
            }
        }
        (count, None)
    }

    /// Whether a send begins as the bytes from `position` on.
    fn matches(&self, next: usize, position: usize) -> bool {
        let writer = &self.writers[next];
        let byte = self.bytes[position];
        Cursor::at(writer.send, 0).next(self.judge, writer, byte).is_ok()
    }

    /// The rule that a byte breaks which belongs to nobody who could send it there.
    fn stranger(&self, position: usize) -> Rule {
        let begins = |writer: &&Writer<'_>| {
            let byte = self.bytes[position];
            Cursor::at(writer.send, 0).next(self.judge, writer, byte).is_ok()
        };
        match self.writers.iter().find(begins) {
            Some(writer) if writer.accepted == Some(0) => Rule::MixedErrorSendsNothing,
            Some(_) => Rule::MixedTogether,
            None => Rule::MixedPrefix,
        }
    }
}

/// A place in the bytes of a send.
struct Cursor<'s> {
    pieces: std::slice::Iter<'s, Piece>,
    piece: Option<&'s Piece>,
    offset: u64,
}

impl<'s> Cursor<'s> {
    fn at(send: &'s Send, from: u64) -> Cursor<'s> {
        let mut pieces = send.pieces.iter();
        let (mut piece, mut offset) = (pieces.next(), from);
        while let Some(here) = piece.filter(|piece| offset >= piece.len_bytes) {
            offset -= here.len_bytes;
            piece = pieces.next();
        }
        Cursor { pieces, piece, offset }
    }

    /// Whether the next byte is this one; otherwise the rule that it breaks, if it is of this memory.
    fn next(&mut self, judge: &Judge<'_, '_>, writer: &Writer<'_>, byte: Byte) -> Result<(), Option<Rule>> {
        let piece = *self.piece.ok_or(None)?;
        let given_back = if piece.lent { writer.given_back.1 } else { writer.given_back.0 };
        let offset = piece.offset + self.offset;
        self.offset += 1;
        if self.offset == piece.len_bytes {
            (self.piece, self.offset) = (self.pieces.next(), 0);
        }
        let Some(region) = piece.region else { return if byte.value == 0 { Ok(()) } else { Err(None) } };
        let generation = |step: usize| generation_at(judge, step, region);
        let (oldest, now) = (generation(writer.taken.step), generation(byte.at.step));
        let newest = given_back.map_or(now, |at| generation(at.step).min(now));
        let source = &judge.contract.program.regions[usize::from(region.0)];
        let is = |generation: u16| source.byte(region, Generation(generation), offset) == byte.value;
        if (oldest.0..=newest.0).any(is) {
            return Ok(());
        }
        let rule = if piece.lent { Rule::MixedLentUntilNotif } else { Rule::MixedCopyIsYours };
        let other = (0..oldest.0).chain(newest.0 + 1..=now.0).any(is);
        Err(other.then_some(rule))
    }
}

fn generation_at(judge: &Judge<'_, '_>, step: usize, region: RegionId) -> Generation {
    let steps = &judge.contract.generations;
    let at = steps.get(step).or(steps.last());
    at.and_then(|all| all.get(usize::from(region.0))).copied().unwrap_or_default()
}
