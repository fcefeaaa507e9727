//! Entries and completions in the types of the `io-uring` crate.

use std::mem::{align_of, size_of, transmute};

use io_uring::{cqueue, squeue};
use uringspec_model::cqe::Cqe;
use uringspec_model::sqe::Sqe;

/// The 64 bytes of an entry, aligned as the crate's type is.
#[repr(C, align(8))]
struct RawEntry([u8; 64]);

const _: () = assert!(size_of::<RawEntry>() == size_of::<squeue::Entry>());
const _: () = assert!(align_of::<RawEntry>() == align_of::<squeue::Entry>());

/// Writes an entry.
pub(super) fn encode(sqe: &Sqe) -> squeue::Entry {
    // SAFETY: both types are 64 bytes with the same alignment (asserted above), and an entry is plain
    // integers, for which every bit pattern is a value.
    unsafe { transmute::<RawEntry, squeue::Entry>(RawEntry(sqe.to_bytes())) }
}

/// Reads a completion.
pub(super) fn decode(entry: &cqueue::Entry) -> Cqe {
    Cqe { user_data: entry.user_data(), res: entry.result(), flags: entry.flags() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_every_byte() {
        let bytes: [u8; 64] = std::array::from_fn(|i| (i as u8).wrapping_mul(89) ^ 0xc3);
        // SAFETY: the same types as in `encode`, the other way round.
        let raw = unsafe { transmute::<squeue::Entry, RawEntry>(encode(&Sqe::from_bytes(&bytes))) };
        assert_eq!(raw.0, bytes);
    }
}
