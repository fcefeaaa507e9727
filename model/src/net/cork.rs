//! Bytes that are held back for more to come: `TCP_CORK`, and `MSG_MORE` of one send.
//!
//! Source: `__tcp_sock_set_cork`, `tcp_push` in `net/ipv4/tcp.c`, 6.18. It errs on allowing: what is held
//! back may leave at any time, since the kernel lets it go after a while.

use super::{Holds, Stream, Writer};

impl Stream {
    /// `TCP_CORK` is set, or taken away, which lets go what it held back.
    pub fn set_cork(&mut self, on: bool) {
        self.is_corked = on;
        let leaves = !self.window_closed && self.waiting() <= self.room.leaves_bytes;
        if !on && leaves {
            let kept = |w: &&mut Writer| w.corked && w.is_settled();
            self.writers.iter_mut().filter(kept).for_each(|w| w.holds = Holds::No);
        }
        if !on {
            self.uncork();
        }
    }
}
