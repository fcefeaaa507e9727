//! Calls to register: tables, restrictions, cancels.

use std::mem::size_of;
use std::ptr::null;

use uringspec_model::program::{Iovec, Restriction};

use super::Ring;

/// Operations of `enum io_uring_register_op`.
const IORING_REGISTER_BUFFERS: libc::c_uint = 0;
const IORING_UNREGISTER_BUFFERS: libc::c_uint = 1;
const IORING_REGISTER_FILES: libc::c_uint = 2;
const IORING_UNREGISTER_FILES: libc::c_uint = 3;
const IORING_REGISTER_RESTRICTIONS: libc::c_uint = 11;
const IORING_REGISTER_ENABLE_RINGS: libc::c_uint = 12;
const IORING_REGISTER_BUFFERS2: libc::c_uint = 15;
const IORING_REGISTER_BUFFERS_UPDATE: libc::c_uint = 16;
const IORING_REGISTER_SYNC_CANCEL: libc::c_uint = 24;
/// `IORING_RSRC_REGISTER_SPARSE`.
const IORING_RSRC_REGISTER_SPARSE: u32 = 1;
/// `IORING_ASYNC_CANCEL_ANY`.
const ASYNC_CANCEL_ANY: u32 = 4;

impl Ring {
    /// Registers buffers: zero, or a negated errno.
    pub(crate) fn register_buffers(&mut self, iovecs: &[Iovec]) -> i64 {
        let raw = raw_iovecs(iovecs);
        // SAFETY: the iovecs live through the call. The kernel pins the pages itself; they lie in the window,
        // which outlives the ring, and a later mapping over them leaves the pinned pages alone.
        let returned =
            unsafe { self.raw.register(IORING_REGISTER_BUFFERS, raw.as_ptr().cast(), raw.len() as u32) };
        self.has_buffers |= returned >= 0;
        returned
    }

    /// Registers a table of empty entries: zero, or a negated errno.
    pub(crate) fn register_sparse(&mut self, count: u32) -> i64 {
        let table = RsrcRegister { count, flags: IORING_RSRC_REGISTER_SPARSE, resv2: 0, data: 0, tags: 0 };
        let at = (&raw const table).cast();
        // SAFETY: the structure has the kernel's layout (asserted below) and lives through the call.
        let returned =
            unsafe { self.raw.register(IORING_REGISTER_BUFFERS2, at, size_of::<RsrcRegister>() as u32) };
        self.has_buffers |= returned >= 0;
        returned
    }

    /// Replaces entries of the table: how many, or a negated errno.
    pub(crate) fn update_buffers(&mut self, offset: u32, iovecs: &[Iovec]) -> i64 {
        let raw = raw_iovecs(iovecs);
        let data = raw.as_ptr().expose_provenance() as u64;
        let update = RsrcUpdate2 { offset, resv: 0, data, tags: 0, nr: raw.len() as u32, resv2: 0 };
        let at = (&raw const update).cast();
        // SAFETY: the structure has the kernel's layout (asserted below), and it and the iovecs live
        // through the call; the pages are pinned as those of `register_buffers` are.
        unsafe { self.raw.register(IORING_REGISTER_BUFFERS_UPDATE, at, size_of::<RsrcUpdate2>() as u32) }
    }

    /// Registers files: zero, or a negated errno.
    pub(crate) fn register_files(&mut self, files: &[i32]) -> i64 {
        // SAFETY: the array lives through the call, which only reads it.
        unsafe { self.raw.register(IORING_REGISTER_FILES, files.as_ptr().cast(), files.len() as u32) }
    }

    /// Unregisters files: zero, or a negated errno.
    pub(crate) fn unregister_files(&mut self) -> i64 {
        // SAFETY: the operation takes no argument.
        unsafe { self.raw.register(IORING_UNREGISTER_FILES, null(), 0) }
    }

    /// Enables a ring that was made disabled: zero, or a negated errno.
    pub(crate) fn enable(&mut self) -> i64 {
        // SAFETY: the operation takes no argument.
        unsafe { self.raw.register(IORING_REGISTER_ENABLE_RINGS, null(), 0) }
    }

