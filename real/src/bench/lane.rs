//! The socket that is sent on, and its peer, which takes what is under way when it is told to.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Lane;
use super::clock::Clock;
use crate::declared::Declared;
use crate::device::Device;
use crate::limits::die_with_parent;
use crate::namespace::{self, Network};
use crate::skip::Skip;
use crate::sys;

/// With so much under way the peer takes all of it: what a fast path has on its way. So many messages are fewer
/// packets than may leave unacknowledged.
const UNDER_WAY_BYTES: u64 = 1 << 20;
const UNDER_WAY_MESSAGES: u64 = 512;
/// Buffers of both ends.
const BUFFER_BYTES: i32 = 32 << 20;
/// How long a peer may take to read or acknowledge what is under way.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// A socket and its peer.
pub(super) struct Road {
    pub(super) lane: Lane,
    pub(super) near: OwnedFd,
    pub(super) clock: Clock,
    far: Far,
    /// What the kernel took since the peer has taken all.
    bytes: u64,
    messages: u64,
}

/// The other end.
enum Far {
    /// Nobody reads what a device drops.
    Nobody,
    /// Reads, and forgets what it reads.
    Reads(OwnedFd),
    /// Acknowledges what leaves our end.
    Acknowledges(Declared),
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
        stay_on_one_processor();
        let setup = Skip::setup("connecting the socket that is sent on");
        let (near, far) = match lane {
            Lane::Loopback => loopback().map(|(near, far)| (near, Far::Reads(far))).map_err(&setup)?,
            Lane::IfbUdp => (Device::make()?.datagrams().map_err(&setup)?, Far::Nobody),
            Lane::RepairTcp => {
                never_repeat();
                let (near, peer) = Declared::connect(&Rc::new(Device::make()?)).map_err(&setup)?;
                (near, Far::Acknowledges(peer))
            }
        };
        widen(&near, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF);
        Ok(Road { lane, near, clock: Clock::default(), far, bytes: 0, messages: 0 })
    }

    /// Whether bytes come without borders.
    pub(super) fn is_stream(&self) -> bool {
        self.lane != Lane::IfbUdp
    }

    /// The kernel took so many bytes more, of so many messages. Once they are many the peer takes all of them.
    pub(super) fn sent(&mut self, bytes: u64, messages: u64) -> io::Result<()> {
        if matches!(self.far, Far::Nobody) {
            return Ok(());
        }
        self.bytes += bytes;
        self.messages += messages;
        if self.bytes < UNDER_WAY_BYTES && self.messages < UNDER_WAY_MESSAGES {
            return Ok(());
        }
        self.drain()
    }

    /// Lets the peer take all that is under way; that costs no time on the clock.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        self.messages = 0;
        if bytes == 0 {
            return Ok(());
        }
        self.clock.stop();
        match &mut self.far {
            Far::Nobody => {}
            Far::Reads(far) => read(far, bytes)?,
            Far::Acknowledges(peer) => acknowledge(&self.near, peer, bytes)?,
        }
        self.clock.start();
        Ok(())
    }
}

/// Reads so many bytes, and says so at once: the kernel would wait for more to say it for.
fn read(far: &OwnedFd, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let most = READ_BYTES.min(left as usize);
        // SAFETY: with MSG_TRUNC a TCP socket writes nothing into the buffer (tcp(7)).
        let got = unsafe { libc::recv(far.as_raw_fd(), ptr::null_mut(), most, libc::MSG_TRUNC) };
        match got {
            1.. => left -= got as u64,
            0 => return Err(io::Error::other("what the kernel took did not come")),
            _ => return Err(io::Error::last_os_error()),
        }
    }
    sys::set_option(far.as_fd(), libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1)
}

/// Acknowledges so many bytes, as they leave.
fn acknowledge(near: &OwnedFd, peer: &mut Declared, bytes: u64) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut left = bytes;
    while left > 0 {
        let patience = sys::left(deadline);
        if patience.is_zero() {
            return Err(io::Error::other("what the kernel took does not leave"));
        }
        left -= peer.acknowledge(near.as_fd(), left, patience)?;
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
    far.set_read_timeout(Some(PATIENCE))?;
    Ok((near.into(), far.into()))
}

/// Makes a buffer large; where that is refused, as large as it may be.
fn widen(fd: &OwnedFd, force: libc::c_int, ask: libc::c_int) {
    if sys::set_option(fd.as_fd(), libc::SOL_SOCKET, force, BUFFER_BYTES).is_err() {
        let _ = sys::set_option(fd.as_fd(), libc::SOL_SOCKET, ask, BUFFER_BYTES);
    }
}

/// A sender that does not get the processor for long would take what was not acknowledged yet for lost, and send less
/// at a time from then on: what follows is queued, joined, and reported as copied. Kernels that do not know one of
/// these do without.
fn never_repeat() {
    for (name, value) in [("tcp_early_retrans", "0"), ("tcp_rto_min_us", "10000000")] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value);
    }
}

/// Keeps this process on the first of the processors that it may use.
fn stay_on_one_processor() {
    // SAFETY: a set of processors is plain integers, for which zeros are a value; the call writes one.
    let mut may: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: `may` has room for what the call writes.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut may) } < 0 {
        return;
    }
    // SAFETY: the numbers are below the size of a set.
    let mut known = (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &may) });
    let Some(cpu) = known.next() else { return };
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the number came from such a set.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: the set is readable during the call. A refusal costs only evenness.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one) };
}
