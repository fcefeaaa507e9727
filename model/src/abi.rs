//! Numbers of the ABI: opcodes, flags, errnos, each under its name in the kernel headers.
//!
//! Source: `linux/io_uring.h`, `linux/socket.h`, `asm-generic/errno*.h` on x86-64.

/// Declares a table of named numbers with look-up in both directions.
macro_rules! names {
    ($(#[$doc:meta])* $table:ident: $ty:ty { $($name:ident = $value:expr,)* }) => {
        $(#[doc = concat!("`", stringify!($name), "` of the kernel header.")]
          pub const $name: $ty = $value;)*
        $(#[$doc])*
        pub const $table: &[(&str, $ty)] = &[$((stringify!($name), $name),)*];
    };
}

/// Opcodes of submission queue entries (`enum io_uring_op`).
pub mod op {
    names! {
        /// Every opcode known up to 7.3, in the order of its number.
        NAMES: u8 {
            NOP = 0, READV = 1, WRITEV = 2, FSYNC = 3, READ_FIXED = 4, WRITE_FIXED = 5, POLL_ADD = 6,
            POLL_REMOVE = 7, SYNC_FILE_RANGE = 8, SENDMSG = 9, RECVMSG = 10, TIMEOUT = 11,
            TIMEOUT_REMOVE = 12, ACCEPT = 13, ASYNC_CANCEL = 14, LINK_TIMEOUT = 15, CONNECT = 16,
            FALLOCATE = 17, OPENAT = 18, CLOSE = 19, FILES_UPDATE = 20, STATX = 21, READ = 22,
            WRITE = 23, FADVISE = 24, MADVISE = 25, SEND = 26, RECV = 27, OPENAT2 = 28,
            EPOLL_CTL = 29, SPLICE = 30, PROVIDE_BUFFERS = 31, REMOVE_BUFFERS = 32, TEE = 33,
            SHUTDOWN = 34, RENAMEAT = 35, UNLINKAT = 36, MKDIRAT = 37, SYMLINKAT = 38, LINKAT = 39,
            MSG_RING = 40, FSETXATTR = 41, SETXATTR = 42, FGETXATTR = 43, GETXATTR = 44, SOCKET = 45,
            URING_CMD = 46, SEND_ZC = 47, SENDMSG_ZC = 48, READ_MULTISHOT = 49, WAITID = 50,
            FUTEX_WAIT = 51, FUTEX_WAKE = 52, FUTEX_WAITV = 53, FIXED_FD_INSTALL = 54, FTRUNCATE = 55,
            BIND = 56, LISTEN = 57, RECV_ZC = 58, EPOLL_WAIT = 59, READV_FIXED = 60,
            WRITEV_FIXED = 61, PIPE = 62, NOP128 = 63, URING_CMD128 = 64,
        }
    }
}

/// Flags of a submission queue entry (`IOSQE_*`).
pub mod sqe_flag {
    names! {
        /// Every flag that a kernel up to 7.3 knows; bit 7 is unknown to all of them.
        NAMES: u8 {
            FIXED_FILE = 1, DRAIN = 2, LINK = 4, HARDLINK = 8, ASYNC = 16, BUFFER_SELECT = 32,
            CQE_SKIP_SUCCESS = 64,
        }
    }
}

/// Flags that sends read from `ioprio` (`IORING_RECVSEND_*`, `IORING_SEND_*`).
pub mod send_flag {
    names! {
        /// Every flag up to 7.3, and the one that the proposal adds.
        NAMES: u16 {
            POLL_FIRST = 1, MULTISHOT = 2, FIXED_BUF = 4, REPORT_USAGE = 8, BUNDLE = 16,
            VECTORIZED = 32, PER_IOVEC = 64,
        }
    }
}

/// Flags of one element of a mixed send, as the proposal has them.
pub mod element_flag {
    names! {
        /// Every flag.
        NAMES: u16 { ZC = 1, FIXED = 2, }
    }
}

/// Flags of a send call (`MSG_*`), as far as sends read them.
pub mod msg {
    names! {
        /// The flags that a case may name.
        NAMES: u32 {
            OOB = 0x1, DONTROUTE = 0x4, DONTWAIT = 0x40, EOR = 0x80, WAITALL = 0x100,
            CONFIRM = 0x800, NOSIGNAL = 0x4000, MORE = 0x8000, ZEROCOPY = 0x400_0000,
            FASTOPEN = 0x2000_0000,
        }
    }
}

/// Flags of a read or write (`RWF_*`).
pub mod rwf {
    names! {
        /// Every flag that 6.18 knows.
        NAMES: u32 {
            HIPRI = 1, DSYNC = 2, SYNC = 4, NOWAIT = 8, APPEND = 0x10, NOAPPEND = 0x20, ATOMIC = 0x40,
            DONTCACHE = 0x80, NOSIGNAL = 0x100,
        }
    }
}

/// Flags of a nop (`IORING_NOP_*`).
pub mod nop_flag {
    names! {
        /// Every flag that 6.18 knows.
        NAMES: u32 {
            INJECT_RESULT = 1, FILE = 2, FIXED_FILE = 4, FIXED_BUFFER = 8, TW = 0x10, CQE32 = 0x20,
        }
    }
}

/// Flags of a cancel (`IORING_ASYNC_CANCEL_*`).
pub mod cancel_flag {
    names! {
        /// Every flag since 6.6.
        NAMES: u32 {
            ALL = 1, FD = 2, ANY = 4, FD_FIXED = 8, USERDATA = 16, OP = 32,
        }
    }
}

/// Flags of a completion queue entry (`IORING_CQE_F_*`).
pub mod cqe_flag {
    names! {
        /// Every flag up to 7.3.
        NAMES: u32 {
            BUFFER = 1, MORE = 2, SOCK_NONEMPTY = 4, NOTIF = 8, BUF_MORE = 16, SKIP = 32,
            CQE_32 = 0x8000,
        }
    }
    /// How far left the buffer id stands in the flags (`IORING_CQE_BUFFER_SHIFT`).
    pub const BUFFER_SHIFT: u32 = 16;
}

/// Flags of `io_uring_setup` (`IORING_SETUP_*`).
pub mod setup {
    names! {
        /// Every flag up to 7.0.
        NAMES: u32 {
            IOPOLL = 1, SQPOLL = 2, SQ_AFF = 4, CQSIZE = 8, CLAMP = 0x10, ATTACH_WQ = 0x20,
            R_DISABLED = 0x40, SUBMIT_ALL = 0x80, COOP_TASKRUN = 0x100, TASKRUN_FLAG = 0x200,
            SQE128 = 0x400, CQE32 = 0x800, SINGLE_ISSUER = 0x1000, DEFER_TASKRUN = 0x2000,
            NO_MMAP = 0x4000, REGISTERED_FD_ONLY = 0x8000, NO_SQARRAY = 0x1_0000,
            HYBRID_IOPOLL = 0x2_0000, CQE_MIXED = 0x4_0000, SQE_MIXED = 0x8_0000,
            SQ_REWIND = 0x10_0000,
        }
    }
}

/// Flags of `io_uring_enter` (`IORING_ENTER_*`).
pub mod enter {
    names! {
        /// Every flag up to 7.3.
        NAMES: u32 {
            GETEVENTS = 1, SQ_WAKEUP = 2, SQ_WAIT = 4, EXT_ARG = 8, REGISTERED_RING = 0x10, ABS_TIMER = 0x20,
            EXT_ARG_REG = 0x40, NO_IOWAIT = 0x80,
        }
    }
}

/// What the kernel says of a queue of submissions (`IORING_SQ_*`).
pub mod sq_flag {
    names! {
        /// Every flag.
        NAMES: u32 { NEED_WAKEUP = 1, CQ_OVERFLOW = 2, TASKRUN = 4, }
    }
}

/// Error numbers (`asm-generic/errno.h`).
pub mod errno {
    names! {
        /// The errors that sends, rings and registrations report.
        NAMES: u16 {
            EPERM = 1, ENOENT = 2, EINTR = 4, EIO = 5, ENXIO = 6, E2BIG = 7, EBADF = 9, EAGAIN = 11,
            ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16, EEXIST = 17, ENODEV = 19,
            EINVAL = 22, ENFILE = 23, EMFILE = 24, ENOTTY = 25, ENOSPC = 28, ESPIPE = 29,
            EPIPE = 32, ENOSYS = 38, ETIME = 62, EBADR = 53, EBADFD = 77, EOVERFLOW = 75, ENOTSOCK = 88,
            EDESTADDRREQ = 89, EMSGSIZE = 90, EOPNOTSUPP = 95, EAFNOSUPPORT = 97,
            EADDRNOTAVAIL = 99, ENETUNREACH = 101, ECONNABORTED = 103, ECONNRESET = 104,
            ENOBUFS = 105, EISCONN = 106, ENOTCONN = 107, ETIMEDOUT = 110, ECONNREFUSED = 111,
            EHOSTUNREACH = 113, EALREADY = 114, EINPROGRESS = 115, ECANCELED = 125,
            EOWNERDEAD = 130,
        }
    }
}

/// The result of a notification that says a copy was made
/// (`IORING_NOTIF_USAGE_ZC_COPIED`, bit 31: `i32::MIN` in the signed result field).
pub const ZC_COPIED: i32 = i32::MIN;

/// The most bytes one read or write moves (`MAX_RW_COUNT`).
pub const MAX_RW_COUNT: u64 = 0x7fff_f000;

/// The most elements of an iovec array (`UIO_MAXIOV`).
pub const UIO_MAXIOV: u64 = 1024;

/// Bytes of a page on x86-64.
pub const PAGE_BYTES: u64 = 4096;

/// The name of `value` in `table`.
pub fn name_of<T: PartialEq + Copy>(table: &[(&'static str, T)], value: T) -> Option<&'static str> {
    table.iter().find(|(_, v)| *v == value).map(|(name, _)| *name)
}

/// The value named `name` in `table`.
pub fn value_of<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

/// Splits `bits` into the names of `table`, `|` between them, and writes unknown bits as hex.
pub fn flag_names<T>(table: &[(&'static str, T)], bits: T) -> String
where
    T: Copy + Into<u64>,
{
    let mut rest: u64 = bits.into();
    let mut words = Vec::new();
    for (name, bit) in table {
        let bit: u64 = (*bit).into();
        if rest & bit == bit {
            rest &= !bit;
            words.push((*name).to_string());
        }
    }
    if rest != 0 {
        words.push(format!("{rest:#x}"));
    }
    words.join("|")
}
