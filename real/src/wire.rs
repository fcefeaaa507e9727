//! What the peer of a declared connection does when it is told to, and what was heard of what left.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use uringspec_model::program::Amount;

use crate::peer::{Haul, Live, OUTQ};
use crate::ring::Waited;
use crate::sys::{self, left};

/// How long is waited before looking again whether more has left.
const LOOK_AGAIN: Duration = Duration::from_micros(100);

impl Live {
    /// Whether its peer is a declared one, there or not any more.
    pub(crate) fn is_declared(&self) -> bool {
        self.pair.declared.is_some()
    }

    /// Acknowledges so much of what has left or leaves because of it, within `patience`. Returns how much, one
    /// acknowledgement after the other.
    pub(crate) fn acknowledge(&mut self, amount: Amount, patience: Duration) -> (Vec<u64>, Waited) {
        self.push();
        let (Some(near), Some(peer)) = (&self.pair.near, &mut self.pair.declared) else {
            return (Vec::new(), Waited::Enough);
        };
        let near = near.as_fd();
        let deadline = Instant::now() + patience;
        let (mut acks, mut acked) = (Vec::new(), 0);
        loop {
            let wanted = match amount {
                Amount::Everything => u64::MAX,
                Amount::Bytes(n) => n - acked,
            };
            let Ok(bytes) = peer.acknowledge(near, wanted, left(deadline)) else {
                return (acks, Waited::GaveUp);
            };
            acks.extend((bytes > 0).then_some(bytes));
            acked += bytes;
            let unsent = sys::queue_bytes(near, OUTQ).unwrap_or(0);
            let enough = match amount {
                Amount::Bytes(n) => acked == n,
                // What a narrow window keeps back stays.
                Amount::Everything => unsent == 0 || bytes == 0 && !peer.is_wide(),
            };
            if enough {
                return (acks, Waited::Enough);
            }
            if left(deadline).is_zero() {
                return (acks, Waited::GaveUp);
            }
            if bytes == 0 {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }

    /// The peer offers a window.
    pub(crate) fn offer_window(&mut self, bytes: u64, patience: Duration) -> Waited {
        let (Some(near), Some(peer)) = (&self.pair.near, &mut self.pair.declared) else {
            return Waited::Enough;
        };
        taken(peer.offer(near.as_fd(), bytes, patience).unwrap_or(false))
    }

    /// The peer misses the next `len` bytes. Returns those that were heard again, where there is a tap.
    pub(crate) fn miss(&mut self, len: u64, patience: Duration) -> (Option<Vec<u8>>, Waited) {
        let deadline = Instant::now() + patience;
        let (Some(near), Some(peer)) = (&self.pair.near, &mut self.pair.declared) else {
            return (None, Waited::GaveUp);
        };
        // What left again before this was not asked for.
        if let Some(tap) = &mut self.pair.tap {
            tap.hear(peer);
        }
        let sent = peer.miss(near.as_fd(), len, patience).unwrap_or(false);
        let Some(tap) = self.pair.tap.as_mut().filter(|_| sent) else { return (None, taken(sent)) };
        // what is outside of a window that was shrunk does not leave again
        let wanted = len.min(peer.window_bytes().max(1)) as usize;
        let first = peer.acked() as u32;
        let mut bytes = Vec::new();
        while bytes.len() < wanted {
            for (at, data) in tap.hear(peer) {
                if at == first + bytes.len() as u32 {
                    bytes.extend(data);
                }
            }
            if left(deadline).is_zero() {
                return (Some(bytes), Waited::GaveUp);
            }
        }
        (Some(bytes), Waited::Enough)
    }

    /// What the tap heard leave for the first time.
    pub(crate) fn hear(&mut self, haul: &mut Haul) {
        if let (Some(tap), Some(peer)) = (&mut self.pair.tap, &self.pair.declared) {
            haul.bytes.extend(tap.take(peer));
        }
    }

    /// Lets all that was sent leave and acknowledges it, whatever the window was.
    pub(crate) fn acknowledge_all(&mut self, patience: Duration) -> (Vec<u64>, Waited) {
        if self.pair.declared.as_ref().is_some_and(|peer| !peer.is_wide()) {
            self.offer_window(u64::MAX, patience);
        }
        self.acknowledge(Amount::Everything, patience)
    }
}

fn taken(so: bool) -> Waited {
    if so { Waited::Enough } else { Waited::GaveUp }
}
