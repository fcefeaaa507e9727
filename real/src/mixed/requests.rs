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
    /// When it was made, on the clock of `tick`.
    pub(super) since: u64,
}

struct Place {
    generation: u32,
    request: Option<Request>,
    parts: NonNull<Parts>,
}

/// All requests. Places are used again, each time with another generation.
pub(super) struct Requests {
    places: Vec<Place>,
    free: Vec<u32>,
}

/// Bits of a generation in user data.
const GENERATION_MASK: u32 = 0xff_ffff;

// SAFETY: the parts belong to the places that point to them, and to nobody else.
unsafe impl Send for Requests {}

impl Requests {
    pub(super) fn new() -> Requests {
        Requests { places: Vec::new(), free: Vec::new() }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// A place for one more request; it counts as taken once `fill` was called.
    #[inline]
    pub(super) fn place(&mut self) -> u32 {
        if let Some(index) = self.free.last() {
            return *index;
        }
        // SAFETY: all are plain integers and pointers, for which zeros are a value.
        let (header, name, control) = unsafe { (zeroed(), zeroed(), zeroed()) };
        let parts = Box::new(Parts { header, iovecs: Vec::new(), name, control });
        let index = self.places.len() as u32;
        let parts = NonNull::from(Box::leak(parts));
        self.places.push(Place { generation: 0, request: None, parts });
        self.free.push(index);
        index
    }

    /// The iovecs of a place that is free.
    #[inline]
    pub(super) fn iovecs(&mut self, index: u32) -> &mut Vec<libc::iovec> {
        let place = &mut self.places[index as usize];
        assert!(place.request.is_none(), "the kernel may read what a request points to");
        // SAFETY: the place owns its parts and is borrowed exclusively; no request refers to them.
        unsafe { &mut place.parts.as_mut().iovecs }
    }

    /// Writes the message header of a place that is free: its address.
    pub(super) fn write_header(
        &mut self,
        index: u32,
        to: Option<SocketAddr>,
        segment_bytes: Option<u16>,
    ) -> u64 {
        let place = &mut self.places[index as usize];
        assert!(place.request.is_none(), "the kernel may read what a request points to");
        // SAFETY: as in `iovecs`.
        let parts = unsafe { place.parts.as_mut() };
        let (name, name_len) = match to {
            Some(to) => {
                let len = write_name(&mut parts.name, to);
                (ptr::from_mut(&mut parts.name).cast(), len)
            }
            None => (ptr::null_mut(), 0),
        };
        let (control, control_len) = match segment_bytes {
            Some(segment_bytes) => {
                let (level, kind) = (libc::SOL_UDP, libc::UDP_SEGMENT);
                let header = libc::cmsghdr { cmsg_len: CONTROL_LEN, cmsg_level: level, cmsg_type: kind };
                parts.control = Control { header, segment_bytes };
                (ptr::from_mut(&mut parts.control).cast(), CONTROL_SPACE)
            }
            None => (ptr::null_mut(), 0),
        };
        parts.header.msg_name = name;
        parts.header.msg_namelen = name_len;
        parts.header.msg_control = control;
        parts.header.msg_controllen = control_len;
        parts.header.msg_iov = parts.iovecs.as_mut_ptr();
        parts.header.msg_iovlen = parts.iovecs.len();
        (&raw const parts.header).expose_provenance() as u64
    }

    /// The first byte of what the iovecs of a place say, and where they are.
    #[inline]
    pub(super) fn targets(&mut self, index: u32) -> Targets {
        let iovecs = self.iovecs(index);
        Targets {
            header: 0,
            iovecs: iovecs.as_ptr().expose_provenance() as u64,
            first: iovecs.first().map_or(0, |iovec| iovec.iov_base.expose_provenance() as u64),
        }
    }

    /// The place that `place` found is taken: what the entry carries as user data, below `tag`.
    #[inline]
    pub(super) fn fill(&mut self, index: u32, request: Request) -> u64 {
        let last = self.free.pop();
        assert_eq!(last, Some(index), "the place that was found last is filled next");
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
    pub(super) fn free(&mut self, index: u32) -> Option<Request> {
        let place = self.places.get_mut(index as usize)?;
        let request = place.request.take()?;
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.free.push(index);
        Some(request)
    }

    /// Every request with its user data.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Request)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let request = place.request.as_ref()?;
            Some((u64::from(place.generation) << 32 | index as u64, request))
        })
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        for place in &self.places {
            // An entry without a result may not even have been read.
            if place.request.is_none_or(|request| request.has_result) {
                // SAFETY: the parts were leaked from a box by `place`, and no request refers to them: none
                // is there, or the kernel has read them to make its result.
                drop(unsafe { Box::from_raw(place.parts.as_ptr()) });
            }
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
