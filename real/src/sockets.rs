//! The sockets of a program: pairs over loopback, at the program's own descriptors.

use std::collections::BTreeMap;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use uringspec_model::program::{End, Lane, SocketId, SocketKind, SocketSetup, SocketState, fd_of};

use crate::declared::Declared;
use crate::device::Device;
use crate::namespace::Network;
use crate::skip::Skip;
use crate::sys::{self, check};
use crate::tap::{DatagramTap, Tap};

/// What is asked for where the program says nothing: what every usual `net.core.*mem_max` allows. Asking
/// at all turns off automatic sizing, which would make room a matter of history.
const BUFFER_BYTES: u32 = 212_992;
/// The receive buffer behind a gate; the kernel makes 8192 of it.
const GATE_RCVBUF_BYTES: u32 = 4096;
/// The send buffer that a full gate fills, which takes the longer the larger it is.
const FULL_SNDBUF_BYTES: u32 = 65536;
/// Listeners that are kept; more would be closed and made again.
const LISTENERS_MAX: usize = 32;

/// One socket of a program and its peer.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Family and type.
    pub(crate) kind: SocketKind,
    /// The end that sends, until it is closed.
    pub(crate) near: Option<OwnedFd>,
    /// The end that reads, where there is one, until it is closed.
    pub(crate) far: Option<OwnedFd>,
    /// The peer of a declared connection, until it is reset.
    pub(crate) declared: Option<Declared>,
    /// What hears the bytes of a declared connection leave.
    pub(crate) tap: Option<Tap>,
    /// What hears datagrams leave through the device.
    pub(crate) ear: Option<DatagramTap>,
    /// The far end has so small a receive buffer that its window stays open only a little.
    narrow: bool,
}

/// What is kept from program to program: listening sockets by family and receive buffer, and the device.
#[derive(Debug)]
pub(crate) struct Listeners {
    network: Network,
    open: BTreeMap<(bool, u32), (OwnedFd, Address)>,
    /// Made when it is first needed.
    device: Option<Result<Rc<Device>, Skip>>,
}

