//! Limits and credentials under which the rings of a program are made.
//!
//! What a ring may lock is decided by who made it. So a worker that is root becomes another user for
//! as long as the rings are made. Locked memory is counted by user, and closed rings give it back late, so
//! each program has a user to itself. What is charged later is charged to that user, and measured by the
//! limit of that moment.

use std::io;

use uringspec_model::program::Limits;

use crate::skip::Skip;
use crate::sys::check;

/// User ids from here on are taken by workers; nobody is expected to have them.
const WORKER_UIDS: u32 = 0x4000_0000;
/// As many are taken by each worker, one after the other. What a program locked is given back some time
/// after its ring is closed; with 256 the next one with the same user came too early.
const USERS: u32 = 1 << 14;

/// What a worker may do by itself.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Whether it may ignore limits on locked memory, and become another user.
    pub(crate) privileged: bool,
    /// The limit on locked memory as it was found.
    memlock: libc::rlimit,
    /// Programs that had a user to themselves.
    users: u32,
}

impl Credentials {
    /// Reads what this process has. Call it before entering a user namespace, which gives capabilities
    /// that do not count for locked memory.
    pub(crate) fn read() -> Credentials {
        let mut memlock = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `memlock` has room for the one structure that the call writes.
        unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut memlock) };
        // SAFETY: the call takes no arguments.
        let privileged = unsafe { libc::geteuid() } == 0 && crosses_memlock();
        Credentials { privileged, memlock, users: 0 }
    }

    /// Makes something under the limits of a program.
    pub(crate) fn under<T>(&mut self, limits: &Limits, make: impl FnOnce() -> T) -> Result<T, Skip> {
        if limits.memlock_bytes.is_some() && !self.privileged {
            return Err(Skip::Missing(
                "root, without which locked memory cannot be counted for one program alone".into(),
            ));
        }
        if let Some(bytes) = limits.memlock_bytes {
            self.set_memlock(bytes).map_err(Skip::setup("setting RLIMIT_MEMLOCK"))?;
        }
        if !(limits.unprivileged && self.privileged) {
            return Ok(make());
        }
        self.users = self.users.wrapping_add(1);
        let uid = WORKER_UIDS + (std::process::id() & 0xffff) * USERS + self.users % USERS;
        become_user(uid).map_err(Skip::setup("becoming a user without capabilities"))?;
        let made = make();
        become_user(0).map_err(Skip::setup("becoming root again"))?;
        Ok(made)
    }

    /// Gives the limit on locked memory back.
    pub(crate) fn restore(&self, limits: &Limits) {
        if limits.memlock_bytes.is_some() {
            // The soft limit was below the hard one before, so this is not refused.
            let _ = self.set_memlock(self.memlock.rlim_cur);
        }
    }

    fn set_memlock(&self, bytes: u64) -> io::Result<()> {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: self.memlock.rlim_max.max(bytes) };
        // SAFETY: `limit` is one valid structure, which the call reads.
        check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })?;
        Ok(())
    }
}

/// Whether this process has `CAP_IPC_LOCK`, by `/proc`; without `/proc` root is taken to have it.
fn crosses_memlock() -> bool {
    const CAP_IPC_LOCK: u64 = 1 << 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.is_none_or(|hex| u64::from_str_radix(hex.trim(), 16).is_ok_and(|caps| caps & CAP_IPC_LOCK != 0))
}

/// Changes the real and effective user; the saved one stays root, so that there is a way back.
fn become_user(uid: u32) -> io::Result<()> {
    // SAFETY: the calls take no pointers. libc would change all threads; a worker has one.
    check(unsafe { libc::setresuid(uid, uid, 0) })?;
    die_with_parent();
    Ok(())
}

/// Ends this process when its parent ends. A change of user takes this back, so it is said again then.
pub(crate) fn die_with_parent() {
    // SAFETY: the calls take no pointers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
    }
}
