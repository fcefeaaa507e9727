//! Why a program is not run here.

use std::fmt;
use std::io;

/// Why a program, or any program, cannot be run on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// `io_uring_setup` is refused; the text says by what, and what to do.
    NoIoUring(&'static str),
    /// Something that a program needs is missing here.
    Missing(String),
    /// The program asks for what is never done live, because it would not be safe or bounded.
    NotLive(String),
    /// A system call that sets the program up failed.
    Setup {
        /// What was being done.
        doing: &'static str,
        /// The error it met.
        errno: i32,
    },
    /// A worker's own words.
    Told(String),
}

impl Skip {
    /// A failed system call of the preparation.
    pub(crate) fn setup(doing: &'static str) -> impl Fn(io::Error) -> Skip {
        move |error| Skip::Setup { doing, errno: error.raw_os_error().unwrap_or(0) }
    }

    /// The reason that goes with an error of `io_uring_setup` on a plain ring.
    pub(crate) fn of_ring_setup(error: &io::Error) -> Skip {
        match error.raw_os_error().unwrap_or(0) {
            libc::ENOSYS => Skip::NoIoUring(
                "io_uring_setup is not known here (ENOSYS): a kernel built without io_uring, or a container \
                 profile that hides it; allow the io_uring system calls in the seccomp profile",
            ),
            libc::EPERM | libc::EACCES => Skip::NoIoUring(
                "io_uring_setup is not permitted here (EPERM): look at the sysctl kernel.io_uring_disabled \
                 (0 allows it to everybody), else allow the io_uring system calls in the seccomp profile",
            ),
            libc::ENOMEM => Skip::NoIoUring(
                "io_uring_setup ran out of lockable memory (ENOMEM): raise RLIMIT_MEMLOCK (ulimit -l), or end \
                 other users of io_uring under this user id",
            ),
            libc::EMFILE | libc::ENFILE => {
                Skip::NoIoUring("io_uring_setup found no free descriptor: raise RLIMIT_NOFILE (ulimit -n)")
            }
            errno => Skip::Setup { doing: "io_uring_setup", errno },
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skip::NoIoUring(why) => f.write_str(why),
            Skip::Missing(what) => write!(f, "missing here: {what}"),
            Skip::NotLive(what) => write!(f, "not run live: {what}"),
            Skip::Setup { doing, errno } => {
                write!(f, "{doing} failed with {}", uringspec_model::cqe::Errno(*errno as u16))
            }
            Skip::Told(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Skip {}
