//! What a draft may make use of.
//!
//! A campaign that mixes everything into every program seldom gets deep into anything, so each draft
//! carries a mask of its own, and a program uses what both the draft and the campaign allow.

use bitflags::bitflags;

bitflags! {
    /// What a program may contain beside nops and plain sends over loopback.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// `SEND_ZC` and `SENDMSG_ZC`.
        const ZERO_COPY = 1 << 0;
        /// `SENDMSG` and `SENDMSG_ZC`.
        const VECTORS = 1 << 1;
        /// Chains with `LINK`.
        const LINKS = 1 << 2;
        /// Chains with `HARDLINK`.
        const HARDLINKS = 1 << 3;
        /// `MSG_WAITALL`.
        const WAITALL = 1 << 4;
        /// `MSG_DONTWAIT`.
        const DONTWAIT = 1 << 5;
        /// `REPORT_USAGE`.
        const USAGE = 1 << 6;
        /// Registered buffers.
        const FIXED = 1 << 7;
        /// A peer whose window is closed.
        const GATE = 1 << 8;
        /// A peer whose window is closed, and a send queue that is full.
        const GATE_FULL = 1 << 9;
        /// Rings with `SINGLE_ISSUER | DEFER_TASKRUN`.
        const DEFER = 1 << 10;
        /// Several sockets.
        const SOCKETS = 1 << 11;
        /// Two rings.
        const RINGS = 1 << 12;
        /// Memory that is written again while it may be lent.
        const REWRITE = 1 << 13;
        /// Peers that reset the connection.
        const RESET = 1 << 14;
        /// Near ends that are closed or shut down.
        const CLOSE = 1 << 15;
        /// Memory that is not there, or cannot be read.
        const FAULTS = 1 << 16;
        /// Entries with a field that is wrong.
        const NONSENSE = 1 << 17;
        /// Descriptors of no socket, and sockets without a peer.
        const DESCRIPTORS = 1 << 18;
        /// Message headers that are wrong.
        const HEADERS = 1 << 19;
        /// Numbers that are no opcode.
        const OPCODES = 1 << 20;
        /// Sends of more than a socket holds.
        const BIG = 1 << 21;
        /// Requests with the same user data.
        const TWINS = 1 << 22;
        /// Queues of completions that are smaller than what comes.
        const OVERFLOW = 1 << 23;
        /// `IOSQE_ASYNC`.
        const ASYNC = 1 << 24;
        /// `MSG_MORE`.
        const MORE = 1 << 25;
        /// `POLL_FIRST`.
        const POLL_FIRST = 1 << 26;
        /// `CQE_SKIP_SUCCESS` where success is certain.
        const SKIP = 1 << 27;
        /// Chains that are still open where their batch ends.
        const OPEN = 1 << 28;
        /// `WRITE`, `WRITEV` and `WRITE_FIXED`.
        const WRITES = 1 << 29;
        /// `ASYNC_CANCEL` by user data.
        const CANCEL = 1 << 30;
        /// Sockets over IPv6.
        const IPV6 = 1 << 31;
        /// Datagram sockets.
        const UDP = 1 << 32;
        /// Unix sockets.
        const UNIX = 1 << 33;
        /// Registered files.
        const FILES = 1 << 34;
        /// Tables of buffers that are sparse, updated and given up, also while what they name is lent.
        const TABLES = 1 << 35;
        /// Send buffers of other sizes.
        const SNDBUF = 1 << 36;
        /// A user that may lock little memory.
        const MEMLOCK = 1 << 37;
        /// Datagrams into a device that drops them.
        const IFB_UDP = 1 << 38;
        /// Connections that were declared, whose peer acknowledges when it is told to.
        const REPAIR_TCP = 1 << 39;
        /// Rings that are made and closed again, most of them refused.
        const SETUP = 1 << 40;
        /// Rings with `SUBMIT_ALL`.
        const SUBMIT_ALL = 1 << 41;

        /// Rings with entries and completions of other sizes, without an array of indices, and with other times for
        /// deferred work.
        const KINDS = 1 << 45;

        /// Entries that are queued and handed over by calls of all kinds, and what the ring says of itself.
        const CALLS = 1 << 44;
        /// Rings with a thread that takes entries.
        const SQPOLL = 1 << 46;
        /// `ASYNC_CANCEL` by descriptor and opcode, of all that is alike, and of any.
        const CANCEL_BY = 1 << 43;
        /// `IOSQE_IO_DRAIN`.
        const DRAIN = 1 << 42;

        /// Sends on the far end of a socket.
        const FAR = 1 << 48;
        /// `CQE_SKIP_SUCCESS` on whatever may wait.
        const SKIP_WAITING = 1 << 49;
        /// Whatever else the model says nothing about.
        const BEYOND = 1 << 50;
        /// Entries with any values in any of their fields, as far as they may be run.
        const ANYTHING = 1 << 51;
    }
}

/// What is not used unless it is asked for, each with the reason.
pub const OFF: &[(Features, &str)] = &[
    (Features::DRAIN, "what drains is not often run by many programs yet"),
    (Features::CALLS, "one of some 60,000 such programs is still refused"),
    (Features::SQPOLL, "a thread for each ring makes every program slow"),
    (Features::FAR, "the model takes far ends for descriptors that are not open"),
    (Features::CANCEL_BY, "the model says nothing where what is alike may be under way"),
    (Features::SKIP_WAITING, "the model does not follow successes that come later and post nothing"),
    (Features::BEYOND, "it is what the model does not cover"),
    (Features::ANYTHING, "the model says nothing about much of it"),
];

impl Features {
    /// What is used unless something else is asked for: all that the model covers.
    pub const DEFAULT: Features = {
        let mut features = Features::all();
        let mut i = 0;
        while i < OFF.len() {
            features = features.difference(OFF[i].0);
            i += 1;
        }
        features
    };

    /// Reads a list such as `default,async,-twins`: names in lower case, `all`, `default` and `none`; a
    /// minus takes away. A list that begins with a minus begins with the default.
    pub fn from_list(list: &str) -> Result<Features, String> {
        let mut features = Features::empty();
        for (index, word) in list.split(',').map(str::trim).filter(|word| !word.is_empty()).enumerate() {
            let (takes, name) = match word.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, word),
            };
            if takes && index == 0 {
                features = Features::DEFAULT;
            }
            let named = match name {
                "all" => Features::all(),
                "default" => Features::DEFAULT,
                "none" => Features::empty(),
                _ => Features::from_name(&name.to_uppercase().replace('-', "_"))
                    .ok_or_else(|| format!("no feature {name}, expected {}", Features::names().join(", ")))?,
            };
            features.set(named, !takes);
        }
        Ok(features)
    }

    /// The names that a list may have.
    pub fn names() -> Vec<String> {
        ["all", "default", "none"].map(String::from).into_iter().chain(Features::all().words()).collect()
    }

    /// Their names.
    pub fn words(self) -> Vec<String> {
        self.iter_names().map(|(name, _)| name.to_lowercase().replace('_', "-")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_add_and_take_away() {
        assert_eq!(Features::from_list("zero-copy, links"), Ok(Features::ZERO_COPY | Features::LINKS));
        assert_eq!(Features::from_list("-big"), Ok(Features::DEFAULT - Features::BIG));
        assert_eq!(Features::from_list("default,far"), Ok(Features::DEFAULT | Features::FAR));
        assert!(Features::from_list("zerocopy").is_err_and(|told| told.contains("zero-copy")));
    }
}
