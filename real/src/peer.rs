//! The far end of a socket: what it reads, and when nothing more is on its way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use uringspec_model::program::{Amount, SocketKind};
use uringspec_model::trace::PeerEnd;

use crate::lanes::Filler;
use crate::ring::Waited;
use crate::sentinel::Sentinel;
use crate::sockets::{Address, Pair};
use crate::sys::{self, Moved, left};

/// `SIOCOUTQ`: bytes that were written and not yet acknowledged.
pub(crate) const OUTQ: libc::Ioctl = libc::TIOCOUTQ;
/// How long is waited before looking again, where the kernel gives no sign: an acknowledgement has no
/// readiness of its own.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Bytes of one read; a datagram fits.
const READ_BYTES: usize = 256 << 10;

/// What peers read with.
#[derive(Debug)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    sentinel: Sentinel,
}

/// A socket of a running program.
#[derive(Debug)]
pub(crate) struct Live {
    /// The two ends.
    pub(crate) pair: Pair,
    /// The lane's own bytes, which come before the program's.
    pub(crate) filler: Filler,
    /// The near end that was closed, while a table of the program keeps it open anyway.
    kept: Option<OwnedFd>,
    /// The port of a near end that was closed.
    closed_port: Option<u16>,
    /// How the peer's stream ended.
    ended: Option<PeerEnd>,
}

/// What reading brought.
#[derive(Debug, Default)]
pub(crate) struct Haul {
    /// Bytes of the stream, or the datagrams behind one another.
    pub(crate) bytes: Vec<u8>,
    /// Where datagrams end in `bytes`; unused for streams.
    pub(crate) borders: Vec<usize>,
    /// The stream ended.
    pub(crate) ended: Option<PeerEnd>,
    /// The lane's filler came back changed.
    pub(crate) spoilt: bool,
}

enum Read {
    Some,
    Nothing,
    Over,
}

impl Reader {
    /// Makes what is needed.
    pub(crate) fn new() -> io::Result<Reader> {
        Ok(Reader { buffer: vec![0; READ_BYTES], sentinel: Sentinel::new()? })
    }
}

impl Live {
    /// A socket before the first step.
    pub(crate) fn new(pair: Pair, filler: Filler) -> Live {
        Live { pair, filler, kept: None, closed_port: None, ended: None }
    }

    /// Closes the near end as `close(2)` does; `kept` if a table of the program keeps it open.
    pub(crate) fn close_own(&mut self, kept: bool) {
        if let Some(near) = self.pair.near.take()
            && self.pair.is_tcp()
        {
            self.closed_port = Address::of(&near).ok().map(|address| address.port());
            self.kept = kept.then(|| near.try_clone().ok()).flatten();
        }
    }

    /// Keeps a closed near end open no longer.
    pub(crate) fn let_go(&mut self) {
        self.kept = None;
    }

    /// Ends both ends, leaving nothing behind in the kernel.
    pub(crate) fn end(&mut self) {
        self.let_go();
        self.pair.end();
    }

    /// Reads so much, within `patience`.
    pub(crate) fn drain(
        &mut self,
        amount: Amount,
        patience: Duration,
        reader: &mut Reader,
        haul: &mut Haul,
    ) -> Waited {
        if self.is_declared() {
            self.hear(haul);
            return Waited::Enough;
        }
        let deadline = Instant::now() + patience;
        self.pair.widen();
        loop {
            let wanted = match amount {
                Amount::Everything => u64::MAX,
                Amount::Bytes(n) => n.saturating_sub(haul.bytes.len() as u64),
            };
            if wanted == 0 && self.filler.is_read() {
                return Waited::Enough;
            }
            match self.read(wanted, reader, haul) {
                Read::Some => {}
                Read::Over => return if wanted == u64::MAX { Waited::Enough } else { Waited::GaveUp },
                Read::Nothing if wanted == u64::MAX && self.at_rest() => {
                    if !self.pair.is_stream() {
                        reader.sentinel.pass();
                    }
                    // What was on its way when the first look was taken has arrived by now.
                    if !matches!(self.read(wanted, reader, haul), Read::Some) {
                        return Waited::Enough;
                    }
                }
                Read::Nothing => {
                    let Some(far) = self.pair.reader() else { return Waited::Enough };
                    self.push();
                    if left(deadline).is_zero() {
                        return Waited::GaveUp;
                    }
                    let slice = if wanted == u64::MAX { LOOK_AGAIN } else { left(deadline) };
                    sys::wait(far, libc::POLLIN, slice.min(left(deadline)));
                }
            }
        }
    }

