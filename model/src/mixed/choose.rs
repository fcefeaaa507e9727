//! Which lowering a server would take: by what the kernel has, and by size.
//!
//! The thresholds were measured on one machine with Linux 6.18; they are data, so that others can have
//! their own.

use super::MixedSend;
use super::lowering::{Lowering, Missing};

/// From how many lent bytes on zero copy is worth its notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Out of registered memory.
    pub registered_bytes: u64,
    /// Where pages are pinned for each send.
    pub pinned_bytes: u64,
    /// Where each piece is an entry of its own.
    pub linked_bytes: u64,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds { registered_bytes: 4 << 10, pinned_bytes: 8 << 10, linked_bytes: 64 << 10 }
    }
}

/// The best first: one range saves a fragment, registered memory the pinning, one entry the chain.
const PREFERRED: [Lowering; 6] = [
    Lowering::Contiguous,
    Lowering::VectorizedFixed,
    Lowering::StagedFixed,
    Lowering::Vectorized,
    Lowering::Staged,
    Lowering::Linked,
];

impl Thresholds {
    /// The lowering to take of those that exist.
    pub fn choose(&self, send: &MixedSend, exists: impl Fn(Lowering) -> Result<(), Missing>) -> Lowering {
        let lent: u64 = send.lent().map(|s| u64::from(s.len_bytes)).sum();
        let pays = |lowering: &Lowering| {
            let least = match lowering {
                Lowering::Copy => 0,
                Lowering::Contiguous | Lowering::VectorizedFixed | Lowering::StagedFixed => {
                    self.registered_bytes
                }
                Lowering::Vectorized | Lowering::Staged => self.pinned_bytes,
                Lowering::Linked => self.linked_bytes,
            };
            lent >= least && exists(*lowering).is_ok()
        };
        PREFERRED.into_iter().find(pays).unwrap_or(Lowering::Copy)
    }
}
