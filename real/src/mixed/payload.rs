//! What can be lent to the kernel: memory that keeps its address and its contents while nobody but the
//! kernel has it.

use std::fmt;
use std::sync::Arc;

use super::arena::{Arena, Lease, Shared};

/// Bytes to be sent from where they are. They are handed over, and come back when the kernel has let go.
///
/// While they are lent safe code can neither write nor free them. This is what a caller does:
///
/// ```
/// # use uringspec_real::mixed::{LocalRing, Sender, SocketKey};
/// # fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
/// let mut lease = sender.lease(100).expect("there is room");
/// lease[0] = 1;
/// let mut own = vec![0; 100];
/// own.push(1);
/// let shared = sender.lease(100).expect("there is room").share();
/// let _ = sender.send(peer, b"header", lease);
/// let _ = sender.send(peer, b"header", shared.clone());
/// let _ = sender.send(peer, b"header", own);
/// let _first = shared[0];
/// # }
/// ```
///
/// A lease that was sent is not there to be written, nor does a borrow of it outlive that:
///
/// ```compile_fail,E0382
/// # use uringspec_real::mixed::{LocalRing, Sender, SocketKey};
/// # fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
/// let mut lease = sender.lease(100).expect("there is room");
/// let _ = sender.send(peer, b"header", lease);
/// lease[0] = 1;
/// # }
/// ```
/// ```compile_fail,E0505
/// # use uringspec_real::mixed::{LocalRing, Sender, SocketKey};
/// # fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
/// let mut lease = sender.lease(100).expect("there is room");
/// let first = &mut lease[0];
/// let _ = sender.send(peer, b"header", lease);
/// *first = 1;
/// # }
/// ```
///
/// A shared one cannot be written, as a copy of it may be lent:
///
/// ```compile_fail,E0596
/// # use uringspec_real::mixed::{LocalRing, Sender, SocketKey};
/// # fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
/// let mut shared = sender.lease(100).expect("there is room").share();
/// let _ = sender.send(peer, b"header", shared.clone());
/// shared.fill(1);
/// # }
/// ```
///
/// The caller's own memory cannot be grown or freed, and what somebody else may free cannot be lent:
///
/// ```compile_fail,E0382
/// # use uringspec_real::mixed::{LocalRing, Sender, SocketKey};
/// # fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
/// let mut own = vec![0; 100];
/// let _ = sender.send(peer, b"header", own);
/// own.reserve(1000);
/// # }
/// ```
/// ```compile_fail,E0521
/// # use uringspec_real::mixed::{LocalRing, Sender, SocketKey};
/// # fn send(sender: &mut Sender<LocalRing>, peer: SocketKey, borrowed: &[u8]) {
/// let _ = sender.send(peer, b"header", borrowed);
/// # }
/// ```
pub enum Payload {
    /// Memory of the sender's arena (of another one, it counts as plain memory).
    Lease(Lease),
    /// The same, shared with others who read or send it.
    Shared(Shared),
    /// The caller's own memory.
    Vec(Vec<u8>),
    /// The caller's own, shared.
    Arc(Arc<[u8]>),
    /// Memory that is never freed.
    Static(&'static [u8]),
}

impl Payload {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::Lease(lease) => lease,
            Payload::Shared(shared) => shared,
            Payload::Vec(bytes) => bytes,
            Payload::Arc(bytes) => bytes,
            Payload::Static(bytes) => bytes,
        }
    }

    /// How many they are.
    #[inline]
    pub(super) fn len_bytes(&self) -> usize {
        match self {
            Payload::Lease(lease) => lease.len_bytes(),
            Payload::Shared(shared) => shared.lease().len_bytes(),
            Payload::Vec(bytes) => bytes.len(),
            Payload::Arc(bytes) => bytes.len(),
            Payload::Static(bytes) => bytes.len(),
        }
    }

    /// Where the bytes are; they stay there while the payload is moved about.
    #[inline]
    pub(super) fn addr(&self) -> *const u8 {
        match self {
            // not through a reference: the bytes are nobody's to borrow while they are lent
            Payload::Lease(lease) => lease.addr(),
            Payload::Shared(shared) => shared.lease().addr(),
            Payload::Vec(bytes) => bytes.as_ptr(),
            Payload::Arc(bytes) => bytes.as_ptr(),
            Payload::Static(bytes) => bytes.as_ptr(),
        }
    }

    /// Keeps the bytes where they are for ever, since nobody knows when the kernel lets go of them. How many
    /// bytes of the caller's own that leaks.
    pub(super) fn lose(self) -> u64 {
        let len_bytes = self.len_bytes() as u64;
        match self {
            Payload::Lease(lease) => lease.lose(),
            Payload::Shared(shared) => shared.lose(),
            Payload::Static(_) => {}
            Payload::Vec(_) | Payload::Arc(_) => {
                std::mem::forget(self);
                return len_bytes;
            }
        }
        0
    }

    /// Whether the bytes lie in `arena`.
    #[inline]
    pub(super) fn is_of(&self, arena: &Arena) -> bool {
        match self {
            Payload::Lease(lease) => arena.owns(lease),
            Payload::Shared(shared) => arena.owns(shared.lease()),
            Payload::Vec(_) | Payload::Arc(_) | Payload::Static(_) => false,
        }
    }
}

// A payload moves four times from the caller and back; more than this is more than its bytes are worth.
const _: () = assert!(size_of::<Payload>() == 32);

impl From<Lease> for Payload {
    #[inline]
    fn from(lease: Lease) -> Payload {
        Payload::Lease(lease)
    }
}

impl From<Shared> for Payload {
    fn from(shared: Shared) -> Payload {
        Payload::Shared(shared)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload::Vec(bytes)
    }
}

impl From<Box<[u8]>> for Payload {
    fn from(bytes: Box<[u8]>) -> Payload {
        Payload::Vec(bytes.into_vec())
    }
}

impl From<Arc<[u8]>> for Payload {
    fn from(bytes: Arc<[u8]>) -> Payload {
        Payload::Arc(bytes)
    }
}

impl From<&'static [u8]> for Payload {
    fn from(bytes: &'static [u8]) -> Payload {
        Payload::Static(bytes)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Payload::Lease(_) => "Lease",
            Payload::Shared(_) => "Shared",
            Payload::Vec(_) => "Vec",
            Payload::Arc(_) => "Arc",
            Payload::Static(_) => "Static",
        };
        write!(f, "{kind} of {} bytes", self.bytes().len())
    }
}