/// An IPv4 or IPv6 address with port.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Pair {
    /// Makes a socket and its peer, and places both.
    pub(crate) fn make(id: SocketId, setup: &SocketSetup, listeners: &mut Listeners) -> Result<Pair, Skip> {
        match setup.lane {
            Lane::IfbUdp | Lane::IfbUdpTap => {
                return Pair::through_device(id, setup, listeners.device()?.as_ref());
            }
            Lane::RepairTcp | Lane::RepairTcpTap => return Pair::declare(id, setup, &listeners.device()?),
            Lane::Loopback | Lane::Gate | Lane::GateFull | Lane::Unknown => {}
        }
        let (near, far) =
            make(setup, listeners).map_err(|error| match (error.raw_os_error(), setup.kind) {
                (Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT), SocketKind::Tcp6 | SocketKind::Udp6) => {
                    Skip::Missing("IPv6 on the loopback device".into())
                }
                _ => Skip::setup("making a socket")(error),
            })?;
        let near = place(near, id, End::Near)?;
        let far = far.map(|far| place(far, id, End::Far)).transpose()?;
        let narrow = is_tcp(setup.kind) && rcvbuf_of(setup) < BUFFER_BYTES;
        Ok(Pair { kind: setup.kind, near: Some(near), far, declared: None, tap: None, ear: None, narrow })
    }

    /// A datagram socket whose datagrams end in the device.
    fn through_device(id: SocketId, setup: &SocketSetup, device: &Device) -> Result<Pair, Skip> {
        let near = device.datagrams().map_err(Skip::setup("making a socket"))?;
        let sndbuf = setup.sndbuf_bytes.unwrap_or(BUFFER_BYTES);
        set_buffer(&near, libc::SO_SNDBUF, sndbuf).map_err(Skip::setup("sizing a socket"))?;
        let ear = setup.lane.is_tapped().then(|| DatagramTap::open(device, &near)).transpose();
        let ear = ear.map_err(Skip::setup("listening to the device"))?;
        let near = Some(place(near, id, End::Near)?);
        Ok(Pair { kind: setup.kind, near, far: None, declared: None, tap: None, ear, narrow: false })
    }

    /// A connection that was never made, and nobody at its other end.
    fn declare(id: SocketId, setup: &SocketSetup, device: &Rc<Device>) -> Result<Pair, Skip> {
        let (near, declared) = Declared::connect(device).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => Skip::Missing(
                "CAP_NET_ADMIN in a network namespace of its own, without which a connection cannot be \
                     declared (TCP_REPAIR)"
                    .into(),
            ),
            _ => Skip::setup("declaring a connection")(error),
        })?;
        let sndbuf = setup.sndbuf_bytes.unwrap_or(BUFFER_BYTES);
        set_buffer(&near, libc::SO_SNDBUF, sndbuf).map_err(Skip::setup("sizing a socket"))?;
        let tap = setup.lane.is_tapped().then(|| Tap::open(&declared)).transpose();
        let tap = tap.map_err(Skip::setup("listening to the device"))?;
        let near = Some(place(near, id, End::Near)?);
        Ok(Pair {
            kind: setup.kind,
            near,
            far: None,
            declared: Some(declared),
            tap,
            ear: None,
            narrow: false,
        })
    }

    /// What is to be read before anything is seen of what was sent.
    pub(crate) fn reader(&self) -> Option<BorrowedFd<'_>> {
        self.far.as_ref().map(AsFd::as_fd).or(self.ear.as_ref().map(DatagramTap::as_fd))
    }

    /// Whether bytes come without borders.
    pub(crate) fn is_stream(&self) -> bool {
        is_tcp(self.kind) || self.kind == SocketKind::UnixStream
    }

    /// Whether this is TCP.
    pub(crate) fn is_tcp(&self) -> bool {
        is_tcp(self.kind)
    }

    /// Gives a narrow far end a window as others have, before it reads for the first time. Otherwise a
    /// window that is smaller than a packet, as small zero-copy sends can make it, lets a packet through
    /// only every 200 ms.
    pub(crate) fn widen(&mut self) {
        if let Some(far) = self.far.as_ref().filter(|_| self.narrow) {
            let size = BUFFER_BYTES as i32;
            let _ = sys::set_option(far.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, size);
            let _ = sys::set_option(far.as_fd(), libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, 2 * size);
        }
        self.narrow = false;
    }

    /// Closes the far end so that a TCP peer gets a reset: it has `SO_LINGER` from its listener. A declared
    /// peer says so; false if that was not heard.
    pub(crate) fn reset_far(&mut self, patience: Duration) -> bool {
        self.far = None;
        self.tap = None;
        match (self.declared.take(), &self.near) {
            (Some(mut peer), Some(near)) => peer.reset(near.as_fd(), patience).unwrap_or(false),
            _ => true,
        }
    }

    /// Ends both ends, leaving nothing behind in the kernel.
    pub(crate) fn end(&mut self) {
        if !self.reset_far(END_PATIENCE)
            && let Some(near) = &self.near
        {
            // In repair it is forgotten when it is closed.
            let _ = sys::set_option(near.as_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, 1);
        }
        self.near = None;
    }
}

/// How long a declared connection may take to end.
const END_PATIENCE: Duration = Duration::from_millis(200);

const RESET_ON_CLOSE: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };

/// Whether the kind is TCP.
pub(crate) fn is_tcp(kind: SocketKind) -> bool {
    matches!(kind, SocketKind::Tcp4 | SocketKind::Tcp6)
}

fn place(fd: OwnedFd, id: SocketId, end: End) -> Result<OwnedFd, Skip> {
    sys::place(fd, fd_of(id, end)).map_err(Skip::setup("placing a socket"))
}

