//! A network namespace of the worker's own, so that its traffic reaches nobody.
//!
//! The process must have one thread: `CLONE_NEWUSER` is refused to others.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;

use crate::netlink;
use crate::skip::Skip;
use crate::sys::{self, check};

/// Where the worker's traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// A namespace of its own, with a loopback device, and one that drops what is sent into it once a lane
    /// needs it.
    Own,
    /// The host's, because a namespace was refused. What could leave the machine is not run.
    Host,
}

/// Moves this process into a network namespace of its own if it may, and brings its loopback up.
pub(crate) fn enter() -> Result<Network, Skip> {
    if unshare(libc::CLONE_NEWNET).or_else(|_| as_mapped_user()).is_err() {
        return Ok(Network::Host);
    }
    // From here on there is no way back.
    loopback_up().map_err(Skip::setup("bringing up the loopback device of a new namespace"))?;
    // Without it all is the same, only slower.
    let _ = netlink::hurry();
    Ok(Network::Own)
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes no pointers; it changes only this process.
    check(unsafe { libc::unshare(flags) })?;
    Ok(())
}

/// The way for a normal user: a user namespace in which it is root.
fn as_mapped_user() -> io::Result<()> {
    // SAFETY: the calls take no arguments and cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET)?;
    // The group map may be written only after setgroups was given up. The namespace serves without maps
    // too: nothing here depends on what a user is called.
    let _ = fs::write("/proc/self/setgroups", "deny");
    let _ = fs::write("/proc/self/uid_map", format!("0 {uid} 1"));
    let _ = fs::write("/proc/self/gid_map", format!("0 {gid} 1"));
    Ok(())
}

fn loopback_up() -> io::Result<()> {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM)?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: libc::IFF_UP as libc::c_short },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from as libc::c_char;
    }
    // SAFETY: the request reads one `ifreq`, whose name is terminated and whose flags are set.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })?;
    Ok(())
}
