//! The process at the other end: it reads, or acknowledges, on another processor.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use super::progress::Progress;
use crate::declared::Declared;
use crate::lanes::OUTQ_UNSENT;
use crate::limits::die_with_parent;
use crate::sys::{self, check};

/// What it does.
pub(super) enum Work {
    /// Reads, and forgets what it reads.
    Read(OwnedFd),
    /// Acknowledges what leaves our end, of which this is a copy.
    Acknowledge(OwnedFd, Declared),
}

/// The process; it ends with this value.
#[derive(Debug)]
pub(super) struct Peer {
    pid: libc::pid_t,
}

/// How often it looks before it sleeps: asleep it would have to be woken, at the sender's cost.
const LOOKS: u32 = 20_000;
const SLEEP: Duration = Duration::from_micros(50);
/// After so many sleeps an acknowledgement is said again, in case it was not heard.
const SAY_AGAIN: u32 = 400;
/// The most bytes of one read.
const READ_BYTES: usize = 1 << 20;

impl Peer {
    /// Starts it. This process must have one thread.
    pub(super) fn start(progress: &Progress, work: Work) -> io::Result<Peer> {
        // SAFETY: there is one thread, so the child finds no lock that another one holds.
        let pid = check(unsafe { libc::fork() })?;
        if pid == 0 {
            die_with_parent();
            stay_on(1);
            match work {
                Work::Read(far) => read(&far, progress),
                Work::Acknowledge(near, peer) => acknowledge(&near, peer, progress),
            }
            // SAFETY: the call does not return; nothing of the parent's is run at exit.
            unsafe { libc::_exit(0) };
        }
        Ok(Peer { pid })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SAFETY: the child was not waited for yet, so the number is its own; no status is asked for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), 0);
        }
    }
}

fn read(far: &OwnedFd, progress: &Progress) {
    let (mut drained, mut looks) = (0, 0);
    loop {
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: with MSG_TRUNC a TCP socket writes nothing into the buffer (tcp(7)).
        let got = unsafe { libc::recv(far.as_raw_fd(), ptr::null_mut(), READ_BYTES, flags) };
        match got {
            1.. => {
                drained += got as u64;
                progress.set_drained(drained);
                looks = 0;
            }
            0 => return,
            _ => rest(&mut looks),
        }
    }
}

fn acknowledge(near: &OwnedFd, mut peer: Declared, progress: &Progress) {
    let (mut acked, mut looks) = (0, 0);
    loop {
        // What was sent is looked at first: what has not left of it by then is no less than what is asked
        // for next, so no more is acknowledged than has left.
        let sent = progress.sent();
        let Ok(unsent) = sys::queue_bytes(near.as_fd(), OUTQ_UNSENT) else { return };
        let left = sent.saturating_sub(unsent.into());
        let says_again = looks > LOOKS + SAY_AGAIN;
        if left > acked || says_again {
            if peer.acknowledge_up_to(left.max(acked)).is_err() {
                return;
            }
            acked = acked.max(left);
            progress.set_drained(acked);
            looks = if says_again { LOOKS } else { 0 };
        } else {
            rest(&mut looks);
        }
    }
}

fn rest(looks: &mut u32) {
    *looks += 1;
    if *looks > LOOKS {
        std::thread::sleep(SLEEP);
    } else {
        std::hint::spin_loop();
    }
}

/// Keeps this process on one of the processors that it may use, counted from zero, if there are so many.
pub(super) fn stay_on(number: usize) {
    // SAFETY: a set of processors is plain integers, for which zeros are a value; the call writes one.
    let mut may: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: `may` has room for what the call writes.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut may) } < 0 {
        return;
    }
    // SAFETY: the numbers are below the size of a set.
    let mut known = (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &may) });
    let Some(cpu) = known.nth(number) else { return };
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the number came from such a set.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: the set is readable during the call. A refusal costs only evenness.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one) };
}