fn make(setup: &SocketSetup, listeners: &mut Listeners) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    let connected = setup.state == SocketState::Connected;
    let v6 = matches!(setup.kind, SocketKind::Tcp6 | SocketKind::Udp6);
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let sndbuf = setup.sndbuf_bytes.unwrap_or(match setup.lane {
        Lane::GateFull => FULL_SNDBUF_BYTES,
        _ => BUFFER_BYTES,
    });
    match setup.kind {
        SocketKind::Tcp4 | SocketKind::Tcp6 => {
            let near = sys::socket(family, libc::SOCK_STREAM)?;
            // The default may pace. A kernel without reno does not exist; a refusal costs only speed.
            let _ = sys::set_option(near.as_fd(), libc::IPPROTO_TCP, libc::TCP_CONGESTION, *b"reno");
            sys::set_option(near.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
            set_buffer(&near, libc::SO_SNDBUF, sndbuf)?;
            if !connected {
                return Ok((near, None));
            }
            let far = listeners.connect(&near, v6, rcvbuf_of(setup))?;
            Ok((near, Some(far)))
        }
        SocketKind::Udp4 | SocketKind::Udp6 => {
            let near = sys::socket(family, libc::SOCK_DGRAM)?;
            set_buffer(&near, libc::SO_SNDBUF, sndbuf)?;
            if !connected {
                return Ok((near, None));
            }
            let far = sys::socket(family, libc::SOCK_DGRAM)?;
            set_buffer(&far, libc::SO_RCVBUF, rcvbuf_of(setup))?;
            join(v6, &near, &far)?;
            Ok((near, Some(far)))
        }
        SocketKind::UnixStream if connected => {
            let (near, far) = sys::unix_pair()?;
            set_buffer(&near, libc::SO_SNDBUF, sndbuf)?;
            Ok((near, Some(far)))
        }
        SocketKind::UnixStream => Ok((sys::socket(libc::AF_UNIX, libc::SOCK_STREAM)?, None)),
        SocketKind::NotASocket => Ok((sys::eventfd()?, None)),
    }
}

/// Two connected datagram sockets over IPv4.
pub(crate) fn udp_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let near = sys::socket(libc::AF_INET, libc::SOCK_DGRAM)?;
    let far = sys::socket(libc::AF_INET, libc::SOCK_DGRAM)?;
    join(false, &near, &far)?;
    Ok((near, far))
}

/// Connects two datagram sockets to each other, so that neither hears anybody else.
fn join(v6: bool, near: &OwnedFd, far: &OwnedFd) -> io::Result<()> {
    Address::loopback(v6).bind(far)?;
    Address::of(far)?.connect(near)?;
    Address::of(near)?.connect(far)
}

/// `SO_RCVBUF` of the far end.
fn rcvbuf_of(setup: &SocketSetup) -> u32 {
    setup.rcvbuf_bytes.unwrap_or(match setup.lane {
        Lane::Gate | Lane::GateFull => GATE_RCVBUF_BYTES,
        _ => BUFFER_BYTES,
    })
}

fn set_buffer(fd: &OwnedFd, which: libc::c_int, bytes: u32) -> io::Result<()> {
    sys::set_option(fd.as_fd(), libc::SOL_SOCKET, which, i32::try_from(bytes).unwrap_or(i32::MAX))
}

impl Listeners {
    /// None yet.
    pub(crate) fn new(network: Network) -> Listeners {
        Listeners { network, open: BTreeMap::new(), device: None }
    }

    fn device(&mut self) -> Result<Rc<Device>, Skip> {
        let network = self.network;
        let make = || match network {
            Network::Own => Device::make().map(Rc::new),
            Network::Host => Err(Skip::Missing(
                "a network namespace, without which there is no device of our own; allow unprivileged user \
                 namespaces or run as root"
                    .into(),
            )),
        };
        self.device.get_or_insert_with(make).clone()
    }