    /// Reads once, without waiting.
    fn read(&mut self, wanted: u64, reader: &mut Reader, haul: &mut Haul) -> Read {
        if let Some(ear) = &mut self.pair.ear {
            let Some(datagram) = ear.next() else { return Read::Nothing };
            haul.bytes.extend_from_slice(datagram);
            haul.borders.push(haul.bytes.len());
            return Read::Some;
        }
        let Some(far) = &self.pair.far else { return Read::Over };
        if self.ended.is_some() {
            return Read::Over;
        }
        let stream = self.pair.is_stream();
        let room = match self.filler.unread() {
            0 if stream => usize::try_from(wanted).unwrap_or(usize::MAX),
            0 => usize::MAX,
            unread => unread,
        };
        let room = room.min(reader.buffer.len());
        let moved = sys::receive(far.as_fd(), &mut reader.buffer[..room]);
        let came = if let Moved::Bytes(n) = moved { &reader.buffer[..n] } else { &[] };
        if self.filler.is_read() {
            haul.bytes.extend_from_slice(came);
        } else {
            haul.spoilt |= !self.filler.take(came);
        }
        match moved {
            Moved::Bytes(0) if stream => self.over(PeerEnd::EndOfFile, haul),
            Moved::Bytes(_) => {
                if !stream {
                    haul.borders.push(haul.bytes.len());
                }
                Read::Some
            }
            Moved::WouldBlock => Read::Nothing,
            // The port behind a closed near end says so once; a datagram socket goes on.
            Moved::Failed if !stream => Read::Nothing,
            Moved::Failed => self.over(PeerEnd::Reset, haul),
        }
    }

    fn over(&mut self, how: PeerEnd, haul: &mut Haul) -> Read {
        self.ended = Some(how);
        haul.ended = Some(how);
        Read::Over
    }

    /// Lets go what `MSG_MORE` holds back; by itself it would leave after 200 ms.
    pub(crate) fn push(&self) {
        if let Some(near) = self.near().filter(|_| self.pair.is_tcp()) {
            let _ = sys::set_option(near.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        }
    }

    /// The near end, as long as one can be asked about it.
    fn near(&self) -> Option<&OwnedFd> {
        self.pair.near.as_ref().or(self.kept.as_ref())
    }

    /// Whether nothing is queued at the near end.
    fn at_rest(&self) -> bool {
        match (self.near(), self.closed_port) {
            (Some(near), _) => {
                if is_empty(near.as_fd()) {
                    return true;
                }
                // What has arrived may wait for a delayed acknowledgement; asking for it sends it.
                if let Some(far) = self.pair.far.as_ref().filter(|_| self.pair.is_tcp()) {
                    let _ = sys::set_option(far.as_fd(), libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1);
                }
                is_empty(near.as_fd())
            }
            (None, Some(port)) => orphan_is_empty(port, self.pair.kind),
            (None, None) => true,
        }
    }
}

fn is_empty(near: BorrowedFd<'_>) -> bool {
    sys::queue_bytes(near, OUTQ).is_ok_and(|bytes| bytes == 0)
}

/// Whether a closed socket, which has no descriptor any more, has nothing queued. Without `/proc` it is
/// taken to have nothing.
fn orphan_is_empty(port: u16, kind: SocketKind) -> bool {
    let table = if kind == SocketKind::Tcp6 { "/proc/net/tcp6" } else { "/proc/net/tcp" };
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let own = format!(":{port:04X}");
    !text.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().unwrap_or_default();
        let queues = words.nth(2).unwrap_or_default();
        local.ends_with(&own) && !queues.starts_with("00000000:")
    })
}
