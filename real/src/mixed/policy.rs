//! What is copied and what is lent, how much, and for how long: all of it data.

/// What a sender does where the kernel leaves it a choice. `Policy::default()` has the measured values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When a request over registered memory is zero-copied.
    pub fixed: Thresholds,
    /// When a request over plain memory is.
    pub plain: Thresholds,
    /// So many of the messages that are queued on a socket have their headers put right before their payloads,
    /// where a lease has room there (`Sender::lease_behind`): one alone is cheapest as one range. The headers of
    /// the others lie in slots one beside the other, since the room before a payload is seldom in the cache.
    /// On datagram sockets, and where nothing but a range can be lent, all are put before.
    pub headroom_messages: u64,
    /// The most messages' pieces that one request gathers; the kernel takes 1024.
    pub iovecs_max: usize,
    /// The most bytes that one request gathers, unless its first message alone has more. Keeps one socket
    /// from holding up the others of a flush.
    pub gather_bytes_max: u64,
    /// The most bytes of payloads that are in the sender's hands, queued or with the kernel. Beyond it
    /// messages come back.
    pub lent_bytes_max: u64,
    /// The same for one socket, so that a peer that does not read cannot hold everybody's memory.
    pub socket_lent_bytes_max: u64,
    /// The most messages that wait for their end or their memory on one socket.
    pub socket_messages_max: usize,
    /// The most requests that have completions to come; each may post two.
    pub requests_max: usize,
    /// The longest datagram that may be one of several in a request, where the kernel cuts it
    /// (`UDP_SEGMENT`): datagrams of one length to one address go together, the last may be shorter. What is
    /// longer than the path takes is refused, and then sent one by one. 0: never.
    pub segment_bytes_max: u64,
    /// When a socket is no longer worth zero copy.
    pub copied: CopiedPolicy,
    /// After `ENOMEM` (locked memory) so many requests are copied before zero copy is tried again.
    pub copies_after_enomem: u32,
    /// How long a request or its notification may take before its connection is reset; on the clock of
    /// `Sender::tick`, in its unit. `None`: for ever.
    pub deadline: Option<u64>,
}

/// From how many bytes a message on average a request is zero-copied, by the number of its messages: the
/// last entry whose number is not above it counts. Many messages share the cost of one notification; where they are
/// very many, that of copying a call as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds(pub Vec<(usize, u64)>);

/// A peer on the same machine, or a packet sniffer, makes the kernel copy what was lent; that is dearer than
/// copying at once. A single report means nothing: what joins an skb of another request is reported as
/// copied though it was not. So only requests count that began with nothing lent on their socket, and many
/// of them: fewer at first, since a peer on the same machine shows at once, more once a socket was found worth
/// it.
///
/// A `first_window` of `u32::MAX` never gives zero copy up; a `copies` of `u32::MAX` never tries it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedPolicy {
    /// How many reports make a judgement on a socket that was found worth zero copy.
    pub window: u32,
    /// How many make the first one, and the first after zero copy was given up.
    pub first_window: u32,
    /// From this share of them on the socket is copied to.
    pub percent: u32,
    /// So many requests are then copied before zero copy is tried again.
    pub copies: u32,
}

impl Policy {
    /// Whether `len_bytes` more may be lent where so much is on the socket and on all of them. One payload
    /// that is above a bound alone is taken when nothing else is there.
    #[inline]
    pub(super) fn may_lend(&self, len_bytes: u64, on_socket: u64, on_all: u64) -> bool {
        let within = |lent: u64, most: u64| lent == 0 || lent + len_bytes <= most;
        within(on_all, self.lent_bytes_max) && within(on_socket, self.socket_lent_bytes_max)
    }
}

impl Thresholds {
    /// Whether a request of so many messages and bytes is worth zero copy.
    pub fn allow(&self, messages: usize, bytes: u64) -> bool {
        let from = self.0.iter().rfind(|(n, _)| *n <= messages);
        from.is_some_and(|(_, average)| bytes >= average.saturating_mul(messages.max(1) as u64))
    }

    /// Everything is copied.
    pub fn never() -> Thresholds {
        Thresholds(Vec::new())
    }

    /// Everything is zero-copied.
    pub fn always() -> Thresholds {
        Thresholds(vec![(0, 0)])
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            fixed: Thresholds(vec![(1, 3072), (2, 1536), (4, 768), (8, 512), (16, 768), (32, 1024)]),
            plain: Thresholds(vec![(1, 10 << 10), (4, 6144), (8, 4096)]),
            headroom_messages: 1,
            iovecs_max: 1024,
            gather_bytes_max: 1 << 20,
            lent_bytes_max: 64 << 20,
            socket_lent_bytes_max: 8 << 20,
            socket_messages_max: 4096,
            requests_max: 1024,
            segment_bytes_max: 1452,
            copied: CopiedPolicy { window: 64, first_window: 8, percent: 95, copies: 1024 },
            copies_after_enomem: 256,
            deadline: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_fall_with_the_number_of_messages() {
        let fixed = Policy::default().fixed;
        assert!(!fixed.allow(1, 3071));
        assert!(fixed.allow(1, 3072));
        assert!(!fixed.allow(3, 3 * 1535));
        assert!(fixed.allow(8, 4096));
        assert!(!fixed.allow(100, 100 * 1023));
        assert!(!Thresholds::never().allow(1, u64::MAX));
        assert!(Thresholds::always().allow(1, 0));
    }
}
