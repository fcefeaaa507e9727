//! Trying a datagram: what it may come to.
//!
//! Source: `udp_sendmsg` in `net/ipv4/udp.c`, `udpv6_sendmsg` in `net/ipv6/udp.c`, `__ip_append_data` in
//! `net/ipv4/ip_output.c`, 6.18.

use super::{Socket, World};
use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::fragments;
use crate::may::May;
use crate::net::{Charge, Datagrams, UDP4_LONGEST};
use crate::notice::Used;
use crate::prepare::{Retry, SendPlan};
use crate::program::SocketId;
use crate::request::{Request, RequestId};
use crate::rules::Rule;

impl World<'_> {
    /// What the first try of a send on a datagram socket may come to.
    pub(super) fn try_datagram(&mut self, id: RequestId, socket: SocketId, plan: &SendPlan) -> May {
        let Some(Socket::Datagrams(queue)) = self.state.sockets.get(usize::from(socket.0)) else {
            return May::default();
        };
        let len = plan.len_bytes();
        // the checks in the order in which a datagram meets them
        if len > u64::from(u16::MAX) && queue.longest == UDP4_LONGEST {
            return May::fail(errno::EMSGSIZE, Rule::DatagramLength);
        }
        if !queue.is_connected {
            return May::fail(errno::EDESTADDRREQ, Rule::DatagramNeedsAddress);
        }
        if len > queue.longest {
            return May::fail(errno::EMSGSIZE, Rule::DatagramLength);
        }
        if queue.is_shut && !self.ended_since(id, socket).1 {
            let mut may = May::fail(errno::EPIPE, Rule::SendBrokenPipe);
            may.add_errors(
                self.may_be_refused(id).then_some((Errno(errno::ECONNREFUSED), Rule::DatagramRefused)),
            );
            return may;
        }
        if plan.corks {
            self.give_up("MSG_MORE on a datagram socket");
            return May::default();
        }
        let (has_device, is_heard) = (self.lane(socket).has_device(), self.lane(socket).is_heard());
        // room for a packet is made, and what is pending reported, before its bytes are read
        let refused = self.may_be_refused(id).then_some((Errno(errno::ECONNREFUSED), Rule::DatagramRefused));
        let no_room = (Errno(errno::ENOBUFS), Rule::DatagramFragmentsFit);
        let fits = if has_device { Some(true) } else { queue.fragments_fit(len) };
        let at_any_time = self.request(id).is_async || self.request(id).late;
        let lends = plan.notice.is_some() && queue.is_one_packet(len);
        let lent_pages = if lends { fragments::pages(plan.lent()) } else { 0 };
        if let Some(queue) = self.datagrams_mut(socket) {
            queue.charges.push(Charge::of(id, len, lent_pages, at_any_time));
        }
        let without_room = (fits != Some(true)).then_some(no_room);
        let waits =
            plan.retry != Retry::Never && (self.is_unknown(socket) || self.may_be_crowded(id, socket));
        if let Some(mut torn) = self.tear(id, socket, plan) {
            if let Some(notice) =
                self.request_mut(id).notice.as_mut().filter(|_| refused.or(without_room).is_some())
            {
                notice.used = Used::Unknown;
            }
            torn.add_errors(refused.into_iter().chain(without_room));
            torn.waiting = waits;
            return torn;
        }
        if fits == Some(false) {
            let mut may = May { errors: vec![no_room], waiting: waits, ..May::default() };
            may.errors.extend(refused);
            return may;
        }
        let way = self.way_of(id, Some(socket));
        if let Some(notice) = self.request_mut(id).notice.as_mut().filter(|_| has_device) {
            // an empty one is a packet as well
            notice.used = way;
        }
        let mut may = May::exactly(len, Rule::DatagramWhole);
        may.errors.extend(refused);
        may.errors.extend(without_room);
        may.waiting = waits;
        if self.is_unknown(socket) && !waits {
            may.errors.push((Errno(errno::EAGAIN), Rule::SendDontwait));
        }
        let segments = self.segments_of(id, plan);
        // what waits is sent behind others that come later
        let loose = at_any_time || may.waiting;
        let user_data = self.request(id).user_data;
        let mut beside = self.state.beside.clone();
        if at_any_time {
            let chain: Vec<_> = self.chain_before(id).collect();
            let queued = self.datagrams(socket).map_or(&[][..], |queue| &queue.queue);
            beside = queued.iter().map(|d| d.request).filter(|other| !chain.contains(other)).collect();
        }
        if let Some(Socket::Datagrams(queue)) = self.state.sockets.get_mut(usize::from(socket.0))
            && is_heard
        {
            queue.enqueue(id, user_data, segments, len, loose, &beside);
        }
        may
    }

    /// Whether a datagram that does not wait was made while others were on their way through the socket, in other
    /// threads, and found no room for that moment (`sock_alloc_send_pskb` in `net/core/sock.c`).
    pub(super) fn is_crowded_out(&self, id: RequestId, request: &Request, res: Res) -> bool {
        if !request.never_waits || res != Res::Err(Errno(errno::EAGAIN)) {
            return false;
        }
        let Some((socket, queue)) = request.socket.and_then(|s| Some((s, self.datagrams(s)?))) else {
            return false;
        };
        queue.may_be_full(id, request.is_async || request.late, self.unseen_on(socket, id))
    }

    /// Whether what threads send at this moment may leave a datagram no room, so that it is sent once that has left.
    fn may_be_crowded(&self, id: RequestId, socket: SocketId) -> bool {
        let request = self.request(id);
        let full = |queue: &Datagrams| queue.may_be_full(id, request.late, self.unseen_on(socket, id));
        !request.is_async && self.datagrams(socket).is_some_and(full)
    }

    /// A request of the socket has ended: what it counted for matters only to what is still open.
    pub(super) fn forget_charges(&mut self, socket: SocketId) {
        if self.unsettled_on(socket).next().is_none()
            && self.queued_on(socket).next().is_none()
            && let Some(queue) = self.datagrams_mut(socket)
        {
            queue.charges.clear();
        }
    }

    /// How a datagram fails whose packet was begun; it goes nowhere.
    fn tear(&mut self, id: RequestId, socket: SocketId, plan: &SendPlan) -> Option<May> {
        let queue = self.datagrams(socket)?;
        let len = plan.len_bytes();
        let mapped = if plan.fixed.is_some() { len } else { self.readable(&plan.ranges) };
        // what is sent in several packets is copied, whatever was asked for
        let lends = plan.notice.is_some() && queue.is_one_packet(len);
        let fragmented = lends && len > 0 && !fragments::fit_one_packet(plan.lent());
        let mut may = May::default();
        // where both are wrong, either is met first
        may.errors.extend((mapped < len).then_some((Errno(errno::EFAULT), Rule::SendMemoryReadable)));
        may.errors.extend(fragmented.then_some((Errno(errno::EMSGSIZE), Rule::DatagramFragments)));
        if may.errors.is_empty() {
            return None;
        }
        if let Some(notice) = self.request_mut(id).notice.as_mut().filter(|_| lends) {
            notice.used = Used::Untouched;
        }
        Some(may)
    }
}
