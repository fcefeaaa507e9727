//! A sender on a ring of its caller's: it takes no part in calls of the kernel. What it wants to submit is
//! handed out as entries, and the caller hands in the completions that are the sender's.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use io_uring::{cqueue, squeue};
use uringspec_model::cqe::Cqe;
use uringspec_model::profile::Profile;
use uringspec_model::sqe::Sqe;

use super::encoded::{decode, encode};
use super::kernel::{Kernel, SocketTraits};
use super::own_ring::{reset, traits_of};
use super::sender::Sender;

/// Stands for the caller's ring.
pub struct Guest {
    profile: Profile,
    tag: u8,
    buffer: Option<u16>,
    entries: VecDeque<squeue::Entry>,
    completions: VecDeque<Cqe>,
}

impl Guest {
    /// A ring on a kernel with this profile (`probe`), on which the sender's entries carry `tag` in the top
    /// byte of their user data. `buffer` is the index under which the caller has registered the arena's
    /// region (`Arena::region`), if it has.
    pub fn new(profile: Profile, tag: u8, buffer: Option<u16>) -> Guest {
        Guest { profile, tag, buffer, entries: VecDeque::new(), completions: VecDeque::new() }
    }

    fn tag_bits(&self) -> u64 {
        u64::from(self.tag) << 56
    }
}

impl Sender<Guest> {
    /// The next entry to put on the ring, after a `flush`. Entries must be submitted in this order.
    pub fn next_entry(&mut self) -> Option<squeue::Entry> {
        self.kernel.entries.pop_front()
    }

    /// Whether a completion of the ring is the sender's.
    pub fn owns(&self, entry: &cqueue::Entry) -> bool {
        entry.user_data() >> 56 == u64::from(self.kernel.tag)
    }

    /// Takes a completion that is the sender's. It cannot be made up in safe code:
    ///
    /// ```compile_fail,E0133
    /// # use uringspec_real::mixed::{Guest, Sender};
    /// fn take(sender: &mut Sender<Guest>, made_up: &io_uring::cqueue::Entry) {
    ///     sender.complete(made_up);
    /// }
    /// ```
    ///
    /// # Safety
    ///
    /// The completion was taken from the ring to which the sender's entries go, and each is handed in once:
    /// the sender gives memory away for it.
    pub unsafe fn complete(&mut self, entry: &cqueue::Entry) {
        let cqe = decode(entry);
        let user_data = cqe.user_data & !(0xff << 56);
        self.kernel.completions.push_back(Cqe { user_data, ..cqe });
        self.take_completions();
    }
}

// SAFETY: completions are those that the caller took from its ring, each once, as `complete` demands.
unsafe impl Kernel for Guest {
    type Socket = OwnedFd;

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn descriptor(&self, socket: &OwnedFd) -> i32 {
        socket.as_raw_fd()
    }

    fn traits(&self, socket: &OwnedFd) -> io::Result<SocketTraits> {
        traits_of(socket.as_fd())
    }

    fn reset(&mut self, socket: &OwnedFd) -> io::Result<()> {
        reset(socket.as_fd())
    }

    unsafe fn register(&mut self, _base: *const u8, _len_bytes: usize) -> io::Result<u16> {
        self.buffer.ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))
    }

    unsafe fn push(&mut self, sqe: &Sqe) -> bool {
        let tagged = Sqe { user_data: sqe.user_data | self.tag_bits(), ..*sqe };
        self.entries.push_back(encode(&tagged));
        true
    }

    fn enter(&mut self, _wanted: u32) -> io::Result<()> {
        Ok(())
    }

    fn next(&mut self) -> Option<Cqe> {
        self.completions.pop_front()
    }
}