    /// Cancels by user data: zero, or a negated errno. What it finds has ended when it returns.
    pub(crate) fn cancel(&mut self, user_data: u64) -> i64 {
        let one = SyncCancel { user_data, fd: -1, seconds: -1, nanoseconds: -1, ..SyncCancel::default() };
        let at = (&raw const one).cast();
        // SAFETY: the structure has the kernel's layout (asserted below) and lives through the call.
        unsafe { self.raw.register(IORING_REGISTER_SYNC_CANCEL, at, 1) }
    }

    /// Restricts what the ring may do once it is enabled: zero, or a negated errno.
    pub(crate) fn restrict(&mut self, list: &[Restriction]) -> i64 {
        let raw: Vec<RawRestriction> = list.iter().map(RawRestriction::of).collect();
        // SAFETY: the structures have the kernel's layout (asserted below) and live through the call.
        unsafe { self.raw.register(IORING_REGISTER_RESTRICTIONS, raw.as_ptr().cast(), raw.len() as u32) }
    }

    /// Unregisters buffers: zero, or a negated errno.
    pub(crate) fn unregister_buffers(&mut self) -> i64 {
        // SAFETY: the operation takes no argument.
        let returned = unsafe { self.raw.register(IORING_UNREGISTER_BUFFERS, null(), 0) };
        self.has_buffers &= returned < 0;
        returned
    }

    /// Cancels all, and waits for what another thread runs. Before 6.0 there is no such call, and nothing else that
    /// waits.
    pub(super) fn cancel_all(&self) {
        let all = SyncCancel { fd: -1, flags: ASYNC_CANCEL_ANY, seconds: 1, ..SyncCancel::default() };
        let at = (&raw const all).cast();
        // SAFETY: the structure has the kernel's layout (asserted below) and lives through the call.
        unsafe { self.raw.register(IORING_REGISTER_SYNC_CANCEL, at, 1) };
    }
}

/// `struct io_uring_rsrc_register`.
#[repr(C)]
struct RsrcRegister {
    count: u32,
    flags: u32,
    resv2: u64,
    data: u64,
    tags: u64,
}
const _: () = assert!(size_of::<RsrcRegister>() == 32);

/// `struct io_uring_sync_cancel_reg`, its timeout as two numbers.
#[repr(C)]
#[derive(Default)]
struct SyncCancel {
    user_data: u64,
    fd: i32,
    flags: u32,
    seconds: i64,
    nanoseconds: i64,
    opcode_and_pad: u64,
    pad2: [u64; 3],
}
const _: () = assert!(size_of::<SyncCancel>() == 64);

/// `struct io_uring_restriction`.
#[repr(C)]
struct RawRestriction {
    kind: u16,
    value: u8,
    resv: u8,
    resv2: [u32; 3],
}
const _: () = assert!(size_of::<RawRestriction>() == 16);

impl RawRestriction {
    /// The kinds are those of `enum io_uring_register_restriction_op`.
    fn of(one: &Restriction) -> RawRestriction {
        let (kind, value) = match *one {
            Restriction::Call(number) => (0, number),
            Restriction::Op(opcode) => (1, opcode),
            Restriction::Flags(flags) => (2, flags),
            Restriction::Must(flags) => (3, flags),
        };
        RawRestriction { kind, value, resv: 0, resv2: [0; 3] }
    }
}

/// `struct io_uring_rsrc_update2`.
#[repr(C)]
struct RsrcUpdate2 {
    offset: u32,
    resv: u32,
    data: u64,
    tags: u64,
    nr: u32,
    resv2: u32,
}
const _: () = assert!(size_of::<RsrcUpdate2>() == 32);

fn raw_iovecs(iovecs: &[Iovec]) -> Vec<libc::iovec> {
    let raw = |iovec: &Iovec| libc::iovec {
        iov_base: std::ptr::without_provenance_mut(iovec.addr as usize),
        iov_len: iovec.len_bytes as usize,
    };
    iovecs.iter().map(raw).collect()
}