    /// Connects `near` and returns the accepted end.
    fn connect(&mut self, near: &OwnedFd, v6: bool, rcvbuf: u32) -> io::Result<OwnedFd> {
        if self.open.len() >= LISTENERS_MAX && !self.open.contains_key(&(v6, rcvbuf)) {
            self.open.clear();
        }
        let (listener, address) = match self.open.entry((v6, rcvbuf)) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(listen(v6, rcvbuf)?),
        };
        address.connect(near)?;
        loop {
            let flags = libc::SOCK_CLOEXEC;
            let (no_address, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: both pointers may be null, which means that the address is not asked for.
            let fd = unsafe { libc::accept4(listener.as_raw_fd(), no_address, no_len, flags) };
            let fd = match check(fd) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            // SAFETY: the descriptor was just made, so nobody else owns it.
            let far = unsafe { OwnedFd::from_raw_fd(fd) };
            // On the host's own loopback anybody could have connected.
            let same = || Ok::<_, io::Error>(Address::peer_of(&far)?.port() == Address::of(near)?.port());
            if self.network == Network::Own || same()? {
                return Ok(far);
            }
        }
    }
}

fn listen(v6: bool, rcvbuf: u32) -> io::Result<(OwnedFd, Address)> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let listener = sys::socket(family, libc::SOCK_STREAM)?;
    // Accepted sockets inherit both. The buffer has to be small before the connection is made, since the
    // window that was once offered is not taken back.
    set_buffer(&listener, libc::SO_RCVBUF, rcvbuf)?;
    sys::set_option(listener.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, RESET_ON_CLOSE)?;
    Address::loopback(v6).bind(&listener)?;
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::listen(listener.as_raw_fd(), 64) })?;
    let address = Address::of(&listener)?;
    Ok((listener, address))
}

impl Address {
    fn loopback(v6: bool) -> Address {
        // SAFETY: an address structure is plain integers, for which zeros are a value.
        let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
        let at = &raw mut storage;
        let len = if v6 {
            let mut address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
                sin6_scope_id: 0,
            };
            address.sin6_addr.s6_addr[15] = 1;
            // SAFETY: the storage is large and aligned enough for every address.
            unsafe { at.cast::<libc::sockaddr_in6>().write(address) };
            size_of::<libc::sockaddr_in6>()
        } else {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: 0,
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large and aligned enough for every address.
            unsafe { at.cast::<libc::sockaddr_in>().write(address) };
            size_of::<libc::sockaddr_in>()
        };
        Address { storage, len: len as libc::socklen_t }
    }

    /// An IPv4 address.
    pub(crate) fn v4(host: [u8; 4], port: u16) -> Address {
        let mut address = Address::loopback(false);
        let in4 = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(host) },
            sin_zero: [0; 8],
        };
        // SAFETY: the storage is large and aligned enough for every address.
        unsafe { (&raw mut address.storage).cast::<libc::sockaddr_in>().write(in4) };
        address
    }

    /// The address as system calls take it; it lives as long as `self`.
    pub(crate) fn as_raw(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.len)
    }

    /// The address of this end.
    pub(crate) fn of(fd: &OwnedFd) -> io::Result<Address> {
        Address::asked(fd, libc::getsockname)
    }

    fn peer_of(fd: &OwnedFd) -> io::Result<Address> {
        Address::asked(fd, libc::getpeername)
    }

    fn asked(
        fd: &OwnedFd,
        call: unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int,
    ) -> io::Result<Address> {
        // SAFETY: an address structure is plain integers, for which zeros are a value.
        let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
        let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: both calls write an address of at most `len` bytes, for which there is room, and `len`.
        check(unsafe { call(fd.as_raw_fd(), (&raw mut storage).cast(), &raw mut len) })?;
        Ok(Address { storage, len })
    }

    fn bind(&self, fd: &OwnedFd) -> io::Result<()> {
        // SAFETY: the storage is readable for `len` bytes.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const self.storage).cast(), self.len) })?;
        Ok(())
    }

    pub(crate) fn connect(&self, fd: &OwnedFd) -> io::Result<()> {
        // SAFETY: the storage is readable for `len` bytes.
        check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const self.storage).cast(), self.len) })?;
        Ok(())
    }

    /// The port, which stands at the same place in both families.
    pub(crate) fn port(&self) -> u16 {
        // SAFETY: the storage is large and aligned enough for every address, and any bytes are one.
        let v4 = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in>().read() };
        u16::from_be(v4.sin_port)
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "port {}", self.port())
    }
}
