//! The processor time of this process, all threads of the kernel that work for it included. While it runs,
//! allocations are counted.

use super::allocations;

/// A clock that can be stopped.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ran_ns: u64,
    since: Option<u64>,
}

impl Clock {
    /// Lets it run.
    pub(super) fn start(&mut self) {
        allocations::count_from_now(true);
        self.since = Some(now());
    }

    /// Stops it.
    pub(super) fn stop(&mut self) {
        let now = now();
        allocations::count_from_now(false);
        self.ran_ns += self.since.take().map_or(0, |since| now.saturating_sub(since));
    }

    /// What it shows, and zero from now on.
    pub(super) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.ran_ns)
    }
}

fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` has room for what the call writes; this clock is there on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
