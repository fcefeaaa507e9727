//! The socket that is sent on, and how far its peer is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Lane;
use super::clock::Clock;
use super::peer::{Peer, Work, stay_on};
use super::progress::Progress;
use crate::declared::Declared;
use crate::device::Device;
use crate::limits::die_with_parent;
use crate::namespace::{self, Network};
use crate::skip::Skip;
use crate::sys;

/// With more than this on its way to the peer the clock stands still until little is left: less than a send
/// buffer has room for.
const UNDER_WAY_MAX: u64 = 4 << 20;
const UNDER_WAY_MIN: u64 = 1 << 20;
/// Buffers of both ends.
const BUFFER_BYTES: i32 = 32 << 20;
/// How long a peer may take to read or acknowledge what is under way.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the peer's progress is looked at before others get the processor.
const LOOKS: u32 = 1000;

/// A socket and its peer.
pub(super) struct Road {
    pub(super) lane: Lane,
    pub(super) near: OwnedFd,
    pub(super) clock: Clock,
    /// Bytes that the kernel took, of all strategies.
    sent: u64,
    /// Nobody reads what a device drops.
    progress: Option<Progress>,
    _peer: Option<Peer>,
}

impl Road {
    /// Moves this process into a network of its own, and connects.
    pub(super) fn open(lane: Lane) -> Result<Road, Skip> {
        die_with_parent();
        if namespace::enter()? == Network::Host && lane != Lane::Loopback {
            return Err(Skip::Missing(
                "a network namespace, without which there is no device of our own; allow unprivileged user \
                 namespaces or run as root"
                    .into(),
            ));
        }
        stay_on(0);
        let setup = Skip::setup("connecting the socket that is sent on");
        let progress = Progress::new().map_err(&setup)?;
        let (near, work) = match lane {
            Lane::Loopback => loopback().map(|(near, far)| (near, Some(Work::Read(far)))).map_err(&setup)?,
            Lane::IfbUdp => (Device::make()?.datagrams().map_err(&setup)?, None),
            Lane::RepairTcp => {
                let (near, peer) = Declared::connect(&Rc::new(Device::make()?)).map_err(&setup)?;
                let copy = near.try_clone().map_err(&setup)?;
                (near, Some(Work::Acknowledge(copy, peer)))
            }
        };
        widen(&near, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF);
        let peer = work.map(|work| Peer::start(&progress, work)).transpose();
        let peer = peer.map_err(Skip::setup("starting the process at the other end"))?;
        let progress = peer.is_some().then_some(progress);
        Ok(Road { lane, near, clock: Clock::default(), sent: 0, progress, _peer: peer })
    }

    /// Whether bytes come without borders.
    pub(super) fn is_stream(&self) -> bool {
        self.lane != Lane::IfbUdp
    }

    /// The kernel took so many bytes more.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
        if let Some(progress) = &self.progress {
            progress.set_sent(self.sent);
        }
    }

    /// Waits while too much is under way; that costs no time on the clock.
    pub(super) fn throttle(&mut self) -> io::Result<()> {
        let Some(progress) = &self.progress else { return Ok(()) };
        if self.sent - progress.drained().min(self.sent) <= UNDER_WAY_MAX {
            return Ok(());
        }
        self.clock.stop();
        wait_until(progress, self.sent - UNDER_WAY_MIN)?;
        self.clock.start();
        Ok(())
    }

    /// Waits until nothing is under way; that costs no time on the clock.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        let Some(progress) = &self.progress else { return Ok(()) };
        self.clock.stop();
        wait_until(progress, self.sent)?;
        self.clock.start();
        Ok(())
    }
}

fn wait_until(progress: &Progress, drained: u64) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut looks: u32 = 0;
    while progress.drained() < drained {
        looks += 1;
        if looks.is_multiple_of(LOOKS) {
            if sys::left(deadline).is_zero() {
                return Err(io::Error::other("the peer neither reads nor acknowledges"));
            }
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
    Ok(())
}

/// Two connected TCP sockets.
fn loopback() -> io::Result<(OwnedFd, OwnedFd)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    // Accepted sockets inherit it, and it has to be known when the connection is made.
    let listener_fd: OwnedFd = listener.try_clone()?.into();
    widen(&listener_fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF);
    let near = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    Ok((near.into(), far.into()))
}

/// Makes a buffer large; where that is refused, as large as it may be.
fn widen(fd: &OwnedFd, force: libc::c_int, ask: libc::c_int) {
    if sys::set_option(fd.as_fd(), libc::SOL_SOCKET, force, BUFFER_BYTES).is_err() {
        let _ = sys::set_option(fd.as_fd(), libc::SOL_SOCKET, ask, BUFFER_BYTES);
    }
}
