//! A device of our own, which takes packets as they lie in memory and drops them.
//!
//! It is of kind `ifb`: what was not redirected to it is freed in the call that sends it, on the sender's
//! processor. So what is sent into it is neither copied nor kept, and nothing has to be waited for. There is
//! no far end; what a peer would say is written to a raw socket and comes in over loopback.
//!
//! Source: `ifb_xmit` in `drivers/net/ifb.c`, 6.18.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::netlink::{ask, attribute, message, open};
use crate::skip::Skip;
use crate::sockets::Address;
use crate::sys::{self, check};

/// The address of the device, and that of the peer who is not there.
pub(crate) const OWN: [u8; 4] = [10, 8, 0, 1];
pub(crate) const PEER: [u8; 4] = [10, 8, 0, 2];
/// The port of a datagram socket's peer; nobody has it.
const PEER_PORT: u16 = 9;
const NAME: &CStr = c"ifb";
/// Larger datagrams than a device takes are fragmented, and for that copied.
const MTU_BYTES: u32 = 65535;
/// Packets that leave before the first acknowledgement; the usual ten would be used up by ten small sends.
const FIRST_PACKETS: u32 = 1000;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_METRICS: u16 = 8;
const RTAX_INITCWND: u16 = 11;

/// The device, and the socket that speaks for the peer.
#[derive(Debug)]
pub struct Device {
    raw: OwnedFd,
    /// Its number in the namespace.
    pub(crate) index: u32,
}

impl Device {
    /// Makes the device in the network namespace of this process, which must be one of its own, and may have
    /// none yet; or says what is missing. It goes with the namespace.
    pub fn make() -> Result<Device, Skip> {
        let raw = sys::raw_socket().map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Skip::Missing(
                "CAP_NET_RAW in a network namespace of its own, without which nobody can speak for a peer"
                    .into(),
            ),
            _ => Skip::setup("making a raw socket")(error),
        })?;
        let socket = open().map_err(Skip::setup("asking for a device"))?;
        let made = ask(&socket, &message(libc::RTM_NEWLINK, CREATE, &link()));
        made.map_err(|error| match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => Skip::Missing("devices of kind ifb (CONFIG_IFB, or its module)".into()),
            Some(libc::EPERM | libc::EACCES) => Skip::Missing(
                "CAP_NET_ADMIN in a network namespace of its own, without which there is no device".into(),
            ),
            _ => Skip::setup("making a device of kind ifb")(error),
        })?;
        let index = sys::interface_index(NAME).map_err(Skip::setup("looking for a device"))?;
        let address = message(libc::RTM_NEWADDR, CREATE, &address(index));
        ask(&socket, &address).map_err(Skip::setup("giving a device its address"))?;
        let route = message(libc::RTM_NEWROUTE, CREATE, &route(index));
        ask(&socket, &route).map_err(Skip::setup("giving a device its route"))?;
        // Where the reverse path is looked at, what comes from the peer over loopback is dropped.
        for of in ["all", "lo"] {
            let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{of}/rp_filter"), "0");
        }
        Ok(Device { raw, index })
    }

    /// A datagram socket that is connected to nobody behind the device.
    pub fn datagrams(&self) -> io::Result<OwnedFd> {
        let near = sys::socket(libc::AF_INET, libc::SOCK_DGRAM)?;
        Address::v4(PEER, PEER_PORT).connect(&near)?;
        Ok(near)
    }

    /// Sends an IPv4 packet to ourselves, as the peer would.
    pub(crate) fn inject(&self, packet: &[u8]) -> io::Result<()> {
        let to = Address::v4(OWN, 0);
        let (storage, len) = to.as_raw();
        // SAFETY: the packet and the address are readable for their lengths during the call.
        let sent = unsafe {
            libc::sendto(self.raw.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0, storage, len)
        };
        check(sent as libc::c_int)?;
        Ok(())
    }
}

const CREATE: libc::c_int = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// `struct ifinfomsg` and attributes: a device that is up, and without a queue, in which packets could wait.
fn link() -> Vec<u8> {
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    let mut body = vec![0; 8];
    body.extend(up);
    body.extend(up);
    attribute(&mut body, IFLA_IFNAME, NAME.to_bytes_with_nul());
    attribute(&mut body, IFLA_MTU, &MTU_BYTES.to_ne_bytes());
    attribute(&mut body, IFLA_TXQLEN, &0u32.to_ne_bytes());
    let mut kind = Vec::new();
    attribute(&mut kind, IFLA_INFO_KIND, NAME.to_bytes_with_nul());
    attribute(&mut body, IFLA_LINKINFO, &kind);
    body
}

/// `struct ifaddrmsg` and attributes.
fn address(index: u32) -> Vec<u8> {
    let mut body = vec![libc::AF_INET as u8, 24, 0, 0];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &OWN);
    attribute(&mut body, IFA_ADDRESS, &OWN);
    body
}

/// `struct rtmsg` and attributes: the way to the peer.
fn route(index: u32) -> Vec<u8> {
    const TABLE_MAIN: u8 = 254;
    const PROTOCOL_STATIC: u8 = 4;
    const SCOPE_LINK: u8 = 253;
    const UNICAST: u8 = 1;
    let mut body = vec![libc::AF_INET as u8, 32, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, SCOPE_LINK, UNICAST];
    body.extend(0u32.to_ne_bytes());
    attribute(&mut body, RTA_DST, &PEER);
    attribute(&mut body, RTA_OIF, &index.to_ne_bytes());
    let mut metrics = Vec::new();
    attribute(&mut metrics, RTAX_INITCWND, &FIRST_PACKETS.to_ne_bytes());
    attribute(&mut body, RTA_METRICS, &metrics);
    body
}
