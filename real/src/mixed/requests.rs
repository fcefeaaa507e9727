//! The requests that have completions to come, and what their entries point to.

use std::mem::zeroed;
use std::net::SocketAddr;
use std::ptr::{self, NonNull};

use super::ways::Targets;

/// What an entry points to. It has an address of its own, since the kernel may read it.
pub(super) struct Parts {
    header: libc::msghdr,
    pub(super) iovecs: Vec<libc::iovec>,
    name: libc::sockaddr_storage,
    control: Control,
}

/// A control message that says into how long pieces a datagram is cut.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    segment_bytes: u16,
}

/// `CMSG_LEN` of two bytes, and `CMSG_SPACE`.
const CONTROL_LEN: usize = size_of::<libc::cmsghdr>() + size_of::<u16>();
const CONTROL_SPACE: usize = size_of::<Control>();

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// The connection, by index.
    pub(super) connection: u32,
    /// Messages that it really carries.
    pub(super) messages: u32,
    /// The first of them.
    pub(super) first: u64,
    /// Numbers from `first` on, withdrawn ones among them.
    pub(super) span: u64,
    pub(super) len_bytes: u64,
    pub(super) is_zero_copy: bool,
    /// Nothing was lent on its connection when it was made, so what its notification says is its own.
    pub(super) begins_alone: bool,
    /// Its result came, and a notification is to come.
    pub(super) has_result: bool,
    /// What its entry points to beside memory, until it has its result.
    pub(super) parts: Option<u32>,
    /// When it was made, on the clock of `tick`.
    pub(super) since: u64,
}

impl Request {
    /// Whether it carries all messages of its numbers.
    #[inline]
    pub(super) fn has_no_gaps(&self) -> bool {
        u64::from(self.messages) == self.span
    }
}

struct Place {
    generation: u32,
    request: Option<Request>,
}

/// All requests. Places are used again, each time with another generation; so are parts, as soon as a request
/// has its result, since the kernel reads them no more.
pub(super) struct Requests {
    places: Vec<Place>,
    free: Vec<u32>,
    parts: Vec<NonNull<Parts>>,
    free_parts: Vec<u32>,
}

/// Bits of a generation in user data.
const GENERATION_MASK: u32 = 0xff_ffff;

// SAFETY: the parts belong to the requests that point to them, and to nobody else.
unsafe impl Send for Requests {}

impl Requests {
    pub(super) fn new() -> Requests {
        Requests { places: Vec::new(), free: Vec::new(), parts: Vec::new(), free_parts: Vec::new() }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Parts that no request refers to; they stay free until `take_parts`.
    #[inline]
    pub(super) fn parts(&mut self) -> &mut Parts {
        let index = match self.free_parts.last() {
            Some(index) => *index,
            None => self.more_parts(),
        };
        // SAFETY: parts are freed when all requests are; these are free, so nobody refers to them but this
        // value, which is borrowed exclusively.
        unsafe { self.parts[index as usize].as_mut() }
    }

    #[cold]
    fn more_parts(&mut self) -> u32 {
        // SAFETY: all are plain integers and pointers, for which zeros are a value.
        let (header, name, control) = unsafe { (zeroed(), zeroed(), zeroed()) };
        let parts = Box::new(Parts { header, iovecs: Vec::new(), name, control });
        let index = self.parts.len() as u32;
        self.parts.push(NonNull::from(Box::leak(parts)));
        self.free_parts.push(index);
        index
    }

    /// The parts that `parts` gives belong to a request now.
    #[inline]
    pub(super) fn take_parts(&mut self) -> Option<u32> {
        self.free_parts.pop()
    }

    /// A request has its result: the kernel has read its parts.
    #[inline]
    pub(super) fn free_parts(&mut self, index: Option<u32>) {
        self.free_parts.extend(index);
    }

    /// Takes a place for a request: what its entry carries as user data, below `tag`.
    #[inline]
    pub(super) fn add(&mut self, request: Request) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, request: None });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        place.request = Some(request);
        u64::from(place.generation) << 32 | u64::from(index)
    }

    /// The request that a completion belongs to.
    #[inline]
    pub(super) fn find(&mut self, user_data: u64) -> Option<(u32, &mut Request)> {
        let index = user_data as u32;
        let place = self.places.get_mut(index as usize)?;
        let same = place.generation == (user_data >> 32) as u32 & GENERATION_MASK;
        place.request.as_mut().filter(|_| same).map(|request| (index, request))
    }

    /// The request is over.
    #[inline]
    pub(super) fn free(&mut self, index: u32) {
        let Some(place) = self.places.get_mut(index as usize) else { return };
        let Some(request) = place.request.take() else { return };
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.free.push(index);
        self.free_parts(request.parts);
    }

    /// Every request with its user data.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Request)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let request = place.request.as_ref()?;
            Some((u64::from(place.generation) << 32 | index as u64, request))
        })
    }
}

impl Parts {
    /// Writes the message header: its address.
    pub(super) fn write_header(&mut self, to: Option<SocketAddr>, segment_bytes: Option<u16>) -> u64 {
        let (name, name_len) = match to {
            Some(to) => {
                let len = write_name(&mut self.name, to);
                (ptr::from_mut(&mut self.name).cast(), len)
            }
            None => (ptr::null_mut(), 0),
        };
        let (control, control_len) = match segment_bytes {
            Some(segment_bytes) => {
                let (level, kind) = (libc::SOL_UDP, libc::UDP_SEGMENT);
                let header = libc::cmsghdr { cmsg_len: CONTROL_LEN, cmsg_level: level, cmsg_type: kind };
                self.control = Control { header, segment_bytes };
                (ptr::from_mut(&mut self.control).cast(), CONTROL_SPACE)
            }
            None => (ptr::null_mut(), 0),
        };
        self.header.msg_name = name;
        self.header.msg_namelen = name_len;
        self.header.msg_control = control;
        self.header.msg_controllen = control_len;
        self.header.msg_iov = self.iovecs.as_mut_ptr();
        self.header.msg_iovlen = self.iovecs.len();
        (&raw const self.header).expose_provenance() as u64
    }

    /// Where its iovecs are, and the first byte of what they say.
    #[inline]
    pub(super) fn targets(&self) -> Targets {
        Targets {
            header: 0,
            iovecs: self.iovecs.as_ptr().expose_provenance() as u64,
            first: self.iovecs.first().map_or(0, |iovec| iovec.iov_base.expose_provenance() as u64),
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        for index in &self.free_parts {
            // SAFETY: the parts were leaked from a box by `more_parts`, and none that is free is so twice.
            // No entry refers to them. An entry without a result may not even have been read: its parts are
            // not free, and stay.
            drop(unsafe { Box::from_raw(self.parts[*index as usize].as_ptr()) });
        }
    }
}

fn write_name(storage: &mut libc::sockaddr_storage, to: SocketAddr) -> libc::socklen_t {
    match to {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is larger than, and aligned for, every kind of address.
            unsafe { ptr::from_mut(storage).cast::<libc::sockaddr_in>().write(name) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { ptr::from_mut(storage).cast::<libc::sockaddr_in6>().write(name) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}
